//! Logins: asked for with a `POST`, followed with `GET /v1/logins/{id}`.

use serde::{Deserialize, Serialize};

use crate::core::failure::FailureClass;
use crate::core::login::{FlowWish, LoginState, LoginView};
use crate::core::time::Timestamp;

/// The body of `POST /v1/profiles/{p}/login` and `POST /v1/sessions/{s}/login`; empty: all as by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoginRequest {
    /// `auto`, `pkce` or `device`.
    pub flow: FlowWish,
    /// A new login even if everything is valid; at a terminal only.
    pub force: bool,
    /// A person sits at the client's terminal.
    pub terminal: bool,
    /// A browser of this machine can come back to its loopback.
    pub display: bool,
    /// The client runs in CI: nobody will ever answer.
    pub ci: bool,
}

/// The query of `GET /v1/logins/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginQuery {
    /// Wait until the revision is greater than this.
    pub after: Option<u64>,
    /// Milliseconds to wait at most; 25,000 by default.
    pub wait: Option<u64>,
}

/// How a login stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginDocument {
    /// Its number, for `GET /v1/logins/{id}`. An agent that was restarted knows it no more (404).
    pub id: String,
    /// Grows with each change; the `N` of `?after=N`.
    pub revision: u64,
    /// `done`, `pending`, `failed` or `refused`.
    pub state: LoginState,
    /// The page to open, once it is known.
    pub url: Option<String>,
    /// The code that the page shows.
    pub user_code: Option<String>,
    /// Pending: until when AWS waits. Done: until when the credentials live.
    pub expires_at: Option<Timestamp>,
    /// This client is to open the page; all others only show it.
    #[serde(default)]
    pub open: bool,
    /// Openings of the last day that nobody at a terminal asked for.
    #[serde(default)]
    pub openings_today: usize,
    /// Failed or refused: the class.
    pub code: Option<FailureClass>,
    /// And the cause.
    pub message: Option<String>,
    /// And the next step.
    pub fix: Option<String>,
    /// Refused: when that ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

impl LoginDocument {
    /// The document of a view.
    #[must_use]
    pub fn new(id: u64, view: LoginView) -> Self {
        let LoginView { revision, state, shown, open, openings_today, expires_at, failure, retry_at } = view;
        Self {
            id: id.to_string(),
            revision,
            state,
            user_code: shown.as_ref().and_then(|s| s.user_code.clone()),
            expires_at: expires_at.or(shown.as_ref().map(|s| s.expires_at)),
            url: shown.map(|s| s.url),
            open,
            openings_today,
            code: failure.as_ref().map(|f| f.class),
            fix: failure.as_ref().map(|f| f.fix.clone()),
            message: failure.map(|f| f.message),
            retry_at,
        }
    }
}
