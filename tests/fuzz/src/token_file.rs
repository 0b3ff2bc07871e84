//! The SSO token cache file: read leniently, written strictly, and nothing of others is lost.

use aws_credential_agent::core::credential::SsoToken;
use aws_credential_agent::core::source::{Endpoints, SsoSession};
use aws_credential_agent::core::sso_cache::{MAX_BYTES, NotAToken, parse, render};
use aws_credential_agent::core::time::Timestamp;
use serde_json::value::RawValue;

use super::{cut, draw};

const MODIFIED: Timestamp = Timestamp::from_secs(1_700_000_000);
/// The keys that are ours to write.
const OURS: [&str; 8] = [
    "startUrl",
    "region",
    "accessToken",
    "expiresAt",
    "clientId",
    "clientSecret",
    "registrationExpiresAt",
    "refreshToken",
];

pub fn check(data: &[u8]) {
    // Anything else counts as torn before it is parsed.
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = parse(text, MODIFIED);
    for same in [format!("\u{feff}{text}"), format!("{text}\n")] {
        if same.len() <= MAX_BYTES {
            assert_eq!(parse(&same, MODIFIED), read, "a mark or a line's end changes nothing");
        }
    }
    match &read {
        Ok(token) => {
            sane(token);
            // AWS's tools write in place: whoever reads meanwhile sees a prefix.
            let whole = text.trim_end();
            let cut = &whole[..cut(whole, draw(data))];
            assert_eq!(parse(cut, MODIFIED), Err(NotAToken::Torn), "a prefix is torn, nothing else: {cut}");
            rewritten(text, token);
        }
        Err(NotAToken::Malformed { what }) => assert!(what.is_ascii() && what.len() < 80, "says a rule: {what}"),
        Err(NotAToken::Torn | NotAToken::OtherDocument) => {}
    }
    rewritten(text, &other_token());
    // A renewal that brought no refresh token leaves the old one alone.
    rewritten(text, &SsoToken { refresh: None, ..other_token() });
}

fn sane(token: &SsoToken) {
    let year = token.expires_at.to_string();
    assert!(year.starts_with("20"), "expires in this century: {year}");
    assert!(!token.access_token.is_empty());
    assert_eq!(token.obtained_at, MODIFIED);
    if let Some(grant) = &token.refresh {
        assert!(!grant.refresh_token.is_empty() && !grant.client_id.is_empty() && !grant.client_secret.is_empty());
        assert_eq!(token.client_id.as_ref(), Some(&grant.client_id));
    }
}

/// Writing `token` over the text: it reads back, and unknown keys stay in their order, their values to the letter.
fn rewritten(text: &str, token: &SsoToken) {
    let session = SsoSession {
        name: Some("corp".to_owned()),
        start_url: "https://corp.awsapps.com/start".to_owned(),
        region: "eu-west-1".to_owned(),
        scopes: Vec::new(),
        endpoints: Endpoints::default(),
    };
    let written = render(Some(text), token, &session);
    let back = parse(&written, MODIFIED).unwrap_or_else(|e| panic!("what was written is no token: {e:?}"));
    assert_eq!(back.access_token, token.access_token);
    assert_eq!(back.expires_at.to_string(), token.expires_at.to_string());
    assert!(written.contains(&format!("\"expiresAt\":\"{}\"", token.expires_at)), "whole seconds with Z");
    if let Some(grant) = &token.refresh {
        let kept = back.refresh.as_ref().expect("the grant was written");
        assert_eq!(kept.refresh_token, grant.refresh_token);
        assert_eq!((&kept.client_id, &kept.client_secret), (&grant.client_id, &grant.client_secret));
        if let Some(end) = grant.registration_expires_at {
            assert_eq!(kept.registration_expires_at.map(|t| t.to_string()), Some(end.to_string()));
        }
    }
    assert_eq!(*render(Some(&written), token, &session), *written, "once more changes nothing");
    // A file that would grow too large to be read again keeps nothing.
    if let Some(before) = members(text).filter(|_| text.len() + 4096 < MAX_BYTES) {
        let after = members(&written).expect("what was written is an object");
        let unknown = |all: &[(String, String)]| -> Vec<(String, String)> {
            all.iter().filter(|(key, _)| !OURS.contains(&key.as_str())).cloned().collect()
        };
        assert_eq!(unknown(&after), unknown(&before), "unknown keys stay as they are");
        let order: Vec<_> =
            after.iter().map(|(key, _)| key).filter(|key| before.iter().any(|(k, _)| k == *key)).collect();
        let mut old = before.iter().map(|(key, _)| key);
        assert!(order.iter().all(|key| old.any(|k| k == *key)), "keys stay in their order");
    }
}

/// A token that is not the file's.
fn other_token() -> SsoToken {
    let text = r#"{"accessToken":"at2","expiresAt":"2026-11-03T10:00:00Z","refreshToken":"rt2","clientId":"id2",
        "clientSecret":"cs2","registrationExpiresAt":"2027-01-01T00:00:00Z"}"#;
    parse(text, MODIFIED).expect("a token")
}

/// An object's keys and the text of each value; `None` for anything else.
fn members(text: &str) -> Option<Vec<(String, String)>> {
    struct Members;
    impl<'de> serde::de::Visitor<'de> for Members {
        type Value = Vec<(String, String)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                all.push((key, value.get().to_owned()));
            }
            Ok(all)
        }
    }
    let mut json = serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}'));
    let all = serde::Deserializer::deserialize_map(&mut json, Members).ok()?;
    json.end().is_ok().then_some(all)
}
