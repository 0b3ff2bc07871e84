//! One harmless request, and whether AWS answered it.

use super::Target;
use super::wire::{self, Stream};
use crate::core::classify::{Answer, Signal};
use crate::core::time::Timestamp;
use crate::net::answer::{self, Body, MAX_BODY};

/// A request without any secret that AWS refuses as only AWS does.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// The path.
    pub path: String,
    /// The body, with its type.
    pub body: Option<(&'static str, &'static str)>,
}

/// What came back.
pub(super) struct Heard {
    pub(super) answer: Answer,
    pub(super) clock_offset_ms: Option<i64>,
}

impl Heard {
    /// AWS refuses the request in its own way; that is the success that was hoped for.
    pub(super) fn is_aws(&self) -> bool {
        self.answer.aws_mark && matches!(self.answer.status, 200..=299 | 400..=406 | 408..=428 | 430..=499)
    }
}

/// Asks, and reads the answer. `now` is what its date is compared with.
///
/// # Errors
/// No HTTP answer came.
pub(super) fn ask(mut stream: Stream, target: &Target, now: Timestamp) -> Result<Heard, Signal> {
    let Request { method, path, body } = &target.request;
    let host = if matches!((target.https, target.port), (true, 443) | (false, 80)) {
        target.host.clone()
    } else {
        format!("{}:{}", target.host, target.port)
    };
    let content = body.map_or_else(String::new, |(content_type, body)| {
        format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len())
    });
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nConnection: close\r\n{content}\r\n");
    let request = head + body.map_or("", |(_, body)| body);
    let sent = stream.write_all(request.as_bytes()).and_then(|()| stream.flush());
    sent.map_err(|e| wire::signal(&e, false))?;
    let mut bytes = Vec::new();
    let end = wire::read_head(&mut stream, "who answered", &mut bytes)?;
    let whole = read_body(&mut stream, &mut bytes, end);
    read(&bytes, end, whole, now)
        .ok_or_else(|| Signal::Broken { sent: true, detail: "the answer is no HTTP".to_owned() })
}

/// Reads on while the body is not whole; whether it came to be. It may have no length and end with the connection.
fn read_body(stream: &mut Stream, bytes: &mut Vec<u8>, head: usize) -> bool {
    let length = length_of(&bytes[..head]);
    let mut buffer = [0; 8192];
    while length.is_none_or(|length| bytes.len() < head + length) && bytes.len() < head + MAX_BODY {
        match stream.read(&mut buffer) {
            Ok(0) => return length.is_none(),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            // TLS that ends without saying so.
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return length.is_none(),
            Err(_) => return false,
        }
    }
    true
}

fn length_of(head: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    parsed.parse(head).ok()?;
    header(parsed.headers, "content-length")?.trim().parse().ok()
}

fn header<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(found.value).ok()
}

fn read(bytes: &[u8], end: usize, whole: bool, now: Timestamp) -> Option<Heard> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    head.parse(&bytes[..end]).ok()?;
    let status = head.code?;
    let find = |name: &str| header(head.headers, name);
    let date = find("date").and_then(Timestamp::parse_http_date);
    let chunked = find("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked"));
    let body = if chunked { unchunk(&bytes[end..]) } else { bytes[end..].to_vec() };
    let body = if whole { Body::Read(&body) } else { Body::Unread };
    let answer = answer::reduce(status, find, body, date);
    // Whole seconds: the half of one is the best guess.
    let clock_offset_ms = date.map(|date| date.shifted(500).offset_from(now));
    Some(Heard { answer, clock_offset_ms })
}

/// The chunks, as far as they are whole (RFC 9112 section 7.1).
fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(bytes) {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let Some(chunk) = bytes.get(at..at.saturating_add(size)) else { break };
        body.extend_from_slice(chunk);
        bytes = bytes.get(at + size + 2..).unwrap_or_default();
        if size == 0 {
            break;
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Heard {
        let end = text.find("\r\n\r\n").unwrap() + 4;
        read(text.as_bytes(), end, true, Timestamp::from_secs(784_111_777)).unwrap()
    }

    #[test]
    fn only_aws_answers_as_aws_does() {
        let refused =
            "HTTP/1.1 400 Bad Request\r\nx-amzn-requestid: 1\r\nDate: Sun, 06 Nov 1994 08:50:37 GMT\r\n\r\n{}";
        assert!(heard(refused).is_aws());
        assert_eq!(heard(refused).clock_offset_ms, Some(60_500));
        assert!(heard("HTTP/1.1 400 Bad Request\r\n\r\n{\"error\":\"invalid_request\"}").is_aws());
        assert!(!heard("HTTP/1.1 200 OK\r\n\r\n{}").is_aws());
        assert!(!heard("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html>").is_aws());
        for status in [302, 407, 429, 500, 503, 511] {
            assert!(!heard(&format!("HTTP/1.1 {status} X\r\nx-amzn-requestid: 1\r\n\r\n")).is_aws(), "{status}");
        }
    }

    #[test]
    fn chunks_are_put_together() {
        let text = "HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"error\":\r\n12\r\n\"invalid_request\"}\r\n0\r\n\r\n";
        assert!(heard(text).is_aws());
        assert_eq!(unchunk(b"5\r\nab"), b"");
        assert_eq!(unchunk(b"zz"), b"");
        assert_eq!(unchunk(b"ffffffffffffffff\r\nab"), b"");
    }
}
