//! Days and weeks with logins.

use super::*;

const NOBODY: Habits = Habits { always: false, answers: 0, slowness: MINUTE };
const EAGER: Habits = Habits { always: true, answers: 100, slowness: 20 * SECOND };

#[test]
fn a_day_of_asking_every_second_and_nobody_there_is_one_opening() {
    let mut sim = Sim::new(1, 8 * HOUR, NOBODY);
    sim.clocks.t = 5 * DAY; // a Saturday
    sim.plan(0, Due::Hook { every: SECOND, until: 6 * DAY });
    sim.run(DAY);
    assert_eq!(sim.openings.len(), 1, "{:?}", sim.openings);
    assert!(sim.refused > 80_000 && sim.done == 0, "{} {}", sim.refused, sim.done);
}

#[test]
fn who_always_answers_in_vain_is_asked_at_most_twice_in_ten_minutes_and_six_times_a_day() {
    for way in [Way::Stripped, Way::Html, Way::NoToken, Way::Ended] {
        for (seed, every) in (0..6).zip([1, 7, 61].into_iter().cycle()) {
            let mut sim = Sim::new(seed, 8 * HOUR, EAGER);
            sim.way = way;
            sim.plan(0, Due::Hook { every: every * SECOND, until: sim.clocks.t + DAY });
            sim.run(DAY);
            let (ten, day) = (sim.most_within(10 * MINUTE), sim.most_within(DAY));
            assert!((1..=2).contains(&ten) && day <= BUDGET, "{way:?} {seed}: {ten} {day} {:?}", sim.openings);
            // And so for a person who tries again and again at a terminal, whom no budget holds.
            let mut sim = Sim::new(seed, 8 * HOUR, EAGER);
            sim.way = way;
            (0..DAY / (30 * SECOND)).for_each(|n| sim.plan(n * 30 * SECOND, Due::AtTerminal));
            sim.run(DAY);
            let ten = sim.most_within(10 * MINUTE);
            assert!((1..=2).contains(&ten), "{way:?} {seed} at a terminal: {ten} {:?}", sim.openings);
        }
    }
}

#[test]
fn what_stood_in_between_goes_away_and_the_next_login_works() {
    let mut sim = Sim::new(3, 8 * HOUR, EAGER);
    sim.way = Way::Stripped;
    sim.plan(0, Due::Hook { every: SECOND, until: sim.clocks.t + HOUR });
    sim.run(HOUR / 2);
    assert_eq!(sim.done, 0);
    sim.way = Way::Clear;
    sim.step(Event::NetworkChanged);
    sim.run(HOUR / 2);
    assert!(sim.done > 1000, "{}", sim.done);
}

/// One week of a person for whom everything works, but for the odd hour without a network.
fn week(seed: u64) -> (u64, u64, usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let life = [8 * HOUR, 12 * HOUR, 7 * DAY, 30 * DAY][rng.usize(..4)];
    let habits = Habits { always: false, answers: rng.u8(80..98), slowness: rng.i64(10 * SECOND..9 * MINUTE) };
    let mut sim = Sim::new(seed, life, habits);
    for day in 0..7 {
        let begin = day * DAY + if day < 5 { 9 * HOUR } else { rng.i64(0..20 * HOUR) };
        let mut at = begin;
        let hours = if day < 5 { 9 } else { rng.i64(0..3) };
        while at < begin + hours * HOUR {
            sim.plan(at, Due::Hook { every: DAY, until: 0 });
            at += rng.i64(10 * SECOND..25 * MINUTE);
        }
        if rng.u8(..10) == 0 {
            // Something was left running over night.
            let every = rng.i64(SECOND..MINUTE);
            let from = day * DAY + 19 * HOUR;
            sim.plan(from, Due::Hook { every, until: sim.clocks.t + from + rng.i64(MINUTE..HOUR) });
        }
        let mut sometime = |chance: u8, due: Due| {
            if rng.u8(..100) < chance {
                sim.plan(day * DAY + rng.i64(0..DAY), due);
            }
        };
        sometime(20, Due::AtTerminal);
        sometime(10, Due::Elsewhere);
        sometime(30, Due::Restart);
        if rng.u8(..4) == 0 {
            let from = day * DAY + rng.i64(0..DAY);
            sim.plan(from, Due::Network(false));
            sim.plan(from + rng.i64(SECOND..2 * HOUR), Due::Network(true));
        }
    }
    sim.run(7 * DAY);
    (sim.done, sim.refused, sim.openings.len())
}

#[test]
fn weeks_of_people_for_whom_everything_works_see_no_refusal_that_they_would_call_wrong() {
    let weeks = super::super::number("LOGIN_WEEKS").unwrap_or(1000);
    let mut total = (0, 0, 0);
    for seed in 0..weeks {
        let (done, refused, openings) =
            std::panic::catch_unwind(|| week(seed)).unwrap_or_else(|_| panic!("week {seed}"));
        assert!(done > 0, "week {seed}: nothing worked");
        total = (total.0 + done, total.1 + refused, total.2 + openings);
    }
    println!("{weeks} weeks: {} logins asked for and done, {} refused rightly, {} openings", total.0, total.1, total.2);
}
