//! The right to the address: the lock, which names its holder, and the socket file that we made or were handed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::BindError;
use crate::core::failure::{Failure, FailureClass};
use crate::ipc::address::Address;
use crate::platform::clock::Deadline;
use crate::platform::{folder, process};

/// Between two looks at a lock that is held.
const STEP: Duration = Duration::from_millis(10);
/// A holder that cannot be reached by then is told to look. One that is starting or ending has come to it by itself.
const NUDGE_AFTER: Duration = Duration::from_millis(500);

/// The lock, and what stands under the name.
#[derive(Debug)]
pub(super) struct Name {
    path: PathBuf,
    /// Device and inode of the socket file; `None`: not bound yet, or given up, or a pipe.
    file: Option<(u64, u64)>,
    /// Made by us, and removed at our end.
    ours: bool,
    _lock: File,
}

impl Name {
    /// The right to bind: nobody listens there, and nothing is in the way.
    pub(super) fn take(address: &Address, patience: Duration) -> Result<Self, BindError> {
        check_folders(address)?;
        let lock = lock(address, patience, is_alive)?;
        if is_alive(address.socket()) {
            return Err(BindError::AlreadyRunning);
        }
        remove_dead_socket(address.socket())?;
        Ok(Self { path: address.socket().to_owned(), file: None, ours: true, _lock: lock })
    }

    /// The right to serve a socket that a service manager holds. An agent that served before under the same name is
    /// waited for.
    #[cfg(unix)]
    pub(super) fn take_service(address: &Address, patience: Duration) -> Result<Self, BindError> {
        check_folders(address)?;
        // Whoever is to be reached there is ourselves, so that says nothing.
        let lock = lock(address, patience, |_| false)?;
        let path = address.socket().to_owned();
        Ok(Self { file: identity(&path), path, ours: false, _lock: lock })
    }

    /// The socket is there: only its user may connect from now on.
    #[cfg(unix)]
    pub(super) fn bound(&mut self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        self.file = identity(path);
        // Linux set the mode before the bind; elsewhere the 0700 folder covers the moment in between.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
    }

    #[cfg(windows)]
    pub(super) fn bound(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Whether a service manager made the socket.
    pub(super) const fn is_service(&self) -> bool {
        !self.ours
    }

    /// Whether the socket file is still the one that we serve.
    pub(super) fn is_ours(&self) -> bool {
        self.file.is_none() || identity(&self.path) == self.file
    }

    /// Removes the socket file, if we made it and it is still the same. Whether the name was ours to give up.
    pub(super) fn give_up(&mut self) -> bool {
        if !self.ours {
            return false;
        }
        if self.file.is_some() && identity(&self.path) == self.file.take() {
            // What cannot be removed is a dead socket to whoever comes next.
            let _ = std::fs::remove_file(&self.path);
        }
        true
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.give_up();
    }
}

fn check_folders(address: &Address) -> Result<(), BindError> {
    for path in [address.socket(), address.lock()] {
        if let Some(folder) = path.parent().filter(|_| !is_pipe(path)) {
            folder::ensure_private(folder).map_err(BindError::Failed)?;
        }
    }
    Ok(())
}

/// Takes the lock and notes who holds it. While another holds it who `serves`, that one is the agent; one who does not
/// gets `patience`.
fn lock(address: &Address, patience: Duration, serves: impl Fn(&Path) -> bool) -> Result<File, BindError> {
    let path = address.lock();
    let failed = |e: io::Error| {
        let message = format!("cannot lock {}: {e}", path.display());
        let fix = "see whether its disk is full or read-only";
        BindError::Failed(Failure::new(FailureClass::Misconfigured, message, fix))
    };
    let mut file = open(path).map_err(failed)?;
    let (end, nudge) = (Deadline::after(patience), Deadline::after(NUDGE_AFTER.min(patience)));
    let mut nudged = false;
    loop {
        match file.try_lock() {
            Ok(()) => {
                // Only a convenience: without it a successor waits a little longer.
                let _ = sign(&mut file);
                return Ok(file);
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
            Err(TryLockError::WouldBlock) if serves(address.socket()) || end.remaining().is_none() => {
                return Err(BindError::AlreadyRunning);
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if !nudged && nudge.remaining().is_none() {
            nudged = true;
            holder(&mut file).into_iter().for_each(process::tell_to_look);
        }
        std::thread::sleep(STEP);
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", process::pid())
}

/// The process that noted itself in a lock. It is asked only while the lock is held, so that the number is not stale
/// (but for the moment between taking and noting).
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(unix)]
fn remove_dead_socket(path: &Path) -> Result<(), BindError> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    let refuse = |what: String| {
        let message = format!("{} {what}", path.display());
        BindError::Failed(Failure::new(FailureClass::Misconfigured, message, "move it away, or set AGENTCTL_SOCKET"))
    };
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(refuse("is in the socket's place and is no socket".to_owned()));
    }
    if metadata.uid() != process::uid() {
        return Err(refuse(format!("is a socket of another user (uid {})", metadata.uid())));
    }
    std::fs::remove_file(path).map_err(|e| refuse(format!("is a dead socket and cannot be removed: {e}")))
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

#[cfg(unix)]
fn is_pipe(_: &Path) -> bool {
    false
}

#[cfg(unix)]
use crate::ipc::unix::is_alive;

#[cfg(windows)]
use crate::ipc::windows::is_alive;

/// A pipe ends with its server.
#[cfg(windows)]
fn remove_dead_socket(_: &Path) -> Result<(), BindError> {
    Ok(())
}

#[cfg(windows)]
fn identity(_: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(windows)]
fn is_pipe(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(br"\\")
}
