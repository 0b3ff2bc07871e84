//! Asking the agent: blocking, without a runtime, one request per connection.
//!
//! The hot path (`agentctl credential-process`) is eight system calls: socket, send timeout, connect, who listens,
//! write, read timeout, read, close. Nothing is ever sent to a server of another user.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::exchange;
use crate::api::v1;
use crate::api::version::Version;
use crate::core::failure::{Failure, FailureClass};
use crate::platform::clock::Deadline;

/// How long the agent gets to answer at all.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A client of the agent at one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    max_body: usize,
}

/// An answer of the agent, whatever its status.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The version of the agent that answered, if it says so.
    pub agent: Option<Version>,
    /// The body; wiped when dropped.
    pub body: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// Nobody listens: no socket, one that its agent left behind, or an agent that went away before it answered.
    Absent,
    /// The socket must not or cannot be used: another user's, no right, a sandbox.
    Refused {
        /// Why.
        why: String,
    },
    /// The deadline passed.
    TimedOut,
    /// What came is no answer of an agent.
    Protocol {
        /// What is wrong with it.
        what: String,
    },
}

impl ClientError {
    /// For a person; class `agent-unreachable`.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let (message, fix) = match self {
            Self::Absent => ("no agent is running".to_owned(), "start it: agentctl daemon start"),
            Self::Refused { why } => (why.clone(), "set AGENTCTL_SOCKET to a socket of your own agent"),
            Self::TimedOut => ("the agent does not answer in time".to_owned(), "agentctl daemon restart"),
            Self::Protocol { what } => (format!("the agent's answer is unusable: {what}"), "agentctl daemon restart"),
        };
        Failure::new(FailureClass::AgentUnreachable, message, fix)
    }
}

impl Client {
    /// A client for this socket; answers of at most [`v1::MAX_BODY`] bytes are read.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), max_body: v1::MAX_BODY }
    }

    /// Reads longer answers ([`v1::MAX_STATUS`]).
    #[must_use]
    pub const fn with_max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends one request and reads the answer, all within `wait` (usually [`ANSWER_WITHIN`]).
    ///
    /// `path_and_query` and the headers' values must be percent-encoded; `body` may be empty.
    ///
    /// # Errors
    /// See [`ClientError`]. An answer with an error status is no error here.
    pub fn request(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        wait: Duration,
    ) -> Result<Response, ClientError> {
        let request = exchange::render(method, path_and_query, headers, body)?;
        self.exchange(request, wait)
    }

    #[cfg(unix)]
    fn exchange(&self, request: Vec<u8>, wait: Duration) -> Result<Response, ClientError> {
        let deadline = Deadline::after(wait);
        let mut conversation = super::unix::Conversation::open(&self.socket, wait)?;
        exchange::run(&mut conversation, &request, self.max_body, deadline)
    }

    /// Named pipes know no timeouts: the exchange runs in a thread of its own, which a deadline leaves behind.
    #[cfg(windows)]
    fn exchange(&self, request: Vec<u8>, wait: Duration) -> Result<Response, ClientError> {
        let (client, deadline) = (self.clone(), Deadline::after(wait));
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let answer = super::windows::Conversation::open(&client.socket, deadline)
                .and_then(|mut c| exchange::run(&mut c, &request, client.max_body, deadline));
            let _ = sender.send(answer);
        });
        receiver.recv_timeout(wait).unwrap_or(Err(ClientError::TimedOut))
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn ask(client: &Client, wait: Duration) -> Result<Response, ClientError> {
        client.request("GET", "/v1/health", &[], b"", wait)
    }

    #[test]
    fn one_request_one_answer() {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n{}") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 401 X\r\ncontent-length: 4\r\n\r\nbody").unwrap();
            String::from_utf8(request).unwrap()
        });
        let client = Client::new(&socket);
        let response = client.request("POST", "/v1/x", &[("x-world", "%2Fhome")], b"{}", LONG).unwrap();
        assert_eq!((response.status, &response.body[..]), (401, &b"body"[..]));
        assert!(!format!("{response:?}").contains("body"));
        let request = server.join().unwrap();
        assert!(request.starts_with("POST /v1/x HTTP/1.1\r\n"));
        assert!(request.contains("\r\nconnection: close\r\n") && request.contains("\r\nx-world: %2Fhome\r\n"));
    }

    #[test]
    fn nobody_there_is_absent() {
        let root = tempfile::tempdir().unwrap();
        let client = Client::new(root.path().join("s"));
        assert_eq!(ask(&client, LONG), Err(ClientError::Absent));
        drop(UnixListener::bind(client.socket()).unwrap());
        assert_eq!(ask(&client, LONG), Err(ClientError::Absent), "a socket left behind");
        assert_eq!(ask(&Client::new(client.socket().join("below")), LONG), Err(ClientError::Absent));
        let long = root.path().join("x".repeat(200));
        assert!(matches!(ask(&Client::new(long), LONG), Err(ClientError::Refused { .. })));
    }

    #[test]
    fn a_silent_agent_and_a_full_backlog_run_into_the_deadline() {
        let root = tempfile::tempdir().unwrap();
        let client = Client::new(root.path().join("s"));
        let _listener = UnixListener::bind(client.socket()).unwrap();
        let short = Duration::from_millis(40);
        assert_eq!(ask(&client, short), Err(ClientError::TimedOut), "it accepts and says nothing");

        let full = Client::new(root.path().join("full"));
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(full.socket()).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        assert!(super::super::unix::is_alive(full.socket()));
        let mut waiting = Vec::new();
        while cfg!(target_os = "linux") && waiting.len() < 3 {
            waiting.push(super::super::unix::Conversation::open(full.socket(), short));
        }
        if cfg!(target_os = "linux") {
            assert_eq!(ask(&full, short), Err(ClientError::TimedOut));
            assert!(super::super::unix::is_alive(full.socket()), "a full backlog is alive");
        }
    }

    #[test]
    fn a_server_of_another_user_gets_nothing() {
        if crate::platform::process::uid() != 0 {
            return;
        }
        // SO_PEERCRED tells the credentials at the time of listen(2): a child that gave up root first.
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(root.path(), Some(65_533), None).unwrap();
        let socket = root.path().join("s");
        let script = concat!(
            "import os,socket,sys\nos.setuid(65533)\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen(5)\n",
            "print('ready',flush=True)\nc,_=s.accept()\nsys.stdout.write(repr(c.recv(100)))",
        );
        let python = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(&socket)
            .stdout(std::process::Stdio::piped())
            .spawn();
        let Ok(mut server) = python else { return };
        let mut out = server.stdout.take().unwrap();
        let mut ready = [0; 6];
        out.read_exact(&mut ready).unwrap();
        let refused = ask(&Client::new(&socket), LONG);
        let Err(ClientError::Refused { why }) = refused else { panic!("{refused:?}") };
        assert!(why.contains("served by uid 65533"), "{why}");
        let mut received = String::new();
        out.read_to_string(&mut received).unwrap();
        server.wait().unwrap();
        assert_eq!(received, "b''", "not a byte was sent");
    }

    #[test]
    fn failures_say_what_to_do_next() {
        for (error, fix) in [
            (ClientError::Absent, "agentctl daemon start"),
            (ClientError::TimedOut, "agentctl daemon restart"),
            (ClientError::Protocol { what: "x".to_owned() }, "agentctl daemon restart"),
            (ClientError::Refused { why: "x".to_owned() }, "AGENTCTL_SOCKET"),
        ] {
            let failure = error.failure();
            assert_eq!(failure.class, FailureClass::AgentUnreachable);
            assert!(failure.fix.contains(fix));
        }
    }
}
