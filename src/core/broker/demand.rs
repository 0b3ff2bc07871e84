//! Requests come in: they are routed to an entry and parked there; settling the entry answers them.

use std::time::Duration;

use super::{Action, Broker, Demand};
use crate::core::failure::{Failure, FailureClass};
use crate::core::node::{NodeId, Why};
use crate::core::schedule::SPACING;
use crate::core::time::{Moment, Tick};
use crate::core::waiters::{Answer, ProfileRef, Refusal, Waiter, WaiterId, Wish};

impl Broker {
    pub(super) fn demand(&mut self, demand: Demand, now: Moment) {
        let Demand { waiter, profile, min_ttl, wait, last_ask, consumer } = demand;
        let Some(id) = self.route_or_refuse(waiter, &profile) else { return };
        let other_than = consumer.as_deref().and_then(|c| self.refused_key(id, c, now));
        let wish = Wish::Credentials { min_ttl, other_than, last_ask };
        let was_kept = self.is_kept(id, now.tick);
        if let Some(node) = self.nodes.get_mut(id) {
            node.demanded_at = Some(now.tick);
        }
        self.park(id, waiter, Waiter { profile, wish, consumer, deadline: now.tick.plus(wait) });
        self.settle(id, now);
        if !was_kept {
            self.changed();
            self.settle_upstream(id, now);
        }
    }

    pub(super) fn refresh(
        &mut self,
        waiter: WaiterId,
        profile: ProfileRef,
        wait: Duration,
        since: Option<Tick>,
        now: Moment,
    ) {
        let Some(id) = self.route_or_refuse(waiter, &profile) else { return };
        let since = since.map_or(now.tick, |s| s.min(now.tick));
        let was_kept = self.is_kept(id, now.tick);
        if let Some(node) = self.nodes.get_mut(id) {
            node.demanded_at = Some(now.tick);
            let renewed = node.renewed_at.is_some_and(|t| t.plus(SPACING) >= since);
            let under_way = node.flight.is_some_and(|f| f.began >= since);
            let failed = node.trouble.as_ref().is_some_and(|t| t.attempted_at >= since);
            if !(renewed || under_way || failed) {
                node.forced = node.forced.max(Some(Why::ByHand));
                node.by_hand_at = node.by_hand_at.max(since);
            }
        }
        let wish = Wish::Renewal { since };
        self.park(id, waiter, Waiter { profile, wish, consumer: None, deadline: now.tick.plus(wait) });
        self.settle(id, now);
        if !was_kept {
            self.changed();
            self.settle_upstream(id, now);
        }
    }

    pub(super) fn rejected(&mut self, profile: &ProfileRef, key: &str, now: Moment) {
        let Ok(id) = self.route(profile) else { return };
        self.force_if_refused(id, key, now);
        self.settle(id, now);
    }

    pub(super) fn leave(&mut self, waiter: WaiterId) {
        if let Some(id) = self.waiting_at.remove(&waiter)
            && let Some(node) = self.nodes.get_mut(id)
        {
            node.waiters.remove(&waiter);
        }
    }

    /// The key that `consumer` seems to have had refused, if a renewal because of it is worth waiting for.
    fn refused_key(&mut self, id: NodeId, consumer: &str, now: Moment) -> Option<String> {
        let server_now = self.clock.now(now);
        let node = self.nodes.get_mut(id)?;
        let (held, left) = node.valid(server_now)?;
        let key = held.credential.as_role()?.access_key_id.clone();
        if !node.role_mut()?.seems_refused(consumer, &key, left) {
            return None;
        }
        self.force_if_refused(id, &key, now).then_some(key)
    }

    /// Forces a renewal because AWS refuses `key`, once per key. Returns whether one is under way because of it.
    fn force_if_refused(&mut self, id: NodeId, key: &str, now: Moment) -> bool {
        let Some(node) = self.nodes.get_mut(id) else { return false };
        let held_key = node.held.as_ref().and_then(|h| h.credential.as_role()).map(|r| r.access_key_id.clone());
        if held_key.as_deref() != Some(key) {
            return false;
        }
        let under_way = node.forced == Some(Why::Rejected) || node.flight.is_some_and(|f| f.why == Why::Rejected);
        let forced = node.role_mut().is_some_and(|r| r.may_force(key, now.tick));
        if forced {
            node.owe(Why::Rejected);
        }
        forced || under_way
    }

    /// The entry of a profile, or an immediate refusal to the waiter.
    fn route_or_refuse(&mut self, waiter: WaiterId, profile: &ProfileRef) -> Option<NodeId> {
        match self.served(profile) {
            Ok(id) => Some(id),
            Err(refusal) => {
                self.actions.push(Action::Answer(waiter, Answer::Refused(refusal)));
                None
            }
        }
    }

    /// The entry of a profile that may be served.
    pub(super) fn served(&mut self, profile: &ProfileRef) -> Result<NodeId, Refusal> {
        if self.settings.refused.contains(&profile.name) {
            return Err(not_served(&profile.name));
        }
        self.route(profile)
    }

    /// Parks a request anew after its entry went away.
    pub(super) fn readmit(&mut self, waiter: WaiterId, request: Waiter, now: Moment) {
        if let Some(id) = self.route_or_refuse(waiter, &request.profile) {
            if let Some(node) = self.nodes.get_mut(id) {
                node.demanded_at = Some(now.tick);
            }
            self.park(id, waiter, request);
            self.settle(id, now);
            self.settle_upstream(id, now);
        }
    }

    pub(super) fn park(&mut self, id: NodeId, waiter: WaiterId, request: Waiter) {
        if let Some(node) = self.nodes.get_mut(id) {
            self.waiting_at.insert(waiter, id);
            node.waiters.insert(waiter, request);
        }
    }
}

impl Broker {
    /// Refuses those who wait for a profile that is not served any more.
    pub(super) fn refuse_unserved(&mut self) {
        for node in self.nodes.values_mut() {
            let refused = &self.settings.refused;
            let unserved = node.waiters.extract_if(.., |_, w| refused.contains(&w.profile.name));
            for (waiter, request) in unserved {
                self.waiting_at.remove(&waiter);
                self.actions.push(Action::Answer(waiter, Answer::Refused(not_served(&request.profile.name))));
            }
        }
    }
}

pub(super) fn not_served(name: &str) -> Refusal {
    let failure = Failure::new(
        FailureClass::PolicyDenied,
        format!("profile '{name}' is not served: serve = false"),
        format!("change [profiles.{name}] in the agent's config.toml"),
    );
    Refusal { failure, retry_after: None, unknown: false }
}
