//! The daemon's own life: who starts it, who ends it, and what its clients see when it is absent, stuck or killed.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::agent::{AGENTD, Agent, LIMIT};
use crate::support::clock::{eventually, instant, now, within};
use crate::support::fake_aws::{Fault, Operation, Rotation};
use crate::support::process::{self, Finished, Running};

const MISCONFIGURED: i32 = 12;
const TRANSIENT: i32 = 17;
const AGENT_UNREACHABLE: i32 = 19;
const ASK: [&str; 3] = ["credential-process", "--profile", "dev-sso"];

fn socket(agent: &Agent) -> PathBuf {
    agent.home.state_dir().join("agent.sock")
}

/// The process id that `daemon status` names.
fn pid(agent: &Agent) -> u32 {
    let status = agent.ctl(&["daemon", "status"]).expect_success().stdout;
    let line = status.lines().find_map(|l| l.trim().strip_prefix("pid")).unwrap_or_else(|| panic!("no pid: {status}"));
    line.trim().parse().unwrap()
}

/// Runs agentctl with one more variable.
fn with_variable(agent: &Agent, name: &str, value: &str, arguments: &[&str]) -> Finished {
    let mut command = agent.command(arguments);
    command.env(name, value);
    let finished = process::run(command, LIMIT);
    agent.note(arguments, &finished);
    finished
}

/// A failure on one line without a document.
#[track_caller]
fn refused(finished: &Finished, code: i32, words: &[&str]) {
    let line = &finished.stderr;
    assert_eq!((finished.code(), finished.stdout.as_str(), line.lines().count()), (code, "", 1), "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
}

#[test]
fn start_status_restart_and_stop_by_hand() {
    let agent = Agent::new();
    let started = agent.ctl(&["daemon", "start"]).expect_success();
    let first = pid(&agent);
    assert!(started.stderr.contains(&format!("runs (pid {first})")), "{}", started.stderr);
    let again = agent.ctl(&["daemon", "start"]).expect_success();
    assert!(again.stderr.contains(&format!("is already running (pid {first})")), "{}", again.stderr);
    let status = agent.ctl(&["daemon", "status"]).expect_success().stdout;
    assert!(status.contains(&socket(&agent).display().to_string()), "{status}");
    let before = agent.credentials("dev-sso");
    agent.ctl(&["daemon", "restart"]).expect_success();
    assert_ne!(pid(&agent), first);
    assert_ne!(agent.credentials("dev-sso"), before, "what it held is forgotten");
    assert_eq!(agent.ctl(&["daemon", "stop"]).expect_success().stderr, "agentd has ended\n");
    assert_eq!(agent.ctl(&["daemon", "stop"]).expect_success().stderr, "agentd is not running\n");
    assert!(!socket(&agent).exists());
    refused(&agent.ctl(&["daemon", "status"]), AGENT_UNREACHABLE, &["not running", "agentctl daemon start"]);
    agent.ctl(&["daemon", "restart"]).expect_success();
    agent.credentials("dev-sso");
}

#[test]
fn a_second_agentd_refuses_and_harms_nothing() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    let second = process::run(agent.home.command(AGENTD), LIMIT);
    refused(&second, MISCONFIGURED, &["agentd: another agentd already serves", "agent.sock", "agentctl daemon status"]);
    assert_eq!(pid(&agent), daemon.pid());
    agent.credentials("dev-sso");
}

#[test]
fn a_killed_daemon_is_replaced_by_the_next_client() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    agent.credentials("dev-sso");
    let old = daemon.pid();
    drop(daemon); // SIGKILL
    assert!(socket(&agent).exists(), "it left its socket behind");
    refused(&agent.ctl(&["status"]), AGENT_UNREACHABLE, &["not running"]);
    agent.credentials("dev-sso");
    assert_ne!(pid(&agent), old);
}

#[test]
fn sigterm_answers_those_who_wait_and_takes_the_socket_away() {
    let agent = Agent::new();
    agent.fake.inject(Fault::hang());
    let daemon = agent.start_daemon();
    let mut parked = UnixStream::connect(socket(&agent)).unwrap();
    parked.write_all(b"GET /v1/profiles/dev-sso/credentials HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let client = Running::start(agent.command(&["credential-process", "--profile", "dev-sso", "--no-autostart"]));
    eventually("the fetch is under way", LIMIT, || (!agent.fake.calls().is_empty()).then_some(()));
    daemon.terminate();
    let mut answer = String::new();
    parked.set_read_timeout(Some(LIMIT)).unwrap();
    parked.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202") && answer.ends_with("{\"in_flight\":true}"), "ask again: {answer}");
    refused(&client.finish(LIMIT), AGENT_UNREACHABLE, &["agentd is not running", "agentctl daemon start"]);
    let ended = daemon.finish(Duration::from_secs(5));
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(!socket(&agent).exists());
}

#[test]
fn sighup_has_everything_looked_at() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    agent.write_settings("keep = [\"dev-sso\"]\n");
    let pid = rustix::process::Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    eventually("kept, though nobody asked", Duration::from_secs(10), || (agent.roles() == 1).then_some(()));
    assert_eq!(pid.as_raw_pid(), i32::try_from(self::pid(&agent)).unwrap());
}

#[test]
fn an_agent_whose_socket_was_taken_away_makes_room() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    let old = agent.credentials("dev-sso");
    fs::remove_file(socket(&agent)).unwrap();
    // The next client's agent waits for the lock, and tells its holder to look.
    assert_ne!(agent.credentials("dev-sso"), old, "a new agent serves");
    let ended = daemon.finish(Duration::from_secs(5));
    assert!(ended.status.success() && ended.stderr.contains("the socket is gone"), "{}", ended.stderr);
}

#[test]
fn thirty_clients_at_once_start_one_daemon() {
    storm(30);
}

#[test]
#[ignore = "soak: 10,000 processes"]
fn two_hundred_clients_at_once_start_one_daemon_fifty_times() {
    for _ in 0..50 {
        storm(200);
    }
}

/// So many clients find no daemon: one is started, and all are answered.
fn storm(clients: usize) {
    let agent = Agent::new();
    let clients: Vec<_> = (0..clients).map(|_| Running::start(agent.command(&ASK))).collect();
    for client in clients {
        let finished = client.finish(LIMIT).expect_success();
        assert_eq!((finished.stdout.lines().count(), finished.stderr.as_str()), (1, ""));
    }
    assert_eq!((agent.tokens(), agent.roles()), (0, 1));
    let log = fs::read_to_string(agent.home.state_dir().join("agentd.log")).unwrap();
    assert_eq!(log.matches(" serving ").count(), 1, "{log}");
    assert!(log.contains(&format!("pid={}", pid(&agent))), "{log}");
}

#[test]
fn nobody_starts_one_who_must_not() {
    let agent = Agent::new();
    let start = "start it: agentctl daemon start";
    for verb in ["credential-process", "export", "refresh", "login"] {
        refused(&agent.ctl(&[verb, "--no-autostart"]), AGENT_UNREACHABLE, &["not running", start]);
        let forbidden = with_variable(&agent, "AGENTCTL_NO_AUTOSTART", "1", &[verb]);
        refused(&forbidden, AGENT_UNREACHABLE, &["AGENTCTL_NO_AUTOSTART", start]);
        let inside = with_variable(&agent, "SANDBOX_RUNTIME", "1", &[verb]);
        refused(&inside, AGENT_UNREACHABLE, &["sandbox", "SANDBOX_RUNTIME", "start it outside"]);
    }
    refused(&with_variable(&agent, "SANDBOX_RUNTIME", "1", &["daemon", "start"]), AGENT_UNREACHABLE, &["sandbox"]);
    for verb in [&["status"][..], &["status", "--json"], &["status", "--watch"], &["why"], &["pause"], &["resume"]] {
        refused(&agent.ctl(verb), AGENT_UNREACHABLE, &["not running", start]);
    }
    assert!(!socket(&agent).exists());
    agent.ctl(&["daemon", "start"]).expect_success();
    // One that runs is used from inside a sandbox too.
    with_variable(&agent, "SANDBOX_RUNTIME", "1", &ASK).expect_success();
}

#[test]
fn a_black_hole_withholds_no_living_key() {
    let agent = Agent::with(|s| s.role_lifetime = Duration::from_secs(10));
    let held = agent.credentials("dev-sso");
    let ends: DateTime<Utc> = held["Expiration"].as_str().unwrap().parse().unwrap();
    agent.fake.inject(Fault::hang());
    eventually("a renewal hangs", LIMIT, || (agent.roles() == 2).then_some(()));
    let mut slowest = Duration::ZERO;
    // Up to the last moment at which an answer could still be in time for its key: callers wait R/2 at most.
    while now() + chrono::Duration::milliseconds(1500) < ends {
        for verb in ["credential-process", "export"] {
            let began = instant();
            let answer = agent.ctl(&[verb, "--profile", "dev-sso"]).expect_success();
            slowest = slowest.max(began.elapsed());
            assert!(answer.stdout.contains(held["AccessKeyId"].as_str().unwrap()));
        }
    }
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    assert_eq!(agent.fake.most_at_once(Operation::GetRoleCredentials), 1);
}

#[test]
fn a_cold_fetch_that_hangs_ends_at_the_clients_limit() {
    let agent = Agent::new();
    agent.fake.inject(Fault::hang());
    let began = instant();
    let answer = agent.ctl(&["credential-process", "--profile", "dev-sso", "--timeout", "3s", "-v"]);
    let took = began.elapsed();
    assert_eq!((answer.code(), answer.stdout.as_str()), (TRANSIENT, ""), "{}", answer.stderr);
    assert!(
        answer.stderr.matches("-> 202 in ").count() >= 2,
        "it was told that a fetch is under way: {}",
        answer.stderr
    );
    assert!(answer.stderr.lines().last().unwrap().contains("still fetching after 3 s; "), "{}", answer.stderr);
    assert!((2900..4500).contains(&took.as_millis()), "{took:?}");
    assert_eq!(agent.fake.count(Operation::GetRoleCredentials), 1);
}

#[test]
fn an_agent_that_never_answers_is_given_two_seconds() {
    let agent = Agent::new();
    let mute = UnixListener::bind(socket(&agent)).unwrap();
    for arguments in [&ASK[..], &["daemon", "start"]] {
        let began = instant();
        let answer = agent.ctl(arguments);
        let took = began.elapsed();
        refused(&answer, AGENT_UNREACHABLE, &["agentd does not answer (waited 2 s)", "agent.sock"]);
        assert!((1900..3500).contains(&took.as_millis()), "{arguments:?} took {took:?}");
    }
    drop(mute);
    agent.credentials("dev-sso");
}

#[test]
fn settings_change_without_a_restart() {
    let agent = Agent::new();
    agent.ctl(&["daemon", "start"]).expect_success();
    agent.write_settings("keep = [\"dev-sso\"]\n");
    agent.status();
    eventually("kept without a demand", LIMIT, || (agent.roles() == 1).then_some(()));
    assert_eq!(agent.profile("dev-sso")["kept"], "always");
    agent.write_settings("[profiles.dev-sso]\nserve = false\n");
    refused(&agent.ctl(&ASK), 20, &["'dev-sso' is not served", "config.toml"]);
    agent.write_settings("[profiles.dev-sso]\nsrve = false\n");
    refused(&agent.ctl(&ASK), 20, &["'dev-sso' is not served"]);
    let findings = agent.status()["findings"].to_string();
    assert!(findings.contains("settings-invalid") && findings.contains("did you mean 'serve'?"), "{findings}");
    fs::remove_file(agent.config_toml()).unwrap();
    agent.credentials("dev-sso");
    assert!(!agent.status()["findings"].to_string().contains("settings-invalid"));
}

#[test]
fn a_token_that_another_tool_renewed_is_adopted() {
    let agent = Agent::new();
    let before = agent.credentials("dev-sso");
    // What another tool does: a new token in the file, and the old one is worth nothing any more.
    agent.fake.revoke_access_tokens(agent.session);
    agent.fake.revoke_refresh_tokens(agent.session);
    let token = agent.fake.sign_in(agent.session);
    agent.home.seed_token("corp", &token);
    eventually("renewed with the new token", LIMIT, || {
        agent.ctl(&["refresh", "--profile", "dev-sso"]).expect_success();
        (agent.credentials("dev-sso") != before).then_some(())
    });
    assert_eq!(agent.tokens(), 0, "nothing was renewed that another tool had renewed");
    let expires_at = agent.status()["sessions"][0]["expires_at"].clone();
    assert_eq!(expires_at, crate::support::home::stamp(token.expires_at));
}

#[test]
fn a_logout_by_deletion_forgets_the_role_after_two_seconds() {
    let agent = Agent::new();
    agent.credentials("dev-sso");
    let file = agent.home.token_file("corp");
    let aside = file.with_extension("aside");
    // A rename of others leaves a gap: that is no logout.
    fs::rename(&file, &aside).unwrap();
    agent.credentials("dev-sso");
    fs::rename(&aside, &file).unwrap();
    let is_gone = || agent.profile("dev-sso")["expires_at"].is_null().then_some(());
    assert!(within(Duration::from_secs(3), is_gone).is_none(), "the key was forgotten although the file came back");
    fs::remove_file(&file).unwrap();
    let began = instant();
    eventually("the key is forgotten", Duration::from_secs(10), is_gone);
    let took = began.elapsed();
    assert!((1900..5000).contains(&took.as_millis()), "{took:?}");
    refused(&agent.ctl(&ASK), 10, &["agentctl login --profile dev-sso"]);
    assert!(!file.exists(), "and never made again");
}

#[test]
fn a_renewal_under_way_is_stored_before_the_end() {
    let agent = Agent::with(|s| {
        s.rotation = Rotation::SingleUse;
        s.token_lifetime = Duration::from_secs(15 * 60);
    });
    let file = agent.home.token_file("corp");
    let before = fs::read_to_string(&file).unwrap();
    // Whoever gives up now loses what AWS is about to answer.
    agent.fake.inject(Fault::slow(Duration::from_secs(3)).on(Operation::CreateToken).times(1));
    agent.credentials("dev-sso");
    eventually("the renewal beside it is under way", LIMIT, || (agent.tokens() == 1).then_some(()));
    agent.ctl(&["daemon", "stop"]).expect_success();
    eventually("what AWS answered is stored", LIMIT, || (fs::read_to_string(&file).unwrap() != before).then_some(()));
    agent.ctl(&["refresh", "--profile", "dev-sso"]).expect_success();
    assert!(agent.fake.calls_of(Operation::CreateToken).iter().all(|c| c.ok()), "no refresh token was lost");
}

#[test]
fn a_renewed_token_that_cannot_be_written_is_known_to_all_and_written_at_the_end() {
    let agent = Agent::with(|s| {
        s.rotation = Rotation::SingleUse;
        s.token_lifetime = Duration::from_secs(15 * 60);
    });
    let file = agent.home.token_file("corp");
    // A folder in the journal's place works for root too, unlike a mode.
    let journal = file.with_file_name(format!(".{}.agentctl-journal", file.file_name().unwrap().to_str().unwrap()));
    fs::create_dir(&journal).unwrap();
    let before = fs::read_to_string(&file).unwrap();
    agent.credentials("dev-sso");
    eventually("it lives in memory alone", LIMIT, || {
        agent.status()["findings"].to_string().contains("token-not-stored").then_some(())
    });
    // Another world with the same cache folder has an entry of its own for this session.
    let config = agent.home.path().join("other-config");
    fs::copy(agent.home.aws_config(), &config).unwrap();
    with_variable(&agent, "AWS_CONFIG_FILE", config.to_str().unwrap(), &ASK).expect_success();
    eventually("it renewed the successor", LIMIT, || (agent.tokens() == 2).then_some(()));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    eventually("it was stored as far as that goes", LIMIT, || {
        agent.fake.calls().iter().all(|c| c.finished).then_some(())
    });
    refused(&agent.ctl(&["daemon", "restart"]), TRANSIENT, &["in memory only", "daemon stop --force"]);
    fs::remove_dir(&journal).unwrap();
    agent.ctl(&["daemon", "stop"]).expect_success();
    agent.credentials("dev-sso");
    eventually("renewed from what was written", LIMIT, || (agent.tokens() == 3).then_some(()));
    let calls = || agent.fake.calls_of(Operation::CreateToken);
    eventually("they ended", LIMIT, || calls().iter().all(|c| c.finished).then_some(()));
    assert!(calls().iter().all(|c| c.ok()), "a used refresh token was sent");
}

#[test]
fn without_a_daemon_the_same_answers_come_from_a_child() {
    let agent = Agent::with(|s| {
        s.rotation = Rotation::SingleUse;
        s.token_lifetime = Duration::from_secs(15 * 60);
    });
    agent.expire_token();
    let ask = ["credential-process", "--profile", "dev-sso", "--no-daemon"];
    for _ in 0..2 {
        let document = with_variable(&agent, "SANDBOX_RUNTIME", "1", &ask).expect_success();
        assert_eq!((document.stdout.lines().count(), document.stderr.as_str()), (1, ""));
    }
    assert!(!socket(&agent).exists() && !agent.home.state_dir().join("agentd.log").exists());
    assert!(agent.tokens() >= 1, "the token had ended");
    assert!(agent.fake.calls_of(Operation::CreateToken).iter().all(|c| c.ok()), "what was renewed was stored");
    refused(
        &agent.ctl(&["credential-process", "--profile", "dev-sos", "--no-daemon"]),
        MISCONFIGURED,
        &["did you mean 'dev-sso'?"],
    );
    agent.write_settings("keep = [\"dev-sso\"]\n[profiles.dev-sso]\nserve = false\n");
    refused(&agent.ctl(&ask), 20, &["'dev-sso' is not served"]);
    fs::remove_file(agent.config_toml()).unwrap();
    agent.fake.inject(Fault::hang().on(Operation::GetRoleCredentials));
    let began = instant();
    let late = agent.ctl(&["credential-process", "--profile", "dev-sso", "--no-daemon", "--timeout", "2s"]);
    refused(&late, TRANSIENT, &["still fetching after 2 s"]);
    assert!((1900..6000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    // One that runs is neither asked nor in the way.
    agent.fake.clear_faults();
    let daemon = agent.start_daemon();
    agent.ctl(&ask).expect_success();
    agent.credentials("dev-sso");
    drop(daemon);
}
