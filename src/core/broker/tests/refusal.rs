//! The portal refuses the token (401): what it means, and that it is never called a needed login lightly.

use super::*;
use crate::core::credential::SsoToken;

/// A key is held and in its window, so that a role fetch with a token of some age is open.
fn aged() -> (Bench, crate::core::broker::Fetch) {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(15));
    b.advance(minutes(8));
    let fetch = b.role_fetch("dev");
    (b, fetch)
}

#[test]
fn an_old_token_is_renewed_and_the_role_tried_once_more() {
    let (mut b, fetch) = aged();
    b.refuse_token(&fetch);
    let fetch = b.token_fetch();
    assert_eq!(fetch.why, "the portal refused the token");
    b.give_token(&fetch, "new", minutes(60));
    let fetch = b.role_fetch("dev");
    let key = b.give(&fetch, minutes(15));
    let waiter = b.ask("dev");
    assert_eq!(b.key(waiter), key);
}

#[test]
fn a_fresh_token_that_is_refused_means_interception_and_is_not_renewed_again() {
    let (mut b, fetch) = aged();
    b.refuse_token(&fetch);
    let fetch = b.token_fetch();
    b.give_token(&fetch, "new", minutes(480));
    let tokens = b.started;
    let fetch = b.role_fetch("dev");
    b.refuse_token(&fetch);
    let failure = b.profile_status("dev").last_failure.unwrap();
    assert_eq!(failure.failure.class, FailureClass::Intercepted);
    let waiter = b.ask("r1");
    b.open.pop().into_iter().for_each(|fetch| b.refuse_token(&fetch));
    assert_eq!(b.class(waiter), FailureClass::Intercepted);
    // Hours later it is still the token that was made because of a refusal.
    for _ in 0..240 {
        b.ask("r1");
        b.advance(seconds(30));
        assert!(b.open.iter().all(|f| f.with.is_some()), "no renewal of the session");
        for fetch in std::mem::take(&mut b.open) {
            b.refuse_token(&fetch);
        }
    }
    assert!(b.started > tokens + 20, "the portal is tried again meanwhile");
    let waiter = b.ask("r1");
    b.open.pop().into_iter().for_each(|fetch| b.refuse_token(&fetch));
    assert_eq!(b.class(waiter), FailureClass::Intercepted);
}

#[test]
fn a_fresh_token_whose_grant_aws_refused_as_well_needs_a_login() {
    // Read from the file a moment ago, with so little life left that its renewal begins beside the role's fetch.
    let mut b = Bench::new();
    let obtained_at = b.now.wall;
    let token = SsoToken { obtained_at, ..(*b.token("first", minutes(10))).clone() };
    b.load(TokenFile::Present(Arc::new(token)));
    let waiter = b.ask("dev");
    let renewal = b.token_fetch();
    b.fail(&renewal, FailureClass::NeedsLogin);
    let fetch = b.role_fetch("dev");
    b.refuse_token(&fetch);
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
}

#[test]
fn twelve_refusals_cost_one_renewal() {
    let mut b = Bench::logged_in();
    b.advance(seconds(90));
    let fetches: Vec<_> = (0..10)
        .map(|n| {
            b.ask(&format!("r{n}"));
            b.role_fetch(&format!("r{n}"))
        })
        .collect();
    fetches[..5].iter().for_each(|f| b.refuse_token(f));
    let token = b.token_fetch();
    fetches[5..8].iter().for_each(|f| b.refuse_token(f));
    b.give_token(&token, "new", minutes(60));
    fetches[8..].iter().for_each(|f| b.refuse_token(f));
    assert!(b.open.iter().all(|f| f.with.is_some()), "the late ones try again with the new token");
    b.advance(seconds(2));
    assert_eq!(b.open.len(), 10);
}

#[test]
fn only_when_aws_then_refuses_the_session_a_login_is_needed() {
    let (mut b, fetch) = aged();
    b.refuse_token(&fetch);
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::NeedsLogin);
    let waiter = b.ask("r1");
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
    let held = b.ask("dev");
    b.key(held);
}

#[test]
fn an_old_token_without_refresh_grant_that_is_refused_needs_a_login() {
    let mut b = Bench::new();
    let token = b.plain_token("legacy", minutes(480));
    b.load(TokenFile::Present(Arc::clone(&token)));
    let waiter = b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.refuse_token(&fetch);
    assert_eq!(b.answer(waiter), None, "the file may hold a better one: it is read first");
    b.read(TokenFile::Present(token));
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
}

#[test]
fn a_better_token_in_the_file_saves_the_login() {
    let mut b = Bench::new();
    let token = b.plain_token("legacy", minutes(480));
    b.load(TokenFile::Present(token));
    let waiter = b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.refuse_token(&fetch);
    let token = b.plain_token("login", minutes(490));
    b.read(TokenFile::Present(token));
    let fetch = b.role_fetch("dev");
    let key = b.give(&fetch, minutes(60));
    assert_eq!(b.key(waiter), key);
}

#[test]
fn a_failed_renewal_after_a_refusal_is_reported_as_what_it_is() {
    let mut b = Bench::logged_in();
    b.advance(minutes(2));
    let waiter = b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.refuse_token(&fetch);
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::Offline);
    assert_eq!(b.class(waiter), FailureClass::Offline);
}

#[test]
fn what_one_session_is_refused_closes_no_gate_for_another() {
    let mut b = Bench::logged_in();
    let other = bench::world("other");
    let profiles = [("dev".to_owned(), bench::chain(&other, "dev"))];
    b.step(Event::Config { world: Arc::clone(&other), config: Ok(bench::config(profiles)) });
    let theirs = crate::core::waiters::ProfileRef { world: other, name: "dev".to_owned() };
    let waiter = b.demand(theirs, Duration::ZERO, None);
    let fresh = SsoToken { obtained_at: b.now.wall, ..(*b.token("other", minutes(480))).clone() };
    b.read(TokenFile::Present(Arc::new(fresh)));
    let fetch = b.role_fetch("dev");
    b.refuse_token(&fetch);
    assert_eq!(b.class(waiter), FailureClass::Intercepted);
    b.obtain("dev", minutes(60));
}

#[test]
fn a_fresh_token_that_cannot_be_renewed_and_worked_before_was_refused_by_somebody_in_between() {
    let mut b = Bench::new();
    let token = SsoToken { obtained_at: b.now.wall, ..(*b.plain_token("legacy", minutes(480))).clone() };
    b.load(TokenFile::Present(Arc::new(token)));
    b.obtain("r1", minutes(60));
    b.advance(seconds(20));
    let waiter = b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.refuse_token(&fetch);
    assert_eq!(b.class(waiter), FailureClass::Intercepted);
}

#[test]
fn another_network_gives_a_refused_token_one_more_try() {
    let mut b = Bench::new();
    let token = b.plain_token("legacy", minutes(480));
    b.load(TokenFile::Present(Arc::clone(&token)));
    b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.refuse_token(&fetch);
    b.read(TokenFile::Present(token));
    let waiter = b.ask("dev");
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
    b.advance(seconds(40));
    b.step(Event::NetworkChanged);
    b.advance(seconds(3));
    b.obtain("dev", minutes(60));
}

#[test]
fn another_network_does_not_revive_a_session_that_aws_ended() {
    let (mut b, fetch) = aged();
    b.refuse_token(&fetch);
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::NeedsLogin);
    b.advance(seconds(40));
    b.step(Event::NetworkChanged);
    b.advance(seconds(5));
    assert!(b.open.is_empty());
    let waiter = b.ask("r1");
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
}

#[test]
fn a_late_success_with_an_older_token_does_not_hide_that_the_newer_one_worked() {
    let (mut b, fetch) = aged();
    b.ask("r1");
    let slow = b.role_fetch("r1");
    b.refuse_token(&fetch);
    let fetch = b.token_fetch();
    b.give_token(&fetch, "new", minutes(480));
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(15));
    b.give(&slow, minutes(60));
    b.ask("dev");
    b.advance(minutes(8));
    let fetch = b.role_fetch("dev");
    b.refuse_token(&fetch);
    b.token_fetch();
}
