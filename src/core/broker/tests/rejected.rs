//! A client reports, or shows, that AWS refuses a key.

use super::*;

fn reject(b: &mut Bench, key: &str) {
    b.step(Event::Rejected { profile: b.profile("dev"), access_key_id: key.into() });
}

#[test]
fn one_forced_renewal_per_key_whatever_the_number_of_reports() {
    let mut b = Bench::logged_in();
    let key = b.obtain("dev", minutes(60));
    b.advance(minutes(1));
    (0..100).for_each(|_| reject(&mut b, &key));
    let fetch = b.role_fetch("dev");
    assert_eq!(fetch.why, "a client reports that AWS refuses the key");
    b.give(&fetch, minutes(60));
    (0..100).for_each(|_| reject(&mut b, &key));
    b.advance(minutes(2));
    assert!(b.open.is_empty(), "the key is not held any more");
}

#[test]
fn a_storm_over_ever_new_keys_is_backed_off() {
    let mut b = Bench::logged_in();
    let mut key = b.obtain("dev", minutes(600));
    let before = b.started;
    for _ in 0..600 {
        b.advance(seconds(1));
        reject(&mut b, &key);
        if !b.open.is_empty() {
            let fetch = b.role_fetch("dev");
            key = b.give(&fetch, minutes(600));
        }
    }
    assert!((4..=6).contains(&(b.started - before)), "{} in ten minutes", b.started - before);
}

#[test]
fn a_consumer_that_asks_again_for_a_key_it_would_have_cached_waits_for_another() {
    let mut b = Bench::logged_in();
    let waiter = b.demand(b.profile("dev"), Duration::ZERO, Some("claude"));
    let fetch = b.role_fetch("dev");
    let key = b.give(&fetch, minutes(60));
    assert_eq!(b.key(waiter), key);
    b.advance(minutes(1));
    let other = b.demand(b.profile("dev"), Duration::ZERO, Some("someone else"));
    assert_eq!(b.key(other), key);
    let again = b.demand(b.profile("dev"), Duration::ZERO, Some("claude"));
    assert_eq!(b.answer(again), None);
    let fetch = b.role_fetch("dev");
    let renewed = b.give(&fetch, minutes(60));
    assert_eq!(b.key(again), renewed);
}

#[test]
fn if_no_other_key_can_be_had_the_consumer_gets_the_old_one() {
    let mut b = Bench::logged_in();
    let waiter = b.demand(b.profile("dev"), Duration::ZERO, Some("claude"));
    let fetch = b.role_fetch("dev");
    let key = b.give(&fetch, minutes(60));
    assert_eq!(b.key(waiter), key);
    b.advance(minutes(1));
    let again = b.demand(b.profile("dev"), Duration::ZERO, Some("claude"));
    let fetch = b.role_fetch("dev");
    b.fail(&fetch, FailureClass::Offline);
    assert_eq!(b.key(again), key);
}

#[test]
fn a_forced_renewal_that_fails_is_owed_until_it_succeeds() {
    let mut b = Bench::logged_in();
    let key = b.obtain("dev", minutes(720));
    b.advance(minutes(1));
    reject(&mut b, &key);
    for _ in 0..3 {
        let fetch = b.role_fetch("dev");
        b.fail(&fetch, FailureClass::Transient);
        assert!(b.open.is_empty(), "at the pace of any other failure");
        b.advance(seconds(10));
    }
    let fetch = b.role_fetch("dev");
    assert_eq!(fetch.why, "a client reports that AWS refuses the key");
    b.give(&fetch, minutes(720));
    b.advance(minutes(5));
    assert!(b.open.is_empty());
}

#[test]
fn a_forced_renewal_whose_token_is_refused_renews_the_session_and_goes_on() {
    let mut b = Bench::logged_in();
    let key = b.obtain("dev", minutes(720));
    b.advance(minutes(10));
    reject(&mut b, &key);
    let fetch = b.role_fetch("dev");
    b.refuse_token(&fetch);
    let fetch = b.token_fetch();
    b.give_token(&fetch, "new", minutes(60));
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(720));
    assert!(b.open.is_empty());
}

#[test]
fn what_is_owed_to_a_refused_key_ends_with_that_key() {
    let mut b = Bench::logged_in();
    let key = b.obtain("dev", minutes(60));
    b.advance(minutes(1));
    reject(&mut b, &key);
    b.fail_all(FailureClass::Transient);
    let end = b.now.tick.plus(minutes(62));
    while b.now.tick < end {
        b.advance(seconds(20));
        b.fail_all(FailureClass::Transient);
    }
    let before = b.started;
    b.advance(minutes(60));
    assert_eq!(b.started, before, "nobody asks, nothing is held");
}

#[test]
fn a_refresh_by_hand_that_fails_leaves_what_is_owed() {
    let mut b = Bench::logged_in();
    let key = b.obtain("dev", minutes(720));
    b.advance(minutes(1));
    reject(&mut b, &key);
    b.fail_all(FailureClass::Transient);
    b.advance(seconds(2));
    b.refresh("dev");
    b.fail_all(FailureClass::Transient);
    b.advance(minutes(6));
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(720));
    assert!(b.open.is_empty());
}
