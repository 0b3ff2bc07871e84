//! What the verbs need of the outside: an agent to ask and a clock to wait by. Tests put fakes here.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::api::version::Version;
use crate::core::time::{Tick, Timestamp};

/// The agent behind the local socket. One call is one exchange on a connection of its own.
pub trait Agent {
    /// Sends one request and reads the whole answer, within `within`, connecting included.
    ///
    /// # Errors
    /// See [`AgentError`]; an HTTP error status is an answer, not an error.
    fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        within: Duration,
    ) -> Result<Reply, AgentError>;
}

/// An answer of the agent.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The version of the agent, if it says so.
    pub agent: Option<Version>,
    /// The body, wiped when dropped: it may hold credentials.
    pub body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentError {
    /// Nobody listens on the socket. The only case in which starting an agent helps.
    Absent,
    /// Somebody listens whom we do not trust, or we may not connect; in words.
    Refused(String),
    /// Connected, yet no whole answer came in time.
    TimedOut,
    /// The answer is not what an agent says; in words.
    Protocol(String),
}

/// The clocks, and waiting on them.
pub trait Clock {
    /// This machine's wall clock.
    fn wall(&self) -> Timestamp;
    /// The monotonic clock: every limit of the client is measured by it.
    fn tick(&self) -> Tick;
    /// Returns after `span`.
    fn sleep(&self, span: Duration);
}
