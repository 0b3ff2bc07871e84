//! Time as values: the wall clock, a monotonic clock that counts suspend, and arithmetic that cannot panic.
//!
//! Nothing here reads a clock; `platform::clock` does and hands the readings in as a [`Moment`].

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

/// A point on the wall clock: milliseconds since the Unix epoch. Every operation saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A point on a monotonic clock that also counts while the machine sleeps: milliseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

/// What the shell observed when an event happened: both clocks, and one fresh random draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The local wall clock. It may be wrong and it may step; expiry is judged by `ServerClock` on top of it.
    pub wall: Timestamp,
    /// The suspend-aware monotonic clock: backoff, deadlines, spacing.
    pub tick: Tick,
    /// A uniformly random number, from which this step derives every jitter that it draws.
    pub draw: u64,
}

/// The latest instant that `chrono` and every AWS tool can print: 9999-12-31T23:59:59Z.
const MAX_MILLIS: i64 = 253_402_300_799_000;

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// From whole seconds since the Unix epoch.
    #[must_use]
    pub const fn from_secs(s: i64) -> Self {
        Self(s.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant and `d` more.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(millis(d)))
    }

    /// `d` before this instant.
    #[must_use]
    pub fn minus(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(millis(d)))
    }

    /// Time from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Signed milliseconds from `other` to here.
    #[must_use]
    pub const fn offset_from(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }

    /// Shifted by signed milliseconds.
    #[must_use]
    pub const fn shifted(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Reads the forms that AWS tools write: RFC 3339 with `Z` or an offset and any fraction, and the old
    /// `2020-06-17T10:02:08UTC`. `None` for anything else, a missing zone included.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let parsed = match text.strip_suffix("UTC") {
            Some(local) => DateTime::parse_from_rfc3339(&format!("{local}Z")),
            None => DateTime::parse_from_rfc3339(text),
        };
        parsed.ok().map(|t| Self(t.timestamp_millis()))
    }

    /// Reads an HTTP `Date` header (RFC 9110 section 5.6.7, the preferred form).
    #[must_use]
    pub fn parse_http_date(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc2822(text).ok().map(|t| Self(t.timestamp_millis()))
    }

    /// This instant for `chrono`, clamped to the years that can be printed.
    #[must_use]
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0.clamp(0, MAX_MILLIS)).unwrap_or_default()
    }
}

/// `YYYY-MM-DDTHH:MM:SSZ`: what every client of ours accepts (whole seconds, rounded down).
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

impl Tick {
    /// From milliseconds of the monotonic clock.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds of the monotonic clock.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This tick and `d` more.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Moment {
    /// A number in `0.0..1.0`, different for each `salt`, from this moment's draw (SplitMix64's finalizer).
    #[must_use]
    pub fn fraction(&self, salt: u64) -> f64 {
        let mut z = self.draw ^ salt.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        // 53 random bits fill a double's mantissa exactly.
        (z >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A random part of `span`, different for each `salt`.
    #[must_use]
    pub fn jitter(&self, span: Duration, salt: u64) -> Duration {
        span.mul_f64(self.fraction(salt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_that_aws_tools_write() {
        let t = Timestamp::from_secs(1_592_388_128);
        for text in ["2020-06-17T10:02:08Z", "2020-06-17T10:02:08UTC", "2020-06-17T12:02:08+02:00"] {
            assert_eq!(Timestamp::parse(text), Some(t), "{text}");
        }
        assert_eq!(Timestamp::parse("2020-06-17T10:02:08.123456Z"), Some(t.shifted(123)));
        for bad in [
            "",
            "2020-06-17T10:02:08",
            "1592388128",
            "soon",
            "2020-13-17T10:02:08Z",
            "2020-6-17T10:02:08UTC",
            "+12020-06-17T10:02:08UTC",
            "2020-06-17T10:02:08ZUTC",
        ] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn writes_whole_seconds_with_z_and_never_panics() {
        assert_eq!(Timestamp::from_millis(1_592_388_128_999).to_string(), "2020-06-17T10:02:08Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp::from_millis(i64::MIN).to_string(), "1970-01-01T00:00:00Z");
        let _ = Timestamp::from_millis(i64::MAX).plus(Duration::MAX).minus(Duration::MAX);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::from_secs(1).since(Timestamp::from_secs(2)), Duration::ZERO);
        assert_eq!(Tick::from_millis(1).since(Tick::from_millis(2)), Duration::ZERO);
        assert_eq!(Tick::from_millis(1).plus(Duration::MAX).as_millis(), u64::MAX);
    }

    #[test]
    fn http_dates_are_read() {
        let t = Timestamp::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(t, Some(Timestamp::from_secs(784_111_777)));
        assert_eq!(Timestamp::parse_http_date("yesterday"), None);
    }

    #[test]
    fn draws_differ_by_salt_and_stay_in_range() {
        let m = Moment { draw: 42, ..Moment::default() };
        assert_ne!(m.fraction(1), m.fraction(2));
        assert!((0..1000).all(|s| (0.0..1.0).contains(&m.fraction(s))));
    }
}
