//! What there is: two worlds with the same profile names, sessions, roles, and what the config files say about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_credential_agent::core::source::{Chain, Endpoints, Link, Profile, SsoSession, World, WorldConfig};
use aws_credential_agent::core::waiters::ProfileRef;

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// A session as a config file names it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) world: usize,
    pub(crate) site: usize,
    pub(crate) link: SsoSession,
}

/// What is kept: a role of a session, or a role assumed with another one.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) session: usize,
    pub(crate) link: Link,
    pub(crate) up: Option<usize>,
    pub(crate) life: i64,
}

#[derive(Debug)]
pub(crate) struct ProfilePlan {
    pub(crate) world: usize,
    pub(crate) name: String,
    /// What it means now, and what an edit of the config file makes it mean.
    pub(crate) key: usize,
    pub(crate) other: usize,
    pub(crate) removed: bool,
}

#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) worlds: Vec<Arc<World>>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) keys: Vec<Key>,
    pub(crate) profiles: Vec<ProfilePlan>,
    pub(crate) by_link: BTreeMap<Link, usize>,
    pub(crate) by_session: BTreeMap<(Arc<World>, Link), usize>,
    /// The world whose config file is being written: it is read as empty.
    pub(crate) blank: Option<usize>,
}

/// World and site of each session. World 1 is not the daemon's own.
const SESSIONS: [(usize, usize, &str); 6] =
    [(0, 0, "corp"), (0, 1, "lab"), (0, 2, "old"), (1, 0, "corp"), (1, 1, "lab"), (1, 0, "two")];

impl Estate {
    pub(crate) fn new(rng: &mut fastrand::Rng, profiles: usize) -> Self {
        let worlds: Vec<_> = ["home", "other"].map(world).into();
        let sessions: Vec<_> = SESSIONS
            .iter()
            .map(|(world, site, name)| Session { world: *world, site: *site, link: session(*site, name) })
            .collect();
        let mut estate = Self {
            worlds,
            sessions,
            keys: Vec::new(),
            profiles: Vec::new(),
            by_link: BTreeMap::new(),
            by_session: BTreeMap::new(),
            blank: None,
        };
        let numbers: BTreeMap<_, _> = estate
            .sessions
            .iter()
            .enumerate()
            .map(|(i, s)| ((Arc::clone(&estate.worlds[s.world]), Link::SsoSession(s.link.clone())), i))
            .collect();
        estate.by_session = numbers;
        for n in 0..profiles {
            estate.add_profile(n, rng);
        }
        estate
    }

    fn add_profile(&mut self, n: usize, rng: &mut fastrand::Rng) {
        let world = n % 2;
        let sessions: Vec<_> = (0..self.sessions.len()).filter(|s| self.sessions[*s].world == world).collect();
        let session = sessions[rng.usize(..sessions.len())];
        // Some profiles share their role with another one of the same session.
        let shared = (0..self.keys.len()).find(|k| self.keys[*k].session == session).filter(|_| rng.u8(..10) == 0);
        let mut key = shared.unwrap_or_else(|| self.add_key(session, None, rng));
        for _ in 0..[0, 0, 0, 0, 0, 0, 0, 0, 1, 2][rng.usize(..10)] {
            key = self.add_key(session, Some(key), rng);
        }
        let other = self.add_key(session, None, rng);
        self.profiles.push(ProfilePlan { world, name: format!("p{}", n / 2), key, other, removed: false });
    }

    fn add_key(&mut self, session: usize, up: Option<usize>, rng: &mut fastrand::Rng) -> usize {
        let number = self.keys.len();
        let link = match up {
            None => Link::SsoRole { account_id: format!("{session:012}"), role_name: format!("R{number}") },
            Some(_) => Link::AssumedRole { role_arn: format!("arn:aws:iam::{session:012}:role/A{number}") },
        };
        let life = [15 * MINUTE, HOUR, HOUR, HOUR, 2 * HOUR, 12 * HOUR][rng.usize(..6)];
        self.by_link.insert(link.clone(), number);
        self.keys.push(Key { session, link, up, life });
        number
    }

    pub(crate) fn chain(&self, key: usize) -> Chain {
        let k = &self.keys[key];
        match k.up {
            Some(up) => self.chain(up).then(k.link.clone()),
            None => {
                let s = &self.sessions[k.session];
                Chain::root(Arc::clone(&self.worlds[s.world]), Link::SsoSession(s.link.clone())).then(k.link.clone())
            }
        }
    }

    /// The keys from the portal's role to this one.
    pub(crate) fn lineage(&self, key: usize) -> Vec<usize> {
        let mut all = vec![key];
        while let Some(up) = self.keys[all[all.len() - 1]].up {
            all.push(up);
        }
        all
    }

    /// Whether the config files, as they are now, have this profile.
    pub(crate) fn has(&self, profile: usize) -> bool {
        let plan = &self.profiles[profile];
        !plan.removed && self.blank != Some(plan.world)
    }

    pub(crate) fn config(&self, world: usize) -> WorldConfig {
        let there = (0..self.profiles.len()).filter(|n| self.profiles[*n].world == world && self.has(*n));
        let profile = |plan: &ProfilePlan| Profile { source: Ok(self.chain(plan.key)), region: None, ca_bundle: None };
        let profiles = there.map(|n| &self.profiles[n]).map(|plan| (plan.name.clone(), profile(plan))).collect();
        WorldConfig { profiles, findings: Vec::new(), sessions: Vec::new() }
    }

    pub(crate) fn reference(&self, profile: usize) -> ProfileRef {
        let p = &self.profiles[profile];
        ProfileRef { world: Arc::clone(&self.worlds[p.world]), name: p.name.clone() }
    }
}

pub(crate) fn world(name: &str) -> Arc<World> {
    Arc::new(World {
        config_file: format!("/{name}/config").into(),
        credentials_file: format!("/{name}/credentials").into(),
        sso_cache: format!("/{name}/cache").into(),
    })
}

pub(crate) fn session(site: usize, name: &str) -> SsoSession {
    SsoSession {
        name: Some(name.to_owned()),
        start_url: format!("https://site{site}.awsapps.com/start"),
        region: "eu-west-1".to_owned(),
        scopes: Vec::new(),
        endpoints: Endpoints::default(),
    }
}
