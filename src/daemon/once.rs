//! What is done once, without a daemon and without a socket: `agentd resolve`, `logout`, `probe` and `bedrock`.
//!
//! The same broker, files and locks as the daemon's: whatever else runs, no refresh token is sent twice. The document, or
//! the failure as JSON, goes to stdout; for people the failure is one line on stderr too.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use super::engine::Engine;
use super::run;
use super::settings::Configuration;
use crate::api::v1;
use crate::aws::profile;
use crate::core::failure::Failure;
use crate::core::source::World;
use crate::platform::home::Environment;
use crate::platform::process;

/// Starts an engine, lets `act` use it, and prints what comes of it. `config` is `--config`.
#[must_use]
pub fn main(config: Option<&Path>, act: impl AsyncFnOnce(&Engine) -> Result<Zeroizing<String>, Failure>) -> ExitCode {
    process::harden();
    tell(done(config, act))
}

/// Prints the document, or the failure.
pub(super) fn tell(result: Result<Zeroizing<String>, Failure>) -> ExitCode {
    match result {
        Ok(document) => print(document.as_bytes(), ExitCode::SUCCESS),
        Err(failure) => {
            run::complain(&failure);
            let body = serde_json::to_string(&v1::ErrorBody::from(&failure)).unwrap_or_default();
            print(body.as_bytes(), ExitCode::from(failure.class.exit_code()))
        }
    }
}

/// A reader that is gone needs nothing.
fn print(document: &[u8], code: ExitCode) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(document).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
    code
}

/// Lets `act` use the network as the agent would, with neither broker nor state; its document.
pub(super) fn without_engine<T: Serialize>(
    config: Option<&Path>,
    act: impl AsyncFnOnce(&Configuration, &Arc<World>) -> Result<T, Failure>,
) -> Result<Zeroizing<String>, Failure> {
    let environment = Environment::of_process();
    run::log_to_stderr(&environment, tracing::Level::WARN);
    let world = Arc::new(environment.world()?);
    let configuration = Configuration::load(environment, config)?;
    let runtime = run::runtime()?;
    let document = runtime.block_on(async {
        // A file that cannot be read is told by who needs it.
        let bundles = profile::load(&world).await.unwrap_or_default().ca_bundles();
        configuration.take_bundles(&world, bundles, None);
        act(&configuration, &world).await
    });
    runtime.shutdown_timeout(Duration::ZERO);
    Ok(Zeroizing::new(serde_json::to_string(&document?).unwrap_or_default()))
}

fn done(
    config: Option<&Path>,
    act: impl AsyncFnOnce(&Engine) -> Result<Zeroizing<String>, Failure>,
) -> Result<Zeroizing<String>, Failure> {
    let environment = Environment::of_process();
    run::log_to_stderr(&environment, tracing::Level::WARN);
    // On a read-only host this folder cannot be made: then a token that still lives is used, and none renewed.
    let state = environment.state_folder()?;
    let home = environment.world()?;
    let configuration = Configuration::load(environment, config)?;
    let runtime = run::runtime()?;
    let answer = runtime.block_on(async {
        let engine = Engine::start(configuration, home, &state);
        engine.go_on();
        let answer = act(&engine).await;
        // A renewal beside it: what AWS rotates must be stored.
        engine.finish().await;
        answer
    });
    runtime.shutdown_timeout(Duration::ZERO);
    answer
}
