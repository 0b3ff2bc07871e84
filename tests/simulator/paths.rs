//! Since when a way to fresh credentials exists: what errors are measured against.

use super::estate::MINUTE;
use super::run::Sim;
use super::upstream::Health;

/// The last time at which there was no path, for each session and each profile's own settings.
#[derive(Debug)]
pub(crate) struct Paths {
    session_bad_at: Vec<i64>,
    profile_bad_at: Vec<i64>,
    /// 401s that AWS or a proxy gave for an access token: only a renewal gets over them.
    pub(crate) refused_access: std::collections::BTreeSet<u32>,
}

impl Paths {
    pub(crate) fn new(sessions: usize, profiles: usize) -> Self {
        Self {
            session_bad_at: vec![0; sessions],
            profile_bad_at: vec![0; profiles],
            refused_access: std::collections::BTreeSet::new(),
        }
    }
}

impl Paths {
    /// The machine was frozen: what it was told to wait lasts that much longer.
    pub(crate) fn wait_longer(&mut self, ms: i64) {
        self.session_bad_at.iter_mut().for_each(|at| *at += ms);
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
        let site = self.estate.sessions[session].site;
        if self.paused || self.health(site, false) != Health::Ok {
            return false;
        }
        let Some(token) = self.stores[session].token else { return false };
        let t = self.clocks.t;
        // The file says whole seconds.
        let usable =
            self.sites[site].accepts(token.access, t + 1000) && !self.paths.refused_access.contains(&token.access);
        let renewable =
            self.health(site, true) == Health::Ok && token.refresh.is_some_and(|r| self.sites[site].is_live(r, t));
        usable || renewable
    }

    /// Call before and after anything that may open or close a path. (That one closes by the passing of time alone is
    /// noticed with the next call, which is before it can open again.)
    pub(crate) fn note_paths(&mut self) {
        for session in 0..self.stores.len() {
            if !self.has_path(session) {
                self.paths.session_bad_at[session] = self.clocks.t.max(self.paths.session_bad_at[session]);
            }
        }
    }

    /// The machine slept, a clock was stepped: nothing could be done before now.
    pub(crate) fn no_path_until_now(&mut self) {
        let t = self.clocks.t;
        self.paths.session_bad_at.iter_mut().for_each(|at| *at = t.max(*at));
    }

    /// Throttled on AWS's own words: no path before that time.
    pub(crate) fn no_path_until(&mut self, site: usize, t: i64) {
        for (session, at) in self.paths.session_bad_at.iter_mut().enumerate() {
            if self.estate.sessions[session].site == site {
                *at = t.max(*at);
            }
        }
    }

    pub(crate) fn profile_changed_at(&self, profile: usize) -> i64 {
        self.paths.profile_bad_at[profile]
    }

    pub(crate) fn profile_changed(&mut self, profile: usize) {
        self.paths.profile_bad_at[profile] = self.clocks.t;
    }

    /// For how long a path to this profile's credentials has existed without a break; negative: it does not.
    pub(crate) fn path_age(&self, profile: usize) -> i64 {
        let key = self.estate.profiles[profile].key;
        let session = self.estate.keys[key].session;
        if !self.has_path(session) {
            return -1;
        }
        let bad = self.paths.session_bad_at[session].max(self.paths.profile_bad_at[profile]);
        // A denial is remembered for five minutes, a missing role for thirty seconds.
        let denied = self.estate.lineage(key).into_iter().filter_map(|k| self.denied.get(&k));
        let denied = denied.map(|(until, status)| until + if *status == 403 { 5 * MINUTE } else { MINUTE / 2 }).max();
        self.clocks.t - bad.max(denied.unwrap_or(0))
    }
}
