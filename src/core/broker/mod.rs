//! The broker: the only code that changes state. [`Broker::step`] takes the time and one event and returns the work to
//! do; [`Broker::next_wake`] says when to come back. It is a router: what an event means stands in the files below.
//!
//! | file | what it does |
//! |---|---|
//! | `demand` | requests come in and are parked |
//! | `settle` | one entry is brought to rest: fetch or not, answer or not, when to look again |
//! | `outcome` | fetches and token files report back |
//! | `config` | worlds, profiles and settings change; entries come and go |
//! | `timing` | clock steps, resume, pause |
//! | `login` | a client asks for a login: whether one is needed, and to its end |
//! | `logout` | a client ends a session |
//! | `identity` | who a profile is |
//! | `report` | the snapshot for `status` and `why` |
//!
//! Everything is level-triggered: an event changes facts, then the entries that it touches are *settled*, which looks
//! at the facts alone. Settling twice does nothing more, so an event too many is harmless.

mod config;
mod demand;
mod identity;
mod login;
mod logout;
mod outcome;
mod report;
mod settle;
mod timing;

#[cfg(test)]
mod tests;

pub use identity::Identity;
pub use login::{LoginCall, ProbeCall, Verify};
pub use logout::{LogoutTarget, SignOut};
pub use settle::Course;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::classify::Verdict;
use super::credential::Credential;
use super::failure::Failure;
use super::login::{AttemptId, Ending, History, LoginDemand, LoginId, Notice, Shown};
use super::node::{FlightId, NodeId};
use super::nodes::Nodes;
use super::portal::{Portal, PortalKey, Service};
use super::server_clock::ServerClock;
use super::session::TokenFile;
use super::settings::Settings;
use super::source::{Link, SsoSession, World, WorldConfig};
use super::time::{Moment, Tick, Timestamp};
use super::waiters::{Answer, ProfileRef, WaiterId};

/// A request for credentials.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Who waits for the answer.
    pub waiter: WaiterId,
    /// What is asked for.
    pub profile: ProfileRef,
    /// Wanted life; zero for no wish.
    pub min_ttl: Duration,
    /// How long the request may be held before it is answered with [`Answer::InFlight`].
    pub wait: Duration,
    /// The client will not ask again: at the end of `wait` it takes what is valid, however little is left of it.
    pub last_ask: bool,
    /// The process that caches what it gets, where it named itself.
    pub consumer: Option<String>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passed. Also sent at least every 30 s while anything is kept.
    Tick,
    /// A client asks for credentials.
    Demand(Demand),
    /// A client asks for a renewal now.
    Refresh {
        /// Who waits for the answer.
        waiter: WaiterId,
        /// What to renew.
        profile: ProfileRef,
        /// How long the request may be held.
        wait: Duration,
        /// The tick of the first request, when this one asks again.
        since: Option<Tick>,
    },
    /// A client reports that AWS refused a key.
    Rejected {
        /// The profile that it was served for.
        profile: ProfileRef,
        /// The key.
        access_key_id: String,
    },
    /// The client behind this waiter is gone.
    Leave(WaiterId),
    /// A fetch ended. Each [`Action::Fetch`] is followed by exactly one.
    Fetched {
        /// The entry.
        node: NodeId,
        /// The fetch.
        flight: FlightId,
        /// How it ended.
        outcome: Outcome,
        /// The `Date` of AWS's answer, if AWS answered.
        server_date: Option<Timestamp>,
    },
    /// A token file was read, because of [`Action::ReadToken`] or because it changed.
    TokenRead {
        /// The session.
        node: NodeId,
        /// What was found.
        file: TokenFile,
    },
    /// The config files of a world were read.
    Config {
        /// The world.
        world: Arc<World>,
        /// What they say, or why they cannot be read: then the last good state stays.
        config: Result<WorldConfig, Failure>,
    },
    /// Nobody has asked for this world for a long time: everything about it is forgotten.
    Forget(Arc<World>),
    /// The user's own settings were read.
    Settings(Settings),
    /// Proxy, roots or routes are other than they were: what failed on the way is worth another try.
    NetworkChanged,
    /// A client asks for a login; [`Broker::login_view`] says how that stands.
    Login(LoginDemand),
    /// A client waits for somebody to log in to this profile's session.
    LoginAwaited(ProfileRef),
    /// The URL of a login that was begun is there.
    LoginShown(AttemptId, Shown),
    /// A login that was begun is over. Each [`Action::Login`] is followed by exactly one, unless it is abandoned.
    LoginEnded(AttemptId, Ending),
    /// A session's token was tried, because of [`Action::Verify`].
    Verified(LoginId, Result<(), Verdict>),
    /// Somebody looked at the way to AWS, because of [`Action::Probe`].
    Probed(ProbeCall, Result<(), Failure>),
    /// What earlier agents remembered of logins, by [`Action::RememberLogins`]'s keys; `None`: that cannot be read.
    Logins(Option<BTreeMap<String, History>>),
    /// A person wants logins to these sessions of [`Broker::sign_outs`] to be tried again.
    ResetLogins(Arc<World>, SsoSession),
    /// A session of [`Broker::sign_outs`] was signed out of.
    SignedOut {
        /// Its files.
        world: Arc<World>,
        /// The session.
        session: SsoSession,
        /// Just before its token file was removed, by the local clock.
        at: Timestamp,
    },
    /// All renewing stops, for a time or until [`Event::Resume`].
    Pause(Option<Duration>),
    /// Renewing goes on.
    Resume,
}

/// How a fetch ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The credential is there.
    Got {
        /// The credential.
        credential: Credential,
        /// Whether AWS issued it just now; otherwise another tool had renewed it, and its age is not known.
        issued_now: bool,
    },
    /// The token file is gone: somebody logged out meanwhile.
    LoggedOut,
    /// Without one: AWS, or somebody in its place, answered or was not reached.
    Failed(Verdict),
    /// Without one, and nobody was asked: the local files or locks were in the way, or a grant that AWS had refused.
    NotSent(Failure),
}

/// Work for the shell. Each is idempotent, names an entry, has a deadline and is never retried by the shell.
#[derive(Clone, Debug)]
pub enum Action {
    /// Read the token file of this session; answer with [`Event::TokenRead`].
    ReadToken {
        /// The session.
        node: NodeId,
        /// Its files and settings.
        link: Link,
        /// Its world.
        world: Arc<World>,
    },
    /// Fetch this entry's credential; answer with [`Event::Fetched`].
    Fetch(Box<Fetch>),
    /// Log in; report with [`Event::LoginShown`] and [`Event::LoginEnded`].
    Login(Box<LoginCall>),
    /// This login is not wanted any more.
    AbandonLogin(AttemptId),
    /// Try this token; answer with [`Event::Verified`].
    Verify(Verify),
    /// Look whether AWS is reached; answer with [`Event::Probed`].
    Probe(ProbeCall),
    /// Keep this for the next agent, under this key.
    RememberLogins(String, History),
    /// Tell a person, where that is wanted.
    Notify(Notice),
    /// Answer this waiter. Sent exactly once for each.
    Answer(WaiterId, Answer),
}

/// A fetch.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The entry.
    pub node: NodeId,
    /// The number to report back.
    pub flight: FlightId,
    /// What to fetch.
    pub link: Link,
    /// The world it belongs to.
    pub world: Arc<World>,
    /// The SSO session at the root of the chain.
    pub session: Option<SsoSession>,
    /// The upstream's credential.
    pub with: Option<Credential>,
    /// What the entry holds now (a session's token with its refresh grant).
    pub held: Option<Credential>,
    /// Why, for the log.
    pub why: &'static str,
}

#[derive(Clone, Debug, Default)]
struct WorldState {
    config: Option<WorldConfig>,
    /// Why the files cannot be read now.
    problem: Option<Failure>,
    /// The profiles that were asked for or are kept.
    routes: BTreeMap<String, NodeId>,
    /// Profiles that were asked for and have no usable source.
    asked_in_vain: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paused {
    No,
    Until(Tick),
    UntilResumed,
}

/// The state of everything. See the module's documentation.
#[derive(Debug)]
pub struct Broker {
    home: Arc<World>,
    settings: Settings,
    worlds: BTreeMap<Arc<World>, WorldState>,
    nodes: Nodes,
    index: BTreeMap<super::source::Chain, NodeId>,
    portals: BTreeMap<Option<PortalKey>, Portal>,
    /// Entries that hold or want something.
    active: BTreeSet<NodeId>,
    waiting_at: BTreeMap<WaiterId, NodeId>,
    schedule: BTreeSet<(Tick, NodeId)>,
    clock: ServerClock,
    paused: Paused,
    last: Option<Moment>,
    last_burst: Option<Tick>,
    /// A burst that came too soon after the last one, and whether the clock was stepped.
    owed_burst: Option<bool>,
    logins: login::Logins,
    revision: u64,
    /// When entries that are gone were last called for, while that matters for the pace.
    called_at: BTreeMap<super::source::Chain, Tick>,
    flights_made: u64,
    actions: Vec<Action>,
}

impl Broker {
    /// A broker that knows nothing yet. `home` is the daemon's own world, of which the settings speak.
    #[must_use]
    pub fn new(home: Arc<World>) -> Self {
        Self {
            home,
            settings: Settings::default(),
            worlds: BTreeMap::new(),
            nodes: Nodes::new(),
            index: BTreeMap::new(),
            portals: BTreeMap::new(),
            active: BTreeSet::new(),
            waiting_at: BTreeMap::new(),
            schedule: BTreeSet::new(),
            clock: ServerClock::default(),
            paused: Paused::No,
            last: None,
            last_burst: None,
            owed_burst: None,
            logins: login::Logins::default(),
            revision: 0,
            called_at: BTreeMap::new(),
            flights_made: 0,
            actions: Vec::new(),
        }
    }

    /// Takes in one event and returns what is to be done. The only way to change the broker.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Action> {
        self.notice_time(now);
        self.end_pause(now);
        self.catch_up_burst(now);
        match event {
            Event::Tick => self.tick(now),
            Event::Demand(demand) => self.demand(demand, now),
            Event::Refresh { waiter, profile, wait, since } => self.refresh(waiter, profile, wait, since, now),
            Event::Rejected { profile, access_key_id } => self.rejected(&profile, &access_key_id, now),
            Event::Leave(waiter) => self.leave(waiter),
            Event::Fetched { node, flight, outcome, server_date } => {
                self.observe_date(node, server_date, now);
                self.fetched(node, flight, outcome, now);
            }
            Event::TokenRead { node, file } => self.token_read(node, file, now),
            Event::Config { world, config } => self.config(&world, config, now),
            Event::Forget(world) => self.forget(&world),
            Event::Settings(settings) => self.apply_settings(settings, now),
            Event::NetworkChanged => self.network_changed(now),
            Event::Login(demand) => self.login(demand, now),
            Event::LoginAwaited(profile) => self.login_awaited(&profile),
            Event::LoginShown(attempt, shown) => self.login_shown(attempt, shown, now),
            Event::LoginEnded(attempt, ending) => self.login_ended(attempt, ending, now),
            Event::Verified(login, result) => self.verified(login, result, now),
            Event::Probed(call, result) => self.probed(call, result, now),
            Event::Logins(histories) => self.remember_logins(histories, now),
            Event::ResetLogins(world, session) => {
                self.reset_logins(&super::source::Chain::root(world, Link::SsoSession(session)));
            }
            Event::SignedOut { world, session, at } => self.signed_out(&world, &session, at, now),
            Event::Pause(span) => self.pause(span, now),
            Event::Resume => self.resume(now),
        }
        self.settle_logins(now);
        std::mem::take(&mut self.actions)
    }

    /// When the next [`Event::Tick`] is due at the latest; `None`: nothing is planned.
    #[must_use]
    pub fn next_wake(&self) -> Option<Tick> {
        let pause_end = match self.paused {
            Paused::Until(tick) => Some(tick),
            Paused::No | Paused::UntilResumed => None,
        };
        let burst = self.burst_due();
        self.schedule.first().map(|(tick, _)| *tick).into_iter().chain(pause_end).chain(burst).min()
    }

    /// Whether anything is held or wanted, so that both clocks must be looked at every 30 s.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// The time by AWS's clock, as well as it is known.
    #[must_use]
    pub fn server_now(&self, now: Moment) -> Timestamp {
        self.clock.now(now)
    }

    /// Grows with every change that a person would see in the snapshot.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The sessions whose token files are worth watching, with their worlds.
    pub fn sessions(&self) -> impl Iterator<Item = (NodeId, &Link, &Arc<World>)> {
        self.nodes.iter().filter(|(_, n)| n.session().is_some()).map(|(id, n)| (id, n.chain.link(), n.chain.world()))
    }

    fn changed(&mut self) {
        self.revision += 1;
    }

    fn portal_of(&mut self, id: NodeId) -> Option<&mut Portal> {
        let key = self.nodes.get(id)?.chain.session().map(PortalKey::from);
        Some(self.portals.entry(key).or_default())
    }

    fn service_of(&self, id: NodeId) -> Service {
        self.nodes.get(id).map_or(Service::Portal, |n| Service::from(n.chain.link()))
    }
}
