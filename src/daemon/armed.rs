//! The watches that the operating system holds for us. The only user of `notify`.
//!
//! [`Armed::arm`] makes them what a [`Plan`] says. What they tell is judged where it is heard, on `notify`'s thread
//! ([`Signals`]): nothing wakes the agent that cannot matter, above all not its own reading. One thing kept in mind
//! throughout: `notify` ends the watch of a folder that was removed or renamed, and of all below it, so an event that
//! names a watched folder makes its watch void, even if the same folder is back in its place.
//!
//! Nothing here is fatal, a panic in `notify` neither (its thread may be gone): the watches are made anew next time.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::core::status::Finding;
use crate::files::folders::{Heard, Identity, Plan};

/// FSEvents (macOS) watches a path, whatever folder has it.
const WATCH_ENDS_WITH_FOLDER: bool = cfg!(not(target_os = "macos"));

/// What was heard and not yet seen to.
#[derive(Debug, Default)]
pub struct News {
    /// Something that is wanted may have changed.
    pub changed: bool,
    /// Watched folders, or folders above them, that were removed or renamed.
    moved: BTreeSet<PathBuf>,
    /// Events were lost.
    lost: bool,
}

/// From the operating system's events to a wake-up.
#[derive(Debug, Default)]
pub struct Signals {
    /// Told with every piece of news.
    pub wake: Notify,
    heard: Mutex<(Plan, News)>,
}

impl Signals {
    /// The news since the last time.
    #[must_use]
    pub fn take(&self) -> News {
        std::mem::take(&mut self.lock().1)
    }

    /// Whether there is news at all.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.lock().1.changed
    }

    /// From now on this plan says what matters.
    fn listen_for(&self, plan: Plan) {
        self.lock().0 = plan;
    }

    fn hear(&self, event: notify::Result<notify::Event>) {
        let mut heard = self.lock();
        let (plan, news) = &mut *heard;
        match event {
            Ok(event) if !event.need_rescan() => judge(plan, news, event),
            Ok(_) | Err(_) => (news.changed, news.lost) = (true, true),
        }
        let wake = news.changed;
        drop(heard);
        if wake {
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Plan, News)> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn judge(plan: &Plan, news: &mut News, event: notify::Event) {
    let ends_watches =
        WATCH_ENDS_WITH_FOLDER && matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
    // Opening and reading is what we do ourselves; the end of a writing is what we wait for.
    if matches!(event.kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write)) {
        return;
    }
    for path in event.paths {
        match plan.hears(&path) {
            Heard::Nothing => {}
            Heard::Change => news.changed = true,
            Heard::OfFolder => {
                news.changed = true;
                if ends_watches {
                    news.moved.insert(path);
                }
            }
        }
    }
}

/// What is watched.
#[derive(Debug)]
pub struct Armed {
    signals: Arc<Signals>,
    /// Never dropped: a watcher whose thread has ended panics when it is.
    os: Option<ManuallyDrop<RecommendedWatcher>>,
    /// By real path. `None`: the watch may have ended.
    folders: BTreeMap<PathBuf, Option<Identity>>,
}

impl Armed {
    /// Nothing is watched yet.
    #[must_use]
    pub fn new(signals: Arc<Signals>) -> Self {
        Self { signals, os: None, folders: BTreeMap::new() }
    }

    /// Takes note of watches that ended by what happened.
    pub fn note(&mut self, news: &News) {
        for (path, armed) in &mut self.folders {
            if news.lost || path.ancestors().any(|above| news.moved.contains(above)) {
                *armed = None;
            }
        }
    }

    /// Whether exactly what the plan says is watched.
    #[must_use]
    pub fn fits(&self, plan: &Plan) -> bool {
        self.folders.len() == plan.folders().count() && self.folders.keys().all(|path| self.is_armed(plan, path))
    }

    fn is_armed(&self, plan: &Plan, path: &Path) -> bool {
        let armed = self.folders.get(path).copied().flatten();
        armed.is_some() && armed == plan.identity(path)
    }

    /// Watches what the plan says, and nothing else. What can be watched is, whatever goes wrong with the rest.
    pub fn arm(&mut self, plan: &Plan) -> Done {
        self.signals.listen_for(plan.clone());
        let os = self.os.take().map_or_else(|| listen(&self.signals), Ok);
        let mut os = match os {
            Ok(os) => os,
            Err(e) => return Done { fresh: false, trouble: Some(finding(None, &e)) },
        };
        // First, since a folder that went by another path before has one watch all the same.
        self.end_outdated(&mut os, plan);
        match self.begin_missing(&mut os, plan) {
            Some(done) => {
                self.os = Some(os);
                done
            }
            None => {
                self.folders.clear();
                let trouble = finding(None, &notify::Error::generic("the watching thread has ended"));
                Done { fresh: false, trouble: Some(trouble) }
            }
        }
    }

    fn end_outdated(&mut self, os: &mut RecommendedWatcher, plan: &Plan) {
        let outdated: Vec<_> = self.folders.keys().filter(|path| !self.is_armed(plan, path)).cloned().collect();
        for path in outdated {
            // It is gone, or it goes now: both are fine.
            let _ = guarded(|| os.unwatch(&path));
            self.folders.remove(&path);
        }
    }

    /// `None`: there is nobody to do it.
    fn begin_missing(&mut self, os: &mut RecommendedWatcher, plan: &Plan) -> Option<Done> {
        let mut done = Done::default();
        for (path, identity) in plan.folders() {
            if self.folders.contains_key(path) {
                continue;
            }
            match guarded(|| os.watch(path, RecursiveMode::NonRecursive))? {
                Ok(()) => {
                    self.folders.insert(path.to_owned(), Some(identity));
                    done.fresh = true;
                }
                // Who looks again sees that.
                Err(e) if is_gone(&e) => {}
                Err(e) => {
                    done.trouble.get_or_insert_with(|| finding(Some(path), &e));
                    if matches!(e.kind, ErrorKind::MaxFilesWatch) {
                        break;
                    }
                }
            }
        }
        Some(done)
    }
}

/// What came of arming.
#[derive(Debug, Default)]
pub struct Done {
    /// Something is watched that was not before.
    pub fresh: bool,
    /// The first thing that went wrong, for the status.
    pub trouble: Option<Finding>,
}

fn listen(signals: &Arc<Signals>) -> notify::Result<ManuallyDrop<RecommendedWatcher>> {
    let signals = Arc::clone(signals);
    notify::recommended_watcher(move |event| signals.hear(event)).map(ManuallyDrop::new)
}

/// `None`: it panicked.
fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

fn is_gone(e: &notify::Error) -> bool {
    match &e.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(e) => matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory),
        _ => false,
    }
}

/// What status says. `path` is `None` where nothing at all can be watched.
fn finding(path: Option<&Path>, e: &notify::Error) -> Finding {
    let again = "it is tried again every 30 s";
    let (cause, fix) = match (&e.kind, path) {
        (ErrorKind::MaxFilesWatch, _) => (
            "no more folders can be watched: this user's inotify watches are used up".to_owned(),
            format!("raise the sysctl fs.inotify.max_user_watches; {again}"),
        ),
        (ErrorKind::Io(e), None) if is_too_many(e) => (
            format!("no folder can be watched: this user's inotify instances are used up ({e})"),
            format!("raise the sysctl fs.inotify.max_user_instances; {again}"),
        ),
        (ErrorKind::Io(e), None) => (format!("no folder can be watched: {e}"), again.to_owned()),
        (ErrorKind::Io(e), Some(path)) => {
            (format!("{} cannot be watched: {e}", path.display()), format!("see its mode and file system; {again}"))
        }
        (_, None) => (format!("no folder can be watched: {e}"), again.to_owned()),
        (_, Some(path)) => (format!("{} cannot be watched: {e}", path.display()), again.to_owned()),
    };
    let until = "changes of files are noticed when somebody asks, and every 30 s";
    Finding { name: "watch-unavailable".to_owned(), message: format!("{cause}; {until}"), fix }
}

#[cfg(unix)]
fn is_too_many(e: &std::io::Error) -> bool {
    rustix::io::Errno::from_io_error(e) == Some(rustix::io::Errno::MFILE)
}

#[cfg(not(unix))]
fn is_too_many(_: &std::io::Error) -> bool {
    false
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
