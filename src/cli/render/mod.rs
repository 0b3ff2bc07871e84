//! What a person reads, as pure functions: values in, text out. No clock, no terminal, no environment.
//!
//! [`text`] measures and wraps, on a [`page`]; [`status`] and [`why`] lay the agent's snapshot out, [`audit`] its log. In
//! a pipe a [`View`] has no width,
//! no colour and no local clock, so that the same snapshot at the same time is the same text.

pub mod audit;
pub mod credential;
pub mod page;
pub mod status;
pub mod statusline;
pub mod text;
pub mod why;

pub use crate::core::words::span;

use chrono::NaiveDateTime;

use crate::core::time::Timestamp;

pub use text::clean;

/// How to look at a snapshot.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The present, by this machine's clock.
    pub now: Timestamp,
    /// Columns to fit into; `None`: as long as it takes.
    pub width: Option<usize>,
    /// Whether to colour.
    pub colour: bool,
    /// Makes the time on the wall from an instant of this machine's clock; `None`: no clock times are shown.
    pub local: Option<&'a dyn Fn(Timestamp) -> NaiveDateTime>,
}

/// A time on the wall, as short as it is clear: `14:32` today, `Tue 14:32` within six days, `2026-11-28 14:32` else.
#[must_use]
pub fn clock_time(at: NaiveDateTime, now: NaiveDateTime) -> String {
    format!("{}{}", day(at, now), at.format("%H:%M"))
}

/// The same to the second.
#[must_use]
pub fn clock_time_with_seconds(at: NaiveDateTime, now: NaiveDateTime) -> String {
    format!("{}{}", day(at, now), at.format("%H:%M:%S"))
}

/// What stands before the time of day, its blank included.
fn day(at: NaiveDateTime, now: NaiveDateTime) -> String {
    let days = at.date().signed_duration_since(now.date()).num_days();
    let format = match days {
        0 => "",
        -6..=6 => "%a ",
        _ => "%Y-%m-%d ",
    };
    at.format(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_times_are_as_short_as_they_are_clear() {
        let now = Timestamp::from_secs(1_592_388_128).to_utc().naive_utc();
        let at = |days: i64| clock_time(now + chrono::TimeDelta::days(days), now);
        assert_eq!(at(0), "10:02");
        assert_eq!(at(1), "Thu 10:02");
        assert_eq!(at(-1), "Tue 10:02");
        assert_eq!(at(7), "2020-06-24 10:02");
        assert_eq!(clock_time_with_seconds(now, now), "10:02:08");
        assert_eq!(clock_time_with_seconds(now, now + chrono::TimeDelta::days(7)), "2020-06-17 10:02:08");
    }
}
