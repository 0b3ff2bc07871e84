//! One HTTP request and one answer as plain values, and the percent-encoding that both sides of AWS speak.

use std::collections::BTreeMap;

use axum::body::Bytes;
use hyper::{HeaderMap, Method};
use serde_json::Value;

/// A request, read to its end.
#[derive(Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// The path as it came over the wire, still encoded: the signature covers this form.
    pub path: String,
    /// The query as it came over the wire, without `?`.
    pub query: String,
    /// All headers; names are lower case.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Request {
    /// A header's value, if it is there and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// A decoded query parameter.
    pub fn query(&self, name: &str) -> Option<String> {
        form(&self.query).remove(name)
    }

    /// The body as JSON; `Null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// An answer that is still free to be spoiled by a fault.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer with a content type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type".to_owned(), content_type.to_owned())], body: body.into() }
    }

    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// The same with one more header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A query string or form body as a map; a repeated name keeps its last value.
pub fn form(text: &str) -> BTreeMap<String, String> {
    pairs(text).into_iter().collect()
}

/// A query string or form body as decoded pairs, in order.
pub fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |part: &str| decode(&part.replace('+', " "));
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// Percent-encodes everything but RFC 3986's unreserved characters and those in `keep` (SigV4's `UriEncode`).
pub fn encode(text: &str, keep: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c) || keep.contains(c);
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match char::from(byte) {
            c if c.is_ascii() && plain(c) => out.push(c),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Undoes percent-encoding; what is not a valid escape stays as it is.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
