//! Logouts: `POST /v1/profiles/{p}/logout`, `/v1/sessions/{s}/logout` and `/v1/logout`.

use serde::{Deserialize, Serialize};

use super::ErrorBody;

/// What became of the sessions that were meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogoutDocument {
    /// Each with its own end.
    pub sessions: Vec<SignedOutSession>,
}

/// One session that was signed out of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedOutSession {
    /// Its short name.
    pub id: String,
    /// Whether there was a token to give up.
    pub was_signed_in: bool,
    /// What could not be done: the token file stays, or AWS was not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}
