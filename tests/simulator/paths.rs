//! Since when a way to fresh credentials exists: what errors are measured against.

use std::collections::{BTreeMap, BTreeSet};

use super::estate::MINUTE;
use super::flights::{Flight, Purpose, Target};
use super::run::Sim;
use super::upstream::Health;

/// After one failure the next attempt comes within this.
const FIRST_BACKOFF: i64 = 2000;
/// On another network refused tokens are tried again: within a burst, which may be owed for so long.
const NEXT_BURST: i64 = 33_000;

/// The last time at which there was no path, for each session and each profile's own settings.
#[derive(Debug)]
pub(crate) struct Paths {
    session_bad_at: Vec<i64>,
    /// The last time at which a session's token could not have been renewed.
    renewal_bad_at: Vec<i64>,
    profile_bad_at: Vec<i64>,
    /// Access tokens that were refused in a way that only a renewal gets over, and until when.
    refused_access: BTreeMap<u32, i64>,
    /// Access tokens that fetched a role, and those that came in place of a refused one.
    accepted: BTreeSet<u32>,
    replacements: BTreeSet<u32>,
    /// Whose last call failed; and who had one fail when all was well.
    failing: BTreeSet<Target>,
    blips: BTreeMap<Target, i64>,
}

impl Paths {
    pub(crate) fn new(sessions: usize, profiles: usize) -> Self {
        Self {
            session_bad_at: vec![0; sessions],
            renewal_bad_at: vec![0; sessions],
            profile_bad_at: vec![0; profiles],
            refused_access: BTreeMap::new(),
            accepted: BTreeSet::new(),
            replacements: BTreeSet::new(),
            failing: BTreeSet::new(),
            blips: BTreeMap::new(),
        }
    }

    /// The machine was frozen: what it was told to wait lasts that much longer.
    pub(crate) fn wait_longer(&mut self, ms: i64) {
        self.session_bad_at.iter_mut().for_each(|at| *at += ms);
    }

    pub(crate) fn is_refused(&self, access: u32, t: i64) -> bool {
        self.refused_access.get(&access).is_some_and(|until| t < *until)
    }

    /// The agent renewed a token. One that is refused like its predecessor is no worse than that.
    pub(crate) fn replaced(&mut self, old: u32, new: u32) {
        if self.refused_access.contains_key(&old) {
            self.replacements.insert(new);
        }
    }
}

impl Sim {
    /// The way to a service of a site as this machine sees it.
    pub(crate) fn health(&self, site: usize, oidc: bool) -> Health {
        if self.network != Health::Ok {
            return self.network;
        }
        if oidc { self.sites[site].oidc } else { self.sites[site].portal }
    }

    fn has_path(&self, session: usize) -> bool {
        let (t, site) = (self.clocks.t, self.estate.sessions[session].site);
        if self.paused || self.health(site, false) != Health::Ok {
            return false;
        }
        let Some(token) = self.stores[session].token else { return false };
        // The file says whole seconds.
        let usable = self.sites[site].accepts(token.access, t + 1000) && !self.paths.is_refused(token.access, t);
        usable || self.can_renew(session)
    }

    fn can_renew(&self, session: usize) -> bool {
        let site = self.estate.sessions[session].site;
        let refresh = self.stores[session].token.and_then(|token| token.refresh);
        let live = refresh.is_some_and(|r| self.sites[site].is_live(r, self.clocks.t));
        live && !self.paused && self.health(site, true) == Health::Ok
    }

    /// Call before and after anything that may open or close a path. (That one closes by the passing of time alone is
    /// noticed with the next call, which is before it can open again.)
    pub(crate) fn note_paths(&mut self) {
        let t = self.clocks.t;
        for session in 0..self.stores.len() {
            if !self.has_path(session) {
                self.no_path_for_session(session, t);
            }
            if !self.can_renew(session) {
                self.paths.renewal_bad_at[session] = t;
            }
        }
    }

    /// The machine slept, a clock was stepped: nothing could be done before now.
    pub(crate) fn no_path_until_now(&mut self) {
        (0..self.stores.len()).for_each(|session| self.no_path_for_session(session, self.clocks.t));
    }

    /// Throttled on AWS's own words: no path before that time.
    pub(crate) fn no_path_until(&mut self, site: usize, t: i64) {
        for session in 0..self.stores.len() {
            if self.estate.sessions[session].site == site {
                self.no_path_for_session(session, t);
            }
        }
    }

    pub(crate) fn no_path_for_session(&mut self, session: usize, until: i64) {
        let bad_at = &mut self.paths.session_bad_at[session];
        *bad_at = until.max(*bad_at);
    }

    /// Since when this session's token could have been renewed at any time; now, if it cannot be.
    pub(crate) fn renewal_possible_since(&self, session: usize) -> i64 {
        if self.can_renew(session) { self.paths.renewal_bad_at[session] } else { self.clocks.t }
    }

    pub(crate) fn profile_changed_at(&self, profile: usize) -> i64 {
        self.paths.profile_bad_at[profile]
    }

    pub(crate) fn profile_changed(&mut self, profile: usize) {
        self.paths.profile_bad_at[profile] = self.clocks.t;
    }

    /// For how long a path to this profile's credentials has existed without a break; negative: it does not.
    pub(crate) fn path_age(&self, profile: usize) -> i64 {
        let of_profile = self.clocks.t - self.paths.profile_bad_at[profile];
        self.key_path_age(self.estate.profiles[profile].key).min(of_profile)
    }

    pub(crate) fn key_path_age(&self, key: usize) -> i64 {
        let session = self.estate.keys[key].session;
        if !self.has_path(session) {
            return -1;
        }
        // A denial is remembered for five minutes, a missing role for thirty seconds.
        let denied = self.estate.lineage(key).into_iter().filter_map(|k| self.denied.get(&k));
        let denied = denied.map(|(until, status)| until + if *status == 403 { 5 * MINUTE } else { MINUTE / 2 }).max();
        self.clocks.t - self.paths.session_bad_at[session].max(denied.unwrap_or(0))
    }
}

/// Refused tokens, and calls that fail although all is well.
impl Sim {
    /// The portal, or somebody in its place, answered 401. The agent goes on with a token that it takes to be good: one
    /// that is young or came in place of a refused one, and never worked. Any other needs a successor.
    pub(crate) fn access_refused(&mut self, session: usize, access: u32) {
        self.note_paths();
        let paths = &mut self.paths;
        let goes_on = self.stores[session].token.is_some_and(|token| {
            let young = self.clocks.t + self.clocks.wall_ahead - token.obtained < MINUTE - 1000;
            let good = young || paths.replacements.contains(&access);
            token.access == access
                && good
                && !paths.accepted.contains(&access)
                && !self.checks.grant_refused(token.refresh)
        });
        if !goes_on {
            paths.refused_access.insert(access, i64::MAX);
        }
        self.note_paths();
    }

    /// On another network refused tokens are tried once more, but those of sessions that AWS itself ended.
    pub(crate) fn doubt_refusals(&mut self) {
        let until = self.clocks.t + NEXT_BURST;
        for session in 0..self.stores.len() {
            let Some(token) = self.stores[session].token else { continue };
            if !self.checks.grant_refused(token.refresh)
                && let Some(refused) = self.paths.refused_access.get_mut(&token.access)
            {
                *refused = until;
                self.no_path_for_session(session, until);
            }
        }
    }

    /// One call in thirty-two fails once. Two failures in a row are an outage, and looked at as such.
    pub(crate) fn is_to_fail_once(&mut self, flight: &Flight) -> bool {
        let (t, site) = (self.clocks.t, &mut self.sites[flight.site]);
        let calm = site.works[usize::from(flight.purpose.service())] && t - site.blipped_at > MINUTE / 3;
        let fails = calm && !self.paths.failing.contains(&flight.purpose.target()) && self.rng.u8(..32) == 0;
        if fails {
            site.blipped_at = t;
        }
        fails
    }

    pub(crate) fn note_end(&mut self, flight: &Flight, well: bool) {
        let (t, target) = (self.clocks.t, flight.purpose.target());
        self.sites[flight.site].works[usize::from(flight.purpose.service())] = well;
        if well {
            self.paths.failing.remove(&target);
        } else {
            self.paths.failing.insert(target);
        }
        if !well && flight.blip {
            self.paths.blips.insert(target, t);
        }
        if let (true, Purpose::Role { access, .. }) = (well, flight.purpose) {
            self.paths.accepted.insert(access);
        }
    }

    /// Whether one of the calls that lead to this key failed since then for once, or so lately that the next attempt is
    /// yet to come.
    pub(crate) fn has_just_failed(&self, key: usize, since: i64) -> bool {
        let roles = self.estate.lineage(key).into_iter().map(Target::Key);
        let mut targets = roles.chain([Target::Session(self.estate.keys[key].session)]);
        targets.any(|target| self.paths.blips.get(&target).is_some_and(|at| *at + FIRST_BACKOFF >= since))
    }
}
