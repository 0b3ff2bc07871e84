//! `agentd resolve`: one profile's credentials, for CI steps and read-only hosts. What the daemon would keep (`keep` in
//! config.toml) is not fetched.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::audit::{self, Peer};
use super::engine::Engine;
use super::once;
use crate::api::process_json::union_document;
use crate::core::broker::{Demand, Event};
use crate::core::credential::RoleCredentials;
use crate::core::failure::{Failure, FailureClass};
use crate::core::settings::Settings;
use crate::core::waiters::{Answer, ProfileRef};
use crate::files::audit::AuditFile;
use crate::platform::clock::Deadline;

/// A disk that hangs keeps nobody waiting for longer.
const RECORD: Duration = Duration::from_millis(500);

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Question {
    /// `--config`.
    pub config: Option<std::path::PathBuf>,
    /// The profile.
    pub profile: String,
    /// Wanted life; zero for no wish.
    pub min_ttl: Duration,
    /// The limit of everything together.
    pub timeout: Duration,
}

/// Resolves once and prints.
#[must_use]
pub fn main(question: &Question) -> ExitCode {
    once::main(question.config.as_deref(), async |engine| {
        ask(engine, question, Deadline::after(question.timeout)).await
    })
}

async fn ask(engine: &Engine, question: &Question, deadline: Deadline) -> Result<Zeroizing<String>, Failure> {
    let settings = Settings { refused: engine.configuration.settings().refused, ..Settings::default() };
    engine.desk.tell(Event::Settings(settings));
    let known = engine.watcher.look_at(&engine.home, deadline.remaining().unwrap_or_default()).await;
    let profile = ProfileRef { world: Arc::clone(&engine.home), name: question.profile.clone() };
    while let Some(wait) = deadline.remaining().filter(|_| known) {
        let demand = |waiter| Demand {
            waiter,
            profile: profile.clone(),
            min_ttl: question.min_ttl,
            wait,
            last_ask: true,
            consumer: None,
        };
        match engine.desk.ask(|waiter| Event::Demand(demand(waiter))).await {
            Some(Answer::Credentials(credentials)) => {
                record(engine, &profile, &credentials).await;
                return Ok(union_document(&credentials));
            }
            Some(Answer::Refused(refusal)) => return Err(refusal.failure),
            Some(Answer::InFlight { .. } | Answer::Renewed { .. }) => {}
            None => return Err(Failure::new(FailureClass::Transient, "the broker ended unexpectedly", "try again")),
        }
    }
    let message = format!("still fetching after {} s", question.timeout.as_secs());
    Err(Failure::new(FailureClass::Transient, message, "give it longer: --timeout"))
}

/// Puts it on record who asked, which is who started this process; where that cannot be written, nobody is told. The
/// files are named always: this process has them from its own environment.
async fn record(engine: &Engine, profile: &ProfileRef, credentials: &RoleCredentials) {
    let grant = audit::grant(&profile.name, Some(&profile.world.config_file), credentials, &Peer::starter());
    let file = AuditFile::new(engine.state.folder());
    let written = tokio::task::spawn_blocking(move || file.append(&[grant]));
    let _ = tokio::time::timeout(RECORD, written).await;
}
