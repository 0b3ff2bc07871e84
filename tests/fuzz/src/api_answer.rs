//! The client's side of the local API: whatever comes as an answer, it is read the same however it is cut.

use std::io::{self, Read, Write};
use std::time::Duration;

use aws_credential_agent::api::v1::MAX_BODY;
use aws_credential_agent::core::failure::FailureClass;
use aws_credential_agent::ipc::client::{ClientError, Response};
use aws_credential_agent::ipc::exchange::{Connection, render, run};
use aws_credential_agent::platform::clock::Deadline;

use super::{check_plain, draw};

const FEW: usize = 64;

pub fn check(data: &[u8]) {
    let read = exchange(data, usize::MAX, MAX_BODY);
    // Byte by byte the head is parsed as often as it is long.
    let slowest = if data.len() <= 512 { 1 } else { 61 };
    for piece in [slowest, 2 + draw(data) % 5000] {
        assert_eq!(exchange(data, piece, MAX_BODY), read, "in pieces of {piece}");
    }
    match &read {
        Ok(response) => whole(data, response),
        Err(error) => {
            let failure = error.failure();
            check_plain(&failure);
            assert_eq!(failure.class, FailureClass::AgentUnreachable);
            assert!(*error != ClientError::Absent || is_cut(data), "absent is who goes away before the end");
            assert!(*error == ClientError::Absent || !data.is_empty(), "and above all who says nothing");
        }
    }
    match (exchange(data, usize::MAX, FEW), &read) {
        (Ok(few), Ok(all)) => assert!(few == *all && few.body.len() <= FEW, "the limit cuts nothing"),
        (Ok(few), Err(_)) => panic!("read with the smaller limit only: {few:?}"),
        (Err(_), Ok(all)) => assert!(all.body.len() > FEW, "it would have fitted"),
        (Err(_), Err(_)) => {}
    }
}

fn whole(data: &[u8], response: &Response) {
    let body = &response.body[..];
    assert!(response.status < 1000 && body.len() <= MAX_BODY);
    assert!(body.is_empty() || data.windows(body.len()).any(|w| w == body), "the body is what came");
    if data.ends_with(body) && response.status != 204 && !has_length(&data[..data.len() - body.len()]) {
        return;
    }
    // With a length, what comes behind it does not matter, and what is missing is an error.
    assert_eq!(exchange(&[data, b"more"].concat(), usize::MAX, MAX_BODY).as_ref(), Ok(response));
    // What came behind the body may look like its end.
    if !body.is_empty() && head_length(data).is_some_and(|head| head + body.len() == data.len()) {
        let cut = &data[..data.len() - 1];
        assert!(exchange(cut, usize::MAX, MAX_BODY).is_err(), "cut by one byte");
    }
}

fn has_length(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.lines().any(|line| line.starts_with("content-length:"))
}

fn head_length(data: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    match httparse::Response::new(&mut headers).parse(data) {
        Ok(httparse::Status::Complete(length)) => Some(length),
        _ => None,
    }
}

/// Whether an answer ends before its head or the body that it announces.
fn is_cut(data: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(data) {
        Ok(httparse::Status::Partial) => true,
        Ok(httparse::Status::Complete(length)) => head.headers.iter().any(|header| {
            let announced = std::str::from_utf8(header.value).ok().and_then(|v| v.trim().parse::<usize>().ok());
            header.name.eq_ignore_ascii_case("content-length") && announced.is_some_and(|n| n > data.len() - length)
        }),
        Err(_) => false,
    }
}

/// What our client makes of an answer that comes in pieces of at most so many bytes.
pub(crate) fn exchange(answer: &[u8], piece: usize, max_body: usize) -> Result<Response, ClientError> {
    let mut script = Script { answer, piece, sent: Vec::new() };
    let request = render("GET", "/v1/health", &[], b"").expect("a plain request");
    let response = run(&mut script, &request, max_body, Deadline::after(Duration::from_secs(600)));
    assert_eq!(script.sent, request, "the request is sent once and whole");
    response
}

struct Script<'a> {
    answer: &'a [u8],
    piece: usize,
    sent: Vec<u8>,
}

impl Connection for Script<'_> {
    fn limit(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Script<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.answer.len().min(self.piece);
        let (mut next, _) = self.answer.split_at(piece);
        let read = next.read(buffer)?;
        self.answer = &self.answer[read..];
        Ok(read)
    }
}

impl Write for Script<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
