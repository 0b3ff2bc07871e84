//! One credential's cells: its state in a word, when it ends, and what happens next.

use std::time::Duration;

use super::text::{Paint, clean};
use super::{View, clock_time, span};
use crate::core::failure::FailureClass;
use crate::core::status::{FailureStatus, Kept, NextStep, Pause, State};
use crate::core::time::Timestamp;

/// Times of a snapshot seen from here: all of them are by AWS's clock.
#[derive(Clone, Copy)]
pub struct Times<'a> {
    view: &'a View<'a>,
    /// Milliseconds that AWS's clock is ahead of this machine's.
    offset: i64,
}

impl<'a> Times<'a> {
    /// For a snapshot with this clock offset.
    #[must_use]
    pub fn new(view: &'a View<'a>, clock_offset_ms: Option<i64>) -> Self {
        Self { view, offset: clock_offset_ms.unwrap_or(0) }
    }

    /// The present by AWS's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.view.now.shifted(self.offset)
    }

    /// ` (14:32)`: the same instant on this machine's clock; nothing where no clock times are shown.
    #[must_use]
    pub fn on_the_wall(&self, at: Timestamp) -> String {
        let Some(local) = self.view.local else { return String::new() };
        let here = at.shifted(self.offset.saturating_neg());
        format!(" ({})", clock_time(local(here), local(self.view.now)))
    }

    /// `in 42 min`, `3 min ago`, `now`.
    #[must_use]
    pub fn relative(&self, at: Timestamp) -> String {
        // A moment is rounded to a second first: 41 min 59.9 s is 42 min.
        let round = |d: Duration| Duration::from_secs(d.saturating_add(Duration::from_millis(500)).as_secs());
        let (ahead, behind) = (round(at.since(self.now())), round(self.now().since(at)));
        match (ahead.is_zero(), behind.is_zero()) {
            (false, _) => format!("in {}", span(ahead)),
            (_, false) => format!("{} ago", span(behind)),
            _ => "now".to_owned(),
        }
    }
}

/// The state in a word, and its colour. A failure that only a person can end says so.
#[must_use]
pub fn state(state: State, failure: Option<&FailureStatus>) -> (&'static str, Paint) {
    let needs_login = failure.is_some_and(|f| f.failure.class == FailureClass::NeedsLogin);
    match state {
        State::Valid => ("valid", Paint::Green),
        State::Failing => ("failing", Paint::Yellow),
        State::Idle => ("idle", Paint::Dim),
        State::Fetching => ("fetching", Paint::Yellow),
        State::Failed if needs_login => ("needs login", Paint::Red),
        State::Failed => ("failed", Paint::Red),
        State::Unusable => ("unusable", Paint::Red),
    }
}

/// When the held credential ends: `in 42 min`, `ended 3 min ago`, `-`.
#[must_use]
pub fn ends(times: &Times<'_>, at: Option<Timestamp>, clock: bool) -> String {
    let Some(at) = at else { return "-".to_owned() };
    let past = if at < times.now() { "ended " } else { "" };
    let wall = if clock { times.on_the_wall(at) } else { String::new() };
    format!("{past}{}{wall}", times.relative(at))
}

/// What happens next by itself: `renew in 17 min`, `retry in 25 s`, `paused`, `when asked`, `-`.
#[must_use]
pub fn next(
    times: &Times<'_>,
    step: Option<&NextStep>,
    paused: Option<&Pause>,
    kept: Option<Kept>,
    clock: bool,
) -> String {
    let held_up = |step: &NextStep| paused.is_some_and(|p| p.until.is_none_or(|until| until > step.at));
    match (step, kept) {
        (Some(step), _) if matches!(step.what.as_str(), "renew" | "retry") && held_up(step) => "paused".to_owned(),
        (Some(step), _) if step.what != "ends" => {
            let when = if step.at <= times.now() { "now".to_owned() } else { times.relative(step.at) };
            let wall = if clock && when != "now" { times.on_the_wall(step.at) } else { String::new() };
            format!("{} {when}{wall}", clean(&step.what))
        }
        (_, Some(Kept::No)) => "when asked".to_owned(),
        _ => "-".to_owned(),
    }
}

/// What failed last, then its fix: a paragraph each. What makes a profile unusable has no time: it holds until the file
/// is changed.
#[must_use]
pub fn failure(times: &Times<'_>, of: State, f: &FailureStatus) -> Vec<String> {
    let often = if f.count > 1 { format!(", {} times", f.count) } else { String::new() };
    let when = if of == State::Unusable { String::new() } else { format!(", {}", times.relative(f.at)) };
    let cause = format!("{}{often}{when}: {}", f.failure.class, clean(&f.failure.message));
    let fix = clean(&f.failure.fix);
    if fix.is_empty() { vec![cause] } else { vec![cause, format!("fix: {fix}")] }
}

/// The colour of a failure's text.
#[must_use]
pub const fn failure_paint(of: State) -> Paint {
    match of {
        State::Valid | State::Failing | State::Fetching => Paint::Yellow,
        State::Idle | State::Failed | State::Unusable => Paint::Red,
    }
}
