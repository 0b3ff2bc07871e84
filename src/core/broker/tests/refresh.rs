//! `agentctl refresh`.

use super::*;

#[test]
fn a_refresh_renews_a_key_that_is_still_good() {
    let mut b = Bench::logged_in();
    let old = b.obtain("dev", minutes(60));
    b.advance(seconds(10));
    let waiter = b.refresh("dev");
    let fetch = b.role_fetch("dev");
    b.advance(seconds(1));
    assert_eq!(b.answer(waiter), None, "it waits for the renewal although a key is held");
    let new = b.give(&fetch, minutes(60));
    assert!(
        matches!(b.answer(waiter), Some(Answer::Renewed { expires_at }) if *expires_at == b.now.wall.plus(minutes(60)))
    );
    assert_ne!(old, new);
}

#[test]
fn a_renewal_within_the_last_two_seconds_counts() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    b.advance(seconds(2));
    let waiter = b.refresh("dev");
    assert!(matches!(b.answer(waiter), Some(Answer::Renewed { .. })));
    assert!(b.open.is_empty());
    b.advance(Duration::from_millis(1));
    let waiter = b.refresh("dev");
    assert_eq!(b.answer(waiter), None);
    b.role_fetch("dev");
}

#[test]
fn a_failed_refresh_says_until_when_the_held_key_lives() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    b.advance(minutes(5));
    let waiter = b.refresh("dev");
    let fetch = b.role_fetch("dev");
    b.fail(&fetch, FailureClass::Offline);
    let refusal = b.refusal(waiter);
    assert_eq!(refusal.class, FailureClass::Offline);
    let until = b.profile_status("dev").expires_at.unwrap().to_string();
    assert!(refusal.message.contains(&until), "{refusal:?}");
    let waiter = b.ask("dev");
    b.key(waiter);
}

#[test]
fn a_refresh_skips_negative_cache_and_backoff() {
    for class in [FailureClass::AccessDenied, FailureClass::Misconfigured, FailureClass::Offline] {
        let mut b = Bench::logged_in();
        b.ask("dev");
        let fetch = b.role_fetch("dev");
        b.fail(&fetch, class);
        // One more failure, so that the backoff is longer than the spacing.
        b.advance(minutes(5));
        b.fail_all(class);
        b.now.draw = u64::MAX;
        b.pass(seconds(2));
        assert!(b.open.is_empty(), "{class}");
        b.refresh("dev");
        b.role_fetch("dev");
    }
}

#[test]
fn a_refresh_does_not_skip_a_throttle_or_a_needed_login() {
    let mut b = Bench::logged_in();
    b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.fail_after(&fetch, FailureClass::Throttled, Some(seconds(60)));
    b.advance(seconds(3));
    let waiter = b.refresh("dev");
    assert_eq!(b.class(waiter), FailureClass::Throttled);

    let mut b = Bench::with_token(Duration::ZERO);
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::NeedsLogin);
    b.advance(seconds(3));
    let waiter = b.refresh("dev");
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
    assert!(b.open.is_empty());
}

#[test]
fn asking_again_with_since_does_not_renew_twice() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    b.advance(minutes(1));
    let waiter = b.refresh("dev");
    let fetch = b.role_fetch("dev");
    b.advance(HELD);
    let Some(Answer::InFlight { since }) = b.answer(waiter).cloned() else { panic!() };
    b.give(&fetch, minutes(60));
    b.advance(seconds(5));
    let again = b.refresh_since("dev", since);
    assert!(matches!(b.answer(again), Some(Answer::Renewed { .. })));
    assert!(b.open.is_empty());
}

#[test]
fn a_refresh_behind_a_failing_session_fails_once_and_starts_no_storm() {
    let mut b = Bench::with_token(Duration::ZERO);
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::Offline);
    b.advance(seconds(2));
    let waiter = b.refresh("dev");
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::Offline);
    assert_eq!(b.class(waiter), FailureClass::Offline);
    let before = b.started;
    for _ in 0..60 {
        b.advance(seconds(10));
        b.fail_all(FailureClass::Offline);
    }
    assert!(b.started - before < 20, "{} calls in ten minutes", b.started - before);
}

#[test]
fn a_refresh_that_asks_again_is_served_by_what_began_after_its_first_question() {
    let mut b = Bench::with_token(Duration::ZERO);
    b.fail_all(FailureClass::Offline);
    b.advance(seconds(2));
    let waiter = b.refresh("dev");
    let fetch = b.token_fetch();
    b.advance(HELD);
    let Some(Answer::InFlight { since }) = b.answer(waiter).cloned() else { panic!() };
    let again = b.refresh_since("dev", since);
    b.fail(&fetch, FailureClass::Offline);
    assert_eq!(b.class(again), FailureClass::Offline);
}
