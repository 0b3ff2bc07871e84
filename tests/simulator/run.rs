//! The loop: whatever is due next happens, the broker steps, its actions become new events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use aws_credential_agent::core::broker::{Action, Broker, Event};
use aws_credential_agent::core::node::NodeId;
use aws_credential_agent::core::settings::Settings;

use super::callers::Caller;
use super::chaos::Trouble;
use super::checks::Checks;
use super::clock::Clocks;
use super::estate::{Estate, HOUR, MINUTE};
use super::files::Store;
use super::flights::{Flight, Step};
use super::paths::Paths;
use super::upstream::{Health, Rotation, Site, Token};

/// What is due at some time.
#[derive(Debug)]
pub(crate) enum Due {
    Flight(u64, Step),
    ReadToken { node: NodeId, session: usize, tries: u8 },
    Watch(usize),
    Rescan,
    Ask(usize),
    Poll(u64),
    Leave(u64),
    Trouble(Trouble),
    Foreign(usize),
    ForeignWrite(usize, Token),
    Untear(usize),
    Person(usize),
    Status,
    Review,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) events: u64,
    pub(crate) ticks: u64,
    pub(crate) token_calls: u64,
    pub(crate) role_calls: u64,
    pub(crate) asked: u64,
    pub(crate) served: u64,
    pub(crate) errors: u64,
    pub(crate) timeouts: u64,
    pub(crate) needs_login: u64,
    pub(crate) rotations_by_others: u64,
    pub(crate) logins: u64,
    pub(crate) troubles: u64,
    pub(crate) checked_in_health: u64,
    pub(crate) kept_checked: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, o: &Self) {
        self.events += o.events;
        self.ticks += o.ticks;
        self.token_calls += o.token_calls;
        self.role_calls += o.role_calls;
        self.asked += o.asked;
        self.served += o.served;
        self.errors += o.errors;
        self.timeouts += o.timeouts;
        self.needs_login += o.needs_login;
        self.rotations_by_others += o.rotations_by_others;
        self.logins += o.logins;
        self.troubles += o.troubles;
        self.checked_in_health += o.checked_in_health;
        self.kept_checked += o.kept_checked;
    }
}

pub(crate) struct Sim {
    pub(crate) rng: fastrand::Rng,
    pub(crate) clocks: Clocks,
    pub(crate) broker: Broker,
    pub(crate) estate: Estate,
    pub(crate) settings: Settings,
    pub(crate) sites: Vec<Site>,
    /// The machine's own network; worse than what a site does.
    pub(crate) network: Health,
    pub(crate) stores: Vec<Store>,
    pub(crate) readers: Vec<BTreeSet<NodeId>>,
    pub(crate) flights: BTreeMap<u64, Flight>,
    pub(crate) callers: BTreeMap<u64, Caller>,
    pub(crate) waiters_made: u64,
    pub(crate) serials: u32,
    pub(crate) paused: bool,
    pub(crate) denied: BTreeMap<usize, (i64, u16)>,
    pub(crate) checks: Checks,
    pub(crate) paths: Paths,
    pub(crate) stats: Stats,
    queue: BTreeMap<(i64, u64), Due>,
    queued: u64,
    last_step: i64,
    trace: Option<VecDeque<String>>,
}

impl Sim {
    pub(crate) fn new(seed: u64, profiles: usize, trace: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let estate = Estate::new(&mut rng, profiles);
        let rotations = [Rotation::Grace, Rotation::SingleUse, Rotation::Family];
        let lives = [15 * MINUTE, HOUR, HOUR, 8 * HOUR];
        let sites = (1..=3)
            .map(|n| {
                let (rotation, life) = (rotations[rng.usize(..3)], lives[rng.usize(..4)]);
                Site::new(n, rotation, life, n != 3)
            })
            .collect();
        let (sessions, profiles, keys) = (estate.sessions.len(), estate.profiles.len(), estate.keys.len());
        Self {
            broker: Broker::new(Arc::clone(&estate.worlds[0])),
            clocks: Clocks::new(),
            settings: Settings::default(),
            sites,
            network: Health::Ok,
            stores: (0..sessions).map(|_| Store::default()).collect(),
            readers: vec![BTreeSet::new(); sessions],
            flights: BTreeMap::new(),
            callers: BTreeMap::new(),
            waiters_made: 0,
            serials: 0,
            paused: false,
            denied: BTreeMap::new(),
            checks: Checks::new(sessions, keys, profiles),
            paths: Paths::new(sessions, profiles),
            stats: Stats::default(),
            queue: BTreeMap::new(),
            queued: 0,
            last_step: 0,
            trace: trace.then(VecDeque::new),
            estate,
            rng,
        }
    }

    pub(crate) fn run(mut self, hours: i64) -> Result<Stats, String> {
        let end = self.clocks.t + hours * HOUR;
        self.begin();
        while self.clocks.t < end && self.checks.problem.is_none() {
            let due = self.queue.first_key_value().map_or(i64::MAX, |((t, _), _)| *t);
            let wake = self.wake_at();
            if wake <= due {
                self.clocks.t = self.clocks.t.max(wake);
                self.tick();
            } else if let Some((_, what)) = self.queue.pop_first() {
                self.clocks.t = self.clocks.t.max(due);
                self.happen(what, due);
            }
        }
        match self.checks.problem.take() {
            None => Ok(self.stats),
            Some(problem) => {
                let (s, ms) = ((self.clocks.t / 1000), self.clocks.t % 1000);
                let trace: String = self.trace.into_iter().flatten().map(|line| line + "\n").collect();
                Err(format!("{trace}at {s}.{ms:03} s: {problem}"))
            }
        }
    }

    fn begin(&mut self) {
        for session in 0..self.stores.len() {
            if self.rng.u8(..8) != 0 {
                self.log_in(session);
            }
            self.at_random(10 * MINUTE, Due::Foreign(session));
            self.at_random(20 * MINUTE, Due::Person(session));
        }
        for world in 0..self.estate.worlds.len() {
            self.tell_config(world);
        }
        for profile in 0..self.estate.profiles.len() {
            self.at_random(10 * MINUTE, Due::Ask(profile));
        }
        for trouble in Trouble::ALL {
            self.at_random(trouble.every(), Due::Trouble(trouble));
        }
        self.after(20_000, Due::Rescan);
        self.after(17 * MINUTE, Due::Status);
        self.after(MINUTE, Due::Review);
    }

    pub(crate) fn after(&mut self, ms: i64, what: Due) {
        self.queued += 1;
        self.queue.insert((self.clocks.t + ms, self.queued), what);
    }

    /// After a time with this mean.
    pub(crate) fn at_random(&mut self, mean: i64, what: Due) {
        let ms = -(1.0 - self.rng.f64()).ln() * mean as f64;
        self.after(ms as i64, what);
    }

    fn wake_at(&self) -> i64 {
        let planned = self.broker.next_wake().map_or(i64::MAX, |tick| self.clocks.of_tick(tick));
        if self.broker.is_active() { planned.min(self.last_step + 30_000) } else { planned }
    }

    fn tick(&mut self) {
        self.stats.ticks += 1;
        self.last_step = self.clocks.t;
        self.step(Event::Tick);
        let now = self.clocks.tick();
        self.checks.overdue(now);
        if let Some(next) = self.broker.next_wake()
            && next <= now
        {
            self.checks.fail(format!("after a tick at {now:?} the next wake is {next:?}"));
        }
    }

    pub(crate) fn step(&mut self, event: Event) {
        self.stats.events += 1;
        self.checks.pace(self.clocks.t);
        if self.trace.is_some() && !matches!(event, Event::Tick) {
            self.note(format!("    event {}", brief(&event)));
        }
        let moment = self.clocks.moment(self.rng.u64(..));
        for action in self.broker.step(moment, event) {
            self.perform(action);
        }
        self.checks.wakes_in_time(self.broker.next_wake());
    }

    fn perform(&mut self, action: Action) {
        if self.trace.is_some() {
            self.note(match &action {
                Action::Fetch(f) => format!("    -> fetch {:?} {:?} {}: {}", f.node, f.flight, f.link, f.why),
                Action::Answer(w, a) => format!("    -> answer {w:?} {a:?}"),
                Action::ReadToken { node, link, .. } => format!("    -> read {node:?} {link}"),
                other => format!("    -> {other:?}"),
            });
        }
        match action {
            Action::ReadToken { node, link, world } => {
                let session = self.estate.by_session[&(world, link)];
                self.readers[session].insert(node);
                let ms = self.rng.i64(1..20);
                self.after(ms, Due::ReadToken { node, session, tries: 0 });
            }
            Action::Fetch(fetch) => self.take_off(&fetch),
            Action::Answer(waiter, answer) => self.answered(waiter, answer),
            other => panic!("nobody asked for a login: {other:?}"),
        }
    }

    fn happen(&mut self, what: Due, due: i64) {
        if self.trace.is_some() && !matches!(what, Due::Poll(_) | Due::Rescan | Due::Review) {
            self.note(format!("{what:?}"));
        }
        let late = self.clocks.t - due;
        match what {
            Due::Flight(flight, step) => self.fly(flight, step, late > 1500),
            Due::ReadToken { node, session, tries } => self.read_token(node, session, tries),
            Due::Watch(session) => self.watched(session),
            Due::Rescan => {
                (0..self.stores.len()).for_each(|s| self.watched(s));
                self.after(20_000, Due::Rescan);
            }
            Due::Ask(profile) => self.ask(profile),
            Due::Poll(caller) => self.poll(caller),
            Due::Leave(waiter) => self.leave(waiter),
            Due::Trouble(trouble) => self.trouble(trouble),
            Due::Foreign(session) => self.foreign(session),
            Due::ForeignWrite(session, token) => self.foreign_write(session, token),
            Due::Untear(session) => self.untear(session),
            Due::Person(session) => self.person(session),
            Due::Status => self.look_at_status(),
            Due::Review => {
                self.check_kept();
                self.after(MINUTE, Due::Review);
            }
        }
    }

    pub(crate) fn note(&mut self, line: String) {
        let t = self.clocks.t;
        if let Some(trace) = &mut self.trace {
            if trace.len() >= 12_000 {
                trace.pop_front();
            }
            trace.push_back(format!("{}.{:03} {line}", t / 1000, t % 1000));
        }
    }
}

fn brief(event: &Event) -> String {
    match event {
        Event::Config { world, config } => format!("Config {} {}", world.config_file.display(), config.is_ok()),
        Event::Demand(d) => format!("Demand {:?} {} {:?}", d.waiter, d.profile.name, d.min_ttl),
        Event::Fetched { node, flight, outcome, .. } => {
            let text = format!("{outcome:?}");
            format!("Fetched {node:?} {flight:?} {}", text.chars().take(200).collect::<String>())
        }
        other => format!("{other:?}"),
    }
}
