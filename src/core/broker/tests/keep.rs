//! What is renewed without anybody asking; pause and resume.

use super::*;
use crate::core::status::Kept;

/// Lets every renewal succeed for so long; which links were fetched.
fn live(b: &mut Bench, span: Duration) -> Vec<String> {
    let (mut fetched, end) = (Vec::new(), b.now.tick.plus(span));
    while b.now.tick < end {
        b.advance(seconds(10));
        for fetch in std::mem::take(&mut b.open) {
            fetched.push(fetch.link.to_string());
            match fetch.link {
                crate::core::source::Link::SsoSession(_) => drop(b.give_token(&fetch, "next", minutes(60))),
                _ => drop(b.give(&fetch, minutes(60))),
            }
        }
    }
    fetched
}

#[test]
fn a_profile_in_keep_is_renewed_all_day_with_its_session() {
    let mut b = Bench::with_token(minutes(60));
    b.keep(&["dev"]);
    let fetched = live(&mut b, minutes(600));
    let tokens = fetched.iter().filter(|l| l.starts_with("sso-session")).count();
    let roles = fetched.len() - tokens;
    assert!((14..=19).contains(&tokens) && (14..=19).contains(&roles), "{tokens} tokens, {roles} roles");
}

#[test]
fn one_call_does_not_keep_a_role_hot_all_day() {
    let mut b = Bench::with_token(minutes(60));
    b.ask("dev");
    let fetched = live(&mut b, minutes(600));
    assert!(fetched.len() <= 4, "{fetched:?}");
    assert_eq!(b.profile_status("dev").kept, Kept::No);
}

#[test]
fn a_short_role_is_kept_only_for_its_lifetime() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(15));
    b.advance(minutes(9));
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(15));
    b.advance(minutes(60));
    assert!(b.open.is_empty(), "not even when it has ended");
}

#[test]
fn a_session_is_not_renewed_ahead_while_no_role_of_it_is_kept() {
    let mut b = Bench::with_token(minutes(60));
    b.advance(minutes(55));
    assert!(b.open.is_empty());
    b.ask("dev");
    b.token_fetch();
}

#[test]
fn pause_stops_renewing_and_serves_what_is_held() {
    let mut b = Bench::logged_in();
    b.keep(&["dev"]);
    let fetch = b.role_fetch("dev");
    let key = b.give(&fetch, minutes(60));
    b.step(Event::Pause(None));
    b.advance(minutes(50));
    assert!(b.open.is_empty());
    let (held, cold) = (b.ask("dev"), b.ask("r1"));
    assert_eq!(b.key(held), key);
    assert_eq!(b.class(cold), FailureClass::PolicyDenied);
    b.step(Event::Resume);
    b.role_fetch("dev");
}

#[test]
fn a_timed_pause_ends_by_itself() {
    let mut b = Bench::logged_in();
    b.step(Event::Pause(Some(minutes(10))));
    b.keep(&["dev"]);
    b.advance(minutes(9));
    assert!(b.open.is_empty());
    assert!(b.status().paused.is_some());
    b.advance(minutes(1));
    b.role_fetch("dev");
    assert!(b.status().paused.is_none());
}

#[test]
fn a_request_that_comes_before_the_tick_that_ends_a_pause_is_not_refused() {
    let mut b = Bench::logged_in();
    b.step(Event::Pause(Some(minutes(10))));
    b.pass(minutes(10));
    let waiter = b.ask("dev");
    assert_eq!(b.answer(waiter), None);
    b.role_fetch("dev");
}
