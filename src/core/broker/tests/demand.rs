//! Requests: single flight, waiters, limits.

use super::*;
use crate::core::broker::Demand;
use crate::core::waiters::ProfileRef;

#[test]
fn a_living_token_is_used_at_once_and_renewed_beside_it() {
    let mut b = Bench::new();
    let waiter = b.ask("dev");
    let token = b.token("short", minutes(10));
    b.read(TokenFile::Present(token));
    b.token_fetch();
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    b.key(waiter);
}

#[test]
fn an_expired_token_is_renewed_first() {
    let mut b = Bench::new();
    let waiter = b.ask("dev");
    let token = b.token("old", Duration::ZERO);
    b.read(TokenFile::Present(token));
    assert_eq!(b.open.len(), 1);
    let fetch = b.token_fetch();
    let token = b.give_token(&fetch, "new", minutes(60));
    let fetch = b.role_fetch("dev");
    let Some(crate::core::credential::Credential::Token(with)) = &fetch.with else { panic!("{fetch:?}") };
    assert_eq!(with, &token);
    b.give(&fetch, minutes(60));
    b.key(waiter);
}

#[test]
fn twelve_roles_of_one_session_cost_one_token_call() {
    let mut b = Bench::new();
    let waiters: Vec<_> = (0..12).map(|n| b.ask(&format!("r{n}"))).collect();
    assert_eq!(b.reads.len(), 1, "the file is read once");
    let token = b.token("old", Duration::ZERO);
    b.read(TokenFile::Present(token));
    assert_eq!(b.open.len(), 1);
    let fetch = b.token_fetch();
    b.give_token(&fetch, "new", minutes(60));
    b.advance(seconds(1));
    for (n, waiter) in waiters.into_iter().enumerate() {
        let fetch = b.role_fetch(&format!("r{n}"));
        b.give(&fetch, minutes(60));
        b.key(waiter);
    }
    assert_eq!(b.started, 13);
}

#[test]
fn a_thousand_callers_cost_one_fetch_and_each_is_answered_once() {
    let mut b = Bench::logged_in();
    let before = b.started;
    let waiters: Vec<_> = (0..1000).map(|_| b.ask("dev")).collect();
    assert_eq!(b.started, before + 1);
    let fetch = b.role_fetch("dev");
    let key = b.give(&fetch, minutes(60));
    assert!(waiters.into_iter().all(|w| b.key(w) == key));
    b.advance(seconds(10));
    assert!(b.answers.values().all(|a| a.len() == 1));
}

#[test]
fn at_the_limit_of_its_patience_a_caller_is_told_to_ask_again() {
    let mut b = Bench::logged_in();
    let waiter = b.ask("dev");
    b.advance(HELD - Duration::from_millis(1));
    assert_eq!(b.answer(waiter), None);
    b.advance(Duration::from_millis(1));
    assert_eq!(b.answer(waiter), Some(&Answer::InFlight { since: None }));
    let again = b.ask("dev");
    let fetch = b.role_fetch("dev");
    let key = b.give(&fetch, minutes(60));
    assert_eq!(b.key(again), key);
}

#[test]
fn a_caller_that_leaves_cancels_nothing_and_is_not_answered() {
    let mut b = Bench::logged_in();
    let (leaves, stays) = (b.ask("dev"), b.ask("dev"));
    b.step(Event::Leave(leaves));
    let fetch = b.role_fetch("dev");
    let key = b.give(&fetch, minutes(60));
    assert_eq!(b.key(stays), key);
    assert_eq!(b.answer(leaves), None);
}

#[test]
fn the_last_caller_may_leave_too() {
    let mut b = Bench::logged_in();
    let waiter = b.ask("dev");
    b.step(Event::Leave(waiter));
    let fetch = b.role_fetch("dev");
    let key = b.give(&fetch, minutes(60));
    let waiter = b.ask("dev");
    assert_eq!(b.key(waiter), key);
}

#[test]
fn an_endpoint_gets_ten_calls_at_once_and_then_five_a_second() {
    let mut b = Bench::logged_in();
    b.advance(seconds(10));
    let before = b.started;
    for n in 0..20 {
        b.ask(&format!("r{n}"));
    }
    // r19 was denied when the bench logged in.
    assert_eq!(b.started - before, 10);
    b.advance(seconds(1));
    assert_eq!(b.started - before, 15);
    b.advance(seconds(1));
    assert_eq!(b.started - before, 19);
}

#[test]
fn calls_for_one_profile_are_two_seconds_apart() {
    let mut b = Bench::logged_in();
    b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    b.refresh("dev");
    b.advance(Duration::from_millis(1));
    b.advance(seconds(3));
    let waiter = b.refresh("dev");
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    assert!(matches!(b.answer(waiter), Some(Answer::Renewed { .. })));
    b.step(Event::Rejected { profile: b.profile("dev"), access_key_id: "ASIAKEY0002".into() });
    assert!(b.open.is_empty());
    b.advance(Duration::from_millis(1999));
    assert!(b.open.is_empty());
    b.advance(Duration::from_millis(1));
    b.role_fetch("dev");
}

#[test]
fn an_unknown_profile_is_refused_with_the_nearest_names() {
    let mut b = Bench::new();
    let waiter = b.ask("dve");
    let Some(Answer::Refused(refusal)) = b.answer(waiter) else { panic!() };
    assert!(refusal.unknown);
    assert_eq!(refusal.failure.class, FailureClass::Misconfigured);
    assert_eq!(refusal.failure.fix, "did you mean 'dev'?");
}

#[test]
fn a_profile_that_is_not_served_is_refused_and_others_are_not() {
    let mut b = Bench::logged_in();
    let parked = b.ask("r1");
    let refused = ["dev".to_owned(), "r1".to_owned()].into();
    b.step(Event::Settings(Settings { refused, ..Settings::default() }));
    assert_eq!(b.class(parked), FailureClass::PolicyDenied, "one that waits already, too");
    let waiter = b.ask("dev");
    assert_eq!(b.class(waiter), FailureClass::PolicyDenied);
    b.obtain("r2", minutes(60));
    let elsewhere = ProfileRef { world: bench::world("other"), name: "dev".to_owned() };
    let elsewhere = b.demand(elsewhere, Duration::ZERO, None);
    assert_eq!(b.class(elsewhere), FailureClass::PolicyDenied, "other files are no way around it");
}

#[test]
fn before_the_config_is_read_a_request_is_refused_as_transient() {
    let mut b = Bench::bare();
    let waiter = b.ask("dev");
    assert_eq!(b.class(waiter), FailureClass::Transient);
}

#[test]
fn who_cannot_ask_again_gets_the_living_key_in_time() {
    let mut b = Bench::logged_in();
    let key = b.obtain("dev", minutes(720));
    b.advance(minutes(714));
    let ask = |b: &mut Bench, last_ask| {
        let (waiter, profile) = (b.waiter(), b.profile("dev"));
        let (min_ttl, wait) = (minutes(8), Duration::from_millis(400));
        b.step(Event::Demand(Demand { waiter, profile, min_ttl, wait, last_ask, consumer: None }));
        waiter
    };
    let (patient, hurried) = (ask(&mut b, false), ask(&mut b, true));
    assert_eq!((b.answer(patient), b.answer(hurried)), (None, None), "a renewal may come in time");
    b.advance(Duration::from_millis(400));
    assert_eq!(b.answer(patient), Some(&Answer::InFlight { since: None }));
    assert_eq!(b.key(hurried), key);
}

#[test]
fn a_failure_of_long_ago_does_not_make_a_caller_take_a_short_key() {
    let mut b = Bench::with_token(minutes(1000));
    b.obtain("dev", minutes(720));
    b.advance(minutes(5));
    let waiter = b.refresh("dev");
    b.fail_all(FailureClass::Offline);
    assert_eq!(b.class(waiter), FailureClass::Offline);
    // Nobody asks for hours; then somebody wants more than is left, and all is well.
    b.advance(minutes(708));
    assert!(b.open.is_empty());
    let waiter = b.ask_for("dev", minutes(8));
    assert_eq!(b.answer(waiter), None, "it waits for the renewal");
    let fetch = b.role_fetch("dev");
    let key = b.give(&fetch, minutes(720));
    assert_eq!(b.key(waiter), key);
}
