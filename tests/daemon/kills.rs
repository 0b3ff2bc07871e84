//! SIGKILL at every system call of a renewal, by strace's injection: agentd is attached to while it is idle, then asked
//! for credentials, and dies at the n-th call of one kind. Whatever that was, the token file is whole, the next start
//! goes on without a login, and no secret is left outside the AWS cache folder.
//!
//! The fake's refresh tokens have a grace period, as AWS's do: what is lost between AWS's answer and the first byte on
//! disk nobody can recover otherwise.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::agent::{Agent, LIMIT};
use crate::support::clock::{eventually, within};
use crate::support::fake_aws::Rotation;
use crate::support::process::{self, Running};

/// All that the renewal and what goes before it ask of the kernel about files.
const CALLS: [&str; 10] =
    ["openat", "read", "write", "fsync", "rename", "renameat2", "unlink", "statx", "flock", "close"];
const ASK: [&str; 4] = ["credential-process", "--profile", "dev-sso", "--no-autostart"];
/// No kind of call is made more often than this in one renewal.
const MOST: usize = 400;

#[test]
#[ignore = "soak: needs strace and the right to trace"]
fn a_renewal_that_is_killed_at_any_system_call_loses_nothing() {
    let passes = std::env::var("KILL_PASSES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut kills = 0;
    for _ in 0..passes {
        for call in CALLS {
            let killed = (1..=MOST).take_while(|n| killed_at(call, *n)).count();
            println!("{call}: {killed} kills");
            assert!((1..MOST).contains(&killed), "{call}: {killed} kills");
            kills += killed;
        }
    }
    println!("{kills} kills in all");
}

/// One home, one agent that dies at its `n`-th `call`, and one after it. Whether the first was killed at all.
fn killed_at(call: &str, n: usize) -> bool {
    let agent = Agent::with(|s| {
        s.rotation = Rotation::Grace(Duration::from_secs(60));
        s.token_lifetime = Duration::from_secs(15 * 60); // renewed at once
    });
    let file = agent.home.token_file("corp");
    let seeded = token_in(&file);
    let mut daemon = agent.start_daemon();
    let tracer = attach(&daemon, call, n);
    let asked = Running::start(agent.command(&ASK));
    let renewed = || agent.fake.calls().iter().all(|c| c.finished) && token_in(&file) != seeded;
    let ended = within(LIMIT, || (!daemon.is_running() || renewed()).then_some(()));
    assert!(ended.is_some(), "{call} {n}: neither killed nor renewed\n{}", daemon.stderr());
    // It may die a moment after the last word of the protocol, too.
    let killed = within(Duration::from_millis(150), || (!daemon.is_running()).then_some(())).is_some();
    drop((tracer, daemon, asked));

    token_in(&file); // whole, old or new
    // As the kill left things, before anybody tidies up; and once more at the very end.
    agent.assert_no_secret_leaked();
    assert_private(&agent.home.state_dir());
    let before = agent.tokens();
    let next = agent.start_daemon();
    process::run(agent.command(&ASK), LIMIT).expect_success();
    eventually("the session is good", LIMIT, || (token_in(&file) != seeded).then_some(()));
    let context = || format!("{call} {n}, {before} calls before: {}", next.stderr());
    assert!(agent.fake.calls().iter().all(|c| c.status.is_none_or(|s| s == 200)), "{}", context());
    assert!(agent.status()["sessions"][0]["last_failure"].is_null(), "{}", context());
    // Whatever it is at goes on to its end.
    next.terminate();
    next.finish(LIMIT);
    assert_eq!(names_in(&agent.home.sso_cache()), [file.file_name().unwrap().to_str().unwrap()], "{call} {n}");
    let notes = names_in(&agent.home.state_dir());
    let known = |name: &String| ["audit.jsonl", "state.json"].contains(&name.as_str()) || name.ends_with(".lock");
    assert!(notes.iter().all(known), "{call} {n}: {notes:?}");
    killed
}

/// What setup asks of the kernel about files.
const SETUP_CALLS: [&str; 8] = ["openat", "write", "fsync", "rename", "renameat2", "unlink", "mkdir", "fchmod"];

/// Killed at any moment, it leaves each file as it was or as it was meant to be; run again it completes that, and
/// `--undo` then leads back to the first byte.
#[test]
#[ignore = "soak: needs strace and the right to trace"]
fn a_setup_that_is_killed_at_any_system_call_leaves_old_or_new() {
    let agent = Agent::new();
    let settings = agent.home.path().join(".claude/settings.json");
    let files = [settings, agent.home.aws_config()];
    let old = [SETTINGS.as_bytes().to_vec(), fs::read(&files[1]).unwrap()];
    let setup = ["setup", "claude", "aws", "--profile", "dev-sso", "--region", "eu-west-1", "--yes"];
    let now = || [&files[0], &files[1]].map(|file| fs::read(file).unwrap());
    fs::create_dir_all(files[0].parent().unwrap()).unwrap();
    fs::write(&files[0], &old[0]).unwrap();
    agent.ctl(&setup).expect_success();
    let new = now();
    assert!(new[0] != old[0] && new[1] != old[1]);
    let mut kills = 0;
    for call in SETUP_CALLS {
        for n in 1..=MOST {
            while agent.ctl(&["setup", "--undo"]).expect_success().stderr != "there is nothing to undo\n" {}
            assert_eq!(now(), old, "after {call} {n}");
            let mut strace = agent.home.command("strace");
            strace.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
            strace.args(["-e", &format!("inject={call}:signal=SIGKILL:when={n}"), crate::agent::AGENTCTL]).args(setup);
            let killed = !process::run(strace, LIMIT).status.success();
            let left = now();
            for at in 0..files.len() {
                assert!(left[at] == old[at] || left[at] == new[at], "{call} {n}: {}", files[at].display());
            }
            agent.ctl(&setup).expect_success();
            assert_eq!(now(), new, "{call} {n}");
            if !killed {
                println!("{call}: {} kills", n - 1);
                break;
            }
            kills += 1;
        }
    }
    println!("{kills} kills in all");
    assert!(kills > 0);
}

const SETTINGS: &str = "{\n  // mine\n  \"model\": \"opus\",\n}\n";

/// strace, attached to every thread of the daemon.
fn attach(daemon: &Running, call: &str, n: usize) -> Running {
    let pid = daemon.pid().to_string();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-p", &pid]);
    strace.args(["-e", &format!("inject={call}:signal=SIGKILL:when={n}")]);
    let mut tracer = Running::start(strace);
    eventually("strace is attached", LIMIT, || {
        assert!(tracer.is_running(), "strace: {}", tracer.stderr());
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let traced = status.lines().find_map(|l| l.strip_prefix("TracerPid:")).is_some_and(|p| p.trim() != "0");
        traced.then_some(())
    });
    tracer
}

/// The file's access token. A file that is not whole, or open to others, fails the test.
#[track_caller]
fn token_in(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let token: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("torn ({e}): {} bytes", text.len()));
    let mode = fs::metadata(file).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600);
    token["accessToken"].as_str().unwrap().to_owned()
}

/// Nothing in the folder can be read by others, whatever was being written.
#[track_caller]
fn assert_private(folder: &Path) {
    for name in names_in(folder) {
        let mode = fs::symlink_metadata(folder.join(&name)).unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}
