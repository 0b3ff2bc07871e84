//! Which folders must be watched, so that nothing that happens to certain files goes unheard?
//!
//! Nothing is watched here: what exists is looked at (`stat`, `lstat`, `realpath`), and the result is a value, a
//! [`Plan`]. `daemon::armed` makes the operating system's watches what the plan says, again and again, since what exists
//! changes.
//!
//! * Folders are watched, never files: a file's watch dies with the first rename over it.
//! * For a folder that is missing its nearest existing parent is watched, for the one name that leads to it.
//! * A folder goes by its real path, and is watched once whatever paths lead to it: inotify knows it once, and ends
//!   that one watch for whoever asks first.
//! * For a folder that is a symbolic link, the folder of the link is watched as well, for the link to be pointed
//!   elsewhere; for a file that is one (dotfile managers), the folder of its target.
//! * What else happens in a watched folder is not heard: a parent that stands in may be a busy one.
//!
//! It deliberately does not follow links further up a path, nor those between a link and its last target, and does not
//! see a file system that is mounted over a folder. Nor does it plan folders in which everybody is busy (`/tmp`, and
//! `/dev` for `AWS_CONFIG_FILE=/dev/null`): `notify` asks for every opening of a file, and each would wake its thread. All
//! that is found by the regular looks.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::path::{Path, PathBuf};

/// What is of interest: one file, or all files of a folder, whether they exist or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    folder: PathBuf,
    /// `None`: whatever is in it.
    name: Option<OsString>,
}

impl Wanted {
    /// One file.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        let mut folder = absolute(path);
        let name = folder.file_name().map(OsStr::to_owned);
        if name.is_some() {
            folder.pop();
        }
        Self { folder, name }
    }

    /// Every file of a folder.
    #[must_use]
    pub fn folder(path: &Path) -> Self {
        Self { folder: absolute(path), name: None }
    }
}

/// Without a current folder a relative path leads nowhere, for whoever reads the file as well.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// What tells a folder from another that has its path later: device and inode (elsewhere than on Unix the time of its
/// creation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity(u64, u64);

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Identity(metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(metadata: &Metadata) -> Identity {
    let created = metadata.created().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    Identity(created.map_or(0, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)), 0)
}

/// Two folders may have been made at the same time.
const IDENTITY_IS_UNIQUE: bool = cfg!(unix);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Folder {
    identity: Identity,
    /// The names that matter; `None`: all.
    names: Option<BTreeSet<OsString>>,
}

/// What a path that something happened to means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is of no interest.
    Nothing,
    /// Something that is wanted may have changed.
    Change,
    /// The same, and the path is that of a watched folder or of one above it.
    OfFolder,
}

/// The folders to watch, by their real paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    folders: BTreeMap<PathBuf, Folder>,
}

impl Plan {
    /// Looks at what exists now. At most so many folders are planned, those of the first `wanted` first.
    #[must_use]
    pub fn of(wanted: impl IntoIterator<Item = Wanted>, at_most: usize) -> Self {
        let mut plan = Self::default();
        let mut seen = BTreeSet::new();
        for wanted in wanted {
            if seen.insert(wanted.clone()) {
                plan.want(&wanted, at_most);
            }
        }
        plan
    }

    /// The folders, each with what tells it from a later one.
    pub fn folders(&self) -> impl Iterator<Item = (&Path, Identity)> {
        self.folders.iter().map(|(path, folder)| (path.as_path(), folder.identity))
    }

    /// The identity that a folder has in this plan; `None`: it is not in it.
    #[must_use]
    pub fn identity(&self, folder: &Path) -> Option<Identity> {
        self.folders.get(folder).map(|f| f.identity)
    }

    /// Whether it matters that something happened to `path`, which is below or above folders of the plan as those are
    /// named here.
    #[must_use]
    pub fn hears(&self, path: &Path) -> Heard {
        // In the order of paths, what is below one follows it.
        if self.folders.range(path.to_owned()..).next().is_some_and(|(folder, _)| folder.starts_with(path)) {
            return Heard::OfFolder;
        }
        let folder = path.parent().and_then(|parent| self.folders.get(parent));
        match (folder.map(|f| &f.names), path.file_name()) {
            (Some(None), _) => Heard::Change,
            (Some(Some(names)), Some(name)) if names.contains(name) => Heard::Change,
            _ => Heard::Nothing,
        }
    }

    fn want(&mut self, wanted: &Wanted, at_most: usize) {
        if let Some(target) = wanted.name.as_ref().and_then(|name| target_of_link(&wanted.folder.join(name)))
            && let (Some(folder), Some(name)) = (target.parent(), target.file_name())
        {
            self.add(folder, Some(name), at_most);
        }
        let (mut folder, mut name) = (wanted.folder.as_path(), wanted.name.as_deref());
        loop {
            // A link may be pointed elsewhere, and what is missing may appear: both show in the folder above.
            if self.add(folder, name, at_most) && !is_link(folder) {
                return;
            }
            let Some(parent) = folder.parent() else { return };
            name = folder.file_name();
            folder = parent;
        }
    }

    /// Whether there is such a folder.
    fn add(&mut self, folder: &Path, name: Option<&OsStr>, at_most: usize) -> bool {
        let Some((path, metadata)) = existing(folder) else { return false };
        if is_busy(&path, &metadata) {
            return true;
        }
        let identity = identity(&metadata);
        let path = self.known_as(path, identity);
        if self.folders.len() < at_most || self.folders.contains_key(&path) {
            let none = Folder { identity, names: Some(BTreeSet::new()) };
            let names = &mut self.folders.entry(path).or_insert(none).names;
            match (name, names) {
                (None, names) => *names = None,
                (Some(name), Some(names)) => _ = names.insert(name.to_owned()),
                (Some(_), None) => {}
            }
        }
        true
    }

    /// A folder that is mounted in two places has two real paths: the first one that was planned counts.
    fn known_as(&self, path: PathBuf, identity: Identity) -> PathBuf {
        if !IDENTITY_IS_UNIQUE || self.folders.contains_key(&path) {
            return path;
        }
        let same = self.folders.iter().find(|(_, folder)| folder.identity == identity);
        same.map_or(path, |(known, _)| known.clone())
    }
}

/// A folder by its real path.
fn existing(folder: &Path) -> Option<(PathBuf, Metadata)> {
    let path = folder.canonicalize().ok()?;
    let metadata = path.metadata().ok().filter(Metadata::is_dir)?;
    Some((path, metadata))
}

/// Whether the files in it are those of everybody, or none at all.
#[cfg(unix)]
fn is_busy(path: &Path, metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    const STICKY_AND_WRITABLE_BY_ALL: u32 = 0o1002;
    metadata.mode() & STICKY_AND_WRITABLE_BY_ALL == STICKY_AND_WRITABLE_BY_ALL
        || path == Path::new("/dev")
        || ["/proc", "/sys"].iter().any(|none| path.starts_with(none))
}

#[cfg(not(unix))]
fn is_busy(_: &Path, _: &Metadata) -> bool {
    false
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| m.is_symlink())
}

fn target_of_link(path: &Path) -> Option<PathBuf> {
    if is_link(path) { path.canonicalize().ok() } else { None }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
