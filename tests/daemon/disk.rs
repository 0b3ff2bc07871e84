//! Disks that are full and folders that cannot be written: everything is served from memory, status says so, nothing is
//! destroyed, and what could not be stored is stored as soon as that is possible, without a restart.
//!
//! Needs root: to mount a small disk, and to change to a user whom modes hold back.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::agent::{AGENTCTL, AGENTD, Agent, LIMIT};
use crate::support::clock::eventually;
use crate::support::fake_aws::{Person, Rotation};
use crate::support::process::{self, Finished, Running};

const USER: u32 = 34_567;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not run: mounting, or changing the user, needs root");
    }
    root
}

/// A session whose token must be renewed at once, and whose used refresh tokens are worth nothing.
fn agent() -> Agent {
    Agent::with(|s| {
        s.rotation = Rotation::SingleUse;
        s.token_lifetime = Duration::from_secs(15 * 60);
    })
}

fn token(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("torn ({e}): {} bytes", text.len()))
}

/// A disk of one megabyte that holds the whole home.
struct SmallDisk {
    home: PathBuf,
}

impl SmallDisk {
    /// `None`, with a word why, where nothing can be mounted.
    fn under(home: &Path) -> Option<Self> {
        let aside = tempfile::tempdir().unwrap();
        let copy = |from: &Path, to: &Path| {
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(from.join(".")).arg(to);
            process::run(copy, LIMIT).expect_success();
        };
        copy(home, aside.path());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"]).arg(home);
        let mounted = process::run(mount, LIMIT);
        if !mounted.status.success() {
            eprintln!("not run: {}", mounted.stderr);
            return None;
        }
        copy(aside.path(), home);
        Some(Self { home: home.to_owned() })
    }

    fn fill(&self) {
        let mut ballast = fs::File::create(self.home.join("ballast")).unwrap();
        for size in [64 * 1024, 1024, 1] {
            while ballast.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.home.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        umount.arg("--lazy").arg(&self.home);
        process::run(umount, LIMIT);
    }
}

#[test]
fn a_full_disk_costs_nothing() {
    if !is_root() {
        return;
    }
    let agent = agent();
    let Some(disk) = SmallDisk::under(agent.home.path()) else { return };
    let file = agent.home.token_file("corp");
    let before = token(&file);
    let daemon = agent.start_daemon();
    disk.fill();
    let first = agent.credentials("dev-sso");
    eventually("the renewed token is in memory only", LIMIT, || {
        agent.status()["findings"].to_string().contains("token-not-stored").then_some(())
    });
    assert_eq!(token(&file), before, "nothing is destroyed");
    eventually("the new token works", LIMIT, || {
        agent.ctl(&["refresh", "--profile", "dev-sso"]).expect_success();
        (agent.credentials("dev-sso") != first).then_some(())
    });
    agent.ctl(&["pause"]).expect_success();
    agent.ctl(&["resume"]).expect_success();
    disk.make_room();
    assert!(!agent.status()["findings"].to_string().contains("token-not-stored"));
    assert_ne!(token(&file), before, "it is stored");
    daemon.terminate();
    daemon.finish(LIMIT).status.success().then_some(()).unwrap();
    agent.credentials("dev-sso");
    assert!(agent.fake.calls().iter().all(|c| c.status.is_none_or(|s| s == 200)), "no used refresh token was sent");
    agent.ctl(&["daemon", "stop"]).expect_success();
    agent.assert_no_secret_leaked();
    drop(disk);
}

#[test]
fn a_start_on_a_full_disk_serves() {
    if !is_root() {
        return;
    }
    let agent = agent();
    let Some(disk) = SmallDisk::under(agent.home.path()) else { return };
    disk.fill();
    agent.credentials("dev-sso");
    eventually("status says what is wrong", LIMIT, || {
        let status = agent.status().to_string();
        (status.contains("token-not-stored") || status.contains("state-not-writable")).then_some(())
    });
    disk.make_room();
    agent.ctl(&["daemon", "stop"]).expect_success();
    drop(disk);
}

#[test]
fn a_login_on_a_full_disk_is_stored_when_there_is_room() {
    if !is_root() {
        return;
    }
    let agent = agent();
    agent.fake.set_person(Person::Approves);
    let Some(disk) = SmallDisk::under(agent.home.path()) else { return };
    let file = agent.home.token_file("corp");
    fs::remove_file(&file).unwrap();
    let _daemon = agent.start_daemon();
    disk.fill();
    agent.ctl(&["login", "--device", "--no-browser", "--profile", "dev-sso"]).expect_success();
    agent.credentials("dev-sso");
    assert!(agent.status()["findings"].to_string().contains("token-not-stored"));
    disk.make_room();
    eventually("it is stored", LIMIT, || {
        (!agent.status()["findings"].to_string().contains("token-not-stored")).then_some(())
    });
    assert!(token(&file)["refreshToken"].is_string());
    agent.credentials("dev-sso");
    agent.ctl(&["daemon", "stop"]).expect_success();
    drop(disk);
}

/// Everything below the home of another user's, who runs the agent.
fn hand_over(agent: &Agent) {
    walk(agent.home.path(), &|path| chown(path, Some(USER), Some(USER)).unwrap());
}

fn walk(path: &Path, act: &dyn Fn(&Path)) {
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| walk(&entry.unwrap().path(), act));
    }
    act(path);
}

fn as_user(agent: &Agent, program: &str, arguments: &[&str]) -> Command {
    let mut command = agent.home.command("setpriv");
    let uid = USER.to_string();
    command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--", program]).args(arguments);
    command
}

fn ctl(agent: &Agent, arguments: &[&str]) -> Finished {
    let finished = process::run(as_user(agent, AGENTCTL, arguments), LIMIT);
    agent.note(arguments, &finished);
    finished
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn start(agent: &Agent) -> Running {
    let daemon = Running::start(as_user(agent, AGENTD, &[]));
    eventually("agentd serves", LIMIT, || {
        assert!(daemon.stderr().lines().count() < 50, "{}", daemon.stderr());
        daemon.stderr().contains(" serving ").then_some(())
    });
    daemon
}

#[test]
fn folders_that_cannot_be_written_cost_nothing() {
    if !is_root() {
        return;
    }
    let cache_only: fn(&Agent, u32) = |agent, mode| set_mode(&agent.home.sso_cache(), mode);
    let all: fn(&Agent, u32) = |agent, mode| {
        walk(agent.home.path(), &|path| {
            if path.is_dir() {
                set_mode(path, mode);
            }
        });
    };
    // Without the state folder there is no lock, and so no renewal whose outcome could be lost.
    for (what, change, told) in
        [("the cache folder", cache_only, "token-not-stored"), ("the whole home", all, "state-not-writable")]
    {
        let agent = agent();
        hand_over(&agent);
        let file = agent.home.token_file("corp");
        let before = token(&file);
        let daemon = start(&agent);
        change(&agent, 0o500);
        let ask = ["credential-process", "--profile", "dev-sso"];
        ctl(&agent, &ask).expect_success();
        let status = || ctl(&agent, &["status", "--json"]).expect_success().stdout;
        eventually(&format!("{what}: status says it"), LIMIT, || status().contains(told).then_some(()));
        assert_eq!(token(&file), before, "{what}: nothing is destroyed");
        ctl(&agent, &ask).expect_success();
        change(&agent, 0o700);
        eventually(&format!("{what}: renewed"), LIMIT, || {
            ctl(&agent, &["refresh", "--profile", "dev-sso"]).status.success().then_some(())
        });
        eventually(&format!("{what}: it is stored"), LIMIT, || {
            status();
            (token(&file) != before).then_some(())
        });
        assert!(!status().contains(told), "{what}: {}", status());
        assert!(agent.fake.calls().iter().all(|c| c.status.is_none_or(|s| s == 200)), "{what}");
        daemon.terminate();
        daemon.finish(LIMIT);
        walk(agent.home.path(), &|path| chown(path, Some(0), Some(0)).unwrap());
    }
}
