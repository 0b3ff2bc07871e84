//! The sessions that a login, a logout or a reset may be about.

use std::sync::Arc;

use crate::core::broker::Broker;
use crate::core::failure::{Failure, FailureClass};
use crate::core::login::Target;
use crate::core::source::{Chain, Link, SsoSession, World};

impl Broker {
    /// The session that is meant.
    pub(in crate::core::broker) fn session_of(&mut self, target: &Target) -> Result<Chain, Failure> {
        match target {
            Target::Profile(profile) => {
                let node = self.route(profile).map_err(|refusal| refusal.failure)?;
                let chain = self.nodes.get(node).and_then(|n| root(&n.chain));
                chain.ok_or_else(|| {
                    let message = format!("profile '{}' has no SSO session", profile.name);
                    Failure::new(FailureClass::Misconfigured, message, "set sso_session in it")
                })
            }
            Target::Session { world, id } => {
                let sessions = self.sessions_of_world(world);
                let named = sessions.iter().find(|c| c.session().is_some_and(|s| s.id() == *id));
                named.cloned().ok_or_else(|| unknown_session(id, &sessions, world))
            }
        }
    }

    /// The sessions behind the profiles of a world, and those that no profile names yet.
    pub(in crate::core::broker) fn sessions_of_world(&self, world: &Arc<World>) -> Vec<Chain> {
        let lone = self.worlds.get(world).and_then(|state| state.config.as_ref()).map(|config| &config.sessions);
        let lone = lone.into_iter().flatten().map(|s| Chain::root(Arc::clone(world), Link::SsoSession(s.clone())));
        let mut sessions: Vec<Chain> = self.sources_in(world).filter_map(root).chain(lone).collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// What the profiles of a world resolve to.
    pub(in crate::core::broker) fn sources_in(&self, world: &Arc<World>) -> impl Iterator<Item = &Chain> {
        let config = self.worlds.get(world).and_then(|state| state.config.as_ref());
        config.into_iter().flat_map(|c| c.profiles.values()).filter_map(|p| p.source.as_ref().ok())
    }
}

pub(super) fn root(chain: &Chain) -> Option<Chain> {
    let session = chain.session()?;
    Some(Chain::root(Arc::clone(chain.world()), Link::SsoSession(session.clone())))
}

fn unknown_session(id: &str, known: &[Chain], world: &World) -> Failure {
    let names: Vec<String> = known.iter().filter_map(|c| c.session()).map(SsoSession::id).collect();
    let file = world.config_file.display();
    let near = crate::core::words::nearest(id, names.iter().map(String::as_str), 3);
    let fix = match near.first() {
        Some(name) => format!("did you mean '{name}'?"),
        None => "see the sso-session sections there".to_owned(),
    };
    Failure::new(FailureClass::Misconfigured, format!("no profile lives on an SSO session '{id}' in {file}"), fix)
}
