//! What becomes of logins, told to the session's [`Breaker`](crate::core::login::Breaker), and what may end a pause.

use std::sync::Arc;

use super::{Entry, Stage};
use crate::core::broker::{Action, Broker};
use crate::core::failure::{Failure, FailureClass};
use crate::core::login::{LoginId, Strike};
use crate::core::source::{Chain, Link, SsoSession, World};
use crate::core::time::Moment;

/// Jitter of the breaker's times.
const BREAKER_SALT: u64 = 0x6272_6561_6b65_7221;

/// A look at the way to AWS, without a person and without a secret; ends in [`crate::core::broker::Event::Probed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeCall {
    /// Whose hosts.
    pub session: SsoSession,
    /// Its files.
    pub world: Arc<World>,
}

/// A look at the way to AWS before the one login that a half-open breaker lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Probe {
    #[default]
    None,
    UnderWay,
    /// It is free: the next login needs no other look.
    Passed,
}

impl Broker {
    /// The first demand that knows whether the new token works says so to the breaker.
    pub(super) fn proved(&mut self, id: LoginId, result: Result<(), &Failure>, now: Moment) {
        let Some(entry) = self.logins.demands.get(&id).filter(|entry| entry.stage.is_proof()) else { return };
        let Some(chain) = entry.session.clone() else { return };
        let account = self.account(&chain);
        if !std::mem::take(&mut account.unproven) {
            return;
        }
        match result {
            Ok(()) => account.history.breaker().worked(now.wall),
            // AWS itself knows the token; the role is another matter.
            Err(failure) if failure.class == FailureClass::AccessDenied => account.history.breaker().worked(now.wall),
            Err(failure) if is_hollow(failure.class) => self.strike(&chain, Strike::Hollow, failure, now),
            // It says nothing of the login.
            Err(_) => return,
        }
        self.remember_account(&chain);
    }

    /// A login came to nothing.
    pub(super) fn strike(&mut self, chain: &Chain, strike: Strike, why: &Failure, now: Moment) {
        let strike = if why.rejected_chain || self.is_rejected(chain) { Strike::Rejected } else { strike };
        let account = self.account(chain);
        // What was seen before it counts no longer.
        account.probe = if account.probe == Probe::Passed { Probe::None } else { account.probe };
        account.history.breaker().strike(strike, why, now.fraction(BREAKER_SALT), now.wall);
    }

    /// Whether the certificates on the way are not trusted here, by the last word of anything that lives on the session.
    fn is_rejected(&self, chain: &Chain) -> bool {
        let of_session = self.nodes.iter().filter(|(_, node)| node.chain.session() == chain.session());
        of_session.into_iter().any(|(_, node)| node.trouble.as_ref().is_some_and(|t| t.failure.rejected_chain))
    }

    /// Whether somebody has to look first; if nobody does yet, it is asked for.
    pub(super) fn probes_first(&mut self, chain: &Chain, now: Moment) -> bool {
        let Some(session) = chain.session().cloned() else { return false };
        let account = self.account(chain);
        if account.probe == Probe::Passed || !account.history.breaker().is_half_open(now.wall) {
            return false;
        }
        if std::mem::replace(&mut account.probe, Probe::UnderWay) == Probe::None {
            self.actions.push(Action::Probe(ProbeCall { session, world: Arc::clone(chain.world()) }));
        }
        true
    }

    /// Somebody looked. Whoever waits asks again from the beginning: a token may have come meanwhile.
    pub(in crate::core::broker) fn probed(&mut self, call: ProbeCall, result: Result<(), Failure>, now: Moment) {
        let chain = Chain::root(call.world, Link::SsoSession(call.session));
        let account = self.account(&chain);
        if account.probe != Probe::UnderWay {
            return;
        }
        match result {
            Ok(()) => account.probe = Probe::Passed,
            Err(failure) => {
                account.probe = Probe::None;
                account.history.breaker().shut(&failure, now.fraction(BREAKER_SALT), now.wall);
                self.remember_account(&chain);
                self.changed();
            }
        }
        let waits = |e: &Entry| matches!(e.stage, Stage::Probing) && e.session.as_ref() == Some(&chain);
        let waiting: Vec<_> = self.logins.demands.iter().filter(|(_, e)| waits(e)).map(|(id, _)| *id).collect();
        waiting.into_iter().for_each(|id| self.check_login(id, false, now));
    }

    /// What kept logins from working may be over: the next demand may try one.
    pub(in crate::core::broker) fn half_open(&mut self, chain: &Chain) {
        let account = self.logins.accounts.get_mut(chain);
        if account.is_some_and(|account| account.history.breaker().half_open()) {
            self.remember_account(chain);
            self.changed();
        }
    }

    /// The same for every session.
    pub(in crate::core::broker) fn half_open_all(&mut self) {
        let chains: Vec<_> = self.logins.accounts.keys().cloned().collect();
        chains.iter().for_each(|chain| self.half_open(chain));
        for history in self.logins.remembered.values_mut() {
            history.breaker().half_open();
        }
    }

    /// A person has made room: one login may be tried, whatever became of those before.
    pub(in crate::core::broker) fn reset_logins(&mut self, chain: &Chain) {
        self.account(chain).history.person_acted();
        self.account(chain).history.breaker().half_open();
        self.remember_account(chain);
        self.changed();
    }

    pub(super) fn remember_account(&mut self, chain: &Chain) {
        let history = self.account(chain).history.clone();
        if let Some(session) = chain.session() {
            self.remember(session, Some(history));
        }
    }
}

/// What using a token fails with where the login that brought it was in vain.
const fn is_hollow(class: FailureClass) -> bool {
    matches!(
        class,
        FailureClass::Intercepted
            | FailureClass::NeedsLogin
            | FailureClass::Misconfigured
            | FailureClass::ClockSkew
            | FailureClass::Offline
    )
}
