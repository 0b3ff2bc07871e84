//! From an SDK error and what was seen on the wire to [`Signal`]: observation only, no meaning (see `core::classify`).
//!
//! The SDK wraps a cause in up to eight errors. The chain is walked over `source()` and, for [`io::Error`], over its
//! payload, which `source()` skips; causes are then told by type, not by text. The one exception are refusals of a
//! proxy's CONNECT: their type is private, so their text is read, and a test holds it against the real thing.

use std::error::Error;
use std::io;

use aws_smithy_runtime_api::client::result::ConnectorError;

use super::http::SdkError;
use super::trace::Seen;
use crate::core::classify::{ProxyAnswer, Signal};
use crate::net::certificate::fault as certificate_fault;
use crate::net::probe::is_unreachable;

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
            rustls::Error::InvalidCertificate(fault) => {
                Signal::Certificate { fault: certificate_fault(fault), issuer: None }
            }
            _ if sent => Signal::Broken { sent, detail: words },
            other => Signal::Tls { detail: other.to_string() },
        };
    }
    match tunnel.as_deref() {
        Some("proxy authorization required") => return refused(Some(407)),
        Some("unsuccessful" | "proxy response headers too long") => return refused(None),
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

fn refused(status: Option<u16>) -> Signal {
    Signal::ProxyRefused(ProxyAnswer { status, ..ProxyAnswer::default() })
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

/// A failed name lookup has no kind of its own in the standard library; hyper names the step.
fn is_lookup(chain: &[&(dyn Error + 'static)]) -> bool {
    chain.iter().any(|e| e.to_string() == "dns error")
}
