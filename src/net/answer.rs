//! From the raw parts of an HTTP answer to [`Answer`]: what tells AWS from everybody else.
//!
//! Observation only, no meaning (see `core::classify`). No body is kept; of a success nothing at all is copied, since
//! it holds the tokens.

use std::time::Duration;

use http::Uri;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::core::classify::{Answer, BodyKind};
use crate::core::time::Timestamp;

/// Longest body that is read. AWS's answers are under 4 KiB; a captive portal's page may be long.
pub const MAX_BODY: usize = 256 * 1024;

/// An answer, reduced. `header` finds a header by its lower-case name; `date` is the answer's own.
#[must_use]
pub fn reduce<'a>(
    status: u16,
    header: impl Fn(&str) -> Option<&'a str>,
    body: Body<'_>,
    date: Option<Timestamp>,
) -> Answer {
    let body = inspect(status, header("content-type").unwrap_or_default(), body);
    let header_code = header("x-amzn-errortype").and_then(exception_name);
    let has = |name| header(name).is_some_and(|v| !v.is_empty());
    let aws_mark = REQUEST_IDS.iter().any(|n| has(n))
        || has("x-amzn-errortype")
        || body.code.as_deref().is_some_and(is_known_code);
    Answer {
        status,
        aws_mark,
        code: header_code.or(body.code),
        message: if aws_mark || body.kind == BodyKind::Html { body.message } else { None },
        body: body.kind,
        redirect_host: header("location").and_then(location_host),
        retry_after: header("retry-after").and_then(|v| retry_after(v, date)),
        server: header("via").or(header("server")).map(short),
    }
}

/// The headers in which AWS's services name the request.
const REQUEST_IDS: [&str; 4] = ["x-amzn-requestid", "x-amzn-request-id", "x-amz-request-id", "x-amz-requestid"];

/// A body, as far as it came.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Not read yet, or broken off.
    Unread,
    /// Whole.
    Read(&'a [u8]),
}

/// What a body says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Inspected {
    kind: BodyKind,
    code: Option<String>,
    message: Option<String>,
}

/// Looks at a body. Of a success nothing is copied: it holds the tokens.
fn inspect(status: u16, content_type: &str, body: Body<'_>) -> Inspected {
    let said_html = content_type.to_ascii_lowercase().contains("html");
    let bytes = match body {
        Body::Read(bytes) => bytes.trim_ascii(),
        Body::Unread if said_html => return of_kind(BodyKind::Html),
        // AWS answers in JSON, so an unfinished answer that does not say otherwise is taken for unfinished JSON.
        Body::Unread if content_type.is_empty() || content_type.contains("json") => return of_kind(BodyKind::JsonCut),
        Body::Unread => return of_kind(BodyKind::Other),
    };
    let success = (200..300).contains(&status);
    match bytes.first() {
        None => of_kind(BodyKind::Empty),
        Some(b'{' | b'[') if success => match serde_json::from_slice::<IgnoredAny>(bytes) {
            Ok(_) => of_kind(BodyKind::Json),
            Err(_) => of_kind(BodyKind::JsonCut),
        },
        Some(b'{' | b'[') => match serde_json::from_slice::<Value>(bytes) {
            Ok(document) => error_document(&document),
            Err(_) => of_kind(BodyKind::JsonCut),
        },
        _ if said_html || looks_like_html(bytes) => {
            Inspected { kind: BodyKind::Html, code: None, message: title(bytes) }
        }
        _ => of_kind(BodyKind::Other),
    }
}

fn of_kind(kind: BodyKind) -> Inspected {
    Inspected { kind, ..Inspected::default() }
}

/// The error documents of the JSON protocols and of OAuth.
fn error_document(document: &Value) -> Inspected {
    let text = |keys: &[&str]| keys.iter().find_map(|k| document.get(k)?.as_str());
    Inspected {
        kind: BodyKind::Json,
        code: text(&["__type", "code", "error"]).and_then(exception_name),
        message: text(&["error_description", "message", "Message", "errorMessage"])
            .filter(|m| !m.is_empty())
            .map(|m| m.chars().take(200).collect()),
    }
}

fn head(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(8192)]).into_owned()
}

fn looks_like_html(bytes: &[u8]) -> bool {
    let head = head(bytes).to_ascii_lowercase();
    head.contains("<html") || head.contains("<!doctype html")
}

/// The page's title on one line.
fn title(bytes: &[u8]) -> Option<String> {
    let head = head(bytes);
    let lower = head.to_ascii_lowercase();
    let from = lower.find("<title")?;
    let from = from + lower.get(from..)?.find('>')? + 1;
    let to = from + lower.get(from..)?.find("</title")?;
    let words: Vec<_> = head.get(from..to)?.split_whitespace().collect();
    let title: String = words.join(" ").chars().take(80).collect();
    Some(title).filter(|t| !t.is_empty())
}

/// A code in its exception form, from any of `InvalidGrantException:http://...`,
/// `com.amazonaws.sso#InvalidGrantException` and `invalid_grant`.
fn exception_name(raw: &str) -> Option<String> {
    let name = raw.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default().trim();
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.len() > 80 || !name.chars().all(fine) {
        return None;
    }
    if name == "server_error" {
        return Some("InternalServerException".to_owned());
    }
    if name.contains(|c: char| c.is_ascii_uppercase()) {
        return Some(name.to_owned());
    }
    let mut pascal = String::new();
    for word in name.split('_') {
        pascal.extend(word.chars().next().map(|c| c.to_ascii_uppercase()));
        pascal.extend(word.chars().skip(1));
    }
    Some(pascal + "Exception")
}

/// Whether SSO OIDC's or the portal's service model has this error.
fn is_known_code(code: &str) -> bool {
    const KNOWN: [&str; 17] = [
        "AccessDeniedException",
        "AuthorizationPendingException",
        "ExpiredTokenException",
        "InternalServerException",
        "InvalidClientException",
        "InvalidClientMetadataException",
        "InvalidGrantException",
        "InvalidRedirectUriException",
        "InvalidRequestException",
        "InvalidRequestRegionException",
        "InvalidScopeException",
        "ResourceNotFoundException",
        "SlowDownException",
        "TooManyRequestsException",
        "UnauthorizedClientException",
        "UnauthorizedException",
        "UnsupportedGrantTypeException",
    ];
    KNOWN.contains(&code)
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn location_host(value: &str) -> Option<String> {
    let uri: Uri = value.trim().parse().ok()?;
    uri.host().map(|h| h.to_ascii_lowercase())
}

/// Seconds, or a date relative to the answer's own (RFC 9110 section 10.2.3); at most a day.
fn retry_after(value: &str, date: Option<Timestamp>) -> Option<Duration> {
    const MOST: Duration = Duration::from_secs(86_400);
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Timestamp::parse_http_date(value)?.since(date?),
    };
    Some(wait.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_take_one_form() {
        for (raw, name) in [
            ("InvalidGrantException", "InvalidGrantException"),
            ("InvalidGrantException:http://internal.amazon.com/coral/com.amazonaws.sso/", "InvalidGrantException"),
            ("com.amazonaws.switchboard.portal#UnauthorizedException", "UnauthorizedException"),
            ("invalid_grant", "InvalidGrantException"),
            ("slow_down", "SlowDownException"),
            ("server_error", "InternalServerException"),
        ] {
            assert_eq!(exception_name(raw).as_deref(), Some(name), "{raw}");
        }
        for bad in ["", ":", "#", "a b", "<html>", "\u{e9}"] {
            assert_eq!(exception_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn bodies_are_told_apart() {
        use BodyKind as B;
        for (status, content_type, body, kind) in [
            (200, "application/json", "", B::Empty),
            (200, "application/json", " \n", B::Empty),
            (200, "", "{}", B::Json),
            (200, "text/html", "{\"a\":1}", B::Json),
            (200, "application/json", "{\"accessToken\":\"abc", B::JsonCut),
            (400, "application/json", "{\"error\":\"invalid_gr", B::JsonCut),
            (200, "application/json", "<!DOCTYPE HTML><p>", B::Html),
            (200, "", "<?xml version='1.0'?><HTML>", B::Html),
            (200, "text/html", "plain words", B::Html),
            (200, "text/plain", "plain words", B::Other),
            (200, "", "<?xml version='1.0'?><Error/>", B::Other),
            (200, "", "true", B::Other),
        ] {
            assert_eq!(inspect(status, content_type, Body::Read(body.as_bytes())).kind, kind, "{body}");
        }
    }

    #[test]
    fn hostile_bodies_are_only_bodies() {
        let deep = "[".repeat(100_000);
        assert_eq!(inspect(400, "", Body::Read(deep.as_bytes())).kind, BodyKind::JsonCut);
        assert_eq!(inspect(200, "", Body::Read(deep.as_bytes())).kind, BodyKind::JsonCut);
        for body in ["<html><title", "<html><title>", "<html></title><title>", "<html>\u{130}<title>\u{130}</title>"] {
            let _ = inspect(403, "text/html", Body::Read(body.as_bytes()));
        }
        let cut_in_a_character = [b"<html><title>".as_slice(), &"\u{20ac}".repeat(3000).into_bytes()].concat();
        let _ = inspect(403, "text/html", Body::Read(&cut_in_a_character));
        assert_eq!(inspect(400, "", Body::Read(b"{\"error\":{\"a\":1},\"message\":[]}")).code, None);
    }

    #[test]
    fn titles_are_one_line() {
        let page = b"<html><head><TITLE lang=en>\n  Sign in\n to Hotel </TITLE>";
        assert_eq!(inspect(200, "text/html", Body::Read(page)).message.as_deref(), Some("Sign in to Hotel"));
    }

    #[test]
    fn retry_after_is_relative_to_the_answer() {
        let date = Timestamp::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(retry_after("7", None), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", date), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", date), Some(Duration::ZERO));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", None), None);
        assert_eq!(retry_after("99999999999999", None), Some(Duration::from_secs(86_400)));
        assert_eq!(retry_after("-1", date), None);
    }

    #[test]
    fn a_relative_redirect_names_no_host() {
        assert_eq!(location_host("https://Portal.example/login?u=1").as_deref(), Some("portal.example"));
        assert_eq!(location_host("/login"), None);
        assert_eq!(location_host("\u{1}"), None);
    }
}
