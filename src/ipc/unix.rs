//! The Unix half: a connection with timeouts from the first system call on, and the question who listens.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use interprocess::local_socket::traits::StreamCommon;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::client::ClientError;
use super::exchange::Connection;
use crate::platform::process;

/// A connection to an agent of our own user.
pub(super) struct Conversation(UnixStream);

impl Conversation {
    /// Connects, waiting `left` at most if the agent's backlog is full, and checks who listens.
    pub(super) fn open(path: &Path, left: Duration) -> Result<Self, ClientError> {
        let socket = make_socket().map_err(|e| ClientError::Refused {
            why: format!("this process cannot make a local socket ({e}); is it in a sandbox?"),
        })?;
        let address = SocketAddrUnix::new(path)
            .map_err(|e| ClientError::Refused { why: format!("{} is no socket path: {e}", path.display()) })?;
        // On Linux the send timeout bounds connect as well (unix(7), socket(7)); macOS refuses at once.
        let _ = set_socket_timeout(&socket, Timeout::Send, Some(left));
        connect(&socket, &address).map_err(|e| explain_connect(path, e))?;
        let stream = interprocess::os::unix::uds_local_socket::Stream::from(UnixStream::from(socket));
        let server = stream.peer_creds().ok().and_then(|c| c.euid());
        if server != Some(process::uid()) {
            let who = server.map_or_else(|| "an unknown user".to_owned(), |uid| format!("uid {uid}"));
            return Err(ClientError::Refused { why: format!("{} is served by {who}, not by you", path.display()) });
        }
        Ok(Self(UnixStream::from(OwnedFd::from(stream))))
    }
}

impl Connection for Conversation {
    fn limit(&mut self, left: Duration) -> io::Result<()> {
        self.0.set_read_timeout(Some(left))
    }
}

impl io::Read for Conversation {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Write for Conversation {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether anybody listens there, without talking to them.
pub(super) fn is_alive(path: &Path) -> bool {
    let Ok(address) = SocketAddrUnix::new(path) else { return false };
    let Ok(socket) = make_socket() else { return false };
    // A full backlog has somebody behind it.
    rustix::io::ioctl_fionbio(&socket, true).is_ok() && matches!(connect(&socket, &address), Ok(()) | Err(Errno::AGAIN))
}

fn make_socket() -> rustix::io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    return socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    #[cfg(not(target_os = "linux"))]
    {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
        rustix::io::ioctl_fioclex(&socket)?;
        Ok(socket)
    }
}

fn explain_connect(path: &Path, error: Errno) -> ClientError {
    match error {
        Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR => ClientError::Absent,
        Errno::AGAIN | Errno::TIMEDOUT | Errno::INPROGRESS => ClientError::TimedOut,
        e => ClientError::Refused { why: format!("{} cannot be connected to: {e}", path.display()) },
    }
}
