//! One HTTP/1.1 request and its answer over any byte stream, blocking, within bounds.
//!
//! The server is ours, so this is small on purpose: `Connection: close`, an answer with `Content-Length` or one that
//! ends with the connection; chunked answers are refused. Buffers may hold credentials: they are wiped, and never grow
//! in place (which would leave a copy behind).

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use zeroize::Zeroizing;

use super::client::{ClientError, Response};
use crate::api::v1::MAX_HEAD;
use crate::api::version::Version;
use crate::platform::clock::Deadline;

/// A byte stream whose reads can be bounded in time.
pub trait Connection: Read + Write {
    /// Lets later reads fail with [`ErrorKind::WouldBlock`] or [`ErrorKind::TimedOut`] after `left`.
    ///
    /// # Errors
    /// The operating system's.
    fn limit(&mut self, left: Duration) -> io::Result<()>;
}

/// Fits a whole credentials answer, so that one read is the rule.
const FIRST_BUFFER: usize = 8 * 1024;
/// The most headers that an answer may have.
const MAX_HEADERS: usize = 32;

/// The request as it goes over the wire.
///
/// # Errors
/// [`ClientError::Protocol`] when a part holds a character that would end it early.
pub fn render(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<u8>, ClientError> {
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    let names = headers.iter().all(|(name, _)| plain(name) && !name.contains(':'));
    let values = headers.iter().all(|(_, value)| value.bytes().all(|b| b.is_ascii_graphic() || b == b' '));
    if !plain(method) || !plain(target) || !names || !values {
        return Err(protocol("the request holds characters that must be percent-encoded"));
    }
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    if !body.is_empty() || method != "GET" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(body);
    Ok(request)
}

/// Sends `request` and reads the answer: a head of at most [`MAX_HEAD`] and a body of at most `max_body` bytes, all
/// before `deadline`.
///
/// # Errors
/// [`ClientError::TimedOut`] and [`ClientError::Protocol`].
pub fn run(
    connection: &mut impl Connection,
    request: &[u8],
    max_body: usize,
    deadline: Deadline,
) -> Result<Response, ClientError> {
    match connection.write_all(request) {
        Ok(()) => {}
        // It may have answered and hung up without reading all: the answer says why.
        Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        Err(e) => return Err(explain(&e)),
    }
    let mut buffer = Zeroizing::new(Vec::with_capacity(FIRST_BUFFER));
    let head = loop {
        fill(connection, &mut buffer, deadline)?;
        if let Some(head) = Head::parse(&buffer)? {
            break head;
        }
        if buffer.len() >= MAX_HEAD {
            return Err(protocol("the answer's head is too long"));
        }
    };
    let start = buffer.get(head.length..).unwrap_or_default();
    let body = read_body(connection, start, head.body, max_body, deadline)?;
    Ok(Response { status: head.status, agent: head.agent, body })
}

fn read_body(
    connection: &mut impl Connection,
    start: &[u8],
    length: Option<usize>,
    max_body: usize,
    deadline: Deadline,
) -> Result<Zeroizing<Vec<u8>>, ClientError> {
    let too_long = || protocol("the answer's body is too long");
    if length.unwrap_or(start.len()) > max_body {
        return Err(too_long());
    }
    let mut body = Zeroizing::new(Vec::with_capacity(length.unwrap_or(FIRST_BUFFER).max(start.len())));
    body.extend_from_slice(start);
    while length.is_none_or(|length| body.len() < length) {
        match fill(connection, &mut body, deadline) {
            Ok(()) => {}
            Err(ClientError::Absent) if length.is_none() => break,
            Err(e) => return Err(e),
        }
        if body.len() > max_body {
            return Err(too_long());
        }
    }
    if let Some(length) = length {
        body.truncate(length);
    }
    Ok(body)
}

/// Reads once, into a buffer that is made larger by copying and wiping. The end of the connection is
/// [`ClientError::Absent`]: whoever listened was killed, or went away without finishing what it said.
fn fill(
    connection: &mut impl Connection,
    buffer: &mut Zeroizing<Vec<u8>>,
    deadline: Deadline,
) -> Result<(), ClientError> {
    if buffer.len() == buffer.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity((buffer.capacity() * 2).max(FIRST_BUFFER)));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    let (filled, room) = (buffer.len(), buffer.capacity());
    buffer.resize(room, 0);
    let result = read_once(connection, buffer.get_mut(filled..).unwrap_or_default(), deadline);
    buffer.truncate(filled + *result.as_ref().unwrap_or(&0));
    if result? == 0 { Err(ClientError::Absent) } else { Ok(()) }
}

fn read_once(connection: &mut impl Connection, room: &mut [u8], deadline: Deadline) -> Result<usize, ClientError> {
    loop {
        let left = deadline.remaining().ok_or(ClientError::TimedOut)?;
        connection.limit(left).map_err(|e| explain(&e))?;
        match connection.read(room) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return Ok(0),
            other => return other.map_err(|e| explain(&e)),
        }
    }
}

/// What the head of an answer says.
struct Head {
    status: u16,
    /// Bytes of the head, the empty line included.
    length: usize,
    /// From `Server`.
    agent: Option<Version>,
    /// `Content-Length`; `None`: to the end of the connection.
    body: Option<usize>,
}

impl Head {
    /// `None`: more is needed.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, ClientError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(e) => return Err(protocol(&format!("the answer is not HTTP/1.1: {e}"))),
        };
        let (mut body, mut agent) = (None, None);
        for header in response.headers.iter() {
            if header.name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(protocol("the answer is chunked, which no agent does"));
            }
            if header.name.eq_ignore_ascii_case("server") {
                agent = std::str::from_utf8(header.value).ok().and_then(Version::of_server);
            }
            if header.name.eq_ignore_ascii_case("content-length") {
                let digits = std::str::from_utf8(header.value).unwrap_or_default().trim();
                let number = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
                let number = number.ok_or_else(|| protocol("the answer's length is no number"))?;
                if body.is_some_and(|other| other != number) {
                    return Err(protocol("the answer has two lengths"));
                }
                body = Some(number);
            }
        }
        let status = response.code.unwrap_or_default();
        Ok(Some(Self { status, length, agent, body: if status == 204 { Some(0) } else { body } }))
    }
}

fn protocol(what: &str) -> ClientError {
    ClientError::Protocol { what: what.to_owned() }
}

fn explain(error: &io::Error) -> ClientError {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => ClientError::TimedOut,
        _ => protocol(&format!("the connection broke: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the answer in pieces of a given size and remembers what was sent.
    struct Script {
        answer: Vec<u8>,
        piece: usize,
        at: usize,
        sent: Vec<u8>,
    }

    impl Connection for Script {
        fn limit(&mut self, _: Duration) -> io::Result<()> {
            Ok(())
        }
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let rest = &self.answer[self.at..];
            let n = rest.len().min(self.piece).min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            self.at += n;
            Ok(n)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.sent.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn answer(text: &str, piece: usize, max_body: usize) -> Result<Response, ClientError> {
        let mut script = Script { answer: text.as_bytes().to_vec(), piece, at: 0, sent: Vec::new() };
        let request = render("GET", "/v1/x", &[], b"").unwrap();
        let response = run(&mut script, &request, max_body, Deadline::after(Duration::from_secs(60)));
        assert_eq!(script.sent, request);
        response
    }

    #[test]
    fn an_answer_is_read_however_it_is_cut() {
        let body = "b".repeat(20_000);
        for (text, status, wanted) in [
            (format!("HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n{body}"), 200, body.as_str()),
            (format!("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{{}}{body}"), 202, "{}"),
            (format!("HTTP/1.1 503 X\r\nConnection: close\r\n\r\n{body}"), 503, body.as_str()),
            ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), 204, ""),
        ] {
            for piece in [1, 7, 8191, 1 << 20] {
                let response = answer(&text, piece, 20_000).unwrap();
                assert_eq!((response.status, &response.body[..]), (status, wanted.as_bytes()), "{piece}");
            }
        }
    }

    #[test]
    fn what_is_too_long_cut_or_foreign_is_refused() {
        let long = "h".repeat(MAX_HEAD);
        for (text, what) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", "body is too long"),
            ("HTTP/1.1 200 OK\r\n\r\n01234567890", "body is too long"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", "no number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\nab", "two lengths"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "chunked"),
            ("SSH-2.0-OpenSSH_9.6\r\n", "not HTTP"),
            (&format!("HTTP/1.1 200 OK\r\nX: {long}\r\n\r\n"), "head is too long"),
        ] {
            for piece in [3, 1 << 20] {
                match answer(text, piece, 10) {
                    Err(ClientError::Protocol { what: found }) => assert!(found.contains(what), "{found}"),
                    other => panic!("{what}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn who_goes_away_before_the_end_is_absent() {
        for cut in ["", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour"] {
            assert!(matches!(answer(cut, 3, 10), Err(ClientError::Absent)), "{cut}");
        }
    }

    #[test]
    fn a_request_cannot_smuggle_another() {
        let request = render("POST", "/v1/x?a=b", &[("x-a", "b c")], b"{}").unwrap();
        let wanted =
            "POST /v1/x?a=b HTTP/1.1\r\nhost: agent\r\nconnection: close\r\nx-a: b c\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(String::from_utf8(request).unwrap(), wanted);
        assert!(render("GET", "/a b", &[], b"").is_err());
        assert!(render("GET", "/a\r\nx: y", &[], b"").is_err());
        assert!(render("GET", "/", &[("x", "y\r\nz: 1")], b"").is_err());
        assert!(render("GET", "/", &[("x:", "y")], b"").is_err());
        assert!(render("GET", "/ä", &[], b"").is_err());
    }
}
