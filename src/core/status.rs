//! The snapshot that `status` and `why` show. No secret fits into its types.
//!
//! This is also the document of `GET /v1/status` (schema 1): fields may be added, none changes its meaning.

use serde::{Deserialize, Serialize};

use super::failure::{Failure, one_line};
use super::time::Timestamp;

/// What the agent keeps, at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of this document: 1.
    pub schema: u32,
    /// Grows with every change that a person would see; the `N` of `?after=N`.
    pub revision: u64,
    /// The time by AWS's clock as well as the agent knows it.
    pub now: Timestamp,
    /// Milliseconds that AWS's clock is ahead of this machine's; `None` before the first answer of AWS.
    pub clock_offset_ms: Option<i64>,
    /// Set while renewing is paused.
    pub paused: Option<Pause>,
    /// Every profile that is kept or was asked for, by world and name.
    pub profiles: Vec<ProfileStatus>,
    /// Every SSO session behind them.
    pub sessions: Vec<SessionStatus>,
    /// What is worth a person's attention beyond single profiles.
    pub findings: Vec<Finding>,
}

/// A pause that the user asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it ends by itself; `None`: with `agentctl resume`.
    pub until: Option<Timestamp>,
}

/// The state of a credential in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Valid, and nothing is wrong.
    Valid,
    /// Valid, but the last renewal failed.
    Failing,
    /// Nothing valid is held; it is fetched when somebody asks.
    Idle,
    /// Nothing valid is held and a fetch is under way.
    Fetching,
    /// Nothing valid is held and the last attempt failed.
    Failed,
    /// The config has no usable source for it.
    Unusable,
}

/// Why a credential is renewed without anybody asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// Named in `keep`.
    Always,
    /// Asked for not long ago.
    RecentlyUsed,
    /// Not renewed until somebody asks.
    No,
}

/// The next thing that happens by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextStep {
    /// When, by AWS's clock.
    pub at: Timestamp,
    /// What, as a short fragment: `renew`, `retry`, `ends`.
    pub what: String,
}

/// The last failure of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureStatus {
    /// Class, cause and fix.
    #[serde(flatten)]
    pub failure: Failure,
    /// When it was seen.
    pub at: Timestamp,
    /// Failures in a row.
    pub count: u32,
}

/// One line of `agentctl why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What it is about: `source`, `window`, `next`, ...
    pub topic: String,
    /// The inputs of the decision, in words.
    pub text: String,
}

/// One profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileStatus {
    /// Its name.
    pub name: String,
    /// Its config file, where that is not the daemon's own.
    pub config_file: Option<String>,
    /// State in one word.
    pub state: State,
    /// The chain to it: `sso-session corp > role Dev in 111122223333`.
    pub source: Option<String>,
    /// Id of its SSO session (see `sessions`).
    pub session: Option<String>,
    /// Last four characters of the access key id.
    pub key_suffix: Option<String>,
    /// When the held credentials end.
    pub expires_at: Option<Timestamp>,
    /// Seconds of life at receipt.
    pub lifetime_seconds: Option<u64>,
    /// When renewing starts, if it is kept.
    pub refresh_at: Option<Timestamp>,
    /// The next thing that happens by itself.
    pub next: Option<NextStep>,
    /// Whether it is renewed without anybody asking.
    pub kept: Kept,
    /// What failed last, if nothing succeeded since: its own failure, or the one of the chain before it.
    pub last_failure: Option<FailureStatus>,
    /// The full reason of the last decision about it.
    pub why: Vec<Reason>,
}

/// One SSO session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Short name, unique in this snapshot: what `--sso-session` takes.
    pub id: String,
    /// The config file of its world, where that is not the daemon's own.
    pub config_file: Option<String>,
    /// `sso_start_url`.
    pub start_url: String,
    /// `sso_region`.
    pub region: String,
    /// State in one word.
    pub state: State,
    /// When the access token ends.
    pub expires_at: Option<Timestamp>,
    /// Whether it can be renewed without a person.
    pub renewable: bool,
    /// The next thing that happens by itself.
    pub next: Option<NextStep>,
    /// What failed last, if nothing succeeded since.
    pub last_failure: Option<FailureStatus>,
    /// The login that waits for somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginStatus>,
    /// Why no login is begun now for anybody but a person at a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_pause: Option<LoginPause>,
    /// The profiles that live on it.
    pub profiles: Vec<String>,
}

/// A login that waits for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginStatus {
    /// The page to open.
    pub url: String,
    /// The code to compare, where there is one.
    pub user_code: Option<String>,
    /// Until when AWS waits.
    pub expires_at: Timestamp,
    /// Openings of the last day that nobody at a terminal asked for.
    pub openings_today: usize,
}

/// Why no login is begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginPause {
    /// When that ends by itself; `null`: when a person acts.
    pub until: Option<Timestamp>,
    /// Class `login-paused`, cause and fix.
    #[serde(flatten)]
    pub failure: Failure,
}

/// A setting and its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name: `HTTPS_PROXY`, `AWS_CA_BUNDLE`, `AWS_ENDPOINT_URL_SSO`, ...
    pub name: String,
    /// Its value, passwords left out.
    pub value: String,
    /// `environment`, `config.toml` or `AWS config`.
    pub origin: String,
}

/// Something worth a person's attention. Like a [`Failure`] it is plain text of bounded length, whatever it quotes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable kebab-case name: `config-invalid`, `no-refresh-token`, ...
    pub name: String,
    /// What was seen, on one line.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl Finding {
    /// A finding whose texts are made one line each and cut to fit.
    #[must_use]
    pub fn new(name: &str, message: impl AsRef<str>, fix: impl AsRef<str>) -> Self {
        Self {
            name: name.to_owned(),
            message: one_line(message.as_ref(), Failure::MAX_CHARS),
            fix: one_line(fix.as_ref(), Failure::MAX_CHARS),
        }
    }

    /// Whether it is about logins that others ask for or make again and again.
    #[must_use]
    pub fn is_login_loop(&self) -> bool {
        matches!(self.name.as_str(), "phantom-demand" | "foreign-loop")
    }
}
