//! Reading the union document of the agent: nothing is printed that was not understood as a whole.

use serde::{Deserialize, Deserializer};

use super::outcome::Problem;
use crate::core::credential::RoleCredentials;
use crate::core::secret::Secret;
use crate::core::time::Timestamp;

/// Reads the document and checks it: `Version` 1, four keys that are there and say the same twice, an expiry that is a
/// time, and no control character in any of them (each format of `export` relies on that).
///
/// # Errors
/// Class `agent-unreachable`: what answered is not (this version of) the agent. The text never quotes the document.
pub fn parse(body: &[u8]) -> Result<RoleCredentials, Problem> {
    let union: Union = serde_json::from_slice(body).map_err(|_| odd("it is not the credentials document"))?;
    if union.version != 1 {
        return Err(odd("its Version is not 1"));
    }
    let Union { access_key_id, secret_access_key, session_token, expiration, credentials, .. } = union;
    let flat = Keys { access_key_id, secret_access_key, session_token, expiration };
    if flat != credentials {
        return Err(odd("its two parts differ"));
    }
    for text in [flat.access_key_id.as_str(), flat.secret_access_key.expose(), flat.session_token.expose()] {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(odd("a key is empty or malformed"));
        }
    }
    Ok(RoleCredentials {
        access_key_id: flat.access_key_id,
        secret_access_key: flat.secret_access_key,
        session_token: flat.session_token,
        expires_at: flat.expiration,
    })
}

fn odd(what: &str) -> Problem {
    Problem::unreachable(format!("the agent's answer cannot be used: {what}"), "agentctl daemon restart")
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
    use crate::api::process_json::union_document;

    fn sample() -> RoleCredentials {
        RoleCredentials {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: "s/e+c\"ret".into(),
            session_token: "tok'en$".into(),
            expires_at: Timestamp::from_secs(1_592_388_128),
        }
    }

    #[test]
    fn reads_what_the_agent_writes() {
        assert_eq!(parse(union_document(&sample()).as_bytes()).unwrap(), sample());
    }

    #[test]
    fn refuses_every_half_document_without_quoting_it() {
        let good = union_document(&sample()).to_string();
        let bad = [
            String::new(),
            "{}".to_owned(),
            "<html>".to_owned(),
            good[..good.len() - 1].to_owned(),
            format!("{good}{good}"),
            good.replace("\"Version\":1", "\"Version\":2"),
            good.replacen("ASIAEXAMPLE", "ASIAOTHER", 1),
            good.replace("tok'en$", ""),
            good.replace("tok'en$", "tok\\nen"),
            good.replace("2020-06-17T10:02:08Z", "soon"),
        ];
        for text in bad {
            let line = parse(text.as_bytes()).unwrap_err().line().unwrap();
            assert!(line.contains("cannot be used") && !line.contains("tok"), "{line}");
        }
    }
}
