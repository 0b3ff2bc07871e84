//! Listens for changes, so that a login by another tool, a logout or an edited config is noticed at once and without
//! anybody asking.
//!
//! * Events wake, they do not instruct: whatever was heard, every file that matters is looked at as the scan does it
//!   ([`Watcher::look_at_all`], [`Configuration::look`]). The looks on demand and every 30 s stay: an event may be lost,
//!   and some file systems (network, FUSE) have none for what others write.
//! * What exists is held against what is watched at each event and at each scan, and watches are made anew where it
//!   differs ([`Plan`], [`Armed`]); then everything is looked at once, since what happened in between was not heard.
//! * A burst of events is one look per [`SETTLE`], and one after its end. The first look waits as long: whoever writes a
//!   file in place has mostly finished by then. Many new worlds are one round per [`SETTLE`] too, since each looks at all
//!   of them. When nothing happens no timer runs.
//! * That nothing can be watched is a finding in status, and never an error.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::info;

use super::armed::{Armed, Signals};
use super::engine::Engine;
use super::event_loop::Sender;
use super::settings::Configuration;
use super::watcher::Watcher;
use crate::core::source::World;
use crate::core::status::Finding;
use crate::core::time::Tick;
use crate::files::folders::{Plan, Wanted};
use crate::platform::clock::Clock;

/// Between an event and the look that it causes, and between two rounds.
const SETTLE: Duration = Duration::from_millis(100);
/// No more folders are watched; what is in others is found by the scan.
const MAX_FOLDERS: usize = 512;
/// Folders may appear and vanish while we make up our mind. After so many rounds the next event, or scan, goes on.
const ROUNDS: usize = 5;

/// What the daemon listens with.
pub struct FolderWatch {
    watcher: Arc<Watcher>,
    configuration: Arc<Configuration>,
    broker: Sender,
    signals: Arc<Signals>,
    armed: Armed,
    finding: watch::Sender<Option<Finding>>,
}

impl FolderWatch {
    /// Listens from now on, for as long as the runtime lives. What comes out says why not everything can be watched.
    #[must_use]
    pub fn start(engine: &Engine) -> watch::Receiver<Option<Finding>> {
        let (finding, seen) = watch::channel(None);
        let signals = Arc::<Signals>::default();
        let listening = Self {
            watcher: Arc::clone(&engine.watcher),
            configuration: Arc::clone(&engine.configuration),
            broker: engine.desk.broker().clone(),
            armed: Armed::new(Arc::clone(&signals)),
            signals,
            finding,
        };
        tokio::spawn(listening.run());
        seen
    }

    async fn run(mut self) {
        let mut last = Tick::default();
        loop {
            let wait = tokio::select! {
                // What woke us may have been seen to already, in the last round.
                () = self.signals.wake.notified() => if self.signals.is_quiet() { continue } else { SETTLE },
                () = self.watcher.folders_due() => SETTLE.saturating_sub(Clock.tick().since(last)),
            };
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            last = Clock.tick();
            let news = self.signals.take();
            self.armed.note(&news);
            if self.rearm() || news.changed {
                self.configuration.look(&self.broker);
                self.watcher.look_at_all().await;
            }
        }
    }

    /// Watches what is to be watched now, which may be something else than before. Whether it is.
    fn rearm(&mut self) -> bool {
        let mut fresh = false;
        for _ in 0..ROUNDS {
            let plan = Plan::of(self.wanted(), MAX_FOLDERS);
            if self.armed.fits(&plan) {
                self.tell(None);
                break;
            }
            let done = self.armed.arm(&plan);
            fresh |= done.fresh;
            if done.trouble.is_some() {
                self.tell(done.trouble);
                break;
            }
        }
        fresh
    }

    /// The files that matter, those that most depends on first.
    fn wanted(&self) -> Vec<Wanted> {
        let ours = Wanted::file(&self.configuration.path());
        let of_world = |world: &World| {
            let (config, credentials) = (&world.config_file, &world.credentials_file);
            [Wanted::file(config), Wanted::file(credentials), Wanted::folder(&world.sso_cache)]
        };
        let worlds = self.watcher.worlds_by_need();
        std::iter::once(ours).chain(worlds.iter().flat_map(|world| of_world(world))).collect()
    }

    fn tell(&self, trouble: Option<Finding>) {
        self.finding.send_if_modified(|finding| {
            if *finding == trouble {
                return false;
            }
            match &trouble {
                Some(trouble) => info!(cause = trouble.message, "not everything is watched"),
                None => info!("everything is watched again"),
            }
            *finding = trouble;
            true
        });
    }
}
