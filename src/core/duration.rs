//! Spans of time as people type them: `25s`, `500ms`, `2m`, `8h`, `3d`; a bare number is seconds. And a point in the
//! past: such a span back from now, or a time.

use std::time::Duration;

use crate::core::time::Timestamp;

/// The longest span that is accepted: a year.
const MAX: Duration = Duration::from_secs(365 * 86_400);

/// Reads a span.
///
/// # Errors
/// A sentence fragment for the user when the text is no span, is zero, or is longer than a year.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let millis_per_unit: u64 = match unit.trim_start() {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(HINT.to_owned()),
    };
    if number.is_empty() {
        return Err(HINT.to_owned());
    }
    let span = number.parse::<u64>().ok().and_then(|n| n.checked_mul(millis_per_unit)).map(Duration::from_millis);
    match span {
        Some(span) if span.is_zero() => Err("must be more than zero".to_owned()),
        Some(span) if span <= MAX => Ok(span),
        _ => Err("is longer than a year".to_owned()),
    }
}

/// A point in the past as it was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// At this time.
    At(Timestamp),
}

impl Since {
    /// When that is.
    #[must_use]
    pub fn seen_from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now.minus(span),
            Self::At(at) => at,
        }
    }
}

/// Reads a point in the past: `2h`, or `2026-01-31T08:00:00Z` (RFC 3339).
///
/// # Errors
/// A sentence fragment for the user when the text is neither, or its span is zero or longer than a year.
pub fn parse_since(text: &str) -> Result<Since, String> {
    let at = Timestamp::parse(text).map(Since::At);
    let since = at.or_else(|| parse(text).ok().map(Since::Ago));
    since.ok_or_else(|| "write 30m, 2h or 1d (at most a year back), or a time: 2026-01-31T08:00:00Z".to_owned())
}

const HINT: &str = "write a whole number with a unit: 500ms, 25s, 2m, 8h, 3d (a bare number is seconds)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, millis) in [
            ("25s", 25_000),
            ("500ms", 500),
            ("25", 25_000),
            (" 2m ", 120_000),
            ("2min", 120_000),
            ("8h", 28_800_000),
            ("8 h", 28_800_000),
            ("365d", 31_536_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        for text in ["", "s", "1.5s", "-3s", "+3s", "3 weeks", "ten", "1h30m", "२s"] {
            assert!(parse(text).unwrap_err().contains("500ms, 25s"), "{text}");
        }
        assert!(parse("0").unwrap_err().contains("more than zero"));
        for text in ["366d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse(text).unwrap_err().contains("a year"), "{text}");
        }
    }

    #[test]
    fn a_point_in_the_past_is_a_span_or_a_time() {
        let now = Timestamp::from_secs(1_592_388_128);
        assert_eq!(parse_since("2h").unwrap().seen_from(now), Timestamp::from_secs(1_592_380_928));
        assert_eq!(parse_since("2020-06-17T12:02:08+02:00").unwrap().seen_from(Timestamp::default()), now);
        for text in ["", "yesterday", "2020-06-17", "0h", "366d"] {
            assert!(parse_since(text).unwrap_err().contains("2h or 1d"), "{text}");
        }
    }
}
