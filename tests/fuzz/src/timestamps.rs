//! Times: what is read is written back, and no arithmetic overflows.

use std::time::Duration;

use aws_credential_agent::core::time::{Moment, Tick, Timestamp};

/// 9999-12-31T23:59:59Z, the last second that is printed.
const LAST: i64 = 253_402_300_799_000;

pub fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        reading(text);
    }
    let numbers: Vec<i64> = data.chunks(8).map(number).collect();
    for pair in numbers.windows(2) {
        arithmetic(pair[0], pair[1]);
    }
}

fn number(bytes: &[u8]) -> i64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(all)
}

fn reading(text: &str) {
    let json = serde_json::to_string(text).expect("a text");
    let read = Timestamp::parse(text);
    assert_eq!(serde_json::from_str(&json).ok(), read, "as a value of JSON");
    for time in [read, Timestamp::parse_http_date(text)].into_iter().flatten() {
        written_back(time);
        arithmetic(time.as_millis(), 1);
    }
    // One zone, however it is written, and a fraction only adds to the second.
    if let Some(local) = text.trim().strip_suffix('Z') {
        assert_eq!(Timestamp::parse(&format!("{local}UTC")), read, "UTC is Z");
        assert_eq!(Timestamp::parse(&format!("{local}+00:00")), read, "so is no offset");
        if let (Some(time), false) = (read, text.contains('.')) {
            assert_eq!(Timestamp::parse(&format!("{local}.25Z")), Some(time.shifted(250)));
        }
    }
    if let Some(local) = text.trim().strip_suffix("UTC") {
        assert_eq!(Timestamp::parse(&format!("{local}Z")), read, "Z is UTC");
    }
}

/// To whole seconds, in the years that can be printed.
fn written_back(time: Timestamp) {
    let text = time.to_string();
    assert!(text.len() == 20 && text.ends_with('Z'), "{text}");
    let seconds = time.as_millis().clamp(0, LAST) / 1000;
    assert_eq!(Timestamp::parse(&text), Some(Timestamp::from_secs(seconds)), "{text}");
    let http = time.to_utc().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    assert_eq!(Timestamp::parse_http_date(&http), Some(Timestamp::from_secs(seconds)), "{http}");
    let json = serde_json::to_string(&time).expect("a time");
    assert_eq!(serde_json::from_str::<Timestamp>(&json).ok(), Some(Timestamp::from_secs(seconds)));
}

/// Against numbers that are wide enough.
fn arithmetic(a: i64, b: i64) {
    let (at, other) = (Timestamp::from_millis(a), Timestamp::from_millis(b));
    let (wide_a, wide_b) = (i128::from(a), i128::from(b));
    let saturated = |wide: i128| i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN } else { i64::MAX });
    written_back(at);
    assert_eq!(at.offset_from(other), saturated(wide_a - wide_b));
    assert_eq!(at.shifted(b).as_millis(), saturated(wide_a + wide_b));
    assert_eq!(at.since(other).as_millis(), u128::try_from(saturated(wide_a - wide_b)).unwrap_or(0));
    assert_eq!(Timestamp::from_secs(a).as_millis(), saturated(wide_a * 1000));
    let span = Duration::from_millis(b.unsigned_abs());
    let wide_span = i128::from(b.unsigned_abs()).min(i128::from(i64::MAX));
    assert_eq!(at.plus(span).as_millis(), saturated(wide_a + wide_span));
    assert_eq!(at.minus(span).as_millis(), saturated(wide_a - wide_span));
    assert!(at.plus(Duration::MAX) >= at && at.minus(Duration::MAX) <= at);

    let (tick, later) = (Tick::from_millis(a.unsigned_abs()), Tick::from_millis(b.unsigned_abs()));
    assert_eq!(tick.since(later).as_millis(), u128::from(a.unsigned_abs().saturating_sub(b.unsigned_abs())));
    assert_eq!(tick.plus(span).as_millis(), a.unsigned_abs().saturating_add(b.unsigned_abs()));
    assert_eq!(tick.plus(Duration::MAX).as_millis(), u64::MAX);

    let moment = Moment { wall: at, tick, draw: b.unsigned_abs() };
    for span in [span, Duration::MAX] {
        assert!(moment.jitter(span, a.unsigned_abs()) <= span, "a part of it");
    }
}
