//! The daemon's life: start, acknowledge, serve, end cleanly.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore};
use tracing::{debug, error, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::engine::Engine;
use super::http::{self, Api};
use super::settings::Configuration;
use crate::api::v1;
use crate::core::failure::{Failure, FailureClass};
use crate::ipc::address::Address;
use crate::ipc::listener::{Arrival, BindError, Listener};
use crate::ipc::peer::Admission;
use crate::platform::clock::Clock;
use crate::platform::home::Environment;
use crate::platform::{folder, process};

/// Connections served at a time; more wait in the socket's backlog.
const MAX_CONNECTIONS: usize = 256;
/// A request's head must be there by then.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// A connection takes no new request after this long, and is cut when its last one takes this long again: a client that
/// does not read its answer holds a place no longer.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// The user's own files are read before the first request, unless that takes longer.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// At a clean end, answers on their way get this long.
const DRAIN: Duration = Duration::from_millis(500);
/// A detached daemon that finds its log larger than this starts a new one and keeps the old.
const MAX_LOG: u64 = 4 * 1024 * 1024;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--socket`.
    pub socket: Option<PathBuf>,
    /// Started by agentctl.
    pub detached: bool,
}

/// Runs the daemon until it is told to end.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    process::harden();
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if options.detached {
                acknowledge(&serde_json::to_string(&v1::ErrorBody::from(&failure)).unwrap_or_default());
            }
            complain(&failure);
            ExitCode::from(failure.class.exit_code())
        }
    }
}

fn start(options: &Options) -> Result<(), Failure> {
    let environment = Environment::of_process();
    let state = environment.state_folder()?;
    folder::ensure_private(&state)?;
    if options.detached {
        let log = state.join("agentd.log");
        rotate(&log);
        process::detach(&log).map_err(|e| cannot("open the log", &log, &e))?;
    }
    log_to_stderr(&environment, tracing::Level::INFO);
    let address = Address::resolve(&environment, options.socket.as_deref())?;
    let runtime = runtime()?;
    let served = runtime.block_on(serve(options, environment, &state, &address));
    // A blocking step that hangs (a dead network home) must not hold up the end.
    runtime.shutdown_timeout(DRAIN);
    served
}

/// Logs what `AGENTCTL_LOG` asks for, by default from `level` on. Our own events only: the SDK writes whole requests,
/// tokens included, to its log at TRACE.
pub(super) fn log_to_stderr(environment: &Environment, level: tracing::Level) {
    let asked_for = environment.get("AGENTCTL_LOG").and_then(|l| l.parse().ok());
    let ours = Targets::new().with_target("aws_credential_agent", asked_for.unwrap_or(level));
    let events = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(events.with_filter(ours)).init();
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|e| Failure::new(FailureClass::Transient, format!("no runtime: {e}"), ""))
}

async fn serve(options: &Options, environment: Environment, state: &Path, address: &Address) -> Result<(), Failure> {
    let home = environment.world()?;
    let configuration = Configuration::load(environment, options.config.as_deref())?;
    let mut listener = match Listener::bind(address, Admission::new(configuration.allowed_uids())) {
        Ok(listener) => listener,
        Err(BindError::AlreadyRunning) => return already_running(options, address.socket()),
        Err(BindError::Failed(failure)) => return Err(failure),
    };
    let mut engine = Engine::start(configuration, home, state);
    let shutdown = Arc::new(Notify::new());
    let api = Arc::new(Api {
        desk: engine.desk.clone(),
        watcher: Arc::clone(&engine.watcher),
        tokens: engine.tokens.clone(),
        state: engine.state.clone(),
        configuration: Arc::clone(&engine.configuration),
        home: Arc::clone(&engine.home),
        revision: engine.revision.clone(),
        shutdown: Arc::clone(&shutdown),
        started_at: Clock.wall(),
        circumstances: engine.configuration.circumstances(),
    });
    engine.configuration.announce(engine.desk.broker());
    engine.go_on_pausing();
    engine.watcher.look_at(&engine.home, FIRST_LOOK).await;
    info!(version = env!("CARGO_PKG_VERSION"), pid = process::pid(), socket = %address.socket().display(), "serving");
    if options.detached {
        acknowledge("ready");
    }
    let ended = tokio::select! {
        () = accept(&mut listener, api, &shutdown) => {
            info!("stopping");
            // Our successor starts as soon as the socket is gone, and knows what the files say.
            engine.tokens.store_unsaved().await;
            drop(listener);
            engine.event_loop.abort();
            // Waiters whose answer will not come any more are told so; answers on their way go out.
            let _ = (&mut engine.event_loop).await;
            tokio::time::sleep(DRAIN).await;
            Ok(())
        }
        // It never ends by itself. An agent without it would answer nobody: better none, so that a client starts another.
        _ = &mut engine.event_loop => {
            let message = "the event loop ended unexpectedly";
            Err(Failure::new(FailureClass::Transient, message, "any agentctl command starts the agent again"))
        }
    };
    engine.finish().await;
    ended
}

fn already_running(options: &Options, socket: &Path) -> Result<(), Failure> {
    if options.detached {
        acknowledge("already running");
        return Ok(());
    }
    let message = format!("another agentd already serves {}", socket.display());
    Err(Failure::new(FailureClass::Misconfigured, message, "see: agentctl daemon status"))
}

/// Accepts until a clean end is asked for. No accept error ends the daemon.
async fn accept(listener: &mut Listener, api: Arc<Api>, shutdown: &Notify) {
    let router = http::router(api);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stop = std::pin::pin!(stop_signal());
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = shutdown.notified() => return,
            () = &mut stop => return,
        };
        match accepted {
            Ok(Arrival::Refused(peer, why)) => warn!(uid = peer.uid, pid = peer.pid, why, "a connection was refused"),
            Ok(Arrival::Admitted(stream, peer)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    serve_connection(stream, router, peer.pid).await;
                    drop(place);
                });
            }
            Err(e) => {
                warn!(error = %e, "a connection was not accepted");
                // Out of descriptors, most likely: some will be free again soon.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send, router: axum::Router, pid: Option<u32>) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(v1::MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let served = match tokio::time::timeout(CONNECTION_LIFE, connection.as_mut()).await {
        Ok(served) => Some(served),
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(CONNECTION_LIFE, connection).await.ok()
        }
    };
    match served {
        Some(Ok(())) => {}
        Some(Err(e)) => debug!(pid, error = %e, "connection ended early"),
        None => debug!(pid, "connection cut: its client takes no answer"),
    }
}

#[cfg(unix)]
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        error!("signals cannot be received; stop with: agentctl daemon stop");
        return std::future::pending().await;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
}

#[cfg(not(unix))]
async fn stop_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        error!("signals cannot be received; stop with: agentctl daemon stop");
        std::future::pending().await
    }
}

/// One line on stdout for the client that started us, which then waits no longer.
fn acknowledge(line: &str) {
    let mut stdout = std::io::stdout();
    // A client that has gone away needs no word, and a closed stdout none either.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    let _ = process::release_stdout();
}

pub(super) fn complain(failure: &Failure) {
    let _ = writeln!(std::io::stderr(), "agentd: {}", failure.line());
}

fn cannot(what: &str, path: &Path, e: &std::io::Error) -> Failure {
    Failure::new(FailureClass::Misconfigured, format!("cannot {what} {}: {e}", path.display()), "")
}

/// Keeps one old log.
fn rotate(log: &Path) {
    if std::fs::metadata(log).is_ok_and(|m| m.len() > MAX_LOG) {
        // The log is a convenience: without it the daemon works as well.
        let _ = std::fs::rename(log, log.with_extension("log.old"));
    }
}
