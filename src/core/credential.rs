//! What is kept: SSO tokens and role credentials.

use serde::{Deserialize, Serialize};

use std::sync::Arc;

use super::secret::Secret;
use super::time::Timestamp;

/// Temporary AWS credentials of a role. Always complete: a session token and an expiry are part of the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleCredentials {
    /// Starts with `ASIA`; not a secret by itself, yet shown only by its last four characters.
    pub access_key_id: String,
    /// The signing key.
    pub secret_access_key: Secret,
    /// The session token (AWS: `x-amz-security-token`).
    pub session_token: Secret,
    /// When AWS stops accepting them, by AWS's clock.
    pub expires_at: Timestamp,
}

impl RoleCredentials {
    /// The last four characters of the key id: what logs and status may show.
    #[must_use]
    pub fn key_suffix(&self) -> &str {
        let id = &self.access_key_id;
        let start = id.char_indices().rev().nth(3).map_or(0, |(i, _)| i);
        &id[start..]
    }
}

/// An SSO access token with what is needed to renew it (the AWS CLI's cache file, without keys unknown to us).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsoToken {
    /// The bearer token of the SSO portal.
    pub access_token: Secret,
    /// When the portal stops accepting it.
    pub expires_at: Timestamp,
    /// The refresh grant; absent when the session lacks the scope `sso:account:access`.
    pub refresh: Option<RefreshGrant>,
    /// The registered OIDC client that it was issued to, where that is known.
    pub client_id: Option<String>,
    /// When this token came to be, by the local clock: the moment of the grant, or the cache file's modification time.
    pub obtained_at: Timestamp,
}

impl SsoToken {
    /// Whether both came from one grant: the same access token with the same refresh token, if any.
    #[must_use]
    pub fn is_same_grant(&self, other: &Self) -> bool {
        let refresh = |t: &Self| t.refresh.as_ref().map(|g| g.refresh_token.clone());
        self.access_token == other.access_token && refresh(self) == refresh(other)
    }

    /// This token with the refresh grant of `older`, if it has none itself and both were issued to the same client: AWS
    /// then sent no new refresh token, which leaves the old one good, and some tools (botocore, the JS SDK) drop the old
    /// one from the file.
    #[must_use]
    pub fn inheriting(self: Arc<Self>, older: &Self) -> Arc<Self> {
        match &older.refresh {
            Some(grant) if self.refresh.is_none() && self.client_id.as_ref() == Some(&grant.client_id) => {
                Arc::new(Self { refresh: Some(grant.clone()), ..(*self).clone() })
            }
            _ => self,
        }
    }
}

/// A refresh token and the client registration that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshGrant {
    /// The refresh token; AWS may rotate it at each use.
    pub refresh_token: Secret,
    /// The registered OIDC client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// When the registration ends; refreshing is impossible afterwards.
    pub registration_expires_at: Option<Timestamp>,
}

/// A registered OIDC client (RFC 7591): what logins and refresh tokens are bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRegistration {
    /// Its public name.
    pub client_id: String,
    /// Its secret, which no public client can keep; treated as one all the same.
    pub client_secret: Secret,
    /// When AWS stops accepting it.
    pub expires_at: Timestamp,
}

/// Anything that a node of the broker can hold. Shared, never copied, so that each secret exists once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An SSO session's token.
    Token(Arc<SsoToken>),
    /// Credentials of a role.
    Role(Arc<RoleCredentials>),
}

impl Credential {
    /// When it ends, by AWS's clock.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        match self {
            Self::Token(t) => t.expires_at,
            Self::Role(r) => r.expires_at,
        }
    }

    /// The role credentials, if that is what this is.
    #[must_use]
    pub const fn as_role(&self) -> Option<&Arc<RoleCredentials>> {
        match self {
            Self::Role(r) => Some(r),
            Self::Token(_) => None,
        }
    }

    /// The SSO token, if that is what this is.
    #[must_use]
    pub const fn as_token(&self) -> Option<&Arc<SsoToken>> {
        match self {
            Self::Token(t) => Some(t),
            Self::Role(_) => None,
        }
    }
}
/// An account that a person may use through an SSO session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SsoAccount {
    /// Twelve digits.
    pub id: String,
    /// Its name; may be empty.
    pub name: String,
    /// Its address; may be empty.
    pub email: String,
}
