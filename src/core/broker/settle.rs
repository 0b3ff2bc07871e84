//! One entry is brought to rest: is a fetch wanted, may it start, who is answered, when to look again.

use super::{Action, Broker, Fetch, Paused};
use crate::core::failure::{Failure, FailureClass};
use crate::core::node::{Flight, FlightId, NodeId, Pressure, Special, Why};
use crate::core::portal::{Asker, Gate, Service};
use crate::core::schedule;
use crate::core::session;
use crate::core::time::{Moment, Tick, Timestamp};
use crate::core::waiters::{Answer, Fate, Offer};
use crate::core::{credential::Credential, node::Node};

/// What an entry is doing about its credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Course {
    /// Nothing is wanted.
    #[default]
    Idle,
    /// A fetch is under way, or only a matter of pace: look again then.
    Working(Option<Tick>),
    /// A fetch is wanted and cannot start, for this reason, until then or until an event.
    Blocked(Failure, Option<Tick>),
}

/// What an upstream offers to those who are fetched with its credential.
enum Supply {
    Ready(Credential, u64),
    Pending,
    Failed(Failure, Option<Tick>),
}

impl Broker {
    /// Brings one entry to rest. Idempotent.
    pub(super) fn settle(&mut self, id: NodeId, now: Moment) {
        let server_now = self.time_for(id, now);
        self.drop_ended(id, server_now);
        let course = self.pursue(id, now, server_now);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let waited_for = !matches!(course, Course::Idle);
        node.pursued_since = if waited_for { node.pursued_since.or(Some(now.tick)) } else { None };
        node.course = course;
        let next_answer = self.answer_waiters(id, now, server_now);
        self.plan_wake(id, next_answer, now, server_now);
    }

    /// The time by which an entry's credential is judged. Role credentials are handed out, so they count as ended as
    /// soon as they may have; a token is only ever sent to AWS, so it counts as living as long as it may.
    pub(super) fn time_for(&self, id: NodeId, now: Moment) -> Timestamp {
        match self.nodes.get(&id) {
            Some(node) if node.session().is_some() => self.clock.earliest(now),
            _ => self.clock.now(now),
        }
    }

    /// Settles the entries before this one: being asked for, it keeps them too.
    pub(super) fn settle_upstream(&mut self, id: NodeId, now: Moment) {
        let mut at = id;
        while let Some(upstream) = self.nodes.get(&at).and_then(|n| n.upstream) {
            self.settle(upstream, now);
            at = upstream;
        }
    }

    /// Settles an entry whose credential or prospects changed, then everything that waits for it.
    pub(super) fn settle_with_dependents(&mut self, id: NodeId, now: Moment) {
        self.settle(id, now);
        let pulled = self.nodes.get_mut(&id).map(|n| {
            n.pulled_urgently_by.clear();
            n.pulled_until = None;
            std::mem::take(&mut n.pulled_by)
        });
        for dependent in pulled.unwrap_or_default() {
            self.settle_with_dependents(dependent, now);
        }
    }

    /// Role credentials that ended are wiped. A session's token stays: its refresh grant may outlive it.
    ///
    /// For good, also while the clock is in doubt: what once looked ended must not come back to life by a second step.
    fn drop_ended(&mut self, id: NodeId, server_now: Timestamp) {
        if let Some(node) = self.nodes.get_mut(&id)
            && matches!(node.special, Special::Role(_))
            && node.held.is_some()
            && node.valid(server_now).is_none()
        {
            node.held = None;
            // Whatever was wanted instead of it is wanted no more, unless somebody asks.
            node.forced = node.forced.filter(|why| *why == Why::ByHand);
            node.owed = None;
            self.changed();
        }
    }

    /// Whether an entry is renewed without anybody asking.
    pub(super) fn is_kept(&self, id: NodeId, tick: Tick) -> bool {
        self.nodes.get(&id).is_some_and(|n| {
            !n.unnamed && (n.always || n.recently_used(tick) || n.dependents.iter().any(|d| self.is_kept(*d, tick)))
        })
    }

    fn pursue(&mut self, id: NodeId, now: Moment, server_now: Timestamp) -> Course {
        let kept = self.is_kept(id, now.tick);
        let Some(node) = self.nodes.get(&id) else { return Course::Idle };
        if node.flight.is_some() {
            return Course::Working(None);
        }
        if node.unnamed {
            return Course::Idle;
        }
        if self.must_read_token(id, kept, now) {
            self.read_token(id);
        }
        let Some(node) = self.nodes.get(&id) else { return Course::Idle };
        if node.session().is_some_and(|s| s.reading && !s.loaded) {
            return Course::Working(None);
        }
        let Some(why) = node.wants(server_now, kept) else {
            self.stop_pulling(id);
            return Course::Idle;
        };
        if let Some((failure, at)) = self.obstacle(id, why, now, server_now) {
            return Course::Blocked(failure, at);
        }
        self.approach(id, why, now)
    }

    /// Why a wanted fetch cannot start for reasons of this entry's own.
    fn obstacle(&self, id: NodeId, why: Why, now: Moment, server_now: Timestamp) -> Option<(Failure, Option<Tick>)> {
        if let Some(obstacle) = self.pause_obstacle() {
            return Some(obstacle);
        }
        let node = self.nodes.get(&id)?;
        let gate = node.own_gate(self.pressure(id, now), now.tick);
        // A person's refresh skips a timed gate, never one that only an event can open.
        if let Some((failure, at)) = gate
            && !(why == Why::ByHand && at.is_some())
        {
            return Some((failure, at));
        }
        let session_name = node.chain.session().map(crate::core::source::SsoSession::id).unwrap_or_default();
        node.session()?;
        match node.held.as_ref().and_then(|h| h.credential.as_token()) {
            // What was found in its place (a broken file, say) tells more than its absence.
            None => Some(match &node.trouble {
                None => (session::no_token(&session_name), None),
                Some(trouble) => (trouble.failure.clone(), trouble.retry_at().filter(|at| *at > now.tick)),
            }),
            Some(token) => session::renewable(token, server_now).err().map(|f| (f, None)),
        }
    }

    fn pause_obstacle(&self) -> Option<(Failure, Option<Tick>)> {
        let until = match self.paused {
            Paused::No => return None,
            Paused::Until(tick) => Some(tick),
            Paused::UntilResumed => None,
        };
        let failure = Failure::new(FailureClass::PolicyDenied, "renewing is paused", "run: agentctl resume");
        Some((failure, until))
    }

    /// A caller waits and nothing valid is held, here or in an entry that is fetched with this one.
    fn is_urgent(&self, id: NodeId, now: Moment) -> bool {
        self.nodes.get(&id).is_some_and(|node| {
            node.valid(self.time_for(id, now)).is_none()
                && !(node.waiters.is_empty() && node.pulled_urgently_by.is_empty())
        })
    }

    fn pressure(&self, id: NodeId, now: Moment) -> Pressure {
        let server_now = self.time_for(id, now);
        let until = self.nodes.get(&id).and_then(|node| node.at_stake_until(server_now));
        Pressure { left: until.map(|end| end.since(server_now)), urgent: self.is_urgent(id, now) }
    }

    /// The upstream first, then pace, then the portal's gate; then the fetch starts.
    fn approach(&mut self, id: NodeId, why: Why, now: Moment) -> Course {
        let supply = match self.nodes.get(&id).and_then(|n| n.upstream) {
            None => None,
            Some(upstream) => match self.supply(upstream, id, why, now) {
                Supply::Ready(credential, generation) => Some((credential, generation)),
                Supply::Pending => return Course::Working(None),
                Supply::Failed(failure, at) => return Course::Blocked(failure, at),
            },
        };
        let Some(node) = self.nodes.get(&id) else { return Course::Idle };
        let spaced = node.called_at.map(|t| t.plus(schedule::SPACING)).filter(|spaced| now.tick < *spaced);
        let service = Service::from(node.chain.link());
        let asker = Asker { node: id, pressure: self.pressure(id, now), by_hand: why == Why::ByHand };
        match self.portal_of(id).map_or(Gate::Open, |p| p.gate(asker, service, now.tick)) {
            Gate::Open => match spaced {
                None => self.start(id, why, supply, service, now),
                spaced => Course::Working(spaced),
            },
            Gate::Pace(at) => Course::Working(spaced.max(Some(at))),
            Gate::Probing => {
                self.portal_of(id).map(|p| p.watching.insert(id));
                Course::Working(None)
            }
            Gate::Closed(failure, at) => {
                self.portal_of(id).map(|p| p.waiting.insert(id));
                Course::Blocked(failure, Some(at))
            }
        }
    }

    fn start(
        &mut self,
        id: NodeId,
        why: Why,
        supply: Option<(Credential, u64)>,
        service: Service,
        now: Moment,
    ) -> Course {
        self.stop_pulling(id);
        if let Some(portal) = self.portal_of(id) {
            portal.started(id, service, now.tick);
        }
        self.flights_made += 1;
        let flight = FlightId(self.flights_made);
        let (with, upstream_generation) = supply.map_or((None, None), |(c, g)| (Some(c), Some(g)));
        if let Some(node) = self.nodes.get_mut(&id) {
            node.flight = Some(Flight { id: flight, began: now.tick, why, upstream_generation, void: false });
            node.called_at = Some(now.tick);
            node.forced = None;
            if let Some(role) = node.role_mut().filter(|_| why == Why::Rejected) {
                role.forced_at(now.tick);
            }
            self.actions.push(Action::Fetch(Box::new(Fetch {
                node: id,
                flight,
                link: node.chain.link().clone(),
                world: node.chain.world().clone(),
                session: node.chain.session().cloned(),
                with,
                held: node.held.as_ref().map(|h| h.credential.clone()),
                why: why.words(),
            })));
        }
        self.changed();
        Course::Working(None)
    }

    /// What `upstream` can give to `dependent` now; where that is not enough, work on it begins.
    fn supply(&mut self, upstream: NodeId, dependent: NodeId, why: Why, now: Moment) -> Supply {
        let server_now = self.time_for(upstream, now);
        let ready = |node: &Node, at_least_mandatory: bool| {
            let (held, left) = node.valid(server_now)?;
            let enough = !at_least_mandatory || left > held.window.mandatory_below;
            enough.then(|| Supply::Ready(held.credential.clone(), held.generation))
        };
        let urgent = self.is_urgent(dependent, now);
        let until = self.nodes.get(&dependent).and_then(|n| n.at_stake_until(self.time_for(dependent, now)));
        let Some(node) = self.nodes.get_mut(&upstream) else { return Supply::Pending };
        if let Some(supply) = ready(node, true) {
            return supply;
        }
        node.pulled_by.insert(dependent);
        node.pulled_until = [node.pulled_until, until].into_iter().flatten().min();
        if urgent {
            node.pulled_urgently_by.insert(dependent);
        } else {
            node.pulled_urgently_by.remove(&dependent);
        }
        if why == Why::ByHand {
            self.force_upstream_by_hand(upstream, dependent);
        }
        self.settle(upstream, now);
        let Some(node) = self.nodes.get(&upstream) else { return Supply::Pending };
        match &node.course {
            Course::Working(_) => Supply::Pending,
            Course::Blocked(failure, at) => ready(node, false).unwrap_or_else(|| Supply::Failed(failure.clone(), *at)),
            Course::Idle => ready(node, false).unwrap_or(Supply::Pending),
        }
    }

    /// A person's refresh goes for the upstream too, once: if that was tried since and failed, they were served.
    fn force_upstream_by_hand(&mut self, upstream: NodeId, dependent: NodeId) {
        let Some(asked_at) = self.nodes.get(&dependent).map(|n| n.by_hand_at) else { return };
        let Some(node) = self.nodes.get_mut(&upstream) else { return };
        if node.trouble.as_ref().is_some_and(|t| t.attempted_at >= asked_at) {
            if let Some(node) = self.nodes.get_mut(&dependent) {
                node.forced = node.forced.filter(|why| *why != Why::ByHand).or(node.owed);
            }
        } else if node.flight.is_none() {
            node.forced = node.forced.max(Some(Why::ByHand));
            node.by_hand_at = asked_at;
        }
    }

    fn stop_pulling(&mut self, id: NodeId) {
        if let Some(upstream) = self.nodes.get(&id).and_then(|n| n.upstream)
            && let Some(upstream) = self.nodes.get_mut(&upstream)
        {
            upstream.pulled_by.remove(&id);
            upstream.pulled_urgently_by.remove(&id);
        }
    }

    fn must_read_token(&self, id: NodeId, kept: bool, now: Moment) -> bool {
        let Some(node) = self.nodes.get(&id) else { return false };
        let Some(session) = node.session() else { return false };
        let wanted = kept || !node.pulled_by.is_empty() || node.forced.is_some();
        let gone = session.absent_since.is_some_and(|t| now.tick >= t.plus(schedule::LOGOUT_AFTER));
        // A file that could not be read is read again at the pace of any other failure.
        let may_load = || node.own_gate(self.pressure(id, now), now.tick).is_none();
        !session.reading && ((wanted && !session.loaded && may_load()) || gone)
    }

    fn read_token(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            let (link, world) = (node.chain.link().clone(), node.chain.world().clone());
            if let Some(session) = node.session_mut() {
                session.reading = true;
            }
            self.actions.push(Action::ReadToken { node: id, link, world });
        }
    }

    /// Answers everyone who can be answered; returns when to look at the rest again.
    fn answer_waiters(&mut self, id: NodeId, now: Moment, server_now: Timestamp) -> Option<Tick> {
        let node = self.nodes.get_mut(&id)?;
        if node.waiters.is_empty() {
            return None;
        }
        let offer = offer(node, now.tick, server_now);
        let (mut answers, mut next) = (Vec::new(), None::<Tick>);
        for (waiter, request) in &node.waiters {
            match request.fate(&offer, now.tick) {
                Fate::Answer(answer) => answers.push((*waiter, answer)),
                Fate::Wait(at) => next = Some(next.map_or(at, |n| n.min(at))),
            }
        }
        for (waiter, answer) in answers {
            self.waiting_at.remove(&waiter);
            let request = node.waiters.remove(&waiter);
            if let (Answer::Credentials(c), Some(consumer), Special::Role(role)) =
                (&answer, request.and_then(|r| r.consumer), &mut node.special)
            {
                role.serve(&consumer, &c.access_key_id, now.tick);
            }
            self.actions.push(Action::Answer(waiter, answer));
        }
        next
    }

    fn plan_wake(&mut self, id: NodeId, next_answer: Option<Tick>, now: Moment, server_now: Timestamp) {
        let kept = self.is_kept(id, now.tick);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.held.is_some() || node.flight.is_some() || node.always || !node.waiters.is_empty() {
            self.active.insert(id);
        } else {
            self.active.remove(&id);
        }
        let for_course = match &node.course {
            Course::Idle => None,
            Course::Working(at) | Course::Blocked(_, at) => *at,
        };
        let for_credential = node.next_change(server_now, kept).map(|d| now.tick.plus(d));
        let at_rest = node.flight.is_none();
        let for_logout = node
            .session()
            .filter(|s| at_rest && !s.reading)
            .and_then(|s| s.absent_since)
            .map(|t| t.plus(schedule::LOGOUT_AFTER));
        // What no profile leads to waits for the end of what is under way, and for nothing else.
        let named = !node.unnamed;
        let wake = [next_answer, for_course, for_credential, for_logout].into_iter().flatten().min().filter(|_| named);
        if let Some(old) = node.wake.take() {
            self.schedule.remove(&(old, id));
        }
        node.wake = wake;
        if let Some(at) = wake {
            self.schedule.insert((at, id));
        }
    }
}

fn offer(node: &Node, tick: Tick, server_now: Timestamp) -> Offer<'_> {
    let valid = node.valid(server_now);
    Offer {
        held: valid.and_then(|(h, left)| Some((h.credential.as_role()?, left, h.lifetime))),
        mandatory_below: valid.map_or(std::time::Duration::ZERO, |(h, _)| h.window.mandatory_below),
        // One that failed long before this renewal was wanted says nothing of it.
        failing: node.trouble.as_ref().is_some_and(|t| node.pursued_since.is_none_or(|since| t.attempted_at >= since)),
        working: matches!(node.course, Course::Working(_)),
        blocked: match &node.course {
            Course::Blocked(failure, at) => Some((failure, *at)),
            Course::Idle | Course::Working(_) => None,
        },
        pursued_since: node.pursued_since.unwrap_or(tick),
        renewed_at: node.renewed_at,
        failed: node.trouble.as_ref().map(|t| (&t.failure, t.attempted_at)),
    }
}
