//! Bytes to and fro until a deadline.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::core::classify::Signal;
use crate::platform::clock::Deadline;

/// A connection, whatever lies within it.
pub(super) trait ReadWrite: Read + Write + Send {}
impl<T: Read + Write + Send> ReadWrite for T {}
/// One of any kind.
pub(super) type Stream = Box<dyn ReadWrite>;

/// A TCP connection on which nothing outlasts the deadline.
pub(super) struct Wire {
    stream: TcpStream,
    deadline: Deadline,
}

impl Wire {
    /// To the first of the addresses that answers; each gets its share of the time.
    pub(super) fn connect(addresses: &[SocketAddr], deadline: Deadline) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        for (at, address) in addresses.iter().enumerate() {
            let left = deadline.remaining().ok_or(io::ErrorKind::TimedOut)?;
            let share = left / u32::try_from(addresses.len() - at).unwrap_or(1);
            match TcpStream::connect_timeout(address, share) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Self { stream, deadline });
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn left(&self) -> io::Result<std::time::Duration> {
        self.deadline.remaining().ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// What an I/O error shows. `connecting`: before anything was said.
pub(super) fn signal(error: &io::Error, connecting: bool) -> Signal {
    use io::ErrorKind as K;
    match error.kind() {
        // A socket's own timeout is told in either way.
        K::TimedOut | K::WouldBlock => Signal::TimedOut { sent: false },
        kind if connecting && is_unreachable(kind) => Signal::Unreachable { detail: words(error) },
        _ => Signal::Broken { sent: false, detail: words(error) },
    }
}

/// Whether nobody is there. Who accepts and at once resets is there: depending on the moment, the operating system tells
/// of that while the connection is made or with the first read.
pub(crate) const fn is_unreachable(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::ConnectionRefused
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::NetworkDown
            | K::AddrNotAvailable
            | K::PermissionDenied
            | K::NotFound
    )
}

/// The error in its own words, without the operating system's number.
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// The peer closed the connection.
pub(super) fn closed(what: &str) -> Signal {
    Signal::Broken { sent: false, detail: format!("{what} closed the connection") }
}

/// Reads until the head of an HTTP answer is whole; what came is kept in `bytes`, which is where the head ends.
///
/// # Errors
/// No whole head came.
pub(super) fn read_head(stream: &mut Stream, who: &str, bytes: &mut Vec<u8>) -> Result<usize, Signal> {
    const LONGEST: usize = 16 * 1024;
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            return Ok(end + 4);
        }
        if bytes.len() > LONGEST {
            return Err(Signal::Broken { sent: false, detail: format!("{who} does not speak HTTP") });
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err(closed(who)),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(e) => return Err(signal(&e, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_resets_while_the_connection_is_made_is_there() {
        let told = |kind: io::ErrorKind| signal(&kind.into(), true);
        assert!(matches!(told(io::ErrorKind::ConnectionReset), Signal::Broken { .. }));
        assert!(matches!(told(io::ErrorKind::ConnectionRefused), Signal::Unreachable { .. }));
        assert!(matches!(told(io::ErrorKind::TimedOut), Signal::TimedOut { .. }));
    }
}
