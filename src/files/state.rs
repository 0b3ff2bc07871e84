//! Our own small memory across restarts: which refresh tokens AWS refused, and which may be on their way right now.
//!
//! `state.json` in the state folder: JSON, versioned, mode 0600, replaced atomically, changed under a lock because
//! one-shot children write it too. It holds hashes, never a secret. A file that cannot be read is started afresh, with
//! a finding: what it knew can be learned again at the price of one refused call. Keys of other versions are kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::limits::{self, ReadError};
use super::lock::{Lock, LockError};
use super::{Pauses, atomic};
use crate::core::failure::{Failure, FailureClass};
use crate::core::login::History;
use crate::core::secret::Secret;
use crate::core::status::Finding;
use crate::core::time::Timestamp;
use crate::platform::folder;

/// The version that we write.
const VERSION: u32 = 1;
/// Refused tokens that are remembered; the oldest are forgotten first.
const MAX_REFUSED: usize = 200;
/// Sessions whose logins are remembered.
const MAX_LOGINS: usize = 200;
/// Calls in flight that are remembered.
const MAX_IN_FLIGHT: usize = 50;

/// The fingerprint of a refresh token: SHA-256 in hex. Refresh tokens are long and random, so it gives nothing away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of a refresh token.
    #[must_use]
    pub fn of(token: &Secret) -> Self {
        Self(Sha256::digest(token.expose().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// A grant that was about to be sent and has no outcome yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Whose.
    pub token: Fingerprint,
    /// Since when.
    pub since: Timestamp,
}

/// A pause that the user asked for: it outlives the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it ends by itself, by the local clock; `None`: with `agentctl resume`.
    pub until: Option<Timestamp>,
}

impl Pause {
    /// How long it still lasts: `None`, it is over; `Some(None)`, until `agentctl resume`.
    #[must_use]
    pub fn left(self, now: Timestamp) -> Option<Option<Duration>> {
        match self.until {
            None => Some(None),
            Some(until) => (until > now).then(|| Some(until.since(now))),
        }
    }
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    #[serde(default)]
    refused: Vec<Fingerprint>,
    #[serde(default)]
    in_flight: Vec<InFlight>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pause: Option<Pause>,
    /// What is remembered of logins, by session.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    logins: BTreeMap<String, History>,
    /// The fingerprint of the network settings under which a login was last remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    /// What other versions keep here.
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl State {
    /// Whether AWS refused this token: it is never sent again.
    #[must_use]
    pub fn is_refused(&self, token: &Fingerprint) -> bool {
        self.refused.contains(token)
    }

    /// The call with this token that never came to an outcome, if there is one.
    #[must_use]
    pub fn in_flight(&self, token: &Fingerprint) -> Option<&InFlight> {
        self.in_flight.iter().find(|f| f.token == *token)
    }

    /// Remembers that AWS refused it, which is also an outcome.
    pub fn refuse(&mut self, token: &Fingerprint) {
        self.land(token);
        self.refused.retain(|t| t != token);
        self.refused.push(token.clone());
        keep_newest(&mut self.refused, MAX_REFUSED);
    }

    /// Notes that it is about to be sent.
    pub fn depart(&mut self, token: &Fingerprint, since: Timestamp) {
        self.land(token);
        self.in_flight.push(InFlight { token: token.clone(), since });
        keep_newest(&mut self.in_flight, MAX_IN_FLIGHT);
    }

    /// The pause that was asked for.
    #[must_use]
    pub const fn pause(&self) -> Option<Pause> {
        self.pause
    }

    /// Remembers a pause, or its end.
    pub const fn set_pause(&mut self, pause: Option<Pause>) {
        self.pause = pause;
    }

    /// The fingerprint of the network settings under which a login was last remembered.
    #[must_use]
    pub fn network(&self) -> Option<&str> {
        self.network.as_deref()
    }

    /// Remembers the network settings in force.
    pub fn set_network(&mut self, fingerprint: String) {
        self.network = Some(fingerprint);
    }

    /// What is remembered of logins, by session.
    #[must_use]
    pub const fn logins(&self) -> &BTreeMap<String, History> {
        &self.logins
    }

    /// Remembers a session's logins.
    pub fn set_login(&mut self, session: &str, history: History) {
        self.logins.insert(session.to_owned(), history);
        while self.logins.len() > MAX_LOGINS {
            self.logins.pop_first();
        }
    }

    /// Notes that the call came to an outcome.
    pub fn land(&mut self, token: &Fingerprint) {
        self.in_flight.retain(|f| f.token != *token);
    }
}

fn keep_newest<T>(list: &mut Vec<T>, max: usize) {
    let surplus = list.len().saturating_sub(max);
    list.drain(..surplus);
}

/// The file. Clones share what this process learned, so that a token is not sent again although the disk is full.
#[derive(Clone, Debug)]
pub struct StateFile {
    folder: PathBuf,
    pauses: Pauses,
    refused: Arc<Mutex<Vec<Fingerprint>>>,
    /// Taken before the lock file, which is tried again and again: threads of one process need not meet there.
    writing: Arc<Mutex<()>>,
}

impl StateFile {
    /// The file in this state folder. Nothing is touched yet.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, pauses: Pauses) -> Self {
        Self { folder: folder.into(), pauses, refused: Arc::default(), writing: Arc::default() }
    }

    /// The state folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads it; one that cannot be used is an empty one with a finding (`state-unreadable`).
    #[must_use]
    pub fn load(&self) -> (State, Option<Finding>) {
        let path = self.path();
        let lost = |why: String| {
            let finding = Finding::new(
                "state-unreadable",
                format!("{} {why}; started afresh", path.display()),
                "nothing to do, unless it comes back: then look who else writes there",
            );
            (State::default(), Some(finding))
        };
        match limits::read_cache(&path) {
            Err(ReadError::Absent) => (State::default(), None),
            Err(ReadError::Refused(why)) => lost(why),
            Err(ReadError::Io(e)) => lost(format!("cannot be read: {e}")),
            Ok(contents) => match serde_json::from_slice::<State>(&contents.bytes) {
                Ok(state) if state.version == VERSION => (state, None),
                Ok(state) => lost(format!("has version {} instead of {VERSION}", state.version)),
                Err(_) => lost("is not what we write".to_owned()),
            },
        }
    }

    /// Whether AWS refused this token, as far as this process or the file knows.
    #[must_use]
    pub fn is_refused(&self, token: &Fingerprint) -> bool {
        self.refused_here().contains(token) || self.load().0.is_refused(token)
    }

    /// Remembers that AWS refused it: in this process at once, and in the file.
    ///
    /// # Errors
    /// As [`StateFile::update`]; this process knows it all the same.
    pub fn refuse(&self, token: &Fingerprint) -> Result<(), Failure> {
        {
            let mut refused = self.refused_here();
            refused.push(token.clone());
            keep_newest(&mut refused, MAX_REFUSED);
        }
        self.update(|state| state.refuse(token))
    }

    /// Changes it: read, change, replace, under a lock of its own.
    ///
    /// # Errors
    /// Class `misconfigured` when the folder is not ours alone; `transient` when the lock or the disk fails. The file
    /// is then as it was.
    pub fn update(&self, change: impl FnOnce(&mut State)) -> Result<(), Failure> {
        folder::ensure_private(&self.folder)?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = self.folder.join("state.lock");
        let _lock = Lock::acquire(&lock, &self.pauses.locked).map_err(|e| match e {
            LockError::Busy => self.failed("is locked by another agent"),
            LockError::Io(e) => self.failed(format!("cannot be locked: {e}")),
        })?;
        let (mut state, _) = self.load();
        let before = state.clone();
        change(&mut state);
        if state == before {
            return Ok(());
        }
        state.version = VERSION;
        let text = serde_json::to_vec(&state).map_err(|e| self.failed(format!("cannot be made: {e}")))?;
        atomic::replace_locked(&self.path(), &text).map_err(|e| self.failed(format!("cannot be written: {e}")))
    }

    /// A list of hashes is never half-changed, so a panic elsewhere does not spoil it.
    fn refused_here(&self) -> MutexGuard<'_, Vec<Fingerprint>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    fn failed(&self, why: impl std::fmt::Display) -> Failure {
        let fix = "see whether its disk is full or read-only";
        Failure::new(FailureClass::Transient, format!("{} {why}", self.path().display()), fix)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn print(text: &str) -> Fingerprint {
        Fingerprint::of(&Secret::new(text))
    }

    fn fixture() -> (tempfile::TempDir, StateFile) {
        let root = tempfile::tempdir().unwrap();
        let file = StateFile::new(root.path().join("state"), Pauses::none());
        (root, file)
    }

    #[test]
    fn what_was_refused_is_known_to_the_next_process() {
        let (_root, file) = fixture();
        assert_eq!(file.load(), (State::default(), None));
        file.update(|s| s.depart(&print("rt-secret"), NOW)).unwrap();
        assert_eq!(file.load().0.in_flight(&print("rt-secret")).unwrap().since, NOW);
        file.update(|s| s.refuse(&print("rt-secret"))).unwrap();
        let (state, finding) = file.load();
        assert!(state.is_refused(&print("rt-secret")) && !state.is_refused(&print("other")));
        assert_eq!((state.in_flight(&print("rt-secret")), finding), (None, None));
        assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o7777, 0o600);
        assert!(!fs::read_to_string(file.path()).unwrap().contains("rt-secret"));
    }

    #[test]
    fn a_pause_is_known_to_the_next_process_until_its_end() {
        let (_root, file) = fixture();
        let ends = NOW.plus(Duration::from_secs(60));
        for (until, left) in [(None, Some(None)), (Some(ends), Some(Some(Duration::from_secs(60)))), (Some(NOW), None)]
        {
            file.update(|s| s.set_pause(Some(Pause { until }))).unwrap();
            assert_eq!(file.load().0.pause().unwrap().left(NOW), left);
        }
        file.update(|s| s.set_pause(None)).unwrap();
        assert_eq!(file.load().0.pause(), None);
    }

    #[test]
    fn lists_are_bounded_and_lose_the_oldest() {
        let mut state = State::default();
        for i in 0..=MAX_REFUSED {
            state.refuse(&print(&i.to_string()));
            state.depart(&print(&i.to_string()), NOW);
        }
        assert_eq!((state.refused.len(), state.in_flight.len()), (MAX_REFUSED, MAX_IN_FLIGHT));
        assert!(!state.is_refused(&print("0")) && state.is_refused(&print("1")));
    }

    #[test]
    fn an_unusable_file_is_started_afresh_with_a_finding() {
        let (_root, file) = fixture();
        file.update(|s| s.refuse(&print("a"))).unwrap();
        for text in ["", "{", "[]", r#"{"version":2}"#, r#"{"version":1,"refused":5}"#] {
            fs::write(file.path(), text).unwrap();
            let (state, finding) = file.load();
            assert_eq!(state, State::default(), "{text}");
            assert_eq!(finding.unwrap().name, "state-unreadable");
        }
        file.update(|s| s.refuse(&print("b"))).unwrap();
        assert_eq!(file.load().1, None);
    }

    #[test]
    fn keys_of_others_stay_and_no_change_is_no_write() {
        let (_root, file) = fixture();
        file.update(|s| s.refuse(&print("a"))).unwrap();
        fs::write(file.path(), r#"{"version":1,"breaker":{"open":true}}"#).unwrap();
        let before = fs::metadata(file.path()).unwrap().ino();
        file.update(|s| s.land(&print("nobody"))).unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().ino(), before);
        file.update(|s| s.refuse(&print("b"))).unwrap();
        assert!(fs::read_to_string(file.path()).unwrap().contains(r#""breaker":{"open":true}"#));
    }

    #[test]
    fn a_folder_open_to_others_is_refused() {
        let (root, file) = fixture();
        fs::create_dir(root.path().join("state")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(root.path().join("state"), mode).unwrap();
        assert_eq!(file.refuse(&print("a")).unwrap_err().class, FailureClass::Misconfigured);
        assert!(file.clone().is_refused(&print("a")), "this process knows it all the same");
        assert!(!StateFile::new(file.folder(), Pauses::none()).is_refused(&print("a")));
    }
}
