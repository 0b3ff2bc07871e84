//! Replacing a file so that every reader sees the old or the new one, whole, and a crash leaves one of them.
//!
//! The new file has its final mode (0600) from birth, is flushed before it takes the name, and the folder is flushed
//! after. Two steps ([`write_new`], [`rename_over`]) for whoever must look around in between; one for all others:
//! [`replace_locked`] where a lock keeps writers apart, else [`replace`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Replaces or makes `path`. A process that is killed meanwhile may leave a file of a random name behind.
///
/// # Errors
/// The operating system's; the old file is then still there, whole.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut temporary = tempfile::Builder::new().prefix(".agentctl-").tempfile_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    let temporary = temporary.into_temp_path();
    rename_over(&temporary, path)?;
    // The name is gone by the rename; nothing to clean up.
    let _ = temporary.keep();
    Ok(())
}

/// Replaces or makes `path` for a caller that holds a lock over it: the new file is [`beside`] it meanwhile, so what a
/// killed process left there is gone with the next replacement, and never adds up.
///
/// # Errors
/// The operating system's; the old file is then still there, whole.
pub fn replace_locked(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path);
    remove(&new)?;
    create(&new, bytes).and_then(|()| rename_over(&new, path)).inspect_err(|_| drop(remove(&new)))
}

/// Writes a file of mode 0600 and flushes it. What has the name already is never written into, and keeps its name until
/// the new file is whole (under the name of [`beside`] meanwhile): it may be the only copy of something.
///
/// # Errors
/// The operating system's; an old file is then as it was, and nothing, or a part of the new one, may be there.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match create(path, bytes) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        done => return done,
    }
    replace_locked(path, bytes)
}

/// Where a file is written that takes the place of `path`. A process that is killed may leave it behind.
#[must_use]
pub fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

/// Makes the folder of `path`, and those above, for this user alone, where they are missing.
///
/// # Errors
/// The operating system's.
pub fn make_private_parent(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    // One call: a process that is killed leaves nothing or everything.
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives `from` the name `to` in one step, and flushes the folder.
///
/// # Errors
/// As [`rename`].
pub fn rename_over(from: &Path, to: &Path) -> io::Result<()> {
    rename(from, to)?;
    sync_folder(to);
    Ok(())
}

/// Gives `from` the name `to` in one step; a power cut may undo it.
///
/// Windows refuses while a reader holds `to` open (error 5): tried again for half a second.
///
/// # Errors
/// The operating system's; both files are then as they were.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let mut tries = if cfg!(windows) { 25 } else { 1 };
    loop {
        tries -= 1;
        match fs::rename(from, to) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && tries > 0 => {
                super::pause(Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

/// Swaps the names of two files in one step, and flushes the folder: unlike a rename it fails where `there` is gone, and
/// shows in `here` what it took the place of. `false`: this file system or operating system cannot; nothing happened.
///
/// Linux has it since 3.15 (`RENAME_EXCHANGE`, renameat2(2)), macOS on APFS (`RENAME_SWAP`, renameatx_np(2)).
///
/// # Errors
/// [`io::ErrorKind::NotFound`]: one of them is not there.
pub fn exchange(here: &Path, there: &Path) -> io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};

        match renameat_with(CWD, here, CWD, there, RenameFlags::EXCHANGE) {
            Ok(()) => {
                sync_folder(there);
                Ok(true)
            }
            Err(rustix::io::Errno::NOENT) => Err(io::ErrorKind::NotFound.into()),
            Err(_) => Ok(false),
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    {
        let _ = (here, there);
        Ok(false)
    }
}

/// Removes a file; one that is not there is removed already.
///
/// # Errors
/// The operating system's.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Best effort: some file systems cannot flush a folder, and the rename is done.
fn sync_folder(of: &Path) {
    if cfg!(unix)
        && let Some(folder) = of.parent()
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_new_file_is_private_whatever_the_old_one_was() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        replace(&path, b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_ne!(fs::metadata(&path).unwrap().ino(), before, "another file took the name");
        assert_eq!(names(root.path()), ["f"]);
    }

    #[test]
    fn an_old_file_in_the_way_is_not_written_into() {
        let root = tempfile::tempdir().unwrap();
        let (victim, path) = (root.path().join("victim"), root.path().join("f"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &path).unwrap();
        write_new(&path, b"new").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn an_old_file_keeps_its_name_until_the_new_one_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        write_new(&path, b"old").unwrap();
        // A folder in the way of the new file works for root too, unlike a mode.
        fs::create_dir(beside(&path)).unwrap();
        assert!(write_new(&path, b"new").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        fs::remove_dir(beside(&path)).unwrap();
        fs::write(beside(&path), "left by a killed process").unwrap();
        write_new(&path, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(root.path())), (b"new".to_vec(), vec!["f".to_owned()]));
    }

    #[test]
    fn what_a_killed_process_left_is_gone_with_the_next_replacement() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        fs::write(beside(&path), "half").unwrap();
        replace_locked(&path, b"one").unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(root.path())), (b"one".to_vec(), vec!["f".to_owned()]));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn an_exchange_shows_what_was_there_and_makes_nothing_new() {
        let root = tempfile::tempdir().unwrap();
        let (here, there) = (root.path().join("here"), root.path().join("there"));
        fs::write(&here, "ours").unwrap();
        if cfg!(any(target_os = "linux", target_os = "macos")) {
            assert_eq!(exchange(&here, &there).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        assert_eq!(names(root.path()), ["here"]);
        fs::write(&there, "theirs").unwrap();
        if exchange(&here, &there).unwrap() {
            assert_eq!((fs::read(&here).unwrap(), fs::read(&there).unwrap()), (b"theirs".to_vec(), b"ours".to_vec()));
        }
    }

    #[test]
    fn a_failed_replacement_leaves_no_trace() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("f")).unwrap();
        assert!(replace(&root.path().join("f"), b"x").is_err());
        assert!(replace_locked(&root.path().join("f"), b"x").is_err());
        assert_eq!(names(root.path()), ["f"]);
        assert!(replace(&root.path().join("no/f"), b"x").is_err());
        remove(&root.path().join("none")).unwrap();
    }
}
