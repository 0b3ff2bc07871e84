//! A logout, made: the token file goes, the broker forgets, AWS ends the session.
//!
//! In this order: what depends on nobody comes first. A session that AWS is not told of ends there by itself.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::engine::Engine;
use super::event_loop::{Message, Sender};
use super::once;
use super::settings::Configuration;
use super::token_flow::TokenFlow;
use crate::api::v1::{ErrorBody, LogoutDocument, SignedOutSession};
use crate::aws::Aws;
use crate::core::broker::{Event, LogoutTarget, SignOut};
use crate::core::classify::Verdict;
use crate::core::credential::SsoToken;
use crate::core::failure::{Failure, FailureClass};
use crate::core::login::Target;
use crate::core::source::{SsoSession, World};
use crate::core::time::Timestamp;
use crate::core::waiters::ProfileRef;
use crate::files::cli_cache;
use crate::platform::clock::Clock;

/// Files that are not read by then are in a bad way.
const LOOK: Duration = Duration::from_secs(5);

/// What logouts are made with.
#[derive(Clone)]
pub struct Logouts {
    broker: Sender,
    configuration: Arc<Configuration>,
    tokens: TokenFlow,
}

impl Logouts {
    /// With the parts of `engine`.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        Self {
            broker: engine.desk.broker().clone(),
            configuration: Arc::clone(&engine.configuration),
            tokens: engine.tokens.clone(),
        }
    }

    /// The sessions that `target` means.
    ///
    /// # Errors
    /// Class `misconfigured`: there is no such profile or session.
    pub async fn sessions(&self, target: LogoutTarget) -> Result<Vec<SignOut>, Failure> {
        let stopping = || Failure::new(FailureClass::Transient, "the agent is stopping", "try again");
        let (reply, answer) = oneshot::channel();
        self.broker.send(Message::SignOuts(target, reply)).map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Signs out of every session that `target` means. Once begun it goes on, whoever goes away.
    ///
    /// # Errors
    /// Class `misconfigured`: there is no such profile or session. What fails with one session stands in the document.
    pub async fn run(&self, target: LogoutTarget) -> Result<LogoutDocument, Failure> {
        let plan = self.sessions(target).await?;
        let mut logouts = Vec::new();
        for sign_out in plan {
            let (id, logout) = (sign_out.session.id(), self.clone());
            logouts.push((id, tokio::spawn(async move { logout.one(sign_out).await })));
        }
        let mut sessions = Vec::new();
        for (id, logout) in logouts {
            let failed = || Failure::new(FailureClass::Transient, "the logout ended without a result", "try again");
            let (was_signed_in, result) = logout.await.unwrap_or_else(|_| (false, Err(failed())));
            sessions.push(SignedOutSession { id, was_signed_in, error: result.as_ref().err().map(ErrorBody::from) });
        }
        Ok(LogoutDocument { sessions })
    }

    /// Whether anybody was signed in, and what could not be done.
    async fn one(&self, sign_out: SignOut) -> (bool, Result<(), Failure>) {
        let SignOut { session, world, token: held, roles } = sign_out;
        let began = Clock.wall();
        let (on_disk, removed) = self.tokens.sign_out(&session, &world).await;
        let (of, kept_in) = (session.clone(), Arc::clone(&world));
        let forget = move || roles.iter().for_each(|(account, role)| cli_cache::forget(&kept_in, &of, account, role));
        // One that panics has removed what it could.
        let _ = tokio::task::spawn_blocking(forget).await;
        // When the loop has ended there is nothing left to forget.
        let _ = self.broker.send(Message::Event(Event::SignedOut { world, session: session.clone(), at: began }));
        let was_signed_in = on_disk.is_some() || held.is_some();
        let told = tell(&self.configuration.aws(), &session, on_disk, held, Clock.wall()).await;
        match &told {
            Ok(()) => info!(session = session.id(), was_signed_in, "signed out"),
            Err(why) => warn!(session = session.id(), cause = why.message, "signed out here, and AWS was not told"),
        }
        (was_signed_in, removed.and(told))
    }
}

/// Ends the session at AWS.
async fn tell(
    aws: &Aws,
    session: &SsoSession,
    on_disk: Option<Arc<SsoToken>>,
    held: Option<Arc<SsoToken>>,
    now: Timestamp,
) -> Result<(), Failure> {
    let held = held.filter(|held| on_disk.as_ref().is_none_or(|other| other.access_token != held.access_token));
    let mut told = Ok(());
    for token in [on_disk, held].into_iter().flatten().filter(|token| token.expires_at > now) {
        let call = aws.logout(session, &token.access_token).await;
        match call.result.map_err(|evidence| evidence.classify()) {
            // A token that AWS does not know is one that has ended.
            Ok(()) | Err(Verdict::TokenRefused) => {}
            Err(Verdict::Failed { failure, .. }) => {
                let message = format!("signed out here, but AWS was not told: {}", failure.message);
                let fix = format!("there the session of '{}' ends by itself", session.id());
                told = Err(Failure::new(failure.class, message, fix));
            }
        }
    }
    told
}

/// `agentd logout`: signs out and prints the document, for a client that finds no agent.
#[must_use]
pub fn main(config: Option<&Path>, which: Which) -> ExitCode {
    once::main(config, async |engine| {
        let world = Arc::clone(&engine.home);
        if !engine.watcher.look_at(&world, LOOK).await {
            let message = format!("{} cannot be read in time", world.config_file.display());
            return Err(Failure::new(FailureClass::Transient, message, "try again"));
        }
        let done = Logouts::new(engine).run(which.in_world(world)).await?;
        Ok(Zeroizing::new(serde_json::to_string(&done).unwrap_or_default()))
    })
}

/// Which sessions a command line or a route means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// A profile's session.
    Profile(String),
    /// A session by its short name.
    Session(String),
    /// All sessions.
    All,
}

impl Which {
    /// The same, in the files that it is said of.
    #[must_use]
    pub fn in_world(self, world: Arc<World>) -> LogoutTarget {
        match self {
            Self::Profile(name) => LogoutTarget::One(Target::Profile(ProfileRef { world, name })),
            Self::Session(id) => LogoutTarget::One(Target::Session { world, id }),
            Self::All => LogoutTarget::All(world),
        }
    }
}
