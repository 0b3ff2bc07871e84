//! The union document: one JSON object that every consumer accepts.
//!
//! It is `credential_process` output (AWS: "Sourcing credentials with an external process": `Version` 1 and four flat
//! keys) and, nested under `Credentials`, what Claude Code's `awsCredentialExport` has taken in every version.

use serde::{Deserialize, Deserializer};
use serde_json::json;
use zeroize::Zeroizing;

use crate::core::credential::RoleCredentials;
use crate::core::secret::Secret;
use crate::core::time::Timestamp;

/// The document, without a final newline. The buffer is wiped when dropped.
#[must_use]
pub fn union_document(c: &RoleCredentials) -> Zeroizing<String> {
    let (secret, token) = (c.secret_access_key.expose(), c.session_token.expose());
    let expiration = c.expires_at.to_string();
    let document = json!({
        "Version": 1,
        "AccessKeyId": c.access_key_id,
        "SecretAccessKey": secret,
        "SessionToken": token,
        "Expiration": expiration,
        "Credentials": {
            "AccessKeyId": c.access_key_id,
            "SecretAccessKey": secret,
            "SessionToken": token,
            "Expiration": expiration,
        },
    });
    Zeroizing::new(document.to_string())
}

/// Reads the document and checks it: `Version` 1, four keys that are there and say the same twice, an expiry that is a
/// time, and no control character in any of them (each format of `agentctl export` relies on that).
///
/// # Errors
/// What is wrong with it, in a few words that quote nothing of it.
pub fn parse(document: &[u8]) -> Result<RoleCredentials, &'static str> {
    let union: Union = serde_json::from_slice(document).map_err(|_| "it is not the credentials document")?;
    if union.version != 1 {
        return Err("its Version is not 1");
    }
    let Union { access_key_id, secret_access_key, session_token, expiration, credentials, .. } = union;
    let flat = Keys { access_key_id, secret_access_key, session_token, expiration };
    if flat != credentials {
        return Err("its two parts differ");
    }
    for text in [flat.access_key_id.as_str(), flat.secret_access_key.expose(), flat.session_token.expose()] {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err("a key is empty or malformed");
        }
    }
    Ok(RoleCredentials {
        access_key_id: flat.access_key_id,
        secret_access_key: flat.secret_access_key,
        session_token: flat.session_token,
        expires_at: flat.expiration,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Union {
    version: u32,
    // Not `serde(flatten)`: that would leave unwiped copies of the secrets behind.
    access_key_id: String,
    #[serde(deserialize_with = "secret")]
    secret_access_key: Secret,
    #[serde(deserialize_with = "secret")]
    session_token: Secret,
    expiration: Timestamp,
    credentials: Keys,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    access_key_id: String,
    #[serde(deserialize_with = "secret")]
    secret_access_key: Secret,
    #[serde(deserialize_with = "secret")]
    session_token: Secret,
    expiration: Timestamp,
}

/// The string moves into the secret, so that no copy of ours stays behind.
fn secret<'de, D: Deserializer<'de>>(d: D) -> Result<Secret, D::Error> {
    String::deserialize(d).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_and_nested_say_the_same() {
        let document = union_document(&RoleCredentials {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: "se/cr+et".into(),
            session_token: "to\"ken".into(),
            expires_at: Timestamp::from_secs(1_592_388_128),
        });
        let value: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(value["Version"], 1);
        for key in ["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"] {
            assert_eq!(value[key], value["Credentials"][key]);
            assert!(value[key].is_string());
        }
        assert_eq!(value["Expiration"], "2020-06-17T10:02:08Z");
    }
}
