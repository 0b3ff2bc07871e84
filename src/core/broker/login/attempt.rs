//! An attempt, from its URL to its end, and the token that comes of it.

use std::sync::Arc;

use super::{Entry, Stage, key};
use crate::core::broker::{Action, Broker};
use crate::core::credential::{Credential, SsoToken};
use crate::core::failure::{Failure, FailureClass};
use crate::core::login::{AttemptId, Ending, History, LoginId, LoginState, Notice, Shown, Strike, Target};
use crate::core::node::NodeId;
use crate::core::source::{Chain, SsoSession};
use crate::core::time::Moment;
use crate::core::waiters::ProfileRef;

impl Broker {
    pub(super) fn remember(&mut self, session: &SsoSession, history: Option<History>) {
        if let Some(history) = history {
            self.actions.push(Action::RememberLogins(key(session), history));
        }
    }

    fn attempt(&self, attempt: AttemptId) -> Option<Chain> {
        let mut accounts = self.logins.accounts.iter();
        accounts.find(|(_, a)| a.attempt.as_ref().is_some_and(|a| a.id == attempt)).map(|(chain, _)| chain.clone())
    }

    /// The demands that wait for an attempt to this session.
    pub(in crate::core::broker) fn waiting_for(&self, chain: &Chain) -> Vec<LoginId> {
        let waits = |e: &Entry| matches!(e.stage, Stage::Waiting) && e.session.as_ref() == Some(chain);
        self.logins.demands.iter().filter(|(_, e)| waits(e)).map(|(id, _)| *id).collect()
    }

    pub(in crate::core::broker) fn login_shown(&mut self, attempt: AttemptId, shown: Shown, now: Moment) {
        let Some(chain) = self.attempt(attempt) else { return };
        let account = self.account(&chain);
        let Some(attempt) = &mut account.attempt else { return };
        attempt.shown = Some(shown.clone());
        let terminal = attempt.terminal;
        account.history.opened(terminal, now.wall);
        account.told = true;
        self.remember_account(&chain);
        if let Some(session) = chain.session().filter(|_| !terminal) {
            self.actions.push(Action::Notify(Notice { session: session.id(), shown: Some(shown) }));
        }
        for id in self.waiting_for(&chain) {
            self.with_entry(id, |_| {});
        }
        self.changed();
    }

    /// Told once, until somebody has logged in. Where a login waits already, its page was told.
    pub(in crate::core::broker) fn login_awaited(&mut self, profile: &ProfileRef) {
        let Ok(chain) = self.session_of(&Target::Profile(profile.clone())) else { return };
        let account = self.account(&chain);
        let told = std::mem::replace(&mut account.told, true);
        if let Some(session) = chain.session().filter(|_| !told) {
            self.actions.push(Action::Notify(Notice { session: session.id(), shown: None }));
        }
    }

    pub(in crate::core::broker) fn login_ended(&mut self, attempt: AttemptId, ending: Ending, now: Moment) {
        let Some(chain) = self.attempt(attempt) else { return };
        let Some(session) = chain.session().cloned() else { return };
        let needs_login = |what: &str| {
            let message = format!("the login to '{}' {what}", session.id());
            Failure::new(FailureClass::NeedsLogin, message, "run it again when somebody can answer")
        };
        let account = self.account(&chain);
        let shown = account.attempt.take().is_some_and(|attempt| attempt.shown.is_some());
        match &ending {
            Ending::Unanswered => account.history.unanswered(now.wall),
            Ending::Signed(_) | Ending::Denied => {
                account.history.ended();
                account.history.person_acted();
            }
            Ending::Failed(_) => account.history.ended(),
        }
        let (failure, in_vain) = match ending {
            Ending::Signed(token) => return self.login_succeeded(&chain, token, now),
            Ending::Unanswered => (needs_login("was not answered in time"), false),
            Ending::Denied => (needs_login("was denied"), true),
            // Where the way to AWS was in the way no browser was opened, and asking again soon harms nobody: unless it is
            // known that nothing can come of it.
            Ending::Failed(failure) => {
                let counts = shown || failure.rejected_chain || !failure.class.is_shared_by_portal();
                (failure, counts)
            }
        };
        if in_vain {
            let strike = if failure.class == FailureClass::Intercepted { Strike::Hollow } else { Strike::Failed };
            self.strike(&chain, strike, &failure, now);
        }
        self.remember_account(&chain);
        self.changed();
        for id in self.waiting_for(&chain) {
            self.end_login(id, LoginState::Failed, failure.clone(), now);
        }
    }

    /// Whoever waits asks again, to prove it.
    fn login_succeeded(&mut self, chain: &Chain, token: Arc<SsoToken>, now: Moment) {
        let account = self.account(chain);
        (account.unproven, account.told) = (true, false);
        account.history.set_began(Some(token.obtained_at));
        self.remember_account(chain);
        self.changed();
        self.signed_in(chain, token, now);
        for id in self.waiting_for(chain) {
            self.check_login(id, true, now);
        }
    }

    /// The session's new token ends what its predecessor caused.
    fn signed_in(&mut self, chain: &Chain, token: Arc<SsoToken>, now: Moment) {
        let id = self.ensure(chain);
        let life = token.expires_at.since(self.clock.now(now));
        let Some(node) = self.nodes.get_mut(id) else { return };
        // A renewal of the old token may be under way: whatever it yields is older than this.
        if let Some(flight) = &mut node.flight {
            flight.void = true;
        }
        node.hold(Credential::Token(token), Some(life), id, now);
        if let Some(session) = node.session_mut() {
            (session.loaded, session.absent_since) = (true, None);
            (session.refused, session.replacement) = (None, None);
        }
        self.hurry_dependents(id, now);
        self.settle_with_dependents(id, now);
    }

    /// A limit of sessions' ages outlives this process.
    pub(in crate::core::broker) fn remember_ages(&mut self) {
        let aged = self.logins.accounts.iter().filter(|(_, account)| account.history.began().is_some());
        let chains: Vec<_> = aged.map(|(chain, _)| chain.clone()).collect();
        chains.iter().for_each(|chain| self.remember_account(chain));
    }

    /// Somebody signed out: the next token begins another session.
    pub(in crate::core::broker) fn session_ended(&mut self, chain: &Chain) {
        let limited = self.settings.max_session_age.is_some();
        let history = &mut self.account(chain).history;
        let known = history.began().is_some();
        history.set_began(None);
        if known && limited {
            self.remember_account(chain);
        }
    }

    /// A token came by another way: whoever waits for a login asks again, and the login is given up. `ended`: the session
    /// before it had ended, so this is another one, and no renewal.
    pub(in crate::core::broker) fn token_came(&mut self, id: NodeId, token: &SsoToken, ended: bool, now: Moment) {
        let Some(chain) = self.nodes.get(id).map(|n| n.chain.clone()) else { return };
        let Some(session) = chain.session().cloned() else { return };
        let server_now = self.clock.now(now);
        let limited = self.settings.max_session_age.is_some();
        let account = self.account(&chain);
        let mut before = account.history.clone();
        account.told = false;
        account.history.token_came(token);
        if ended || account.history.began().is_none() {
            account.history.set_began(Some(token.obtained_at));
        }
        if !limited {
            // Not worth a write where no limit asks for it.
            before.set_began(account.history.began());
        }
        let superseded = if token.expires_at > server_now { account.attempt.take() } else { None };
        if superseded.is_some() {
            account.history.ended();
        }
        let changed = (account.history != before).then(|| account.history.clone());
        self.remember(&session, changed);
        if let Some(attempt) = superseded {
            self.actions.push(Action::AbandonLogin(attempt.id));
            for login in self.waiting_for(&chain) {
                self.check_login(login, true, now);
            }
        }
    }
}
