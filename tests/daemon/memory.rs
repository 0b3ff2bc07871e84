//! What the agent's memory holds, and who can read it. Linux: /proc/PID/mem, ptrace(2).

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::process::Command;
use std::time::Duration;

use crate::agent::{AGENTD, Agent, LIMIT};
use crate::support::clock::eventually;
use crate::support::fake_aws::Operation;
use crate::support::process::{self, Running};
use crate::support::secret_scan::SecretScan;

/// Everything that a process can read of itself: each region, with its name in `/proc/PID/maps`.
fn memory_of(pid: u32) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut regions = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (range, mode) = (fields.next().unwrap(), fields.next().unwrap());
        if !mode.starts_with('r') || line.contains("[vvar") || line.contains("[vsyscall]") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        let mut content = vec![0; usize::try_from(end - start).unwrap()];
        // A region may go away in between.
        if memory.read_exact_at(&mut content, start).is_ok() {
            regions.push((format!("{range} {}", fields.nth(3).unwrap_or("")), content));
        }
    }
    Ok(regions)
}

fn secrets_in_memory(agent: &Agent, pid: u32) -> Option<Vec<String>> {
    let regions = memory_of(pid).ok()?;
    assert!(regions.iter().any(|(name, _)| name.ends_with("[heap]")), "the heap was read");
    let mut scan = SecretScan::of(&agent.fake);
    for (name, content) in regions {
        scan.text(&name, content);
    }
    Some(scan.findings())
}

#[test]
fn what_is_forgotten_is_gone_from_memory() {
    let agent = Agent::with(|s| s.token_lifetime = Duration::from_secs(15 * 60)); // renewed at once
    let daemon = agent.start_daemon();
    for _ in 0..5 {
        agent.credentials("dev-sso");
        agent.ctl(&["export", "--profile", "dev-sso"]).expect_success();
        agent.status();
    }
    eventually("the token is renewed", LIMIT, || (agent.tokens() >= 1).then_some(()));
    eventually("calls have ended", LIMIT, || agent.fake.calls().iter().all(|c| c.finished).then_some(()));
    agent.ctl(&["refresh", "--profile", "dev-sso"]).expect_success();
    let Some(held) = secrets_in_memory(&agent, daemon.pid()) else {
        eprintln!("not run: reading the agent's memory needs privileges, as it should");
        return;
    };
    assert!(!held.is_empty(), "a scan that finds nothing while keys are held would prove nothing");
    // What other tools do at a logout.
    fs::remove_file(agent.home.token_file("corp")).unwrap();
    eventually("the session and its keys are forgotten", LIMIT, || {
        agent.profile("dev-sso")["expires_at"].is_null().then_some(())
    });
    let roles = agent.fake.count(Operation::GetRoleCredentials);
    assert!(roles >= 2);
    eventually_clean(&agent, daemon.pid());
}

#[test]
fn a_logout_leaves_nothing_in_memory() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    agent.credentials("dev-sso");
    agent.ctl(&["refresh", "--profile", "dev-sso"]).expect_success();
    let Some(held) = secrets_in_memory(&agent, daemon.pid()) else {
        eprintln!("not run: reading the agent's memory needs privileges, as it should");
        return;
    };
    assert!(!held.is_empty(), "a scan that finds nothing while keys are held would prove nothing");
    agent.ctl(&["logout", "--profile", "dev-sso"]).expect_success();
    eventually_clean(&agent, daemon.pid());
}

#[track_caller]
fn eventually_clean(agent: &Agent, pid: u32) {
    let mut left = Vec::new();
    let clean = crate::support::clock::within(Duration::from_secs(5), || {
        left = secrets_in_memory(agent, pid)?;
        left.is_empty().then_some(())
    });
    assert!(clean.is_some(), "still in memory:\n  {}", left.join("\n  "));
}

/// Nobody with the rights of an ordinary user: root may look into everything.
#[test]
fn another_program_of_the_same_user_cannot_read_it() {
    const USER: u32 = 23_456;
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: changing the user needs root");
        return;
    }
    let agent = Agent::new();
    let give = |uid: u32| {
        let mut all = vec![agent.home.path().to_owned()];
        while let Some(path) = all.pop() {
            chown(&path, Some(uid), Some(uid)).unwrap();
            if path.is_dir() {
                all.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    };
    give(USER);
    let as_user = |program: &str, arguments: &[&str]| {
        let mut command: Command = agent.home.command("setpriv");
        command.args(["--reuid", &USER.to_string(), "--regid", &USER.to_string(), "--clear-groups", "--", program]);
        command.args(arguments);
        command
    };
    let daemon = Running::start(as_user(AGENTD, &[]));
    eventually("agentd serves", LIMIT, || daemon.stderr().contains(" serving ").then_some(()));
    let pid = daemon.pid().to_string();
    let folder = agent.home.path().join("dumps");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let dump = folder.join("core");
    let mut tried = 0;
    for (program, arguments, words) in [
        ("cat", vec![format!("/proc/{pid}/mem")], "Permission denied"),
        ("cat", vec![format!("/proc/{pid}/environ")], "Permission denied"),
        ("readlink", vec!["-v".to_owned(), format!("/proc/{pid}/exe")], "Permission denied"),
        ("strace", vec!["-p".to_owned(), pid.clone()], "Operation not permitted"),
        ("gcore", vec!["-o".to_owned(), dump.display().to_string(), pid.clone()], "Operation not permitted"),
    ] {
        if !process::run(as_user("sh", &["-c", &format!("command -v {program}")]), LIMIT).status.success() {
            eprintln!("{program} is not there: not tried");
            continue;
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let refused = process::run(as_user(program, &arguments), LIMIT);
        let said = refused.stdout + &refused.stderr;
        assert!(!refused.status.success() && said.contains(words), "{program}: {said}");
        tried += 1;
    }
    assert!(tried >= 3 && fs::read_dir(&folder).unwrap().count() == 0);
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_ascii_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    daemon.terminate();
    daemon.finish(LIMIT);
    give(0);
}
