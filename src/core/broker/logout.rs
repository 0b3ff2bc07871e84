//! Logouts: which sessions a client means, and what is forgotten when they are over. The shell removes the token file,
//! tells AWS, and reports with [`super::Event::SignedOut`].

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Action, Broker};
use crate::core::credential::SsoToken;
use crate::core::failure::{Failure, FailureClass};
use crate::core::login::{LoginState, Target};
use crate::core::session::SignedOut;
use crate::core::source::{Chain, Link, SsoSession, World};
use crate::core::time::{Moment, Timestamp};

/// What a client wants to be signed out of.
#[derive(Clone, Debug)]
pub enum LogoutTarget {
    /// One session, by its name or by a profile's.
    One(Target),
    /// Every session that the files of this world name.
    All(Arc<World>),
}

/// A session to be signed out of.
#[derive(Clone, Debug)]
pub struct SignOut {
    /// The session.
    pub session: SsoSession,
    /// Its files.
    pub world: Arc<World>,
    /// The token that is held; its file may know another.
    pub token: Option<Arc<SsoToken>>,
    /// Accounts and names of the roles that the world's profiles reach through it: other tools keep their credentials.
    pub roles: BTreeSet<(String, String)>,
}

impl Broker {
    /// The sessions that `target` means, with what is known of them.
    ///
    /// # Errors
    /// Class `misconfigured`: there is no such profile or session.
    pub fn sign_outs(&mut self, target: &LogoutTarget) -> Result<Vec<SignOut>, Failure> {
        let sessions = match target {
            LogoutTarget::One(target) => vec![self.session_of(target)?],
            LogoutTarget::All(world) => self.sessions_of_world(world),
        };
        Ok(sessions.iter().filter_map(|chain| self.sign_out(chain)).collect())
    }

    fn sign_out(&self, chain: &Chain) -> Option<SignOut> {
        let (session, world) = (chain.session()?.clone(), Arc::clone(chain.world()));
        let held = self.index.get(chain).and_then(|id| self.nodes.get(*id)).and_then(|node| node.held.as_ref());
        let token = held.and_then(|held| held.credential.as_token()).cloned();
        let roles = self.sources_in(&world).filter(|c| c.session() == Some(&session)).filter_map(role).collect();
        Some(SignOut { session, world, token, roles })
    }

    /// The token file is gone since `at`: nothing of the session stays, and no login to it goes on.
    pub(super) fn signed_out(&mut self, world: &Arc<World>, session: &SsoSession, at: Timestamp, now: Moment) {
        let chain = Chain::root(Arc::clone(world), Link::SsoSession(session.clone()));
        if let Some(attempt) = self.give_login_up(&chain) {
            self.actions.push(Action::AbandonLogin(attempt));
            let message = format!("the login to '{}' was given up by a logout", session.id());
            let failure = Failure::new(FailureClass::NeedsLogin, message, "log in again");
            for id in self.waiting_for(&chain) {
                self.end_login(id, LoginState::Failed, failure.clone(), now);
            }
        }
        let Some(id) = self.index.get(&chain).copied() else { return };
        let Some(node) = self.nodes.get_mut(id) else { return };
        if let Some(flight) = &mut node.flight {
            flight.void = true;
        }
        if let Some(session) = node.session_mut() {
            session.signed_out = Some(SignedOut { at, tick: now.tick });
        }
        self.log_out(id, now);
        self.settle_with_dependents(id, now);
    }
}

fn role(chain: &Chain) -> Option<(String, String)> {
    match chain.link() {
        Link::SsoRole { account_id, role_name } => Some((account_id.clone(), role_name.clone())),
        _ => chain.upstream().as_ref().and_then(role),
    }
}
