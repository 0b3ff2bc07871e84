//! When a refresh starts, and how long to wait after a failure. **This is where the refresh window is decided.**
//!
//! L is the lifetime left when a credential was received, R the lifetime left now. A refresh starts when R falls to
//! [`Window::renew_below`]; its jitter is drawn once, with the credential, and never again.
//!
//! | credential | refresh starts at R = | why |
//! |---|---|---|
//! | role, L < 90 min | min(L/2, 25 min) + 0..2.5 min, at most 10 % of L/2 | botocore runs us again for every request below 15 min |
//! | role, else | min(L/2, 70 min) + 0..7 min | Claude Code before 2.1.176 keeps a key for an hour |
//! | SSO token | min(20 min, L/2) + 0..2 min (10 % when short) | before every other refresher: 15, 5 and 5 min |
//! | SSO token from a file | 20 min | its L is not known |

use std::time::Duration;

use super::source::Link;

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// Lifetimes left at which things happen to one credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// A kept credential is renewed from here on.
    pub renew_below: Duration,
    /// From here on a caller waits (briefly) for a renewal rather than take what is held.
    pub mandatory_below: Duration,
}

impl Window {
    /// The window of a credential that `link` yields, with lifetime `L` where it is known, and a draw in `0.0..1.0`.
    #[must_use]
    pub fn draw(link: &Link, lifetime: Option<Duration>, fraction: f64) -> Self {
        let Some(life) = lifetime else {
            return Self { renew_below: minutes(20), mandatory_below: minutes(1) };
        };
        let (limit, spread) = match link {
            Link::SsoSession(_) => (minutes(20), minutes(2)),
            Link::SsoRole { .. } | Link::AssumedRole { .. } if life < minutes(90) => {
                (minutes(25), Duration::from_secs(150))
            }
            Link::SsoRole { .. } | Link::AssumedRole { .. } => (minutes(70), minutes(7)),
        };
        let half = life / 2;
        let (base, spread) = if half < limit { (half, spread.min(half / 10)) } else { (limit, spread) };
        Self { renew_below: whole(base + spread.mul_f64(fraction)), mandatory_below: whole(minutes(1).min(life / 4)) }
    }
}

/// Whole milliseconds, the grain of both clocks: an edge between two of them could never be met, only passed.
fn whole(d: Duration) -> Duration {
    Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Longest backoff.
pub const MAX_BACKOFF: Duration = minutes(5);
/// Longest backoff while nothing valid is held and somebody asks, counted from the start of the failed attempt.
pub const MAX_BACKOFF_ASKED: Duration = Duration::from_secs(30);
/// Calls for one entry are at least this far apart.
pub const SPACING: Duration = Duration::from_secs(2);
/// A caller that holds out for something better than the valid credential at hand waits at most this long.
pub const MAX_PATIENCE: Duration = Duration::from_secs(3);
/// A credential that nobody asks for is kept fresh this long after the last demand, or for its lifetime if shorter.
pub const KEEP_AFTER_DEMAND: Duration = minutes(60);
/// A token file that is missing this long is a logout; renames of other tools leave shorter gaps.
pub const LOGOUT_AFTER: Duration = Duration::from_secs(2);

/// Full jitter over a capped exponential: `fraction` of min(5 min, 2 s * 2^n) after `failures` in a row (at least 1).
#[must_use]
pub fn backoff(failures: u32, fraction: f64) -> Duration {
    let exponent = failures.saturating_sub(1).min(16);
    Duration::from_secs(2).saturating_mul(1 << exponent).min(MAX_BACKOFF).mul_f64(fraction)
}

/// How long throttled calls wait when the server does not say: 5 s doubling to 5 min.
#[must_use]
pub fn throttle_delay(throttles: u32) -> Duration {
    let exponent = throttles.saturating_sub(1).min(16);
    Duration::from_secs(5).saturating_mul(1 << exponent).min(MAX_BACKOFF)
}

/// The longest backoff that a credential with this much life left can afford.
#[must_use]
pub fn affordable_backoff(left: Duration) -> Duration {
    Duration::from_secs(5).max(left / 4)
}

/// How long a caller holds out for a renewal while a valid credential is at hand.
#[must_use]
pub fn patience(left: Duration) -> Duration {
    MAX_PATIENCE.min(left / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role() -> Link {
        Link::SsoRole { account_id: "1".into(), role_name: "r".into() }
    }

    fn token() -> Link {
        Link::SsoSession(crate::core::source::SsoSession {
            name: None,
            start_url: String::new(),
            region: String::new(),
            scopes: Vec::new(),
            endpoints: Default::default(),
        })
    }

    fn span(link: &Link, life: Duration) -> (u64, u64) {
        let at = |f| Window::draw(link, Some(life), f).renew_below.as_secs();
        (at(0.0), at(1.0))
    }

    #[test]
    fn windows_follow_the_table() {
        assert_eq!(span(&role(), minutes(15)), (450, 495));
        assert_eq!(span(&role(), minutes(20)), (600, 660));
        assert_eq!(span(&role(), minutes(40)), (1200, 1320));
        assert_eq!(span(&role(), minutes(60)), (1500, 1650));
        assert_eq!(span(&role(), minutes(89)), (1500, 1650));
        assert_eq!(span(&role(), minutes(90)), (2700, 2970));
        assert_eq!(span(&role(), minutes(140)), (4200, 4620));
        assert_eq!(span(&role(), minutes(720)), (4200, 4620));
        assert_eq!(span(&token(), minutes(480)), (1200, 1320));
        assert_eq!(span(&token(), minutes(60)), (1200, 1320));
        assert_eq!(span(&token(), minutes(10)), (300, 330));
        assert_eq!(Window::draw(&token(), None, 0.7).renew_below, minutes(20));
    }

    #[test]
    fn an_edge_lies_on_the_grain_of_the_clocks() {
        let odd = Duration::from_millis(10_001);
        for fraction in [0.1, 0.333, 0.999] {
            let w = Window::draw(&role(), Some(odd), fraction);
            assert_eq!(
                (w.renew_below.subsec_nanos() % 1_000_000, w.mandatory_below.subsec_nanos() % 1_000_000),
                (0, 0)
            );
        }
    }

    #[test]
    fn a_renewal_in_health_leaves_what_the_guarantees_promise() {
        // L >= 60 min: at least 20 min handed out; L >= 140 min: at least 65 min.
        for life in 60..=720 {
            let w = Window::draw(&role(), Some(minutes(life)), 0.0);
            assert!(w.renew_below >= minutes(20), "{life}");
            assert!(life < 140 || w.renew_below >= minutes(65), "{life}");
            assert!(w.renew_below < minutes(life), "{life}");
        }
    }

    #[test]
    fn backoff_is_capped_and_never_overflows() {
        assert_eq!(backoff(1, 1.0), Duration::from_secs(2));
        assert_eq!(backoff(4, 1.0), Duration::from_secs(16));
        assert_eq!(backoff(u32::MAX, 1.0), MAX_BACKOFF);
        assert_eq!(backoff(9, 0.0), Duration::ZERO);
        assert_eq!(throttle_delay(1), Duration::from_secs(5));
        assert_eq!(throttle_delay(u32::MAX), MAX_BACKOFF);
    }
}
