//! What becomes of logins, told to the session's [`Breaker`](crate::core::login::Breaker), and what may end a pause.

use crate::core::broker::Broker;
use crate::core::failure::{Failure, FailureClass};
use crate::core::login::{LoginId, Strike};
use crate::core::source::Chain;
use crate::core::time::Moment;

/// Jitter of the breaker's times.
pub(super) const BREAKER_SALT: u64 = 0x6272_6561_6b65_7221;

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
            Err(failure) if is_hollow(failure.class) => {
                account.history.breaker().strike(Strike::Hollow, failure, now.fraction(BREAKER_SALT), now.wall);
            }
            // It says nothing of the login.
            Err(_) => return,
        }
        self.remember_account(&chain);
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
