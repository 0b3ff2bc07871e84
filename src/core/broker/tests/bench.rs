//! The bench that a broker is tested on: time passes when the test says so, and fetches end as the test says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::core::broker::{Action, Broker, Demand, Event, Fetch, LoginCall, Outcome, ProbeCall, Verify};
use crate::core::classify::Verdict;
use crate::core::credential::{Credential, RefreshGrant, RoleCredentials, SsoToken};
use crate::core::failure::{Failure, FailureClass};
use crate::core::login::{History, Notice};
use crate::core::node::NodeId;
use crate::core::session::TokenFile;
use crate::core::settings::Settings;
use crate::core::source::{Chain, Link, Profile, SsoSession, World, WorldConfig};
use crate::core::status::{ProfileStatus, SessionStatus, Status};
use crate::core::time::{Moment, Tick, Timestamp};
use crate::core::waiters::{Answer, ProfileRef, WaiterId};

pub(super) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// How long the bench lets a request be held.
pub(super) const HELD: Duration = Duration::from_millis(1500);

pub(super) struct Bench {
    pub(super) broker: Broker,
    pub(super) now: Moment,
    /// Fetches that have not ended.
    pub(super) open: Vec<Fetch>,
    /// Token files that are to be read.
    pub(super) reads: Vec<NodeId>,
    pub(super) answers: BTreeMap<WaiterId, Vec<Answer>>,
    pub(super) started: usize,
    pub(super) home: Arc<World>,
    /// Logins that have not ended.
    pub(super) logins: Vec<LoginCall>,
    /// Tokens that are to be tried.
    pub(super) verifications: Vec<Verify>,
    pub(super) probes: Vec<ProbeCall>,
    pub(super) notices: Vec<Notice>,
    /// What the next agent will know.
    pub(super) remembered: BTreeMap<String, History>,
    waiters: u64,
    serial: u32,
}

pub(super) fn world(name: &str) -> Arc<World> {
    Arc::new(World { config_file: format!("/{name}/config").into(), ..World::default() })
}

pub(super) fn corp() -> SsoSession {
    SsoSession {
        name: Some("corp".into()),
        start_url: "https://corp.awsapps.com/start".into(),
        region: "eu-west-1".into(),
        scopes: Vec::new(),
        endpoints: Default::default(),
    }
}

pub(super) fn chain(world: &Arc<World>, role: &str) -> Chain {
    let link = Link::SsoRole { account_id: "111122223333".into(), role_name: role.into() };
    Chain::root(Arc::clone(world), Link::SsoSession(corp())).then(link)
}

pub(super) fn assumed(chain: Chain, name: &str) -> Chain {
    chain.then(Link::AssumedRole { role_arn: format!("arn:aws:iam::111122223333:role/{name}") })
}

pub(super) fn config(profiles: impl IntoIterator<Item = (String, Chain)>) -> WorldConfig {
    let profiles =
        profiles.into_iter().map(|(name, c)| (name, Profile { source: Ok(c), region: None, ca_bundle: None }));
    WorldConfig { profiles: profiles.collect(), findings: Vec::new(), sessions: Vec::new() }
}

pub(super) fn failure(class: FailureClass) -> Failure {
    Failure::new(class, format!("planned {class}"), "")
}

impl Bench {
    /// One world with the profiles `dev` and `r0` to `r19`, each a role of its own in session `corp`.
    pub(super) fn new() -> Self {
        let home = world("home");
        let names = (0..20).map(|n| format!("r{n}")).chain(["dev".to_owned()]);
        let profiles: Vec<_> = names.map(|n| (n.clone(), chain(&home, &n))).collect();
        let mut bench = Self::bare();
        bench.configure(config(profiles));
        bench
    }

    /// The same, with the session's token read: eight hours of life, renewable.
    pub(super) fn logged_in() -> Self {
        Self::with_token(minutes(480))
    }

    pub(super) fn with_token(left: Duration) -> Self {
        let mut bench = Self::new();
        let token = bench.token("first", left);
        bench.load(TokenFile::Present(token));
        bench
    }

    /// Makes the session read its token file, and leaves nothing kept.
    pub(super) fn load(&mut self, file: TokenFile) {
        self.keep(&["r19"]);
        self.read(file);
        if self.open.iter().any(|f| matches!(f.link, Link::SsoRole { .. })) {
            let fetch = self.role_fetch("r19");
            self.fail(&fetch, FailureClass::AccessDenied);
        }
        self.keep(&[]);
        self.advance(seconds(3));
    }

    /// A broker that knows no config yet.
    pub(super) fn bare() -> Self {
        let home = world("home");
        let now = Moment { wall: Timestamp::from_secs(1_800_000_000), tick: Tick::from_millis(1_000_000), draw: 1 };
        Self {
            broker: Broker::new(Arc::clone(&home)),
            now,
            open: Vec::new(),
            reads: Vec::new(),
            answers: BTreeMap::new(),
            started: 0,
            home,
            logins: Vec::new(),
            verifications: Vec::new(),
            probes: Vec::new(),
            notices: Vec::new(),
            remembered: BTreeMap::new(),
            waiters: 0,
            serial: 0,
        }
    }

    pub(super) fn configure(&mut self, config: WorldConfig) {
        let world = Arc::clone(&self.home);
        self.step(Event::Config { world, config: Ok(config) });
    }

    pub(super) fn keep(&mut self, names: &[&str]) {
        let keep = names.iter().map(|n| (*n).to_owned()).collect();
        self.step(Event::Settings(Settings { keep, ..Settings::default() }));
    }

    pub(super) fn step(&mut self, event: Event) {
        self.now.draw = self.now.draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        for action in self.broker.step(self.now, event) {
            match action {
                Action::ReadToken { node, .. } => self.reads.push(node),
                Action::Fetch(fetch) => {
                    assert!(self.open.iter().all(|f| f.node != fetch.node), "two fetches of {}", fetch.link);
                    self.started += 1;
                    self.open.push(*fetch);
                }
                Action::Answer(waiter, answer) => self.answers.entry(waiter).or_default().push(answer),
                Action::Login(call) => self.logins.push(*call),
                Action::AbandonLogin(attempt) => self.logins.retain(|call| call.attempt != attempt),
                Action::Verify(verify) => self.verifications.push(verify),
                Action::Probe(call) => self.probes.push(call),
                Action::Notify(notice) => self.notices.push(notice),
                Action::RememberLogins(key, history) => drop(self.remembered.insert(key, history)),
            }
        }
    }

    /// Time passes; the broker is woken as it asked, and every 30 s.
    pub(super) fn advance(&mut self, span: Duration) {
        let end = self.now.tick.plus(span);
        let mut wakes = 0;
        while self.now.tick < end {
            let next = self.broker.next_wake().unwrap_or(end).max(self.now.tick);
            let next = next.min(end).min(self.now.tick.plus(seconds(30)));
            self.pass(next.since(self.now.tick));
            self.step(Event::Tick);
            wakes += 1;
            assert!(wakes < 100_000, "busy loop");
        }
    }

    /// Time passes and nobody looks.
    pub(super) fn pass(&mut self, span: Duration) {
        self.now.wall = self.now.wall.plus(span);
        self.now.tick = self.now.tick.plus(span);
    }

    pub(super) fn profile(&self, name: &str) -> ProfileRef {
        ProfileRef { world: Arc::clone(&self.home), name: name.to_owned() }
    }

    pub(super) fn waiter(&mut self) -> WaiterId {
        self.waiters += 1;
        WaiterId(self.waiters)
    }

    pub(super) fn ask(&mut self, name: &str) -> WaiterId {
        self.ask_for(name, Duration::ZERO)
    }

    pub(super) fn ask_for(&mut self, name: &str, min_ttl: Duration) -> WaiterId {
        self.demand(self.profile(name), min_ttl, None)
    }

    pub(super) fn demand(&mut self, profile: ProfileRef, min_ttl: Duration, consumer: Option<&str>) -> WaiterId {
        let waiter = self.waiter();
        let consumer = consumer.map(str::to_owned);
        self.step(Event::Demand(Demand { waiter, profile, min_ttl, wait: HELD, last_ask: false, consumer }));
        waiter
    }

    pub(super) fn refresh(&mut self, name: &str) -> WaiterId {
        self.refresh_since(name, None)
    }

    pub(super) fn refresh_since(&mut self, name: &str, since: Option<Tick>) -> WaiterId {
        let (waiter, profile) = (self.waiter(), self.profile(name));
        self.step(Event::Refresh { waiter, profile, wait: HELD, since });
        waiter
    }

    /// The one answer to this waiter; `None` while it waits.
    pub(super) fn answer(&self, waiter: WaiterId) -> Option<&Answer> {
        let answers = self.answers.get(&waiter)?;
        assert_eq!(answers.len(), 1, "{waiter:?} was answered {answers:?}");
        answers.first()
    }

    /// The key that this waiter got.
    pub(super) fn key(&self, waiter: WaiterId) -> String {
        match self.answer(waiter) {
            Some(Answer::Credentials(c)) => c.access_key_id.clone(),
            other => panic!("no credentials: {other:?}"),
        }
    }

    /// The class that this waiter was refused with.
    pub(super) fn class(&self, waiter: WaiterId) -> FailureClass {
        self.refusal(waiter).class
    }

    pub(super) fn refusal(&self, waiter: WaiterId) -> Failure {
        match self.answer(waiter) {
            Some(Answer::Refused(refusal)) => refusal.failure.clone(),
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(super) fn token(&self, text: &str, left: Duration) -> Arc<SsoToken> {
        let grant = RefreshGrant {
            refresh_token: format!("SECRET-refresh-{text}").as_str().into(),
            client_id: "client".into(),
            client_secret: "SECRET-client".into(),
            registration_expires_at: Some(self.now.wall.plus(minutes(60 * 24 * 30))),
        };
        Arc::new(SsoToken {
            access_token: format!("SECRET-access-{text}").as_str().into(),
            expires_at: self.now.wall.plus(left),
            refresh: Some(grant),
            client_id: Some("client".into()),
            obtained_at: self.now.wall.minus(minutes(5)),
        })
    }

    /// A token that cannot be renewed.
    pub(super) fn plain_token(&self, text: &str, left: Duration) -> Arc<SsoToken> {
        Arc::new(SsoToken { refresh: None, ..(*self.token(text, left)).clone() })
    }

    /// Every token file that is to be read is found like this.
    pub(super) fn read(&mut self, file: TokenFile) {
        for node in std::mem::take(&mut self.reads) {
            self.step(Event::TokenRead { node, file: file.clone() });
        }
    }

    /// The session's token file is read because it changed.
    pub(super) fn file_changed(&mut self, file: TokenFile) {
        let nodes: Vec<_> = self.broker.sessions().map(|(id, ..)| id).collect();
        for node in nodes {
            self.step(Event::TokenRead { node, file: file.clone() });
        }
    }

    /// Takes out the open fetch of the session's token.
    pub(super) fn token_fetch(&mut self) -> Fetch {
        self.take("a token fetch", |f| matches!(f.link, Link::SsoSession(_)))
    }

    /// Takes out the open fetch of this role.
    pub(super) fn role_fetch(&mut self, role: &str) -> Fetch {
        self.take(role, |f| f.link.to_string().starts_with(&format!("role {role} ")))
    }

    /// Takes out the open fetch of this assumed role.
    pub(super) fn assumed_fetch(&mut self, name: &str) -> Fetch {
        self.take(name, |f| f.link.to_string().ends_with(&format!("role/{name}")))
    }

    fn take(&mut self, what: &str, wanted: impl Fn(&Fetch) -> bool) -> Fetch {
        let links: Vec<_> = self.open.iter().map(|f| f.link.to_string()).collect();
        let at = self.open.iter().position(wanted);
        self.open.remove(at.unwrap_or_else(|| panic!("no fetch of {what} is open: {links:?}")))
    }

    pub(super) fn end(&mut self, fetch: &Fetch, outcome: Outcome, dated: bool) {
        let server_date = dated.then_some(self.now.wall);
        self.step(Event::Fetched { node: fetch.node, flight: fetch.flight, outcome, server_date });
    }

    /// The fetch yields credentials; their key id.
    pub(super) fn give(&mut self, fetch: &Fetch, life: Duration) -> String {
        let role = self.credentials(life);
        let key = role.access_key_id.clone();
        self.end(fetch, Outcome::Got { credential: Credential::Role(role), issued_now: true }, true);
        key
    }

    pub(super) fn credentials(&mut self, life: Duration) -> Arc<RoleCredentials> {
        self.serial += 1;
        Arc::new(RoleCredentials {
            access_key_id: format!("ASIAKEY{:04}", self.serial),
            secret_access_key: "SECRET-key".into(),
            session_token: "SECRET-session".into(),
            expires_at: self.now.wall.plus(life),
        })
    }

    /// The fetch yields a token, issued now.
    pub(super) fn give_token(&mut self, fetch: &Fetch, text: &str, life: Duration) -> Arc<SsoToken> {
        let token = Arc::new(SsoToken { obtained_at: self.now.wall, ..(*self.token(text, life)).clone() });
        let credential = Credential::Token(Arc::clone(&token));
        self.end(fetch, Outcome::Got { credential, issued_now: true }, true);
        token
    }

    pub(super) fn fail(&mut self, fetch: &Fetch, class: FailureClass) {
        self.fail_after(fetch, class, None);
    }

    pub(super) fn fail_after(&mut self, fetch: &Fetch, class: FailureClass, retry_after: Option<Duration>) {
        let verdict = Verdict::Failed { failure: failure(class), retry_after };
        self.end(fetch, Outcome::Failed(verdict), false);
    }

    pub(super) fn fail_all(&mut self, class: FailureClass) {
        for fetch in std::mem::take(&mut self.open) {
            self.fail(&fetch, class);
        }
    }

    /// The portal refuses the token that this fetch used.
    pub(super) fn refuse_token(&mut self, fetch: &Fetch) {
        self.end(fetch, Outcome::Failed(Verdict::TokenRefused), true);
    }

    /// Asks, and lets the fetch succeed at once.
    pub(super) fn obtain(&mut self, name: &str, life: Duration) -> String {
        let waiter = self.ask(name);
        let fetch = self.role_fetch(name);
        let key = self.give(&fetch, life);
        assert_eq!(self.key(waiter), key);
        key
    }

    pub(super) fn status(&self) -> Status {
        self.broker.status(self.now)
    }

    pub(super) fn profile_status(&self, name: &str) -> ProfileStatus {
        let status = self.status();
        status.profiles.into_iter().find(|p| p.name == name).unwrap_or_else(|| panic!("no profile {name}"))
    }

    pub(super) fn session_status(&self) -> SessionStatus {
        self.status().sessions.into_iter().next().expect("a session")
    }
}
