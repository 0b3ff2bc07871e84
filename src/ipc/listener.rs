//! The server's end: taking the name safely, and letting in only who may.
//!
//! Taking the name, in this order (each step guards the next): make and check the folder; take the lock, which is held
//! for life; connect to see whether somebody listens who knows no lock; remove what is at the path only if it is a dead
//! socket of ours; bind, mode 0600. The listener's own name reclamation stays off: it would unlink its successor's
//! socket. At a clean end the socket is removed if it is still the one that we made.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use interprocess::local_socket::tokio::{Listener as Socket, Stream};
use interprocess::local_socket::traits::tokio::Listener as _;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName};

use super::address::Address;
use super::peer::{Admission, PeerIdentity};
use crate::core::failure::{Failure, FailureClass};
use crate::platform::folder;

/// Why the name could not be taken.
#[derive(Debug)]
pub enum BindError {
    /// Another agent serves this address.
    AlreadyRunning,
    /// Anything else, with what to do.
    Failed(Failure),
}

/// A connection that was accepted from the kernel.
#[derive(Debug)]
pub enum Arrival {
    /// From somebody who may come in. For hyper: `TokioIo::new(stream)`.
    Admitted(Stream, PeerIdentity),
    /// From somebody who may not; it is closed already. Worth a line in the log.
    Refused(PeerIdentity, String),
}

/// The listening socket. Dropping it removes the socket and releases the lock.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    admission: Admission,
    /// Given up for a moment when descriptors run out, to hang up on who waits instead of spinning.
    spare: Option<File>,
    _name: Name,
}

impl Listener {
    /// Takes the name and listens. Must be called within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(address: &Address, admission: Admission) -> Result<Self, BindError> {
        let mut name = Name::take(address)?;
        let failed = |e: io::Error| {
            let message = format!("cannot listen on {}: {e}", address.socket().display());
            let fix = "is this a sandbox? set AGENTCTL_SOCKET to a path in a folder of your own";
            BindError::Failed(Failure::new(FailureClass::Misconfigured, message, fix))
        };
        let options = address.socket().to_fs_name::<GenericFilePath>().map_err(failed)?;
        let options = ListenerOptions::new().name(options).reclaim_name(false);
        let socket = restrict(options).and_then(ListenerOptions::create_tokio).map_err(failed)?;
        name.bound(address.socket()).map_err(failed)?;
        Ok(Self { socket, admission, spare: spare(), _name: name })
    }

    /// Waits for the next connection. An error is of the moment (log it and go on): when descriptors ran out, whoever
    /// waited longest has been hung up on.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn accept(&mut self) -> io::Result<Arrival> {
        let stream = match self.socket.accept().await {
            Ok(stream) => stream,
            Err(e) => {
                if out_of_descriptors(&e) {
                    self.hang_up_on_one().await;
                }
                return Err(e);
            }
        };
        let peer = identify(&stream);
        Ok(match self.admission.judge(&peer) {
            Ok(()) => Arrival::Admitted(stream, peer),
            Err(why) => Arrival::Refused(peer, why),
        })
    }

    async fn hang_up_on_one(&mut self) {
        drop(self.spare.take());
        {
            // Polled once: if nobody waits any more, there is nobody to hang up on.
            let mut accept = std::pin::pin!(self.socket.accept());
            std::future::poll_fn(|context| {
                let _ = accept.as_mut().poll(context);
                std::task::Poll::Ready(())
            })
            .await;
        }
        self.spare = spare();
    }
}

/// The right to the address: the lock, and the socket file that we made.
#[derive(Debug)]
struct Name {
    /// The socket file and its device and inode, once bound.
    #[cfg(unix)]
    made: Option<(std::path::PathBuf, (u64, u64))>,
    _lock: File,
}

impl Name {
    fn take(address: &Address) -> Result<Self, BindError> {
        for path in [address.socket(), address.lock()] {
            if let Some(folder) = path.parent().filter(|_| !is_pipe(path)) {
                folder::ensure_private(folder).map_err(BindError::Failed)?;
            }
        }
        let lock = lock(address.lock())?;
        if is_alive(address.socket()) {
            return Err(BindError::AlreadyRunning);
        }
        remove_dead_socket(address.socket())?;
        Ok(Self {
            #[cfg(unix)]
            made: None,
            _lock: lock,
        })
    }

    #[cfg(unix)]
    fn bound(&mut self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        self.made = identity(path).map(|identity| (path.to_owned(), identity));
        // Linux set the mode before the bind; elsewhere the 0700 folder covers the moment in between.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
    }

    #[cfg(windows)]
    fn bound(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
impl Drop for Name {
    fn drop(&mut self) {
        if let Some((path, made)) = &self.made
            && identity(path) == Some(*made)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn lock(path: &Path) -> Result<File, BindError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let failed = |e: io::Error| {
        let message = format!("cannot lock {}: {e}", path.display());
        BindError::Failed(Failure::new(
            FailureClass::Misconfigured,
            message,
            "see whether its disk is full or read-only",
        ))
    };
    let file = options.open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BindError::AlreadyRunning),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
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
    if metadata.uid() != crate::platform::process::uid() {
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
fn is_alive(path: &Path) -> bool {
    super::unix::is_alive(path)
}

#[cfg(unix)]
fn restrict(options: ListenerOptions<'_>) -> io::Result<ListenerOptions<'_>> {
    #[cfg(target_os = "linux")]
    let options = interprocess::os::unix::local_socket::ListenerOptionsExt::mode(options, 0o600);
    Ok(options)
}

#[cfg(unix)]
fn identify(stream: &Stream) -> PeerIdentity {
    let Stream::UdSocket(stream) = stream;
    let Ok(peer) = stream.inner().peer_cred() else { return PeerIdentity::default() };
    PeerIdentity { uid: Some(peer.uid()), pid: peer.pid().and_then(|pid| u32::try_from(pid).ok()) }
}

#[cfg(unix)]
fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(unix)]
fn out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(windows)]
use windows_half::{identify, is_alive, is_pipe, out_of_descriptors, remove_dead_socket, restrict, spare};

#[cfg(windows)]
mod windows_half {
    use interprocess::local_socket::traits::StreamCommon;
    use interprocess::os::windows::local_socket::ListenerOptionsExt;

    use super::*;
    use crate::ipc::windows;

    pub(super) fn is_pipe(path: &Path) -> bool {
        path.as_os_str().as_encoded_bytes().starts_with(br"\\")
    }

    pub(super) fn is_alive(path: &Path) -> bool {
        windows::is_alive(path)
    }

    /// A pipe ends with its server.
    pub(super) fn remove_dead_socket(_: &Path) -> Result<(), BindError> {
        Ok(())
    }

    pub(super) fn restrict(options: ListenerOptions<'_>) -> io::Result<ListenerOptions<'_>> {
        Ok(options.security_descriptor(windows::only_own_user()?))
    }

    pub(super) fn identify(stream: &Stream) -> PeerIdentity {
        PeerIdentity { uid: None, pid: stream.peer_creds().ok().and_then(|c| c.pid()) }
    }

    pub(super) fn spare() -> Option<File> {
        None
    }

    pub(super) fn out_of_descriptors(_: &io::Error) -> bool {
        false
    }
}

#[cfg(test)]
#[cfg(windows)]
mod windows_tests;

#[cfg(test)]
#[cfg(unix)]
mod tests;
