//! Who was given what: grants on their way into the audit log, which no grant ever waits for.
//!
//! A grant goes into a queue of bounded length. One task takes what has gathered there, hands it to the blocking pool,
//! and sleeps when there is nothing. Where the queue is full or the file cannot be written, lines are lost: they are
//! counted, and status says how many and why for as long as the process lives. Each batch tries anew, so that a file
//! which can be written again is written again.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::warn;

use crate::api::v1::{self, AuditDocument, AuditQuery};
use crate::core::audit::{Asker, Grant, Parent, bounded};
use crate::core::credential::RoleCredentials;
use crate::core::failure::{Failure, FailureClass};
use crate::core::status::Finding;
use crate::files::audit::{AuditFile, Lost, Wanted};
use crate::ipc::peer::PeerIdentity;
use crate::platform::clock::Clock;
use crate::platform::process;

/// Grants that wait to be written.
const QUEUE: usize = 1_024;
/// A grant waits this long for others: who was given something goes on at once, and needs the processor more.
const GATHERING: Duration = Duration::from_millis(50);
/// Grants that are written at a time: however long, they fit into one file.
const BATCH: usize = 256;
/// Who reads the log wants the grants of a moment ago too, if they can be written in this time.
const BEFORE_READING: Duration = Duration::from_millis(250);
/// At a clean end, what waits gets this long.
const AT_THE_END: Duration = Duration::from_secs(1);
/// What the document holds beside its entries, bytes.
const FRAME: usize = 1_024;

/// The audit log of a running daemon. Clones are the same log.
#[derive(Clone)]
pub struct Audit {
    queue: mpsc::Sender<Message>,
    file: AuditFile,
    losses: Arc<Mutex<Losses>>,
    /// A reading takes some memory: one at a time.
    reading: Arc<tokio::sync::Mutex<()>>,
}

enum Message {
    Grant(Grant),
    /// Everything before this is to be written, then this is answered.
    Flush(oneshot::Sender<()>),
}

/// What could not be written since the start.
#[derive(Debug, Default)]
struct Losses {
    count: u64,
    /// The last cause, and whether it has passed.
    last: Option<(Failure, bool)>,
}

impl Audit {
    /// Starts the task that writes. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(file: AuditFile) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let losses = Arc::default();
        tokio::spawn(write_down(file.clone(), waiting, Arc::clone(&losses)));
        Self { queue, file, losses, reading: Arc::default() }
    }

    /// Remembers a grant; returns at once.
    pub fn note(&self, grant: Grant) {
        if self.queue.try_send(Message::Grant(grant)).is_err() {
            let message = format!("{} takes them too slowly", self.file.path().display());
            let why = Failure::new(FailureClass::Transient, message, "see whether its disk hangs");
            lock(&self.losses).add(1, why);
        }
    }

    /// The document of `GET /v1/audit`, as JSON.
    ///
    /// # Errors
    /// The log is there and cannot be read.
    pub async fn read(&self, query: AuditQuery) -> Result<Vec<u8>, Failure> {
        self.flush(BEFORE_READING).await;
        let wanted = Wanted {
            since: query.since,
            profile: query.profile,
            limit: query.limit.unwrap_or(v1::DEFAULT_AUDIT_LIMIT).min(v1::MAX_AUDIT_LIMIT),
            max_bytes: v1::MAX_STATUS - FRAME,
        };
        let (file, lost) = (self.file.clone(), lock(&self.losses).count);
        let _one = self.reading.lock().await;
        let document = tokio::task::spawn_blocking(move || {
            let found = file.read(&wanted)?;
            let document = AuditDocument { schema: v1::AUDIT_SCHEMA, entries: found.grants, lost, more: found.more };
            serde_json::to_vec(&document).map_err(|e| unexpected(&e.to_string()))
        });
        document.await.unwrap_or_else(|_| Err(unexpected("the reading ended without a result")))
    }

    /// `audit-losses`, once there were any.
    #[must_use]
    pub fn findings(&self) -> Option<Finding> {
        let losses = lock(&self.losses);
        let (why, passed) = losses.last.as_ref()?;
        let grants = if losses.count == 1 { "1 grant is".to_owned() } else { format!("{} grants are", losses.count) };
        let message = format!("{grants} not in the audit log: {}", why.message);
        Some(Finding {
            name: "audit-losses".to_owned(),
            message: if *passed { format!("{message}; it is written again") } else { message },
            fix: if *passed { "nothing to do, unless it comes back".to_owned() } else { why.fix.clone() },
        })
    }

    /// Ends well: what waits is written, unless that takes too long.
    pub async fn finish(&self) {
        if !self.flush(AT_THE_END).await {
            warn!("the last grants could not be written to the audit log in time");
        }
        if let Some(finding) = self.findings() {
            warn!(cause = finding.message, "the audit log is not complete");
        }
    }

    /// Whether everything that waits was dealt with in time.
    async fn flush(&self, limit: Duration) -> bool {
        let (done, answer) = oneshot::channel();
        let flushed = async { self.queue.send(Message::Flush(done)).await.is_ok() && answer.await.is_ok() };
        timeout(limit, flushed).await.unwrap_or(false)
    }
}

/// Who is at the other end of a connection. What it runs is looked up when it is first given something, which costs
/// five system calls on Linux and none elsewhere, and then holds for as long as the connection lives.
#[derive(Debug, Default)]
pub struct Peer {
    identity: PeerIdentity,
    asker: OnceLock<Asker>,
}

impl Peer {
    /// At the other end of a connection that is just accepted.
    #[must_use]
    pub const fn new(identity: PeerIdentity) -> Self {
        Self { identity, asker: OnceLock::new() }
    }

    /// Whoever started this process.
    #[must_use]
    pub fn starter() -> Self {
        #[cfg(unix)]
        let uid = Some(process::uid());
        #[cfg(not(unix))]
        let uid = None;
        Self::new(PeerIdentity { uid, pid: process::parent() })
    }

    /// What is known of it. To be asked first while it is connected: pids are reused.
    fn asker(&self) -> &Asker {
        self.asker.get_or_init(|| {
            let peer = &self.identity;
            let parent = |pid| Parent { pid, executable: process::executable_of(pid).as_deref().map(text) };
            Asker {
                pid: peer.pid.filter(|pid| *pid != 0),
                uid: peer.uid,
                executable: peer.executable().as_deref().map(text),
                parent: peer.parent().map(parent),
            }
        })
    }
}

/// Credentials handed out now. `config_file`: of the profile's world, where that is not the daemon's own.
#[must_use]
pub fn grant(profile: &str, config_file: Option<&Path>, credentials: &RoleCredentials, to: &Peer) -> Grant {
    Grant {
        at: Clock.wall(),
        profile: bounded(profile.to_owned()),
        config_file: config_file.map(text),
        key_suffix: credentials.key_suffix().to_owned(),
        expires_at: credentials.expires_at,
        asker: to.asker().clone(),
    }
}

fn text(path: &Path) -> String {
    bounded(path.display().to_string())
}

/// Writes until nobody can send any more.
async fn write_down(file: AuditFile, mut waiting: mpsc::Receiver<Message>, losses: Arc<Mutex<Losses>>) {
    let mut messages = Vec::new();
    while waiting.recv_many(&mut messages, BATCH).await > 0 {
        gather(&mut waiting, &mut messages).await;
        let (mut grants, mut flushed) = (Vec::new(), Vec::new());
        for message in messages.drain(..) {
            match message {
                Message::Grant(grant) => grants.push(grant),
                Message::Flush(done) => flushed.push(done),
            }
        }
        if !grants.is_empty() {
            let (count, file) = (grants.len(), file.clone());
            let written = tokio::task::spawn_blocking(move || file.append(&grants)).await;
            let written = written.unwrap_or_else(|_| Err(Lost { count, why: unexpected("the writing broke off") }));
            lock(&losses).settle(written);
        }
        for done in flushed {
            // Whoever waited no longer does.
            let _ = done.send(());
        }
    }
}

/// Waits for what comes next, but not if somebody waits for what is there.
async fn gather(waiting: &mut mpsc::Receiver<Message>, messages: &mut Vec<Message>) {
    let more = async {
        while messages.len() < BATCH && !messages.iter().any(|m| matches!(m, Message::Flush(_))) {
            if waiting.recv_many(messages, BATCH - messages.len()).await == 0 {
                return;
            }
        }
    };
    // What came until then is written.
    let _ = timeout(GATHERING, more).await;
}

impl Losses {
    fn settle(&mut self, written: Result<(), Lost>) {
        match (written, &mut self.last) {
            (Ok(()), Some((_, passed))) => *passed = true,
            (Ok(()), None) => {}
            (Err(Lost { count, why }), _) => self.add(u64::try_from(count).unwrap_or(u64::MAX), why),
        }
    }

    fn add(&mut self, count: u64, why: Failure) {
        let before = self.count;
        self.count = before.saturating_add(count);
        // Told when the count has doubled: a disk that stays full must not fill the log as well.
        if self.count.checked_ilog2() > before.checked_ilog2() {
            warn!(lost = self.count, cause = why.message, "grants are missing in the audit log");
        }
        self.last = Some((why, false));
    }
}

fn lock(losses: &Mutex<Losses>) -> MutexGuard<'_, Losses> {
    losses.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unexpected(what: &str) -> Failure {
    Failure::new(FailureClass::Transient, what, "try again")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;

    use super::*;
    use crate::core::time::Timestamp;

    fn fixture() -> (tempfile::TempDir, AuditFile) {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("state");
        crate::platform::folder::ensure_private(&state).unwrap();
        (root, AuditFile::new(state))
    }

    fn given() -> Grant {
        let credentials = RoleCredentials {
            access_key_id: "ASIAEXAMPLEKEY".to_owned(),
            secret_access_key: "s/ecret".into(),
            session_token: "to/ken".into(),
            expires_at: Timestamp::from_secs(1_800_000_000),
        };
        grant("dev", None, &credentials, &Peer::starter())
    }

    async fn entries(audit: &Audit) -> AuditDocument {
        serde_json::from_slice(&audit.read(AuditQuery::default()).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_grant_names_who_asked_and_no_secret() {
        let (_root, file) = fixture();
        let audit = Audit::start(file.clone());
        audit.note(given());
        let document = entries(&audit).await;
        assert_eq!((document.schema, document.lost, document.more), (1, 0, false));
        let [entry] = &document.entries[..] else { panic!("{document:?}") };
        assert_eq!((entry.key_suffix.as_str(), entry.asker.pid), ("EKEY", process::parent()));
        if cfg!(target_os = "linux") {
            let ours = process::parent().and_then(process::executable_of).unwrap();
            assert_eq!(entry.asker.executable, Some(ours.display().to_string()));
            assert_eq!(entry.asker.parent.as_ref().map(|p| p.pid), process::parent().and_then(process::parent_of));
        }
        let line = fs::read_to_string(file.path()).unwrap();
        for word in ["ASIAEXAMPLEKEY", "s/ecret", "to/ken", "s\\/ecret"] {
            assert!(!line.contains(word), "{line}");
        }
        assert_eq!(audit.findings(), None);
    }

    #[tokio::test]
    async fn what_is_lost_is_counted_and_writing_goes_on_by_itself() {
        let (_root, file) = fixture();
        fs::create_dir(file.path()).unwrap();
        let audit = Audit::start(file.clone());
        audit.note(given());
        assert!(audit.read(AuditQuery::default()).await.is_err(), "an empty answer would be a lie");
        audit.note(given());
        assert!(audit.flush(AT_THE_END).await);
        let finding = audit.findings().unwrap();
        let why = format!("{} is not a regular file", file.path().display());
        assert_eq!(finding.message, format!("2 grants are not in the audit log: {why}"));
        assert_eq!((finding.name.as_str(), finding.fix.as_str()), ("audit-losses", "move it away: a new one is begun"));
        fs::remove_dir(file.path()).unwrap();
        audit.note(given());
        let document = entries(&audit).await;
        assert_eq!((document.entries.len(), document.lost), (1, 2));
        let finding = audit.findings().unwrap();
        assert_eq!(finding.message, format!("2 grants are not in the audit log: {why}; it is written again"));
    }

    #[tokio::test]
    async fn a_full_queue_loses_the_latest_and_holds_nobody_up() {
        let (_root, file) = fixture();
        let audit = Audit::start(file.clone());
        // The task that writes gets no turn in between.
        (0..QUEUE + 5).for_each(|_| audit.note(given()));
        let finding = audit.findings().unwrap();
        assert!(finding.message.starts_with("5 grants are not in the audit log: "), "{finding:?}");
        assert!(finding.message.ends_with("takes them too slowly"), "{finding:?}");
        audit.finish().await;
        assert_eq!(fs::read_to_string(file.path()).unwrap().lines().count(), QUEUE);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_neither_a_reader_nor_the_end_for_long() {
        let (_root, file) = fixture();
        let (queue, _nobody_writes) = mpsc::channel(1);
        let audit = Audit { queue, file, losses: Arc::default(), reading: Arc::default() };
        audit.note(given());
        assert!(!audit.flush(Duration::from_millis(1)).await);
        assert_eq!(entries(&audit).await.entries.len(), 0);
    }
}
