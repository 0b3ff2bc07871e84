//! Somebody who reads every token file all the time, and somebody who asks for every profile's credentials.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_credential_agent::ipc::client::Client;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{Estate, Phase, Session, extras};
use crate::support::clock;
use crate::support::fake_aws::Rotation;

/// What another tool wrote may be missing for this long: the agent, about to replace the file, has to look again.
const MENDED_WITHIN: Duration = Duration::from_secs(2);
/// After this long everybody knows of a login.
pub const KNOWN_WITHIN: Duration = Duration::from_secs(3);
/// After this long everybody knows of a logout: it is one after 2 s.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(5);
/// So many complaints are enough.
const ENOUGH: usize = 20;

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Files read.
    pub reads: u64,
    /// Reads that differed from the one before.
    pub versions: u64,
    /// Reads that were torn, by a tool that had announced it.
    pub torn: u64,
    /// Reads that did not show what a tool had written, until the agent had looked again.
    pub behind: u64,
    /// Credentials that were served.
    pub served: u64,
    /// Answers "ask again".
    pub in_flight: u64,
    /// Answers "log in", while nobody was logged in.
    pub logged_out: u64,
    /// Any other answers, within the time of a login.
    pub unsettled: u64,
    /// What must not be.
    pub complaints: Vec<String>,
}

impl Seen {
    fn complain(&mut self, session: &Session, what: &str) {
        if self.complaints.len() < ENOUGH {
            self.complaints.push(format!("{} {} ({:?}): {what}", clock::now(), session.name, session.rotation));
        }
    }
}

/// The last read of one file.
#[derive(Default)]
struct Last {
    bytes: Vec<u8>,
    extras: String,
    behind_since: Option<Instant>,
}

/// Reads all files until told to stop.
pub fn files(estate: &Estate, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut last: Vec<Last> = estate.sessions.iter().map(|_| Last::default()).collect();
    while !stop.load(Ordering::Relaxed) {
        for (session, last) in estate.sessions.iter().zip(&mut last) {
            look(session, last, &mut seen);
        }
        std::thread::sleep(Duration::from_millis(1)); // the agent needs the processor as well
    }
    seen
}

/// An announcement that did not change while something was done, and its value before.
struct Announced<'a>(&'a AtomicU64, u64);

impl<'a> Announced<'a> {
    fn before(counter: &'a AtomicU64) -> Self {
        Self(counter, counter.load(Ordering::SeqCst))
    }

    /// Whether nothing was going on at any time since.
    fn was_quiet(&self) -> bool {
        self.1.is_multiple_of(2) && self.0.load(Ordering::SeqCst) == self.1
    }
}

fn look(session: &Session, last: &mut Last, seen: &mut Seen) {
    let (writing, tearing) = (Announced::before(&session.writing), Announced::before(&session.tearing));
    let (step, phase) = session.login();
    let read = read(session);
    let (whole, same_login) = (tearing.was_quiet(), session.login().0 == step);
    seen.reads += 1;
    let (bytes, mode) = match read {
        Ok(read) => read,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !(same_login && phase == Phase::In) => return,
        Err(e) => return seen.complain(session, &format!("the file cannot be read: {e}")),
    };
    if same_login && phase == Phase::Out {
        seen.complain(session, "the file is there, after a logout");
    }
    if mode != 0o600 {
        seen.complain(session, &format!("the file has mode {mode:o}"));
    }
    if bytes != last.bytes {
        seen.versions += 1;
        match serde_json::from_slice::<Map<String, Value>>(&bytes) {
            Ok(document) => {
                judge(session, &document, seen);
                (last.extras, last.bytes) = (extras(&document), bytes);
            }
            Err(_) if !whole => return seen.torn += 1,
            Err(e) => {
                return seen.complain(session, &format!("torn, and no tool was at it: {e}, {} bytes", bytes.len()));
            }
        }
    }
    let behind = last.extras != session.extras() && writing.was_quiet();
    match (behind, last.behind_since) {
        (false, _) => last.behind_since = None,
        (true, None) => {
            seen.behind += 1;
            last.behind_since = Some(clock::instant());
        }
        (true, Some(since)) if since.elapsed() > MENDED_WITHIN => {
            let what = format!("holds {}, and a tool had written {}", last.extras, session.extras());
            seen.complain(session, &what);
        }
        (true, Some(_)) => {}
    }
}

fn judge(session: &Session, document: &Map<String, Value>, seen: &mut Seen) {
    for key in super::KNOWN {
        let there = document.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        // botocore drops a refresh token that AWS did not repeat.
        let may_lack = key == "refreshToken" && session.rotation == Rotation::Omitted;
        if !there && !may_lack {
            seen.complain(session, &format!("the file has no {key}"));
        }
    }
}

fn read(session: &Session) -> io::Result<(Vec<u8>, u32)> {
    let mut file = File::open(&session.path)?;
    let mut bytes = Vec::with_capacity(4096);
    file.read_to_end(&mut bytes)?;
    Ok((bytes, file.metadata()?.mode() & 0o7777))
}

/// Asks for every profile's credentials in turn, until told to stop.
pub fn answers(estate: &Estate, stop: &AtomicBool) -> Seen {
    let (mut seen, client) = (Seen::default(), Client::new(estate.socket()));
    while !stop.load(Ordering::Relaxed) {
        for session in &estate.sessions {
            ask(session, &client, &mut seen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    seen
}

fn ask(session: &Session, client: &Client, seen: &mut Seen) {
    let (step, phase) = session.login();
    let settled = session.unchanged_for();
    let target = format!("/v1/profiles/{}/credentials", session.profile);
    let answer = client.request("GET", &target, &[], b"", Duration::from_secs(10));
    let same_login = session.login().0 == step;
    let answer = match answer {
        Ok(answer) => answer,
        Err(e) => return seen.complain(session, &format!("the agent does not answer: {e:?}")),
    };
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match (answer.status, phase) {
        (200, Phase::Out) if same_login && settled > FORGOTTEN_WITHIN => {
            seen.complain(session, "credentials were served long after a logout");
        }
        (200, _) => {
            seen.served += 1;
            let end: Option<DateTime<Utc>> = body["Expiration"].as_str().and_then(|t| t.parse().ok());
            if end.is_none_or(|end| end <= clock::now()) {
                seen.complain(session, &format!("an ended key was served: {}", body["Expiration"]));
            }
        }
        (202, _) => seen.in_flight += 1,
        (401, Phase::In) if session.turn().disputed_at.is_some() => seen.unsettled += 1,
        (_, Phase::In) if same_login && settled > KNOWN_WITHIN => {
            seen.complain(session, &format!("{}: {} {}", answer.status, body["code"], body["message"]));
        }
        (401, Phase::Out) => seen.logged_out += 1,
        _ => seen.unsettled += 1,
    }
}
