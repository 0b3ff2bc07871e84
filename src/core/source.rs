//! Where a profile's credentials come from: a chain of links, each fetched with the credential of the one before it.
//!
//! A chain's prefix *is* the identity of what is kept: two profiles that name the same session, account and role share
//! one entry; a changed setting is another identity, so a config change resets exactly what it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::status::Finding;

/// The files that a client reads its configuration from. Part of every key: a profile of one world is never answered
/// from another's.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct World {
    /// `AWS_CONFIG_FILE`, by default `~/.aws/config`.
    pub config_file: PathBuf,
    /// `AWS_SHARED_CREDENTIALS_FILE`, by default `~/.aws/credentials`.
    pub credentials_file: PathBuf,
    /// The SSO token cache, by default `~/.aws/sso/cache`.
    pub sso_cache: PathBuf,
}

/// An IAM Identity Center session as the config names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SsoSession {
    /// The `[sso-session NAME]`; `None` for a legacy profile, whose identity is its start URL.
    pub name: Option<String>,
    /// `sso_start_url`.
    pub start_url: String,
    /// `sso_region`: where Identity Center lives, which need not be where Bedrock is used.
    pub region: String,
    /// `sso_registration_scopes`; none: the default.
    pub scopes: Vec<String>,
    /// Endpoint overrides of the config file.
    pub endpoints: Endpoints,
}

/// Without this scope AWS gives no refresh token, and a session ends after 8 hours.
pub const REFRESH_SCOPE: &str = "sso:account:access";

/// Endpoint overrides of the profile (`endpoint_url`, `[services]`). Full URLs; `None` is AWS's own endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoints {
    /// SSO OIDC: service key `sso_oidc` or `sso-oidc`.
    pub oidc: Option<String>,
    /// SSO portal: service key `sso`.
    pub portal: Option<String>,
}

impl SsoSession {
    /// One that nobody has: AWS's own addresses in a region.
    #[must_use]
    pub fn nobodys(region: &str) -> Self {
        let (name, start_url, scopes, endpoints) = Default::default();
        Self { name, start_url, region: region.to_owned(), scopes, endpoints }
    }

    /// What a client is registered for.
    #[must_use]
    pub fn registration_scopes(&self) -> Vec<String> {
        if self.scopes.is_empty() { vec![REFRESH_SCOPE.to_owned()] } else { self.scopes.clone() }
    }

    /// The text whose SHA-1 names the token's cache file: the session's name, or a legacy profile's start URL.
    #[must_use]
    pub fn cache_key(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.start_url)
    }

    /// What a person calls it: the session's name, or the first label of the start URL's host.
    #[must_use]
    pub fn id(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let host = self.start_url.split("://").last().unwrap_or_default();
            let label: String = host.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            if label.is_empty() { "legacy".to_owned() } else { label }
        })
    }
}

/// One hop of a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// The token of an IAM Identity Center session.
    SsoSession(SsoSession),
    /// A role's credentials from the SSO portal (GetRoleCredentials).
    SsoRole {
        /// `sso_account_id`.
        account_id: String,
        /// `sso_role_name`, the permission set.
        role_name: String,
    },
    /// A role assumed with the credentials of the link before (STS AssumeRole). The broker keeps such chains; no
    /// profile resolves to one yet.
    AssumedRole {
        /// `role_arn`.
        role_arn: String,
    },
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SsoSession(s) => write!(f, "sso-session {}", s.id()),
            Self::SsoRole { account_id, role_name } => write!(f, "role {role_name} in {account_id}"),
            Self::AssumedRole { role_arn } => write!(f, "assumed {role_arn}"),
        }
    }
}

/// A world and the links from the root credential to the one that the profile names. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain {
    world: Arc<World>,
    links: Vec<Link>,
}

impl Chain {
    /// A chain of one link.
    #[must_use]
    pub fn root(world: Arc<World>, link: Link) -> Self {
        Self { world, links: vec![link] }
    }

    /// This chain with one more hop.
    #[must_use]
    pub fn then(mut self, link: Link) -> Self {
        self.links.push(link);
        self
    }

    /// The world it belongs to.
    #[must_use]
    pub const fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// The last link: what this chain yields.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.links[self.links.len() - 1]
    }

    /// The chain that this one's last link is fetched with; `None` at the root.
    #[must_use]
    pub fn upstream(&self) -> Option<Self> {
        let (_, before) = self.links.split_last()?;
        (!before.is_empty()).then(|| Self { world: Arc::clone(&self.world), links: before.to_vec() })
    }

    /// The SSO session at its root, if it has one.
    #[must_use]
    pub fn session(&self) -> Option<&SsoSession> {
        match self.links.first() {
            Some(Link::SsoSession(s)) => Some(s),
            _ => None,
        }
    }
}

/// What the config says about one profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The chain to its credentials, or why there is none (class `misconfigured`, naming the fix).
    pub source: Result<Chain, Failure>,
    /// `region`, for the client's information only.
    pub region: Option<String>,
    /// `ca_bundle`: a PEM file with the roots that the AWS CLI trusts instead of its own.
    pub ca_bundle: Option<PathBuf>,
}

/// Everything that the files of one world say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorldConfig {
    /// The profiles by name.
    pub profiles: BTreeMap<String, Profile>,
    /// What is worth telling about the files: ignored settings, files with wrong modes.
    pub findings: Vec<Finding>,
    /// Sessions that no profile names yet: one can sign in to them.
    pub sessions: Vec<SsoSession>,
}

impl WorldConfig {
    /// Each `ca_bundle`, whichever profile names it.
    #[must_use]
    pub fn ca_bundles(&self) -> BTreeSet<PathBuf> {
        self.profiles.values().filter_map(|profile| profile.ca_bundle.clone()).collect()
    }
}
