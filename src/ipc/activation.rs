//! A listening socket that a service manager made and handed over, so that no connection is lost while no agent runs:
//! systemd (sd_listen_fds(3)) and launchd (launch_activate_socket(3), the socket named [`LAUNCHD_NAME`] in the plist).
//!
//! What was handed over is checked: exactly one descriptor, and a listening Unix domain socket. Its folder and lock are
//! the listener's business, as with a socket of our own making.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::net::{SocketAddrUnix, getsockname};

use crate::core::failure::{Failure, FailureClass};

/// The socket's key in `Sockets` of the launchd plist.
pub const LAUNCHD_NAME: &str = "agent";

/// A listening socket that was handed over.
#[derive(Debug)]
pub struct Activated {
    /// It listens already.
    pub(super) socket: OwnedFd,
    /// Where.
    pub path: PathBuf,
}

/// What the service manager handed over to this process; `None` when it was started otherwise. To be called once, first
/// thing: the descriptors become ours.
///
/// # Errors
/// Class `misconfigured`: more than one descriptor, or one that is no listening local socket.
pub fn handed_over() -> Result<Option<Activated>, Failure> {
    let numbers = numbers().map_err(|e| wrong(&format!("the service manager's sockets cannot be taken: {e}")))?;
    match numbers.as_slice() {
        [] => Ok(None),
        [number] => take(*number).map(Some),
        several => Err(wrong(&format!("the service manager hands over {} sockets, one is possible", several.len()))),
    }
}

#[cfg(target_os = "macos")]
fn numbers() -> io::Result<Vec<RawFd>> {
    match raunch::activate_socket(LAUNCHD_NAME) {
        Ok(numbers) => Ok(numbers),
        // Not started by launchd, or by a job without sockets.
        Err(raunch::Error::NotManaged | raunch::Error::NotInPlist) => Ok(Vec::new()),
        Err(e) => Err(io::Error::other(e.to_string())),
    }
}

#[cfg(not(target_os = "macos"))]
fn numbers() -> io::Result<Vec<RawFd>> {
    Ok(sd_notify::listen_fds()?.collect())
}

#[expect(unsafe_code, reason = "a descriptor that was handed over comes as a number")]
fn take(number: RawFd) -> Result<Activated, Failure> {
    // SAFETY: the service manager says that this number is an open descriptor of ours, and nobody here owned it before.
    // Were it closed, the first question below would fail.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    // Only a Unix domain socket's name is a path.
    let path = getsockname(&socket).ok().and_then(|name| path_of(&SocketAddrUnix::try_from(name).ok()?));
    match path {
        Some(path) if listens(&socket) => Ok(Activated { socket, path }),
        _ => Err(wrong("what the service manager hands over is no listening local socket with a path")),
    }
}

#[cfg(target_os = "linux")]
fn listens(socket: &OwnedFd) -> bool {
    rustix::net::sockopt::socket_acceptconn(socket).unwrap_or(false)
}

/// launchd hands over nothing else.
#[cfg(not(target_os = "linux"))]
fn listens(_: &OwnedFd) -> bool {
    true
}

fn path_of(address: &SocketAddrUnix) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let bytes = address.path_bytes()?.to_vec();
    (!bytes.is_empty()).then(|| std::ffi::OsString::from_vec(bytes).into())
}

fn wrong(message: &str) -> Failure {
    Failure::new(FailureClass::Misconfigured, message, "see the socket unit: it needs one ListenStream with a path")
}
