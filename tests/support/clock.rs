//! The only place where the tests' own code reads a clock, and the only way in which a test waits.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "the tests' one reader of the wall clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the tests' one reader of the monotonic clock")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Waits until `attempt` gives something; fails the test, saying `what` was awaited, after `limit`.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, attempt: impl FnMut() -> Option<T>) -> T {
    within(limit, attempt).unwrap_or_else(|| panic!("not within {limit:?}: {what}"))
}

/// Waits until `attempt` gives something, at most for `limit`.
pub fn within<T>(limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let start = instant();
    loop {
        match attempt() {
            None if start.elapsed() < limit => std::thread::sleep(Duration::from_millis(5)),
            end => return end,
        }
    }
}
