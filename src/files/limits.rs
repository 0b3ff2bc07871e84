//! Reading files that others write, within bounds: regular files only, never blocked by a FIFO, never more than a
//! limit, and a cache file only if it is ours. What we add to is held to the same.
//!
//! All checks are made on the open descriptor, so nothing can be swapped between the check and the read.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::core::failure::{Failure, FailureClass};
use crate::core::sso_cache;
use crate::core::time::Timestamp;
use crate::platform::clock::timestamp;

/// The largest config file that is read.
pub const MAX_CONFIG: usize = MIB;

const MIB: usize = 1024 * 1024;

/// What a bounded read found.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    /// The bytes; wiped when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// When the file was last modified.
    pub modified: Timestamp,
}

impl Contents {
    /// The text; `None` when it is no UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Contents({} bytes)", self.bytes.len())
    }
}

/// Why a file was not read.
#[derive(Debug)]
pub enum ReadError {
    /// There is none.
    Absent,
    /// It is not what it must be; the text follows the file's name.
    Refused(String),
    /// The operating system's words.
    Io(io::Error),
}

impl ReadError {
    /// For a person, with the file's name. `None` for an absent file, which may be fine.
    #[must_use]
    pub fn failure(&self, path: &Path) -> Option<Failure> {
        let shown = path.display();
        match self {
            Self::Absent => None,
            Self::Refused(why) => {
                let fix = "replace it with a regular file of your own";
                Some(Failure::new(FailureClass::Misconfigured, format!("{shown} {why}"), fix))
            }
            Self::Io(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                let message = format!("{shown} cannot be read: {e}");
                Some(Failure::new(FailureClass::Misconfigured, message, "give yourself the right to read it"))
            }
            Self::Io(e) => Some(Failure::new(FailureClass::Transient, format!("{shown} cannot be read: {e}"), "")),
        }
    }
}

/// What stands after the file's name.
impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("does not exist"),
            Self::Refused(why) => f.write_str(why),
            Self::Io(e) => write!(f, "cannot be read: {e}"),
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Absent,
            _ => Self::Io(e),
        }
    }
}

/// Reads a config file: a regular file of at most [`MAX_CONFIG`] bytes, ours or root's. It may be reached through
/// symbolic links (dotfile managers).
///
/// # Errors
/// See [`ReadError`].
pub fn read_config(path: &Path) -> Result<Contents, ReadError> {
    let (file, metadata) = open_regular(path, true)?;
    check_owner(&metadata, true)?;
    read(file, &metadata, MAX_CONFIG)
}

/// Reads a public file, whoever owns it: a regular file of at most `max` bytes, perhaps behind symbolic links.
///
/// # Errors
/// See [`ReadError`].
pub fn read_public(path: &Path, max: usize) -> Result<Contents, ReadError> {
    let (file, metadata) = open_regular(path, true)?;
    read(file, &metadata, max)
}

/// Reads a cache file: a regular file of at most 64 KiB, ours, and no symbolic link (its folder may be one).
///
/// # Errors
/// See [`ReadError`].
pub fn read_cache(path: &Path) -> Result<Contents, ReadError> {
    let (file, metadata) = open_regular(path, false)?;
    check_owner(&metadata, false)?;
    read(file, &metadata, sso_cache::MAX_BYTES)
}

/// Reads a log of ours: a regular file of at most `max` bytes, ours, and no symbolic link.
///
/// # Errors
/// See [`ReadError`].
pub fn read_log(path: &Path, max: usize) -> Result<Contents, ReadError> {
    let (file, metadata) = open_regular(path, false)?;
    check_owner(&metadata, false)?;
    read(file, &metadata, max)
}

/// Opens a log of ours to add to its end, and to read: made (0600) if it is missing, else a regular file, ours, and no
/// symbolic link.
///
/// # Errors
/// See [`ReadError`]; absent: its folder is.
pub fn open_log(path: &Path) -> Result<(File, Metadata), ReadError> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let (file, metadata) = regular(open(path, false, &mut options)?)?;
    check_owner(&metadata, false)?;
    Ok((file, metadata))
}

fn open_regular(path: &Path, follow: bool) -> Result<(File, Metadata), ReadError> {
    regular(open(path, follow, OpenOptions::new().read(true))?)
}

fn regular(file: File) -> Result<(File, Metadata), ReadError> {
    let metadata = file.metadata()?;
    if metadata.is_symlink() {
        return Err(ReadError::Refused("is a symbolic link".to_owned()));
    }
    if !metadata.is_file() {
        return Err(ReadError::Refused("is not a regular file".to_owned()));
    }
    Ok((file, metadata))
}

/// Without `O_NONBLOCK` opening a FIFO would wait for a writer; for a regular file it changes nothing.
#[cfg(unix)]
fn open(path: &Path, follow: bool, options: &mut OpenOptions) -> Result<File, ReadError> {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;
    use rustix::io::Errno;

    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    let bits = i32::try_from(flags.bits()).unwrap_or_default();
    options.custom_flags(bits).open(path).map_err(|e| match Errno::from_io_error(&e) {
        Some(Errno::LOOP) => ReadError::Refused("is a symbolic link".to_owned()),
        // What opening a socket says, and opening a folder to write.
        Some(Errno::NXIO | Errno::ISDIR) => ReadError::Refused("is not a regular file".to_owned()),
        _ => ReadError::from(e),
    })
}

/// With `FILE_FLAG_OPEN_REPARSE_POINT` (0x0020_0000) the link itself is opened instead of its target.
#[cfg(windows)]
fn open(path: &Path, follow: bool, options: &mut OpenOptions) -> Result<File, ReadError> {
    use std::os::windows::fs::OpenOptionsExt;

    let flags = if follow { 0 } else { 0x0020_0000 };
    Ok(options.custom_flags(flags).open(path)?)
}

/// The mode of a regular file of ours that others may read or write, which no token's should be.
#[cfg(unix)]
#[must_use]
pub fn open_to_others(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;

    let metadata = std::fs::symlink_metadata(path).ok().filter(Metadata::is_file)?;
    check_owner(&metadata, false).ok()?;
    Some(metadata.mode() & 0o777).filter(|mode| mode & 0o066 != 0)
}

/// Windows has no modes: the folder's access list decides.
#[cfg(not(unix))]
#[must_use]
pub fn open_to_others(_: &Path) -> Option<u32> {
    None
}

#[cfg(unix)]
fn check_owner(metadata: &Metadata, root_is_fine: bool) -> Result<(), ReadError> {
    use std::os::unix::fs::MetadataExt;

    let owner = metadata.uid();
    if owner == crate::platform::process::uid() || (root_is_fine && owner == 0) {
        return Ok(());
    }
    Err(ReadError::Refused(format!("belongs to another user (uid {owner})")))
}

#[cfg(not(unix))]
fn check_owner(_: &Metadata, _: bool) -> Result<(), ReadError> {
    Ok(())
}

fn read(mut file: File, metadata: &Metadata, max: usize) -> Result<Contents, ReadError> {
    let shown = if max.is_multiple_of(MIB) { format!("{} MiB", max / MIB) } else { format!("{} KiB", max / 1024) };
    let too_big = || ReadError::Refused(format!("is larger than {shown}"));
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if size > max {
        return Err(too_big());
    }
    // One byte of room is always left before a read, so that the end is seen and the buffer never moves by itself,
    // which would leave an unwiped copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 4096));
    loop {
        if bytes.len() == bytes.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(bytes.capacity() * 2));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        let room = bytes.capacity() - bytes.len();
        let read = Read::by_ref(&mut file).take(room as u64).read_to_end(&mut bytes)?;
        if bytes.len() > max {
            return Err(too_big());
        }
        if read < room {
            break;
        }
    }
    Ok(Contents { bytes, modified: metadata.modified().map(timestamp).unwrap_or_default() })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn refused<T: std::fmt::Debug>(result: Result<T, ReadError>) -> String {
        match result {
            Err(ReadError::Refused(why)) => why,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_regular_file_is_read_with_its_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        fs::write(&path, "text").unwrap();
        let contents = read_cache(&path).unwrap();
        assert_eq!(contents.text(), Some("text"));
        assert_eq!(contents.modified, timestamp(fs::metadata(&path).unwrap().modified().unwrap()));
        assert!(!format!("{contents:?}").contains("text"));
        fs::write(&path, "").unwrap();
        assert_eq!(read_cache(&path).unwrap().text(), Some(""));
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_config(&path).unwrap().text(), None);
    }

    #[test]
    fn absent_is_told_from_refused() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(read_cache(&root.path().join("none")), Err(ReadError::Absent)));
        assert!(matches!(read_config(&root.path().join("no/folder")), Err(ReadError::Absent)));
        fs::write(root.path().join("f"), "").unwrap();
        assert!(matches!(read_config(&root.path().join("f/below")), Err(ReadError::Absent)));
        assert_eq!(refused(read_cache(root.path())), "is not a regular file");
    }

    #[test]
    fn a_fifo_and_a_socket_block_nobody() {
        let root = tempfile::tempdir().unwrap();
        let fifo = root.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert_eq!(refused(read_cache(&fifo)), "is not a regular file");
        assert_eq!(refused(read_config(&fifo)), "is not a regular file");
        let socket = root.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(refused(read_config(&socket)), "is not a regular file");
        assert_eq!(refused(read_config(Path::new("/dev/null"))), "is not a regular file");
    }

    #[test]
    fn a_cache_file_is_no_link_though_its_folder_may_be_one() {
        let root = tempfile::tempdir().unwrap();
        let (real, link, folder) = (root.path().join("real"), root.path().join("link"), root.path().join("folder"));
        fs::write(&real, "text").unwrap();
        symlink(&real, &link).unwrap();
        symlink(root.path(), &folder).unwrap();
        assert_eq!(refused(read_cache(&link)), "is a symbolic link");
        assert!(read_config(&link).is_ok());
        assert!(read_cache(&folder.join("real")).is_ok());
    }

    #[test]
    fn a_file_that_others_may_use_is_told() {
        use std::os::unix::fs::PermissionsExt;

        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        assert_eq!(open_to_others(&path), None);
        fs::write(&path, "text").unwrap();
        for (mode, open) in [(0o600, false), (0o711, false), (0o604, true), (0o640, true), (0o602, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(open_to_others(&path), open.then_some(mode), "{mode:o}");
        }
    }

    #[test]
    fn files_have_a_largest_size() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        fs::write(&path, vec![b'x'; sso_cache::MAX_BYTES]).unwrap();
        assert_eq!(read_cache(&path).unwrap().bytes.len(), sso_cache::MAX_BYTES);
        fs::write(&path, vec![b'x'; sso_cache::MAX_BYTES + 1]).unwrap();
        assert_eq!(refused(read_cache(&path)), "is larger than 64 KiB");
        assert!(read_config(&path).is_ok());
        // A file that grew since it was looked at: /proc says size 0, and there is more to read.
        #[cfg(target_os = "linux")]
        assert!(read_config(Path::new("/proc/self/smaps")).unwrap().bytes.len() > 8192);
    }

    #[test]
    fn another_users_file_is_refused() {
        if crate::platform::process::uid() != 0 {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        fs::write(&path, "text").unwrap();
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        assert_eq!(refused(read_cache(&path)), "belongs to another user (uid 65534)");
        let failure = read_config(&path).unwrap_err().failure(&path).unwrap();
        assert_eq!(failure.class, FailureClass::Misconfigured);
    }
}
