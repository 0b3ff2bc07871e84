//! When a renewal starts, and who waits for it.

use super::*;

#[test]
fn nothing_is_fetched_before_the_window_and_everything_kept_in_it() {
    let mut b = Bench::logged_in();
    b.keep(&["dev"]);
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    let window = b.profile_status("dev").refresh_at.unwrap();
    b.advance(window.since(b.now.wall) - seconds(1));
    assert!(b.open.is_empty(), "before the window");
    b.advance(seconds(2));
    let fetch = b.role_fetch("dev");
    assert_eq!(fetch.why, "in its refresh window");
}

#[test]
fn in_the_window_a_caller_is_answered_from_memory_while_the_renewal_runs() {
    let mut b = Bench::logged_in();
    let key = b.obtain("dev", minutes(60));
    b.advance(minutes(36));
    let waiter = b.ask("dev");
    assert_eq!(b.key(waiter), key);
    let fetch = b.role_fetch("dev");
    let renewed = b.give(&fetch, minutes(60));
    let waiter = b.ask("dev");
    assert_eq!(b.key(waiter), renewed);
}

#[test]
fn jitter_is_drawn_once() {
    let mut b = Bench::logged_in();
    b.keep(&["dev"]);
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    let at = b.profile_status("dev").refresh_at;
    for _ in 0..20 {
        b.advance(minutes(1));
        b.ask("dev");
        assert_eq!(b.profile_status("dev").refresh_at, at);
    }
    assert!(b.open.is_empty());
}

#[test]
fn in_the_mandatory_window_a_caller_waits_three_seconds_and_no_longer() {
    let mut b = Bench::with_token(minutes(1000));
    let key = b.obtain("dev", minutes(720));
    b.advance(minutes(719) + seconds(30));
    let waiter = b.ask("dev");
    b.advance(Duration::from_millis(1499));
    assert_eq!(b.answer(waiter), None);
    b.advance(seconds(1));
    assert_eq!(b.answer(waiter), Some(&Answer::InFlight { since: None }), "held as long as it may be");
    let again = b.ask("dev");
    b.advance(seconds(1));
    assert_eq!(b.key(again), key, "3 s after the renewal was first wanted");
}

#[test]
fn with_two_seconds_left_a_caller_waits_one() {
    let mut b = Bench::with_token(minutes(1000));
    b.obtain("dev", minutes(720));
    b.advance(minutes(720) - seconds(2));
    let waiter = b.ask("dev");
    b.advance(Duration::from_millis(999));
    assert_eq!(b.answer(waiter), None);
    b.advance(Duration::from_millis(2));
    b.key(waiter);
}

#[test]
fn min_ttl_waits_for_a_longer_life() {
    let mut b = Bench::with_token(minutes(1000));
    b.obtain("dev", minutes(720));
    b.advance(minutes(717));
    let waiter = b.ask_for("dev", seconds(390));
    assert_eq!(b.answer(waiter), None);
    let fetch = b.role_fetch("dev");
    let renewed = b.give(&fetch, minutes(60));
    assert_eq!(b.key(waiter), renewed);
}

#[test]
fn a_lifetime_shorter_than_the_wish_is_not_fetched_again_and_again() {
    let mut b = Bench::logged_in();
    let key = b.obtain("dev", minutes(5));
    let waiter = b.ask_for("dev", seconds(390));
    assert_eq!(b.key(waiter), key);
    assert!(b.open.is_empty());
}

#[test]
fn while_upstream_fails_nobody_holds_out_for_min_ttl() {
    let mut b = Bench::logged_in();
    let key = b.obtain("dev", minutes(15));
    b.advance(minutes(8));
    let fetch = b.role_fetch("dev");
    b.fail(&fetch, FailureClass::Transient);
    let waiter = b.ask_for("dev", minutes(10));
    assert_eq!(b.key(waiter), key);
}

#[test]
fn an_expired_key_is_never_handed_out() {
    let mut b = Bench::with_token(minutes(1000));
    b.obtain("dev", minutes(720));
    b.advance(minutes(720));
    let waiter = b.ask("dev");
    assert_eq!(b.answer(waiter), None);
}

#[test]
fn an_answer_that_has_already_ended_is_rejected() {
    let mut b = Bench::logged_in();
    let waiter = b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.give(&fetch, Duration::ZERO);
    assert_eq!(b.class(waiter), FailureClass::Transient);
    assert!(b.refusal(waiter).message.contains("already ended"));
}

#[test]
fn a_session_token_is_renewed_before_every_other_tool_would() {
    let mut b = Bench::with_token(minutes(60));
    b.keep(&["dev"]);
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(720));
    b.advance(minutes(39));
    assert!(b.open.is_empty());
    b.advance(minutes(1));
    b.token_fetch();
}
