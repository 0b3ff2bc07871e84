//! The daemon's life: start, acknowledge, serve, end cleanly.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::audit::Audit;
use super::connections::{Connections, Seats};
use super::engine::Engine;
use super::folder_watch::FolderWatch;
use super::http::{self, Api};
use super::logout_flow::Logouts;
use super::settings::Configuration;
use super::signals::{Signal, Signals};
use super::succession::Succession;
use crate::api::v1;
use crate::core::failure::{Failure, FailureClass};
use crate::files::audit::AuditFile;
use crate::ipc::address::Address;
use crate::ipc::listener::{Arrival, BindError, Listener};
use crate::ipc::peer::Admission;
use crate::platform::clock::Clock;
use crate::platform::home::Environment;
use crate::platform::{folder, process, service};

/// The user's own files are read before the first request, unless that takes longer.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// At a clean end, requests that came in before are answered as always for this long;
const ANSWERED: Duration = Duration::from_millis(300);
/// then whoever still waits is told to ask again, and answers on their way get this long.
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
    let signals = Signals::listen()
        .map_err(|e| Failure::new(FailureClass::Transient, format!("signals cannot be received: {e}"), "try again"))?;
    let listener = match listen(address, Admission::new(configuration.allowed_uids())) {
        Ok(listener) => listener,
        Err(BindError::AlreadyRunning) => return already_running(options, address.socket()),
        Err(BindError::Failed(failure)) => return Err(failure),
    };
    let mut engine = Engine::start(configuration, home, state);
    let audit = Audit::start(AuditFile::new(state));
    let api = api(&engine, audit.clone(), Succession::new(listener.is_activated()));
    let connections = Connections::new(http::router(Arc::clone(&api)), Arc::clone(&api.seats));
    let mut reception = Reception { listener, connections, signals, api, looked: Arc::clone(&engine.looked) };
    engine.configuration.announce(engine.desk.broker());
    engine.go_on();
    engine.watcher.look_at(&engine.home, FIRST_LOOK).await;
    info!(version = env!("CARGO_PKG_VERSION"), pid = process::pid(), socket = %address.socket().display(), "serving");
    if options.detached {
        acknowledge("ready");
    }
    service::ready();
    let ended = tokio::select! {
        why = reception.open() => {
            info!(why, "stopping");
            service::stopping();
            reception.close(&mut engine).await;
            Ok(())
        }
        // It never ends by itself. An agent without it would answer nobody: better none, so that a client starts another.
        _ = &mut engine.event_loop => {
            let message = "the event loop ended unexpectedly";
            Err(Failure::new(FailureClass::Transient, message, "any agentctl command starts the agent again"))
        }
    };
    engine.finish().await;
    audit.finish().await;
    ended
}

/// The service manager's socket, else one of our own.
fn listen(address: &Address, admission: Admission) -> Result<Listener, BindError> {
    #[cfg(unix)]
    if let Some(activated) = crate::ipc::activation::handed_over().map_err(BindError::Failed)? {
        if activated.path != address.socket() {
            let (found, sought) = (activated.path.display(), address.socket().display());
            warn!(%found, %sought, "the service manager listens where clients do not look");
        }
        return Listener::activated(activated, admission);
    }
    Listener::bind(address, admission)
}

fn api(engine: &Engine, audit: Audit, succession: Succession) -> Arc<Api> {
    Arc::new(Api {
        audit,
        desk: engine.desk.clone(),
        watcher: Arc::clone(&engine.watcher),
        logouts: Logouts::new(engine),
        tokens: engine.tokens.clone(),
        state: engine.state.clone(),
        configuration: Arc::clone(&engine.configuration),
        home: Arc::clone(&engine.home),
        revision: engine.revision.clone(),
        shutdown: Arc::new(Notify::new()),
        succession,
        started_at: Clock.wall(),
        circumstances: engine.configuration.circumstances(),
        unwatched: FolderWatch::start(engine),
        seats: Arc::new(Seats::of_process()),
    })
}

fn already_running(options: &Options, socket: &Path) -> Result<(), Failure> {
    if options.detached {
        acknowledge("already running");
        return Ok(());
    }
    let message = format!("another agentd already serves {}", socket.display());
    Err(Failure::new(FailureClass::Misconfigured, message, "see: agentctl daemon status"))
}

/// Who lets clients in, until the end.
struct Reception {
    listener: Listener,
    connections: Connections,
    signals: Signals,
    api: Arc<Api>,
    looked: Arc<Notify>,
}

impl Reception {
    /// Accepts until a clean end is asked for, and says by whom. No accept error ends the daemon.
    async fn open(&mut self) -> &'static str {
        loop {
            let next = async {
                self.connections.room().await;
                self.listener.accept().await
            };
            tokio::select! {
                accepted = next => match accepted {
                    Ok(arrival) => welcome(arrival, &self.connections),
                    Err(e) => {
                        warn!(error = %e, "a connection was not accepted");
                        // Out of descriptors, most likely: some will be free again soon.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                },
                () = self.api.shutdown.notified() => return "a client asks for it",
                signal = self.signals.next() => match signal {
                    Signal::Stop => return "signalled",
                    Signal::Look => self.api.desk.look(),
                },
                () = self.looked.notified() => if !self.listener.has_its_name() {
                    return "the socket is gone, so nobody can reach this agent";
                },
            }
        }
    }

    /// The clean end: nobody who has connected goes away without an answer.
    async fn close(mut self, engine: &mut Engine) {
        for arrival in self.listener.close() {
            welcome(arrival, &self.connections);
        }
        // Our successor starts as soon as the lock is free, and knows what the files say.
        engine.tokens.retry_disk().await;
        drop(self.listener);
        if tokio::time::timeout(ANSWERED, self.connections.finish()).await.is_err() {
            // Waiters whose answer will not come any more are told so.
            engine.event_loop.abort();
            let _ = tokio::time::timeout(DRAIN, self.connections.finish()).await;
        }
        engine.event_loop.abort();
        let _ = (&mut engine.event_loop).await;
    }
}

fn welcome(arrival: Arrival, connections: &Connections) {
    match arrival {
        Arrival::Admitted(stream, peer) => connections.serve(stream, peer),
        Arrival::Refused(peer, why) => warn!(uid = peer.uid, pid = peer.pid, why, "a connection was refused"),
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
