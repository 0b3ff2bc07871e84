//! A broker with a shell that does whatever the test says, and the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aws_credential_agent::core::broker::{Action, Broker, Demand, Event, Fetch, Outcome};
use aws_credential_agent::core::classify::Verdict;
use aws_credential_agent::core::credential::{Credential, RefreshGrant, RoleCredentials, SsoToken};
use aws_credential_agent::core::failure::{Failure, FailureClass};
use aws_credential_agent::core::node::{FlightId, NodeId};
use aws_credential_agent::core::session::TokenFile;
use aws_credential_agent::core::settings::Settings;
use aws_credential_agent::core::source::{Chain, Endpoints, Link, Profile, SsoSession, World, WorldConfig};
use aws_credential_agent::core::time::{Moment, Tick, Timestamp};
use aws_credential_agent::core::waiters::{Answer, ProfileRef, WaiterId};

/// How a fetch ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Got,
    Adopted,
    WrongKind,
    LoggedOut,
    TokenRefused,
    Failed(u8, Option<Duration>),
    NotSent(u8),
}

pub(crate) struct Bed {
    broker: Broker,
    now: Moment,
    worlds: [Arc<World>; 2],
    open: Vec<Fetch>,
    in_flight: BTreeSet<NodeId>,
    reads: Vec<NodeId>,
    waiting: BTreeMap<WaiterId, ProfileRef>,
    /// Those who wait, by when they must be answered.
    deadlines: BTreeSet<(Tick, WaiterId)>,
    last_key: String,
    made: u64,
    steps: usize,
    pub(crate) problem: Option<String>,
}

fn world(name: &str) -> Arc<World> {
    Arc::new(World { config_file: format!("/{name}").into(), ..World::default() })
}

fn planned(class: u8) -> Failure {
    Failure::new(FailureClass::ALL[usize::from(class)], "planned", "")
}

fn chain(world: &Arc<World>, session: u8, role: u8, depth: u8) -> Chain {
    let session = SsoSession {
        name: Some(format!("s{session}")),
        start_url: "https://x.awsapps.com/start".into(),
        region: "eu-west-1".into(),
        scopes: Vec::new(),
        endpoints: Endpoints::default(),
    };
    let role = Link::SsoRole { account_id: "1".into(), role_name: format!("r{role}") };
    let mut chain = Chain::root(Arc::clone(world), Link::SsoSession(session)).then(role);
    for level in 0..depth {
        chain = chain.then(Link::AssumedRole { role_arn: format!("a{level}") });
    }
    chain
}

impl Bed {
    pub(crate) fn new() -> Self {
        let worlds = [world("home"), world("guest")];
        let now = Moment { wall: Timestamp::from_secs(1_800_000_000), tick: Tick::from_millis(1_000_000), draw: 7 };
        let mut bed = Self {
            broker: Broker::new(Arc::clone(&worlds[0])),
            now,
            worlds,
            open: Vec::new(),
            in_flight: BTreeSet::new(),
            reads: Vec::new(),
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            last_key: String::new(),
            made: 0,
            steps: 0,
            problem: None,
        };
        bed.config(0, 0);
        bed
    }

    fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    fn step(&mut self, event: Event) {
        self.steps += 1;
        self.now.draw = self.now.draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        for action in self.broker.step(self.now, event) {
            match action {
                Action::ReadToken { node, .. } => self.reads.push(node),
                Action::Fetch(fetch) => {
                    if !self.in_flight.insert(fetch.node) {
                        self.fail(format!("a second fetch of {:?}", fetch.node));
                    }
                    self.open.push(*fetch);
                }
                Action::Answer(waiter, answer) => self.answered(waiter, &answer),
                Action::Login(_)
                | Action::AbandonLogin(_)
                | Action::Verify(_)
                | Action::Probe(_)
                | Action::RememberLogins(..)
                | Action::Notify(_) => {
                    self.fail("nobody asked for a login".to_owned());
                }
            }
        }
        let next = self.broker.next_wake();
        if let Some((deadline, waiter)) = self.deadlines.first()
            && next.is_none_or(|next| next > *deadline)
        {
            self.fail(format!("{waiter:?} is to be answered by {deadline:?}, the next wake is {next:?}"));
        }
    }

    fn answered(&mut self, waiter: WaiterId, answer: &Answer) {
        let Some(profile) = self.waiting.remove(&waiter) else {
            return self.fail(format!("{waiter:?} waits no longer and is answered"));
        };
        self.deadlines.retain(|(_, w)| *w != waiter);
        if let Answer::Credentials(c) = answer {
            self.last_key.clone_from(&c.access_key_id);
            if !c.access_key_id.starts_with(&profile.world.config_file.display().to_string()) {
                self.fail(format!("{} of {:?} got {}", profile.name, profile.world, c.access_key_id));
            }
            if c.expires_at <= self.broker.server_now(self.now) {
                self.fail(format!("{} got a key that has ended", profile.name));
            }
        }
    }

    pub(crate) fn tick(&mut self) {
        self.step(Event::Tick);
        if self.broker.next_wake().is_some_and(|at| at <= self.now.tick && self.now.tick.as_millis() < u64::MAX) {
            self.fail(format!("busy loop at {:?}: {:?}", self.now.tick, self.broker.next_wake()));
        }
        if let Some((deadline, waiter)) = self.deadlines.first()
            && *deadline <= self.now.tick
        {
            self.fail(format!("{waiter:?} was to be answered by {deadline:?} and it is {:?}", self.now.tick));
        }
    }

    pub(crate) fn pass(&mut self, wall_ms: i64, tick_ms: i64) {
        self.now.wall = self.now.wall.shifted(wall_ms);
        self.now.tick = Tick::from_millis(self.now.tick.as_millis().saturating_add_signed(tick_ms));
    }

    fn profile(&self, n: u8) -> ProfileRef {
        ProfileRef { world: Arc::clone(&self.worlds[usize::from(n / 8 % 2)]), name: format!("p{}", n % 8) }
    }

    fn waiter(&mut self, profile: &ProfileRef, wait: Duration) -> WaiterId {
        self.made += 1;
        self.waiting.insert(WaiterId(self.made), profile.clone());
        self.deadlines.insert((self.now.tick.plus(wait), WaiterId(self.made)));
        WaiterId(self.made)
    }

    pub(crate) fn demand(
        &mut self,
        profile: u8,
        min_ttl: Duration,
        wait: Duration,
        consumer: Option<u8>,
        last_ask: bool,
    ) {
        let profile = self.profile(profile);
        let waiter = self.waiter(&profile, wait);
        let consumer = consumer.map(|c| c.to_string());
        self.step(Event::Demand(Demand { waiter, profile, min_ttl, wait, last_ask, consumer }));
    }

    pub(crate) fn refresh(&mut self, profile: u8, wait: Duration, since: Option<u64>) {
        let profile = self.profile(profile);
        let waiter = self.waiter(&profile, wait);
        self.step(Event::Refresh { waiter, profile, wait, since: since.map(Tick::from_millis) });
    }

    pub(crate) fn rejected(&mut self, profile: u8, last: bool) {
        let access_key_id = if last { self.last_key.clone() } else { "nobody's".to_owned() };
        self.step(Event::Rejected { profile: self.profile(profile), access_key_id });
    }

    pub(crate) fn leave(&mut self, which: u8) {
        let waiter = WaiterId(self.made.saturating_sub(u64::from(which % 16)));
        self.deadlines.retain(|(_, w)| *w != waiter);
        self.step(Event::Leave(waiter));
        self.waiting.remove(&waiter);
    }

    pub(crate) fn finish(&mut self, which: u8, ending: Ending, life: i64, dated: bool) {
        if self.open.is_empty() {
            return;
        }
        let fetch = self.open.remove(usize::from(which) % self.open.len());
        self.in_flight.remove(&fetch.node);
        let session = matches!(fetch.link, Link::SsoSession(_));
        let outcome = self.outcome(ending, session, &fetch.world, life);
        let server_date = dated.then_some(self.now.wall);
        self.step(Event::Fetched { node: fetch.node, flight: fetch.flight, outcome, server_date });
    }

    pub(crate) fn nonsense(&mut self, node: u32, flight: u64, ending: Ending, life: i64) {
        let (node, flight) = (NodeId(node), FlightId(flight));
        if self.open.iter().any(|f| f.node == node && f.flight == flight) {
            return;
        }
        let world = Arc::clone(&self.worlds[0]);
        let outcome = self.outcome(ending, flight.0.is_multiple_of(2), &world, life);
        self.step(Event::Fetched { node, flight, outcome, server_date: None });
    }

    fn outcome(&mut self, ending: Ending, session: bool, world: &World, life: i64) -> Outcome {
        match ending {
            Ending::Got | Ending::Adopted | Ending::WrongKind => {
                let session = session != matches!(ending, Ending::WrongKind);
                let credential = if session { Credential::Token(self.token(0, life)) } else { self.role(world, life) };
                Outcome::Got { credential, issued_now: !matches!(ending, Ending::Adopted) }
            }
            Ending::LoggedOut => Outcome::LoggedOut,
            Ending::TokenRefused => Outcome::Failed(Verdict::TokenRefused),
            Ending::Failed(class, retry_after) => {
                Outcome::Failed(Verdict::Failed { failure: planned(class), retry_after })
            }
            Ending::NotSent(class) => Outcome::NotSent(planned(class)),
        }
    }

    fn role(&mut self, world: &World, life: i64) -> Credential {
        self.made += 1;
        Credential::Role(Arc::new(RoleCredentials {
            access_key_id: format!("{}-{}", world.config_file.display(), self.made),
            secret_access_key: "k".into(),
            session_token: "t".into(),
            expires_at: self.now.wall.shifted(life),
        }))
    }

    fn token(&mut self, kind: u8, life: i64) -> Arc<SsoToken> {
        self.made += 1;
        let grant = RefreshGrant {
            refresh_token: format!("r{}", self.made).as_str().into(),
            client_id: "c".into(),
            client_secret: "s".into(),
            registration_expires_at: (kind % 2 == 1).then(|| self.now.wall.shifted(life / 2)),
        };
        Arc::new(SsoToken {
            access_token: format!("a{}", self.made).as_str().into(),
            expires_at: self.now.wall.shifted(life),
            refresh: (kind < 4).then_some(grant),
            client_id: None,
            obtained_at: self.now.wall,
        })
    }

    fn file(&mut self, kind: u8, life: i64) -> TokenFile {
        match kind {
            6 => TokenFile::Absent,
            7 => TokenFile::Unusable(Failure::new(FailureClass::Transient, "torn", "")),
            kind => TokenFile::Present(self.token(kind, life)),
        }
    }

    pub(crate) fn read(&mut self, which: u8, kind: u8, life: i64) {
        if !self.reads.is_empty() {
            let node = self.reads.remove(usize::from(which) % self.reads.len());
            let file = self.file(kind, life);
            self.step(Event::TokenRead { node, file });
        }
    }

    pub(crate) fn read_nonsense(&mut self, node: u32, kind: u8, life: i64) {
        let file = self.file(kind, life);
        self.step(Event::TokenRead { node: NodeId(node), file });
    }

    /// Variant 0 is ordinary; others change roles, drop profiles, are empty or broken.
    pub(crate) fn config(&mut self, world: u8, variant: u8) {
        let world = Arc::clone(&self.worlds[usize::from(world)]);
        let profile = |n: u8| {
            let source = match (variant, n) {
                (3, 0..3) => Err(Failure::new(FailureClass::Misconfigured, "no", "")),
                (1, 0..4) => Ok(chain(&world, 1, n, n % 3)),
                _ => Ok(chain(&world, n % 2, n / 2, n % 3)),
            };
            (format!("p{n}"), Profile { source, region: None, ca_bundle: None })
        };
        let count = if variant == 2 { 3 } else { 7 };
        let config = match variant {
            4 => Ok(WorldConfig::default()),
            5 => Err(Failure::new(FailureClass::Misconfigured, "unreadable", "")),
            _ => Ok(WorldConfig {
                profiles: (0..count).map(profile).collect(),
                findings: Vec::new(),
                sessions: Vec::new(),
            }),
        };
        self.step(Event::Config { world: Arc::clone(&world), config });
    }

    pub(crate) fn settings(&mut self, keep: u8, refused: u8) {
        let some = |bits: u8| (0..8).filter(|n| bits & 1 << n != 0).map(|n| format!("p{n}")).collect();
        self.step(Event::Settings(Settings { keep: some(keep), refused: some(refused & keep), max_session_age: None }));
    }

    pub(crate) fn network_changed(&mut self) {
        self.step(Event::NetworkChanged);
    }

    pub(crate) fn pause(&mut self, span: Option<Duration>) {
        self.step(Event::Pause(span));
    }

    pub(crate) fn resume(&mut self) {
        self.step(Event::Resume);
    }

    /// At the end of time everyone has been answered.
    pub(crate) fn end(mut self) -> Result<usize, String> {
        let status = self.broker.status(self.now);
        serde_json::to_string(&status).map_err(|e| e.to_string())?;
        self.now.tick = Tick::from_millis(u64::MAX);
        self.step(Event::Tick);
        self.step(Event::Tick);
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if self.waiting.is_empty() { Ok(self.steps) } else { Err(format!("never answered: {:?}", self.waiting)) }
    }
}
