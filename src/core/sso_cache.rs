//! The SSO token cache file of the AWS tools, as text: its name, reading it leniently, writing it strictly.
//!
//! `~/.aws/sso/cache/<sha1>.json` is shared with the AWS CLI, botocore and the SDKs, none of which locks it and some of
//! which truncate it in place. Hence: text that is no whole JSON is *torn*, which means "read again", never "logged
//! out"; and writing keeps every key that we do not know, in its place.

mod render;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha1::{Digest, Sha1};

pub use self::render::render;
use super::credential::{RefreshGrant, SsoToken};
use super::secret::Secret;
use super::time::Timestamp;

/// The largest file that is looked at. Real ones have some 3 KiB.
pub const MAX_BYTES: usize = 64 * 1024;

/// Expiries outside of these are a broken or hostile file: 2000-01-01 and 2100-01-01.
const SANE: std::ops::Range<Timestamp> = Timestamp::from_secs(946_684_800)..Timestamp::from_secs(4_102_444_800);

/// Why a cache file holds no token that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAToken {
    /// Empty or no whole JSON: somebody is writing it. Read it again.
    Torn,
    /// A document of another kind: without `accessToken` it is a client registration of AWS CLI v2.
    OtherDocument,
    /// A token that breaks the format.
    Malformed {
        /// Which rule it breaks; never a value of the file.
        what: String,
    },
}

/// The cache file's name: lower-case hex SHA-1 of the session's name (legacy profiles: of the start URL) and `.json`
/// (botocore `SSOTokenLoader`, AWS SDKs "SSO credential provider").
#[must_use]
pub fn file_name(cache_key: &str) -> String {
    let mut name: String = Sha1::digest(cache_key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    name.push_str(".json");
    name
}

/// The keys that matter to us; all others are skipped without being kept in memory.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Document {
    #[serde(deserialize_with = "secret")]
    access_token: Option<Secret>,
    expires_at: Option<String>,
    #[serde(deserialize_with = "secret")]
    refresh_token: Option<Secret>,
    client_id: Option<String>,
    #[serde(deserialize_with = "secret")]
    client_secret: Option<Secret>,
    registration_expires_at: Option<String>,
}

/// Moves the text into the secret without a copy; an empty one counts as absent.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(Secret::new).filter(|s| !s.is_empty()))
}

/// Reads a token. `modified` is the file's modification time, which becomes [`SsoToken::obtained_at`].
///
/// A refresh token without the client registration that it belongs to cannot be used and is left out.
///
/// # Errors
/// See [`NotAToken`]. An expiry in the past is no error: the refresh token may still live.
pub fn parse(text: &str, modified: Timestamp) -> Result<SsoToken, NotAToken> {
    let malformed = |what: &str| NotAToken::Malformed { what: what.to_owned() };
    if text.len() > MAX_BYTES {
        return Err(malformed("it is larger than 64 KiB"));
    }
    let text = text.trim_start_matches('\u{feff}');
    if !text.trim_start().is_empty()
        && !text.trim_start().starts_with('{')
        && serde_json::from_str::<Value>(text).is_ok()
    {
        return Err(malformed("it is JSON, but no object"));
    }
    let document: Document = serde_json::from_str(text).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => malformed("a key has a value of the wrong kind, or is there twice"),
        _ => NotAToken::Torn,
    })?;
    let access_token = document.access_token.ok_or(NotAToken::OtherDocument)?;
    let expires_at = document.expires_at.ok_or_else(|| malformed("expiresAt is missing"))?;
    let expires_at = Timestamp::parse(&expires_at).ok_or_else(|| malformed("expiresAt is not a time"))?;
    if !SANE.contains(&expires_at) {
        return Err(malformed("expiresAt is out of range"));
    }
    let client_id = document.client_id.filter(|id| !id.is_empty());
    let refresh = match (document.refresh_token, client_id.clone(), document.client_secret) {
        (Some(refresh_token), Some(client_id), Some(client_secret)) => Some(RefreshGrant {
            refresh_token,
            client_id,
            client_secret,
            registration_expires_at: document.registration_expires_at.and_then(|t| Timestamp::parse(&t)),
        }),
        _ => None,
    };
    Ok(SsoToken { access_token, expires_at, refresh, client_id, obtained_at: modified })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: Timestamp = Timestamp::from_secs(1_700_000_000);

    const BOTOCORE: &str = r#"{"startUrl": "https://corp.awsapps.com/start", "region": "eu-west-1",
        "accessToken": "at", "expiresAt": "2026-11-03T10:00:00Z", "clientId": "id", "clientSecret": "cs",
        "registrationExpiresAt": "2027-01-01T00:00:00Z", "refreshToken": "rt"}"#;

    #[test]
    fn the_name_is_that_of_the_aws_tools() {
        // sha1("corp"), as botocore computes it.
        assert_eq!(file_name("corp"), "ee0bfd2552fbd840c02cc48b6e823320543c450f.json");
    }

    #[test]
    fn a_token_of_botocore_is_read_whole() {
        let token = parse(BOTOCORE, MODIFIED).unwrap();
        assert_eq!(token.access_token.expose(), "at");
        assert_eq!(token.expires_at, Timestamp::parse("2026-11-03T10:00:00Z").unwrap());
        assert_eq!(token.obtained_at, MODIFIED);
        let grant = token.refresh.unwrap();
        assert_eq!((grant.refresh_token.expose(), grant.client_id.as_str()), ("rt", "id"));
        assert_eq!(grant.registration_expires_at, Timestamp::parse("2027-01-01T00:00:00Z"));
    }

    #[test]
    fn old_times_and_microseconds_are_read() {
        for time in ["2020-06-17T10:02:08UTC", "2020-06-17T10:02:08.123456Z", "2020-06-17T12:02:08+02:00"] {
            let text = format!(r#"{{"accessToken":"at","expiresAt":"{time}"}}"#);
            assert!(parse(&text, MODIFIED).is_ok(), "{time}");
        }
    }

    #[test]
    fn every_prefix_of_a_token_is_torn() {
        let whole = BOTOCORE.trim_end();
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut], MODIFIED), Err(NotAToken::Torn), "{cut}");
        }
        assert_eq!(parse(&format!("{whole}}}"), MODIFIED), Err(NotAToken::Torn), "longer old text behind it");
        assert_eq!(parse(" \n", MODIFIED), Err(NotAToken::Torn));
        assert_eq!(parse("\0\0\0\0", MODIFIED), Err(NotAToken::Torn));
    }

    #[test]
    fn what_is_no_token_says_so() {
        let registration = r#"{"clientId":"id","clientSecret":"cs","expiresAt":"2027-01-01T00:00:00Z"}"#;
        assert_eq!(parse(registration, MODIFIED), Err(NotAToken::OtherDocument));
        assert_eq!(parse(r#"{"accessToken":""}"#, MODIFIED), Err(NotAToken::OtherDocument));
        for text in [
            "[]",
            "\"text\"",
            "null",
            r#"{"accessToken":5}"#,
            r#"{"accessToken":"at"}"#,
            r#"{"accessToken":"at","expiresAt":"tomorrow"}"#,
            r#"{"accessToken":"at","expiresAt":"9999-12-31T00:00:00Z"}"#,
            r#"{"accessToken":"at","expiresAt":"1999-12-31T00:00:00Z"}"#,
            r#"{"accessToken":"at","accessToken":"b","expiresAt":"2026-11-03T10:00:00Z"}"#,
        ] {
            let found = parse(text, MODIFIED);
            assert!(matches!(found, Err(NotAToken::Malformed { .. })), "{text}: {found:?}");
        }
        let padded = format!("{BOTOCORE}{}", " ".repeat(MAX_BYTES));
        assert!(matches!(parse(&padded, MODIFIED), Err(NotAToken::Malformed { .. })));
    }

    #[test]
    fn a_refresh_token_without_its_client_is_no_grant() {
        let text = r#"{"accessToken":"at","expiresAt":"2026-11-03T10:00:00Z","refreshToken":"rt","clientId":"id"}"#;
        assert_eq!(parse(text, MODIFIED).unwrap().refresh, None);
    }
}
