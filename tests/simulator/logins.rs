//! Logins in virtual time: one session, one profile, and who asks for logins to it: hooks that loop, people at terminals.
//!
//! * A night with a looping hook and nobody there.
//! * A person who always answers, and somebody in between who breaks every login.
//! * Weeks of people for whom everything works: what is refused is counted by a book of its own.
//!
//! `LOGIN_WEEKS=10000 cargo test --test core simulator` runs that many weeks.

mod days;

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_credential_agent::core::broker::{Action, Broker, Event, Fetch, LoginCall, Outcome, ProbeCall};
use aws_credential_agent::core::classify::Verdict;
use aws_credential_agent::core::credential::{Credential, RefreshGrant, RoleCredentials, SsoToken};
use aws_credential_agent::core::failure::{Failure, FailureClass};
use aws_credential_agent::core::login::{
    AttemptId, BUDGET, Ending, FlowWish, History, LoginDemand, LoginId, LoginState, Shown, Target,
};
use aws_credential_agent::core::node::NodeId;
use aws_credential_agent::core::session::TokenFile;
use aws_credential_agent::core::source::{Chain, Link, Profile, World, WorldConfig};
use aws_credential_agent::core::waiters::ProfileRef;

use super::clock::Clocks;
use super::estate::{self, HOUR, MINUTE};

const SECOND: i64 = 1000;
const DAY: i64 = 24 * HOUR;
/// AWS waits this long for somebody.
const CODE: i64 = 10 * MINUTE;

/// What becomes of what a person approves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It works.
    Clear,
    /// The bearer header is stripped: AWS says 401 to every token.
    Stripped,
    /// The portal's answers are web pages.
    Html,
    /// The exchange of the code meets a web page.
    NoToken,
    /// AWS itself ends the session as soon as it begins.
    Ended,
}

#[derive(Debug)]
enum Due {
    Read(NodeId),
    Fetched(Box<Fetch>),
    Verified(LoginId),
    Probed(ProbeCall),
    Show(Box<LoginCall>),
    Say(AttemptId, Say),
    Hook { every: i64, until: i64 },
    AtTerminal,
    Elsewhere,
    Restart,
    Network(bool),
    Look(LoginId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Say {
    Yes,
    No,
    Nothing,
}

#[derive(Debug)]
struct Attempt {
    shown: bool,
}

/// A person's habits.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// At the machine around the clock, else from nine to six on workdays.
    always: bool,
    /// Of a hundred logins that are seen, so many are answered; a few are denied, the rest is not noticed.
    answers: u8,
    /// At most this long until an answer.
    slowness: i64,
}

struct Sim {
    rng: fastrand::Rng,
    clocks: Clocks,
    broker: Broker,
    world: Arc<World>,
    chain: Chain,
    queue: BTreeMap<(i64, u64), Due>,
    queued: u64,
    file: Option<Arc<SsoToken>>,
    /// Until when AWS renews the session of each token.
    grants: BTreeMap<String, i64>,
    life: i64,
    way: Way,
    online: bool,
    habits: Habits,
    denied_on: i64,
    attempts: BTreeMap<AttemptId, Attempt>,
    demands: BTreeMap<LoginId, bool>,
    remembered: BTreeMap<String, History>,
    serial: u64,
    /// The book of what a person would say.
    openings: Vec<(i64, bool)>,
    unanswered: bool,
    done: u64,
    refused: u64,
}

impl Sim {
    fn new(seed: u64, life: i64, habits: Habits) -> Self {
        let world = estate::world("home");
        let link = estate::session(1, "corp");
        let role = Link::SsoRole { account_id: "111122223333".into(), role_name: "Dev".into() };
        let chain = Chain::root(Arc::clone(&world), Link::SsoSession(link)).then(role);
        let mut sim = Self {
            rng: fastrand::Rng::with_seed(seed),
            clocks: Clocks::new(),
            broker: Broker::new(Arc::clone(&world)),
            world,
            chain,
            queue: BTreeMap::new(),
            queued: 0,
            file: None,
            grants: BTreeMap::new(),
            life,
            way: Way::Clear,
            online: true,
            habits,
            denied_on: -1,
            attempts: BTreeMap::new(),
            demands: BTreeMap::new(),
            remembered: BTreeMap::new(),
            serial: 0,
            openings: Vec::new(),
            unanswered: false,
            done: 0,
            refused: 0,
        };
        sim.begin();
        sim
    }

    /// A new agent.
    fn begin(&mut self) {
        self.broker = Broker::new(Arc::clone(&self.world));
        self.step(Event::Logins(Some(self.remembered.clone())));
        let profile = Profile { source: Ok(self.chain.clone()), region: None, ca_bundle: None };
        let config =
            WorldConfig { profiles: [("dev".to_owned(), profile)].into(), findings: Vec::new(), sessions: Vec::new() };
        self.step(Event::Config { world: Arc::clone(&self.world), config: Ok(config) });
    }

    fn plan(&mut self, after: i64, due: Due) {
        self.queued += 1;
        self.queue.insert((self.clocks.t + after, self.queued), due);
    }

    fn run(&mut self, span: i64) {
        let end = self.clocks.t + span;
        loop {
            let planned = self.queue.first_key_value().map_or(end, |((at, _), _)| *at);
            let wake = self.broker.next_wake().map_or(end, |tick| self.clocks.of_tick(tick).max(self.clocks.t + 1));
            // Both clocks are looked at now and then; the real shell does so every 30 s.
            let next = planned.min(wake).min(self.clocks.t + 20 * MINUTE);
            if next >= end {
                self.clocks.t = end;
                return;
            }
            self.clocks.t = next.max(self.clocks.t);
            if planned <= next
                && let Some((_, due)) = self.queue.pop_first()
            {
                self.happen(due);
            } else {
                self.step(Event::Tick);
            }
        }
    }

    fn step(&mut self, event: Event) {
        let draw = self.rng.u64(..);
        for action in self.broker.step(self.clocks.moment(draw), event) {
            match action {
                Action::ReadToken { node, .. } => self.plan(1, Due::Read(node)),
                Action::Fetch(fetch) => self.plan(200, Due::Fetched(fetch)),
                Action::Verify(verify) => self.plan(200, Due::Verified(verify.login)),
                Action::Probe(call) => self.plan(300, Due::Probed(call)),
                Action::Login(call) => {
                    self.attempts.insert(call.attempt, Attempt { shown: false });
                    self.plan(500, Due::Show(call));
                }
                Action::AbandonLogin(attempt) => drop(self.attempts.remove(&attempt)),
                Action::RememberLogins(key, history) => drop(self.remembered.insert(key, history)),
                Action::Notify(_) => {}
                Action::Answer(..) => panic!("nobody asks for credentials here"),
            }
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Read(node) => {
                let file = self.file.clone().map_or(TokenFile::Absent, TokenFile::Present);
                self.step(Event::TokenRead { node, file });
            }
            Due::Fetched(fetch) => {
                let outcome = self.fetched(&fetch);
                self.step(Event::Fetched { node: fetch.node, flight: fetch.flight, outcome, server_date: None });
            }
            Due::Verified(login) => {
                let result = self.portal().map_or(Ok(()), Err);
                self.step(Event::Verified(login, result));
            }
            Due::Probed(call) => {
                let result = self.probe();
                self.step(Event::Probed(call, result));
            }
            Due::Show(call) => self.show(&call),
            Due::Say(attempt, say) => self.say(attempt, say),
            Due::Hook { every, until } => {
                self.demand(false);
                if self.clocks.t + every < until {
                    self.plan(every, Due::Hook { every, until });
                }
            }
            Due::AtTerminal => self.demand(true),
            Due::Elsewhere => {
                let token = self.sign_in();
                self.store(token);
                self.unanswered = false;
            }
            Due::Restart => {
                self.unanswered |= self.attempts.values().any(|attempt| attempt.shown);
                self.attempts.clear();
                self.demands.clear();
                self.queue.retain(|_, due| {
                    !matches!(
                        due,
                        Due::Read(_)
                            | Due::Fetched(_)
                            | Due::Verified(_)
                            | Due::Probed(_)
                            | Due::Show(_)
                            | Due::Look(_)
                    )
                });
                self.begin();
            }
            Due::Network(online) => self.online = online,
            Due::Look(login) => self.look(login),
        }
    }

    fn demand(&mut self, terminal: bool) {
        self.serial += 1;
        let id = LoginId(self.serial);
        self.demands.insert(id, terminal);
        let target = Target::Profile(ProfileRef { world: Arc::clone(&self.world), name: "dev".to_owned() });
        let flow = FlowWish::Auto;
        self.step(Event::Login(LoginDemand { id, target, flow, force: false, terminal, display: true, ci: false }));
        self.look(id);
    }

    /// How a demand stands; it is looked at again until it has ended.
    fn look(&mut self, id: LoginId) {
        let Some(terminal) = self.demands.get(&id).copied() else { return };
        let Some(view) = self.broker.login_view(id, self.clocks.moment(0)) else { return };
        match view.state {
            LoginState::Pending => return self.plan(15 * SECOND, Due::Look(id)),
            LoginState::Done => self.done += 1,
            LoginState::Failed => {}
            LoginState::Refused => {
                self.refused += 1;
                self.judge_refusal(terminal, view.failure.as_ref());
            }
        }
        self.demands.remove(&id);
    }

    /// Where everything works, a refusal is right only while a login stands unanswered, or after six openings.
    fn judge_refusal(&mut self, terminal: bool, why: Option<&Failure>) {
        if self.way != Way::Clear {
            return;
        }
        let today = self.openings.iter().filter(|(at, terminal)| !terminal && self.clocks.t - at < DAY).count();
        assert!(!terminal && (self.unanswered || today >= BUDGET), "refused at {}: {why:?}", self.clocks.t);
        if self.is_there() {
            // Who reads that goes to a terminal.
            let after = self.rng.i64(MINUTE..20 * MINUTE);
            self.plan(after, Due::AtTerminal);
        }
    }

    fn is_there(&self) -> bool {
        let (day, hour) = (self.clocks.t / DAY % 7, self.clocks.t % DAY / HOUR);
        self.habits.always || (day < 5 && (9..18).contains(&hour))
    }

    fn show(&mut self, call: &LoginCall) {
        if !self.online {
            self.attempts.remove(&call.attempt);
            let failure = Failure::new(FailureClass::Offline, "no route", "");
            return self.step(Event::LoginEnded(call.attempt, Ending::Failed(failure)));
        }
        let Some(attempt) = self.attempts.get_mut(&call.attempt) else { return };
        attempt.shown = true;
        let t = self.clocks.t;
        let expires_at = Clocks::stamp(t + CODE);
        self.step(Event::LoginShown(call.attempt, Shown { url: "https://login".into(), user_code: None, expires_at }));
        let now = self.clocks.moment(0);
        let opens = |id: &LoginId| self.broker.login_view(*id, now).is_some_and(|view| view.open);
        let opener = self.demands.iter().find(|(id, _)| opens(id)).map(|(_, terminal)| *terminal);
        let terminal = opener.expect("one of the demands opens it");
        self.openings.push((t, terminal));
        self.unanswered &= !terminal;
        let chance = self.rng.u8(..100);
        let say = if !self.is_there() {
            Say::Nothing
        } else if chance < self.habits.answers || terminal {
            Say::Yes
        } else if chance < self.habits.answers + 3 && self.denied_on != t / DAY {
            self.denied_on = t / DAY;
            Say::No
        } else {
            Say::Nothing
        };
        let after = if say == Say::Nothing { CODE } else { self.rng.i64(SECOND..self.habits.slowness) };
        self.plan(after, Due::Say(call.attempt, say));
    }

    fn say(&mut self, attempt: AttemptId, say: Say) {
        if self.attempts.remove(&attempt).is_none() {
            return;
        }
        let ending = match say {
            Say::Yes if self.way == Way::NoToken => Ending::Failed(intercepted()),
            Say::Yes => {
                let token = self.sign_in();
                self.file = Some(Arc::clone(&token));
                Ending::Signed(token)
            }
            Say::No => Ending::Denied,
            Say::Nothing => Ending::Unanswered,
        };
        self.unanswered = say == Say::Nothing;
        self.step(Event::LoginEnded(attempt, ending));
    }

    fn sign_in(&mut self) -> Arc<SsoToken> {
        let name = format!("session-{}", self.queued);
        let over = if self.way == Way::Ended { 0 } else { self.life };
        self.grants.insert(name.clone(), self.clocks.t + over);
        self.token(&name)
    }

    fn token(&self, name: &str) -> Arc<SsoToken> {
        let grant = RefreshGrant {
            refresh_token: name.into(),
            client_id: name.to_owned(),
            client_secret: "s".into(),
            registration_expires_at: None,
        };
        Arc::new(SsoToken {
            access_token: format!("{name}-{}", self.clocks.t).as_str().into(),
            expires_at: Clocks::stamp(self.clocks.t + HOUR),
            refresh: Some(grant),
            client_id: Some(name.to_owned()),
            obtained_at: Clocks::stamp(self.clocks.t),
        })
    }

    /// The token file changes, and the agent hears of it.
    fn store(&mut self, token: Arc<SsoToken>) {
        self.file = Some(Arc::clone(&token));
        let nodes: Vec<_> = self.broker.sessions().map(|(node, ..)| node).collect();
        for node in nodes {
            self.step(Event::TokenRead { node, file: TokenFile::Present(Arc::clone(&token)) });
        }
    }

    /// What the portal says to a token that AWS knows; `None`: what was asked for.
    /// Without a token: whatever strips headers, or breaks only some answers, is not seen.
    fn probe(&self) -> Result<(), Failure> {
        match self.way {
            _ if !self.online => Err(Failure::new(FailureClass::Offline, "no route", "")),
            Way::Html => Err(intercepted()),
            Way::Clear | Way::Stripped | Way::NoToken | Way::Ended => Ok(()),
        }
    }

    fn portal(&self) -> Option<Verdict> {
        let failed = |failure| Some(Verdict::Failed { failure, retry_after: None });
        match self.way {
            _ if !self.online => failed(Failure::new(FailureClass::Offline, "no route", "")),
            Way::Clear | Way::NoToken => None,
            Way::Stripped | Way::Ended => Some(Verdict::TokenRefused),
            Way::Html => failed(intercepted()),
        }
    }

    fn fetched(&mut self, fetch: &Fetch) -> Outcome {
        let failed = |failure| Outcome::Failed(Verdict::Failed { failure, retry_after: None });
        let issued = |credential| Outcome::Got { credential, issued_now: true };
        if !self.online {
            return failed(Failure::new(FailureClass::Offline, "no route", ""));
        }
        if let Link::SsoSession(_) = fetch.link {
            let name = fetch.held.as_ref().and_then(|h| h.as_token()?.client_id.clone()).unwrap_or_default();
            if self.grants.get(&name).is_none_or(|until| self.clocks.t >= *until) {
                return failed(Failure::new(FailureClass::NeedsLogin, "the session has ended", ""));
            }
            let token = self.token(&name);
            self.file = Some(Arc::clone(&token));
            return issued(Credential::Token(token));
        }
        if let Some(verdict) = self.portal() {
            return Outcome::Failed(verdict);
        }
        issued(Credential::Role(Arc::new(RoleCredentials {
            access_key_id: format!("ASIA{}", self.queued),
            secret_access_key: "s".into(),
            session_token: "t".into(),
            expires_at: Clocks::stamp(self.clocks.t + HOUR),
        })))
    }

    /// The most openings within any span of this length.
    fn most_within(&self, span: i64) -> usize {
        let within = |from: i64| self.openings.iter().filter(|(at, _)| (from..from + span).contains(at)).count();
        self.openings.iter().map(|(at, _)| within(*at)).max().unwrap_or(0)
    }
}

fn intercepted() -> Failure {
    Failure::new(FailureClass::Intercepted, "a web page came instead", "another network")
}
