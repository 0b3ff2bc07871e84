//! A proxy that opens TLS: not trusted, it costs one tab at most and is named; trusted, nothing is wrong.

use std::fs;
use std::path::Path;
use std::time::Duration;

use aws_credential_agent::platform::clock::Clock;

use crate::agent::{Agent, LIMIT};
use crate::behind::{Behind, check};
use crate::support::clock::eventually;
use crate::support::fake_aws::{Operation, Person};
use crate::support::process::{Finished, run};

const INTERCEPTED: i32 = 13;
const LOGIN_PAUSED: i32 = 18;

fn login(behind: &Behind) -> Finished {
    behind.agent.ctl(&["login", "--device", "--profile", "dev-sso"])
}

fn pause(agent: &Agent) -> serde_json::Value {
    agent.status()["sessions"][0]["login_pause"].clone()
}

#[test]
fn not_trusted_it_is_named_and_nobody_is_sent_to_a_browser() {
    let behind = Behind::new();
    behind.sign_out();
    let first = login(&behind);
    assert_eq!(first.code(), INTERCEPTED, "{}", first.stderr);
    let named = "oidc.eu-west-1.amazonaws.com presents a certificate by 'Zscaler Root CA', which is not trusted here; \
                 set AWS_CA_BUNDLE or ca_bundle";
    assert!(first.stderr.contains(named), "{}", first.stderr);
    for _ in 0..100 {
        let began = Clock.tick();
        let refused = login(&behind);
        // Generous to a machine with much else to do; 200 ms is what is aimed at.
        assert!(Clock.tick().since(began) < Duration::from_secs(2), "{:?}", Clock.tick().since(began));
        assert_eq!(refused.code(), LOGIN_PAUSED, "{}", refused.stderr);
        assert!(refused.stderr.contains("is paused until ") && refused.stderr.contains(named), "{}", refused.stderr);
    }
    assert_eq!((behind.openings(), behind.agent.fake.calls().len()), (0, 0));
    let after: usize = behind.proxy.seen().iter().filter(|c| c.handshake == Some(false)).count();
    assert!(after <= 4, "paused logins ask nobody: {after}");
}

#[test]
fn what_is_held_is_served_while_nothing_can_be_renewed() {
    let behind = Behind::with(|s| s.role_lifetime = Duration::from_secs(3600)).trusted();
    let path = behind.authority();
    let before = behind.agent.credentials("dev-sso");
    fs::write(&path, "").unwrap();
    behind.sign_out();
    login(&behind).expect_success();
    assert_eq!(behind.agent.credentials("dev-sso"), before);
}

/// The authority is made known while logins are paused; the next demand is to find a working login.
fn cured_by(behind: Behind, cure: impl FnOnce(&Behind, &Path)) {
    behind.sign_out();
    behind.agent.fake.set_person(Person::Approves);
    assert_eq!(login(&behind).code(), INTERCEPTED);
    assert_eq!(login(&behind).code(), LOGIN_PAUSED);
    let authority = behind.authority();
    let began = Clock.tick();
    cure(&behind, &authority);
    let signed_in = eventually("the authority is used", LIMIT, || Some(login(&behind)).filter(|l| l.status.success()));
    assert!(signed_in.stderr.contains("signed in: "), "{}", signed_in.stderr);
    eprintln!("signed in {:?} after the cure", Clock.tick().since(began));
    assert_eq!((behind.openings(), pause(&behind.agent)), (1, serde_json::Value::Null));
    behind.agent.credentials("dev-sso");
}

#[test]
fn a_file_that_is_named_already_cures_it_as_it_appears() {
    let mut behind = Behind::new();
    let named = behind.agent.home.path().join("named.pem");
    behind.agent.home.set("AWS_CA_BUNDLE", &named);
    cured_by(behind, |_, authority| assert!(fs::copy(authority, named).unwrap() > 0));
}

#[test]
fn the_variable_cures_it_at_a_restart() {
    cured_by(Behind::new(), |behind, authority| {
        let variable = [("AWS_CA_BUNDLE", authority.to_str().unwrap())];
        behind.ctl_with(&variable, &["daemon", "restart"]).expect_success();
    });
}

#[test]
fn ca_bundle_of_the_aws_config_cures_it() {
    cured_by(Behind::new(), |behind, authority| {
        let line = format!("[profile other]\nca_bundle = {}\n", authority.display());
        behind.agent.home.append_config(&line);
    });
}

#[test]
fn ca_bundle_of_our_own_config_cures_it() {
    cured_by(Behind::new(), |behind, authority| {
        behind.agent.write_settings(&format!("ca_bundle = {authority:?}\n"));
    });
}

#[test]
fn trusted_it_is_only_told() {
    let behind = Behind::new().trusted();
    behind.agent.credentials("dev-sso");
    let told = eventually("who is in between is told", LIMIT, || {
        let text = behind.agent.ctl(&["status"]).expect_success().stdout;
        text.contains("inspected-trusted").then_some(text)
    });
    assert!(told.contains("inspected by 'Zscaler Root CA', trusted"), "{told}");
    behind.agent.ctl(&["logout", "--sso-session", "corp"]).expect_success();
    behind.agent.fake.set_person(Person::Approves);
    behind.agent.ctl(&["login", "--device", "--sso-session", "corp"]).expect_success();
    assert_eq!(behind.agent.fake.count(Operation::RegisterClient), 1);
    let (report, code) = behind.doctor(&[]);
    assert_eq!((code, &report["first"]), (0, &serde_json::Value::Null), "{report:#}");
    assert_eq!(check(&report, "tls")["message"], "TLS is inspected by 'Zscaler Root CA', trusted");
}

/// The system's own roots, as an agent in a mount namespace of its own sees them: there a copy stands in their place.
#[cfg(target_os = "linux")]
#[test]
fn a_root_that_the_system_gets_cures_it() {
    use crate::agent::AGENTD;
    use crate::support::process::Running;

    const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
    let behind = Behind::new();
    let copy = behind.agent.home.path().join("system.pem");
    if !rustix::process::geteuid().is_root() || fs::copy(BUNDLE, &copy).is_err() {
        return eprintln!("not run: needs root, and {BUNDLE}");
    }
    let mut command = behind.agent.home.command("unshare");
    let script = r#"mount --bind "$1" "$2" && exec "$3""#;
    command.args(["-m", "sh", "-c", script, "sh"]).args([copy.as_os_str(), BUNDLE.as_ref(), AGENTD.as_ref()]);
    let mut daemon = Running::start(command);
    let serves = eventually("agentd serves, or nothing can be mounted", LIMIT, || {
        let up = behind.agent.ctl(&["daemon", "status"]).status.success();
        (up || !daemon.is_running()).then_some(up)
    });
    if !serves {
        return eprintln!("not run: {}", daemon.stderr());
    }
    cured_by(behind, |_, authority| {
        let roots = fs::read_to_string(&copy).unwrap() + &fs::read_to_string(authority).unwrap();
        fs::write(&copy, roots).unwrap();
    });
}

/// What stands in the state file of the session's breaker.
fn breaker(behind: &Behind) -> serde_json::Value {
    let text = fs::read_to_string(behind.agent.home.state_dir().join("state.json")).unwrap_or_default();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let logins = state["logins"].as_object().cloned().unwrap_or_default();
    logins.into_iter().next().map(|(_, history)| history["breaker"].clone()).unwrap_or_default()
}

fn kill(behind: &Behind) {
    let pid = behind.agent.status()["agent"]["pid"].as_u64().unwrap().to_string();
    let mut command = std::process::Command::new("kill");
    command.args(["-KILL", &pid]);
    run(command, LIMIT).expect_success();
    eventually("it is gone", LIMIT, || (!behind.agent.ctl(&["daemon", "status"]).status.success()).then_some(()));
}

#[test]
fn killed_at_each_turn_of_the_breaker_it_stays_as_it_was() {
    let behind = Behind::new();
    behind.sign_out();
    // Closed to open.
    assert_eq!(login(&behind).code(), INTERCEPTED);
    eventually("the trip is on the disk", LIMIT, || breaker(&behind)["open"].is_object().then_some(()));
    kill(&behind);
    assert_eq!(login(&behind).code(), LOGIN_PAUSED);
    // Open to half-open.
    behind.agent.ctl(&["reset", "--profile", "dev-sso"]).expect_success();
    eventually("the reset is on the disk", LIMIT, || (breaker(&behind)["half_open"] == true).then_some(()));
    kill(&behind);
    // Half-open to open, without a person.
    assert_eq!(login(&behind).code(), LOGIN_PAUSED);
    eventually("the look is on the disk", LIMIT, || breaker(&behind)["open"].is_object().then_some(()));
    kill(&behind);
    assert_eq!(login(&behind).code(), LOGIN_PAUSED);
    assert_eq!(behind.openings(), 0);
    // Half-open to closed.
    let authority = behind.authority();
    behind.agent.write_settings(&format!("ca_bundle = {authority:?}\n"));
    behind.agent.fake.set_person(Person::Approves);
    eventually("the authority is used", LIMIT, || login(&behind).status.success().then_some(()));
    eventually("that it works is on the disk", LIMIT, || breaker(&behind)["works_since"].is_string().then_some(()));
    kill(&behind);
    login(&behind).expect_success();
    assert_eq!((behind.openings(), pause(&behind.agent)), (1, serde_json::Value::Null));
}

#[test]
fn a_memory_that_is_torn_costs_no_tab_and_locks_nobody_out() {
    let behind = Behind::new();
    behind.sign_out();
    assert_eq!(login(&behind).code(), INTERCEPTED);
    eventually("the trip is on the disk", LIMIT, || breaker(&behind)["open"].is_object().then_some(()));
    let state = behind.agent.home.state_dir().join("state.json");
    behind.agent.ctl(&["daemon", "stop"]).expect_success();
    let whole = fs::read(&state).unwrap();
    for torn in [&b"{"[..], b"", b"\0\0\0\0", b"[]", &whole[..whole.len() / 2]] {
        fs::write(&state, torn).unwrap();
        let refused = login(&behind);
        assert_eq!(refused.code(), LOGIN_PAUSED, "{}", refused.stderr);
        assert!(refused.stderr.contains("could not be read; run in a terminal"), "{}", refused.stderr);
        behind.agent.ctl(&["daemon", "stop"]).expect_success();
    }
    assert_eq!(behind.openings(), 0);
    behind.agent.ctl(&["reset", "--profile", "dev-sso"]);
    behind.agent.ctl(&["daemon", "start"]).expect_success();
    behind.agent.ctl(&["reset", "--profile", "dev-sso"]).expect_success();
    assert_eq!(login(&behind).code(), INTERCEPTED, "a person made room, and it is tried");
}

/// A clock that is set back by a day leaves an end of the pause that lies a day ahead.
#[test]
fn a_clock_that_was_set_back_locks_nobody_out() {
    let behind = Behind::new();
    behind.sign_out();
    assert_eq!(login(&behind).code(), INTERCEPTED);
    eventually("the trip is on the disk", LIMIT, || breaker(&behind)["open"].is_object().then_some(()));
    behind.agent.ctl(&["daemon", "stop"]).expect_success();
    let state = behind.agent.home.state_dir().join("state.json");
    let text = fs::read_to_string(&state).unwrap();
    let until = breaker(&behind)["open"]["until"].as_str().unwrap().to_owned();
    let ahead = chrono::DateTime::parse_from_rfc3339(&until).unwrap() + chrono::TimeDelta::days(1);
    fs::write(&state, text.replace(&until, &crate::support::home::stamp(ahead.to_utc()))).unwrap();
    let refused = login(&behind);
    assert_eq!(refused.code(), LOGIN_PAUSED, "AWS is not reached: {}", refused.stderr);
    let until = pause(&behind.agent)["until"].as_str().unwrap().to_owned();
    let left = chrono::DateTime::parse_from_rfc3339(&until).unwrap().to_utc() - crate::support::clock::now();
    assert!(left <= chrono::TimeDelta::hours(2), "{left}");
    behind.agent.write_settings(&format!("ca_bundle = {:?}\n", behind.authority()));
    behind.agent.fake.set_person(Person::Approves);
    eventually("somebody can log in", LIMIT, || login(&behind).status.success().then_some(()));
    assert_eq!(behind.openings(), 1);
}

/// A script that logs in over and over, as people write them: each time a new token lies in the cache of the AWS CLI.
#[test]
fn a_loop_of_another_tool_is_reported_within_three_rounds() {
    let behind = Behind::new().trusted();
    behind.agent.credentials("dev-sso");
    let rounds = 3;
    let tokens: Vec<_> = (0..rounds)
        .map(|n| {
            let token = behind.agent.fake.sign_in(behind.agent.session);
            let path = behind.agent.home.seed_token("corp", &token);
            let aside = behind.agent.home.path().join(format!("login{n}.json"));
            fs::rename(path, &aside).unwrap();
            aside
        })
        .collect();
    let file = behind.agent.home.token_file("corp");
    let told = |behind: &Behind| behind.agent.status()["findings"].to_string().contains("foreign-loop");
    for aside in tokens {
        assert!(!told(&behind));
        let mut login = behind.agent.home.command("sh");
        login.args(["-c", r#"cat "$1" > "$2" && rm "$1""#, "sh"]).args([&aside, &file]);
        run(login, LIMIT).expect_success();
        // The agent looks at the file, at the latest for this.
        behind.agent.status();
    }
    eventually("the loop is told", LIMIT, || told(&behind).then_some(()));
    let text = behind.agent.ctl(&["status"]).expect_success().stdout;
    assert!(text.contains("something logs in again and again"), "{text}");
    let line = behind.agent.ctl(&["statusline", "--profile", "dev-sso"]).expect_success().stdout;
    assert!(line.contains("foreign-loop: see agentctl status"), "{line}");
    let why = behind.agent.ctl(&["why", "--profile", "dev-sso"]).expect_success().stdout;
    assert!(why.contains("foreign-loop") && why.contains("agentctl login --sso-session corp"), "{why}");
    let (report, _) = behind.doctor(&["logins"]);
    assert_eq!(report["first"], "logins", "{report:#}");
    assert!(check(&report, "logins")["fix"].to_string().contains("agentctl login --sso-session corp"), "{report:#}");
}
