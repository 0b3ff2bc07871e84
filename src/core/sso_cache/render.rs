//! Writing a token into a document that others own too.
//!
//! What we do not know goes through as text, never as a value: a number of any size, a string with a lone surrogate or a
//! nesting of any depth comes out as it went in. No copy of a secret is left behind in memory.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::MAX_BYTES;
use crate::core::credential::SsoToken;
use crate::core::source::SsoSession;

/// The text to write for `token`: the members of `previous` that we do not know stay to the letter, as does the order of
/// all; a refresh token and registration of `previous` stay when the token has none (AWS sends none when it does not
/// rotate).
///
/// `previous` that is no JSON object counts as absent, and so does one with so much in it that nobody would read the
/// result ([`MAX_BYTES`]): the token alone is better than none. The buffer is wiped when dropped.
#[must_use]
pub fn render(previous: Option<&str>, token: &SsoToken, session: &SsoSession) -> Zeroizing<String> {
    let previous = previous.map(|text| text.trim_start_matches('\u{feff}')).unwrap_or_default();
    let text = serde_json::from_str::<Members<'_>>(previous).unwrap_or_default().with(token, session).text();
    if text.len() <= MAX_BYTES { text } else { Members::default().with(token, session).text() }
}

/// The keys that we read or write.
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

/// The members of a document in their order.
#[derive(Default)]
struct Members<'a>(Vec<(String, Member<'a>)>);

enum Member<'a> {
    /// JSON as it stands in the document before.
    Raw(&'a RawValue),
    /// A text of ours.
    Text(Cow<'a, str>),
}

impl<'a> Members<'a> {
    fn with(mut self, token: &'a SsoToken, session: &'a SsoSession) -> Self {
        self.set("startUrl", &session.start_url);
        self.set("region", &session.region);
        self.set("accessToken", token.access_token.expose());
        self.set("expiresAt", token.expires_at.to_string());
        if let Some(grant) = &token.refresh {
            self.set("clientId", &grant.client_id);
            self.set("clientSecret", grant.client_secret.expose());
            if let Some(end) = grant.registration_expires_at {
                self.set("registrationExpiresAt", end.to_string());
            }
            self.set("refreshToken", grant.refresh_token.expose());
        }
        // What nobody could read again would spoil the file.
        self.0.retain(|(key, member)| !OURS.contains(&key.as_str()) || member.is_text());
        self
    }

    fn set(&mut self, key: &str, value: impl Into<Cow<'a, str>>) {
        self.put(key.to_owned(), Member::Text(value.into()));
    }

    fn put(&mut self, key: String, value: Member<'a>) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// A buffer that grows leaves copies behind: this one has room for everything, each byte of a text as `\u0000`.
    fn text(&self) -> Zeroizing<String> {
        let value = |member: &Member<'_>| match member {
            Member::Raw(raw) => raw.get().len(),
            Member::Text(text) => 6 * text.len(),
        };
        let room = |(key, member): &(String, Member<'_>)| 6 * key.len() + value(member) + "\"\":\"\",".len();
        let mut bytes = Vec::with_capacity(self.0.iter().map(room).sum::<usize>() + "{}".len());
        // Texts, and what was JSON before, always go into memory.
        let _ = serde_json::to_writer(&mut bytes, self);
        Zeroizing::new(String::from_utf8(bytes).unwrap_or_default())
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, member)| (key, member)))
    }
}

impl Serialize for Member<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Raw(raw) => raw.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// Of a key of ours that is there twice, the last value is taken, as the AWS tools do.
impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                while let Some((key, raw)) = map.next_entry::<String, &RawValue>()? {
                    match OURS.contains(&key.as_str()) {
                        true => members.put(key, Member::Raw(raw)),
                        false => members.0.push((key, Member::Raw(raw))),
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl Member<'_> {
    fn is_text(&self) -> bool {
        match self {
            Self::Raw(raw) => serde_json::from_str::<String>(raw.get()).map(Zeroizing::new).is_ok(),
            Self::Text(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;
    use crate::core::secret::Secret;
    use crate::core::source::Endpoints;
    use crate::core::sso_cache::parse;
    use crate::core::time::Timestamp;

    const MODIFIED: Timestamp = Timestamp::from_secs(1_700_000_000);

    const BOTOCORE: &str = r#"{"startUrl": "https://corp.awsapps.com/start", "region": "eu-west-1",
        "accessToken": "at", "expiresAt": "2026-11-03T10:00:00Z", "clientId": "id", "clientSecret": "cs",
        "registrationExpiresAt": "2027-01-01T00:00:00Z", "refreshToken": "rt"}"#;

    fn session() -> SsoSession {
        SsoSession {
            name: Some("corp".to_owned()),
            start_url: "https://corp.awsapps.com/start".to_owned(),
            region: "eu-west-1".to_owned(),
            scopes: Vec::new(),
            endpoints: Endpoints::default(),
        }
    }

    fn keys(text: &str) -> Vec<String> {
        serde_json::from_str::<Map<String, Value>>(text).unwrap().keys().cloned().collect()
    }

    #[test]
    fn what_is_written_reads_back() {
        let token = parse(BOTOCORE, MODIFIED).unwrap();
        let text = render(None, &token, &session());
        assert_eq!(parse(&text, MODIFIED), Ok(token));
        assert!(text.contains(r#""expiresAt":"2026-11-03T10:00:00Z""#), "whole seconds with Z");
        assert!(text.contains(r#""startUrl":"https://corp.awsapps.com/start""#));
        assert!(text.contains(r#""region":"eu-west-1""#));
    }

    #[test]
    fn unknown_keys_and_the_order_stay() {
        let previous = r#"{"zebra":{"deep":[1,null]},"refreshToken":"old","accessToken":"old","region":"x",
            "expiresAt":"2020-06-17T10:02:08UTC","extra":1.50,"clientId":"c0","clientSecret":"s0"}"#;
        let token = parse(BOTOCORE, MODIFIED).unwrap();
        let text = render(Some(previous), &token, &session());
        assert_eq!(&keys(&text)[..8], &keys(previous)[..]);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["zebra"], serde_json::json!({"deep": [1, null]}));
        assert_eq!((&value["refreshToken"], &value["clientId"]), (&Value::from("rt"), &Value::from("id")));
        assert!(!text.contains("old"));
    }

    #[test]
    fn the_old_refresh_token_stays_when_none_came_back() {
        let token = SsoToken { refresh: None, ..parse(BOTOCORE, MODIFIED).unwrap() };
        let renewed = SsoToken { access_token: "at2".into(), ..token };
        let back = parse(&render(Some(BOTOCORE), &renewed, &session()), MODIFIED).unwrap();
        assert_eq!(back.access_token.expose(), "at2");
        assert_eq!(back.refresh.unwrap().refresh_token.expose(), "rt");
        assert_eq!(keys(&render(Some("torn {"), &renewed, &session())).len(), 4);
    }

    #[test]
    fn what_no_value_can_hold_stays_to_the_letter() {
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        for value in ["1e400", "123456789012345678901234567890", "1.50", r#""\ud800""#, r#"{"a":1,"a" : 2}"#, &deep] {
            let token = parse(BOTOCORE, MODIFIED).unwrap();
            let previous = format!(r#"{{"x":{value},"accessToken":"old","x":7,"expiresAt":"2026-01-01T00:00:00Z"}}"#);
            assert!(parse(&previous, MODIFIED).is_ok(), "{value}: a token");
            let text = render(Some(&previous), &token, &session());
            let start = format!(r#"{{"x":{value},"accessToken":"at","x":7,"expiresAt":"2026-11-03T10:00:00Z","#);
            assert!(text.starts_with(&start), "{}", &text[..text.len().min(300)]);
        }
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        let token = SsoToken { refresh: None, ..parse(BOTOCORE, MODIFIED).unwrap() };
        for ours in [
            r#""refreshToken":5"#,
            r#""clientId":[],"clientId":{}"#,
            r#""refreshToken":"a","refreshToken":"b""#,
            r#""registrationExpiresAt":"\ud800""#,
        ] {
            let previous = format!("{{{ours}}}");
            assert!(parse(&render(Some(&previous), &token, &session()), MODIFIED).is_ok(), "{ours}");
        }
        let crowded = format!(r#"{{"x":"{}"}}"#, "x".repeat(MAX_BYTES - 10));
        assert_eq!(keys(&render(Some(&crowded), &token, &session())).len(), 4, "too much for us, and for others");
    }

    #[test]
    fn the_buffer_never_moves() {
        let mut token = parse(BOTOCORE, MODIFIED).unwrap();
        token.access_token = Secret::new("\u{1}\u{7f}\"\\ü".repeat(500));
        let session = session();
        let text = serde_json::from_str::<Members<'_>>(BOTOCORE).unwrap().with(&token, &session).text();
        let room = 6 * token.access_token.expose().len();
        assert!((room..room + 4096).contains(&text.capacity()), "{} for {}", text.capacity(), text.len());
        assert_eq!(parse(&text, MODIFIED), Ok(token));
    }
}
