//! Chains of any depth are one machine: here a role assumed with a role assumed with an SSO role.

use super::*;
use crate::core::status::State;
use bench::{assumed, chain, config};

fn bench() -> Bench {
    let mut b = Bench::logged_in();
    let home = Arc::clone(&b.home);
    let base = chain(&home, "dev");
    let third = assumed(base.clone(), "deploy");
    let fourth = assumed(third.clone(), "audit");
    let names = ["dev", "deploy", "audit", "r19"].map(str::to_owned);
    b.configure(config(names.into_iter().zip([base, third, fourth, chain(&home, "r19")])));
    b
}

#[test]
fn each_link_is_fetched_with_the_one_before() {
    let mut b = bench();
    let waiter = b.ask("audit");
    assert_eq!(b.open.len(), 1);
    let fetch = b.role_fetch("dev");
    let first = b.give(&fetch, minutes(60));
    let fetch = b.assumed_fetch("deploy");
    assert_eq!(fetch.with.as_ref().unwrap().as_role().unwrap().access_key_id, first);
    let second = b.give(&fetch, minutes(60));
    let fetch = b.assumed_fetch("audit");
    assert_eq!(fetch.with.as_ref().unwrap().as_role().unwrap().access_key_id, second);
    let third = b.give(&fetch, minutes(60));
    assert_eq!(b.key(waiter), third);
    assert_eq!(b.profile_status("audit").source.unwrap().matches(" > ").count(), 3);
}

#[test]
fn the_links_before_are_shared_and_kept_while_the_last_is() {
    let mut b = bench();
    let (deep, flat) = (b.ask("audit"), b.ask("dev"));
    let fetch = b.role_fetch("dev");
    let key = b.give(&fetch, minutes(60));
    assert_eq!(b.key(flat), key);
    let fetch = b.assumed_fetch("deploy");
    b.give(&fetch, minutes(60));
    let fetch = b.assumed_fetch("audit");
    b.give(&fetch, minutes(60));
    b.key(deep);
    b.advance(minutes(36));
    assert_eq!(b.open.len(), 3, "all three renewed in their windows, beside each other");
}

#[test]
fn a_failure_of_an_early_link_reaches_those_who_wait_for_the_last() {
    let mut b = bench();
    let waiter = b.ask("audit");
    let fetch = b.role_fetch("dev");
    b.fail(&fetch, FailureClass::AccessDenied);
    assert_eq!(b.class(waiter), FailureClass::AccessDenied);
    b.advance(minutes(5) + seconds(1));
    b.role_fetch("dev");
}

#[test]
fn an_early_link_that_recovers_brings_the_others_along() {
    let mut b = bench();
    b.ask("audit");
    let fetch = b.role_fetch("dev");
    b.fail(&fetch, FailureClass::Offline);
    b.advance(seconds(3));
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    b.assumed_fetch("deploy");
}

#[test]
fn a_refused_token_is_renewed_from_the_depth() {
    let mut b = bench();
    b.advance(minutes(2));
    b.ask("audit");
    let fetch = b.role_fetch("dev");
    b.refuse_token(&fetch);
    let fetch = b.token_fetch();
    b.give_token(&fetch, "new", minutes(60));
    b.role_fetch("dev");
}

#[test]
fn a_logout_forgets_the_whole_chain() {
    let mut b = bench();
    b.ask("audit");
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    let fetch = b.assumed_fetch("deploy");
    b.give(&fetch, minutes(60));
    let late = b.assumed_fetch("audit");
    b.file_changed(TokenFile::Absent);
    b.advance(seconds(2));
    b.read(TokenFile::Absent);
    b.give(&late, minutes(60));
    for name in ["audit", "deploy", "dev"] {
        let waiter = b.ask(name);
        assert_eq!(b.class(waiter), FailureClass::NeedsLogin, "{name}");
    }
}

#[test]
fn a_refresh_by_hand_of_the_last_link_renews_it_alone() {
    let mut b = bench();
    b.ask("audit");
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    let fetch = b.assumed_fetch("deploy");
    b.give(&fetch, minutes(60));
    let fetch = b.assumed_fetch("audit");
    b.give(&fetch, minutes(60));
    b.advance(seconds(5));
    let waiter = b.refresh("audit");
    assert_eq!(b.open.len(), 1);
    let fetch = b.assumed_fetch("audit");
    b.give(&fetch, minutes(60));
    assert!(matches!(b.answer(waiter), Some(Answer::Renewed { .. })));
}

/// A session that has ended, and whose renewal fails from now on.
fn behind_an_outage(names: [&str; 2]) -> Bench {
    let mut b = bench();
    b.advance(minutes(481));
    assert!(b.open.is_empty(), "nothing is kept");
    let waiters = names.map(|name| b.ask(name));
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::Offline);
    for waiter in waiters {
        assert_eq!(b.class(waiter), FailureClass::Offline, "whoever waits learns of it at once");
    }
    b
}

fn token_calls(b: &mut Bench, span: Duration) -> usize {
    let (before, end) = (b.started, b.now.tick.plus(span));
    while b.now.tick < end {
        b.advance(seconds(1));
        b.fail_all(FailureClass::Offline);
    }
    b.started - before
}

#[test]
fn whoever_stands_behind_a_failing_session_says_what_it_says() {
    let mut b = behind_an_outage(["audit", "dev"]);
    let of_session = b.session_status();
    for name in ["audit", "dev"] {
        let p = b.profile_status(name);
        assert_eq!((p.state, &p.next), (State::Failed, &of_session.next), "{name}");
        assert_eq!(p.last_failure.unwrap().failure.class, FailureClass::Offline, "{name}");
    }
    b.advance(minutes(6));
    let fetch = b.token_fetch();
    assert_eq!(b.profile_status("audit").state, State::Fetching);
    b.give_token(&fetch, "new", minutes(480));
    b.role_fetch("dev");
}

#[test]
fn a_session_is_tried_for_no_longer_than_somebody_is_kept_behind_it() {
    let mut b = behind_an_outage(["audit", "dev"]);
    assert!(token_calls(&mut b, minutes(55)) > 5);
    b.advance(minutes(10));
    b.fail_all(FailureClass::Offline);
    assert_eq!(token_calls(&mut b, minutes(120)), 0);
    assert_eq!(b.profile_status("audit").state, State::Idle, "and it wants nothing any more");
}

#[test]
fn who_was_told_to_ask_again_hurries_the_session_no_more() {
    let mut b = behind_an_outage(["audit", "dev"]);
    token_calls(&mut b, minutes(10));
    // Asked during a call that does not end in time, and never again.
    b.advance(minutes(5));
    let fetch = b.token_fetch();
    let waiter = b.ask("audit");
    b.advance(HELD);
    assert_eq!(b.answer(waiter), Some(&Answer::InFlight { since: None }));
    b.fail(&fetch, FailureClass::Offline);
    let calm = token_calls(&mut b, minutes(30));
    assert!(calm < 30, "{calm} calls in 30 min are the pace of somebody who waits");
}
