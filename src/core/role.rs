//! What is special about role credentials: consumers that cache them, and may report or show that AWS refuses a key.

use std::collections::BTreeMap;
use std::time::Duration;

use super::time::Tick;

/// Consumers remembered per role.
const MAX_CONSUMERS: usize = 256;
/// Claude Code keeps a key until five minutes before its end, and for an hour if it had six minutes or less.
const CACHED_ABOVE: Duration = Duration::from_secs(6 * 60);
/// Forced renewals are at least this far apart; the distance doubles while they go on.
const FORCED_SPACING: Duration = Duration::from_secs(30);
/// Longest distance, and the quiet time after which it starts anew.
const FORCED_SPACING_MAX: Duration = Duration::from_secs(16 * 60);

/// A role's own state.
#[derive(Clone, Debug, Default)]
pub struct RoleState {
    /// The key that each consumer got last.
    served: BTreeMap<String, (String, Tick)>,
    /// The last key whose refusal forced a renewal.
    forced_key: Option<String>,
    forced_at: Option<Tick>,
    forced_in_a_row: u32,
}

impl RoleState {
    /// Notes that `consumer` gets `key`.
    pub fn serve(&mut self, consumer: &str, key: &str, now: Tick) {
        if self.served.len() >= MAX_CONSUMERS
            && !self.served.contains_key(consumer)
            && let Some(oldest) = self.served.iter().min_by_key(|(_, (_, at))| *at).map(|(c, _)| c.clone())
        {
            self.served.remove(&oldest);
        }
        self.served.insert(consumer.to_owned(), (key.to_owned(), now));
    }

    /// Whether `consumer` asks again for `key` although it would still have it cached: then AWS refused it there.
    #[must_use]
    pub fn seems_refused(&self, consumer: &str, key: &str, left: Duration) -> bool {
        left > CACHED_ABOVE && self.served.get(consumer).is_some_and(|(k, _)| k == key)
    }

    /// Whether a refusal of `key` is worth a forced renewal: one per key, at most one per 30 s, backing off.
    pub fn may_force(&mut self, key: &str, now: Tick) -> bool {
        if self.forced_key.as_deref() == Some(key) {
            return false;
        }
        if let Some(at) = self.forced_at {
            let since = now.since(at);
            if since > FORCED_SPACING_MAX * 2 {
                self.forced_in_a_row = 0;
            }
            let exponent = self.forced_in_a_row.saturating_sub(1).min(5);
            if since < FORCED_SPACING.saturating_mul(1 << exponent).min(FORCED_SPACING_MAX) {
                return false;
            }
        }
        self.forced_key = Some(key.to_owned());
        self.forced_at = Some(now);
        self.forced_in_a_row = self.forced_in_a_row.saturating_add(1);
        true
    }

    /// A forced renewal starts, perhaps later than it was allowed: the next one keeps its distance from here.
    pub const fn forced_at(&mut self, now: Tick) {
        self.forced_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_refusals_forces_one_renewal_per_key_and_backs_off() {
        let mut role = RoleState::default();
        let (mut forced, mut key) = (Vec::new(), 0);
        for second in 0..1000 {
            if role.may_force(&format!("key{key}"), Tick::from_millis(second * 1000)) {
                forced.push(second);
                key += 1;
            }
        }
        assert_eq!(forced, [0, 30, 90, 210, 450, 930]);
    }

    #[test]
    fn only_the_same_consumer_asking_for_a_key_it_would_have_cached_tells_of_a_refusal() {
        let (mut role, ten) = (RoleState::default(), Duration::from_secs(600));
        assert!(!role.seems_refused("a", "k", ten));
        role.serve("a", "k", Tick::default());
        assert!(role.seems_refused("a", "k", ten));
        assert!(!role.seems_refused("b", "k", ten));
        assert!(!role.seems_refused("a", "k2", ten));
        assert!(!role.seems_refused("a", "k", Duration::from_secs(300)), "its cache ends there by itself");
    }

    #[test]
    fn consumers_are_bounded() {
        let mut role = RoleState::default();
        for n in 0..10_000 {
            role.serve(&n.to_string(), "k", Tick::from_millis(n));
        }
        assert_eq!(role.served.len(), MAX_CONSUMERS);
    }
}
