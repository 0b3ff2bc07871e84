//! Looks at files: on demand, before a request is judged, every 30 s, and when `folder_watch` heard something. Looking
//! is a handful of `stat` calls; only what changed is read, and what was read reaches the broker before the request that
//! made us look.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::task::JoinSet;

use super::event_loop::{Message, Sender};
use super::settings::Configuration;
use super::token_flow::TokenFlow;
use crate::aws::profile;
use crate::core::broker::Event;
use crate::core::failure::{Failure, FailureClass, shell_word};
use crate::core::node::NodeId;
use crate::core::session::TokenFile;
use crate::core::source::{Link, World, WorldConfig};
use crate::core::status::Finding;
use crate::core::time::Tick;
use crate::files::Pauses;
use crate::files::limits::open_to_others;
use crate::files::token_cache::TokenCache;
use crate::files::watch::Stamp;
use crate::platform::clock::Clock;

/// A session whose token file matters.
struct Watched {
    node: NodeId,
    link: Link,
    world: Arc<World>,
    path: PathBuf,
    seen: Seen,
}

/// How a token file was when it was last read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It is read when the broker asks for it.
    Never,
    /// Before we wrote it ourselves: where somebody has removed it since, it looks as it did then.
    Outdated,
    As(Stamp),
}

/// A look that takes longer (a file that stays torn, a dead mount) goes on beside the request that made us look, which
/// is then judged by what is known.
const PATIENCE: Duration = Duration::from_millis(300);
/// A world that nobody asked for this long is forgotten, and the one asked for longest ago where there are too many:
/// test harnesses name a new home with each run.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);
/// So many worlds are remembered, beside the daemon's own.
const MAX_WORLDS: usize = 256;
/// A token file that was not read by then counts as unusable.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// What was read of one world.
#[derive(Default)]
struct Looked {
    /// Config and credentials file as they were when read. Locked while they are read again, so that nobody is judged
    /// by a config, or by the want of a token, that is about to be replaced.
    stamps: Arc<AsyncMutex<Option<[Stamp; 2]>>>,
    /// Whether the broker was ever told of this world.
    told: AtomicBool,
    /// When it was last asked for, in milliseconds of the monotonic clock.
    asked_at: AtomicU64,
}

/// The stamps of everything that was read.
pub struct Watcher {
    broker: Sender,
    configuration: Arc<Configuration>,
    tokens: TokenFlow,
    clock: Clock,
    /// The daemon's own world, never forgotten.
    home: Arc<World>,
    worlds: Mutex<BTreeMap<Arc<World>, Arc<Looked>>>,
    folders_due: Notify,
    sessions: Mutex<Vec<Watched>>,
}

impl Watcher {
    /// A watcher that has seen nothing yet.
    #[must_use]
    pub fn new(
        broker: Sender,
        configuration: Arc<Configuration>,
        tokens: TokenFlow,
        clock: Clock,
        home: Arc<World>,
    ) -> Self {
        let (worlds, folders_due, sessions) = Default::default();
        Self { broker, configuration, tokens, clock, home, worlds, folders_due, sessions }
    }

    /// Brings the broker up to date with the files of one world, and says whether it knows that world: one that is new
    /// gets as long as `patience` to be read.
    pub async fn look_at(self: &Arc<Self>, world: &Arc<World>, patience: Duration) -> bool {
        let looked = Arc::clone(self.worlds().entry(Arc::clone(world)).or_insert_with(|| {
            self.folders_due.notify_one();
            Arc::default()
        }));
        looked.asked_at.store(self.clock.tick().as_millis(), Ordering::Relaxed);
        // Whoever names new ones faster than the clock ticks must not fill the memory.
        if self.worlds().len() > 2 * MAX_WORLDS {
            self.forget_old();
        }
        self.look_in_time(world, &looked, patience).await
    }

    async fn look_in_time(self: &Arc<Self>, world: &Arc<World>, looked: &Arc<Looked>, patience: Duration) -> bool {
        let patience = if looked.told.load(Ordering::Acquire) { PATIENCE } else { patience };
        // What is not done in time is done all the same.
        let _ = tokio::time::timeout(patience, self.look(world, looked)).await;
        looked.told.load(Ordering::Acquire)
    }

    async fn look(self: &Arc<Self>, world: &Arc<World>, looked: &Arc<Looked>) {
        let mut read = Arc::clone(&looked.stamps).lock_owned().await;
        let stamps = [Stamp::of(&world.config_file), Stamp::of(&world.credentials_file)];
        let config_changed = *read != Some(stamps);
        let changed = self.changed_sessions(world);
        if !config_changed && changed.is_empty() {
            return;
        }
        // In a task of its own: their stamps count as read now, and a client that goes away must not take the news with
        // it.
        let (watcher, world, looked) = (Arc::clone(self), Arc::clone(world), Arc::clone(looked));
        let reading = tokio::spawn(async move {
            if config_changed {
                let (stamps, config) = read_config(&world, stamps, *read).await;
                // What could not be read is read again at the next look: the error may have been of the moment.
                *read = config.is_ok().then_some(stamps);
                if let Ok(config) = &config {
                    watcher.take_bundles(&world, config.ca_bundles()).await;
                }
                watcher.post(Event::Config { world: Arc::clone(&world), config });
                looked.told.store(true, Ordering::Release);
            }
            for (node, link) in changed {
                let file = watcher.read_token(&link, &world).await;
                watcher.post(Event::TokenRead { node, file });
            }
        });
        // It ends early only by a panic, which the log tells.
        let _ = reading.await;
    }

    /// The same for every world that was ever asked for, side by side.
    pub async fn look_at_all(self: &Arc<Self>) {
        let worlds: Vec<_> = self.worlds().iter().map(|(w, looked)| (Arc::clone(w), Arc::clone(looked))).collect();
        let mut looks = JoinSet::new();
        for (world, looked) in worlds {
            let watcher = Arc::clone(self);
            looks.spawn(async move { watcher.look_in_time(&world, &looked, PATIENCE).await });
        }
        while looks.join_next().await.is_some() {}
    }

    /// Ends when the folders that are watched should be held against what exists: a world is new, or it is time for the
    /// scan, which may have forgotten some. For one listener.
    pub async fn folders_due(&self) {
        self.folders_due.notified().await;
    }

    /// The worlds that are looked at: our own first, then those that were asked for last.
    #[must_use]
    pub fn worlds_by_need(&self) -> Vec<Arc<World>> {
        let others = Self::others_by_age(&self.worlds(), &self.home);
        std::iter::once(Arc::clone(&self.home)).chain(others.into_iter().rev().map(|(_, world)| world)).collect()
    }

    fn others_by_age(worlds: &BTreeMap<Arc<World>, Arc<Looked>>, home: &Arc<World>) -> Vec<(Tick, Arc<World>)> {
        let asked_at = |looked: &Looked| Tick::from_millis(looked.asked_at.load(Ordering::Relaxed));
        let others = worlds.iter().filter(|(world, _)| *world != home);
        let mut by_age: Vec<_> = others.map(|(world, looked)| (asked_at(looked), Arc::clone(world))).collect();
        by_age.sort_unstable_by_key(|(asked, _)| *asked);
        by_age
    }

    /// Forgets worlds that nobody asks for any more.
    pub fn forget_old(&self) {
        let now = self.clock.tick();
        let mut worlds = self.worlds();
        let by_age = Self::others_by_age(&worlds, &self.home);
        let too_many = by_age.len().saturating_sub(MAX_WORLDS);
        for (n, (asked, world)) in by_age.into_iter().enumerate() {
            if n < too_many || now.since(asked) > FORGET_AFTER {
                worlds.remove(&world);
                self.configuration.take_bundles(&world, BTreeSet::new(), Some(&self.broker));
                self.post(Event::Forget(world));
            }
        }
        self.folders_due.notify_one();
    }

    fn worlds(&self) -> MutexGuard<'_, BTreeMap<Arc<World>, Arc<Looked>>> {
        self.worlds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a session's token file, off the loop and with a deadline.
    pub async fn read_token(&self, link: &Link, world: &Arc<World>) -> TokenFile {
        let Link::SsoSession(session) = link.clone() else { return TokenFile::Absent };
        let (tokens, world_read) = (self.tokens.clone(), Arc::clone(world));
        self.note_token_read(link, world);
        let reading = tokio::task::spawn_blocking(move || tokens.read(&session, &world_read));
        let unread = |why: &str| TokenFile::Unusable(Failure::new(FailureClass::Transient, why, "see its file system"));
        match tokio::time::timeout(READ_DEADLINE, reading).await {
            Ok(Ok(file)) => file,
            Ok(Err(_)) => unread("reading the token file ended without a result"),
            Err(_) => unread("the token file could not be read in time"),
        }
    }

    /// Before the broker hears of the config: what it fetches then is fetched with these.
    async fn take_bundles(&self, world: &Arc<World>, bundles: BTreeSet<PathBuf>) {
        let (configuration, broker, world) = (Arc::clone(&self.configuration), self.broker.clone(), Arc::clone(world));
        let taking = tokio::task::spawn_blocking(move || configuration.take_bundles(&world, bundles, Some(&broker)));
        // A disk that hangs is not waited for; it ends early only by a panic, which the log tells.
        let _ = tokio::time::timeout(READ_DEADLINE, taking).await;
    }

    /// The sessions that matter from now on; those known keep their stamps.
    pub fn set_sessions(&self, sessions: impl Iterator<Item = (NodeId, Link, Arc<World>)>) {
        let mut watched = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut old = std::mem::take(&mut *watched);
        for (node, link, world) in sessions {
            let known = old.iter().position(|w| w.node == node).map(|i| old.swap_remove(i));
            watched.extend(known.or_else(|| Watched::new(node, link, world)));
        }
    }

    /// Token files that others may read: they are used, for the tools that wrote them use them too, and it is told.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let watched = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let paths: BTreeSet<PathBuf> = watched.iter().map(|w| w.path.clone()).collect();
        drop(watched);
        let open = paths.iter().filter_map(|path| Some((path.to_string_lossy(), open_to_others(path)?)));
        open.map(|(path, mode)| {
            let message = format!("the token file {path} is open to other users (mode {mode:03o})");
            Finding::new("token-file-open", message, format!("chmod 600 {}", shell_word(&path)))
        })
        .collect()
    }

    /// Sessions of this world whose token file is not as it was when last read.
    fn changed_sessions(&self, world: &Arc<World>) -> Vec<(NodeId, Link)> {
        let mut watched = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        for session in watched.iter_mut().filter(|w| w.world == *world) {
            let now = Seen::As(Stamp::of(&session.path));
            if session.seen != Seen::Never && session.seen != now {
                session.seen = now;
                changed.push((session.node, session.link.clone()));
            }
        }
        changed
    }

    /// Stamps a token file before it is read, so that a change during the read is seen later.
    fn note_token_read(&self, link: &Link, world: &Arc<World>) {
        self.note(link, world, |watched| watched.seen = Seen::As(Stamp::of(&watched.path)));
    }

    /// The broker has heard of a token of ours: the next look reads its file, whatever it looks like. One that could not be
    /// written has none to read.
    pub fn note_token_written(&self, link: &Link, world: &Arc<World>) {
        self.note(link, world, |watched| {
            if !self.tokens.is_in_memory_alone(&watched.path) {
                watched.seen = Seen::Outdated;
            }
        });
    }

    fn note(&self, link: &Link, world: &Arc<World>, note: impl Fn(&mut Watched)) {
        let mut watched = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        watched.iter_mut().filter(|w| w.world == *world && w.link == *link).for_each(note);
    }

    fn post(&self, event: Event) {
        // When the loop has ended there is nobody left to tell.
        let _ = self.broker.send(Message::Event(event));
    }
}

/// Reads a world's config files. One that was there at the last look and is now missing or empty may be just being
/// written: other tools truncate in place or unlink first.
async fn read_config(
    world: &Arc<World>,
    mut stamps: [Stamp; 2],
    last: Option<[Stamp; 2]>,
) -> ([Stamp; 2], Result<WorldConfig, Failure>) {
    let missing = |[config, _]: [Stamp; 2]| matches!(config, Stamp::Absent | Stamp::Present { size: 0, .. });
    let tries = if last.is_some_and(|last| !missing(last)) { 5 } else { 0 };
    for _ in 0..tries {
        if !missing(stamps) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        stamps[0] = Stamp::of(&world.config_file);
    }
    (stamps, profile::load(world).await)
}

impl Watched {
    fn new(node: NodeId, link: Link, world: Arc<World>) -> Option<Self> {
        let Link::SsoSession(session) = &link else { return None };
        let path = TokenCache::new(&world, session, Pauses::real()).path();
        Some(Self { node, link, world, path, seen: Seen::Never })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::mpsc::{self, UnboundedReceiver};

    use super::*;
    use crate::files::state::StateFile;
    #[cfg(unix)]
    use crate::files::testing;

    fn watcher(root: &Path) -> (Arc<Watcher>, UnboundedReceiver<Message>) {
        let (broker, inbox) = mpsc::unbounded_channel();
        let tokens = TokenFlow::new(StateFile::new(root.join("state"), Pauses::none()), Clock);
        let environment = ["HOME", "USERPROFILE"].map(|name| (name, root.to_str().unwrap())).into_iter().collect();
        let configuration = Arc::new(Configuration::load(environment, None).unwrap());
        (Arc::new(Watcher::new(broker, configuration, tokens, Clock, Arc::default())), inbox)
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_token_of_ours_that_is_removed_before_anybody_looks() {
        let root = tempfile::tempdir().unwrap();
        let (watcher, mut inbox) = watcher(root.path());
        let session = testing::session();
        let world = Arc::new(World { sso_cache: root.path().join("cache"), ..World::default() });
        let link = Link::SsoSession(session.clone());
        watcher.set_sessions(std::iter::once((NodeId(1), link.clone(), Arc::clone(&world))));
        let mut read = async || {
            watcher.look_at(&world, READ_DEADLINE).await;
            let mut found = Vec::new();
            while let Ok(message) = inbox.try_recv() {
                if let Message::Event(Event::TokenRead { file, .. }) = message {
                    found.push(file);
                }
            }
            found
        };
        assert_eq!(watcher.read_token(&link, &world).await, TokenFile::Absent);
        assert_eq!(read().await, []);
        let token = Arc::new(testing::token("at1", "rt1", 1));
        watcher.tokens.store_login(&session, &world, &token).await;
        std::fs::remove_file(TokenCache::new(&world, &session, Pauses::none()).path()).unwrap();
        watcher.note_token_written(&link, &world);
        assert_eq!(read().await, [TokenFile::Absent]);
        assert_eq!(read().await, [], "once");
        // One that nobody can store is not held to be removed.
        std::fs::remove_dir_all(&world.sso_cache).unwrap();
        std::fs::write(&world.sso_cache, "in the way").unwrap();
        watcher.tokens.store_login(&session, &world, &token).await;
        watcher.note_token_written(&link, &world);
        assert_eq!(read().await, []);
    }

    #[tokio::test]
    async fn worlds_are_forgotten_however_fast_they_come() {
        let root = tempfile::tempdir().unwrap();
        let (watcher, mut inbox) = watcher(root.path());
        let world = |n: usize| Arc::new(World { config_file: root.path().join(n.to_string()), ..World::default() });
        for n in 0..3 * MAX_WORLDS {
            assert!(watcher.look_at(&world(n), READ_DEADLINE).await, "the newest is known");
            assert!(watcher.worlds().len() <= 2 * MAX_WORLDS, "after {n}");
        }
        let mut forgotten = 0;
        while let Ok(message) = inbox.try_recv() {
            forgotten += usize::from(matches!(message, Message::Event(Event::Forget(_))));
        }
        assert_eq!(forgotten + watcher.worlds().len(), 3 * MAX_WORLDS, "the broker is told of each");
    }
}
