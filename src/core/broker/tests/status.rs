//! The snapshot: it tells the truth and no secret.

use super::*;
use crate::core::status::{Kept, State};

#[test]
fn the_states_of_a_day() {
    let mut b = Bench::logged_in();
    b.ask("dev");
    assert_eq!(b.profile_status("dev").state, State::Fetching);
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    let p = b.profile_status("dev");
    assert_eq!((p.state, p.kept, p.lifetime_seconds), (State::Valid, Kept::RecentlyUsed, Some(3600)));
    assert_eq!(p.next.as_ref().map(|n| (n.what.as_str(), n.at)), Some(("renew", p.refresh_at.unwrap())));
    b.advance(minutes(36));
    let fetch = b.role_fetch("dev");
    b.fail(&fetch, FailureClass::Offline);
    let p = b.profile_status("dev");
    assert_eq!(p.state, State::Failing);
    let f = p.last_failure.unwrap();
    assert_eq!((f.failure.class, f.count), (FailureClass::Offline, 1));
    b.fail_all(FailureClass::Offline);
    while b.profile_status("dev").expires_at.is_some() {
        b.advance(seconds(30));
        b.fail_all(FailureClass::Offline);
    }
    assert!(matches!(b.profile_status("dev").state, State::Failed | State::Idle));
}

#[test]
fn what_is_not_kept_ends_and_is_not_renewed() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(720));
    b.advance(minutes(61));
    let p = b.profile_status("dev");
    assert_eq!((p.kept, p.refresh_at), (Kept::No, None));
    assert_eq!(p.next.unwrap().what, "ends");
}

#[test]
fn a_session_that_needs_a_login_says_so_while_its_roles_are_valid() {
    let mut b = Bench::with_token(minutes(10));
    b.obtain("dev", minutes(60));
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::NeedsLogin);
    let session = b.session_status();
    assert!(!session.renewable);
    assert_eq!(session.last_failure.unwrap().failure.class, FailureClass::NeedsLogin);
    assert_eq!(b.profile_status("dev").state, State::Valid);
    assert_eq!(session.profiles, ["dev", "r19"]);
}

#[test]
fn what_blocks_an_upstream_is_shown_at_the_profile() {
    let mut b = Bench::with_token(Duration::ZERO);
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::NeedsLogin);
    b.ask("dev");
    let p = b.profile_status("dev");
    assert_eq!(p.state, State::Failed);
    let failure = p.last_failure.unwrap().failure;
    assert_eq!((failure.class, failure.fix.as_str()), (FailureClass::NeedsLogin, "run: agentctl login --profile dev"));
}

#[test]
fn why_names_the_inputs_of_the_decision() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    let why = b.profile_status("dev").why;
    let text = |topic: &str| why.iter().find(|r| r.topic == topic).map(|r| r.text.clone()).unwrap_or_default();
    assert_eq!(text("source"), "sso-session corp > role dev in 111122223333");
    assert!(text("held").starts_with("key ...0001, 1 h left of 1 h"), "{}", text("held"));
    assert!(text("window").contains("callers wait below 1 min"), "{}", text("window"));
    assert!(text("kept").starts_with("for another 1 h"), "{}", text("kept"));
    assert!(text("next").starts_with("renew at 20"), "{}", text("next"));
    assert_eq!(text("doing"), "nothing: no renewal is due");
}

#[test]
fn no_secret_is_in_the_snapshot_or_in_what_is_logged() {
    let mut b = Bench::with_token(minutes(10));
    b.obtain("dev", minutes(60));
    let fetch = b.token_fetch();
    let shown = format!("{:?} {} {:?}", b.status(), serde_json::to_string(&b.status()).unwrap(), fetch);
    b.fail(&fetch, FailureClass::NeedsLogin);
    let shown = format!("{shown} {:?} {:?}", b.status(), b.broker);
    assert!(!shown.contains("SECRET"), "{shown}");
}

#[test]
fn the_revision_grows_with_what_a_person_would_see() {
    let mut b = Bench::logged_in();
    let before = b.broker.revision();
    b.step(Event::Tick);
    assert_eq!(b.broker.revision(), before);
    b.obtain("dev", minutes(60));
    assert!(b.broker.revision() > before);
}

#[test]
fn no_renewal_is_promised_that_will_not_come() {
    let mut b = Bench::with_token(minutes(1000));
    b.obtain("dev", minutes(720));
    let p = b.profile_status("dev");
    assert_eq!((p.kept, p.refresh_at), (Kept::RecentlyUsed, None), "by then nobody will have asked for long");
    assert_eq!(p.next.unwrap().what, "ends");

    let mut b = Bench::new();
    let token = b.plain_token("legacy", minutes(20));
    b.load(TokenFile::Present(token));
    b.obtain("dev", minutes(60));
    let (session, p) = (b.session_status(), b.profile_status("dev"));
    assert_eq!((session.renewable, session.next.unwrap().what.as_str()), (false, "ends"));
    assert_eq!((p.refresh_at, p.next.unwrap().what.as_str()), (None, "ends"), "its session ends before");
}

#[test]
fn a_profile_that_is_not_served_shows_why_whatever_is_held() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    let refused = ["dev".to_owned(), "production".to_owned()].into();
    b.step(Event::Settings(Settings { refused, ..Settings::default() }));
    let p = b.profile_status("dev");
    assert_eq!((p.state, p.next), (State::Unusable, None));
    assert_eq!(p.last_failure.unwrap().failure.class, FailureClass::PolicyDenied);
    assert!(p.why.iter().any(|reason| reason.text.contains("serve = false")));
    let finding = b.status().findings.into_iter().find(|f| f.name == "unknown-profile").unwrap();
    assert!(finding.message.contains("'production'"), "{finding:?}");
}

#[test]
fn a_profile_without_a_source_that_was_asked_for_says_so() {
    let mut b = Bench::new();
    let mut known = bench::config([("dev".to_owned(), bench::chain(&b.home, "dev"))]);
    let failure = bench::failure(FailureClass::Misconfigured);
    known.profiles.insert(
        "half".to_owned(),
        crate::core::source::Profile { source: Err(failure), region: None, ca_bundle: None },
    );
    b.configure(known.clone());
    assert!(b.status().profiles.is_empty());
    b.ask("half");
    assert_eq!(b.profile_status("half").state, State::Unusable);
    known.profiles.remove("half");
    b.configure(known);
    assert!(b.status().profiles.is_empty());
}

#[test]
fn what_was_not_understood_is_told_to_who_asks_for_it() {
    let mut b = Bench::new();
    let mut known = bench::config([("dev".to_owned(), bench::chain(&b.home, "dev"))]);
    known.findings.push(crate::core::status::Finding {
        name: "ignored-section".to_owned(),
        message: "config, line 9: section [fresh] is ignored".to_owned(),
        fix: "write [profile fresh]".to_owned(),
    });
    b.configure(known);
    let waiter = b.ask("fresh");
    assert_eq!(b.refusal(waiter).fix, "write [profile fresh]");
    let world = Arc::clone(&b.home);
    b.step(Event::Config { world, config: Err(bench::failure(FailureClass::Misconfigured)) });
    let waiter = b.ask("new");
    assert!(b.refusal(waiter).message.contains("planned misconfigured"), "{:?}", b.refusal(waiter));
}

#[test]
fn trouble_of_a_moment_ago_goes_when_the_way_is_open_again() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    b.advance(seconds(10));
    b.refresh("dev");
    b.fail_all(FailureClass::Offline);
    assert_eq!(b.profile_status("dev").state, State::Failing);
    b.advance(seconds(3));
    b.obtain("r1", minutes(60));
    assert_eq!(b.profile_status("dev").state, State::Valid);
}
