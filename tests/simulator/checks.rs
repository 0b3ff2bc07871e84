//! What must hold, looked at with every step. The first violation ends the run.
//!
//! Here: whoever asks is answered in time and as well as can be. In [`calls`]: what is asked of AWS. In [`keeping`]:
//! what must come about although nobody asks.

mod calls;
mod keeping;

use std::collections::{BTreeMap, BTreeSet};

use aws_credential_agent::core::credential::RoleCredentials;
use aws_credential_agent::core::failure::FailureClass;
use aws_credential_agent::core::schedule::SPACING;
use aws_credential_agent::core::status::Kept;
use aws_credential_agent::core::time::{Tick, Timestamp};
use aws_credential_agent::core::waiters::Refusal;

use super::callers::Caller;
use super::estate::{Estate, HOUR, MINUTE};
use super::files::number;
use super::flights::{Flight, Purpose};
use super::run::{Due, Sim};
use calls::Calls;

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
    calls: Calls,
    issued: Vec<Issued>,
    /// What the broker was given last for each key, while it has no reason to have lost it.
    held: Vec<Option<u32>>,
    /// When each key may have been forgotten with its entry.
    forgotten_at: Vec<i64>,
    /// What came last for each key, and when.
    got: Vec<Option<(u32, Tick)>>,
    /// The key that each consumer of a role has.
    consumed: BTreeMap<(usize, String), u32>,
    /// Keys that AWS refuses and that are yet to be replaced, and since when.
    owed: BTreeMap<usize, i64>,
    /// When each access token was received, if it was issued then.
    tokens: BTreeMap<u32, i64>,
    /// The end of the last token that a renewal of each session gave, and when it came, if AWS issued it then.
    own_token: Vec<Option<(i64, Option<i64>)>>,
    served: Vec<Option<u32>>,
    asked: Vec<Vec<i64>>,
    last_asked: Vec<Option<Tick>>,
    /// When a client last said of each role's key that AWS refuses it, or seemed to.
    rejected_at: Vec<Option<i64>>,
    logged_out_at: BTreeMap<usize, i64>,
    refused_grants: BTreeSet<u32>,
    /// The clocks were stepped or the machine slept; and it was frozen, with no answer of AWS since.
    clock_troubled_at: i64,
    frozen_unknown: bool,
    refresh_at: BTreeMap<(Option<String>, String), (String, Timestamp, Timestamp)>,
    second: (i64, u32),
}

impl Checks {
    pub(crate) fn new(sessions: usize, keys: usize, profiles: usize) -> Self {
        Self {
            held: vec![None; keys],
            own_token: vec![None; sessions],
            forgotten_at: vec![0; keys],
            got: vec![None; keys],
            last_asked: vec![None; keys],
            rejected_at: vec![None; keys],
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

    pub(crate) fn leaves(&mut self, waiter: u64) {
        if let Some(deadline) = self.waiting.get(&waiter) {
            self.deadlines.remove(&(*deadline, waiter));
        }
    }

    pub(crate) fn left(&mut self, waiter: u64) {
        self.waiting.remove(&waiter);
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

    pub(crate) fn last_served(&self, profile: usize) -> Option<u32> {
        self.served[profile]
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
                self.owed.remove(&key);
            }
        }
    }

    /// A profile that led to these keys means something else now: they may be forgotten.
    pub(crate) fn may_forget(&mut self, keys: Vec<usize>, t: i64) {
        for key in keys {
            self.forgotten_at[key] = t;
            self.held[key] = None;
            self.owed.remove(&key);
        }
    }

    pub(crate) fn clock_troubled(&mut self, t: i64) {
        self.clock_troubled_at = t;
    }

    pub(crate) fn frozen(&mut self, t: i64) {
        self.clock_troubled_at = t;
        self.frozen_unknown = true;
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
        if issued.key != plan.key {
            let (name, key) = (plan.name.clone(), plan.key);
            return self.checks.fail(format!("profile {name} got a key of role {} instead of {key}", issued.key));
        }
        if !self.is_served(n) {
            return self.checks.fail(format!("profile {n} is not to be served and got a key"));
        }
        let left = issued.ends - t;
        let slack = if self.clocks.wall_ahead.abs() < 30_000 { (-self.clocks.wall_ahead).max(0) } else { 2000 };
        if left <= -slack && !self.checks.frozen_unknown {
            return self.checks.fail(format!("profile {n} got a key that ended {} ms ago", -left));
        }
        self.checks.served[n] = Some(serial);
        if let Some(consumer) = &caller.consumer {
            self.checks.consumed.insert((plan.key, consumer.clone()), serial);
        }
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

    /// Renewed now or within the last 2 s before the first ask, and until then.
    pub(crate) fn check_renewed(&mut self, caller: &Caller, ends: i64) {
        let n = caller.profile;
        let got = self.checks.got[self.estate.profiles[n].key];
        let renewed = got
            .is_some_and(|(serial, at)| self.checks.ends_of(serial) == ends && at.plus(SPACING) >= caller.first_asked);
        if !renewed || !self.is_served(n) {
            let first = caller.first_asked;
            self.checks.fail(format!("profile {n} was not renewed: {got:?}, asked at {first:?}, said {ends}"));
        }
    }

    /// An error, or no answer for so long that the client gave up (`None`).
    pub(crate) fn check_refused(&mut self, caller: &Caller, refusal: Option<&Refusal>) {
        let (t, n) = (self.clocks.t, caller.profile);
        if !self.is_served(n) {
            return;
        }
        let text = refusal.map_or_else(|| "no answer in time".to_owned(), |r| r.failure.line());
        let key = self.estate.profiles[n].key;
        if refusal.is_some_and(|r| r.failure.class == FailureClass::NeedsLogin) {
            self.stats.needs_login += 1;
            if !self.may_need_login(self.estate.keys[key].session) {
                let session = self.estate.keys[key].session;
                let file = &self.stores[session];
                let problem = format!("profile {n} (session {session}, {file:?}) needs a login for no reason: {text}");
                return self.checks.fail(problem);
            }
        }
        if let Some(serial) = self.checks.held[key].filter(|_| !caller.is_renewal()) {
            let held = self.checks.issued[serial as usize - 1];
            if held.ends - t > CLOCK_SLACK && held.at > self.checks.clock_troubled_at {
                return self.checks.fail(format!("a key with {} ms is withheld: {text}", held.ends - t));
            }
        }
        let age = self.path_age(n);
        // Not even by hand is a throttle cut short, our own choice of its length neither.
        let throttled = refusal.is_some_and(|r| r.failure.class == FailureClass::Throttled);
        let site = self.estate.sessions[self.estate.keys[key].session].site;
        if caller.is_renewal() && throttled && t - self.sites[site].throttled_at < 5 * MINUTE {
            return;
        }
        // A renewal by hand ends with the first attempt that was made for it.
        let since = if caller.is_renewal() { caller.began } else { t };
        if age > 30_000 && !self.has_just_failed(key, since) {
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
                None => token.ends <= t + CLOCK_SLACK || self.paths.is_refused(token.access, t),
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
