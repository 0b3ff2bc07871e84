//! The random-event test: any sequence of events, sensible or not, against the few rules that nothing may break.
//!
//! A failing sequence is shrunk to its shortest form and printed. `MODEL_CASES=10000` runs more.

mod bed;

use std::time::Duration;

use bed::{Bed, Ending};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// What may happen.
#[derive(Clone, Debug)]
enum Op {
    Tick,
    /// Both clocks move, each as it likes.
    Pass {
        wall_ms: i64,
        tick_ms: i64,
    },
    Demand {
        profile: u8,
        min_ttl: Duration,
        wait: Duration,
        consumer: Option<u8>,
        last_ask: bool,
    },
    Refresh {
        profile: u8,
        wait: Duration,
        since: Option<u64>,
    },
    Rejected {
        profile: u8,
        last: bool,
    },
    Leave {
        which: u8,
    },
    /// An open fetch ends.
    Finish {
        which: u8,
        ending: Ending,
        life: i64,
        dated: bool,
    },
    /// A fetch that was never begun, or ended long ago, ends.
    Nonsense {
        node: u32,
        flight: u64,
        ending: Ending,
        life: i64,
    },
    Read {
        which: u8,
        kind: u8,
        life: i64,
    },
    /// A token file is read for an entry that may not exist or be no session.
    ReadNonsense {
        node: u32,
        kind: u8,
        life: i64,
    },
    Config {
        world: u8,
        variant: u8,
    },
    Settings {
        keep: u8,
        refused: u8,
    },
    NetworkChanged,
    Pause(Option<Duration>),
    Resume,
}

fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (0u64..5000).prop_map(Duration::from_millis),
        (0u64..100_000).prop_map(Duration::from_secs),
        Just(Duration::MAX),
    ]
}

fn shift() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => 0i64..5000,
        4 => 0i64..3_600_000,
        1 => -3_600_000i64..0,
        1 => prop_oneof![Just(i64::MAX), Just(i64::MIN), Just(86_400_000 * 365)],
    ]
}

/// The two clocks mostly agree.
fn pass() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => shift().prop_map(|ms| Op::Pass { wall_ms: ms, tick_ms: ms }),
        1 => (shift(), shift()).prop_map(|(wall_ms, tick_ms)| Op::Pass { wall_ms, tick_ms }),
    ]
}

fn life() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 0i64..7_200_000,
        1 => -10_000i64..10,
        1 => prop_oneof![Just(i64::MAX), Just(i64::MIN)],
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        5 => Just(Ending::Got),
        1 => Just(Ending::Adopted),
        1 => Just(Ending::WrongKind),
        1 => Just(Ending::LoggedOut),
        2 => Just(Ending::TokenRefused),
        4 => (0u8..11, prop::option::of(span())).prop_map(|(class, after)| Ending::Failed(class, after)),
        1 => (0u8..11).prop_map(Ending::NotSent),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let min_ttl = prop_oneof![3 => Just(Duration::ZERO), 1 => span()];
    prop_oneof![
        4 => Just(Op::Tick),
        6 => pass(),
        8 => (any::<u8>(), min_ttl, span(), prop::option::of(0u8..3), any::<bool>()).prop_map(
            |(profile, min_ttl, wait, consumer, last_ask)| Op::Demand { profile, min_ttl, wait, consumer, last_ask }
        ),
        2 => (any::<u8>(), span(), prop::option::of(any::<u64>()))
            .prop_map(|(profile, wait, since)| Op::Refresh { profile, wait, since }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(profile, last)| Op::Rejected { profile, last }),
        1 => any::<u8>().prop_map(|which| Op::Leave { which }),
        8 => (any::<u8>(), ending(), life(), any::<bool>())
            .prop_map(|(which, ending, life, dated)| Op::Finish { which, ending, life, dated }),
        1 => (0u32..30, 0u64..200, ending(), life())
            .prop_map(|(node, flight, ending, life)| Op::Nonsense { node, flight, ending, life }),
        5 => (any::<u8>(), 0u8..8, life()).prop_map(|(which, kind, life)| Op::Read { which, kind, life }),
        1 => (0u32..30, 0u8..8, life()).prop_map(|(node, kind, life)| Op::ReadNonsense { node, kind, life }),
        1 => (0u8..2, 0u8..6).prop_map(|(world, variant)| Op::Config { world, variant }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(keep, refused)| Op::Settings { keep, refused }),
        1 => Just(Op::NetworkChanged),
        1 => prop::option::of(span()).prop_map(Op::Pause),
        1 => Just(Op::Resume),
    ]
}

fn run(ops: &[Op]) -> Result<usize, String> {
    let mut bed = Bed::new();
    for op in ops {
        match op.clone() {
            Op::Tick => bed.tick(),
            Op::Pass { wall_ms, tick_ms } => bed.pass(wall_ms, tick_ms),
            Op::Demand { profile, min_ttl, wait, consumer, last_ask } => {
                bed.demand(profile, min_ttl, wait, consumer, last_ask);
            }
            Op::Refresh { profile, wait, since } => bed.refresh(profile, wait, since),
            Op::Rejected { profile, last } => bed.rejected(profile, last),
            Op::Leave { which } => bed.leave(which),
            Op::Finish { which, ending, life, dated } => bed.finish(which, ending, life, dated),
            Op::Nonsense { node, flight, ending, life } => bed.nonsense(node, flight, ending, life),
            Op::Read { which, kind, life } => bed.read(which, kind, life),
            Op::ReadNonsense { node, kind, life } => bed.read_nonsense(node, kind, life),
            Op::Config { world, variant } => bed.config(world, variant),
            Op::Settings { keep, refused } => bed.settings(keep, refused),
            Op::NetworkChanged => bed.network_changed(),
            Op::Pause(span) => bed.pause(span),
            Op::Resume => bed.resume(),
        }
        if let Some(problem) = bed.problem.take() {
            return Err(problem);
        }
    }
    bed.end()
}

#[test]
fn model_no_sequence_of_events_breaks_the_rules() {
    // The ordinary run is the same each time; more by request goes where nobody was.
    let more = std::env::var("MODEL_CASES").ok().and_then(|n| n.parse().ok());
    let cases = more.unwrap_or(1500);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = match more {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let mut events = 0;
    let counted = std::cell::RefCell::new(&mut events);
    let result = runner.run(&prop::collection::vec(op(), 1..250), |ops| {
        let steps = run(&ops).map_err(TestCaseError::fail)?;
        **counted.borrow_mut() += steps;
        Ok(())
    });
    println!("{cases} sequences, {events} events");
    result.unwrap_or_else(|problem| panic!("{problem}"));
}

#[test]
fn model_a_session_that_is_wanted_by_hand_alone_is_read_again() {
    let demand = |profile| Op::Demand {
        profile,
        min_ttl: Duration::ZERO,
        wait: Duration::ZERO,
        consumer: None,
        last_ask: false,
    };
    let found = [
        Op::Tick,
        Op::Rejected { profile: 0, last: false },
        Op::Config { world: 1, variant: 0 },
        demand(30),
        Op::Settings { keep: 32, refused: 0 },
        demand(64),
        Op::Refresh { profile: 14, wait: Duration::ZERO, since: None },
        Op::Pass { wall_ms: i64::MAX, tick_ms: i64::MAX },
        Op::Read { which: 141, kind: 7, life: 0 },
        Op::Config { world: 0, variant: 1 },
        Op::Pass { wall_ms: 1797, tick_ms: 1797 },
        Op::Tick,
    ];
    run(&found).unwrap_or_else(|problem| panic!("{problem}"));
}
