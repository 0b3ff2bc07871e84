//! Logins: what is asked for, how one may end, and **when a browser may open**.
//!
//! The order of questions is the broker's ([`super::broker`]): valid credentials, silent refresh, a pending login to join,
//! and only then a new one. Here stand the rules for a new one; the first two are for one that nobody at a terminal asked
//! for:
//!
//! | rule | why |
//! |---|---|
//! | after a login that nobody answered none opens until a person acts | a night with a looping client costs one tab |
//! | at most [`BUDGET`] openings a day | an invariant, whatever else goes wrong |
//! | the [`Breaker`]: after logins that came to nothing none opens for a while | a person who answers is not asked in vain again and again |

mod breaker;
mod history;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::breaker::{Breaker, Strike};
pub use self::history::{BUDGET, Bar, History};
use super::classify::{Evidence, Signal, Verdict};
use super::credential::SsoToken;
use super::failure::{Failure, FailureClass};
use super::source::World;
use super::time::Timestamp;
use super::waiters::ProfileRef;

/// Names a demand for a login; given out by the shell, never twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginId(pub u64);

/// Names an attempt: one URL, whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u64);

/// How a person is brought to AWS's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Authorization code with PKCE (RFC 7636): the browser comes back to this machine's loopback (RFC 8252).
    Pkce,
    /// Device authorization (RFC 8628): a code, and a browser anywhere.
    Device,
}

/// What the asking client wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowWish {
    /// PKCE where a browser of this machine can come back, else device code.
    #[default]
    Auto,
    /// PKCE.
    Pkce,
    /// Device code.
    Device,
}

impl FlowWish {
    /// The flow, where `display` says whether a browser of this machine can reach its loopback.
    #[must_use]
    pub const fn choose(self, display: bool) -> Flow {
        match self {
            Self::Pkce => Flow::Pkce,
            Self::Auto if display => Flow::Pkce,
            Self::Auto | Self::Device => Flow::Device,
        }
    }
}

/// What the login is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A profile: done when it has credentials.
    Profile(ProfileRef),
    /// A session by its short name: done when its token works.
    Session {
        /// The client's files.
        world: Arc<World>,
        /// The name.
        id: String,
    },
}

/// A client asks for a login.
#[derive(Clone, Debug)]
pub struct LoginDemand {
    /// Its number.
    pub id: LoginId,
    /// What for.
    pub target: Target,
    /// Which flow it wishes.
    pub flow: FlowWish,
    /// A new login even if everything is valid (at a terminal only).
    pub force: bool,
    /// A person sits at the asking client's terminal.
    pub terminal: bool,
    /// A browser of this machine can reach its loopback.
    pub display: bool,
    /// The client runs in CI: nobody will ever answer.
    pub ci: bool,
}

/// What a person needs to sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The page to open.
    pub url: String,
    /// The code that the page shows, to be compared (device code).
    pub user_code: Option<String>,
    /// Until when AWS waits.
    pub expires_at: Timestamp,
}

/// What a person is to be told, who does not look at a terminal now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The session.
    pub session: String,
    /// The page of the login that waits; `None`: somebody waits for one to be begun.
    pub shown: Option<Shown>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// Signed in, and the token is stored (or, where it cannot be, held in memory).
    Signed(Arc<SsoToken>),
    /// The person said no.
    Denied,
    /// Nobody acted in time.
    Unanswered,
    /// It could not be done.
    Failed(Failure),
}

impl Ending {
    /// In one word, for logs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Signed(_) => "signed in",
            Self::Denied => "denied",
            Self::Unanswered => "unanswered",
            Self::Failed(_) => "failed",
        }
    }
}

/// What AWS's answer to a poll of the device flow means (RFC 8628 section 3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Nobody acted yet.
    Pending,
    /// The same, and from now on with 5 s more between two polls.
    SlowDown,
    /// The code is over.
    Expired,
    /// The person said no.
    Denied,
    /// Something on the way: worth the next poll while the code lives.
    Passing,
    /// It cannot be done.
    Failed(Failure),
}

impl Poll {
    /// Reads one.
    #[must_use]
    pub fn of(evidence: &Evidence) -> Self {
        let code = match &evidence.signal {
            Signal::Answer(answer) if answer.aws_mark => answer.code.as_deref(),
            _ => None,
        };
        match (code, evidence.classify()) {
            (Some("AuthorizationPendingException"), _) => Self::Pending,
            (Some("SlowDownException"), _) => Self::SlowDown,
            // A code that is over may be forgotten by the time of the poll: then it is no grant at all. Either way
            // nobody answered it.
            (Some("ExpiredTokenException" | "InvalidGrantException"), _) => Self::Expired,
            (Some("AccessDeniedException"), _) => Self::Denied,
            (_, Verdict::Failed { failure, .. })
                if matches!(
                    failure.class,
                    FailureClass::Transient | FailureClass::Throttled | FailureClass::Offline
                ) =>
            {
                Self::Passing
            }
            (_, Verdict::Failed { failure, .. }) => Self::Failed(failure),
            (_, Verdict::TokenRefused) => Self::Passing,
        }
    }
}

/// How a demand stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginState {
    /// Signed in.
    Done,
    /// Under way.
    Pending,
    /// A login would not help, or did not.
    Failed,
    /// A login might help, and none is begun.
    Refused,
}

/// What a client is told of its demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginView {
    /// Grows with each change.
    pub revision: u64,
    /// How it stands.
    pub state: LoginState,
    /// What a person needs.
    pub shown: Option<Shown>,
    /// This client is to open the browser; all others only show the URL.
    pub open: bool,
    /// Openings today, of [`BUDGET`].
    pub openings_today: usize,
    /// Until when the credentials (or the session's token) live.
    pub expires_at: Option<Timestamp>,
    /// Why it failed or was refused.
    pub failure: Option<Failure>,
    /// Refused: when that ends by itself.
    pub retry_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::classify::{Answer, Operation};

    #[test]
    fn a_code_that_aws_has_forgotten_was_not_answered() {
        let said = |code: &str| {
            let answer = Answer { status: 400, aws_mark: true, code: Some(code.into()), ..Answer::default() };
            let host = "oidc.eu-west-1.amazonaws.com".to_owned();
            Poll::of(&Evidence { operation: Operation::SignIn, host, signal: Signal::Answer(answer) })
        };
        assert_eq!(said("ExpiredTokenException"), Poll::Expired);
        assert_eq!(said("InvalidGrantException"), Poll::Expired);
        assert_eq!(said("AuthorizationPendingException"), Poll::Pending);
        assert!(matches!(said("InvalidClientException"), Poll::Failed(_)));
    }
}
