//! Sessions whose token files the agent shares with other tools.
//!
//! [`Estate`] is one home with many sessions of short life, each of its own way with used refresh tokens; [`tools`] play
//! the others, as they really write; [`watch`] reads every file all the time and knows what it may find, because the
//! tools announce what they are about to do. The agent announces nothing: whatever it does must look whole.

pub mod ledger;
pub mod tools;
pub mod watch;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::clock;
use super::fake_aws::{FakeAws, Rotation, SessionId, SignedIn, SsoSession};
use super::home::{TestHome, stamp};

/// The account of every profile.
pub const ACCOUNT: &str = "111122223333";
/// The role of every profile.
pub const ROLE: &str = "Developer";
/// What a token file holds; everything else in it belongs to somebody whom nobody here knows.
const KNOWN: [&str; 8] = [
    "startUrl",
    "region",
    "accessToken",
    "expiresAt",
    "clientId",
    "clientSecret",
    "registrationExpiresAt",
    "refreshToken",
];

/// One home, many sessions.
pub struct Estate {
    /// AWS.
    pub fake: FakeAws,
    /// The home, with a profile for each session.
    pub home: TestHome,
    /// The sessions.
    pub sessions: Vec<Session>,
    /// Life of an access token.
    pub life: Duration,
}

/// One session and its token file.
pub struct Session {
    /// Its name in the config file.
    pub name: String,
    /// Its profile, which the agent keeps fresh.
    pub profile: String,
    /// Its name at AWS.
    pub id: SessionId,
    /// What AWS does with its used refresh tokens.
    pub rotation: Rotation,
    /// The token file.
    pub path: PathBuf,
    /// Odd while a tool writes the file, however it does that.
    pub writing: AtomicU64,
    /// Odd while a tool has truncated the file and not yet written it whole.
    pub tearing: AtomicU64,
    login: AtomicU64,
    changed_at: Mutex<Instant>,
    extras: Mutex<String>,
    turn: Mutex<Turn>,
}

/// Whether somebody is logged in. Grows by one with each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A login is on disk.
    In,
    /// Its file is being removed.
    Leaving,
    /// There is none.
    Out,
    /// One is being written.
    Entering,
}

/// What the tools know of a session among themselves; one acts at a time.
#[derive(Default)]
pub struct Turn {
    /// Writes so far.
    pub notes: u64,
    /// When the person who logged out logs in again.
    pub back_at: Option<Instant>,
    /// When a tool refreshed, or tried to, although AWS does not forgive two who do so at once.
    pub disputed_at: Option<Instant>,
}

impl Estate {
    /// So many sessions, the modes in turn. Role credentials live four times as long as tokens.
    pub fn new(sessions: usize, life: Duration, modes: &[Rotation]) -> Self {
        let fake = FakeAws::start();
        let home = TestHome::new(&fake);
        let sessions: Vec<_> =
            (0..sessions).map(|n| Session::new(&fake, &home, n, modes[n % modes.len()], life)).collect();
        let keep: Vec<_> = sessions.iter().map(|s| format!("{:?}", s.profile)).collect();
        let settings = home.path().join(".config/agentctl/config.toml");
        settings.parent().map(fs::create_dir_all);
        if let Err(e) = fs::write(&settings, format!("keep = [{}]\n", keep.join(", "))) {
            panic!("cannot write {}: {e}", settings.display());
        }
        Self { fake, home, sessions, life }
    }

    /// The agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.home.state_dir().join("agent.sock")
    }
}

impl Session {
    fn new(fake: &FakeAws, home: &TestHome, n: usize, rotation: Rotation, life: Duration) -> Self {
        let (name, profile) = (format!("session-{n}"), format!("profile-{n}"));
        let id = fake.add_session(SsoSession {
            rotation,
            token_lifetime: life,
            role_lifetime: life * 4,
            ..SsoSession::new(&name).allow(ACCOUNT, ROLE)
        });
        let token = fake.sign_in(id);
        home.add_sso_session(&name, &token);
        home.add_sso_profile(&profile, &name, ACCOUNT, ROLE);
        let path = home.seed_token(&name, &token);
        Self {
            name,
            profile,
            id,
            rotation,
            path,
            writing: AtomicU64::new(0),
            tearing: AtomicU64::new(0),
            login: AtomicU64::new(0),
            changed_at: Mutex::new(clock::instant()),
            extras: Mutex::new(extras(&document(&token))),
            turn: Mutex::default(),
        }
    }

    /// Whose turn it is among the tools.
    pub fn turn(&self) -> MutexGuard<'_, Turn> {
        lock(&self.turn)
    }

    /// A number that changes with every step of logging in and out, and what it means.
    pub fn login(&self) -> (u64, Phase) {
        let step = self.login.load(Ordering::SeqCst);
        let phases = [Phase::In, Phase::Leaving, Phase::Out, Phase::Entering];
        (step, phases[usize::try_from(step % 4).unwrap_or(0)])
    }

    /// For how long it has been so.
    pub fn unchanged_for(&self) -> Duration {
        lock(&self.changed_at).elapsed()
    }

    /// What must be in the file, whoever renews the token.
    pub fn extras(&self) -> String {
        lock(&self.extras).clone()
    }

    /// Whether the agent is about to replace the file.
    pub fn has_journal(&self) -> bool {
        let name = self.path.file_name().map(|name| format!(".{}.agentctl-journal", name.display()));
        name.is_some_and(|name| self.path.with_file_name(name).exists())
    }

    /// Whether old refresh tokens are good for a while after their use.
    pub fn is_forgiving(&self) -> bool {
        !matches!(self.rotation, Rotation::SingleUse | Rotation::FamilyRevocation)
    }

    fn step(&self, steps: u64) {
        *lock(&self.changed_at) = clock::instant();
        self.login.fetch_add(steps, Ordering::SeqCst);
    }
}

/// A login's file, as the AWS CLI writes it.
fn document(token: &SignedIn) -> Map<String, Value> {
    let text = |text: &str| Value::from(text);
    let values = [
        text(&token.start_url),
        text(&token.region),
        text(&token.access_token),
        text(&stamp(token.expires_at)),
        text(&token.client_id),
        text(&token.client_secret),
        text(&stamp(token.registration_expires_at)),
        text(&token.refresh_token),
    ];
    KNOWN.into_iter().map(str::to_owned).zip(values).collect()
}

/// What a refresh does not change: the keys that nobody here knows, and whose login it is.
pub fn extras(document: &Map<String, Value>) -> String {
    let mut extras = document.clone();
    extras.retain(|key, _| key == "clientId" || !KNOWN.contains(&key.as_str()));
    Value::Object(extras).to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
