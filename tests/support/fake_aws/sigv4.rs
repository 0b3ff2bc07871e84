//! A real check of Signature Version 4 against the keys that the fake issued (AWS: "Create a signed AWS API request").

use chrono::{DateTime, NaiveDateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::state::{IssuedKey, State};
use super::wire::{Request, encode, pairs};

/// AWS refuses a signature whose date is further off than this.
const MAX_SKEW_SECONDS: i64 = 5 * 60;

/// Why a signature was not accepted; each service has its own name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No signature at all.
    Missing,
    /// A signature that lacks a part.
    Incomplete,
    /// A key id that the fake never issued, or a session token of another key.
    UnknownKey,
    /// The key has ended.
    Expired,
    /// The signature's date is too far from AWS's clock.
    Skewed,
    /// The signature does not fit the request.
    Mismatch,
}

/// The region that the signature is for.
pub(super) fn region(request: &Request) -> Option<String> {
    Some(Authorization::parse(request.header("authorization")?)?.region)
}

/// The key that signed this request, if its signature, session token, date and life are right.
pub(super) fn verify(state: &State, request: &Request) -> Result<IssuedKey, Refusal> {
    let header = request.header("authorization").ok_or(Refusal::Missing)?;
    let signature = Authorization::parse(header).ok_or(Refusal::Incomplete)?;
    let key = state.keys.get(&signature.key_id).ok_or(Refusal::UnknownKey)?;
    if request.header("x-amz-security-token") != Some(&key.session_token) {
        return Err(Refusal::UnknownKey);
    }
    let stamp = request.header("x-amz-date").ok_or(Refusal::Incomplete)?;
    let signed_at = parse_stamp(stamp).filter(|_| stamp.starts_with(&signature.date)).ok_or(Refusal::Incomplete)?;
    let canonical = canonical_request(request, &signature.signed_headers).ok_or(Refusal::Incomplete)?;
    let scope = format!("{}/{}/{}/aws4_request", signature.date, signature.region, signature.service);
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut signing_key = format!("AWS4{}", key.secret_access_key).into_bytes();
    for part in [&*signature.date, &*signature.region, &*signature.service, "aws4_request"] {
        signing_key = hmac(&signing_key, part.as_bytes());
    }
    if hex(&hmac(&signing_key, to_sign.as_bytes())) != signature.signature {
        return Err(Refusal::Mismatch);
    }
    if (state.now() - signed_at).num_seconds().abs() > MAX_SKEW_SECONDS {
        return Err(Refusal::Skewed);
    }
    if state.now() >= key.expires_at {
        return Err(Refusal::Expired);
    }
    Ok(key.clone())
}

/// The key id that a request claims to be signed with.
pub(super) fn claimed_key(request: &Request) -> Option<String> {
    Authorization::parse(request.header("authorization")?).map(|a| a.key_id)
}

struct Authorization {
    key_id: String,
    date: String,
    region: String,
    service: String,
    signed_headers: Vec<String>,
    signature: String,
}

impl Authorization {
    fn parse(header: &str) -> Option<Self> {
        let fields = header.strip_prefix("AWS4-HMAC-SHA256")?;
        let field = |name: &str| fields.split(',').find_map(|f| f.trim().strip_prefix(name)?.strip_prefix('='));
        let credential: Vec<&str> = field("Credential")?.split('/').collect();
        let [key_id, date, region, service, "aws4_request"] = credential[..] else { return None };
        Some(Self {
            key_id: key_id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers: field("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: field("Signature")?.to_owned(),
        })
    }
}

/// The canonical request; `None` if a header that must be signed is not, or the stated payload hash is wrong.
fn canonical_request(request: &Request, signed_headers: &[String]) -> Option<String> {
    if !["host", "x-amz-date"].iter().all(|must| signed_headers.iter().any(|h| h == must)) {
        return None;
    }
    let mut headers = String::new();
    for name in signed_headers {
        let values: Vec<String> = request.headers.get_all(name).iter().map(|v| trim(v.as_bytes())).collect();
        if values.is_empty() {
            return None;
        }
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    let payload = match request.header("x-amz-content-sha256") {
        Some("UNSIGNED-PAYLOAD") => "UNSIGNED-PAYLOAD".to_owned(),
        stated => Some(sha256(&request.body)).filter(|real| stated.is_none_or(|s| s == real))?,
    };
    let (method, path) = (&request.method, encode(&request.path, "/"));
    let (query, signed) = (canonical_query(&request.query), signed_headers.join(";"));
    Some(format!("{method}\n{path}\n{query}\n{headers}\n{signed}\n{payload}"))
}

/// Sorted by encoded name, then encoded value.
fn canonical_query(query: &str) -> String {
    let mut encoded: Vec<(String, String)> =
        pairs(query).iter().map(|(name, value)| (encode(name, ""), encode(value, ""))).collect();
    encoded.sort();
    encoded.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// A header value without outer blanks, inner runs of blanks made one.
fn trim(value: &[u8]) -> String {
    String::from_utf8_lossy(value).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn parse_stamp(stamp: &str) -> Option<DateTime<Utc>> {
    NaiveDateTime::parse_from_str(stamp, "%Y%m%dT%H%M%SZ").ok().map(|t| t.and_utc())
}

fn sha256(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    // An HMAC takes keys of every length, so the error does not exist.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
