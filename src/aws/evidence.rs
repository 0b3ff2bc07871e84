//! From an SDK error and what was seen on the wire to [`Signal`]: observation only, no meaning (see `core::classify`).
//!
//! The SDK wraps a cause in up to eight errors. The chain is walked over `source()` and, for [`io::Error`], over its
//! payload, which `source()` skips; causes are then told by type, not by text. The one exception are refusals of a
//! proxy's CONNECT: their type is private, so their text is read, and a test holds it against the real thing.

use std::error::Error;
use std::io;

use aws_smithy_runtime_api::client::result::ConnectorError;
use rustls::CertificateError;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::http::SdkError;
use super::trace::Seen;
use crate::core::classify::{BodyKind, CertificateFault, Signal};

/// What the failure of a call showed. `proxy` is the proxy in use, for people.
pub(super) fn signal<E>(error: &SdkError<E>, seen: &Seen, proxy: Option<&str>) -> Signal {
    match error {
        SdkError::ConstructionFailure(_) => Signal::Unusable {
            detail: "the request to AWS could not be built".to_owned(),
            fix: "check the profile's sso_ settings".to_owned(),
        },
        // Connecting has a shorter deadline of its own, so the request was on its way.
        SdkError::TimeoutError(_) => Signal::TimedOut { sent: true },
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(error) => connection(error, proxy),
            None => Signal::Broken { sent: true, detail: "the request could not be sent".to_owned() },
        },
        SdkError::ResponseError(_) | SdkError::ServiceError(_) => match &seen.answer {
            Some(answer) => Signal::Answer(answer.clone()),
            None => Signal::Broken { sent: true, detail: "the answer could not be read".to_owned() },
        },
        _ => Signal::Broken { sent: true, detail: "the call failed in an unknown way".to_owned() },
    }
}

/// A call that got no answer.
fn connection(error: &ConnectorError, proxy: Option<&str>) -> Signal {
    let chain: Vec<_> = chain(error).collect();
    let connecting = chain
        .iter()
        .filter_map(|e| e.downcast_ref::<hyper_util::client::legacy::Error>())
        .any(hyper_util::client::legacy::Error::is_connect);
    let sent = !connecting;
    let tunnel = chain.iter().find_map(|e| e.to_string().strip_prefix("tunnel error: ").map(str::to_owned));
    let words = words(&chain, proxy.filter(|_| tunnel.is_some()));

    if error.is_timeout() {
        return Signal::TimedOut { sent };
    }
    if let Some(tls) = chain.iter().find_map(|e| e.downcast_ref::<rustls::Error>()) {
        return match tls {
            rustls::Error::InvalidCertificate(fault) => Signal::Certificate(certificate_fault(fault)),
            _ if sent => Signal::Broken { sent, detail: words },
            other => Signal::Tls { detail: other.to_string() },
        };
    }
    match tunnel.as_deref() {
        Some("proxy authorization required") => return Signal::ProxyRefused { status: Some(407) },
        Some("unsuccessful" | "proxy response headers too long") => return Signal::ProxyRefused { status: None },
        _ => {}
    }
    let kind = chain.iter().rev().find_map(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind);
    match kind {
        Some(io::ErrorKind::TimedOut) => Signal::TimedOut { sent },
        Some(kind) if connecting && (is_unreachable(kind) || is_lookup(&chain)) => {
            Signal::Unreachable { detail: words }
        }
        _ => Signal::Broken { sent, detail: words },
    }
}

/// The error and its causes, outermost first; bounded, should one ever be its own cause.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let next = |e: &&'a (dyn Error + 'static)| next_cause(*e);
    std::iter::successors(Some(error), next).take(32)
}

fn next_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

/// The innermost cause in its own words, without the operating system's number and full stop.
fn words(chain: &[&(dyn Error + 'static)], proxy: Option<&str>) -> String {
    let text = chain.last().map(ToString::to_string).unwrap_or_default();
    let text = text.split(" (os error").next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    match proxy {
        Some(proxy) => format!("the proxy {proxy}: {text}"),
        None => text,
    }
}

const fn is_unreachable(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::ConnectionRefused
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::NetworkDown
            | K::AddrNotAvailable
            | K::PermissionDenied
            | K::NotFound
    )
}

/// A failed name lookup has no kind of its own in the standard library; hyper names the step.
fn is_lookup(chain: &[&(dyn Error + 'static)]) -> bool {
    chain.iter().any(|e| e.to_string() == "dns error")
}

fn certificate_fault(fault: &CertificateError) -> CertificateFault {
    use CertificateError as C;
    match fault {
        C::UnknownIssuer => CertificateFault::UnknownIssuer,
        C::NotValidForName | C::NotValidForNameContext { .. } => CertificateFault::NameMismatch,
        C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. } => {
            CertificateFault::NotValidNow
        }
        other => CertificateFault::Other(other.to_string()),
    }
}

/// A body, as far as it came.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    /// Not read yet, or broken off.
    Unread,
    /// Whole.
    Read(&'a [u8]),
}

/// What a body says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Inspected {
    pub(super) kind: BodyKind,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

/// Looks at a body. Of a success nothing is copied: it holds the tokens.
pub(super) fn inspect(status: u16, content_type: &str, body: Body<'_>) -> Inspected {
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
pub(super) fn exception_name(raw: &str) -> Option<String> {
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
pub(super) fn is_known_code(code: &str) -> bool {
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
}
