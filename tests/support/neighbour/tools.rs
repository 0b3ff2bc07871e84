//! The other tools: botocore (its own refresh, replaced by rename), AWS CLI v2 and the Rust SDK (truncated in place),
//! and a person who logs out and in.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::{Estate, Session, document, extras, lock};
use crate::support::clock;
use crate::support::fake_aws::SignedIn;
use crate::support::home::stamp;
use crate::support::http;

/// How the tools name themselves to AWS.
pub const NEIGHBOUR: &str = "neighbour/1.0";

/// Whoever lost a race for a refresh token has seen what came of it by then.
const SETTLED_AFTER: Duration = Duration::from_secs(4);

/// What the tools did.
#[derive(Debug, Default)]
pub struct Deeds {
    /// Refreshes that AWS granted.
    pub refreshed: AtomicU64,
    /// Refreshes that AWS refused: somebody else was faster.
    pub refused: AtomicU64,
    /// Files replaced by rename.
    pub replaced: AtomicU64,
    /// Files truncated and written again.
    pub rewritten: AtomicU64,
    /// Logins over a login.
    pub logins: AtomicU64,
    /// Files removed.
    pub logouts: AtomicU64,
    /// Logins that a tool itself ruined by writing back a token that was used up meanwhile.
    pub spoilt: AtomicU64,
    /// Refreshes in a tool's window, where AWS forgives nothing: the agent was late (a busy machine).
    pub disputed: AtomicU64,
    /// Logins that were lost by that.
    pub lost: AtomicU64,
}

impl Deeds {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// How a tool writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A temporary file that takes the name (botocore).
    Rename,
    /// Truncated, then written in two parts (AWS CLI v2, the Rust SDK).
    InPlace,
}

/// One tool's access to one session, for one turn.
pub struct Visit<'a> {
    estate: &'a Estate,
    session: &'a Session,
    deeds: &'a Deeds,
    turn: std::sync::MutexGuard<'a, super::Turn>,
}

impl<'a> Visit<'a> {
    /// Waits for the turn.
    pub fn new(estate: &'a Estate, session: &'a Session, deeds: &'a Deeds) -> Self {
        Self { estate, session, deeds, turn: session.turn() }
    }

    /// The file's token; `None`: nobody is logged in.
    fn read(&self) -> Option<Map<String, Value>> {
        let text = fs::read_to_string(&self.session.path).ok()?;
        Some(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}: {} bytes", self.session.name, text.len())))
    }

    /// botocore: refreshes a token that has less than `window` left, and writes only the keys that it knows.
    pub fn refresh(mut self, window: Duration, style: Style) {
        let Some(token) = self.read().filter(|token| left(token) < window) else { return };
        let text = |key: &str| token.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        // It has dropped the refresh token itself, when AWS sent none.
        if text("refreshToken").is_empty() {
            return;
        }
        let request = json!({
            "clientId": text("clientId"), "clientSecret": text("clientSecret"), "grantType": "refresh_token",
            "refreshToken": text("refreshToken"),
        });
        if !self.session.is_forgiving() {
            Deeds::count(&self.deeds.disputed);
            self.turn.disputed_at = Some(clock::instant());
        }
        let headers = [("content-type", "application/json"), ("user-agent", NEIGHBOUR)];
        let url = self.estate.fake.url();
        let answer =
            http::request(&url, "POST", "/token", &headers, request.to_string().as_bytes(), Duration::from_secs(20));
        let answer = answer.unwrap_or_else(|e| panic!("the fake AWS does not answer: {e}"));
        if answer.status != 200 {
            return Deeds::count(&self.deeds.refused);
        }
        Deeds::count(&self.deeds.refreshed);
        let answer = answer.json();
        let life = chrono::Duration::seconds(answer["expiresIn"].as_i64().unwrap_or_default());
        let mut new = token.clone();
        new.retain(|key, _| super::KNOWN.contains(&key.as_str()) && key != "refreshToken");
        new["accessToken"] = answer["accessToken"].clone();
        new["expiresAt"] = stamp(clock::now() + life).into();
        if answer["refreshToken"].is_string() {
            new.insert("refreshToken".to_owned(), answer["refreshToken"].clone());
        }
        self.write(&new, style);
    }

    /// Writes what is there once more, with a note of its own, if it has more than `fresh` left.
    pub fn rewrite(mut self, fresh: Duration, style: Style) {
        if let Some(mut token) = self.read().filter(|token| left(token) > fresh) {
            self.turn.notes += 1;
            token.insert("note".to_owned(), json!({ "of": "a neighbour", "n": self.turn.notes }));
            self.write(&token, style);
            self.own_up(&token, style);
        }
    }

    /// A person logs in over whatever there is (`aws sso login`); where `ended`, AWS had ended the old login.
    pub fn log_in(mut self, ended: bool, style: Style) {
        if self.turn.back_at.is_none() {
            Deeds::count(&self.deeds.logins);
            self.session.step(3);
            self.enter(ended, style);
        }
    }

    /// A person logs out, and in again after `absence`.
    pub fn log_out(mut self, absence: Duration) {
        if self.turn.back_at.is_none() {
            Deeds::count(&self.deeds.logouts);
            self.session.step(1);
            if let Err(e) = fs::remove_file(&self.session.path) {
                panic!("{}: {e}", self.session.path.display());
            }
            self.session.step(1);
            self.turn.back_at = Some(clock::instant() + absence);
        }
    }

    /// Whoever has been away for long enough, or must come back `now`, logs in again. Whether that is still to come.
    pub fn come_back(mut self, now: bool, ended: bool, style: Style) -> bool {
        match self.turn.back_at {
            Some(at) if now || clock::instant() >= at => {
                self.turn.back_at = None;
                self.session.step(1);
                self.enter(ended, style);
                false
            }
            due => due.is_some(),
        }
    }

    /// Some time after a tool refreshed where AWS forgives nothing: if that has ended the login, the person logs in again.
    /// Whether that is still to be seen.
    pub fn settle(mut self, style: Style) -> bool {
        match self.turn.disputed_at {
            Some(at) if at.elapsed() > SETTLED_AFTER && self.turn.back_at.is_none() => {
                self.turn.disputed_at = None;
                let token = self.read().unwrap_or_default();
                let token = token.get("refreshToken").and_then(Value::as_str).unwrap_or_default().to_owned();
                if !self.estate.fake.refresh_token_works(&token) {
                    Deeds::count(&self.deeds.lost);
                    self.session.step(3);
                    self.enter(false, style);
                }
                false
            }
            disputed => disputed.is_some(),
        }
    }

    fn enter(&mut self, ended: bool, style: Style) {
        let (fake, id) = (&self.estate.fake, self.session.id);
        if ended {
            fake.revoke_refresh_tokens(id);
            fake.revoke_access_tokens(id);
        }
        let token: SignedIn = fake.sign_in(id);
        self.write(&document(&token), style);
        self.session.step(1);
    }

    /// A tool that writes back what it has read may undo a rotation that came in between. Where AWS does not forgive
    /// that, the login is lost by the tool's doing: the person logs in again.
    fn own_up(&mut self, written: &Map<String, Value>, style: Style) {
        let token = written.get("refreshToken").and_then(Value::as_str).unwrap_or_default();
        if !self.session.is_forgiving() && !self.estate.fake.refresh_token_works(token) {
            Deeds::count(&self.deeds.spoilt);
            self.session.step(3);
            self.enter(false, style);
        }
    }

    fn write(&mut self, document: &Map<String, Value>, style: Style) {
        let (session, text) = (self.session, Value::Object(document.clone()).to_string());
        session.writing.fetch_add(1, Ordering::SeqCst);
        *lock(&session.extras) = extras(document);
        let written = match style {
            Style::Rename => rename(session, &text),
            Style::InPlace => in_place(session, &text),
        };
        session.writing.fetch_add(1, Ordering::SeqCst);
        Deeds::count(if style == Style::Rename { &self.deeds.replaced } else { &self.deeds.rewritten });
        if let Err(e) = written {
            panic!("{}: {e}", session.path.display());
        }
    }
}

fn rename(session: &Session, text: &str) -> std::io::Result<()> {
    let temporary = session.path.with_extension("tmp");
    create(&temporary)?.write_all(text.as_bytes())?;
    fs::rename(temporary, &session.path)
}

fn in_place(session: &Session, text: &str) -> std::io::Result<()> {
    let (first, second) = text.split_at(text.len() / 2);
    session.tearing.fetch_add(1, Ordering::SeqCst);
    let mut file = create(&session.path)?;
    // As long as a busy machine lets a writer wait between two system calls.
    thread::sleep(Duration::from_millis(fastrand::u64(0..4)));
    file.write_all(first.as_bytes())?;
    thread::sleep(Duration::from_millis(fastrand::u64(0..8)));
    file.write_all(second.as_bytes())?;
    session.tearing.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

fn create(path: &std::path::Path) -> std::io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Life left of a file's token.
fn left(token: &Map<String, Value>) -> Duration {
    let end: Option<DateTime<Utc>> = token.get("expiresAt").and_then(Value::as_str).and_then(|t| t.parse().ok());
    end.and_then(|end| (end - clock::now()).to_std().ok()).unwrap_or_default()
}
