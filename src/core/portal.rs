//! What everything behind one Identity Center portal shares: token buckets, throttling and the backoff of an outage.
//!
//! When the way to an endpoint fails, fifty profiles need not find out one by one: the first failure closes its gate
//! for all, one entry at a time tries again, and the first success opens it. A throttle is shared in the same way. OIDC,
//! portal and STS are hosts of their own and have a gate each: while CreateToken fails or is throttled, a token that
//! still lives goes on fetching roles.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::failure::{Failure, FailureClass};
use super::node::{NodeId, Pressure};
use super::schedule;
use super::source::{Endpoints, Link, SsoSession};
use super::time::{Moment, Tick};

/// Calls per second that one endpoint gets from us.
const RATE_PER_SECOND: u64 = 5;
/// Calls that may come at once after a quiet time.
const BURST: u64 = 10;

/// The identity of a portal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortalKey {
    region: String,
    start_url: String,
    endpoints: Endpoints,
}

impl From<&SsoSession> for PortalKey {
    fn from(s: &SsoSession) -> Self {
        Self { region: s.region.clone(), start_url: s.start_url.clone(), endpoints: s.endpoints.clone() }
    }
}

/// The AWS endpoint that a link's credential comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// SSO OIDC.
    Oidc,
    /// The SSO portal.
    Portal,
    /// STS.
    Sts,
}

impl From<&Link> for Service {
    fn from(link: &Link) -> Self {
        match link {
            Link::SsoSession(_) => Self::Oidc,
            Link::SsoRole { .. } => Self::Portal,
            Link::AssumedRole { .. } => Self::Sts,
        }
    }
}

/// A token bucket, kept as the tick at which it will be full (the GCRA form: one number, no timer).
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    full_at: Tick,
}

impl Bucket {
    const INTERVAL: Duration = Duration::from_millis(1000 / RATE_PER_SECOND);
    const DEPTH: Duration = Duration::from_millis(1000 / RATE_PER_SECOND * BURST);

    /// When the next call may start.
    #[must_use]
    pub fn next_at(&self, now: Tick) -> Tick {
        let after = self.full_at.plus(Self::INTERVAL);
        let earliest = Tick::from_millis(after.as_millis().saturating_sub(millis(Self::DEPTH)));
        earliest.max(now)
    }

    /// Takes one call out.
    pub fn take(&mut self, now: Tick) {
        self.full_at = self.full_at.max(now).plus(Self::INTERVAL);
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// An outage: the last failure of the way to the portal.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Whose attempt failed first.
    pub node: NodeId,
    /// What was seen.
    pub failure: Failure,
    /// When the failed attempt began.
    pub attempted_at: Tick,
    /// When it ended.
    pub failed_at: Tick,
    /// When the next attempt is due.
    pub retry_at: Tick,
    /// Failures in a row.
    pub count: u32,
}

/// How an entry may use the portal now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may call.
    Open,
    /// Not before this tick, a matter of pace alone.
    Pace(Tick),
    /// Another entry is trying; its outcome decides.
    Probing,
    /// Not before this tick, because of this failure.
    Closed(Failure, Tick),
}

/// What an entry brings along when it asks at the gate.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Who asks.
    pub node: NodeId,
    /// How pressing it is.
    pub pressure: Pressure,
    /// Whether a person asked for it (`agentctl refresh`): an outage's backoff does not count, a throttle does.
    pub by_hand: bool,
}

/// AWS asked us to slow down.
#[derive(Clone, Debug)]
struct Throttle {
    failure: Failure,
    /// Until when AWS asked us to wait.
    asked_until: Tick,
    /// Until when we wait by our own choice, where AWS did not say.
    until: Tick,
    /// When the last throttled attempt began.
    attempted_at: Tick,
}

/// One endpoint's pace, throttle and outage.
#[derive(Clone, Debug, Default)]
struct Endpoint {
    bucket: Bucket,
    throttle: Option<Throttle>,
    throttles: u32,
    outage: Option<Outage>,
    probe: Option<NodeId>,
}

/// The shared state.
#[derive(Clone, Debug, Default)]
pub struct Portal {
    endpoints: BTreeMap<Service, Endpoint>,
    /// Entries that found a gate closed: they look again when it opens early.
    pub waiting: BTreeSet<NodeId>,
    /// Entries that wait for the outcome of another one's attempt.
    pub watching: BTreeSet<NodeId>,
    /// Entries whose last attempt failed.
    pub troubled: BTreeSet<NodeId>,
}

impl Portal {
    /// Whether the asker may call `service` now.
    pub fn gate(&mut self, asker: Asker, service: Service, now: Tick) -> Gate {
        let endpoint = self.endpoints.entry(service).or_default();
        if let Some(throttle) = &endpoint.throttle {
            let until = throttle.gate_for(asker);
            if now < until {
                return Gate::Closed(throttle.failure.clone(), until);
            }
        }
        if let Some(outage) = &endpoint.outage
            && !asker.by_hand
        {
            let until = outage.gate_for(asker);
            if now < until && outage.is_established_for(asker.node) {
                return Gate::Closed(outage.failure.clone(), until);
            }
            if now < until {
                return Gate::Pace(until);
            }
            if endpoint.probe.is_some_and(|other| other != asker.node) {
                return Gate::Probing;
            }
        }
        let at = endpoint.bucket.next_at(now);
        if now < at { Gate::Pace(at) } else { Gate::Open }
    }

    /// A call starts.
    pub fn started(&mut self, node: NodeId, service: Service, now: Tick) {
        let endpoint = self.endpoints.entry(service).or_default();
        endpoint.bucket.take(now);
        if endpoint.outage.is_some() {
            endpoint.probe = Some(node);
        }
    }

    /// The service answered, whatever it said about this one entry. Returns whether an outage or a throttle ended.
    ///
    /// A throttle holds until its time has passed: what answers before was on its way when AWS lost patience.
    pub fn answered(&mut self, node: NodeId, service: Service, now: Tick) -> bool {
        self.forget(node);
        let endpoint = self.endpoints.entry(service).or_default();
        let throttle_ended = endpoint.throttle.take_if(|t| t.ends() <= now).is_some();
        if endpoint.throttle.is_none() {
            endpoint.throttles = 0;
        }
        let outage_ended = endpoint.outage.take().is_some();
        if outage_ended {
            endpoint.probe = None;
        }
        throttle_ended || outage_ended
    }

    /// The call of `node`, begun at `attempted_at`, failed with a class that all users of the service share.
    pub fn failed(
        &mut self,
        node: NodeId,
        service: Service,
        failure: &Failure,
        retry_after: Option<Duration>,
        attempted_at: Tick,
        now: Moment,
    ) {
        self.forget(node);
        let endpoint = self.endpoints.entry(service).or_default();
        if failure.class == FailureClass::Throttled {
            endpoint.throttled(failure, retry_after, attempted_at, now.tick);
            return;
        }
        let outage = &mut endpoint.outage;
        // Calls that were under way together fail together: that is one failure, not ten in a row.
        if let Some(known) = outage
            && attempted_at < known.failed_at
        {
            known.attempted_at = known.attempted_at.max(attempted_at);
            return;
        }
        let count = outage.as_ref().map_or(0, |o| o.count).saturating_add(1);
        let delay = schedule::backoff(count, now.fraction(node.salt(SALT)));
        let first = outage.as_ref().map_or(node, |o| o.node);
        *outage = Some(Outage {
            node: first,
            failure: failure.clone(),
            attempted_at,
            failed_at: now.tick,
            retry_at: now.tick.plus(delay),
            count,
        });
    }

    /// `node` is gone or done: it probes no longer.
    pub fn forget(&mut self, node: NodeId) {
        for endpoint in self.endpoints.values_mut() {
            endpoint.probe.take_if(|probe| *probe == node);
        }
    }

    /// The machine woke or the network changed: an outage is worth another try within 3 s.
    pub fn hurry(&mut self, now: Moment) {
        let soon = now.tick.plus(now.jitter(Duration::from_secs(3), SALT));
        for outage in self.endpoints.values_mut().filter_map(|e| e.outage.as_mut()) {
            outage.retry_at = outage.retry_at.min(soon);
        }
    }
}

impl Endpoint {
    fn throttled(&mut self, failure: &Failure, retry_after: Option<Duration>, attempted_at: Tick, now: Tick) {
        let same = self.throttle.take_if(|t| attempted_at < t.ends());
        if same.is_none() {
            self.throttles = self.throttles.saturating_add(1);
        }
        let mut throttle = same.unwrap_or_else(|| Throttle {
            failure: failure.clone(),
            asked_until: Tick::default(),
            until: now,
            attempted_at,
        });
        throttle.attempted_at = throttle.attempted_at.max(attempted_at);
        // "At once" is no answer to somebody who is to slow down.
        match retry_after.filter(|delay| *delay >= Duration::from_secs(1)) {
            Some(delay) => {
                throttle.asked_until = throttle.asked_until.max(now.plus(delay.min(schedule::MAX_BACKOFF)));
            }
            None if throttle.until <= now => throttle.until = now.plus(schedule::throttle_delay(self.throttles)),
            None => {}
        }
        self.throttle = Some(throttle);
    }
}

impl Throttle {
    /// What AWS asked for holds for everyone. A delay of our own choice is no longer than what somebody who waits with
    /// nothing in hand would get elsewhere.
    fn gate_for(&self, asker: Asker) -> Tick {
        let cap = if asker.pressure.urgent { self.attempted_at.plus(schedule::MAX_BACKOFF_ASKED) } else { self.until };
        self.until.min(cap).max(self.asked_until)
    }

    fn ends(&self) -> Tick {
        self.until.max(self.asked_until)
    }
}

/// Keeps this file's draws apart from those of others in the same step.
const SALT: u64 = 0x706f_7274;

impl Outage {
    /// One failure of one entry is no reason to refuse another: it waits the moment until the next attempt.
    fn is_established_for(&self, asker: NodeId) -> bool {
        self.count > 1 || self.node == asker
    }

    /// When this asker may try: sooner than the shared backoff if what it holds cannot afford to wait, or if somebody
    /// waits and nothing is held.
    fn gate_for(&self, asker: Asker) -> Tick {
        asker.pressure.cap(self.retry_at, self.attempted_at, self.failed_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(ms: u64) -> Moment {
        Moment { tick: Tick::from_millis(ms), draw: 7, ..Moment::default() }
    }

    fn asker(n: u32) -> Asker {
        Asker { node: NodeId(n), pressure: Pressure::default(), by_hand: false }
    }

    const URGENT: Pressure = Pressure { left: None, urgent: true };

    fn offline() -> Failure {
        Failure::new(FailureClass::Offline, "no route", "")
    }

    #[test]
    fn the_bucket_gives_a_burst_of_ten_then_five_a_second() {
        let (mut portal, mut started) = (Portal::default(), 0);
        for ms in 100_000..102_000 {
            let now = Tick::from_millis(ms);
            if portal.gate(asker(1), Service::Portal, now) == Gate::Open {
                portal.started(NodeId(1), Service::Portal, now);
                started += 1;
            }
        }
        assert_eq!(started, 10 + 9);
        assert_eq!(
            portal.gate(asker(1), Service::Oidc, Tick::from_millis(102_000)),
            Gate::Open,
            "buckets are separate"
        );
    }

    #[test]
    fn one_failure_makes_all_wait_a_moment_and_two_close_the_gate() {
        let mut portal = Portal::default();
        portal.failed(NodeId(1), Service::Portal, &offline(), None, Tick::default(), moment(1000));
        let its_own = portal.gate(asker(1), Service::Portal, Tick::from_millis(1000));
        assert!(matches!(its_own, Gate::Closed(..)), "{its_own:?}");
        let gate = portal.gate(asker(2), Service::Portal, Tick::from_millis(1000));
        assert!(matches!(gate, Gate::Pace(at) if at <= Tick::from_millis(3000)), "{gate:?}");
        portal.failed(NodeId(2), Service::Portal, &offline(), None, Tick::from_millis(3000), moment(3000));
        assert!(matches!(portal.gate(asker(3), Service::Portal, Tick::from_millis(3000)), Gate::Closed(..)));
    }

    #[test]
    fn a_closed_gate_lets_one_probe() {
        let mut portal = Portal::default();
        for ms in [1000, 2000] {
            portal.failed(NodeId(1), Service::Portal, &offline(), None, Tick::from_millis(ms), moment(ms));
        }
        let Gate::Closed(_, until) = portal.gate(asker(2), Service::Portal, Tick::from_millis(2000)) else {
            panic!("open during backoff");
        };
        assert_eq!(portal.gate(asker(2), Service::Portal, until), Gate::Open);
        portal.started(NodeId(2), Service::Portal, until);
        assert_eq!(portal.gate(asker(3), Service::Portal, until), Gate::Probing);
        assert!(portal.answered(NodeId(2), Service::Portal, until));
        assert_eq!(portal.gate(asker(3), Service::Portal, until), Gate::Open);
    }

    #[test]
    fn a_throttle_holds_even_for_a_refresh_by_hand() {
        let mut portal = Portal::default();
        let slow = Failure::new(FailureClass::Throttled, "slow down", "");
        portal.failed(NodeId(1), Service::Portal, &slow, Some(Duration::from_secs(7)), Tick::default(), moment(0));
        let by_hand = Asker { by_hand: true, ..asker(2) };
        assert!(matches!(portal.gate(by_hand, Service::Portal, Tick::from_millis(6999)), Gate::Closed(..)));
        assert_eq!(portal.gate(by_hand, Service::Portal, Tick::from_millis(7000)), Gate::Open);
    }

    #[test]
    fn who_cannot_afford_the_backoff_tries_sooner() {
        let mut portal = Portal::default();
        for _ in 0..12 {
            portal.failed(
                NodeId(1),
                Service::Portal,
                &offline(),
                None,
                Tick::default(),
                Moment { draw: u64::MAX, ..moment(0) },
            );
        }
        let short = Pressure { left: Some(Duration::from_secs(20)), urgent: false };
        let short = Asker { pressure: short, ..asker(2) };
        let gate = portal.gate(short, Service::Portal, Tick::default());
        assert!(matches!(gate, Gate::Closed(_, t) if t <= Tick::from_millis(5000)), "{gate:?}");
        let urgent = Asker { pressure: URGENT, ..asker(2) };
        let gate = portal.gate(urgent, Service::Portal, Tick::default());
        assert!(matches!(gate, Gate::Closed(_, t) if t <= Tick::from_millis(30_000)), "{gate:?}");
    }

    #[test]
    fn one_endpoint_may_fail_while_the_other_works() {
        let mut portal = Portal::default();
        portal.failed(NodeId(1), Service::Oidc, &offline(), None, Tick::default(), moment(1000));
        assert!(matches!(portal.gate(asker(1), Service::Oidc, Tick::from_millis(1000)), Gate::Closed(..)));
        assert_eq!(portal.gate(asker(2), Service::Portal, Tick::from_millis(1000)), Gate::Open);
    }

    #[test]
    fn calls_that_fail_together_are_one_failure() {
        let (mut portal, slow) = (Portal::default(), Failure::new(FailureClass::Throttled, "slow down", ""));
        for n in 0..10 {
            portal.failed(NodeId(n), Service::Portal, &slow, None, Tick::from_millis(900), moment(1000));
            portal.failed(NodeId(n), Service::Oidc, &offline(), None, Tick::from_millis(900), moment(1000));
        }
        assert_eq!(portal.gate(asker(11), Service::Portal, Tick::from_millis(6000)), Gate::Open, "5 s, not 5 min");
        let outage = portal.endpoints[&Service::Oidc].outage.as_ref().unwrap();
        assert_eq!(outage.count, 1);
    }

    #[test]
    fn a_late_answer_does_not_end_a_throttle() {
        let (mut portal, slow) = (Portal::default(), Failure::new(FailureClass::Throttled, "slow down", ""));
        portal.failed(NodeId(1), Service::Portal, &slow, Some(Duration::from_secs(60)), Tick::default(), moment(0));
        assert!(!portal.answered(NodeId(2), Service::Portal, Tick::from_millis(100)));
        assert!(matches!(portal.gate(asker(3), Service::Portal, Tick::from_millis(200)), Gate::Closed(..)));
        assert!(portal.answered(NodeId(2), Service::Portal, Tick::from_millis(60_000)));
    }

    #[test]
    fn a_throttle_of_our_own_choice_lets_somebody_with_nothing_in_hand_try_after_thirty_seconds() {
        let (mut portal, slow) = (Portal::default(), Failure::new(FailureClass::Throttled, "slow down", ""));
        for second in [0, 10, 30, 70, 150] {
            let now = Tick::from_millis(second * 1000);
            portal.failed(NodeId(1), Service::Portal, &slow, None, now, moment(second * 1000));
        }
        let (now, urgent) = (Tick::from_millis(180_000), Asker { pressure: URGENT, ..asker(2) });
        assert!(matches!(portal.gate(asker(2), Service::Portal, now), Gate::Closed(..)));
        assert_eq!(portal.gate(urgent, Service::Portal, now), Gate::Open);
    }
}
