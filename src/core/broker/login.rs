//! Logins: from a client's demand to its end. See [`crate::core::login`] for the rules of when a browser may open.
//!
//! A demand asks first whether a login is needed at all, by waiting for credentials (or for the session's token) like
//! any other client, which renews silently what can be renewed. Only an answer of class `needs-login` leads on: to the
//! login that is pending, or to a new one. After it, the same question tells whether it worked.

mod attempt;
mod breaker;
mod loops;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use self::breaker::Probe;
pub use self::breaker::ProbeCall;
use self::loops::Recent;
use super::settle::Standing;
use super::{Action, Broker};
use crate::core::classify::Verdict;
use crate::core::credential::SsoToken;
use crate::core::failure::{Failure, FailureClass};
use crate::core::login::{AttemptId, Bar, Flow, History, LoginDemand, LoginId, LoginState, LoginView, Shown, Target};
use crate::core::node::{Node, NodeId};
use crate::core::session::{self, Refusal};
use crate::core::source::{Chain, SsoSession, World};
use crate::core::status::{LoginPause, LoginStatus};
use crate::core::time::{Moment, Tick, Timestamp};
use crate::core::waiters::{Answer, Waiter, WaiterId, Wish};

/// So long a demand waits for what renews silently.
const SILENT: Duration = Duration::from_secs(60);
/// And, after a login, for the proof that it worked.
const PROOF: Duration = Duration::from_secs(20);
/// A demand that ended is remembered this long for its client.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Demands at a time.
const MOST: usize = 1000;
/// A verdict on a session's token is asked for this often in one demand.
const VERIFICATIONS: u8 = 2;
/// Marks the waiters of demands among the shell's own.
const OURS: u64 = 1 << 63;

/// Everything about logins.
#[derive(Debug, Default)]
pub(super) struct Logins {
    demands: BTreeMap<LoginId, Entry>,
    accounts: BTreeMap<Chain, Account>,
    /// What earlier agents remembered, until its session is met.
    remembered: BTreeMap<String, History>,
    /// When it was found that it cannot be read.
    lost_at: Option<Timestamp>,
    attempts_made: u64,
}

/// One session's logins. Its key is the chain of that session alone.
#[derive(Debug, Default)]
struct Account {
    history: History,
    attempt: Option<Attempt>,
    /// Logins that were asked for although everything was valid.
    phantoms: Recent,
    /// Tokens that other tools replaced although they were valid.
    foreign: Recent,
    /// A person was told that a login is needed.
    told: bool,
    /// A login of ours brought a token, and nobody knows yet whether it works.
    unproven: bool,
    probe: Probe,
}

#[derive(Debug)]
struct Attempt {
    id: AttemptId,
    /// Begun by a person at a terminal.
    terminal: bool,
    shown: Option<Shown>,
}

#[derive(Debug)]
struct Entry {
    demand: LoginDemand,
    session: Option<Chain>,
    /// What it asks for was there when it came.
    was_valid: bool,
    stage: Stage,
    revision: u64,
    /// It began the attempt that it waits for.
    opener: bool,
    verifications: u8,
    ended_at: Option<Tick>,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Waits for credentials; `proof`: after a login.
    Checking {
        proof: bool,
    },
    /// AWS is asked about the session's token of this generation.
    Verifying {
        proof: bool,
        generation: u64,
    },
    /// Waits until it is known whether AWS is reached at all.
    Probing,
    /// Waits for the attempt.
    Waiting,
    Done(Timestamp),
    Ended {
        state: LoginState,
        failure: Failure,
        /// When what bars it ends by itself.
        until: Option<Timestamp>,
    },
}

impl Entry {
    fn end(&mut self, stage: Stage, now: Moment) {
        (self.stage, self.ended_at) = (stage, Some(now.tick));
    }
}

impl Stage {
    /// Whether this is about the token of a login that was just made.
    const fn is_proof(&self) -> bool {
        matches!(self, Self::Checking { proof: true } | Self::Verifying { proof: true, .. })
    }
}

/// A login to be made by the shell: it shows the URL ([`super::Event::LoginShown`]), then ends
/// ([`super::Event::LoginEnded`]).
#[derive(Clone, Debug)]
pub struct LoginCall {
    /// The number to report back.
    pub attempt: AttemptId,
    /// Where to.
    pub session: SsoSession,
    /// Whose token cache.
    pub world: Arc<World>,
    /// How.
    pub flow: Flow,
}

/// A session's token to be tried with a call that needs no role (ListAccounts); ends in [`super::Event::Verified`].
#[derive(Clone, Debug)]
pub struct Verify {
    /// The demand that wants to know.
    pub login: LoginId,
    /// Where.
    pub session: SsoSession,
    /// The token.
    pub token: Arc<SsoToken>,
}

/// What a session's history is remembered under: the session itself, whichever files name it.
fn key(session: &SsoSession) -> String {
    format!("{} {} {}", session.cache_key(), session.start_url, session.region)
}

impl Broker {
    /// What earlier agents remembered.
    pub(super) fn remember_logins(&mut self, histories: Option<BTreeMap<String, History>>, now: Moment) {
        let Some(histories) = histories else {
            self.logins.lost_at = Some(now.wall);
            return;
        };
        let restored = histories.into_iter().map(|(key, history)| (key, history.restored(now.wall)));
        self.logins.remembered.extend(restored);
    }

    /// How a demand stands; `None`: nobody knows it (any more).
    #[must_use]
    pub fn login_view(&self, id: LoginId, now: Moment) -> Option<LoginView> {
        let entry = self.logins.demands.get(&id)?;
        let account = entry.session.as_ref().and_then(|chain| self.logins.accounts.get(chain));
        let mut view = LoginView {
            revision: entry.revision,
            state: LoginState::Pending,
            shown: None,
            open: false,
            openings_today: account.map_or(0, |a| a.history.openings_today(now.wall)),
            expires_at: None,
            failure: None,
            retry_at: None,
        };
        match &entry.stage {
            Stage::Checking { .. } | Stage::Verifying { .. } | Stage::Probing => {}
            Stage::Waiting => {
                view.shown = account.and_then(|a| a.attempt.as_ref()).and_then(|a| a.shown.clone());
                view.open = entry.opener && view.shown.is_some();
            }
            Stage::Done(until) => (view.state, view.expires_at) = (LoginState::Done, Some(*until)),
            Stage::Ended { state, failure, until } => {
                (view.state, view.failure, view.retry_at) = (*state, Some(failure.clone()), *until);
            }
        }
        Some(view)
    }

    /// The login that is pending for a session, for `status`.
    pub(super) fn login_status(&self, chain: &Chain, now: Moment) -> Option<LoginStatus> {
        let account = self.logins.accounts.get(chain)?;
        let shown = account.attempt.as_ref()?.shown.as_ref()?;
        Some(LoginStatus {
            url: shown.url.clone(),
            user_code: shown.user_code.clone(),
            expires_at: shown.expires_at,
            openings_today: account.history.openings_today(now.wall),
        })
    }

    /// Whether the user's own limit forbids to renew a session any more.
    pub(super) fn is_too_old(&self, chain: &Chain, server_now: Timestamp) -> bool {
        let Some(most) = self.settings.max_session_age else { return false };
        let began = self.logins.accounts.get(chain).and_then(|account| account.history.began());
        began.is_some_and(|began| server_now.since(began) >= most)
    }

    /// What bars a login that nobody at a terminal asks for, for `status`.
    pub(super) fn login_pause(&self, chain: &Chain, now: Moment) -> Option<LoginPause> {
        let account = self.logins.accounts.get(chain)?;
        let Bar { failure, until } = account.history.may_open(chain.session()?, false, now.wall).err()?;
        Some(LoginPause { until, failure })
    }

    /// The same for whatever lives on a session.
    pub(super) fn pause_of_logins(&self, node: &Node, now: Moment) -> Option<LoginPause> {
        self.login_pause(&sessions::root(&node.chain)?, now)
    }

    pub(super) fn login(&mut self, demand: LoginDemand, now: Moment) {
        let (id, force) = (demand.id, demand.force && demand.terminal);
        self.forget_old_logins(now);
        let full = self.logins.demands.len() >= MOST;
        let entry = Entry {
            demand,
            session: None,
            was_valid: false,
            stage: Stage::Checking { proof: false },
            revision: 1,
            opener: false,
            verifications: 0,
            ended_at: None,
        };
        self.logins.demands.insert(id, entry);
        if full {
            let failure = Failure::new(FailureClass::Transient, "too many logins are asked for at once", "try again");
            return self.end_login(id, LoginState::Failed, failure, now);
        }
        match self.session_to_log_in(id) {
            Err(failure) => self.end_login(id, LoginState::Failed, failure, now),
            Ok(chain) => {
                self.account(&chain);
                self.with_entry(id, |entry| entry.session = Some(chain));
                if force { self.consider_login(id, now) } else { self.check_login(id, false, now) }
            }
        }
    }

    fn session_to_log_in(&mut self, id: LoginId) -> Result<Chain, Failure> {
        let Some(entry) = self.logins.demands.get(&id) else { return Err(gone()) };
        let target = entry.demand.target.clone();
        if let Target::Profile(profile) = &target
            && self.settings.refused.contains(&profile.name)
        {
            return Err(super::demand::not_served(&profile.name).failure);
        }
        self.session_of(&target)
    }

    /// The attempt that is not wanted any more, if there is one.
    pub(super) fn give_login_up(&mut self, chain: &Chain) -> Option<AttemptId> {
        let account = self.logins.accounts.get_mut(chain)?;
        let attempt = account.attempt.take()?;
        account.history.ended();
        self.remember_account(chain);
        Some(attempt.id)
    }

    fn account(&mut self, chain: &Chain) -> &mut Account {
        let remembered = chain.session().and_then(|s| self.logins.remembered.remove(&key(s)));
        let new = self.logins.lost_at.map_or_else(History::default, History::lost);
        self.logins
            .accounts
            .entry(chain.clone())
            .or_insert_with(|| Account { history: remembered.unwrap_or(new), ..Account::default() })
    }

    fn with_entry(&mut self, id: LoginId, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.logins.demands.get_mut(&id) {
            change(entry);
            entry.revision += 1;
            self.changed();
        }
    }

    fn finish_login(&mut self, id: LoginId, until: Timestamp, now: Moment) {
        self.note_phantom(id, now);
        self.proved(id, Ok(()), now);
        self.with_entry(id, |entry| entry.end(Stage::Done(until), now));
    }

    pub(super) fn end_login(&mut self, id: LoginId, state: LoginState, failure: Failure, now: Moment) {
        self.proved(id, Err(&failure), now);
        self.with_entry(id, |entry| entry.end(Stage::Ended { state, failure, until: None }, now));
    }

    /// Waits for what the demand is about, like any other client.
    fn check_login(&mut self, id: LoginId, proof: bool, now: Moment) {
        self.with_entry(id, |entry| entry.stage = Stage::Checking { proof });
        let Some(entry) = self.logins.demands.get(&id) else { return };
        let Some(chain) = entry.session.clone() else { return };
        let (target, waiter) = (entry.demand.target.clone(), WaiterId(OURS | id.0));
        let deadline = now.tick.plus(if proof { PROOF } else { SILENT });
        let (node, profile, wish) = match target {
            Target::Profile(profile) => match self.route(&profile) {
                Err(refusal) => return self.end_login(id, LoginState::Failed, refusal.failure, now),
                Ok(node) => {
                    let wish = Wish::Credentials { min_ttl: Duration::ZERO, other_than: None, last_ask: false };
                    (node, profile, wish)
                }
            },
            Target::Session { world, id } => {
                let profile = crate::core::waiters::ProfileRef { world, name: id };
                (self.ensure(&chain), profile, Wish::Token)
            }
        };
        let server_now = self.time_for(node, now);
        if let Some(node) = self.nodes.get_mut(node) {
            node.demanded_at = Some(now.tick);
            let was_valid = !proof && node.valid(server_now).is_some();
            self.with_entry(id, |entry| entry.was_valid = was_valid);
        }
        self.park(node, waiter, Waiter { profile, wish, consumer: None, deadline });
        self.settle(node, now);
        self.settle_upstream(node, now);
    }

    /// Answers to demands for logins are taken in here instead of going out; each may lead to more of them.
    pub(super) fn settle_logins(&mut self, now: Moment) {
        while let Some(at) = self.actions.iter().position(|a| matches!(a, Action::Answer(w, _) if w.0 & OURS != 0)) {
            if let Action::Answer(waiter, answer) = self.actions.remove(at) {
                self.login_checked(LoginId(waiter.0 & !OURS), answer, now);
            }
        }
    }

    fn login_checked(&mut self, id: LoginId, answer: Answer, now: Moment) {
        let Some(entry) = self.logins.demands.get(&id) else { return };
        let Stage::Checking { proof } = entry.stage else { return };
        let terminal = entry.demand.terminal;
        match answer {
            // What is held lives, but a person who asks wants the session behind it to go on.
            Answer::Credentials(_) if !proof && terminal && self.session_has_ended(id) => self.consider_login(id, now),
            Answer::Credentials(credentials) => self.finish_login(id, credentials.expires_at, now),
            Answer::Renewed { expires_at } => self.verify(id, proof, expires_at, now),
            Answer::InFlight { .. } => {
                let message = if proof { "signed in, but nothing came of it in time" } else { "still fetching" };
                let failure = Failure::new(FailureClass::Transient, message, "see: agentctl status");
                self.end_login(id, LoginState::Failed, failure, now);
            }
            Answer::Refused(refusal) => match refusal.failure.class {
                FailureClass::NeedsLogin if !proof => self.consider_login(id, now),
                _ if proof => {
                    let Failure { class, message, fix, rejected_chain } = refusal.failure;
                    let failure =
                        Failure { rejected_chain, ..Failure::new(class, format!("signed in, but {message}"), fix) };
                    self.end_login(id, LoginState::Failed, failure, now);
                }
                _ => self.end_login(id, LoginState::Failed, refusal.failure, now),
            },
        }
    }

    fn session_node(&self, id: LoginId) -> Option<NodeId> {
        let chain = self.logins.demands.get(&id)?.session.as_ref()?;
        self.index.get(chain).copied()
    }

    /// Whether it is known that only a login brings the session on.
    fn session_has_ended(&self, id: LoginId) -> bool {
        self.session_node(id).and_then(|node| self.nodes.get(node)).is_some_and(|node| {
            let failed = node.trouble.as_ref().is_some_and(|t| t.failure.class == FailureClass::NeedsLogin);
            failed || matches!(self.standing(node), Standing::Blocked(f, _) if f.class == FailureClass::NeedsLogin)
        })
    }

    /// A token that the portal has accepted is good; any other is tried.
    fn verify(&mut self, id: LoginId, proof: bool, expires_at: Timestamp, now: Moment) {
        let Some(node) = self.session_node(id).and_then(|node| self.nodes.get(node)) else { return };
        let Some(held) = &node.held else { return };
        let (Some(token), Some(session)) = (held.credential.as_token().cloned(), node.chain.session().cloned()) else {
            return;
        };
        let generation = held.generation;
        if node.session().is_some_and(|s| s.accepted == Some(generation)) {
            return self.finish_login(id, expires_at, now);
        }
        self.with_entry(id, |entry| {
            entry.stage = Stage::Verifying { proof, generation };
            entry.verifications += 1;
        });
        self.actions.push(Action::Verify(Verify { login: id, session, token }));
    }

    pub(super) fn verified(&mut self, id: LoginId, result: Result<(), Verdict>, now: Moment) {
        let Some(entry) = self.logins.demands.get(&id) else { return };
        let Stage::Verifying { proof, generation } = entry.stage else { return };
        let again = entry.verifications < VERIFICATIONS;
        let Some(node_id) = self.session_node(id) else { return };
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        match result {
            Ok(()) => {
                let expires_at = node.held.as_ref().map_or(now.wall, |h| h.credential.expires_at());
                if let Some(session) = node.session_mut() {
                    session.accepted = session.accepted.max(Some(generation));
                }
                self.finish_login(id, expires_at, now);
            }
            Err(Verdict::Failed { failure, .. }) => self.end_login(id, LoginState::Failed, failure, now),
            Err(Verdict::TokenRefused) => {
                let held = node.held.as_ref().and_then(|h| Some((h.generation, &**h.credential.as_token()?)));
                let judged = node.session().map(|s| s.judge(generation, held, now.wall));
                let region = node.chain.session().map(|s| s.region.clone()).unwrap_or_default();
                match judged {
                    Some(Refusal::Renew | Refusal::Replaced) if again => {
                        if judged == Some(Refusal::Renew) {
                            self.mark_refused(node_id, Some(generation));
                            self.settle_with_dependents(node_id, now);
                        }
                        self.check_login(id, proof, now);
                    }
                    _ => self.end_login(id, LoginState::Failed, session::hollow(&region), now),
                }
            }
        }
    }

    /// A login is needed: the pending one, or a new one where it may be.
    fn consider_login(&mut self, id: LoginId, now: Moment) {
        let Some(entry) = self.logins.demands.get(&id) else { return };
        let Some(chain) = entry.session.clone() else { return };
        let Some(session) = chain.session().cloned() else { return };
        let demand = entry.demand.clone();
        if demand.ci {
            let message = format!("a login to '{}' is needed, and nobody answers one in CI", session.id());
            let failure = Failure::new(FailureClass::NeedsLogin, message, "give the job credentials of its own");
            return self.end_login(id, LoginState::Refused, failure, now);
        }
        let account = self.account(&chain);
        if demand.terminal {
            let before = account.history.clone();
            account.history.person_acted();
            let changed = (account.history != before).then(|| account.history.clone());
            self.remember(&session, changed);
        }
        let account = self.account(&chain);
        if account.attempt.is_some() {
            return self.with_entry(id, |entry| entry.stage = Stage::Waiting);
        }
        if !(demand.terminal && demand.force)
            && let Err(Bar { failure, until }) = account.history.may_open(&session, demand.terminal, now.wall)
        {
            let state = LoginState::Refused;
            return self.with_entry(id, |entry| entry.end(Stage::Ended { state, failure, until }, now));
        }
        if !(demand.terminal && demand.force) && self.probes_first(&chain, now) {
            return self.with_entry(id, |entry| entry.stage = Stage::Probing);
        }
        self.account(&chain).probe = Probe::None;
        self.logins.attempts_made += 1;
        let attempt = AttemptId(self.logins.attempts_made);
        self.account(&chain).attempt = Some(Attempt { id: attempt, terminal: demand.terminal, shown: None });
        self.with_entry(id, |entry| (entry.stage, entry.opener) = (Stage::Waiting, true));
        let (world, flow) = (Arc::clone(chain.world()), demand.flow.choose(demand.display));
        self.actions.push(Action::Login(Box::new(LoginCall { attempt, session, world, flow })));
    }

    /// Demands that ended are forgotten after a while.
    fn forget_old_logins(&mut self, now: Moment) {
        self.logins.demands.retain(|_, entry| entry.ended_at.is_none_or(|at| now.tick.since(at) < REMEMBERED));
    }
}

fn gone() -> Failure {
    Failure::new(FailureClass::Transient, "the login is not known any more", "run it again")
}
