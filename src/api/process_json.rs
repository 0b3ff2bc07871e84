//! The union document: one JSON object that every consumer accepts.
//!
//! It is `credential_process` output (AWS: "Sourcing credentials with an external process": `Version` 1 and four flat
//! keys) and, nested under `Credentials`, what Claude Code's `awsCredentialExport` has taken in every version.

use serde_json::json;
use zeroize::Zeroizing;

use crate::core::credential::RoleCredentials;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Timestamp;

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
