//! The server's end: taking the name safely, and letting in only who may.
//!
//! Taking the name, in this order (each step guards the next): make and check the folder; take the lock, which is held
//! for life; connect to see whether somebody listens who knows no lock; remove what is at the path only if it is a dead
//! socket of ours; bind, mode 0600. The listener's own name reclamation stays off: it would unlink its successor's
//! socket. At a clean end the socket is removed if it is still the one that we made, and whoever has connected by then
//! is still served.
//!
//! With a socket that a service manager hands over only the folder's check and the lock remain: its name is never
//! removed, and whoever waits at the end is left to the successor.
//!
//! Whoever holds the lock but is not to be reached under the name is starting, ending, or has lost its name. It is given
//! a moment, then told to look (SIGHUP), upon which an agent without a name ends; see [`Listener::has_its_name`].

use std::fs::File;
use std::io;
use std::time::Duration;

use interprocess::local_socket::tokio::{Listener as Socket, Stream};
use interprocess::local_socket::traits::tokio::Listener as _;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName};

use super::address::Address;
use super::peer::{Admission, PeerIdentity};
use crate::core::failure::{Failure, FailureClass};

mod name;
use name::Name;

/// How long a lock's holder who listens nowhere is waited for.
const CHANGE_OF_HANDS: Duration = Duration::from_secs(2);
/// The same, when a service manager has taken the name from it: it looks for its name every 30 s.
#[cfg(unix)]
const CHANGE_TO_SERVICE: Duration = Duration::from_secs(35);

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
    name: Name,
}

impl Listener {
    /// Takes the name and listens. Must be called within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(address: &Address, admission: Admission) -> Result<Self, BindError> {
        let mut name = Name::take(address, CHANGE_OF_HANDS)?;
        let failed = |e: io::Error| {
            let message = format!("cannot listen on {}: {e}", address.socket().display());
            let fix = "is this a sandbox? set AGENTCTL_SOCKET to a path in a folder of your own";
            BindError::Failed(Failure::new(FailureClass::Misconfigured, message, fix))
        };
        let options = address.socket().to_fs_name::<GenericFilePath>().map_err(failed)?;
        let options = ListenerOptions::new().name(options).reclaim_name(false);
        let socket = restrict(options).and_then(ListenerOptions::create_tokio).map_err(failed)?;
        name.bound(address.socket()).map_err(failed)?;
        Ok(Self { socket, admission, spare: spare(), name })
    }

    /// Listens on what a service manager handed over. Must be called within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// See [`BindError`].
    #[cfg(unix)]
    pub fn activated(activated: super::activation::Activated, admission: Admission) -> Result<Self, BindError> {
        let address = Address::of_socket(activated.path);
        let name = Name::take_service(&address, CHANGE_TO_SERVICE)?;
        let socket = uds::Listener::try_from(activated.socket);
        let socket = socket.map_err(|e| {
            let message = format!("cannot listen on {}: {e}", address.socket().display());
            BindError::Failed(Failure::new(FailureClass::Misconfigured, message, "see the socket unit"))
        })?;
        Ok(Self { socket: Socket::UdSocket(socket), admission, spare: spare(), name })
    }

    /// Whether clients that look for the name still find this socket. An agent that lost its name (a removed runtime
    /// folder, a service manager's socket in its place) is reached by nobody and should end.
    #[must_use]
    pub fn has_its_name(&self) -> bool {
        self.name.is_ours()
    }

    /// Whether a service manager made the socket.
    #[must_use]
    pub const fn is_activated(&self) -> bool {
        self.name.is_service()
    }

    /// Gives up the name and returns who has connected by now; then nobody new can. The lock is held on. (A service
    /// manager's socket keeps its name, and whoever waits there.)
    #[must_use]
    pub fn close(&mut self) -> Vec<Arrival> {
        if self.name.give_up() {
            waiting(&self.socket).into_iter().map(|s| self.judge(s)).collect()
        } else {
            Vec::new()
        }
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
        Ok(self.judge(stream))
    }

    fn judge(&self, stream: Stream) -> Arrival {
        let peer = identify(&stream);
        match self.admission.judge(&peer) {
            Ok(()) => Arrival::Admitted(stream, peer),
            Err(why) => Arrival::Refused(peer, why),
        }
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

/// Who has connected and was not accepted yet, as far as descriptors reach.
#[cfg(unix)]
fn waiting(socket: &Socket) -> Vec<Stream> {
    use std::os::fd::{AsFd, OwnedFd};

    let Socket::UdSocket(socket) = socket;
    // Its own listener, asked directly: the runtime may not have heard of the latest.
    let Ok(listener) = socket.as_fd().try_clone_to_owned().map(std::os::unix::net::UnixListener::from) else {
        return Vec::new();
    };
    let connected = std::iter::from_fn(|| listener.accept().ok()).map(|(stream, _)| stream);
    let ready = connected.filter(|stream| stream.set_nonblocking(true).is_ok());
    ready.filter_map(|s| uds::Stream::try_from(OwnedFd::from(s)).ok()).map(Stream::UdSocket).collect()
}

#[cfg(unix)]
use interprocess::os::unix::uds_local_socket::tokio as uds;

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
use windows_half::{identify, out_of_descriptors, restrict, spare, waiting};

#[cfg(windows)]
mod windows_half {
    use interprocess::local_socket::traits::StreamCommon;
    use interprocess::os::windows::local_socket::ListenerOptionsExt;

    use super::*;
    use crate::ipc::windows;

    pub(super) fn restrict(options: ListenerOptions<'_>) -> io::Result<ListenerOptions<'_>> {
        Ok(options.security_descriptor(windows::only_own_user()?))
    }

    pub(super) fn identify(stream: &Stream) -> PeerIdentity {
        PeerIdentity { uid: None, pid: stream.peer_creds().ok().and_then(|c| c.pid()) }
    }

    /// A pipe's clients wait for an instance of their own; there is no queue to look into.
    pub(super) fn waiting(_: &Socket) -> Vec<Stream> {
        Vec::new()
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
