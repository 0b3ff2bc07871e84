//! The breaker of one session's logins: where a person answers, and nothing comes of it, asking again at once is of no
//! use. A proxy that strips headers or a wrong configuration would turn logins into a loop of browser tabs.
//!
//! ```text
//! closed ── 2 hollow, or 3 in all, within 10 min; ──▶ open (10 min, 30 min, 2 h, 2 h, ...)
//!    ▲      1 behind a chain that is not trusted        │ its time is over, or something changed
//!    └── a login works ── half-open ◀──────────────────┘
//!                             ├── one that does not ──▶ open
//!                             └── AWS is not reached ──▶ open as long as before, and nobody was asked
//! ```
//!
//! Who cancels, or does not answer, trips nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::failure::Failure;
use crate::core::time::Timestamp;

/// Strikes count for this long; so long must logins have worked for the steps to begin anew.
const SPAN: Duration = Duration::from_secs(600);
/// How long it is open, trip by trip.
const STEPS: [Duration; 3] = [Duration::from_secs(600), Duration::from_secs(1800), LONGEST];
/// Never longer.
const LONGEST: Duration = Duration::from_secs(7200);
/// Strikes of both kinds that trip it.
const FAILED: usize = 3;
const HOLLOW: usize = 2;

/// How a login came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strike {
    /// It was denied, or ended in an error.
    Failed,
    /// A token came, and using it failed; or somebody in between broke it.
    Hollow,
    /// Either, while the certificates on the way are not trusted here: the next would end in the same way.
    Rejected,
}

/// See the module's documentation. Times are those of the wall: it outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Breaker {
    strikes: Vec<(Timestamp, Strike)>,
    /// Trips since logins were last stable.
    trips: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<Open>,
    half_open: bool,
    /// The last login that worked, if none failed since.
    #[serde(skip_serializing_if = "Option::is_none")]
    works_since: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    until: Timestamp,
    why: Failure,
}

impl Breaker {
    /// Until when it is open, and why.
    #[must_use]
    pub fn open(&self, now: Timestamp) -> Option<(Timestamp, &Failure)> {
        self.open.as_ref().filter(|open| open.holds(now)).map(|open| (open.until, &open.why))
    }

    /// A login came to nothing. `fraction` of 0 to 1 draws the jitter, which only lengthens: what a person was told to
    /// be the earliest time stays that.
    pub fn strike(&mut self, strike: Strike, why: &Failure, fraction: f64, now: Timestamp) {
        if self.open.take().is_some() {
            self.half_open = true;
        }
        if self.works_since.take().is_some_and(|since| now.since(since) >= SPAN) {
            self.trips = 0;
        }
        self.strikes.retain(|(at, _)| now.since(*at) < SPAN && at.since(now) < SPAN);
        self.strikes.push((now, strike));
        let hollow = self.strikes.iter().filter(|(_, strike)| *strike == Strike::Hollow).count();
        if self.half_open || strike == Strike::Rejected || hollow >= HOLLOW || self.strikes.len() >= FAILED {
            self.trips += 1;
            self.shut(why, fraction, now);
        }
    }

    /// Half-open, and a look at the way to AWS showed that a login would be in vain: as long again.
    pub fn shut(&mut self, why: &Failure, fraction: f64, now: Timestamp) {
        let step = STEPS[self.trips.saturating_sub(1).min(STEPS.len() - 1)];
        let span = step.mul_f64(1.0 + 0.1 * fraction).min(LONGEST);
        self.open = Some(Open { until: now.plus(span), why: why.clone() });
        self.half_open = false;
        self.strikes.clear();
    }

    /// Whether one login may be tried, and decides.
    #[must_use]
    pub fn is_half_open(&self, now: Timestamp) -> bool {
        self.half_open || self.open.as_ref().is_some_and(|open| !open.holds(now))
    }

    /// A login worked.
    pub fn worked(&mut self, now: Timestamp) {
        (self.open, self.half_open) = (None, false);
        self.works_since = Some(now);
    }

    /// Something changed that may have been the cause: one login may be tried. Whether that is news.
    pub fn half_open(&mut self) -> bool {
        let was_open = self.open.take().is_some();
        self.half_open |= was_open;
        was_open
    }
}

impl Open {
    /// A time further ahead than any step is that of a clock that was set back since.
    fn holds(&self, now: Timestamp) -> bool {
        now < self.until && self.until.since(now) <= LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::failure::FailureClass;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn why() -> Failure {
        Failure::new(FailureClass::Intercepted, "the bearer header is stripped", "another network")
    }

    fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    fn open_for(breaker: &Breaker, now: Timestamp) -> Option<Duration> {
        breaker.open(now).map(|(until, _)| until.since(now))
    }

    #[test]
    fn two_hollow_or_three_failed_within_ten_minutes_trip_it() {
        let mut breaker = Breaker::default();
        breaker.strike(Strike::Hollow, &why(), 0.0, NOW);
        assert_eq!(breaker.open(NOW), None);
        breaker.strike(Strike::Hollow, &why(), 0.0, NOW.plus(minutes(9)));
        assert_eq!(open_for(&breaker, NOW.plus(minutes(9))), Some(minutes(10)));
        assert_eq!(breaker.open(NOW.plus(minutes(9))).unwrap().1, &why());

        let mut breaker = Breaker::default();
        for n in 0..3 {
            assert_eq!(breaker.open(NOW), None, "{n}");
            breaker.strike(Strike::Failed, &why(), 0.0, NOW);
        }
        assert_eq!(open_for(&breaker, NOW), Some(minutes(10)));

        let mut breaker = Breaker::default();
        for n in 0..9 {
            breaker.strike(Strike::Hollow, &why(), 0.0, NOW.plus(minutes(10 * n)));
            assert_eq!(breaker.open(NOW.plus(minutes(10 * n))), None, "too far apart");
        }
    }

    #[test]
    fn one_behind_a_chain_that_is_not_trusted_trips_it() {
        let mut breaker = Breaker::default();
        breaker.strike(Strike::Rejected, &why(), 0.0, NOW);
        assert_eq!(open_for(&breaker, NOW), Some(minutes(10)));
    }

    #[test]
    fn a_way_that_is_shut_still_costs_the_same_time_again() {
        let mut breaker = Breaker::default();
        breaker.strike(Strike::Rejected, &why(), 0.0, NOW);
        assert!(!breaker.is_half_open(NOW.plus(minutes(9))));
        let mut now = NOW;
        for _ in 0..5 {
            now = now.plus(minutes(10));
            assert!(breaker.is_half_open(now));
            breaker.shut(&why(), 0.0, now);
            assert_eq!((open_for(&breaker, now), breaker.is_half_open(now)), (Some(minutes(10)), false));
        }
        assert!(breaker.half_open() && breaker.is_half_open(now), "something changed");
        breaker.strike(Strike::Failed, &why(), 0.0, now);
        assert_eq!(open_for(&breaker, now), Some(minutes(30)));
        let set_back = NOW.minus(minutes(60 * 24));
        assert!(breaker.is_half_open(set_back), "a clock that was set back by a day shuts nobody out");
    }

    #[test]
    fn each_trip_is_longer_up_to_two_hours_and_the_jitter_only_lengthens() {
        let (mut breaker, mut now) = (Breaker::default(), NOW);
        breaker.strike(Strike::Hollow, &why(), 1.0, now);
        for (expected, fraction) in [(600, 0.0), (1980, 1.0), (7200, 0.5), (7200, 0.0)] {
            breaker.strike(Strike::Hollow, &why(), fraction, now);
            let left = open_for(&breaker, now).unwrap();
            assert_eq!(left.as_secs(), expected);
            now = now.plus(left);
            assert_eq!(breaker.open(now), None, "half-open: one more may be tried");
        }
    }

    #[test]
    fn one_that_works_closes_it_and_ten_stable_minutes_begin_anew() {
        let mut breaker = Breaker::default();
        let trip = |breaker: &mut Breaker, now| {
            breaker.strike(Strike::Hollow, &why(), 0.0, now);
            breaker.strike(Strike::Hollow, &why(), 0.0, now);
            open_for(breaker, now).unwrap()
        };
        assert_eq!(trip(&mut breaker, NOW), minutes(10));
        breaker.worked(NOW.plus(minutes(11)));
        assert_eq!(breaker.open(NOW.plus(minutes(11))), None);
        assert_eq!(trip(&mut breaker, NOW.plus(minutes(12))), minutes(30), "it had not worked for long");
        breaker.worked(NOW.plus(minutes(43)));
        assert_eq!(trip(&mut breaker, NOW.plus(minutes(60))), minutes(10));
    }

    #[test]
    fn a_change_half_opens_it_and_one_strike_opens_it_again() {
        let mut breaker = Breaker::default();
        assert!(!breaker.half_open());
        breaker.strike(Strike::Hollow, &why(), 0.0, NOW);
        assert_eq!(breaker.open(NOW), None, "a closed one is not half-opened");
        breaker.strike(Strike::Hollow, &why(), 0.0, NOW);
        assert!(breaker.half_open());
        assert_eq!(breaker.open(NOW), None);
        breaker.strike(Strike::Failed, &why(), 0.0, NOW);
        assert_eq!(open_for(&breaker, NOW), Some(minutes(30)));
    }

    #[test]
    fn a_clock_set_back_does_not_keep_it_open() {
        let mut breaker = Breaker::default();
        breaker.strike(Strike::Hollow, &why(), 0.0, NOW);
        breaker.strike(Strike::Hollow, &why(), 0.0, NOW);
        assert!(breaker.open(NOW.minus(minutes(60))).is_some());
        assert_eq!(breaker.open(NOW.minus(minutes(60 * 24))), None);
    }
}
