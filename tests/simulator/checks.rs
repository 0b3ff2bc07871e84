//! What must hold, looked at with every step. The first violation ends the run.

use std::collections::{BTreeMap, BTreeSet};

use aws_credential_agent::core::broker::{Fetch, Outcome};
use aws_credential_agent::core::classify::Verdict;
use aws_credential_agent::core::credential::{Credential, RoleCredentials};
use aws_credential_agent::core::failure::FailureClass;
use aws_credential_agent::core::node::{NodeId, Why};
use aws_credential_agent::core::status::Kept;
use aws_credential_agent::core::time::{Tick, Timestamp};
use aws_credential_agent::core::waiters::Refusal;

use super::callers::Caller;
use super::estate::{Estate, HOUR, MINUTE};
use super::files::number;
use super::flights::{Flight, Purpose};
use super::run::{Due, Sim};

/// The header's seconds, latency and the tolerance within which the local clock is believed.
const CLOCK_SLACK: i64 = 31_000;
/// More steps than this in one simulated second are a busy loop.
const MAX_STEPS_PER_SECOND: u32 = 2000;

#[derive(Clone, Copy, Debug)]
struct Issued {
    key: usize,
    ends: i64,
    at: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) problem: Option<String>,
    deadlines: BTreeSet<(Tick, u64)>,
    waiting: BTreeMap<u64, Tick>,
    in_flight: BTreeSet<NodeId>,
    last_call: BTreeMap<NodeId, Tick>,
    buckets: BTreeMap<(usize, u8), u64>,
    issued: Vec<Issued>,
    /// What the broker was given last for each key, while it has no reason to have lost it.
    held: Vec<Option<u32>>,
    /// When each access token was received, if it was issued then.
    tokens: BTreeMap<u32, i64>,
    served: Vec<Option<u32>>,
    asked: Vec<Vec<i64>>,
    logged_out_at: BTreeMap<usize, i64>,
    refused_grants: BTreeSet<u32>,
    /// The clocks were stepped or the machine slept; and it was frozen, with no answer of AWS since.
    clock_troubled_at: i64,
    frozen_unknown: bool,
    refresh_at: BTreeMap<(Option<String>, String), (String, Timestamp, Timestamp)>,
    /// When an entry was last renewed because of a refused key, which key, and whether that failed.
    forced: BTreeMap<NodeId, (i64, u32, bool)>,
    /// When AWS last denied an entry its credential.
    denied_at: BTreeMap<NodeId, i64>,
    /// The last event that may end a memory of denials: a config, a token.
    news_at: i64,
    second: (i64, u32),
}

impl Checks {
    pub(crate) fn new(keys: usize, profiles: usize) -> Self {
        Self {
            held: vec![None; keys],
            served: vec![None; profiles],
            asked: vec![Vec::new(); profiles],
            ..Self::default()
        }
    }

    pub(crate) fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    /// The loop makes progress in time.
    pub(crate) fn pace(&mut self, t: i64) {
        if self.second.0 != t / 1000 {
            self.second = (t / 1000, 0);
        }
        self.second.1 += 1;
        if self.second.1 > MAX_STEPS_PER_SECOND {
            self.fail(format!("more than {MAX_STEPS_PER_SECOND} steps in one second"));
        }
    }

    pub(crate) fn asked(&mut self, waiter: u64, profile: usize, deadline: Tick, t: i64) {
        self.deadlines.insert((deadline, waiter));
        self.waiting.insert(waiter, deadline);
        let asked = &mut self.asked[profile];
        asked.retain(|at| t - at < HOUR);
        if asked.len() < 64 {
            asked.push(t);
        }
    }

    pub(crate) fn left(&mut self, waiter: u64) {
        if let Some(deadline) = self.waiting.remove(&waiter) {
            self.deadlines.remove(&(deadline, waiter));
        }
    }

    pub(crate) fn answered(&mut self, waiter: u64) {
        match self.waiting.remove(&waiter) {
            Some(deadline) => {
                self.deadlines.remove(&(deadline, waiter));
            }
            None => self.fail(format!("waiter {waiter} was answered although it waits no longer")),
        }
    }

    /// Every waiter is answered by its deadline.
    pub(crate) fn overdue(&mut self, now: Tick) {
        if let Some((deadline, waiter)) = self.deadlines.first()
            && *deadline < now
        {
            let problem = format!("waiter {waiter} was to be answered by {deadline:?} and it is {now:?}");
            self.fail(problem);
        }
    }

    /// The broker asks to be woken in time for everyone who waits.
    pub(crate) fn wakes_in_time(&mut self, next: Option<Tick>) {
        if let Some((deadline, waiter)) = self.deadlines.first()
            && next.is_none_or(|next| next > *deadline)
        {
            let problem = format!("waiter {waiter} is to be answered by {deadline:?}, the next wake is {next:?}");
            self.fail(problem);
        }
    }

    pub(crate) fn issued(&mut self, serial: u32, key: usize, ends: i64, at: i64) {
        assert_eq!(serial as usize, self.issued.len() + 1);
        self.issued.push(Issued { key, ends, at });
    }

    pub(crate) fn ends_of(&self, serial: u32) -> i64 {
        self.issued[serial as usize - 1].ends
    }

    pub(crate) fn last_served(&self, profile: usize) -> Option<String> {
        self.served[profile].map(|serial| format!("ASIA-{serial}"))
    }

    pub(crate) fn grant_was_refused(&mut self, refresh: Option<u32>) {
        self.refused_grants.extend(refresh);
    }

    pub(crate) fn grant_refused(&self, refresh: Option<u32>) -> bool {
        refresh.is_some_and(|r| self.refused_grants.contains(&r))
    }

    pub(crate) fn logged_out(&mut self, session: usize, t: i64, estate: &Estate) {
        self.logged_out_at.insert(session, t);
        for (key, held) in self.held.iter_mut().enumerate() {
            if estate.keys[key].session == session {
                *held = None;
            }
        }
    }

    /// A profile that led to these keys means something else now: they may be forgotten.
    pub(crate) fn may_forget(&mut self, keys: Vec<usize>) {
        keys.into_iter().for_each(|key| self.held[key] = None);
    }

    /// A config or token came: denials may be forgotten.
    pub(crate) fn news(&mut self, t: i64) {
        self.news_at = t;
    }

    pub(crate) fn clock_troubled(&mut self, t: i64) {
        self.clock_troubled_at = t;
    }

    pub(crate) fn frozen(&mut self, t: i64) {
        self.clock_troubled_at = t;
        self.frozen_unknown = true;
    }

    pub(crate) fn fetch_began(&mut self, fetch: &Fetch, purpose: Purpose, endpoint: (usize, u8), now: (i64, Tick)) {
        let (t, tick) = now;
        if !self.in_flight.insert(fetch.node) {
            self.fail(format!("a second fetch of {:?} ({}) while one is under way", fetch.node, fetch.link));
        }
        if let Some(last) = self.last_call.insert(fetch.node, tick)
            && tick.since(last).as_millis() < 2000
        {
            self.fail(format!("two calls for {} within 2 s", fetch.link));
        }
        let full_at = self.buckets.entry(endpoint).or_default();
        *full_at = (*full_at).max(tick.as_millis()) + 200;
        if *full_at - tick.as_millis() > 2000 {
            self.fail(format!("more than 5 calls a second, burst 10, at {endpoint:?}"));
        }
        match purpose {
            Purpose::Session { held, .. } => {
                if self.grant_refused(held.refresh) {
                    self.fail(format!("a refresh token that AWS refused is to be sent again: {:?}", held.refresh));
                }
                if fetch.why == Why::Window.words() {
                    let received = self.tokens.get(&held.access);
                    let limit = window(received.map(|r| held.ends - r), false);
                    self.window_holds(held.ends - t, limit, fetch, t);
                }
            }
            Purpose::Role { key, .. } | Purpose::Assume { key, .. } => self.role_began(fetch, key, t),
        }
    }

    fn role_began(&mut self, fetch: &Fetch, key: usize, t: i64) {
        let held = self.held[key].map(|serial| self.issued[serial as usize - 1]);
        if fetch.why == Why::Rejected.words() {
            let serial = self.held[key].unwrap_or(0);
            // Once per key, but for one that failed; new keys are 30 s apart. (0: not known after an edit.)
            if let Some((at, last, failed)) = self.forced.insert(fetch.node, (t, serial, false))
                && if serial == last || serial == 0 { serial != 0 && !failed } else { t - at < 29_999 }
            {
                self.fail(format!("{} forced {} s after the last time, key {serial}", fetch.link, (t - at) / 1000));
            }
        }
        if let Some(denied_at) = self.denied_at.get(&fetch.node)
            && fetch.why != Why::ByHand.words()
            && t - denied_at < 5 * MINUTE - 1000
            && self.news_at.max(self.clock_troubled_at) + 25_000 <= *denied_at
        {
            self.fail(format!("{} is fetched {} s after AWS denied it", fetch.link, (t - denied_at) / 1000));
        }
        let Some(held) = held else { return };
        let left = held.ends - t;
        if fetch.why == Why::Window.words() {
            self.window_holds(left, window(Some(held.ends - held.at), true), fetch, t);
        }
        let clock_ok = held.at > self.clock_troubled_at;
        if fetch.why == Why::Missing.words() && left > CLOCK_SLACK && clock_ok {
            self.fail(format!("{} is fetched as missing although one with {left} ms is held", fetch.link));
        }
    }

    fn window_holds(&mut self, left: i64, limit: i64, fetch: &Fetch, t: i64) {
        if left > limit + CLOCK_SLACK && t - self.clock_troubled_at > HOUR {
            self.fail(format!("{} is renewed {left} ms before its end, its window is {limit} ms", fetch.link));
        }
    }

    pub(crate) fn fetch_ended(&mut self, flight: &Flight, outcome: &Outcome, dated: bool, t: i64) {
        self.in_flight.remove(&flight.node);
        if dated {
            self.frozen_unknown = false;
        }
        if let Some((_, _, failed)) = self.forced.get_mut(&flight.node) {
            *failed = !matches!(outcome, Outcome::Got { .. });
        }
        if matches!(outcome, Outcome::Failed(Verdict::Failed { failure, .. }) if failure.class == FailureClass::AccessDenied)
        {
            self.denied_at.insert(flight.node, t);
        }
        match (outcome, flight.purpose) {
            (Outcome::Failed(Verdict::TokenRefused), _) => {
                // The one retry need not keep its distance.
                self.last_call.remove(&flight.node);
            }
            (Outcome::Got { credential: Credential::Token(token), issued_now: true }, _) => {
                self.tokens.insert(number(token.access_token.expose()), t);
            }
            (
                Outcome::Got { credential: Credential::Role(role), .. },
                Purpose::Role { key, .. } | Purpose::Assume { key, .. },
            ) => self.held[key] = Some(number(&role.access_key_id)),
            _ => {}
        }
    }

    pub(crate) fn forget_if_logged_out(&mut self, flight: &Flight, session: usize) {
        if let (Some(at), Purpose::Role { key, .. } | Purpose::Assume { key, .. }) =
            (self.logged_out_at.get(&session), flight.purpose)
            && flight.began <= at + 3000
        {
            self.held[key] = None;
        }
    }
}

/// R at which a refresh may start at the earliest.
fn window(life: Option<i64>, role: bool) -> i64 {
    match (life, role) {
        (None, _) => 20 * MINUTE,
        (Some(life), false) => (22 * MINUTE).min(life / 2 + life / 20),
        (Some(life), true) if life <= 90 * MINUTE => (27 * MINUTE + MINUTE / 2).min(life / 2 + life / 20),
        (Some(life), true) => (77 * MINUTE).min(life / 2 + life / 20),
    }
}

impl Sim {
    pub(crate) fn check_served(&mut self, caller: &Caller, credentials: &RoleCredentials) {
        let (t, n) = (self.clocks.t, caller.profile);
        let serial = number(&credentials.access_key_id);
        let issued = self.checks.issued[serial as usize - 1];
        let plan = &self.estate.profiles[n];
        if issued.key != plan.key || plan.removed {
            let (name, key) = (plan.name.clone(), plan.key);
            return self.checks.fail(format!("profile {name} got a key of role {} instead of {key}", issued.key));
        }
        let left = issued.ends - t;
        let slack = if self.clocks.wall_ahead.abs() < 30_000 { (-self.clocks.wall_ahead).max(0) } else { 2000 };
        if left <= -slack && !self.checks.frozen_unknown {
            return self.checks.fail(format!("profile {n} got a key that ended {} ms ago", -left));
        }
        self.checks.served[n] = Some(serial);
        let keeps = HOUR.min(issued.ends - issued.at);
        let (early, late) = (t - keeps * 9 / 10, t - keeps * 6 / 10);
        let early = early.max(self.profile_changed_at(n));
        let kept = self.checks.asked[n].iter().any(|at| (early..late).contains(at));
        let healthy = self.path_age(n) > 15 * MINUTE && t - self.checks.clock_troubled_at > 15 * MINUTE;
        if kept && healthy && self.ancestors_kept(n) {
            self.stats.checked_in_health += 1;
            let least = match issued.ends - issued.at {
                life if life >= 140 * MINUTE => 65 * MINUTE,
                life if life >= 59 * MINUTE => 20 * MINUTE,
                _ => MINUTE,
            };
            if left < least - CLOCK_SLACK {
                self.checks.fail(format!("in health profile {n} got a key with only {} s left", left / 1000));
            }
        }
    }

    /// Roles assumed with a role wait for it: only plain ones are held to the guarantee.
    fn ancestors_kept(&self, profile: usize) -> bool {
        self.estate.keys[self.estate.profiles[profile].key].up.is_none()
    }

    pub(crate) fn check_renewed(&mut self, caller: &Caller, ends: i64) {
        let t = self.clocks.t;
        let key = self.estate.profiles[caller.profile].key;
        let fresh = self.checks.held[key].map(|serial| self.checks.issued[serial as usize - 1]);
        // An answer that was on its way while the machine slept is new here, however old it is.
        let old = |at: i64| at < caller.began - 2000 - 20_000 && at > self.checks.clock_troubled_at;
        if fresh.is_some_and(|i| i.ends != ends || old(i.at)) {
            self.checks.fail(format!("profile {} was not renewed: {fresh:?}, said {ends} at {t}", caller.profile));
        }
    }

    /// An error, or no answer for so long that the client gave up (`None`).
    pub(crate) fn check_refused(&mut self, caller: &Caller, refusal: Option<&Refusal>) {
        let (t, n) = (self.clocks.t, caller.profile);
        let plan = &self.estate.profiles[n];
        let not_served = self.settings.refused.contains(&plan.name);
        if plan.removed || not_served {
            return;
        }
        let text = refusal.map_or_else(|| "no answer in time".to_owned(), |r| r.failure.line());
        let key = plan.key;
        if refusal.is_some_and(|r| r.failure.class == FailureClass::NeedsLogin) {
            self.stats.needs_login += 1;
            if !self.may_need_login(self.estate.keys[key].session) {
                let session = self.estate.keys[key].session;
                let file = &self.stores[session];
                let problem = format!("profile {n} (session {session}, {file:?}) needs a login for no reason: {text}");
                return self.checks.fail(problem);
            }
        }
        if caller.is_renewal() {
            return;
        }
        if let Some(serial) = self.checks.held[key] {
            let held = self.checks.issued[serial as usize - 1];
            if held.ends - t > CLOCK_SLACK && held.at > self.checks.clock_troubled_at {
                return self.checks.fail(format!("a key with {} ms is withheld: {text}", held.ends - t));
            }
        }
        let age = self.path_age(n);
        if age > 30_000 {
            self.checks.fail(format!("profile {n} got an error although a path has existed for {age} ms: {text}"));
        }
    }

    /// Whether a person's login is really needed, or was a moment ago as far as the agent can know.
    fn may_need_login(&self, session: usize) -> bool {
        let (store, t) = (&self.stores[session], self.clocks.t);
        // The next scan finds what a watch missed; a machine that slept has yet to look.
        let known_at = |until: i64| if t - self.checks.clock_troubled_at < 25_000 { t } else { until };
        let recent = store.before.iter().filter(|(until, _)| t - known_at(*until) < 25_000).map(|(_, token)| *token);
        recent.chain([store.token]).any(|file| match file {
            None => true,
            Some(token) => match token.refresh {
                Some(refresh) => self.checks.refused_grants.contains(&refresh) || token.registration_ends <= t,
                None => token.ends <= t + CLOCK_SLACK || self.paths.refused_access.contains(&token.access),
            },
        })
    }

    /// Jitter is drawn once, and nothing in the snapshot is a secret.
    pub(crate) fn look_at_status(&mut self) {
        self.after(17 * MINUTE, Due::Status);
        let moment = self.clocks.moment(self.rng.u64(..));
        let status = self.broker.status(moment);
        for p in &status.profiles {
            let (Some(suffix), Some(ends), Some(at)) = (&p.key_suffix, p.expires_at, p.refresh_at) else { continue };
            let id = (p.config_file.clone(), p.name.clone());
            let now = (suffix.clone(), ends, at);
            if let Some(before) = self.checks.refresh_at.insert(id, now.clone())
                && (before.0, before.1) == (now.0, now.1)
                && before.2 != now.2
            {
                self.checks.fail(format!("{} was to be renewed at {} and now at {at}", p.name, before.2));
            }
        }
        let sane = status.profiles.iter().all(|p| p.kept != Kept::No || p.refresh_at.is_none());
        if !sane {
            self.checks.fail("a profile that is not kept has a time of renewal".to_owned());
        }
        if self.rng.u8(..8) == 0 && format!("{status:?}").contains("SECRET") {
            self.checks.fail("a secret is in the snapshot".to_owned());
        }
    }
}
