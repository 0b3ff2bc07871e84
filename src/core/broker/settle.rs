//! One entry is brought to rest: is a fetch wanted, may it start, who is answered, when to look again.

use super::{Action, Broker, Fetch, Paused};
use crate::core::credential::Credential;
use crate::core::failure::{Failure, FailureClass};
use crate::core::node::{Flight, FlightId, Node, NodeId, Pressure, Special, Why};
use crate::core::portal::{Asker, Gate, Service};
use crate::core::schedule;
use crate::core::session;
use crate::core::time::{Moment, Tick, Timestamp};
use crate::core::waiters::{Answer, Fate, Offer, Refusal};

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
    /// A fetch is wanted and waits for the upstream's credential: it stands as the upstream does, and is settled when
    /// that changes.
    Behind,
}

/// What a course comes to, with the upstream's looked up where that decides.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing<'a> {
    Idle,
    Working(Option<Tick>),
    Blocked(&'a Failure, Option<Tick>),
}

impl Broker {
    /// Brings one entry to rest. Idempotent.
    pub(super) fn settle(&mut self, id: NodeId, now: Moment) {
        let server_now = self.time_for(id, now);
        self.drop_ended(id, server_now);
        let course = self.pursue(id, now, server_now);
        let Some(node) = self.nodes.get_mut(id) else { return };
        let waited_for = !matches!(course, Course::Idle);
        node.pursued_since = if waited_for { node.pursued_since.or(Some(now.tick)) } else { None };
        let behind = course == Course::Behind;
        node.course = course;
        if !behind {
            self.stop_pulling(id, now);
        }
        let next_answer = self.answer_waiters(id, now, server_now);
        if behind {
            self.calm_upstream(id, now);
        }
        self.list_trouble(id);
        self.plan_wake(id, next_answer, now, server_now);
    }

    /// What an entry's course comes to.
    pub(super) fn standing<'a>(&'a self, node: &'a Node) -> Standing<'a> {
        match &node.course {
            Course::Idle => Standing::Idle,
            Course::Working(at) => Standing::Working(*at),
            Course::Blocked(failure, at) => Standing::Blocked(failure, *at),
            Course::Behind => match node.upstream.and_then(|up| self.nodes.get(up)).map(|up| self.standing(up)) {
                Some(blocked @ Standing::Blocked(..)) => blocked,
                Some(Standing::Idle | Standing::Working(_)) | None => Standing::Working(None),
            },
        }
    }

    /// The time by which an entry's credential is judged. Role credentials are handed out, so they count as ended as
    /// soon as they may have; a token is only ever sent to AWS, so it counts as living as long as it may.
    pub(super) fn time_for(&self, id: NodeId, now: Moment) -> Timestamp {
        self.nodes.get(id).map_or_else(|| self.clock.now(now), |node| self.time_of(node, now))
    }

    fn time_of(&self, node: &Node, now: Moment) -> Timestamp {
        if node.session().is_some() { self.clock.earliest(now) } else { self.clock.now(now) }
    }

    /// Settles the entries before this one: being asked for, it keeps them too.
    pub(super) fn settle_upstream(&mut self, id: NodeId, now: Moment) {
        let mut at = id;
        while let Some(upstream) = self.nodes.get(at).and_then(|n| n.upstream) {
            self.settle(upstream, now);
            at = upstream;
        }
    }

    /// Settles an entry whose credential or prospects changed, then those who wait for it and are concerned: everyone
    /// if there is something to be had now, else those who have an answer to give.
    pub(super) fn settle_with_dependents(&mut self, id: NodeId, now: Moment) {
        self.settle(id, now);
        let Some(node) = self.nodes.get(id) else { return };
        let ready = self.supply(node, now).is_some();
        let concerned = |dependent: &NodeId| {
            ready || self.nodes.get(*dependent).is_some_and(|d| !d.waiters.is_empty() || d.forced.is_some())
        };
        let concerned: Vec<NodeId> = node.pulls.dependents().filter(|d| concerned(d) || self.is_pulled(*d)).collect();
        for dependent in concerned {
            self.settle_with_dependents(dependent, now);
        }
    }

    fn is_pulled(&self, id: NodeId) -> bool {
        self.nodes.get(id).is_some_and(|n| !n.pulls.is_empty())
    }

    /// Role credentials that ended are wiped. A session's token stays: its refresh grant may outlive it.
    ///
    /// For good, also while the clock is in doubt: what once looked ended must not come back to life by a second step.
    fn drop_ended(&mut self, id: NodeId, server_now: Timestamp) {
        if let Some(node) = self.nodes.get_mut(id)
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
        self.nodes.get(id).is_some_and(|n| {
            !n.unnamed && (n.always || n.recently_used(tick) || n.dependents.iter().any(|d| self.is_kept(*d, tick)))
        })
    }

    fn pursue(&mut self, id: NodeId, now: Moment, server_now: Timestamp) -> Course {
        let kept = self.is_kept(id, now.tick);
        let Some(node) = self.nodes.get(id) else { return Course::Idle };
        if node.flight.is_some() {
            return Course::Working(None);
        }
        if node.unnamed {
            return Course::Idle;
        }
        if self.must_read_token(id, kept, now) {
            self.read_token(id);
        }
        let Some(node) = self.nodes.get(id) else { return Course::Idle };
        if node.session().is_some_and(|s| s.reading && !s.loaded) {
            return Course::Working(None);
        }
        let Some(why) = node.wants(server_now, kept) else {
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
        let node = self.nodes.get(id)?;
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
            Some(_) => self.unrenewable(node, server_now).map(|f| (f, None)),
        }
    }

    /// Why the token of a session cannot be renewed without a person.
    pub(super) fn unrenewable(&self, node: &Node, server_now: Timestamp) -> Option<Failure> {
        let token = node.held.as_ref().and_then(|h| h.credential.as_token())?;
        let barred = session::renewable(token, server_now).err();
        barred.or_else(|| self.is_too_old(&node.chain, server_now).then(session::too_old))
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
        self.nodes.get(id).is_some_and(|node| {
            node.valid(self.time_for(id, now)).is_none() && (!node.waiters.is_empty() || node.pulls.is_urgent())
        })
    }

    fn pressure(&self, id: NodeId, now: Moment) -> Pressure {
        let server_now = self.time_for(id, now);
        let until = self.nodes.get(id).and_then(|node| node.at_stake_until(server_now));
        Pressure { left: until.map(|end| end.since(server_now)), urgent: self.is_urgent(id, now) }
    }

    /// The upstream first, then pace, then the portal's gate; then the fetch starts.
    fn approach(&mut self, id: NodeId, why: Why, now: Moment) -> Course {
        let supply = match self.nodes.get(id).and_then(|n| n.upstream) {
            None => None,
            Some(upstream) => match self.pull(upstream, id, why, now) {
                None => return Course::Behind,
                supply => supply,
            },
        };
        let Some(node) = self.nodes.get(id) else { return Course::Idle };
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
        if let Some(portal) = self.portal_of(id) {
            portal.started(id, service, now.tick);
        }
        self.flights_made += 1;
        let flight = FlightId(self.flights_made);
        let (with, upstream_generation) = supply.map_or((None, None), |(c, g)| (Some(c), Some(g)));
        if let Some(node) = self.nodes.get_mut(id) {
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

    /// The credential of `upstream` for `dependent`; where it has none to give, work on it begins.
    fn pull(&mut self, upstream: NodeId, dependent: NodeId, why: Why, now: Moment) -> Option<(Credential, u64)> {
        let urgent = self.is_urgent(dependent, now);
        let until = self.nodes.get(dependent).and_then(|n| n.at_stake_until(self.time_for(dependent, now)));
        if let Some(good) = self.nodes.get(upstream).and_then(|node| self.good_supply(node, now)) {
            return Some(good);
        }
        self.nodes.get_mut(upstream)?.pulls.insert(dependent, until, urgent);
        if why == Why::ByHand {
            self.force_upstream_by_hand(upstream, dependent);
        }
        self.settle(upstream, now);
        self.nodes.get(upstream).and_then(|node| self.supply(node, now))
    }

    /// What an entry can give to those who are fetched with its credential: what will last or, while nothing better can
    /// be had, what is valid. With its generation.
    fn supply(&self, node: &Node, now: Moment) -> Option<(Credential, u64)> {
        match self.standing(node) {
            Standing::Working(_) => self.good_supply(node, now),
            Standing::Idle | Standing::Blocked(..) => {
                let (held, _) = node.valid(self.time_of(node, now))?;
                Some((held.credential.clone(), held.generation))
            }
        }
    }

    fn good_supply(&self, node: &Node, now: Moment) -> Option<(Credential, u64)> {
        let (held, left) = node.valid(self.time_of(node, now))?;
        (left > held.window.mandatory_below).then(|| (held.credential.clone(), held.generation))
    }

    /// A person's refresh goes for the upstream too, once: if that was tried since and failed, they were served.
    fn force_upstream_by_hand(&mut self, upstream: NodeId, dependent: NodeId) {
        let Some(asked_at) = self.nodes.get(dependent).map(|n| n.by_hand_at) else { return };
        let Some(node) = self.nodes.get_mut(upstream) else { return };
        if node.trouble.as_ref().is_some_and(|t| t.attempted_at >= asked_at) {
            if let Some(node) = self.nodes.get_mut(dependent) {
                node.forced = node.forced.filter(|why| *why != Why::ByHand).or(node.owed);
            }
        } else if node.flight.is_none() {
            node.forced = node.forced.max(Some(Why::ByHand));
            node.by_hand_at = asked_at;
        }
    }

    /// The upstream's credential is not waited for any more. An upstream that waits in its turn learns of it at once,
    /// any other when it looks next.
    fn stop_pulling(&mut self, id: NodeId, now: Moment) {
        if let Some(up) = self.nodes.get(id).and_then(|n| n.upstream)
            && let Some(upstream) = self.nodes.get_mut(up)
            && upstream.pulls.remove(id)
            && upstream.course == Course::Behind
        {
            self.settle(up, now);
        }
    }

    /// Who has just been answered makes nothing urgent any more, here and further up.
    fn calm_upstream(&mut self, id: NodeId, now: Moment) {
        let mut at = id;
        while !self.is_urgent(at, now)
            && let Some(up) = self.nodes.get(at).and_then(|n| n.upstream)
            && self.nodes.get_mut(up).is_some_and(|n| n.pulls.calm(at))
        {
            at = up;
        }
    }

    /// Keeps the portal's list of those that failed, which are tried again when its way is open.
    fn list_trouble(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let troubled = node.trouble.is_some();
        if std::mem::replace(&mut node.listed_as_troubled, troubled) == troubled {
            return;
        }
        if let Some(portal) = self.portal_of(id) {
            if troubled {
                portal.troubled.insert(id);
            } else {
                portal.troubled.remove(&id);
            }
        }
    }

    fn must_read_token(&self, id: NodeId, kept: bool, now: Moment) -> bool {
        let Some(node) = self.nodes.get(id) else { return false };
        let Some(session) = node.session() else { return false };
        let wanted = kept || !node.pulls.is_empty() || node.forced.is_some();
        let gone = session.absent_since.is_some_and(|t| now.tick >= t.plus(schedule::LOGOUT_AFTER));
        // A file that could not be read is read again at the pace of any other failure.
        let may_load = || node.own_gate(self.pressure(id, now), now.tick).is_none();
        !session.reading && ((wanted && !session.loaded && may_load()) || gone)
    }

    fn read_token(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(id) {
            let (link, world) = (node.chain.link().clone(), node.chain.world().clone());
            if let Some(session) = node.session_mut() {
                session.reading = true;
            }
            self.actions.push(Action::ReadToken { node: id, link, world });
        }
    }

    /// Answers everyone who can be answered; returns when to look at the rest again.
    fn answer_waiters(&mut self, id: NodeId, now: Moment, server_now: Timestamp) -> Option<Tick> {
        let node = self.nodes.get(id)?;
        if node.waiters.is_empty() {
            return None;
        }
        let offer = offer(node, self.standing(node), now.tick, server_now);
        let (mut answers, mut next) = (Vec::new(), None::<Tick>);
        for (waiter, request) in &node.waiters {
            match request.fate(&offer, now.tick) {
                Fate::Answer(answer) => answers.push((*waiter, self.with_pause(answer, node, now))),
                Fate::Wait(at) => next = Some(next.map_or(at, |n| n.min(at))),
            }
        }
        let node = self.nodes.get_mut(id)?;
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
        let Some(node) = self.nodes.get_mut(id) else { return };
        if node.held.is_some() || node.flight.is_some() || node.always || !node.waiters.is_empty() {
            self.active.insert(id);
        } else {
            self.active.remove(&id);
        }
        let for_course = match &node.course {
            Course::Idle => None,
            Course::Working(at) | Course::Blocked(_, at) => *at,
            // Its upstream looks after it, but nobody may want it any more.
            Course::Behind => node.kept_until().filter(|until| *until > now.tick),
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

fn offer<'a>(node: &'a Node, standing: Standing<'a>, tick: Tick, server_now: Timestamp) -> Offer<'a> {
    let valid = node.valid(server_now);
    Offer {
        valid_until: valid.map(|(h, _)| h.credential.expires_at()),
        held: valid.and_then(|(h, left)| Some((h.credential.as_role()?, left, h.lifetime))),
        mandatory_below: valid.map_or(std::time::Duration::ZERO, |(h, _)| h.window.mandatory_below),
        // One that failed long before this renewal was wanted says nothing of it.
        failing: node.trouble.as_ref().is_some_and(|t| node.pursued_since.is_none_or(|since| t.attempted_at >= since)),
        working: matches!(standing, Standing::Working(_)),
        blocked: match standing {
            Standing::Blocked(failure, at) => Some((failure, at)),
            Standing::Idle | Standing::Working(_) => None,
        },
        pursued_since: node.pursued_since.unwrap_or(tick),
        renewed_at: node.renewed_at,
        failed: node.trouble.as_ref().map(|t| (&t.failure, t.attempted_at)),
    }
}

impl Broker {
    /// Who is refused for want of a login also learns why none is begun.
    fn with_pause(&self, answer: Answer, node: &Node, now: Moment) -> Answer {
        let refusal = match answer {
            Answer::Refused(refusal) if refusal.failure.class == FailureClass::NeedsLogin => refusal,
            other => return other,
        };
        let Some(pause) = self.pause_of_logins(node, now) else { return Answer::Refused(refusal) };
        let until = pause.until.map_or_else(String::new, |at| format!(" until {at}"));
        let message = format!("{} (logins are paused{until}: {})", refusal.failure.message, pause.failure.message);
        let failure = Failure::new(FailureClass::NeedsLogin, message, &pause.failure.fix);
        Answer::Refused(Refusal { failure, ..refusal })
    }
}
