//! What there is to choose from, and who a profile is.

use serde::{Deserialize, Serialize};

use crate::core::bedrock::InferenceProfile;
use crate::core::credential::SsoAccount;
use crate::core::time::Timestamp;

/// The query of `GET /v1/profiles/{p}/models`. All optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ModelsQuery {
    /// The region of Bedrock; absent: the profile's own.
    pub region: Option<String>,
    /// Milliseconds that the request may be held for credentials, at most [`MAX_WAIT_MS`](super::MAX_WAIT_MS). Bedrock's
    /// answers come on top of that.
    pub wait: Option<u64>,
}

/// What Bedrock offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelsDocument {
    /// The region.
    pub region: String,
    /// Its inference profiles, those of Claude first.
    pub models: Vec<InferenceProfile>,
}

/// The body of `GET /v1/profiles/{p}/identity`. What is not known is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityDocument {
    /// The account of its role.
    pub account: Option<String>,
    /// The role's name.
    pub role: Option<String>,
    /// The profile's `region`.
    pub region: Option<String>,
    /// Last four characters of the access key id, while valid credentials are held.
    pub key_suffix: Option<String>,
    /// When those end.
    pub expires_at: Option<Timestamp>,
}

/// The accounts that a session opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountsDocument {
    /// By id.
    pub accounts: Vec<SsoAccount>,
}

/// The query of `GET /v1/sessions/{s}/roles`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RolesQuery {
    /// The account.
    pub account: String,
}

/// The roles that a session opens in an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolesDocument {
    /// By name.
    pub roles: Vec<String>,
}
