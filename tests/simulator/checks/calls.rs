//! What must hold for each call to AWS: one at a time, at its pace, when it is wanted and allowed.

use std::collections::{BTreeMap, BTreeSet};

use aws_credential_agent::core::broker::{Fetch, Outcome};
use aws_credential_agent::core::classify::Verdict;
use aws_credential_agent::core::credential::Credential;
use aws_credential_agent::core::failure::{Disposition, FailureClass};
use aws_credential_agent::core::node::{NodeId, Why};
use aws_credential_agent::core::time::Tick;

use super::{CLOCK_SLACK, Checks, HOUR, MINUTE, window};
use crate::simulator::clock::Clocks;
use crate::simulator::files::number;
use crate::simulator::flights::{Flight, Purpose, Target};
use crate::simulator::run::Sim;

/// Site and service: one endpoint.
pub(crate) type Endpoint = (usize, u8);

/// What was seen of the calls so far. By session and role, not by entry: an entry may go and come again meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    in_flight: BTreeMap<Target, u64>,
    last: BTreeMap<Target, Tick>,
    buckets: BTreeMap<Endpoint, u64>,
    /// Entries that were told that AWS refuses a refresh token.
    told: BTreeSet<(NodeId, u32)>,
    /// Until when AWS asked to be left alone.
    asked_until: BTreeMap<Endpoint, Tick>,
    /// Until when renewing is paused.
    paused_until: Tick,
    /// When a role was last renewed because of a refused key, which key, and whether that failed.
    forced: BTreeMap<usize, (i64, u32, bool)>,
    /// When AWS last denied a role.
    denied_at: BTreeMap<usize, i64>,
    /// When the config of each world was read last.
    config_at: BTreeMap<usize, i64>,
    /// For each session the last event that may end a memory of denials: a config, a token.
    news_at: BTreeMap<usize, i64>,
}

impl Checks {
    /// A config or token came: denials may be forgotten.
    pub(crate) fn news(&mut self, session: usize, t: i64) {
        self.calls.news_at.insert(session, t);
    }

    pub(crate) fn config_came(&mut self, world: usize, t: i64) {
        self.calls.config_at.insert(world, t);
    }

    pub(crate) fn asked_to_wait(&mut self, endpoint: Endpoint, until: Tick) {
        let asked = self.calls.asked_until.entry(endpoint).or_default();
        *asked = until.max(*asked);
    }

    pub(crate) fn paused(&mut self, until: Tick) {
        self.calls.paused_until = until;
    }

    pub(crate) fn fetch_ended(&mut self, flight: &Flight, outcome: &Outcome, dated: bool, now: (i64, Tick)) {
        let (t, tick) = now;
        let target = flight.purpose.target();
        self.calls.in_flight.remove(&target);
        if dated {
            self.frozen_unknown = false;
        }
        if matches!(outcome, Outcome::Failed(Verdict::TokenRefused)) {
            // The one retry need not keep its distance.
            self.calls.last.remove(&target);
        }
        match (outcome, target) {
            (Outcome::Got { credential: Credential::Token(token), issued_now }, Target::Session(session)) => {
                let received = issued_now.then_some(t);
                self.own_token[session] = Some((Clocks::unstamp(token.expires_at), received));
                let access = number(token.access_token.expose());
                self.tokens.extend(received.map(|received| (access, received)));
            }
            (Outcome::Got { credential: Credential::Role(role), .. }, Target::Key(key)) => {
                let serial = number(&role.access_key_id);
                // If its entry went meanwhile, nobody is there to take it.
                self.held[key] = (flight.began > self.forgotten_at[key]).then_some(serial);
                self.got[key] = Some((serial, tick));
                self.owed.remove(&key);
            }
            (Outcome::Failed(verdict), Target::Key(key)) => self.role_failed(flight, key, verdict, t),
            (Outcome::NotSent(failure) | Outcome::Failed(Verdict::Failed { failure, .. }), Target::Session(_))
                if failure.class == FailureClass::NeedsLogin =>
            {
                self.calls.told.extend(flight.offered.map(|refresh| (flight.node, refresh)));
            }
            _ => {}
        }
    }

    fn role_failed(&mut self, flight: &Flight, key: usize, verdict: &Verdict, t: i64) {
        let retried = match verdict {
            Verdict::TokenRefused => true,
            Verdict::Failed { failure, .. } => failure.class.disposition() == Disposition::RetryLater,
        };
        if let (true, Some((_, serial, failed))) = (flight.forced, self.calls.forced.get_mut(&key)) {
            *failed = true;
            if retried && self.held[key] == Some(*serial) {
                self.owed.insert(key, t);
            }
        }
        if !retried {
            self.owed.remove(&key);
        }
        if matches!(verdict, Verdict::Failed { failure, .. } if failure.class == FailureClass::AccessDenied) {
            self.calls.denied_at.insert(key, t);
        }
    }

    /// Whether this key was never the reason for a renewal, and its role's last one is long over.
    pub(super) fn may_force(&self, key: usize, serial: u32, t: i64) -> bool {
        self.calls.forced.get(&key).is_none_or(|(at, last, _)| *last != serial && t - at > HOUR)
    }

    fn window_holds(&mut self, left: i64, limit: i64, fetch: &Fetch, t: i64) {
        if left > limit + CLOCK_SLACK && t - self.clock_troubled_at > HOUR {
            self.fail(format!("{} is renewed {left} ms before its end, its window is {limit} ms", fetch.link));
        }
    }
}

impl Sim {
    pub(crate) fn check_call(&mut self, fetch: &Fetch, purpose: Purpose, endpoint: Endpoint) {
        let (t, tick, target) = (self.clocks.t, self.clocks.tick(), purpose.target());
        let (checks, link) = (&mut self.checks, &fetch.link);
        if let Some(other) = checks.calls.in_flight.insert(target, fetch.flight.0) {
            checks.fail(format!("a second fetch of {link} ({:?}) while {other} is under way", fetch.flight));
        }
        if checks.calls.last.insert(target, tick).is_some_and(|last| tick.since(last).as_millis() < 2000) {
            checks.fail(format!("two calls for {link} within 2 s"));
        }
        let full_at = checks.calls.buckets.entry(endpoint).or_default();
        *full_at = (*full_at).max(tick.as_millis()) + 200;
        if *full_at - tick.as_millis() > 2000 {
            checks.fail(format!("more than 5 calls a second, burst 10, at {endpoint:?}"));
        }
        if checks.calls.asked_until.get(&endpoint).is_some_and(|until| tick < *until) {
            checks.fail(format!("{link} is fetched although AWS asked to be left alone"));
        }
        if tick < checks.calls.paused_until {
            checks.fail(format!("{link} is fetched although renewing is paused"));
        }
        if self.needs_a_keeper(fetch, target) && !self.may_be_kept(target) {
            self.checks.fail(format!("{link} is fetched ({}) although nothing keeps it", fetch.why));
        }
        match purpose {
            Purpose::Session { session, held } => {
                let told = |refresh| self.checks.calls.told.contains(&(fetch.node, refresh));
                if held.refresh.is_some_and(told) {
                    let problem = format!("a refresh token that AWS refused is to be sent again: {:?}", held.refresh);
                    self.checks.fail(problem);
                }
                if fetch.why == Why::Window.words() {
                    // With its entry the life at receipt is forgotten.
                    let received = self.checks.tokens.get(&held.access).map(|r| held.ends - r);
                    let told_at = self.checks.calls.config_at.get(&self.estate.sessions[session].world);
                    let known = told_at.is_none_or(|at| held.ends - received.unwrap_or(0) > *at + MINUTE);
                    let limit = if known { window(received, false) } else { 22 * MINUTE };
                    self.checks.window_holds(held.ends - t, limit, fetch, t);
                }
            }
            Purpose::Role { key, .. } | Purpose::Assume { key, .. } => self.check_role_call(fetch, key),
        }
    }

    /// Whether it is fetched for nobody who waits, nor for what is fetched with it.
    fn needs_a_keeper(&self, fetch: &Fetch, target: Target) -> bool {
        let last = matches!(target, Target::Key(key) if self.estate.keys.iter().all(|k| k.up != Some(key)));
        let may_be_pulled = [Why::Ending, Why::Missing, Why::MinTtl].map(Why::words);
        fetch.why == Why::Window.words() || (last && may_be_pulled.contains(&fetch.why))
    }

    fn check_role_call(&mut self, fetch: &Fetch, key: usize) {
        let (t, session) = (self.clocks.t, self.estate.keys[key].session);
        let checks = &mut self.checks;
        if fetch.why == Why::Rejected.words() {
            let serial = checks.held[key].unwrap_or(0);
            // Once per key, but for one that failed; new keys are 30 s apart, where no edit made the entry anew. (0: not
            // known after an edit.)
            let edited = checks.forgotten_at[key];
            if let Some((at, last, failed)) = checks.calls.forced.insert(key, (t, serial, false))
                && if serial == last || serial == 0 { serial != 0 && !failed } else { t - at < 29_999 && edited < at }
            {
                checks.fail(format!("{} forced {} s after the last time, key {serial}", fetch.link, (t - at) / 1000));
            }
        }
        let news_at = checks.calls.news_at.get(&session).copied().unwrap_or_default();
        if let Some(denied_at) = checks.calls.denied_at.get(&key)
            && fetch.why != Why::ByHand.words()
            && t - denied_at < 5 * MINUTE - 1000
            && news_at.max(checks.clock_troubled_at) + 25_000 <= *denied_at
        {
            checks.fail(format!("{} is fetched {} s after AWS denied it", fetch.link, (t - denied_at) / 1000));
        }
        let Some(held) = checks.held[key].map(|serial| checks.issued[serial as usize - 1]) else { return };
        let left = held.ends - t;
        if fetch.why == Why::Window.words() {
            checks.window_holds(left, window(Some(held.ends - held.at), true), fetch, t);
        }
        let clock_ok = held.at > checks.clock_troubled_at;
        if fetch.why == Why::Missing.words() && left > CLOCK_SLACK && clock_ok {
            checks.fail(format!("{} is fetched as missing although one with {left} ms is held", fetch.link));
        }
    }
}
