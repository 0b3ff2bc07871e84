//! Did a file change? By looking, not by listening: one `stat` per file and tick, which works on every file system and
//! misses no rename. (Events of the operating system may wake the looking up earlier; they never replace it.)

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// What tells one version of a file from another: where it is, how long, and when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// There is no file, or it cannot be looked at.
    Absent,
    /// A file, with links followed.
    Present {
        /// Modification time, nanoseconds since 1970.
        modified: u128,
        /// Time of the last change of contents or mode, nanoseconds (Unix): catches a rewrite within one tick of
        /// `modified`, and a restored `modified`.
        changed: i128,
        /// Bytes.
        size: u64,
        /// Device and inode (Unix): catches a rename.
        identity: (u64, u64),
    },
}

impl Stamp {
    /// Looks at a file.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let Ok(metadata) = std::fs::metadata(path) else { return Self::Absent };
        let modified =
            metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default().as_nanos();
        let (changed, identity) = inode(&metadata);
        Self::Present { modified, changed, size: metadata.len(), identity }
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> (i128, (u64, u64)) {
    use std::os::unix::fs::MetadataExt;
    let changed = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
    (changed, (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> (i128, (u64, u64)) {
    (0, (0, 0))
}

/// The files that were looked at, as they were then.
#[derive(Clone, Debug, Default)]
pub struct Stamps {
    seen: BTreeMap<PathBuf, Stamp>,
}

impl Stamps {
    /// Whether the file differs from the last look; the first look at a file is a change.
    pub fn changed(&mut self, path: &Path) -> bool {
        self.record(path, Stamp::of(path))
    }

    /// Records a stamp that was taken before the file was read, so that a change after the read is not missed. Says
    /// whether it differs from the last one.
    pub fn record(&mut self, path: &Path, stamp: Stamp) -> bool {
        match self.seen.get_mut(path) {
            Some(old) => std::mem::replace(old, stamp) != stamp,
            None => self.seen.insert(path.to_owned(), stamp).is_none(),
        }
    }

    /// Forgets a file that nobody watches any more.
    pub fn forget(&mut self, path: &Path) {
        self.seen.remove(path);
    }

    /// The files that are watched.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.seen.keys().map(PathBuf::as_path)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_kind_of_change_is_seen_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        let mut stamps = Stamps::default();
        assert!(stamps.changed(&path), "the first look");
        assert!(!stamps.changed(&path));
        fs::write(&path, "a").unwrap();
        assert!(stamps.changed(&path), "it appeared");
        assert!(!stamps.changed(&path));
        fs::write(&path, "ab").unwrap();
        assert!(stamps.changed(&path), "it grew");
        let times = fs::FileTimes::new().set_modified(fs::metadata(&path).unwrap().modified().unwrap());
        let other = root.path().join("g");
        fs::write(&other, "cd").unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_times(times).unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(stamps.changed(&path), "another file of the same size and time took the name");
        fs::remove_file(&path).unwrap();
        assert!(stamps.changed(&path), "it vanished");
        assert!(!stamps.changed(&path));
        stamps.forget(&path);
        assert_eq!(stamps.paths().count(), 0);
        assert!(stamps.changed(&path));
    }
}
