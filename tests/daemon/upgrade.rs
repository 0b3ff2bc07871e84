//! A newer agentctl against an older agent, with two real builds: the older one is made of these sources under a lower
//! version number, in a target folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_credential_agent::ipc::client::{Client, ClientError};

use crate::agent::{AGENTCTL, Agent, LIMIT};
use crate::support::clock::eventually;
use crate::support::process::{self, Running};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const OLDER: &str = "0.0.1";
const BUILD: Duration = Duration::from_secs(1200);

/// The older agentd.
fn build_older() -> PathBuf {
    let target = Path::new(ROOT).join("target/older");
    let sources = target.join("sources");
    fs::create_dir_all(&sources).unwrap();
    let mut copy = Command::new("cp");
    copy.args(["-a", "Cargo.toml", "Cargo.lock", "src", "tests", "README.md"]).arg(&sources).current_dir(ROOT);
    process::run(copy, LIMIT).expect_success();
    let manifest = fs::read_to_string(sources.join("Cargo.toml")).unwrap();
    let own = format!("\nversion = \"{}\"\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest.matches(&own).count(), 1);
    fs::write(sources.join("Cargo.toml"), manifest.replace(&own, &format!("\nversion = \"{OLDER}\"\n"))).unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--bins", "--target-dir"]).arg(&target).current_dir(&sources);
    process::run(build, BUILD).expect_success();
    target.join("debug/agentd")
}

fn version(agent: &Agent) -> String {
    agent.ctl(&["daemon", "status"]).stdout.lines().next().unwrap_or_default().to_owned()
}

#[test]
#[ignore = "soak: builds a second agentd"]
fn an_older_agent_makes_room_without_a_failed_request() {
    let older = build_older();
    for round in 0..5 {
        let agent = Agent::new();
        let daemon = Running::start(agent.home.command(&older));
        eventually("the older one serves", LIMIT, || daemon.stderr().contains(" serving ").then_some(()));
        assert_eq!(version(&agent), format!("agentd {OLDER} is running"));
        // Others ask all the while: by themselves, as a client of any language would, and by agentctl.
        let stop = Arc::new(AtomicBool::new(false));
        let raw: Vec<_> = (0..8).map(|_| asking(&agent, &stop)).collect();
        let ctl: Vec<_> =
            (0..30).map(|_| Running::start(agent.command(&["credential-process", "--profile", "dev-sso"]))).collect();
        for client in ctl {
            let answer = client.finish(LIMIT).expect_success();
            assert_eq!((answer.stdout.lines().count(), answer.stderr.as_str()), (1, ""));
        }
        eventually("a newer one serves", LIMIT, || {
            (version(&agent) == format!("agentd {} is running", env!("CARGO_PKG_VERSION"))).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        let asked: usize = raw.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(daemon.finish(LIMIT).status.success());
        println!("round {round}: replaced; 30 agentctl and {asked} raw requests, none failed");
    }
    // An older client leaves a newer agent alone.
    let agent = Agent::new();
    agent.credentials("dev-sso");
    let before = version(&agent);
    let mut old_client = agent.home.command(older.with_file_name("agentctl"));
    old_client.args(["credential-process", "--profile", "dev-sso"]);
    process::run(old_client, LIMIT).expect_success();
    assert_eq!(version(&agent), before);
    assert_ne!(older.with_file_name("agentctl"), Path::new(AGENTCTL));
}

/// Asks until told to stop, as a client that starts nothing: while nobody listens it tries again, but whoever listened
/// must answer.
fn asking(agent: &Agent, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    let (client, stop) = (Client::new(agent.home.state_dir().join("agent.sock")), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut asked = 0;
        while !stop.load(Ordering::Relaxed) {
            match client.request("GET", "/v1/profiles/dev-sso/credentials", &[], b"", LIMIT) {
                Ok(answer) => assert!([200, 202].contains(&answer.status), "{}", answer.status),
                Err(ClientError::Absent) => {}
                Err(e) => panic!("{e:?}"),
            }
            asked += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        asked
    })
}
