//! The systemd units under a real user manager, which runs in a mount namespace of its own with an empty /run/systemd. Not
//! run where that is not possible. And the launchd plist, as far as a file can be judged.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_credential_agent::ipc::client::Client;

use crate::agent::{AGENTD, Agent, LIMIT};
use crate::support::clock::{eventually, instant, within};
use crate::support::process::{self, Running};

const SYSTEMD: &str = "/lib/systemd/systemd";

/// Managers of one user share a control group, and would end each other's services: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A user manager with our units, and the agent's home as its user's.
struct Manager {
    agent: Agent,
    runtime: PathBuf,
    manager: Option<Running>,
    _alone: MutexGuard<'static, ()>,
}

impl Manager {
    /// A manager that has our units as they are in the sources, but for the program's place.
    fn with_units() -> Option<Self> {
        let manager = Self::start()?;
        let units = manager.agent.home.path().join(".config/systemd/user");
        fs::create_dir_all(&units).unwrap();
        let service = include_str!("../../systemd/agentd.service");
        assert!(service.contains("ExecStart=%h/.cargo/bin/agentd\n"));
        fs::write(units.join("agentd.service"), service.replace("%h/.cargo/bin/agentd", AGENTD)).unwrap();
        fs::write(units.join("agentd.socket"), include_str!("../../systemd/agentd.socket")).unwrap();
        assert_eq!(manager.systemctl(&["daemon-reload"]), "");
        Some(manager)
    }

    /// `None`, with a word why, where no user manager can be run.
    fn start() -> Option<Self> {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut agent = Agent::new();
        let runtime = agent.home.path().join("run");
        fs::create_dir(&runtime).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
        agent.home.set("XDG_RUNTIME_DIR", &runtime);
        agent.home.set("AGENTCTL_SOCKET", runtime.join("agentctl/agent.sock"));
        if !Path::new(SYSTEMD).exists() {
            eprintln!("not run: there is no {SYSTEMD}");
            return None;
        }
        let mut command = agent.home.command("unshare");
        let script = format!("mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system && exec {SYSTEMD} --user");
        command.args(["--mount", "--fork", "--kill-child", "sh", "-c", &script]);
        let mut manager = Running::start(command);
        let mut this = Self { agent, runtime, manager: None, _alone: alone };
        let up = within(Duration::from_secs(20), || {
            (!manager.is_running() || this.systemctl(&["show", "--value", "-p", "SystemState"]).starts_with("running"))
                .then_some(())
        });
        if up.is_none() || !manager.is_running() {
            eprintln!("not run: no user manager can be started here: {}", manager.stderr());
            return None;
        }
        this.manager = Some(manager);
        Some(this)
    }

    fn systemctl(&self, arguments: &[&str]) -> String {
        let mut command = self.agent.home.command("systemctl");
        command.arg("--user").args(arguments);
        let finished = process::run(command, LIMIT);
        finished.stdout + &finished.stderr
    }

    fn property(&self, name: &str) -> String {
        self.systemctl(&["show", "--value", "-p", name, "agentd.service"]).trim().to_owned()
    }

    fn client(&self) -> Client {
        Client::new(self.runtime.join("agentctl/agent.sock"))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(manager) = self.manager.take() {
            self.systemctl(&["stop", "agentd.socket", "agentd.service"]);
            self.systemctl(&["exit", "--no-block"]);
            within(Duration::from_secs(10), || self.systemctl(&["show"]).contains("Failed").then_some(()));
            drop(manager);
        }
    }
}

#[test]
fn systemd_starts_it_at_the_first_connection_and_restarts_it_without_a_failed_request() {
    let Some(manager) = Manager::with_units() else { return };
    assert_eq!(manager.systemctl(&["start", "agentd.socket"]), "");
    assert_eq!(manager.property("ActiveState"), "inactive", "nobody has asked yet");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let socket = manager.client().socket().to_owned();
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    manager.agent.credentials("dev-sso");
    assert_eq!(manager.property("ActiveState"), "active");
    assert!(!manager.agent.home.state_dir().join("agentd.log").exists(), "its log is the manager's");

    let restarts = std::env::var("SERVICE_RESTARTS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let asking = Load::start(&manager.client());
    let mut pids = BTreeSet::from([manager.property("MainPID")]);
    for _ in 0..restarts {
        assert_eq!(manager.systemctl(&["restart", "agentd.service"]), "");
        pids.insert(manager.property("MainPID"));
    }
    let (requests, took) = asking.finish();
    assert_eq!(pids.len(), restarts + 1, "each restart was one");
    println!("{restarts} restarts in {took:?}, {requests} requests, none failed");

    // A clean end is an end, until somebody asks; so is `agentctl daemon stop`.
    manager.agent.ctl(&["daemon", "stop"]).expect_success();
    manager.agent.credentials("dev-sso");
    assert!(manager.property("NRestarts") == "0" && manager.property("ActiveState") == "active");
    // A crash is not: it is back by itself.
    let crashed = manager.property("MainPID");
    manager.systemctl(&["kill", "--signal=KILL", "agentd.service"]);
    eventually("it is back", LIMIT, || {
        let pid = manager.property("MainPID");
        (pid != "0" && pid != crashed && manager.property("ActiveState") == "active").then_some(())
    });
    manager.agent.credentials("dev-sso");
}

#[test]
fn a_socket_unit_that_comes_later_takes_over_from_an_agent_that_runs() {
    let Some(manager) = Manager::with_units() else { return };
    fs::create_dir(manager.runtime.join("agentctl")).unwrap();
    fs::set_permissions(manager.runtime.join("agentctl"), fs::Permissions::from_mode(0o700)).unwrap();
    let by_hand = manager.agent.start_daemon();
    assert_eq!(manager.systemctl(&["start", "agentd.socket"]), "");
    let asking = Running::start(manager.agent.command(&["daemon", "status"]));
    by_hand.finish(Duration::from_secs(20)); // it hears that its name is gone
    asking.finish(LIMIT);
    manager.agent.credentials("dev-sso");
    assert_eq!(manager.property("ActiveState"), "active");
}

#[test]
fn agentctl_installs_the_service_uses_it_and_takes_it_away() {
    let Some(manager) = Manager::start() else { return };
    let agent = &manager.agent;
    assert!(agent.ctl(&["service", "status"]).expect_success().stdout.starts_with("the service is not installed"));
    agent.ctl(&["service", "install"]).expect_success();
    let status = agent.ctl(&["service", "status"]).expect_success().stdout;
    assert_eq!(status.matches("as installed").count(), 2, "{status}");
    assert_eq!(manager.property("ActiveState"), "inactive");
    agent.credentials("dev-sso");
    assert_eq!(manager.property("ActiveState"), "active");
    agent.ctl(&["service", "install"]).expect_success();
    // Where the socket does not listen any more, a client that starts the agent does it through the service.
    assert_eq!(manager.systemctl(&["stop", "agentd.socket", "agentd.service"]), "");
    eventually("both have stopped", LIMIT, || (manager.property("ActiveState") == "inactive").then_some(()));
    agent.credentials("dev-sso");
    assert_eq!(manager.property("ActiveState"), "active", "{}", manager.systemctl(&["status", "agentd.service"]));
    agent.ctl(&["service", "uninstall"]).expect_success();
    assert_eq!(manager.property("LoadState"), "not-found");
    agent.credentials("dev-sso");
    assert!(agent.home.state_dir().join("agentd.log").exists(), "started by agentctl itself");
}

/// 200 requests a second by forty clients, each of which must be answered. Who had to wait makes up for it.
struct Load {
    began: std::time::Instant,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<usize>>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..40)
            .map(|_| {
                let (client, stop, began) = (client.clone(), Arc::clone(&stop), instant());
                std::thread::spawn(move || {
                    let mut requests = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let target = "/v1/profiles/dev-sso/credentials";
                        match client.request("GET", target, &[], b"", LIMIT) {
                            Ok(answer) => assert!([200, 202].contains(&answer.status), "{}", answer.status),
                            Err(e) => panic!("request {requests}: {e:?}"),
                        }
                        requests += 1;
                        let due = Duration::from_millis(200) * u32::try_from(requests).unwrap();
                        std::thread::sleep(due.saturating_sub(began.elapsed()));
                    }
                    requests
                })
            })
            .collect();
        Self { began: instant(), stop, threads }
    }

    fn finish(self) -> (usize, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let took = self.began.elapsed();
        (self.threads.into_iter().map(|thread| thread.join().unwrap()).sum(), took)
    }
}

#[test]
fn systemd_finds_nothing_to_say_about_the_units() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("agentd.service", include_str!("../../systemd/agentd.service").replace("%h/.cargo/bin/agentd", AGENTD)),
        ("agentd.socket", include_str!("../../systemd/agentd.socket").to_owned()),
        ("agentd.service.d/namespaces.conf", include_str!("../../systemd/agentd.service.d/namespaces.conf").to_owned()),
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--user", "--man=no", "verify"]);
    verify.args(["agentd.service", "agentd.socket"].map(|name| folder.path().join(name)));
    verify.env("XDG_RUNTIME_DIR", folder.path());
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("not run: there is no systemd-analyze");
        return;
    }
    let said = process::run(verify, LIMIT).expect_success();
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
}

/// launchd.plist(5), as far as we use it.
const DOCUMENTED: [&str; 14] = [
    "Label",
    "ProgramArguments",
    "Sockets",
    "agent",
    "SockPathName",
    "SockPathMode",
    "RunAtLoad",
    "KeepAlive",
    "Crashed",
    "ExitTimeOut",
    "Umask",
    "HardResourceLimits",
    "Core",
    "ProcessType",
];

#[test]
fn the_plist_is_well_formed_and_its_keys_are_launchds() {
    let text = include_str!("../../launchd/agentd.plist");
    let mut open = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        rest = &rest[start..];
        let (tag, after) = if rest.starts_with("<!--") {
            let end = rest.find("-->").unwrap();
            assert!(!rest[4..end].contains("--"), "no double dash within a comment");
            ("", &rest[end + 3..])
        } else {
            let end = rest.find('>').unwrap();
            (&rest[1..end], &rest[end + 1..])
        };
        match tag {
            "" => {}
            tag if tag.starts_with('?') || tag.starts_with('!') || tag.ends_with('/') => {}
            tag if tag.starts_with('/') => assert_eq!(open.pop(), Some(tag[1..].split(' ').next().unwrap())),
            tag => open.push(tag.split(' ').next().unwrap()),
        }
        rest = after;
    }
    assert_eq!(open, [""; 0]);
    let keys = text.split("<key>").skip(1).map(|part| part.split("</key>").next().unwrap());
    for key in keys {
        assert!(DOCUMENTED.contains(&key) || key == "StandardErrorPath", "{key}");
    }
    let agent = aws_credential_agent::ipc::activation::LAUNCHD_NAME;
    assert!(text.contains(&format!("<key>{agent}</key>")), "the socket's name is the one that is asked for");
    assert_eq!((0o600, 0o077), (384, 63));
}
