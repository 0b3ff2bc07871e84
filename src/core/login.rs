//! Logins: what is asked for, how one may end, and **when a browser may open**.
//!
//! The order of questions is the broker's ([`super::broker`]): valid credentials, silent refresh, a pending login to join,
//! and only then a new one. Here stand the two rules for a new one that nobody at a terminal asked for:
//!
//! | rule | why |
//! |---|---|
//! | after a login that nobody answered none opens until a person acts | a night with a looping client costs one tab |
//! | at most [`BUDGET`] openings a day | an invariant, whatever else goes wrong |

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::classify::{Evidence, Signal, Verdict};
use super::credential::SsoToken;
use super::failure::{Failure, FailureClass, shell_word};
use super::source::{SsoSession, World};
use super::time::Timestamp;
use super::waiters::ProfileRef;
use std::sync::Arc;

/// Openings per session and day that nobody at a terminal asked for.
pub const BUDGET: usize = 6;
const DAY: Duration = Duration::from_secs(24 * 3600);

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

/// What is remembered of a session's logins, across restarts too. No secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// Openings of the last day that nobody at a terminal asked for.
    openings: Vec<Timestamp>,
    /// Since when a login stands unanswered, and no person acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    walked_away: Option<Timestamp>,
    /// A login whose URL was shown has not ended.
    pending: bool,
}

impl History {
    /// What the next agent makes of it: a login that was pending when the last one ended is one that nobody answered.
    #[must_use]
    pub fn restored(mut self, now: Timestamp) -> Self {
        if std::mem::take(&mut self.pending) {
            self.walked_away = self.walked_away.or(Some(now));
        }
        self
    }

    /// Openings of the last day.
    #[must_use]
    pub fn openings_today(&self, now: Timestamp) -> usize {
        self.openings.iter().filter(|at| Self::is_of_today(**at, now)).count()
    }

    /// A time that lies ahead is that of a clock that was set back since.
    fn is_of_today(at: Timestamp, now: Timestamp) -> bool {
        now.since(at) < DAY && at.since(now) < DAY
    }

    /// Whether a demand from no terminal may open a browser.
    ///
    /// # Errors
    /// Class `login-paused`, naming what a person can do.
    pub fn may_open(&self, session: &SsoSession, now: Timestamp) -> Result<(), Failure> {
        let paused = |message: String| {
            let fix = format!("run in a terminal: agentctl login --sso-session {}", shell_word(&session.id()));
            Err(Failure::new(FailureClass::LoginPaused, message, fix))
        };
        if let Some(since) = self.walked_away {
            return paused(format!("the login to '{}' of {since} was not answered", session.id()));
        }
        let openings = self.openings_today(now);
        if openings >= BUDGET {
            return paused(format!("{openings} of {BUDGET} logins to '{}' were opened today", session.id()));
        }
        Ok(())
    }

    /// A URL was shown.
    pub fn opened(&mut self, terminal: bool, now: Timestamp) {
        self.pending = true;
        if !terminal {
            self.openings.retain(|at| Self::is_of_today(*at, now));
            self.openings.push(now);
        }
    }

    /// The attempt ended without a word from anybody.
    pub fn unanswered(&mut self, now: Timestamp) {
        self.pending = false;
        self.walked_away = self.walked_away.or(Some(now));
    }

    /// The attempt ended otherwise.
    pub const fn ended(&mut self) {
        self.pending = false;
    }

    /// A person is there.
    pub const fn person_acted(&mut self) {
        self.walked_away = None;
    }

    /// A token came by another way: news of a person, if it is younger than the login that nobody answered.
    pub fn token_came(&mut self, token: &SsoToken, now: Timestamp) {
        if token.expires_at > now && self.walked_away.is_some_and(|since| token.obtained_at > since) {
            self.walked_away = None;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::classify::{Answer, Operation};

    fn corp() -> SsoSession {
        SsoSession {
            name: Some("corp".into()),
            start_url: "https://corp.awsapps.com/start".into(),
            region: "eu-west-1".into(),
            endpoints: Default::default(),
        }
    }

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn six_a_day_and_no_more() {
        let mut history = History::default();
        for n in 0..BUDGET {
            assert_eq!(history.may_open(&corp(), NOW), Ok(()), "{n}");
            history.opened(false, NOW);
        }
        let refused = history.may_open(&corp(), NOW).unwrap_err();
        assert_eq!(refused.class, FailureClass::LoginPaused);
        assert!(refused.message.contains("6 of 6"), "{refused:?}");
        assert!(refused.fix.ends_with("agentctl login --sso-session corp"), "{refused:?}");
        let tomorrow = NOW.plus(DAY);
        assert_eq!(history.may_open(&corp(), tomorrow), Ok(()));
        history.opened(true, tomorrow);
        assert_eq!(history.openings_today(tomorrow), 0, "who sits at a terminal has no budget");
        assert_eq!(History::default().openings_today(NOW), 0);
    }

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

    #[test]
    fn a_clock_set_back_by_a_year_does_not_pause_logins_for_a_year() {
        let mut history = History::default();
        for _ in 0..BUDGET {
            history.opened(false, NOW);
        }
        assert!(history.may_open(&corp(), NOW.minus(DAY / 2)).is_err());
        assert_eq!(history.may_open(&corp(), NOW.minus(DAY * 365)), Ok(()));
    }

    #[test]
    fn what_nobody_answered_stands_until_a_person_acts() {
        let mut history = History::default();
        history.opened(false, NOW);
        history.unanswered(NOW);
        let later = NOW.plus(DAY * 30);
        assert_eq!(history.may_open(&corp(), later).unwrap_err().class, FailureClass::LoginPaused);
        let token = |obtained_at| SsoToken {
            access_token: "t".into(),
            expires_at: later.plus(DAY),
            refresh: None,
            client_id: None,
            obtained_at,
        };
        history.token_came(&token(NOW.minus(DAY)), later);
        assert!(history.may_open(&corp(), later).is_err(), "an old token is no news");
        history.token_came(&token(later), later);
        assert_eq!(history.may_open(&corp(), later), Ok(()));
    }

    #[test]
    fn an_agent_that_ended_in_between_leaves_an_unanswered_login() {
        let mut history = History::default();
        history.opened(true, NOW);
        let text = serde_json::to_string(&history).unwrap();
        let next: History = serde_json::from_str(&text).unwrap();
        assert!(next.restored(NOW).may_open(&corp(), NOW).is_err());
        history.ended();
        assert_eq!(history.restored(NOW).may_open(&corp(), NOW), Ok(()));
    }
}
