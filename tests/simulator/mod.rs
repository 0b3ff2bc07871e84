//! The simulator: the real broker, a modelled shell, AWS, clients, other tools and a hostile world, in virtual time.
//!
//! Each seed is a day of fifty profiles. Nothing waits and nothing is read from the machine: a seed always does the
//! same. What must hold is in [`checks`]; it is looked at with every step.
//!
//! * `SIM_SEEDS=2000 cargo test --test core simulator` runs more of them.
//! * `SIM_SEED=17 cargo test --test core simulator` runs one and prints its last events if it fails.

mod callers;
mod chaos;
mod checks;
mod clock;
mod estate;
mod files;
mod flights;
mod logins;
mod paths;
mod run;
mod upstream;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::{Sim, Stats};

/// Profiles of a run, and its length in hours.
const PROFILES: usize = 50;
const HOURS: i64 = 24;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn one(seed: u64, trace: bool) -> Result<Stats, String> {
    let run = || Sim::new(seed, PROFILES, trace).run(HOURS);
    std::panic::catch_unwind(run).unwrap_or_else(|_| Err("panicked".to_owned()))
}

#[test]
fn simulator_days_hold_every_invariant() {
    if let Some(seed) = number("SIM_SEED") {
        println!("{:#?}", one(seed, true).unwrap_or_else(|problem| panic!("seed {seed}: {problem}")));
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(200);
    let (next, failed, total) = (AtomicU64::new(0), Mutex::new(Vec::new()), Mutex::new(Stats::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || failed.lock().unwrap().len() >= 5 {
                        return;
                    }
                    match one(seed, false) {
                        Ok(stats) => total.lock().unwrap().add(&stats),
                        Err(problem) => failed.lock().unwrap().push((seed, problem)),
                    }
                }
            });
        }
    });
    println!("{seeds} seeds of {HOURS} h with {PROFILES} profiles: {:#?}", total.lock().unwrap());
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    let lines: Vec<_> =
        failed.iter().map(|(s, p)| format!("SIM_SEED={s} cargo test --test core simulator   # {p}")).collect();
    assert!(failed.is_empty(), "seeds that failed:\n{}", lines.join("\n"));
}
