//! Our agent as its clients meet it: a daemon in the foreground or none yet, and `agentctl` behind a script that keeps
//! count of its runs and of what it asks the agent.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::clock::eventually;
use crate::support::fake_aws::FakeAws;
use crate::support::home::TestHome;
use crate::support::process::Running;
use crate::support::secret_scan::SecretScan;

/// A daemon that serves one home, ended when dropped; or none, until a client starts it.
#[derive(Debug)]
pub(super) struct Agent {
    daemon: Option<Running>,
    agentctl: PathBuf,
    /// A line for each run.
    runs: PathBuf,
    /// What the runs said on stderr: with `-v` what they asked for.
    said: PathBuf,
    /// Ends a daemon that a client started.
    stop: Command,
}

impl Agent {
    /// Starts the daemon and waits until it accepts. Clients of this home do not start another one.
    #[track_caller]
    pub(super) fn start(home: &mut TestHome) -> Self {
        home.set("AGENTCTL_NO_AUTOSTART", "1");
        let daemon = Self::serving(home);
        let mut agent = Self::absent(home);
        agent.daemon = Some(daemon);
        agent
    }

    /// Ends the daemon and starts another one, in the home as it is now.
    #[track_caller]
    pub(super) fn restart(&mut self, home: &TestHome) {
        self.daemon = None;
        self.daemon = Some(Self::serving(home));
    }

    #[track_caller]
    fn serving(home: &TestHome) -> Running {
        let mut daemon = Running::start(home.command(env!("CARGO_BIN_EXE_agentd")));
        let socket = home.state_dir().join("agent.sock");
        eventually("agentd accepts connections", Duration::from_secs(10), || {
            assert!(daemon.is_running(), "agentd ended: {}", daemon.stderr());
            UnixStream::connect(&socket).ok()
        });
        daemon
    }

    /// No daemon runs: the first client starts it.
    pub(super) fn absent(home: &TestHome) -> Self {
        let (runs, said) = (home.path().join("runs"), home.path().join("said"));
        let (counted, heard) = (runs.display(), said.display());
        let script = format!("#!/bin/sh\necho run >> '{counted}'\nexec '{AGENTCTL}' -v \"$@\" 2>> '{heard}'\n");
        let mut stop = home.command(AGENTCTL);
        stop.args(["daemon", "stop"]);
        Self { daemon: None, agentctl: home.script("agentctl", &script), runs, said, stop }
    }

    /// A command line for a setting or profile: the counting `agentctl` with these arguments.
    pub(super) fn command_line(&self, arguments: &str) -> String {
        format!("{} {arguments}", self.agentctl.display())
    }

    /// How often clients ran `agentctl` so far.
    pub(super) fn runs(&self) -> usize {
        fs::read_to_string(&self.runs).unwrap_or_default().lines().count()
    }

    /// Everything that the runs said on stderr.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Whom `agentctl` took for its user, and how often each asked: the `consumer` of its requests for credentials.
    pub(super) fn consumers(&self) -> BTreeMap<String, usize> {
        let said = self.said();
        let targets = said.lines().filter_map(|line| line.split_once("/credentials?")?.1.split(' ').next());
        let mut consumers = BTreeMap::new();
        for target in targets {
            let named = target.split('&').find_map(|pair| pair.strip_prefix("consumer="));
            *consumers.entry(named.unwrap_or("nobody").to_owned()).or_default() += 1;
        }
        consumers
    }

    /// What the daemon logged, wherever it was started.
    pub(super) fn log(&self, home: &TestHome) -> String {
        let detached = fs::read_to_string(home.state_dir().join("agentd.log")).unwrap_or_default();
        self.daemon.as_ref().map(Running::stderr).unwrap_or_default() + &detached
    }

    /// Nothing that the fake issued stands anywhere but in the AWS cache folder: no file of the home (what agentctl and
    /// a detached daemon said are among them), no word of the daemon, no command line or environment of a process that
    /// runs now.
    #[track_caller]
    pub(super) fn assert_no_secret_leaked(&self, fake: &FakeAws, home: &TestHome) {
        let mut scan = SecretScan::of(fake);
        scan.tree(home.path(), &[&home.sso_cache()]).processes(&[]);
        if let Some(daemon) = &self.daemon {
            scan.text("agentd's stdout", daemon.stdout()).text("agentd's stderr", daemon.stderr());
        }
        scan.assert_clean();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.daemon.is_none() {
            // A daemon that no client started needs no end.
            let _ = self.stop.output();
        }
    }
}

const AGENTCTL: &str = env!("CARGO_BIN_EXE_agentctl");
