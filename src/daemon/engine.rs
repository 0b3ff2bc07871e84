//! The broker with everything around it that decides, watches and calls; without a socket. `agentd` serves it, and
//! `agentd resolve` asks it once.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::warn;

use super::effects::Effects;
use super::event_loop::{EventLoop, Message, Sender};
use super::settings::Configuration;
use super::token_flow::TokenFlow;
use super::watcher::Watcher;
use crate::core::broker::{Broker, Event};
use crate::core::login::LoginId;
use crate::core::source::World;
use crate::core::waiters::{Answer, WaiterId};
use crate::files::Pauses;
use crate::files::state::StateFile;
use crate::platform::clock::Clock;

/// At a clean end, renewals under way get this long: an AWS call and the storing of its answer.
const RENEWALS_END: Duration = Duration::from_secs(23);

/// The running parts.
pub struct Engine {
    /// Asks and tells the broker.
    pub desk: Desk,
    /// Our own settings, and the way to AWS.
    pub configuration: Arc<Configuration>,
    /// Looks at files.
    pub watcher: Arc<Watcher>,
    /// The files' side of renewing sessions.
    pub tokens: TokenFlow,
    /// Our own notes.
    pub state: StateFile,
    /// The process's own world.
    pub home: Arc<World>,
    /// The broker's revision.
    pub revision: watch::Receiver<u64>,
    /// Fires with each look at the files.
    pub looked: Arc<Notify>,
    /// The event loop. It never ends by itself.
    pub event_loop: JoinHandle<()>,
}

impl Engine {
    /// Starts the event loop; the settings are not announced yet and no file was read. `state` is the folder for our own
    /// notes and locks.
    #[must_use]
    pub fn start(configuration: Configuration, home: World, state: &Path) -> Self {
        let (clock, home, configuration) = (Clock, Arc::new(home), Arc::new(configuration));
        let (broker, inbox) = mpsc::unbounded_channel();
        let ((revision, revision_seen), looked) = (watch::channel(0), Arc::new(Notify::new()));
        let state = StateFile::new(state, Pauses::real());
        let tokens = TokenFlow::new(state.clone(), clock);
        let watcher = Arc::new(Watcher::new(
            broker.clone(),
            Arc::clone(&configuration),
            tokens.clone(),
            clock,
            Arc::clone(&home),
        ));
        let effects = Effects {
            broker: broker.clone(),
            configuration: Arc::clone(&configuration),
            tokens: tokens.clone(),
            watcher: Arc::clone(&watcher),
            state: state.clone(),
            logins: Mutex::default(),
            looked: Arc::clone(&looked),
        };
        let event_loop = EventLoop { broker: Broker::new(Arc::clone(&home)), clock, inbox, effects, revision };
        Self {
            desk: Desk::new(broker),
            configuration,
            watcher,
            tokens,
            state,
            home,
            revision: revision_seen,
            looked,
            event_loop: tokio::spawn(event_loop.run()),
        }
    }

    /// Goes on with a pause that was asked for before this process began, and with what is known of logins.
    pub fn go_on(&self) {
        let (state, unreadable) = self.state.load();
        if let Some(finding) = &unreadable {
            warn!(cause = finding.message, "what was remembered is lost");
        }
        self.desk.tell(Event::Logins(unreadable.is_none().then(|| state.logins().clone())));
        if state.network().is_some_and(|network| network != self.configuration.fingerprint()) {
            self.desk.tell(Event::NetworkChanged);
        }
        let pause = state.pause();
        if let Some(left) = pause.and_then(|pause| pause.left(Clock.wall())) {
            self.desk.tell(Event::Pause(left));
        }
    }

    /// Ends well: a refresh token that AWS has rotated must still be stored.
    pub async fn finish(&self) {
        if tokio::time::timeout(RENEWALS_END, self.tokens.finish()).await.is_err() {
            warn!("a renewal did not end in time");
        }
    }
}

/// Where requests are parked with the broker. Clones share the numbers of waiters.
#[derive(Clone)]
pub struct Desk {
    broker: Sender,
    waiters: Arc<AtomicU64>,
    logins: Arc<AtomicU64>,
}

impl Desk {
    fn new(broker: Sender) -> Self {
        // Numbers of logins go out to clients: they name one of this process only.
        let first = u64::from(std::process::id()) << 32;
        Self { broker, waiters: Arc::new(AtomicU64::new(1)), logins: Arc::new(AtomicU64::new(first)) }
    }

    /// The broker's inbox.
    #[must_use]
    pub const fn broker(&self) -> &Sender {
        &self.broker
    }

    /// Tells the broker something that has no answer.
    pub fn tell(&self, event: Event) {
        // When the loop has ended there is nobody left to tell.
        let _ = self.broker.send(Message::Event(event));
    }

    /// A number for a login.
    #[must_use]
    pub fn login_id(&self) -> LoginId {
        LoginId(self.logins.fetch_add(1, Ordering::Relaxed))
    }

    /// Has settings and files looked at now.
    pub fn look(&self) {
        // When the loop has ended there is nothing left to look for.
        let _ = self.broker.send(Message::Look);
    }

    /// Parks a request until its one answer; `None`: the process is about to end. Whoever goes away drops this future,
    /// which tells the broker.
    pub async fn ask(&self, request: impl FnOnce(WaiterId) -> Event) -> Option<Answer> {
        let waiter = WaiterId(self.waiters.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        self.broker.send(Message::Request(waiter, request(waiter), reply)).ok()?;
        let leave = LeaveOnDrop { broker: &self.broker, waiter: Some(waiter) };
        let answer = answer.await.ok();
        leave.answered();
        answer
    }
}

struct LeaveOnDrop<'a> {
    broker: &'a Sender,
    waiter: Option<WaiterId>,
}

impl LeaveOnDrop<'_> {
    fn answered(mut self) {
        self.waiter = None;
    }
}

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            // A loop that has ended has no waiters.
            let _ = self.broker.send(Message::Event(Event::Leave(waiter)));
        }
    }
}
