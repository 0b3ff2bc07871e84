//! Looks at files: on demand, before a request is judged, and every 30 s. Looking is a handful of `stat` calls; only
//! what changed is read, and what was read reaches the broker before the request that made us look.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;

use super::event_loop::{Message, Sender};
use super::token_flow::TokenFlow;
use crate::aws::profile;
use crate::core::broker::Event;
use crate::core::failure::{Failure, FailureClass};
use crate::core::node::NodeId;
use crate::core::session::TokenFile;
use crate::core::source::{Link, World, WorldConfig};
use crate::files::Pauses;
use crate::files::token_cache::TokenCache;
use crate::files::watch::Stamp;

/// A session whose token file matters.
struct Watched {
    node: NodeId,
    link: Link,
    world: Arc<World>,
    path: PathBuf,
    stamp: Option<Stamp>,
}

/// The stamps of each world's config and credentials file; see [`Watcher::worlds`].
type Looked = BTreeMap<Arc<World>, Option<[Stamp; 2]>>;

/// The stamps of everything that was read.
pub struct Watcher {
    broker: Sender,
    tokens: TokenFlow,
    /// Config and credentials file of each world as they were when read. Held while they are read again, so that
    /// nobody is judged by a config, or by the want of a token, that is about to be replaced.
    worlds: Arc<AsyncMutex<Looked>>,
    sessions: Mutex<Vec<Watched>>,
}

impl Watcher {
    /// A watcher that has seen nothing yet.
    #[must_use]
    pub fn new(broker: Sender, tokens: TokenFlow) -> Self {
        Self { broker, tokens, worlds: Arc::default(), sessions: Mutex::default() }
    }

    /// Brings the broker up to date with the files of one world.
    pub async fn look_at(self: &Arc<Self>, world: &Arc<World>) {
        let mut worlds = Arc::clone(&self.worlds).lock_owned().await;
        let stamps = [Stamp::of(&world.config_file), Stamp::of(&world.credentials_file)];
        if worlds.get(world) != Some(&Some(stamps)) {
            let known = worlds.contains_key(world);
            let (stamps, config) = read_config(world, stamps, known).await;
            // What could not be read is read again at the next look: the error may have been of the moment.
            worlds.insert(Arc::clone(world), config.is_ok().then_some(stamps));
            self.post(Event::Config { world: Arc::clone(world), config });
        }
        let changed = self.changed_sessions(world);
        if changed.is_empty() {
            return;
        }
        // In a task of its own: their stamps count as read now, and a client that goes away must not take the news with
        // it.
        let (watcher, world) = (Arc::clone(self), Arc::clone(world));
        let reading = tokio::spawn(async move {
            for (node, link) in changed {
                let file = watcher.read_token(&link, &world).await;
                watcher.post(Event::TokenRead { node, file });
            }
            drop(worlds);
        });
        // It ends early only by a panic, which the log tells.
        let _ = reading.await;
    }

    /// The same for every world that was ever asked for.
    pub async fn look_at_all(self: &Arc<Self>) {
        let worlds: Vec<_> = self.worlds.lock().await.keys().cloned().collect();
        for world in worlds {
            self.look_at(&world).await;
        }
    }

    /// Reads a session's token file, off the loop.
    pub async fn read_token(&self, link: &Link, world: &Arc<World>) -> TokenFile {
        let Link::SsoSession(session) = link.clone() else { return TokenFile::Absent };
        let (tokens, world_read) = (self.tokens.clone(), Arc::clone(world));
        self.note_token_read(link, world);
        let read = tokio::task::spawn_blocking(move || tokens.read(&session, &world_read)).await;
        read.unwrap_or_else(|e| {
            TokenFile::Unusable(Failure::new(FailureClass::Transient, format!("reading the token failed: {e}"), ""))
        })
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

    /// Sessions of this world whose token file is not as it was when last read.
    fn changed_sessions(&self, world: &Arc<World>) -> Vec<(NodeId, Link)> {
        let mut watched = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        for session in watched.iter_mut().filter(|w| w.world == *world) {
            let stamp = Some(Stamp::of(&session.path));
            // A session that was never read is read when the broker asks for it.
            if session.stamp.is_some() && session.stamp != stamp {
                session.stamp = stamp;
                changed.push((session.node, session.link.clone()));
            }
        }
        changed
    }

    /// Stamps a token file before it is read, so that a change during the read is seen later.
    fn note_token_read(&self, link: &Link, world: &Arc<World>) {
        let mut watched = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        for session in watched.iter_mut().filter(|w| w.world == *world && w.link == *link) {
            session.stamp = Some(Stamp::of(&session.path));
        }
    }

    fn post(&self, event: Event) {
        // When the loop has ended there is nobody left to tell.
        let _ = self.broker.send(Message::Event(event));
    }
}

/// Reads a world's config files. One that was there before and is now missing or empty may be just being written:
/// other tools truncate in place or unlink first.
async fn read_config(
    world: &Arc<World>,
    mut stamps: [Stamp; 2],
    known: bool,
) -> ([Stamp; 2], Result<WorldConfig, Failure>) {
    for _ in 0..if known { 5 } else { 0 } {
        if !matches!(stamps[0], Stamp::Absent | Stamp::Present { size: 0, .. }) {
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
        Some(Self { node, link, world, path, stamp: None })
    }
}
