//! What must come about by itself: what is kept is renewed in time, and a key that AWS refuses is replaced.

use aws_credential_agent::core::time::Tick;

use super::{CLOCK_SLACK, Checks, HOUR, MINUTE};
use crate::simulator::callers::Caller;
use crate::simulator::estate::Estate;
use crate::simulator::flights::Target;
use crate::simulator::run::Sim;

/// The longest backoff, and time for the call.
const GRACE: i64 = 6 * MINUTE;

/// R at which a refresh starts at the latest.
fn latest(life: i64, role: bool) -> i64 {
    let most = match role {
        false => 20 * MINUTE,
        true if life < 89 * MINUTE => 25 * MINUTE,
        true => 70 * MINUTE,
    };
    most.min(life / 2)
}

impl Checks {
    pub(crate) fn key_asked(&mut self, key: usize, tick: Tick) {
        self.last_asked[key] = Some(tick);
    }
}

impl Estate {
    /// Whether this key is what is called for, or what it is fetched with.
    fn leads_to(&self, key: usize, target: Target) -> bool {
        match target {
            Target::Session(session) => self.keys[key].session == session,
            Target::Key(other) => self.lineage(key).contains(&other),
        }
    }
}

impl Sim {
    /// Whether anything may be a reason to renew this without anybody waiting for it.
    pub(super) fn may_be_kept(&self, target: Target) -> bool {
        let tick = self.clocks.tick();
        let recently = |key: usize| {
            // Before the first one came its life is not known.
            let known = self.checks.got[key].is_some() && self.checks.forgotten_at[key] == 0;
            let keeps = if known { HOUR.min(self.estate.keys[key].life) } else { HOUR };
            let asked = self.checks.last_asked[key].map(|at| tick.since(at).as_millis() as i64);
            asked.is_some_and(|ago| ago < keeps + CLOCK_SLACK)
        };
        let always = (0..self.estate.profiles.len()).filter(|n| self.is_named_in_keep(*n));
        // Some waited while the machine slept.
        let mut profiles = always.chain(self.callers.values().map(|c| c.profile));
        profiles.any(|n| self.estate.leads_to(self.estate.profiles[n].key, target))
            || (0..self.estate.keys.len()).any(|key| recently(key) && self.estate.leads_to(key, target))
    }

    fn is_named_in_keep(&self, profile: usize) -> bool {
        let plan = &self.estate.profiles[profile];
        plan.world == 0 && self.is_served(profile) && self.settings.keep.contains(&plan.name)
    }

    /// Whether the files have this profile and the settings allow it.
    pub(crate) fn is_served(&self, profile: usize) -> bool {
        let plan = &self.estate.profiles[profile];
        self.estate.has(profile) && !self.settings.refused.contains(&plan.name)
    }

    /// Whether there was every reason to keep it for so long.
    fn was_kept(&self, profile: usize, span: i64) -> bool {
        let (t, since) = (self.clocks.t, self.profile_changed_at(profile));
        if !self.is_served(profile) || t - since < span {
            return false;
        }
        let keeps = HOUR.min(self.estate.keys[self.estate.profiles[profile].key].life);
        let asked = (t - keeps * 9 / 10).max(since + 1)..t - span;
        self.is_named_in_keep(profile) || self.checks.asked[profile].iter().any(|at| asked.contains(at))
    }

    /// Everything that should have been renewed by now.
    pub(crate) fn check_kept(&mut self) {
        if self.clocks.t - self.checks.clock_troubled_at < 15 * MINUTE {
            return;
        }
        let kept: Vec<_> = (0..self.estate.profiles.len()).filter(|n| self.was_kept(*n, GRACE)).collect();
        for profile in &kept {
            self.check_key_kept(*profile);
        }
        for session in 0..self.stores.len() {
            if kept.iter().any(|n| self.estate.keys[self.estate.profiles[*n].key].session == session) {
                self.check_token_kept(session);
            }
        }
        self.check_owed();
    }

    fn check_key_kept(&mut self, profile: usize) {
        let (t, key) = (self.clocks.t, self.estate.profiles[profile].key);
        if self.path_age(profile) < GRACE {
            return;
        }
        let got = self.checks.got[key].map(|(serial, _)| self.checks.issued[serial as usize - 1]);
        let late = got.is_none_or(|got| t - (got.ends - latest(got.ends - got.at, true)) > GRACE);
        self.stats.kept_checked += 1;
        if late {
            self.checks.fail(format!("profile {profile} (role {key}) is kept and was not renewed in time: {got:?}"));
        }
    }

    fn check_token_kept(&mut self, session: usize) {
        let (t, Some(token)) = (self.clocks.t, self.stores[session].token) else { return };
        // A file that another tool puts back counts less than what the agent holds, if that ends later.
        let own = self.checks.own_token[session].filter(|(ends, _)| *ends + 1000 > token.ends);
        let (ends, received) = own.unwrap_or((token.ends, None));
        let window = received.map_or(20 * MINUTE, |at| latest(ends - at, false));
        let due = (ends - window).max(token.obtained).max(self.renewal_possible_since(session));
        if t - due > GRACE {
            self.checks.fail(format!("session {session} is kept and its token was not renewed in time: {token:?}"));
        }
    }

    /// A refused key is replaced, even if the first attempt fails.
    fn check_owed(&mut self) {
        let t = self.clocks.t;
        let checks = &mut self.checks;
        let (held, issued) = (&checks.held, &checks.issued);
        checks.owed.retain(|key, _| held[*key].is_some_and(|serial| issued[serial as usize - 1].ends > t));
        let owed = self.checks.owed.iter();
        let late = owed.filter(|(key, since)| t - **since > GRACE && self.key_path_age(**key) > GRACE);
        if let Some(key) = late.map(|(key, _)| *key).next() {
            self.checks.fail(format!("the refused key of role {key} was not replaced"));
        }
    }

    /// A client says that AWS refuses this key: one renewal, if none of that kind was tried lately.
    pub(crate) fn key_rejected(&mut self, profile: usize, serial: u32) {
        let (t, key) = (self.clocks.t, self.estate.profiles[profile].key);
        let held = self.is_served(profile) && self.checks.held[key] == Some(serial);
        // A machine that was frozen knows of less time.
        let first = self.checks.rejected_at[key].is_none_or(|at| t - at.max(self.checks.clock_troubled_at) > HOUR);
        self.checks.rejected_at[key] = Some(t);
        if held && first && self.checks.may_force(key, serial, t) {
            self.checks.owed.entry(key).or_insert(t);
        }
    }

    /// So it seems, if it asks for the key that it has.
    pub(crate) fn key_seems_rejected(&mut self, caller: &Caller) {
        let key = self.estate.profiles[caller.profile].key;
        if let (Some(consumer), Some(serial)) = (&caller.consumer, self.checks.held[key])
            && self.checks.consumed.get(&(key, consumer.clone())) == Some(&serial)
        {
            self.checks.rejected_at[key] = Some(self.clocks.t);
        }
    }
}
