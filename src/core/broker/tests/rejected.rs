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
