//! Worlds, profiles and settings change; entries come and go with the chains that profiles name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Broker;
use crate::core::failure::{Failure, FailureClass};
use crate::core::node::{Node, NodeId};
use crate::core::schedule::SPACING;
use crate::core::settings::Settings;
use crate::core::source::{Chain, World, WorldConfig};
use crate::core::time::Moment;
use crate::core::waiters::{ProfileRef, Refusal, Waiter, WaiterId, Waiters};
use crate::core::words::nearest;

impl Broker {
    pub(super) fn config(&mut self, world: &Arc<World>, config: Result<WorldConfig, Failure>, now: Moment) {
        let state = self.worlds.entry(Arc::clone(world)).or_default();
        let config = match config {
            Ok(config) if state.config.as_ref() == Some(&config) && state.problem.is_none() => return,
            Ok(config) => config,
            Err(failure) => {
                // The last good state stays in service.
                if state.problem.as_ref() != Some(&failure) {
                    state.problem = Some(failure);
                    self.changed();
                }
                return;
            }
        };
        state.problem = None;
        state.config = Some(config);
        state.asked_in_vain.clear();
        self.changed();
        let (displaced, left) = self.reroute(world);
        self.end_negative_caches(world);
        self.apply_keep(now);
        for (waiter, request) in displaced {
            self.readmit(waiter, request, now);
        }
        // Only now: what the profiles mean from here on may live on the same session.
        for id in left {
            self.drop_unnamed(id);
        }
        self.settle_all(now);
    }

    /// The daemon's own world stays, and so does one that somebody waits in.
    pub(super) fn forget(&mut self, world: &Arc<World>) {
        let waited_in = |id: &NodeId| self.nodes.get(*id).is_some_and(|n| !n.waiters.is_empty());
        if *world == self.home || self.worlds.get(world).is_none_or(|state| state.routes.values().any(waited_in)) {
            return;
        }
        let left = self.worlds.remove(world).unwrap_or_default().routes;
        left.into_values().for_each(|id| self.drop_unnamed(id));
        self.changed();
    }

    pub(super) fn apply_settings(&mut self, settings: Settings, now: Moment) {
        if self.settings == settings {
            return;
        }
        let newly_limited = self.settings.max_session_age.is_none() && settings.max_session_age.is_some();
        self.settings = settings;
        self.changed();
        if newly_limited {
            self.remember_ages();
        }
        self.refuse_unserved();
        self.apply_keep(now);
        self.settle_all(now);
    }

    /// The entry of a profile; made if need be.
    pub(super) fn route(&mut self, profile: &ProfileRef) -> Result<NodeId, Refusal> {
        let known = self.worlds.get_mut(&profile.world);
        if let Some(id) = known.as_ref().and_then(|w| w.routes.get(&profile.name)) {
            return Ok(*id);
        }
        let refused = |failure, unknown| Err(Refusal { failure, retry_after: None, unknown });
        let Some(state) = known else {
            return refused(Failure::new(FailureClass::Transient, "the config was not read yet", "try again"), false);
        };
        let Some(config) = &state.config else {
            let failure = state.problem.clone();
            let unread = || Failure::new(FailureClass::Transient, "the config was not read yet", "try again");
            return refused(failure.unwrap_or_else(unread), false);
        };
        match config.profiles.get(&profile.name).map(|p| p.source.clone()) {
            None => refused(unknown_profile(profile, config, state.problem.as_ref()), true),
            Some(Err(failure)) => {
                if state.asked_in_vain.len() < MOST_IN_VAIN && state.asked_in_vain.insert(profile.name.clone()) {
                    self.changed();
                }
                refused(failure, false)
            }
            Some(Ok(chain)) => {
                let id = self.ensure(&chain);
                if let Some(state) = self.worlds.get_mut(&profile.world) {
                    state.routes.insert(profile.name.clone(), id);
                }
                Ok(id)
            }
        }
    }

    pub(super) fn ensure(&mut self, chain: &Chain) -> NodeId {
        if let Some(id) = self.index.get(chain).copied() {
            let mut named = Some(id);
            while let Some(node) = named.and_then(|id| self.nodes.get_mut(id)) {
                node.unnamed = false;
                named = node.upstream;
            }
            return id;
        }
        let upstream = chain.upstream().map(|up| self.ensure(&up));
        let called_at = self.called_at.remove(chain);
        let id = self.nodes.insert(Node { called_at, ..Node::new(chain.clone(), upstream) });
        self.index.insert(chain.clone(), id);
        self.changed();
        if let Some(upstream) = upstream.and_then(|u| self.nodes.get_mut(u)) {
            upstream.dependents.insert(id);
        }
        id
    }

    /// Drops the routes whose profile now means something else. Returns the requests that were parked there, and the
    /// entries that they led to.
    fn reroute(&mut self, world: &Arc<World>) -> (Vec<(WaiterId, Waiter)>, BTreeSet<NodeId>) {
        let Some(state) = self.worlds.get_mut(world) else { return Default::default() };
        let (nodes, config) = (&self.nodes, &state.config);
        let mut dropped = BTreeSet::new();
        state.routes.retain(|name, id| {
            let chain = config.as_ref().and_then(|c| c.profiles.get(name)).and_then(|p| p.source.as_ref().ok());
            let same = chain.is_some() && chain == nodes.get(*id).map(|n| &n.chain);
            if !same {
                dropped.insert(*id);
            }
            same
        });
        let mut displaced = Vec::new();
        for id in &dropped {
            displaced.extend(self.displace(*id));
        }
        (displaced, dropped)
    }

    /// Takes out the requests whose profile no longer leads to this entry.
    fn displace(&mut self, id: NodeId) -> Waiters {
        let Some(node) = self.nodes.get_mut(id) else { return Waiters::new() };
        let worlds = &self.worlds;
        let gone = |w: &Waiter| {
            worlds.get(&w.profile.world).and_then(|s| s.routes.get(&w.profile.name)).is_none_or(|routed| *routed != id)
        };
        let (displaced, staying): (Waiters, Waiters) =
            std::mem::take(&mut node.waiters).into_iter().partition(|(_, w)| gone(w));
        node.waiters = staying;
        for waiter in displaced.keys() {
            self.waiting_at.remove(waiter);
        }
        displaced
    }

    /// Drops an entry that no profile leads to. One that is being fetched stays until that has ended: if a profile leads
    /// to it again meanwhile, there is no second fetch.
    pub(super) fn drop_unnamed(&mut self, id: NodeId) {
        let named = self.worlds.values().any(|w| w.routes.values().any(|r| *r == id));
        let Some(node) = self.nodes.get(id) else { return };
        let is_unnamed = |id: &NodeId| self.nodes.get(*id).is_none_or(|n| n.unnamed);
        if named || !node.dependents.iter().all(is_unnamed) {
            return;
        }
        let (upstream, stays) = (node.upstream, node.flight.is_some() || !node.dependents.is_empty());
        if let Some(node) = self.nodes.get_mut(id).filter(|_| stays) {
            node.unnamed = true;
            if let Some(upstream) = upstream {
                self.drop_unnamed(upstream);
            }
            return;
        }
        if let Some(portal) = self.portal_of(id) {
            portal.forget(id);
            portal.waiting.remove(&id);
            portal.watching.remove(&id);
            portal.troubled.remove(&id);
        }
        let Some(node) = self.nodes.remove(id) else { return };
        self.index.remove(&node.chain);
        if let Some(last) = node.called_at {
            // Whatever was called for long before the last one to go has no pace to keep.
            self.called_at.retain(|_, at| at.plus(SPACING) >= last);
            self.called_at.insert(node.chain.clone(), last);
        }
        self.active.remove(&id);
        if let Some(at) = node.wake {
            self.schedule.remove(&(at, id));
        }
        if let Some(upstream) = node.upstream {
            if let Some(upstream) = self.nodes.get_mut(upstream) {
                upstream.dependents.remove(&id);
                upstream.pulls.remove(id);
            }
            self.drop_unnamed(upstream);
        }
    }

    /// A changed file may have cured what was denied or set wrongly.
    fn end_negative_caches(&mut self, world: &Arc<World>) {
        for node in self.nodes.values_mut().filter(|n| n.chain.world() == world) {
            node.forgive(&[FailureClass::AccessDenied, FailureClass::Misconfigured]);
        }
    }

    /// Marks what the settings name in `keep`.
    fn apply_keep(&mut self, now: Moment) {
        let names: Vec<String> = self.settings.keep.difference(&self.settings.refused).cloned().collect();
        let home = Arc::clone(&self.home);
        let kept: BTreeSet<NodeId> = names
            .into_iter()
            .filter_map(|name| self.route(&ProfileRef { world: Arc::clone(&home), name }).ok())
            .collect();
        for (id, node) in self.nodes.iter_mut() {
            node.always = kept.contains(&id);
        }
        for id in kept {
            self.settle(id, now);
        }
    }
}

/// So many profiles without a source are remembered for `status`.
const MOST_IN_VAIN: usize = 32;
/// So few profiles are named when none is like what was asked for.
const MOST_LISTED: usize = 5;

fn unknown_profile(profile: &ProfileRef, config: &WorldConfig, problem: Option<&Failure>) -> Failure {
    let misconfigured = |message: String, fix: &str| Failure::new(FailureClass::Misconfigured, message, fix);
    // What the file says now was not read, or not as its writer meant it: the profile may well stand there.
    if let Some(problem) = problem {
        return misconfigured(format!("no profile '{}' yet: {}", profile.name, problem.message), &problem.fix);
    }
    let section = [format!("[{}]", profile.name), format!("[profile {}]", profile.name)];
    if let Some(ignored) = config.findings.iter().find(|f| section.iter().any(|s| f.message.contains(s))) {
        return misconfigured(format!("no profile '{}': {}", profile.name, ignored.message), &ignored.fix);
    }
    let known = config.profiles.keys().map(String::as_str);
    let near: Vec<_> = nearest(&profile.name, known, 3).into_iter().map(|n| format!("'{n}'")).collect();
    let fix = match (near.as_slice(), config.profiles.len()) {
        ([], 0) => "make one: agentctl setup sso".to_owned(),
        ([], 1..=MOST_LISTED) => {
            let names: Vec<_> = config.profiles.keys().map(|n| format!("'{n}'")).collect();
            format!("name one of {}", names.join(", "))
        }
        ([], _) => "list the profiles with: aws configure list-profiles".to_owned(),
        (near, _) => format!("did you mean {}?", near.join(" or ")),
    };
    let file = profile.world.config_file.display();
    Failure::new(FailureClass::Misconfigured, format!("no profile '{}' in {file}", profile.name), fix)
}
