//! What the AWS config and one session's token file say of a profile: the document of `agentd inspect`, on which
//! `agentctl doctor` builds. No secret fits into its types.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::status::Finding;
use super::time::Timestamp;

/// The whole document. `S`: what is known of the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection<S = SessionSays> {
    /// The AWS config file.
    pub config_file: PathBuf,
    /// The credentials file.
    pub credentials_file: PathBuf,
    /// How many profiles both have.
    pub count: usize,
    /// What is odd about the files: ignored sections, a credentials file that cannot be used.
    pub findings: Vec<Finding>,
    /// Profiles whose `credential_process` is not there; at most ten.
    pub missing: Vec<MissingProgram>,
    /// Whether the other profile that was asked about names a source of credentials, of whatever kind.
    pub also_sourced: bool,
    /// The profile; `Err`: there is none of that name, and these are like it.
    pub profile: Result<ProfileSays<S>, Vec<String>>,
}

/// A `credential_process` that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingProgram {
    /// The profile's section: `[profile dev]`.
    pub section: String,
    /// The program.
    pub program: PathBuf,
}

/// One profile, before its parts are put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileSays<S = SessionSays> {
    /// Its section: `[profile dev]`.
    pub section: String,
    /// Its `region`.
    pub region: Option<String>,
    /// Whether the credentials file has static keys for it.
    pub static_keys: bool,
    /// Whether it has `sso_*` keys.
    pub sso: bool,
    /// Whether it has a `credential_process`.
    pub process: bool,
    /// Why it cannot be used, where that is not its session's doing.
    pub problem: Option<Failure>,
    /// Its SSO session, or what is wrong with that; `None`: it names none.
    pub session: Option<Result<S, Failure>>,
}

impl<S> Inspection<S> {
    /// The same with something else of the session.
    pub fn map_session<T>(self, of: impl FnOnce(S) -> T) -> Inspection<T> {
        let Self { config_file, credentials_file, count, findings, missing, also_sourced, profile } = self;
        let profile = profile.map(|says| {
            let ProfileSays { section, region, static_keys, sso, process, problem, session } = says;
            let session = session.map(|session| session.map(of));
            ProfileSays { section, region, static_keys, sso, process, problem, session }
        });
        Inspection { config_file, credentials_file, count, findings, missing, also_sourced, profile }
    }
}

/// An SSO session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSays {
    /// What a person calls it.
    pub id: String,
    /// The `[sso-session NAME]`; `None` for a legacy profile.
    pub name: Option<String>,
    /// `sso_start_url`.
    pub start_url: String,
    /// `sso_region`.
    pub region: String,
    /// `sso_registration_scopes`.
    pub scopes: Vec<String>,
    /// Its token file.
    pub token: TokenSays,
}

/// A token file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSays {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// Its mode, where files have one.
    pub mode: Option<u32>,
    /// What it holds, `None`: it is not there; or why it cannot be used.
    pub holds: Result<Option<TokenHeld>, Failure>,
}

/// A token, without what is secret in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenHeld {
    /// When it ends.
    pub expires_at: Timestamp,
    /// Whether it can be renewed without a person.
    pub renewable: bool,
    /// When the client's registration ends; renewing is impossible afterwards.
    pub registration_expires_at: Option<Timestamp>,
}
