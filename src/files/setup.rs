//! The files that `agentctl setup` edits, and what is remembered so that it can be undone.
//!
//! A file is replaced as a whole, with the mode that it has, behind symlinks where the user has such; who is interrupted
//! leaves the old one or the new one. Before that its bytes are put aside in the state folder, and what was changed is
//! written down, in `setup.json` there: a stack, from which [`Record::pop`] takes the last edit first.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::atomic;
use super::limits::{self, ReadError};

/// Longer files are no settings.
pub const LONGEST: usize = 4 * 1024 * 1024;
/// More edits than this are not remembered; the oldest stay, for they hold what was there in the beginning.
const MOST: usize = 100;

/// One edit of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// What kind of file it is, for whoever undoes it.
    pub kind: String,
    /// The file.
    pub path: PathBuf,
    /// Where its bytes were put aside; `None`: it did not exist.
    pub backup: Option<PathBuf>,
    /// The SHA-256 of what was written, in hex.
    pub written: String,
    /// What was changed, in the form of its kind.
    pub changes: Value,
}

/// The edits that were made and not undone, the last one last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    edits: Vec<Edit>,
}

/// The bytes of a file; `None`: there is none.
///
/// # Errors
/// In words: it cannot be read, or is no file.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match limits::read_public(path, LONGEST) {
        Ok(contents) => Ok(Some(contents.bytes.to_vec())),
        Err(ReadError::Absent) => Ok(None),
        Err(e) => Err(e.to_string()),
    }
}

/// Writes a file as a whole. What is a symlink stays one; the mode stays; a new file is this user's alone.
///
/// # Errors
/// The operating system's; the old file is then still there, whole.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    atomic::make_private_parent(&target)?;
    let folder = target.parent().unwrap_or_else(|| Path::new("."));
    let mode = fs::metadata(&target).ok().map(|m| m.permissions());
    if mode.as_ref().is_some_and(fs::Permissions::readonly) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is read-only"));
    }
    let mut new = tempfile::Builder::new().prefix(".agentctl-").tempfile_in(folder)?;
    new.write_all(bytes)?;
    if let Some(mode) = mode {
        new.as_file().set_permissions(mode)?;
    }
    new.as_file().sync_all()?;
    new.persist(&target).map(drop).map_err(|e| e.error)
}

impl Record {
    /// What is remembered in a state folder; one that cannot be read says nothing.
    #[must_use]
    pub fn load(state: &Path) -> Self {
        let read = limits::read_public(&path(state), LONGEST).ok();
        read.and_then(|read| serde_json::from_slice(&read.bytes).ok()).unwrap_or_default()
    }

    /// Puts `before` aside and remembers the edit. To be called before the file is written.
    ///
    /// # Errors
    /// The operating system's.
    pub fn push(&mut self, state: &Path, edit: NewEdit<'_>) -> io::Result<()> {
        let backup = edit.before.map(|bytes| self.put_aside(state, edit.path, bytes)).transpose()?;
        self.edits.push(Edit {
            kind: edit.kind.to_owned(),
            path: edit.path.to_owned(),
            backup,
            written: sum(edit.after),
            changes: edit.changes,
        });
        if self.edits.len() > MOST {
            self.edits.remove(MOST / 2);
        }
        self.store(state)
    }

    /// The last edit.
    #[must_use]
    pub fn last(&self) -> Option<&Edit> {
        self.edits.last()
    }

    /// Forgets the last edit, which is undone.
    ///
    /// # Errors
    /// The operating system's.
    pub fn pop(&mut self, state: &Path) -> io::Result<()> {
        if let Some(backup) = self.edits.pop().and_then(|edit| edit.backup) {
            // A copy that stays harms nobody.
            let _ = fs::remove_file(backup);
        }
        self.store(state)
    }

    fn put_aside(&self, state: &Path, path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = self.edits.len() + 1;
        let backup = state.join("setup").join(format!("{number}-{}-{name}", &sum(bytes)[..8]));
        atomic::make_private_parent(&backup)?;
        atomic::replace(&backup, bytes)?;
        Ok(backup)
    }

    fn store(&self, state: &Path) -> io::Result<()> {
        let path = path(state);
        atomic::make_private_parent(&path)?;
        atomic::replace(&path, &serde_json::to_vec_pretty(self).unwrap_or_default())
    }
}

/// An edit that is about to be made.
pub struct NewEdit<'a> {
    /// What kind of file it is.
    pub kind: &'a str,
    /// The file.
    pub path: &'a Path,
    /// Its bytes; `None`: it does not exist.
    pub before: Option<&'a [u8]>,
    /// What is going to be written.
    pub after: &'a [u8],
    /// What is changed.
    pub changes: Value,
}

impl Edit {
    /// Whether the file is as it was written.
    #[must_use]
    pub fn is_untouched(&self, current: Option<&[u8]>) -> bool {
        current.is_some_and(|bytes| sum(bytes) == self.written)
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("setup.json")
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_taken_back_in_reverse() {
        let folder = tempfile::tempdir().unwrap();
        let (state, file) = (folder.path().join("state"), folder.path().join("settings.json"));
        let mut record = Record::load(&state);
        let edit = |before, after| NewEdit { kind: "claude", path: &file, before, after, changes: Value::Null };
        record.push(&state, edit(None, b"one")).unwrap();
        record.push(&state, edit(Some(b"one"), b"two")).unwrap();
        let mut record = Record::load(&state);
        let last = record.last().unwrap();
        assert!(last.is_untouched(Some(b"two")) && !last.is_untouched(Some(b"three")) && !last.is_untouched(None));
        let backup = last.backup.clone().unwrap();
        assert_eq!(fs::read(&backup).unwrap(), b"one");
        record.pop(&state).unwrap();
        assert!(!backup.exists());
        assert_eq!(Record::load(&state).last().unwrap().backup, None);
        record.pop(&state).unwrap();
        assert_eq!(Record::load(&state), Record::default());
    }

    #[cfg(unix)]
    #[test]
    fn modes_and_symlinks_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("dotfiles"), folder.path().join("settings.json"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
        symlink(&real, &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!((fs::read(&real).unwrap(), fs::read_link(&link).unwrap()), (b"new".to_vec(), real.clone()));
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o644);
        fs::set_permissions(&real, fs::Permissions::from_mode(0o444)).unwrap();
        assert_eq!(write(&link, b"newer").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::read(&real).unwrap(), b"new");
        write(&folder.path().join("a/b/new.json"), b"{}").unwrap();
        let mode = fs::metadata(folder.path().join("a/b/new.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read(&folder.path().join("none")), Ok(None));
        assert!(read(folder.path()).is_err());
    }
}
