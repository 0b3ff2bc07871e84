//! The audit log on disk: one JSON line per grant in `audit.jsonl`, and the lines before those in `audit.jsonl.old`.
//!
//! Two files of at most [`MAX_FILE`] bytes; when the newer is full it takes the older one's place. The daemon and its
//! one-shot siblings add to it, each by one write at the end of the file, so that lines stay whole; a line that is torn
//! all the same (a full disk, a power cut) is ended before the next one, and skipped by the reader, as is whatever
//! somebody else wrote there. A symbolic link or another user's file in its place is not touched.
//!
//! Absent on purpose: flushing to the disk (a power cut may take the last lines; a flush a grant would cost more than
//! the grant), and a lock around each write.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::limits::{self, ReadError};
use super::{atomic, pause};
use crate::core::audit::Grant;
use crate::core::failure::{Failure, FailureClass};
use crate::core::time::Timestamp;
use crate::platform::folder;

/// The largest size of each of the two files, bytes.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;
/// What is read at most: a file that others made longer.
const MAX_READ: usize = 2 * MAX_FILE as usize;

/// The log in one state folder.
#[derive(Clone, Debug)]
pub struct AuditFile {
    folder: PathBuf,
}

/// Grants that could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// How many of them.
    pub count: usize,
    /// Why, and what to do about it.
    pub why: Failure,
}

/// Which grants are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Of this profile, in whatever world.
    pub profile: Option<String>,
    /// At most so many, the newest.
    pub limit: usize,
    /// At most so many bytes when they are written as JSON.
    pub max_bytes: usize,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The grants, the newest last.
    pub grants: Vec<Grant>,
    /// Whether older ones were left out.
    pub more: bool,
}

impl AuditFile {
    /// The log in this state folder. Nothing is touched yet.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where the newer lines are.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join("audit.jsonl")
    }

    fn old_path(&self) -> PathBuf {
        self.folder.join("audit.jsonl.old")
    }

    /// Adds a line for each grant.
    ///
    /// # Errors
    /// How many lines are lost, and why; the others are written.
    pub fn append(&self, grants: &[Grant]) -> Result<(), Lost> {
        let lost = |count, why| Lost { count, why };
        let mut lines = Vec::new();
        for grant in grants {
            serde_json::to_writer(&mut lines, grant).map_err(|e| lost(grants.len(), self.unwritable(&e.into())))?;
            lines.push(b'\n');
        }
        let mut file = self.open(lines.len() as u64).map_err(|why| lost(grants.len(), why))?;
        if ends_torn(&mut file).map_err(|e| lost(grants.len(), self.unwritable(&e)))? {
            lines.insert(0, b'\n');
        }
        write(&mut file, &lines)
            .map_err(|(written, e)| lost(lines_in(&lines[written..]).min(grants.len()), self.unwritable(&e)))
    }

    /// The newest grants that are wanted.
    ///
    /// # Errors
    /// A file is there and cannot be read.
    pub fn read(&self, wanted: &Wanted) -> Result<Found, Failure> {
        let mut tries = 3;
        loop {
            tries -= 1;
            let newer = self.bytes(&self.path())?;
            let mut found = Gathering { wanted, room: wanted.max_bytes, found: Found::default() };
            if found.take(&newer) {
                return Ok(found.end());
            }
            found.take(&self.bytes(&self.old_path())?);
            // Shorter: renamed in between, so the same lines were read twice.
            if tries == 0 || size(&self.path()) >= newer.len() as u64 {
                return Ok(found.end());
            }
            pause(std::time::Duration::from_millis(5));
        }
    }

    /// The newer file, with room for so many bytes.
    fn open(&self, more: u64) -> Result<File, Failure> {
        folder::ensure_private(&self.folder)?;
        let path = self.path();
        let (file, metadata) = limits::open_log(&path).map_err(|e| self.unusable(&e))?;
        if fits(metadata.len(), more) {
            return Ok(file);
        }
        self.rotate(&file, more).map_err(|e| {
            let message = format!("{} is full and cannot take the place of the one before: {e}", path.display());
            Failure::new(FailureClass::Transient, message, format!("move {} away", self.old_path().display()))
        })?;
        Ok(limits::open_log(&path).map_err(|e| self.unusable(&e))?.0)
    }

    /// Of several processes that find the file full, one renames it.
    fn rotate(&self, full: &File, more: u64) -> io::Result<()> {
        // Another one is just doing it.
        if matches!(full.try_lock(), Err(TryLockError::WouldBlock)) {
            return Ok(());
        }
        // ... or has just done it.
        if fits(size(&self.path()), more) {
            return Ok(());
        }
        atomic::rename(&self.path(), &self.old_path())
    }

    fn bytes(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
        match limits::read_log(path, MAX_READ) {
            Ok(contents) => Ok(contents.bytes),
            Err(ReadError::Absent) => Ok(Zeroizing::default()),
            Err(e) => Err(Failure::new(class(&e), format!("{} {e}", path.display()), MOVE_AWAY)),
        }
    }

    fn unusable(&self, e: &ReadError) -> Failure {
        match e {
            ReadError::Io(e) => self.unwritable(e),
            e => Failure::new(class(e), format!("{} {e}", self.path().display()), MOVE_AWAY),
        }
    }

    fn unwritable(&self, e: &io::Error) -> Failure {
        let message = format!("{} cannot be written: {e}", self.path().display());
        Failure::new(FailureClass::Transient, message, "see whether its disk is full or read-only")
    }
}

const MOVE_AWAY: &str = "move it away: a new one is begun";

const fn class(e: &ReadError) -> FailureClass {
    match e {
        ReadError::Refused(_) => FailureClass::Misconfigured,
        ReadError::Absent | ReadError::Io(_) => FailureClass::Transient,
    }
}

/// An empty file takes everything.
const fn fits(size: u64, more: u64) -> bool {
    size == 0 || size.saturating_add(more) <= MAX_FILE
}

fn size(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |m| m.len())
}

fn ends_torn(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// One call, as long as the system takes everything at once; an error comes with what was written before.
fn write(file: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err((written, e)),
        }
    }
    Ok(())
}

fn lines_in(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b == b'\n').count()
}

/// Lines under way, the newest first.
struct Gathering<'a> {
    wanted: &'a Wanted,
    room: usize,
    found: Found,
}

impl Gathering<'_> {
    /// Takes what is wanted from a file, from its end on; true when there is no room for more.
    fn take(&mut self, bytes: &[u8]) -> bool {
        for line in bytes.rsplit(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let Ok(grant) = serde_json::from_slice::<Grant>(line) else { continue };
            if !self.wanted.matches(&grant) {
                continue;
            }
            // As it will be written again, which is not always as it stood there.
            let size = serde_json::to_vec(&grant).map_or(0, |line| line.len() + 1);
            if self.found.grants.len() == self.wanted.limit || size > self.room {
                self.found.more = true;
                return true;
            }
            self.room -= size;
            self.found.grants.push(grant);
        }
        false
    }

    fn end(mut self) -> Found {
        self.found.grants.reverse();
        self.found
    }
}

impl Wanted {
    fn matches(&self, grant: &Grant) -> bool {
        self.since.is_none_or(|since| grant.at >= since) && self.profile.as_ref().is_none_or(|p| *p == grant.profile)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
