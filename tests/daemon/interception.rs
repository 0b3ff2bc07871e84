//! A proxy that opens TLS: not trusted, it costs one tab at most and is named; trusted, nothing is wrong.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::agent::{Agent, LIMIT};
use crate::behind::{Behind, check};
use crate::support::clock::eventually;
use crate::support::fake_aws::{Operation, Person};
use crate::support::process::Finished;

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
        let began = Instant::now();
        let refused = login(&behind);
        // Generous to a machine with much else to do; 200 ms is what is aimed at.
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
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
    let began = Instant::now();
    cure(&behind, &authority);
    let signed_in = eventually("the authority is used", LIMIT, || Some(login(&behind)).filter(|l| l.status.success()));
    assert!(signed_in.stderr.contains("signed in: "), "{}", signed_in.stderr);
    eprintln!("signed in {:?} after the cure", began.elapsed());
    assert_eq!((behind.openings(), pause(&behind.agent)), (1, serde_json::Value::Null));
    behind.agent.credentials("dev-sso");
}

#[test]
fn a_file_that_is_named_already_cures_it_as_it_appears() {
    let mut behind = Behind::new();
    let named = behind.agent.home.path().join("named.pem");
    behind.agent.home.set("AWS_CA_BUNDLE", &named);
    cured_by(behind, |_, authority| drop(fs::copy(authority, named).unwrap()));
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
