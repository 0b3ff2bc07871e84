//! The only reader of clocks, and of randomness.
//!
//! Everything else gets time as a value: the core as a [`Moment`], blocking clients as a [`Deadline`]. Clippy's
//! `disallowed-methods` enforces it.
//!
//! | clock | Linux | macOS | Windows |
//! |---|---|---|---|
//! | wall | `clock_gettime(CLOCK_REALTIME)` through libc, which `libfaketime` can step | same | system time |
//! | tick (counts suspend) | `CLOCK_BOOTTIME` | `CLOCK_MONOTONIC`, which on Darwin goes on during sleep (clock_gettime(3)) | `GetTickCount64`, which includes sleep, to some 16 ms |
//! | deadline | `std::time::Instant`: stops during suspend, as socket timeouts do | same | same |

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::core::time::{Moment, Tick, Timestamp};

/// The clocks of this machine. A value, so that whoever needs time shows it in its signature.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Both clocks and one fresh random draw.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment { wall: self.wall(), tick: self.tick(), draw: fastrand::u64(..) }
    }

    /// The monotonic clock alone.
    #[must_use]
    pub fn tick(&self) -> Tick {
        Tick::from_millis(suspend_aware_millis())
    }

    /// The wall clock alone. A clock set before 1970 reads as 1970.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of clocks")]
    pub fn wall(&self) -> Timestamp {
        timestamp(SystemTime::now())
    }
}

/// A file's time as a [`Timestamp`]; before 1970 it is 1970.
#[must_use]
pub fn timestamp(time: SystemTime) -> Timestamp {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// The end of a wait, for blocking code that hands what is left to the next system call.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// `None`: further away than the clock can count.
    end: Option<Instant>,
}

impl Deadline {
    /// `wait` from now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of clocks")]
    pub fn after(wait: Duration) -> Self {
        Self { end: Instant::now().checked_add(wait) }
    }

    /// What is left; `None` once it has passed. Never zero, which sockets would take as "no limit".
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of clocks")]
    pub fn remaining(&self) -> Option<Duration> {
        let Some(end) = self.end else { return Some(Duration::MAX) };
        let left = end.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(unix)]
fn suspend_aware_millis() -> u64 {
    use rustix::time::{ClockId, clock_gettime};

    #[cfg(target_os = "linux")]
    let id = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let id = ClockId::Monotonic;
    let t = clock_gettime(id);
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(u64::try_from(t.tv_nsec).unwrap_or(0) / 1_000_000)
}

#[cfg(windows)]
#[expect(unsafe_code, reason = "GetTickCount64 has no safe wrapper; it takes no argument and cannot fail")]
fn suspend_aware_millis() -> u64 {
    // SAFETY: no arguments, no preconditions.
    unsafe { windows_sys::Win32::System::SystemInformation::GetTickCount64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_go_forward_and_draws_differ() {
        let (a, b) = (Clock.now(), Clock.now());
        assert!(b.tick >= a.tick);
        assert!(a.wall > Timestamp::from_secs(1_600_000_000));
        assert_ne!(a.draw, b.draw);
    }

    #[test]
    fn deadlines_end_and_never_say_zero() {
        assert_eq!(Deadline::after(Duration::ZERO).remaining(), None);
        assert!(Deadline::after(Duration::from_secs(60)).remaining().unwrap() > Duration::from_secs(50));
        assert!(Deadline::after(Duration::MAX).remaining().is_some());
    }

    #[test]
    fn old_file_times_are_1970() {
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(5)), Timestamp::from_millis(0));
    }
}
