//! What the fake knows: who may do what, everything it issued, and every call that it saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::calls::{Call, Operation};
use super::faults::Fault;
use super::login::Logins;
use crate::support::clock;

/// One user's SSO session at one Identity Center: its lifetimes and what the user may become.
#[derive(Clone, Debug)]
pub struct SsoSession {
    /// The session's name in the config file.
    pub name: String,
    /// The start URL; never called, only written into files.
    pub start_url: String,
    /// The region of the Identity Center.
    pub region: String,
    /// Roles by account id; anything else is 403 `ForbiddenException`, as in the real portal.
    pub accounts: BTreeMap<String, BTreeSet<String>>,
    /// What happens to a refresh token that was used.
    pub rotation: Rotation,
    /// Life of a new access token.
    pub token_lifetime: Duration,
    /// Life of new role credentials.
    pub role_lifetime: Duration,
    /// Life of a new client registration.
    pub registration_lifetime: Duration,
}

impl SsoSession {
    /// A session without roles, with AWS's usual lifetimes.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            start_url: format!("https://{name}.awsapps.com/start"),
            region: "eu-west-1".to_owned(),
            accounts: BTreeMap::new(),
            rotation: Rotation::Grace(Duration::from_secs(60)),
            token_lifetime: Duration::from_secs(3600),
            role_lifetime: Duration::from_secs(3600),
            registration_lifetime: Duration::from_secs(90 * 24 * 3600),
        }
    }

    /// The same, allowed to use `role` in `account`.
    pub fn allow(mut self, account: &str, role: &str) -> Self {
        self.accounts.entry(account.to_owned()).or_default().insert(role.to_owned());
        self
    }
}

/// What a token endpoint does with a refresh token after its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The answer repeats the same refresh token.
    Kept,
    /// The answer holds no refresh token at all; the old one stays good.
    Omitted,
    /// A new one is issued; the old one stays good for this long.
    Grace(Duration),
    /// A new one is issued; the old one is refused from then on.
    SingleUse,
    /// As `SingleUse`, and using an old one revokes every refresh token descending from the same login.
    FamilyRevocation,
}

/// Names a session of one fake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub(super) usize);

/// What a finished login leaves on the user's disk.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The start URL of the session.
    pub start_url: String,
    /// The region of the Identity Center.
    pub region: String,
    /// Bearer token of the portal.
    pub access_token: String,
    /// When the portal stops accepting it.
    pub expires_at: DateTime<Utc>,
    /// The refresh token.
    pub refresh_token: String,
    /// The registered client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// When the registration ends.
    pub registration_expires_at: DateTime<Utc>,
}

/// A secret that left the fake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedSecret {
    /// `access token`, `refresh token`, `client secret`, `secret access key`, `session token`, `device code` or
    /// `authorization code`.
    pub kind: &'static str,
    /// The secret itself: random, at least 40 characters.
    pub value: String,
}

/// Role credentials that the portal issued.
#[derive(Clone, Debug)]
pub struct IssuedKey {
    /// Starts with `ASIA`.
    pub access_key_id: String,
    /// The signing key.
    pub secret_access_key: String,
    /// The session token.
    pub session_token: String,
    /// When they stop working.
    pub expires_at: DateTime<Utc>,
    /// Whose they are.
    pub session: SessionId,
    /// The account.
    pub account: String,
    /// The role.
    pub role: String,
}

#[derive(Debug)]
pub(super) struct AccessToken {
    pub session: SessionId,
    pub expires_at: DateTime<Utc>,
    pub revoked: bool,
}

#[derive(Debug)]
pub(super) struct RefreshToken {
    pub session: SessionId,
    /// The login that it descends from.
    pub family: u64,
    pub client_id: String,
    pub superseded_at: Option<DateTime<Utc>>,
    pub revoked: bool,
    /// AWS has once answered `invalid_grant` to it.
    pub refused: bool,
}

#[derive(Debug)]
pub(super) struct Client {
    pub secret: String,
    pub expires_at: DateTime<Utc>,
    pub scopes: Vec<String>,
    pub redirect_uris: Vec<String>,
    pub issuer: Option<SessionId>,
}

/// Everything behind the fake's one lock.
#[derive(Debug, Default)]
pub(super) struct State {
    pub sessions: Vec<SsoSession>,
    pub clients: BTreeMap<String, Client>,
    pub access_tokens: BTreeMap<String, AccessToken>,
    pub refresh_tokens: BTreeMap<String, RefreshToken>,
    pub keys: BTreeMap<String, IssuedKey>,
    pub secrets: Vec<IssuedSecret>,
    pub faults: Vec<Fault>,
    pub calls: Vec<Call>,
    pub most_at_once: BTreeMap<Operation, usize>,
    pub reply: String,
    /// What Bedrock offers; `None`: one inference profile, whatever the region.
    pub inference_profiles: Option<Vec<super::bedrock::Offered>>,
    /// Whether the account has not filled in Anthropic's form.
    pub lacks_form: bool,
    /// Seconds by which AWS's clock is ahead of this machine's.
    pub clock_offset: i64,
    pub(super) logins: Logins,
    families: u64,
}

impl State {
    /// What time it is at AWS.
    pub fn now(&self) -> DateTime<Utc> {
        clock::now() + chrono::Duration::seconds(self.clock_offset)
    }

    /// Registers a client and signs in, as a person in a browser would.
    pub fn sign_in(&mut self, id: SessionId) -> SignedIn {
        let session = self.sessions[id.0].clone();
        let registration_expires_at = self.now() + session.registration_lifetime;
        let client_id = random(22);
        let client_secret = self.secret("client secret", "eyJraWQiOiJrZXktMTU2", 240);
        self.clients.insert(
            client_id.clone(),
            Client {
                secret: client_secret.clone(),
                expires_at: registration_expires_at,
                scopes: vec!["sso:account:access".to_owned()],
                redirect_uris: Vec::new(),
                issuer: None,
            },
        );
        let family = self.new_family();
        let (access_token, expires_at) = self.issue_access_token(id);
        SignedIn {
            start_url: session.start_url,
            region: session.region,
            access_token,
            expires_at,
            refresh_token: self.issue_refresh_token(id, family, &client_id),
            client_id,
            client_secret,
            registration_expires_at,
        }
    }

    /// The family of a new login.
    pub(super) const fn new_family(&mut self) -> u64 {
        self.families += 1;
        self.families
    }

    /// A new access token of the session, and when it ends.
    pub fn issue_access_token(&mut self, session: SessionId) -> (String, DateTime<Utc>) {
        let expires_at = self.now() + self.sessions[session.0].token_lifetime;
        let token = self.secret("access token", "aoaAAAAAG", 180);
        self.access_tokens.insert(token.clone(), AccessToken { session, expires_at, revoked: false });
        (token, expires_at)
    }

    /// A new refresh token of the session in a family.
    pub fn issue_refresh_token(&mut self, session: SessionId, family: u64, client_id: &str) -> String {
        let token = self.secret("refresh token", "aorAAAAAG", 180);
        let client_id = client_id.to_owned();
        let fresh = RefreshToken { session, family, client_id, superseded_at: None, revoked: false, refused: false };
        self.refresh_tokens.insert(token.clone(), fresh);
        token
    }

    /// New role credentials.
    pub fn issue_key(&mut self, session: SessionId, account: &str, role: &str) -> IssuedKey {
        let key = IssuedKey {
            access_key_id: format!("ASIA{}", random(16).to_uppercase()),
            secret_access_key: self.secret("secret access key", "", 40),
            session_token: self.secret("session token", "IQoJb3JpZ2luX2Vj", 400),
            // The portal answers in milliseconds, yet its expirations are whole seconds.
            expires_at: whole_seconds(self.now() + self.sessions[session.0].role_lifetime),
            session,
            account: account.to_owned(),
            role: role.to_owned(),
        };
        self.keys.insert(key.access_key_id.clone(), key.clone());
        key
    }

    /// A random secret that is put on the list of what must never be seen. It holds `/` and `+`, as real ones do.
    pub(super) fn secret(&mut self, kind: &'static str, prefix: &str, length: usize) -> String {
        let value = format!("{prefix}{}/{}+{}", random(12), random(length - 20), random(6));
        self.secrets.push(IssuedSecret { kind, value: value.clone() });
        value
    }
}

/// Random letters and digits.
pub(super) fn random(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}

fn whole_seconds(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(at.timestamp(), 0).unwrap_or(at)
}
