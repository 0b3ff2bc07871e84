//! What time it is at AWS, from the `Date` headers of its answers.
//!
//! Expiry is a matter of AWS's clock. While the local clock agrees within 30 s it is used as it is; beyond that the
//! estimate is. The estimate is anchored on the monotonic clock, so that a step of the local clock does not move it.
//! After such a step one cannot know which of the two is right (a virtual machine that was frozen has a right wall
//! clock and a monotonic clock that lost hours): until AWS answers again, the later of both counts. That may renew
//! too early; it never hands out an expired key.

use std::time::Duration;

use super::time::{Moment, Tick, Timestamp};

/// Differences up to this are the header's own coarseness, latency and ordinary drift.
const TOLERANCE_MS: i64 = 30_000;
/// From here on requests would be refused for their time: class `clock-skew`.
pub const SKEW_LIMIT: Duration = Duration::from_secs(240);

#[derive(Clone, Copy, Debug)]
struct Anchor {
    server: Timestamp,
    tick: Tick,
    /// Set by a clock step, cleared by the next answer.
    doubtful: bool,
}

/// The estimate. Starts out trusting the local clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerClock {
    anchor: Option<Anchor>,
}

impl ServerClock {
    /// The time by which expiry is judged.
    #[must_use]
    pub fn now(&self, now: Moment) -> Timestamp {
        let Some(anchor) = self.anchor else { return now.wall };
        let estimate = anchor.server.plus(now.tick.since(anchor.tick));
        if estimate.offset_from(now.wall).saturating_abs() <= TOLERANCE_MS {
            now.wall
        } else if anchor.doubtful {
            estimate.max(now.wall)
        } else {
            estimate
        }
    }

    /// The earliest that it may be at AWS. It differs from [`ServerClock::now`] only after a step. What is merely sent
    /// to AWS is judged by it: at worst AWS refuses, and its answer tells the time.
    #[must_use]
    pub fn earliest(&self, now: Moment) -> Timestamp {
        let latest = self.now(now);
        match self.anchor {
            Some(anchor) if anchor.doubtful => {
                latest.min(now.wall).min(anchor.server.plus(now.tick.since(anchor.tick)))
            }
            _ => latest,
        }
    }

    /// An answer of AWS said that it was `date` there. The header has whole seconds: half a second is added.
    pub fn observe(&mut self, date: Timestamp, now: Moment) {
        self.anchor = Some(Anchor { server: date.shifted(500), tick: now.tick, doubtful: false });
    }

    /// The local clock was stepped, or the machine was frozen.
    pub fn doubt(&mut self) {
        if let Some(anchor) = &mut self.anchor {
            anchor.doubtful = true;
        }
    }

    /// Milliseconds that AWS's clock is ahead of the local one; `None` before the first answer.
    #[must_use]
    pub fn offset_ms(&self, now: Moment) -> Option<i64> {
        let anchor = self.anchor?;
        Some(anchor.server.plus(now.tick.since(anchor.tick)).offset_from(now.wall))
    }

    /// Whether AWS would refuse signatures made by the local clock.
    #[must_use]
    pub fn is_skewed(&self, now: Moment) -> bool {
        self.offset_ms(now).is_some_and(|ms| u128::from(ms.unsigned_abs()) >= SKEW_LIMIT.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_s: i64, tick_s: u64) -> Moment {
        Moment { wall: Timestamp::from_secs(wall_s), tick: Tick::from_millis(tick_s * 1000), draw: 0 }
    }

    #[test]
    fn a_right_clock_is_used_as_it_is() {
        let mut clock = ServerClock::default();
        assert_eq!(clock.now(at(1000, 0)), Timestamp::from_secs(1000));
        clock.observe(Timestamp::from_secs(1020), at(1000, 0));
        assert_eq!(clock.now(at(1000, 0)), Timestamp::from_secs(1000));
        assert!(!clock.is_skewed(at(1000, 0)));
    }

    #[test]
    fn a_wrong_clock_is_corrected() {
        let mut clock = ServerClock::default();
        clock.observe(Timestamp::from_secs(5000), at(1000, 0));
        assert_eq!(clock.now(at(1010, 10)), Timestamp::from_millis(5_010_500));
        assert!(clock.is_skewed(at(1010, 10)));
    }

    #[test]
    fn extreme_times_do_no_harm() {
        let mut clock = ServerClock::default();
        for (date, wall) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (i64::MIN, 0)] {
            let now = Moment { wall: Timestamp::from_millis(wall), ..Moment::default() };
            clock.observe(Timestamp::from_millis(date), now);
            clock.doubt();
            let _ = (clock.now(now), clock.earliest(now), clock.is_skewed(now));
        }
    }

    #[test]
    fn after_a_step_the_later_time_counts_until_aws_answers() {
        let mut clock = ServerClock::default();
        clock.observe(Timestamp::from_secs(1000), at(1000, 0));
        clock.doubt();
        assert_eq!(clock.now(at(9000, 1)), Timestamp::from_secs(9000), "forward: perhaps we were frozen");
        assert_eq!(clock.earliest(at(9000, 1)), Timestamp::from_millis(1_001_500));
        assert_eq!(clock.now(at(100, 1)), Timestamp::from_millis(1_001_500), "back: the estimate");
        clock.observe(Timestamp::from_secs(1002), at(9000, 2));
        assert_eq!(clock.now(at(9000, 2)), Timestamp::from_millis(1_002_500));
        assert_eq!(clock.earliest(at(9000, 2)), Timestamp::from_millis(1_002_500));
    }
}
