//! CONNECT through an HTTP proxy (RFC 9110 section 9.3.6).

use super::Target;
use super::wire::{self, Stream};
use crate::core::classify::{ProxyAnswer, Signal};

/// A proxy that asks for more schemes than this is not listened to any longer.
const MOST_SCHEMES: usize = 4;

/// Has the proxy lead on; `credentials` is the value of `Proxy-Authorization`.
///
/// # Errors
/// It does not, or answers nothing that makes sense.
pub(super) fn open(mut stream: Stream, target: &Target, credentials: Option<&str>) -> Result<Stream, Signal> {
    let authority = format!("{}:{}", target.host, target.port);
    let authorization = credentials.map_or_else(String::new, |c| format!("Proxy-Authorization: {c}\r\n"));
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{authorization}\r\n");
    let sent = stream.write_all(request.as_bytes()).and_then(|()| stream.flush());
    sent.map_err(|e| wire::signal(&e, false))?;
    let mut bytes = Vec::new();
    let end = wire::read_head(&mut stream, "the proxy", &mut bytes)?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let read = head.parse(&bytes[..end]);
    let Some(status) = read.ok().and(head.code) else {
        return Err(Signal::Broken { sent: false, detail: "the proxy does not speak HTTP".to_owned() });
    };
    if (200..300).contains(&status) {
        return Ok(stream);
    }
    let asks = head.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("proxy-authenticate"));
    let schemes = asks.filter_map(|h| scheme(h.value)).take(MOST_SCHEMES).collect();
    Err(Signal::ProxyRefused(ProxyAnswer { status: Some(status), schemes, with_credentials: credentials.is_some() }))
}

/// The first word of a challenge (RFC 9110 section 11.6.1).
fn scheme(challenge: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(challenge).ok()?;
    let word: String = text.trim().chars().take_while(char::is_ascii_alphanumeric).take(20).collect();
    Some(word).filter(|w| !w.is_empty())
}
