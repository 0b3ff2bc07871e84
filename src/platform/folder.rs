//! A folder that only this user can enter: where the socket, the locks and the state live.
//!
//! The folder itself is judged, never its parents' contents: it must be a real folder (no symlink), ours, and closed to
//! group and others. A folder of ours with a wider mode is not repaired silently: whoever opened it up may already
//! hold something inside.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use crate::core::failure::{Failure, FailureClass};

/// Makes the folder (0700, parents by the umask) if it is missing, then checks it.
///
/// # Errors
/// Class `misconfigured`, naming the folder and what to do, when it cannot be made or is not ours alone.
pub fn ensure_private(folder: &Path) -> Result<(), Failure> {
    if fs::symlink_metadata(folder).is_err() {
        create(folder).map_err(|e| {
            let message = format!("cannot make the folder {}: {e}", folder.display());
            misconfigured(message, "make it by hand with mode 0700, or set AGENTCTL_STATE_DIR")
        })?;
    }
    check_private(folder)
}

/// Checks an existing folder: ours, no symlink, closed to group and others.
///
/// # Errors
/// Class `misconfigured`, naming the folder and what to do.
pub fn check_private(folder: &Path) -> Result<(), Failure> {
    let shown = folder.display();
    let metadata = fs::symlink_metadata(folder)
        .map_err(|e| misconfigured(format!("cannot look at the folder {shown}: {e}"), "check its path"))?;
    if metadata.is_symlink() {
        return Err(misconfigured(format!("{shown} is a symbolic link"), "name the real folder instead"));
    }
    if !metadata.is_dir() {
        return Err(misconfigured(format!("{shown} is not a folder"), "move it away"));
    }
    check_owner_and_mode(folder, &metadata)
}

/// Whether an existing path is a folder that is ours alone. Cheap: one system call, no text.
#[must_use]
pub fn is_private(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|m| m.is_dir() && check_owner_and_mode(folder, &m).is_ok())
}

#[cfg(unix)]
fn check_owner_and_mode(folder: &Path, metadata: &Metadata) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt;

    let shown = folder.display();
    if metadata.uid() != super::process::uid() {
        let message = format!("the folder {shown} belongs to another user (uid {})", metadata.uid());
        return Err(misconfigured(message, "use a folder of your own"));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let message = format!("the folder {shown} is open to others (mode {mode:04o})");
        // A folder that all may write to, like /tmp, is so on purpose: closing it would break others.
        let shared = mode & 0o1002 != 0;
        let fix = if shared { "use a folder that only you can enter".to_owned() } else { format!("chmod 700 {shown}") };
        return Err(misconfigured(message, fix));
    }
    Ok(())
}

/// On Windows a folder below the user's profile inherits its access list, which names only the user, administrators
/// and the system.
#[cfg(not(unix))]
fn check_owner_and_mode(_: &Path, _: &Metadata) -> Result<(), Failure> {
    Ok(())
}

fn create(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    match new_private(folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(unix)]
fn new_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(not(unix))]
fn new_private(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)
}

fn misconfigured(message: impl AsRef<str>, fix: impl AsRef<str>) -> Failure {
    Failure::new(FailureClass::Misconfigured, message, fix)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_missing_folder_is_made_private() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b/agentctl");
        ensure_private(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        ensure_private(&folder).unwrap();
        assert!(is_private(&folder));
    }

    #[test]
    fn an_open_folder_a_link_and_a_file_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let open = root.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        let failure = ensure_private(&open).unwrap_err();
        assert_eq!(failure.class, FailureClass::Misconfigured);
        assert!(failure.fix.starts_with("chmod 700 "), "{failure:?}");
        assert_eq!(mode(&open), 0o755);
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(!ensure_private(&open).unwrap_err().fix.contains("chmod"), "that would break /tmp");

        let real = root.path().join("real");
        ensure_private(&real).unwrap();
        let link = root.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(ensure_private(&link).unwrap_err().message.ends_with("is a symbolic link"));
        assert!(!is_private(&link));

        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(ensure_private(&file).unwrap_err().message.ends_with("is not a folder"));
        assert!(ensure_private(&file.join("below")).is_err());
    }
}
