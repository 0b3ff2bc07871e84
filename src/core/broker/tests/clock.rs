//! Clock steps, frozen machines, suspend; time by AWS's clock.

use super::*;

fn step_clock(b: &mut Bench, hours: i64) {
    b.now.wall = b.now.wall.shifted(hours * 3_600_000);
}

#[test]
fn a_clock_nine_hours_ahead_serves_no_doubtful_key_and_refetches_at_once() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    b.advance(minutes(1));
    step_clock(&mut b, 9);
    b.step(Event::Tick);
    let waiter = b.ask("dev");
    assert_eq!(b.answer(waiter), None);
    b.advance(seconds(2));
    let fetch = b.role_fetch("dev");
    let right = b.now.wall.shifted(-9 * 3_600_000);
    let mut role = (*b.credentials(minutes(60))).clone();
    role.expires_at = right.plus(minutes(60));
    let credential = crate::core::credential::Credential::Role(Arc::new(role.clone()));
    let outcome = Outcome::Got { credential, issued_now: true };
    b.step(Event::Fetched { node: fetch.node, flight: fetch.flight, outcome, server_date: Some(right) });
    b.advance(seconds(1));
    let waiter = b.ask("dev");
    assert_eq!(b.key(waiter), role.access_key_id);
    assert!(b.status().clock_offset_ms.unwrap() < -8 * 3_600_000);
}

#[test]
fn a_clock_set_back_does_not_revive_an_ended_key() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(15));
    b.advance(minutes(8));
    b.open.clear();
    b.advance(minutes(6) + seconds(50));
    step_clock(&mut b, -1);
    b.step(Event::Tick);
    b.advance(seconds(20));
    let waiter = b.ask("dev");
    assert_eq!(b.answer(waiter), None);
}

#[test]
fn after_a_step_kept_keys_are_fetched_anew_within_five_seconds() {
    for hours in [9, -1] {
        let mut b = Bench::logged_in();
        b.keep(&["dev", "r1", "r2"]);
        for name in ["dev", "r1", "r2"] {
            let fetch = b.role_fetch(name);
            b.give(&fetch, minutes(60));
        }
        b.advance(minutes(10));
        step_clock(&mut b, hours);
        b.advance(seconds(5));
        for name in ["dev", "r1", "r2"] {
            b.role_fetch(name);
        }
    }
}

#[test]
fn a_token_that_a_stepped_clock_calls_ended_is_still_tried() {
    let mut b = Bench::new();
    let token = b.plain_token("legacy", minutes(240));
    b.load(TokenFile::Present(token));
    b.obtain("dev", minutes(60));
    b.advance(minutes(1));
    step_clock(&mut b, 9);
    let waiter = b.ask("dev");
    assert!(b.answer(waiter).is_none(), "neither the key, which may have ended, nor a login that nobody needs");
    b.advance(seconds(3));
    b.role_fetch("dev");
}

#[test]
fn expiry_is_judged_by_the_clock_of_aws() {
    let mut b = Bench::logged_in();
    let waiter = b.ask("dev");
    let fetch = b.role_fetch("dev");
    // Our clock is ten minutes slow.
    let server = b.now.wall.plus(minutes(10));
    let mut role = (*b.credentials(minutes(15))).clone();
    role.expires_at = server.plus(minutes(15));
    let credential = crate::core::credential::Credential::Role(Arc::new(role));
    let outcome = Outcome::Got { credential, issued_now: true };
    b.step(Event::Fetched { node: fetch.node, flight: fetch.flight, outcome, server_date: Some(server) });
    b.key(waiter);
    assert_eq!(b.profile_status("dev").lifetime_seconds, Some(899));
    assert!(b.status().findings.iter().any(|f| f.name == "clock-skew"));
    b.advance(minutes(8));
    b.open.clear();
    b.advance(minutes(7) + seconds(1));
    let waiter = b.ask("dev");
    assert_eq!(b.answer(waiter), None, "ended by AWS's clock, ten minutes of life by ours");
}

#[test]
fn after_a_sleep_those_who_wait_go_first_and_backoffs_are_cut_to_three_seconds() {
    let mut b = Bench::logged_in();
    b.advance(seconds(10));
    for n in 0..12 {
        b.ask(&format!("r{n}"));
    }
    b.advance(seconds(1));
    b.fail_all(FailureClass::Offline);
    for _ in 0..10 {
        b.advance(seconds(20));
        b.fail_all(FailureClass::Offline);
    }
    let before = b.started;
    b.pass(minutes(60));
    let waiter = b.ask("r11");
    b.advance(seconds(3));
    assert!(b.started > before, "tried within 3 s of waking");
    let probe = b.open.pop().unwrap();
    b.give(&probe, minutes(60));
    b.advance(Duration::from_millis(1400));
    if b.answer(waiter).is_none() {
        let fetch = b.role_fetch("r11");
        b.give(&fetch, minutes(60));
    }
}

#[test]
fn a_sleep_answers_those_whose_time_is_over() {
    let mut b = Bench::logged_in();
    let waiter = b.ask("dev");
    b.pass(minutes(60));
    b.step(Event::Tick);
    assert!(b.answer(waiter).is_some());
}

#[test]
fn bursts_are_thirty_seconds_apart() {
    let mut b = Bench::logged_in();
    b.keep(&["dev"]);
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    b.advance(minutes(1));
    let mut fetched = 0;
    for n in 0..10 {
        step_clock(&mut b, if n % 2 == 0 { 9 } else { -9 });
        b.advance(seconds(3));
        for fetch in std::mem::take(&mut b.open) {
            fetched += 1;
            b.give(&fetch, minutes(60));
        }
    }
    assert!(fetched <= 2, "{fetched} refetches in half a minute of a clock that jumps about");
}

#[test]
fn extreme_times_do_no_harm() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    for (wall, tick) in [(i64::MAX, u64::MAX), (i64::MIN, 0), (0, 0), (i64::MAX, 1)] {
        b.now.wall = crate::core::time::Timestamp::from_millis(wall);
        b.now.tick = crate::core::time::Tick::from_millis(tick);
        b.step(Event::Tick);
        b.ask_for("dev", Duration::MAX);
        b.status();
        b.open.clear();
    }
}
