//! Three clocks: AWS's (true time), the local wall clock, and the monotonic clock that counts suspend.

use aws_credential_agent::core::time::{Moment, Tick, Timestamp};

/// True time 0 as a Unix timestamp in milliseconds.
const BASE: i64 = 1_800_000_000_000;

/// All in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// True time since the start of the simulation.
    pub(crate) t: i64,
    /// What the local wall clock is ahead.
    pub(crate) wall_ahead: i64,
    /// What the monotonic clock has lost while the machine was frozen.
    pub(crate) frozen: i64,
}

impl Clocks {
    pub(crate) fn new() -> Self {
        Self { t: 1_000_000, wall_ahead: 0, frozen: 0 }
    }

    pub(crate) fn tick(&self) -> Tick {
        Tick::from_millis(u64::try_from(self.t - self.frozen).unwrap_or(0))
    }

    pub(crate) fn of_tick(&self, tick: Tick) -> i64 {
        i64::try_from(tick.as_millis()).unwrap_or(i64::MAX / 2) + self.frozen
    }

    pub(crate) fn moment(&self, draw: u64) -> Moment {
        Moment { wall: Self::stamp(self.t + self.wall_ahead), tick: self.tick(), draw }
    }

    /// A point of true time as AWS writes it.
    pub(crate) fn stamp(t: i64) -> Timestamp {
        Timestamp::from_millis(BASE + t)
    }

    pub(crate) fn unstamp(stamp: Timestamp) -> i64 {
        stamp.as_millis() - BASE
    }
}
