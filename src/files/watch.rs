//! Did a file change? By looking, not by listening: one `stat` per file and tick, which works on every file system and
//! misses no rename. (Events of the operating system may wake the looking up earlier; they never replace it.)

use std::fs::Metadata;
use std::path::Path;
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

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_kind_of_change_shows() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        let absent = Stamp::of(&path);
        assert_eq!(absent, Stamp::Absent);
        fs::write(&path, "a").unwrap();
        let first = Stamp::of(&path);
        assert_ne!(first, absent, "it appeared");
        assert_eq!(Stamp::of(&path), first, "nothing happened");
        fs::write(&path, "ab").unwrap();
        let grown = Stamp::of(&path);
        assert_ne!(grown, first, "it grew");
        let times = fs::FileTimes::new().set_modified(fs::metadata(&path).unwrap().modified().unwrap());
        let other = root.path().join("g");
        fs::write(&other, "cd").unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_times(times).unwrap();
        fs::rename(other, &path).unwrap();
        assert_ne!(Stamp::of(&path), grown, "another file of the same size and time took the name");
        fs::remove_file(&path).unwrap();
        assert_eq!(Stamp::of(&path), absent, "it vanished");
    }
}
