//! A fake AWS, a home signed in to it, and the agent's two programs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::clock::eventually;
use crate::support::fake_aws::{FakeAws, Operation, SessionId, SsoSession};
use crate::support::home::TestHome;
use crate::support::process::{self, Finished, Running};
use crate::support::secret_scan::SecretScan;

pub(crate) const ACCOUNT: &str = "111122223333";
pub(crate) const ROLE: &str = "Developer";
pub(crate) const AGENTCTL: &str = env!("CARGO_BIN_EXE_agentctl");
pub(crate) const AGENTD: &str = env!("CARGO_BIN_EXE_agentd");
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// Whether there is what makes a terminal (`script`, util-linux); a test that needs it says that it is not run.
#[cfg(unix)]
pub(crate) fn has_script() -> bool {
    let there = Command::new("script").arg("--version").output().is_ok();
    if !there {
        eprintln!("not run: there is no script (util-linux)");
    }
    there
}

/// One user with an agent. Everything that was printed is scanned for secrets at the end.
pub(crate) struct Agent {
    pub(crate) fake: FakeAws,
    pub(crate) home: TestHome,
    pub(crate) session: SessionId,
    scan: SecretScanLater,
}

#[derive(Default)]
struct SecretScanLater {
    printed: std::cell::RefCell<Vec<(String, String)>>,
}

impl Agent {
    /// A user signed in to session `corp`, whose profile `dev-sso` has one role.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same, with lifetimes and rotation as `change` says.
    pub(crate) fn with(change: impl FnOnce(&mut SsoSession)) -> Self {
        let fake = FakeAws::start();
        let mut session = SsoSession::new("corp").allow(ACCOUNT, ROLE);
        change(&mut session);
        let session = fake.add_session(session);
        let home = TestHome::with_sso_profile(&fake, session, ACCOUNT, ROLE);
        Self { fake, home, session, scan: SecretScanLater::default() }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(AGENTCTL);
        command.args(arguments);
        command
    }

    /// Runs agentctl to its end.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Finished {
        let finished = process::run(self.command(arguments), LIMIT);
        self.note(arguments, &finished);
        finished
    }

    /// Remembers what was printed for the secret scan. stdout of the verbs that print credentials is what it must be.
    pub(crate) fn note(&self, arguments: &[&str], finished: &Finished) {
        let mut printed = self.scan.printed.borrow_mut();
        printed.push((format!("stderr of {arguments:?}"), finished.stderr.clone()));
        if !["credential-process", "export"].contains(&arguments[0]) {
            printed.push((format!("stdout of {arguments:?}"), finished.stdout.clone()));
        }
    }

    /// `credential-process` for a profile, which must succeed.
    pub(crate) fn credentials(&self, profile: &str) -> Value {
        let finished = self.ctl(&["credential-process", "--profile", profile]).expect_success();
        serde_json::from_str(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {}", finished.stdout))
    }

    /// `status --json`.
    pub(crate) fn status(&self) -> Value {
        let finished = self.ctl(&["status", "--json"]).expect_success();
        serde_json::from_str(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {}", finished.stdout))
    }

    /// One profile of `status --json`.
    pub(crate) fn profile(&self, name: &str) -> Value {
        let status = self.status();
        let profiles = status["profiles"].as_array().cloned().unwrap_or_default();
        profiles.into_iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no {name} in {status}"))
    }

    /// Starts agentd in the foreground, under our eyes, and waits until it serves.
    pub(crate) fn start_daemon(&self) -> Running {
        self.start_daemon_with(|_| {})
    }

    pub(crate) fn start_daemon_with(&self, change: impl FnOnce(&mut Command)) -> Running {
        let mut command = self.home.command(AGENTD);
        change(&mut command);
        let daemon = Running::start(command);
        eventually("agentd serves", LIMIT, || {
            process::run(self.command(&["daemon", "status"]), LIMIT).status.success().then_some(())
        });
        daemon
    }

    pub(crate) fn tokens(&self) -> usize {
        self.fake.count(Operation::CreateToken)
    }

    pub(crate) fn roles(&self) -> usize {
        self.fake.count(Operation::GetRoleCredentials)
    }

    pub(crate) fn config_toml(&self) -> PathBuf {
        let folder = if cfg!(windows) { "AppData/Roaming" } else { ".config" };
        self.home.path().join(folder).join("agentctl/config.toml")
    }

    pub(crate) fn write_settings(&self, text: &str) {
        let path = self.config_toml();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Rewrites the token file with an access token that has just ended.
    pub(crate) fn expire_token(&self) {
        let path = self.home.token_file("corp");
        let mut token: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        token["expiresAt"] = "2020-01-01T00:00:00Z".into();
        std::fs::write(&path, token.to_string()).unwrap();
    }

    /// Fails if a secret that the fake ever issued stands anywhere but in the AWS cache folder.
    pub(crate) fn assert_no_secret_leaked(&self) {
        let mut scan = SecretScan::of(&self.fake);
        for (place, text) in self.scan.printed.borrow().iter() {
            scan.text(place, text);
        }
        scan.tree(self.home.path(), &[&self.home.sso_cache()]);
        scan.assert_clean();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // No daemon to stop is fine.
        let _ = process::run(self.command(&["daemon", "stop"]), LIMIT);
        if !std::thread::panicking() {
            self.assert_no_secret_leaked();
        }
    }
}
