//! What one event costs the broker with 10, 100 and 1,000 profiles: `cargo bench --bench broker`.
//!
//! A mix of demands, ticks and fetch outcomes. The shell's own questions (`next_wake`, `is_active`) are part of an event;
//! `status` is asked for by people and is measured by itself. Meant to stay below three times the cost at 10.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_agent::core::broker::{Action, Broker, Demand, Event, Outcome};
use aws_credential_agent::core::classify::Verdict;
use aws_credential_agent::core::credential::{Credential, RefreshGrant, RoleCredentials, SsoToken};
use aws_credential_agent::core::failure::{Failure, FailureClass};
use aws_credential_agent::core::node::NodeId;
use aws_credential_agent::core::session::TokenFile;
use aws_credential_agent::core::source::{Chain, Endpoints, Link, Profile, SsoSession, World, WorldConfig};
use aws_credential_agent::core::time::{Moment, Tick, Timestamp};
use aws_credential_agent::core::waiters::{ProfileRef, WaiterId};

/// Profiles that live on one session.
const PER_SESSION: usize = 1000;
/// Demands that are measured.
const DEMANDS: u64 = 200_000;

/// Whether the way to AWS works.
#[derive(Clone, Copy, PartialEq)]
enum Weather {
    Fair,
    /// Every tenth fetch fails.
    Mixed,
    /// All role fetches fail, while sessions are renewed.
    Portal,
    /// All fail.
    Outage,
}

struct Load {
    broker: Broker,
    world: Arc<World>,
    names: Vec<String>,
    now: Moment,
    rng: fastrand::Rng,
    weather: Weather,
    events: u64,
    waiters: u64,
    todo: Vec<Event>,
}

impl Load {
    fn new(profiles: usize, weather: Weather) -> Self {
        let world = Arc::new(World::default());
        let mut load = Self {
            broker: Broker::new(Arc::clone(&world)),
            names: (0..profiles).map(|n| format!("profile-{n}")).collect(),
            now: Moment { wall: Timestamp::from_secs(1_800_000_000), tick: Tick::from_millis(1_000_000), draw: 0 },
            rng: fastrand::Rng::with_seed(7),
            weather: Weather::Fair,
            events: 0,
            waiters: 0,
            todo: Vec::new(),
            world,
        };
        let profiles = load.names.iter().enumerate().map(|(n, name)| {
            let session = SsoSession {
                name: Some(format!("session-{}", n / PER_SESSION)),
                start_url: format!("https://site{}.awsapps.com/start", n / PER_SESSION),
                region: "eu-west-1".into(),
                scopes: Vec::new(),
                endpoints: Endpoints::default(),
            };
            let role = Link::SsoRole { account_id: "111122223333".into(), role_name: format!("role-{n}") };
            let chain = Chain::root(Arc::clone(&load.world), Link::SsoSession(session)).then(role);
            (name.clone(), Profile { source: Ok(chain), region: None, ca_bundle: None })
        });
        let config = WorldConfig { profiles: profiles.collect(), findings: Vec::new(), sessions: Vec::new() };
        load.step(Event::Config { world: Arc::clone(&load.world), config: Ok(config) });
        // Warm: everybody has asked and been served once.
        for n in 0..load.names.len() {
            load.demand(n);
        }
        load.pass(600_000);
        load.weather = weather;
        load
    }

    fn step(&mut self, event: Event) {
        self.events += 1;
        self.now.draw = self.rng.u64(..);
        for action in self.broker.step(self.now, event) {
            match action {
                Action::ReadToken { node, .. } => {
                    let file = TokenFile::Present(self.token());
                    self.todo.push(Event::TokenRead { node, file });
                }
                Action::Fetch(fetch) => {
                    let outcome = self.outcome(fetch.node, matches!(fetch.link, Link::SsoSession(_)));
                    let server_date = Some(self.now.wall);
                    self.todo.push(Event::Fetched { node: fetch.node, flight: fetch.flight, outcome, server_date });
                }
                Action::Answer(..)
                | Action::Login(_)
                | Action::AbandonLogin(_)
                | Action::Verify(_)
                | Action::Probe(_)
                | Action::RememberLogins(..)
                | Action::Notify(_) => {}
            }
        }
        std::hint::black_box((self.broker.next_wake(), self.broker.is_active()));
    }

    fn token(&self) -> Arc<SsoToken> {
        Arc::new(SsoToken {
            access_token: "a".into(),
            expires_at: self.now.wall.plus(Duration::from_secs(3600)),
            refresh: Some(RefreshGrant {
                refresh_token: "r".into(),
                client_id: "c".into(),
                client_secret: "s".into(),
                registration_expires_at: None,
            }),
            client_id: None,
            obtained_at: self.now.wall,
        })
    }

    fn outcome(&mut self, node: NodeId, session: bool) -> Outcome {
        let fails = match self.weather {
            Weather::Fair => false,
            Weather::Mixed => self.rng.u8(..10) == 0,
            Weather::Portal => !session,
            Weather::Outage => true,
        };
        if fails {
            let failure = Failure::new(FailureClass::Transient, format!("planned for {node:?}"), "");
            return Outcome::Failed(Verdict::Failed { failure, retry_after: None });
        }
        let credential = if session {
            Credential::Token(self.token())
        } else {
            Credential::Role(Arc::new(RoleCredentials {
                access_key_id: "ASIA".into(),
                secret_access_key: "k".into(),
                session_token: "t".into(),
                expires_at: self.now.wall.plus(Duration::from_secs(3600)),
            }))
        };
        Outcome::Got { credential, issued_now: true }
    }

    fn demand(&mut self, n: usize) {
        self.waiters += 1;
        let profile = ProfileRef { world: Arc::clone(&self.world), name: self.names[n].clone() };
        let (waiter, wait) = (WaiterId(self.waiters), Duration::from_millis(1500));
        self.step(Event::Demand(Demand {
            waiter,
            profile,
            min_ttl: Duration::ZERO,
            wait,
            last_ask: false,
            consumer: None,
        }));
        while let Some(event) = self.todo.pop() {
            self.step(event);
        }
    }

    /// Time passes with the ticks that the broker asks for.
    fn pass(&mut self, ms: u64) {
        let end = Tick::from_millis(self.now.tick.as_millis() + ms);
        while self.now.tick < end {
            let next = self.broker.next_wake().unwrap_or(end).min(end);
            let next = next.min(self.now.tick.plus(Duration::from_secs(30)));
            self.now.wall = self.now.wall.plus(next.since(self.now.tick));
            self.now.tick = next.max(self.now.tick);
            self.step(Event::Tick);
            while let Some(event) = self.todo.pop() {
                self.step(event);
            }
        }
    }
}

/// Nanoseconds per event and per status, and how many events there were.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn measure(profiles: usize, weather: Weather) -> (f64, f64, u64) {
    let mut load = Load::new(profiles, weather);
    let (before, start) = (load.events, Instant::now());
    for _ in 0..DEMANDS {
        let n = load.rng.usize(..profiles);
        load.demand(n);
        // Everybody asks every ten minutes, however many they are.
        load.pass(600_000 / profiles as u64);
    }
    let (events, spent) = (load.events - before, start.elapsed());
    let start = Instant::now();
    for _ in 0..20 {
        std::hint::black_box(load.broker.status(load.now));
    }
    (spent.as_nanos() as f64 / events as f64, start.elapsed().as_nanos() as f64 / 20.0, events)
}

#[expect(clippy::print_stdout, reason = "its figures are what it is for")]
fn main() {
    let weathers =
        [("fair", Weather::Fair), ("mixed", Weather::Mixed), ("portal", Weather::Portal), ("outage", Weather::Outage)];
    for (name, weather) in weathers {
        let mut base = None;
        for profiles in [10, 100, 1000] {
            let (ns, status, events) = measure(profiles, weather);
            let ratio = ns / *base.get_or_insert(ns);
            println!(
                "{name:>7} {profiles:>5} profiles: {ns:>7.0} ns/event ({ratio:.2} x of 10), {events} events, status {:.1} us",
                status / 1000.0
            );
        }
    }
}
