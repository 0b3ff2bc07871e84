//! Whether this machine's clock agrees with AWS's.

use std::time::Duration;

use super::{Check, Facts, Severity, Verdict, step};
use crate::core::failure::{Failure, FailureClass};
use crate::core::words::span;

/// AWS refuses signatures that are five minutes off.
const REFUSED: i64 = 4 * 60 * 1000;
/// Worth a word.
const NOTICED: i64 = 30 * 1000;

/// See the module's documentation.
pub(super) const CHECK: Check = Check { name: "clock", family: "network", depends_on: &["aws"], run };

fn run(facts: &Facts) -> Verdict {
    let offset = match step::probe(facts) {
        Ok(probe) => probe.clock_offset_ms(),
        Err(verdict) => return verdict,
    };
    let Some(offset) = offset else { return Verdict::skipped("AWS told no time") };
    let by = span(Duration::from_millis(offset.unsigned_abs()));
    let message = format!("this machine's clock is {by} {} AWS's", if offset > 0 { "behind" } else { "ahead of" });
    let fix = "set the clock, or turn on network time (timedatectl set-ntp true)";
    match offset.abs() {
        REFUSED.. => Verdict::of(Severity::Error, &Failure::new(FailureClass::ClockSkew, message, fix)),
        NOTICED.. => Verdict::new(Severity::Warning, message).fixed_by(fix),
        _ => Verdict::ok("it agrees with AWS's to a few seconds"),
    }
}
