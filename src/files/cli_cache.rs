//! The role credentials that the AWS CLI and botocore keep in `~/.aws/cli/cache`. The agent never reads them; a logout
//! removes those of its session, as `aws sso logout` does.

use std::path::PathBuf;

use sha1::{Digest, Sha1};

use super::atomic;
use crate::core::source::{SsoSession, World};

/// Removes what is kept for a role that was reached through a session. What cannot be removed stays: it ends by itself.
pub fn forget(world: &World, session: &SsoSession, account_id: &str, role_name: &str) {
    if let Some(path) = path(world, session, account_id, role_name) {
        let _ = atomic::remove(&path);
    }
}

/// `None` where the token cache is not in its usual place, beside which the other one would be.
fn path(world: &World, session: &SsoSession, account_id: &str, role_name: &str) -> Option<PathBuf> {
    let (cache, sso) = (&world.sso_cache, world.sso_cache.parent()?);
    if !cache.ends_with("sso/cache") {
        return None;
    }
    let digest = Sha1::digest(arguments(session, account_id, role_name));
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(sso.parent()?.join("cli").join("cache").join(name + ".json"))
}

/// The text whose SHA-1 names the file (botocore, `SSOCredentialFetcher._create_cache_key`): JSON without blanks, its
/// keys sorted.
fn arguments(session: &SsoSession, account_id: &str, role_name: &str) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let (account, role) = (text(account_id), text(role_name));
    match &session.name {
        Some(name) => format!(r#"{{"accountId":{account},"roleName":{role},"sessionName":{}}}"#, text(name)),
        None => format!(r#"{{"accountId":{account},"roleName":{role},"startUrl":{}}}"#, text(&session.start_url)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_of_a_named_and_of_a_legacy_session() {
        let mut session = SsoSession {
            name: Some("corp".into()),
            start_url: "https://corp.awsapps.com/start".into(),
            region: "eu-west-1".into(),
            scopes: Vec::new(),
            endpoints: Default::default(),
        };
        let expected = r#"{"accountId":"111122223333","roleName":"dev","sessionName":"corp"}"#;
        assert_eq!(arguments(&session, "111122223333", "dev"), expected);
        session.name = None;
        let expected = r#"{"accountId":"111122223333","roleName":"dev","startUrl":"https://corp.awsapps.com/start"}"#;
        assert_eq!(arguments(&session, "111122223333", "dev"), expected);
        assert_eq!(path(&World::default(), &session, "1", "r"), None);
    }
}
