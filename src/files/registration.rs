//! Client registrations in the AWS tools' cache folder, in the form and under the name of the AWS CLI (v2,
//! `BaseSSOTokenFetcher`): one that it made is used while it is valid, and it uses ours.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use super::{atomic, limits};
use crate::core::credential::ClientRegistration;
use crate::core::login::Flow;
use crate::core::secret::Secret;
use crate::core::source::{SsoSession, World};
use crate::core::time::Timestamp;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    client_id: String,
    // Freed memory is wiped by the agent's allocator.
    client_secret: String,
    expires_at: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    grant_types: Vec<String>,
}

/// One registration's file.
#[derive(Clone, Debug)]
pub struct RegistrationFile {
    path: PathBuf,
    scopes: Vec<String>,
    flow: Flow,
}

impl RegistrationFile {
    /// The registration of `session` for a flow.
    #[must_use]
    pub fn new(world: &World, session: &SsoSession, flow: Flow) -> Self {
        let mut name: String = Sha1::digest(arguments(session, flow)).iter().map(|b| format!("{b:02x}")).collect();
        name.push_str(".json");
        Self { path: world.sso_cache.join(name), scopes: session.registration_scopes(), flow }
    }

    /// The registration, if there is one that will be valid at `until`.
    #[must_use]
    pub fn load(&self, until: Timestamp) -> Option<ClientRegistration> {
        let contents = limits::read_cache(&self.path).ok()?;
        let document: Document = serde_json::from_slice(&contents.bytes).ok()?;
        let expires_at = Timestamp::parse(&document.expires_at).filter(|end| *end > until)?;
        let other_flow = self.flow == Flow::Device && !document.grant_types.is_empty();
        if other_flow {
            return None;
        }
        Some(ClientRegistration {
            client_id: document.client_id,
            client_secret: Secret::new(document.client_secret),
            expires_at,
        })
    }

    /// Stores it. One that cannot be stored is made anew next time.
    pub fn store(&self, registration: &ClientRegistration) {
        let document = Document {
            client_id: registration.client_id.clone(),
            client_secret: registration.client_secret.expose().to_owned(),
            expires_at: registration.expires_at.to_string(),
            scopes: self.scopes.clone(),
            grant_types: match self.flow {
                Flow::Device => Vec::new(),
                Flow::Pkce => GRANT_TYPES.map(str::to_owned).to_vec(),
            },
        };
        if let Ok(text) = serde_json::to_vec(&document).map(Zeroizing::new) {
            let _ = atomic::replace_locked(&self.path, &text);
        }
    }

    /// AWS does not know it any more.
    pub fn remove(&self) {
        let _ = atomic::remove(&self.path);
    }
}

const GRANT_TYPES: [&str; 2] = ["authorization_code", "refresh_token"];

/// The text whose SHA-1 names the file: Python's `json.dumps(..., sort_keys=True)` of the AWS CLI's arguments. A client
/// that was registered for one flow is not good for the other, so that of the authorization code has a name of our own.
fn arguments(session: &SsoSession, flow: Flow) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let scopes: Vec<_> = session.registration_scopes().iter().map(|scope| text(scope)).collect();
    let tool = match flow {
        Flow::Device => "botocore",
        Flow::Pkce => "agentctl",
    };
    format!(
        r#"{{"region": {}, "scopes": [{}], "session_name": {}, "startUrl": {}, "tool": "{tool}"}}"#,
        text(&session.region),
        scopes.join(", "),
        session.name.as_deref().map_or_else(|| "null".to_owned(), text),
        text(&session.start_url),
    )
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::files::testing::{self, Fixture};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn the_aws_cli_finds_ours_and_we_find_its_own() {
        let session = testing::session();
        // printf '...' | sha1sum of json.dumps(args, sort_keys=True) in Python 3.
        let expected = r#"{"region": "eu-west-1", "scopes": ["sso:account:access"], "session_name": "corp", "startUrl": "https://corp.awsapps.com/start", "tool": "botocore"}"#;
        assert_eq!(arguments(&session, Flow::Device), expected);
        let fixture = Fixture::new();
        let world = World { sso_cache: fixture.cache.path().parent().unwrap().into(), ..World::default() };
        let [device, pkce] = [Flow::Device, Flow::Pkce].map(|flow| RegistrationFile::new(&world, &session, flow));
        assert_eq!(device.load(NOW), None);
        let registration = ClientRegistration {
            client_id: "c".into(),
            client_secret: "s".into(),
            expires_at: NOW.plus(std::time::Duration::from_secs(60)),
        };
        device.store(&registration);
        assert_eq!(device.load(NOW), Some(registration.clone()));
        assert_eq!((device.load(registration.expires_at), pkce.load(NOW)), (None, None));
        let cli = r#"{"clientId":"c","clientSecret":"s","expiresAt":"2027-01-15T08:01:00Z","scopes":["sso:account:access"],"grantTypes":["authorization_code","refresh_token"]}"#;
        std::fs::write(&device.path, cli).unwrap();
        assert_eq!(device.load(NOW), None, "made for another flow");
        device.remove();
        assert!(!device.path.exists());
    }
}
