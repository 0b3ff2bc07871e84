//! HTTP/1.1 messages: read whole, changed, written.

use std::io::{self, Read};

const MOST_HEAD: usize = 64 << 10;
const MOST_BODY: u64 = 64 << 20;

/// A request or an answer; a chunked body is put together and given a content-length.
#[derive(Debug)]
pub(super) struct Message {
    /// The request line or the status line.
    pub(super) start: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    /// Reads a head byte by byte, so that nothing behind it is taken: TLS may follow.
    pub(super) fn read_head(mut stream: impl Read) -> io::Result<Self> {
        let mut raw = Vec::new();
        while !raw.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            raw.push(byte[0]);
            if raw.len() > MOST_HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.trim_end().split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        Ok(Self { start, headers, body: Vec::new() })
    }

    /// Reads a request: without a word on its length it has no body.
    pub(super) fn read_request(mut stream: impl Read) -> io::Result<Self> {
        let mut message = Self::read_head(&mut stream)?;
        message.read_body(&mut stream, 0)?;
        Ok(message)
    }

    /// An answer, from all the bytes that came; a body that is shorter than announced is taken as it is.
    pub(super) fn answer(mut raw: &[u8]) -> io::Result<Self> {
        let mut message = Self::read_head(&mut raw)?;
        message.read_body(&mut raw, MOST_BODY)?;
        Ok(message)
    }

    fn read_body(&mut self, stream: &mut impl Read, otherwise: u64) -> io::Result<()> {
        if self.header("transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked")) {
            while read_chunk(stream, &mut self.body)? {}
            self.remove("transfer-encoding");
            self.measure();
            return Ok(());
        }
        let length = self.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(otherwise);
        stream.take(length.min(MOST_BODY)).read_to_end(&mut self.body).map(drop)
    }

    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Removes headers: a name, or the beginning of names that ends in `*`.
    pub(super) fn remove(&mut self, pattern: &str) {
        let pattern = pattern.to_ascii_lowercase();
        self.headers.retain(|(name, _)| {
            let name = name.to_ascii_lowercase();
            !pattern.strip_suffix('*').map_or(name == pattern, |beginning| name.starts_with(beginning))
        });
    }

    /// Sets a header, in place of those of that name.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Says that the connection ends with this message, and nothing else about it.
    pub(super) fn close(&mut self) {
        ["keep-alive", "proxy-connection", "proxy-authorization"].iter().for_each(|name| self.remove(name));
        self.set("connection", "close");
    }

    /// Leaves half of the body.
    pub(super) fn cut(&mut self) {
        self.body.truncate(self.body.len() / 2);
        self.measure();
    }

    /// Makes each `"` after the body's first a `'`.
    pub(super) fn mangle(&mut self) {
        self.body.iter_mut().filter(|byte| **byte == b'"').skip(1).for_each(|byte| *byte = b'\'');
        self.measure();
    }

    fn measure(&mut self) {
        self.set("content-length", &self.body.len().to_string());
    }

    /// Start line and headers, without the empty line.
    pub(super) fn head(&self) -> String {
        let headers = self.headers.iter().map(|(name, value)| format!("\r\n{name}: {value}"));
        headers.fold(self.start.clone(), |head, header| head + &header)
    }

    /// All of it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = (self.head() + "\r\n\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The head and half of the body of a whole answer; half of all if it has no body.
pub(super) fn half(answer: &[u8]) -> &[u8] {
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n").map(|end| end + 4);
    let head = head.filter(|end| *end < answer.len()).unwrap_or(0);
    &answer[..head + (answer.len() - head) / 2]
}

/// One chunk with its line end; false for the last, which ends the trailers.
fn read_chunk(stream: &mut impl Read, into: &mut Vec<u8>) -> io::Result<bool> {
    let line = read_line(stream)?;
    let size = line.split(';').next().unwrap_or_default().trim();
    let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
    if size == 0 {
        while !read_line(stream)?.is_empty() {}
        return Ok(false);
    }
    stream.take(size.min(MOST_BODY)).read_to_end(into)?;
    read_line(stream)?;
    Ok(true)
}

fn read_line(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
