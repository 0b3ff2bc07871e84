//! Who waits for an entry's credential among the entries that are fetched with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::node::NodeId;
use super::time::Timestamp;

/// The dependents that wait, each with what it last said of itself.
#[derive(Clone, Debug, Default)]
pub struct Pulls {
    /// When what each of them holds ends.
    by: BTreeMap<NodeId, Option<Timestamp>>,
    /// The same, in order of time.
    ends: BTreeSet<(Timestamp, NodeId)>,
    /// Those for which a caller waits with nothing valid in hand.
    urgent: BTreeSet<NodeId>,
}

impl Pulls {
    /// `dependent` waits; what it holds ends at `until`.
    pub fn insert(&mut self, dependent: NodeId, until: Option<Timestamp>, urgent: bool) {
        let before = self.by.insert(dependent, until);
        if before != Some(until) {
            if let Some(end) = before.flatten() {
                self.ends.remove(&(end, dependent));
            }
            self.ends.extend(until.map(|end| (end, dependent)));
        }
        if urgent {
            self.urgent.insert(dependent);
        } else {
            self.urgent.remove(&dependent);
        }
    }

    /// `dependent` waits no longer. Returns whether it did.
    pub fn remove(&mut self, dependent: NodeId) -> bool {
        let Some(until) = self.by.remove(&dependent) else { return false };
        if let Some(end) = until {
            self.ends.remove(&(end, dependent));
        }
        self.urgent.remove(&dependent);
        true
    }

    /// Nobody waits behind `dependent` with empty hands any more. Returns whether somebody did.
    pub fn calm(&mut self, dependent: NodeId) -> bool {
        self.urgent.remove(&dependent)
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by.is_empty()
    }

    /// Whether a caller waits behind one of them with nothing valid in hand.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// When the first of what they hold ends, of that which has not ended at `now`.
    #[must_use]
    pub fn first_end_after(&self, now: Timestamp) -> Option<Timestamp> {
        let after = Bound::Excluded((now, NodeId(u32::MAX)));
        self.ends.range((after, Bound::Unbounded)).next().map(|(end, _)| *end)
    }

    /// Who waits.
    pub fn dependents(&self) -> impl Iterator<Item = NodeId> {
        self.by.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_is_that_of_those_who_still_wait() {
        let (mut pulls, at) = (Pulls::default(), Timestamp::from_secs);
        pulls.insert(NodeId(1), Some(at(100)), false);
        pulls.insert(NodeId(2), Some(at(50)), true);
        pulls.insert(NodeId(3), None, false);
        assert_eq!(pulls.first_end_after(at(0)), Some(at(50)));
        assert_eq!(pulls.first_end_after(at(50)), Some(at(100)), "what has ended is not at stake");
        assert!(pulls.is_urgent());
        assert!(pulls.remove(NodeId(2)) && !pulls.remove(NodeId(2)));
        assert_eq!(pulls.first_end_after(at(0)), Some(at(100)));
        assert!(!pulls.is_urgent());
        pulls.insert(NodeId(1), Some(at(200)), true);
        assert_eq!(pulls.first_end_after(at(0)), Some(at(200)), "the last word counts");
        assert!(pulls.calm(NodeId(1)) && !pulls.is_urgent());
        assert_eq!(pulls.dependents().collect::<Vec<_>>(), [NodeId(1), NodeId(3)]);
    }
}
