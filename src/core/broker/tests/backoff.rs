//! Failures: backoff, negative caches, and what users of one portal share.

use super::*;

/// Fails every fetch that is open, all the time, and counts what is started.
fn calls_while_failing(b: &mut Bench, span: Duration, class: FailureClass) -> usize {
    let (before, end) = (b.started, b.now.tick.plus(span));
    while b.now.tick < end {
        b.advance(Duration::from_millis(500));
        b.fail_all(class);
    }
    b.started - before
}

#[test]
fn access_denied_is_remembered_for_five_minutes() {
    let mut b = Bench::logged_in();
    let waiter = b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.fail(&fetch, FailureClass::AccessDenied);
    assert_eq!(b.class(waiter), FailureClass::AccessDenied);
    b.advance(minutes(5) - seconds(1));
    let waiter = b.ask("dev");
    assert_eq!(b.class(waiter), FailureClass::AccessDenied, "demand does not shorten it");
    assert!(b.open.is_empty());
    b.advance(seconds(2));
    b.role_fetch("dev");
}

#[test]
fn misconfigured_is_remembered_for_half_a_minute_or_until_the_config_changes() {
    let mut b = Bench::logged_in();
    b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.fail(&fetch, FailureClass::Misconfigured);
    b.advance(seconds(29));
    assert!(b.open.is_empty());
    b.advance(seconds(2));
    let fetch = b.role_fetch("dev");
    b.fail(&fetch, FailureClass::Misconfigured);
    b.advance(seconds(3));
    let more = [("dev".to_owned(), bench::chain(&b.home, "dev"))];
    b.configure(bench::config(more));
    b.role_fetch("dev");
}

#[test]
fn a_needed_login_is_remembered_until_a_token_comes() {
    let mut b = Bench::with_token(Duration::ZERO);
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::NeedsLogin);
    b.ask("dev");
    b.advance(minutes(600));
    let waiter = b.ask("dev");
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
    assert_eq!(b.refusal(waiter).fix, "run: agentctl login --profile dev");
    assert!(b.open.is_empty());
    let token = b.token("login", minutes(60));
    b.file_changed(TokenFile::Present(token));
    let waiter = b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    b.key(waiter);
}

#[test]
fn somebody_who_asks_with_nothing_held_is_tried_for_every_thirty_seconds() {
    let mut b = Bench::logged_in();
    b.ask("dev");
    calls_while_failing(&mut b, minutes(30), FailureClass::Offline);
    for _ in 0..10 {
        let before = b.started;
        for _ in 0..31 {
            let waiter = b.ask("dev");
            b.advance(seconds(1));
            b.fail_all(FailureClass::Offline);
            assert_eq!(b.class(waiter), FailureClass::Offline);
        }
        assert!((1..=2).contains(&(b.started - before)), "{}", b.started - before);
    }
}

#[test]
fn nobody_asks_and_the_backoff_grows_to_minutes() {
    let mut b = Bench::logged_in();
    b.keep(&["dev"]);
    let calls = calls_while_failing(&mut b, minutes(120), FailureClass::Transient);
    assert!((24..120).contains(&calls), "{calls} calls in two hours");
}

#[test]
fn a_short_key_is_tried_for_more_often_than_a_long_one() {
    let mut b = Bench::logged_in();
    b.keep(&["dev"]);
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(15));
    b.advance(minutes(14));
    b.fail_all(FailureClass::Transient);
    let calls = calls_while_failing(&mut b, seconds(50), FailureClass::Transient);
    assert!(calls >= 4, "{calls}: at most max(5 s, R/4) apart while a key is held");
}

#[test]
fn a_throttle_is_shared_by_all_of_the_portal() {
    let mut b = Bench::logged_in();
    b.ask("r1");
    let fetch = b.role_fetch("r1");
    b.fail_after(&fetch, FailureClass::Throttled, Some(seconds(20)));
    let waiter = b.ask("r2");
    assert_eq!(b.class(waiter), FailureClass::Throttled);
    b.advance(seconds(19));
    assert!(b.open.is_empty());
    b.advance(seconds(2));
    assert_eq!(b.open.len(), 2);
}

#[test]
fn in_an_outage_one_probes_for_all_and_its_success_frees_them() {
    let mut b = Bench::logged_in();
    b.advance(seconds(10));
    for n in 0..8 {
        b.ask(&format!("r{n}"));
    }
    b.fail_all(FailureClass::Offline);
    let before = b.started;
    while b.open.is_empty() {
        b.advance(Duration::from_millis(100));
    }
    assert_eq!(b.started - before, 1, "one probe");
    b.advance(seconds(5));
    assert_eq!(b.started - before, 1, "and nobody else while it is under way");
    let probe = b.open.pop().unwrap();
    b.give(&probe, minutes(60));
    b.advance(seconds(3));
    assert_eq!(b.started - before, 8);
}

#[test]
fn while_the_token_endpoint_fails_a_living_token_still_fetches_roles() {
    let mut b = Bench::with_token(minutes(10));
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::Offline);
    b.obtain("dev", minutes(60));
}

#[test]
fn while_the_token_endpoint_is_throttled_a_living_token_still_fetches_roles() {
    let mut b = Bench::with_token(minutes(10));
    let fetch = b.token_fetch();
    b.fail_after(&fetch, FailureClass::Throttled, Some(minutes(5)));
    b.obtain("dev", minutes(60));
}

#[test]
fn a_failed_renewal_leaves_the_key_in_service() {
    let mut b = Bench::logged_in();
    for class in FailureClass::ALL {
        let key = b.obtain("dev", minutes(15));
        b.advance(minutes(8));
        let fetch = b.role_fetch("dev");
        b.fail(&fetch, class);
        let waiter = b.ask("dev");
        assert_eq!(b.key(waiter), key, "{class}");
        b = Bench::logged_in();
    }
}

#[test]
fn one_failure_of_one_role_makes_another_wait_a_moment_only() {
    let mut b = Bench::logged_in();
    b.ask("r1");
    let fetch = b.role_fetch("r1");
    b.fail(&fetch, FailureClass::Transient);
    let waiter = b.ask("r2");
    assert_eq!(b.answer(waiter), None, "it was never tried");
    b.advance(seconds(2));
    let fetch = if b.open.iter().any(|f| f.link.to_string().contains("r2")) {
        b.role_fetch("r2")
    } else {
        let probe = b.role_fetch("r1");
        b.fail(&probe, FailureClass::AccessDenied);
        b.advance(seconds(1));
        b.role_fetch("r2")
    };
    b.give(&fetch, minutes(60));
}

#[test]
fn a_session_behind_a_dying_key_is_not_left_to_a_long_backoff() {
    let mut b = Bench::with_token(minutes(5));
    b.fail_all(FailureClass::Offline);
    b.keep(&["dev"]);
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(18));
    let ends = b.now.tick.plus(minutes(18));
    // Both endpoints fail for so long that the backoff is minutes; the token ends.
    while b.now.tick < ends {
        let left = ends.since(b.now.tick);
        let before = b.started;
        let gap = Duration::from_secs(5).max(left / 4) + seconds(2);
        b.advance(gap.min(left));
        let tried = b.started > before || !b.open.is_empty();
        assert!(tried || left > minutes(9) || left < seconds(8), "not tried for {gap:?} with {left:?} left");
        b.fail_all(FailureClass::Offline);
    }
}

#[test]
fn a_refusal_says_when_the_next_try_is() {
    let mut b = Bench::logged_in();
    let waiter = b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.fail_after(&fetch, FailureClass::Throttled, Some(seconds(40)));
    assert!(b.refusal(waiter).message.ends_with("(next try in 40 s)"), "{:?}", b.refusal(waiter));
    let waiter = b.ask("r1");
    assert!(b.refusal(waiter).message.ends_with("(next try in 40 s)"), "not a moment later, as a matter of pace");
}
