//! `agentd resolve`: one profile's credentials without a daemon and without a socket, for CI steps and read-only hosts.
//!
//! The same broker, files and locks as the daemon's, asked once: whatever else runs, no refresh token is sent twice. The
//! document, or the failure as JSON, goes to stdout; for people the failure is one line on stderr too. What the daemon
//! would keep (`keep` in config.toml) is not fetched.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::audit::{self, Peer};
use super::engine::Engine;
use super::run;
use super::settings::Configuration;
use crate::api::process_json::union_document;
use crate::api::v1;
use crate::core::broker::{Demand, Event};
use crate::core::credential::RoleCredentials;
use crate::core::failure::{Failure, FailureClass};
use crate::core::settings::Settings;
use crate::core::waiters::{Answer, ProfileRef};
use crate::files::audit::AuditFile;
use crate::platform::clock::Deadline;
use crate::platform::home::Environment;
use crate::platform::process;

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
    process::harden();
    let resolved = resolve(question);
    let (document, code) = match &resolved {
        Ok(document) => (document.as_bytes(), ExitCode::SUCCESS),
        Err(failure) => {
            run::complain(failure);
            let body = serde_json::to_string(&v1::ErrorBody::from(failure)).unwrap_or_default();
            return print(body.as_bytes(), ExitCode::from(failure.class.exit_code()));
        }
    };
    print(document, code)
}

/// A reader that is gone needs nothing.
fn print(document: &[u8], code: ExitCode) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(document).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
    code
}

fn resolve(question: &Question) -> Result<Zeroizing<String>, Failure> {
    let environment = Environment::of_process();
    run::log_to_stderr(&environment, tracing::Level::WARN);
    // On a read-only host this folder cannot be made: then a token that still lives is used, and none renewed.
    let state = environment.state_folder()?;
    let home = environment.world()?;
    let configuration = Configuration::load(environment, question.config.as_deref())?;
    let runtime = run::runtime()?;
    let answer = runtime.block_on(async {
        let deadline = Deadline::after(question.timeout);
        let engine = Engine::start(configuration, home, &state);
        let answer = ask(&engine, question, deadline).await;
        // A renewal beside the fetch: what AWS rotates must be stored.
        engine.finish().await;
        answer
    });
    runtime.shutdown_timeout(Duration::ZERO);
    answer
}

async fn ask(engine: &Engine, question: &Question, deadline: Deadline) -> Result<Zeroizing<String>, Failure> {
    let settings = Settings { refused: engine.configuration.settings().refused, ..Settings::default() };
    engine.desk.tell(Event::Settings(settings));
    engine.go_on();
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
