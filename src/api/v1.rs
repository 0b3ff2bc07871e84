//! Version 1 of the local API.
//!
//! | route | does | answers |
//! |---|---|---|
//! | `GET /v1/health` | says who is there | [`Health`] |
//! | `GET /v1/profiles/{p}/credentials` | credentials, see [`CredentialsQuery`] | the union document of [`super::process_json`], or `202` [`InFlight`] |
//! | `POST /v1/profiles/{p}/refresh` | renews now, see [`RefreshQuery`] | [`Renewed`], or `202` [`InFlight`] |
//! | `POST /v1/profiles/{p}/rejected` | a client reports that AWS refused a key: [`Rejected`] | `{}` |
//! | `GET /v1/status[?after=N&wait=MS]` | the snapshot; with `after` it waits for a later revision | [`StatusDocument`] |
//! | `POST /v1/profiles/{p}/login`, `POST /v1/sessions/{s}/login` | asks for a login: [`LoginRequest`] | [`LoginDocument`] |
//! | `GET /v1/logins/{id}[?after=N&wait=MS]` | how it stands; with `after` it waits for a change | [`LoginDocument`] |
//! | `POST /v1/profiles/{p}/logout`, `POST /v1/sessions/{s}/logout` | ends a session here and at AWS | [`LogoutDocument`] |
//! | `POST /v1/logout` | ends every session that the world's files name | [`LogoutDocument`] |
//! | `POST /v1/profiles/{p}/reset`, `POST /v1/sessions/{s}/reset` | logins that are paused may be tried again | `{}` |
//! | `GET /v1/profiles/{p}/identity` | who the profile is, as far as the agent knows; fetches nothing | [`IdentityDocument`] |
//! | `GET /v1/profiles/{p}/models[?region=R]` | what Bedrock offers the profile's account: [`ModelsQuery`] | [`ModelsDocument`], or `202` [`InFlight`] |
//! | `GET /v1/sessions/{s}/accounts`, `GET /v1/sessions/{s}/roles?account=ID` | what the session opens | [`AccountsDocument`], [`RolesDocument`] |
//! | `POST /v1/probe` | looks at the way to AWS as the agent takes it: [`ProbeRequest`] | [`Probe`](crate::core::probe::Probe) |
//! | `GET /v1/audit[?since=TIME&profile=P&limit=N]` | who was given what: [`AuditQuery`] | [`AuditDocument`] |
//! | `POST /v1/pause`, `POST /v1/resume` | stops and restarts renewing: [`PauseRequest`] | `{}` |
//! | `POST /v1/shutdown` | a clean end: waiters are answered, the socket is removed; see [`ShutdownRequest`] | `{}` |
//!
//! A request names its world in headers ([`CONFIG_FILE_HEADER`] and its two siblings); absent ones mean the daemon's
//! own files. Every error is an [`ErrorBody`], whose `code` is a [`FailureClass`], with the HTTP status of
//! [`http_status`].
//!
//! ```text
//! curl --unix-socket "$SOCKET" http://agent/v1/health
//! curl --unix-socket "$SOCKET" 'http://agent/v1/profiles/dev/credentials?min_ttl=390'
//! curl --unix-socket "$SOCKET" -X POST http://agent/v1/profiles/dev/refresh
//! curl --unix-socket "$SOCKET" -d '{"access_key_id":"ASIA..."}' http://agent/v1/profiles/dev/rejected
//! curl --unix-socket "$SOCKET" -d '{"flow":"device","terminal":true}' http://agent/v1/profiles/dev/login
//! curl --unix-socket "$SOCKET" 'http://agent/v1/logins/1?after=2'
//! curl --unix-socket "$SOCKET" -d '{"profile":"dev"}' http://agent/v1/probe
//! curl --unix-socket "$SOCKET" http://agent/v1/profiles/dev/identity
//! curl --unix-socket "$SOCKET" 'http://agent/v1/profiles/dev/models?region=eu-west-1'
//! curl --unix-socket "$SOCKET" http://agent/v1/sessions/corp/accounts
//! curl --unix-socket "$SOCKET" 'http://agent/v1/sessions/corp/roles?account=111122223333'
//! curl --unix-socket "$SOCKET" -X POST http://agent/v1/sessions/corp/logout
//! curl --unix-socket "$SOCKET" -X POST http://agent/v1/logout
//! curl --unix-socket "$SOCKET" -X POST http://agent/v1/sessions/corp/reset
//! curl --unix-socket "$SOCKET" 'http://agent/v1/status?after=0'
//! curl --unix-socket "$SOCKET" 'http://agent/v1/audit?since=2026-01-31T08:00:00Z&limit=50'
//! curl --unix-socket "$SOCKET" -d '{"seconds":3600}' http://agent/v1/pause
//! curl --unix-socket "$SOCKET" -X POST http://agent/v1/resume
//! curl --unix-socket "$SOCKET" -X POST http://agent/v1/shutdown
//! ```

mod audit;
mod choices;
mod login;
mod logout;

pub use audit::{AUDIT_SCHEMA, AuditDocument, AuditQuery, DEFAULT_AUDIT_LIMIT, MAX_AUDIT_LIMIT};
pub use choices::{AccountsDocument, IdentityDocument, ModelsDocument, ModelsQuery, RolesDocument, RolesQuery};
pub use login::{LoginDocument, LoginQuery, LoginRequest};
pub use logout::{LogoutDocument, SignedOutSession};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::core::failure::{Failure, FailureClass};
use crate::core::status::{Setting, Status};
use crate::core::time::Timestamp;

/// Names the client's config file (an absolute path, percent-encoded UTF-8).
pub const CONFIG_FILE_HEADER: &str = "x-aws-config-file";
/// Names the client's credentials file (an absolute path, percent-encoded UTF-8).
pub const CREDENTIALS_FILE_HEADER: &str = "x-aws-shared-credentials-file";
/// Names the client's SSO token cache folder (an absolute path, percent-encoded UTF-8).
pub const SSO_CACHE_HEADER: &str = "x-aws-sso-cache";

/// What every answer says in its `Server` header (RFC 9110 section 10.2.4): by this a newer client knows an older agent.
pub const SERVER: &str = concat!("agentd/", env!("CARGO_PKG_VERSION"));

/// Longest head of a request, bytes.
pub const MAX_HEAD: usize = 16 * 1024;
/// Longest body of a request or an error, bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// Longest status document that a client reads, bytes (1,000 profiles with their reasons); the audit log's and those of
/// lists too.
pub const MAX_STATUS: usize = 8 * 1024 * 1024;
/// How long the agent holds a request for credentials before it answers `202`, milliseconds.
pub const MAX_WAIT_MS: u64 = 1500;

/// Who answers: the body of `GET /v1/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Always `agentd`.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// A service manager holds the socket: whoever connects starts the agent again.
    #[serde(default)]
    pub service: bool,
}

/// The query of `GET /v1/profiles/{p}/credentials`. All optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CredentialsQuery {
    /// Wanted life in seconds; with less, the answer waits for a renewal unless one is failing.
    pub min_ttl: Option<u64>,
    /// Milliseconds to hold the request; at most [`MAX_WAIT_MS`]. Who names less will not ask again: at its end the
    /// credentials that are valid then are the answer, and `202` only where there are none.
    pub wait: Option<u64>,
    /// Names the process that uses the credentials and caches them by their expiry (Claude Code). Asked again by the
    /// same consumer for the same key while that has plenty of life left, the agent takes it that AWS refused the key.
    pub consumer: Option<String>,
    /// The client waits for somebody to log in, should that be needed: the agent tells a person, where that is set up.
    pub awaits_login: bool,
}

/// The query of `POST /v1/profiles/{p}/refresh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefreshQuery {
    /// Milliseconds to hold the request; at most [`MAX_WAIT_MS`].
    pub wait: Option<u64>,
    /// Repeats the `since` of an earlier `202`: a renewal after it counts as the one asked for, so that asking again
    /// does not renew again.
    pub since: Option<u64>,
}

/// `202`: the work goes on; ask again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Always true.
    pub in_flight: bool,
    /// For a refresh: the mark to send along when asking again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// The answer of `POST /v1/profiles/{p}/refresh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// When the renewed credentials end.
    pub expires_at: Timestamp,
}

/// The body of `POST /v1/profiles/{p}/rejected`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejected {
    /// The key that AWS refused.
    pub access_key_id: String,
}

/// The body of `POST /v1/shutdown`; an empty body forces nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShutdownRequest {
    /// Also when a renewed token that cannot be written is lost.
    pub force: bool,
    /// The version of a newer agent that is to take this one's place. `409` when this one had better stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
}

/// The body of `POST /v1/pause`; an empty body pauses until `resume`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PauseRequest {
    /// For how long.
    pub seconds: Option<u64>,
}

/// The query of `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusQuery {
    /// Wait until the revision is greater than this.
    pub after: Option<u64>,
    /// Milliseconds to wait at most; 25,000 by default.
    pub wait: Option<u64>,
}

/// The body of `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusDocument {
    /// The broker's snapshot.
    #[serde(flatten)]
    pub status: Status,
    /// The process that answers.
    pub agent: AgentStatus,
}

/// The agent's own circumstances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The package's version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// The config file of its own world: what `config_file: null` stands for in this document.
    #[serde(default)]
    pub config_file: String,
    /// Network settings in force: name, value without user and password, and where each came from.
    pub network: Vec<Setting>,
}

/// The body of `POST /v1/probe`; all optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeRequest {
    /// The profile whose session's hosts are looked at.
    pub profile: Option<String>,
    /// The session, whatever its profiles.
    pub sso_session: Option<String>,
    /// Where tools ask STS.
    pub region: Option<String>,
    /// Milliseconds that it may take, at most 5000.
    pub timeout_ms: Option<u64>,
}

/// The document of `agentd profiles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownProfiles {
    /// The AWS config file.
    pub config_file: std::path::PathBuf,
    /// Its profiles, by name.
    pub profiles: Vec<KnownProfile>,
}

/// A profile of the AWS config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownProfile {
    /// Its name.
    pub name: String,
    /// Its `region`.
    pub region: Option<String>,
    /// The id of its SSO session.
    pub session: Option<String>,
    /// The account of its role.
    pub account: Option<String>,
    /// Its role.
    pub role: Option<String>,
    /// The session of a legacy profile, which is in no `[sso-session]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<LegacySession>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

/// What a legacy profile has itself, without `sso_session`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacySession {
    /// Its `sso_start_url`.
    pub start_url: String,
    /// Its `sso_region`: where Identity Center lives.
    pub sso_region: String,
}

/// The body of every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The class; also the exit code of `agentctl`.
    pub code: FailureClass,
    /// The cause, one line.
    pub message: String,
    /// The next step; may be empty.
    #[serde(default)]
    pub fix: String,
    /// Seconds until it is worth asking again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl From<&Failure> for ErrorBody {
    fn from(f: &Failure) -> Self {
        Self { code: f.class, message: f.message.clone(), fix: f.fix.clone(), retry_after: None }
    }
}

impl From<ErrorBody> for Failure {
    fn from(e: ErrorBody) -> Self {
        Self::new(e.code, e.message, e.fix)
    }
}

/// The HTTP status of a class. (An unknown profile, session or route is 404 with class `misconfigured`.)
#[must_use]
pub const fn http_status(class: FailureClass) -> u16 {
    match class {
        FailureClass::NeedsLogin => 401,
        FailureClass::AccessDenied | FailureClass::PolicyDenied => 403,
        FailureClass::Misconfigured => 422,
        FailureClass::LoginPaused => 423,
        FailureClass::Throttled => 429,
        FailureClass::Intercepted => 502,
        FailureClass::Offline | FailureClass::ClockSkew | FailureClass::Transient | FailureClass::AgentUnreachable => {
            503
        }
    }
}

/// Characters that stay as they are in headers and path segments: unreserved (RFC 3986 section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, with the slashes of a path.
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// A profile's name as one segment of a route, or a value in a query.
#[must_use]
pub fn encode_segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A file's path as the value of a header; bytes that are no UTF-8 are kept.
#[must_use]
pub fn encode_path(path: &std::path::Path) -> String {
    percent_encode(path.as_os_str().as_encoded_bytes(), PATH).to_string()
}

/// Decodes what [`encode_path`] made; `None` if it is not UTF-8.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_survive_encoding() {
        for text in ["", "/home/a b/.aws/config", "dev", "prod/eu", "ünï%20", "a\nb"] {
            for encoded in [encode_path(text.as_ref()), encode_segment(text)] {
                assert!(encoded.is_ascii() && !encoded.contains(['\n', ' ']), "{encoded}");
                assert_eq!(decode(&encoded).as_deref(), Some(text));
            }
        }
        assert_eq!(encode_path("/a/b".as_ref()), "/a/b");
        assert_eq!(encode_segment("a/b"), "a%2Fb");
        assert_eq!(decode("%ff"), None);
    }
}
