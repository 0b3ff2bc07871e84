//! What the fake saw: one entry per request, in order of arrival.

use chrono::{DateTime, Utc};

use super::state::SessionId;

/// The AWS operations that the fake plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// SSO OIDC `POST /token`.
    CreateToken,
    /// SSO OIDC `POST /client/register`.
    RegisterClient,
    /// SSO OIDC `POST /device_authorization`.
    StartDeviceAuthorization,
    /// SSO OIDC `GET /authorize`, by a browser.
    Authorize,
    /// The page of a device code, and its links.
    DevicePage,
    /// SSO portal `GET /federation/credentials`.
    GetRoleCredentials,
    /// SSO portal `GET /assignment/accounts`.
    ListAccounts,
    /// SSO portal `GET /assignment/roles`.
    ListAccountRoles,
    /// SSO portal `POST /logout`.
    Logout,
    /// STS `GetCallerIdentity`.
    GetCallerIdentity,
    /// Bedrock `GET /inference-profiles`.
    ListInferenceProfiles,
    /// Bedrock `GET /use-case-for-model-access`.
    GetUseCase,
    /// Bedrock `POST /model/{id}/invoke`.
    InvokeModel,
    /// Bedrock `POST /model/{id}/invoke-with-response-stream`.
    InvokeModelStream,
    /// Anything else; answered 404.
    Unknown,
}

impl Operation {
    /// The operations of Bedrock, for faults that strike them all.
    pub const BEDROCK: [Self; 3] = [Self::ListInferenceProfiles, Self::InvokeModel, Self::InvokeModelStream];
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it arrived, by this machine's clock.
    pub at: DateTime<Utc>,
    /// What was asked for.
    pub operation: Operation,
    /// Method and target as sent.
    pub target: String,
    /// The client's name for itself.
    pub user_agent: String,
    /// The answer's status; `None` while it is under way, and for ever if it was swallowed (hang, reset).
    pub status: Option<u16>,
    /// The session whose token or key was accepted.
    pub session: Option<SessionId>,
    /// The account asked for.
    pub account: Option<String>,
    /// The role asked for.
    pub role: Option<String>,
    /// The refresh token presented.
    pub refresh_token: Option<String>,
    /// The refresh token presented had been refused before.
    pub refused_before: bool,
    /// The key whose signature was **verified**.
    pub signed_by: Option<String>,
    /// The key id that the request claims, verified or not.
    pub claimed_key: Option<String>,
    /// The region that the request is signed for, verified or not.
    pub region: Option<String>,
    /// Nobody is waiting for an answer to it any more.
    pub finished: bool,
}

impl Call {
    pub(super) fn new(at: DateTime<Utc>, operation: Operation, target: String, user_agent: &str) -> Self {
        Self {
            at,
            operation,
            target,
            user_agent: user_agent.to_owned(),
            status: None,
            session: None,
            account: None,
            role: None,
            refresh_token: None,
            refused_before: false,
            signed_by: None,
            claimed_key: None,
            region: None,
            finished: false,
        }
    }

    /// Whether it succeeded.
    pub fn ok(&self) -> bool {
        self.status == Some(200)
    }
}
