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
