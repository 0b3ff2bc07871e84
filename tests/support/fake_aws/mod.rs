//! A fake AWS on loopback: SSO OIDC, the SSO portal, STS and as much of Bedrock as Claude Code needs.
//!
//! It is a real HTTP/1.1 server in the real wire formats, on a thread with a runtime of its own, so that plain
//! synchronous tests can use it. All services share one address; point every endpoint override at [`FakeAws::url`].
//!
//! * Who may do what is said by [`SsoSession`]s; [`FakeAws::sign_in`] plays the person at the browser.
//! * What goes wrong is said by [`Fault`]s.
//! * What happened is read from [`FakeAws::calls`]; what must never be seen from [`FakeAws::secrets`].
//! * A key that signs must be one that the portal issued: STS and Bedrock really check SigV4.
//!
//! * Logins ask a person: [`FakeAws::set_person`], or the page's links.
//!
//! It does not play: AssumeRole, TLS.

mod bedrock;
mod calls;
mod faults;
mod login;
mod oidc;
mod portal;
mod server;
mod sigv4;
mod state;
mod sts;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

pub use bedrock::{MODEL, Offered};
pub use calls::{Call, Operation};
pub use faults::{Fault, FaultId};
pub use login::{PendingLogin, Person};
use server::{Command, Shared, lock};
pub use state::{IssuedKey, IssuedSecret, Rotation, SessionId, SignedIn, SsoSession};
use wire::Answer;

/// A running fake; it ends when dropped.
#[derive(Debug)]
pub struct FakeAws {
    address: SocketAddr,
    refusing: TcpSocket,
    shared: Shared,
    commands: Option<mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeAws {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::try_start().unwrap_or_else(|e| panic!("the fake AWS does not start: {e}"))
    }

    fn try_start() -> std::io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (socket, refusing) = (server::reserve(any)?, server::reserve(any)?);
        let address = socket.local_addr()?;
        let shared = Arc::new(Mutex::new(state::State::default()));
        let (commands, inbox) = mpsc::unbounded_channel();
        let book = Arc::clone(&shared);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("fake-aws".to_owned()).spawn(move || {
            if let Err(e) = runtime.block_on(server::run(socket, book, inbox)) {
                panic!("the fake AWS ended: {e}");
            }
        })?;
        let fake = Self { address, refusing, shared, commands: Some(commands), thread: Some(thread) };
        fake.set_reply("pong");
        fake.restart(); // acknowledged once it listens
        Ok(fake)
    }

    /// Where every service of it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A loopback URL that refuses every connection for as long as this fake lives: the proxy of test clients.
    pub fn refusing_url(&self) -> String {
        let port = self.refusing.local_addr().map_or(9, |address| address.port());
        format!("http://127.0.0.1:{port}")
    }

    /// Upstream down: connections are dropped, new ones refused.
    pub fn stop(&self) {
        self.tell(Command::Stop);
    }

    /// Upstream up again, on the same port and with the same memory.
    pub fn restart(&self) {
        self.tell(Command::Start);
    }

    fn tell(&self, command: impl FnOnce(std::sync::mpsc::Sender<()>) -> Command) {
        let (done, acknowledged) = std::sync::mpsc::channel();
        if let Some(commands) = &self.commands {
            let _ = commands.send(command(done));
        }
        if acknowledged.recv().is_err() {
            panic!("the fake AWS is gone");
        }
    }

    /// Adds a session; nobody is signed in to it yet.
    pub fn add_session(&self, session: SsoSession) -> SessionId {
        let mut state = lock(&self.shared);
        state.sessions.push(session);
        SessionId(state.sessions.len() - 1)
    }

    /// Changes a session's lifetimes, rotation or roles; what was issued stays as it is.
    pub fn configure(&self, id: SessionId, change: impl FnOnce(&mut SsoSession)) {
        change(&mut lock(&self.shared).sessions[id.0]);
    }

    /// A session as it is now.
    pub fn session(&self, id: SessionId) -> SsoSession {
        lock(&self.shared).sessions[id.0].clone()
    }

    /// A person signs in: a registered client, an access token and a refresh token.
    pub fn sign_in(&self, id: SessionId) -> SignedIn {
        lock(&self.shared).sign_in(id)
    }

    /// Role credentials as the portal would issue them, without a call: for tests that need a key only.
    pub fn issue_key(&self, id: SessionId, account: &str, role: &str) -> IssuedKey {
        lock(&self.shared).issue_key(id, account, role)
    }

    /// What the person at the browser does from now on; at first acts on the page.
    pub fn set_person(&self, person: Person) {
        lock(&self.shared).logins.person = person;
    }

    /// How long AWS waits for a person from now on.
    pub fn set_login_life(&self, life: std::time::Duration) {
        lock(&self.shared).logins.life = life;
    }

    /// Logins that wait for a person's word.
    pub fn pending_logins(&self) -> Vec<PendingLogin> {
        lock(&self.shared).pending_logins(&self.url())
    }

    /// The person says yes, or no. Whether anything waited for it.
    pub fn answer_login(&self, code: &str, yes: bool) -> bool {
        lock(&self.shared).say(code, yes)
    }

    /// AWS forgets every client registration.
    pub fn forget_clients(&self) {
        lock(&self.shared).clients.clear();
    }

    /// AWS forgets every refresh token of the session: `invalid_grant` from now on.
    pub fn revoke_refresh_tokens(&self, id: SessionId) {
        let mut state = lock(&self.shared);
        state.refresh_tokens.values_mut().filter(|t| t.session == id).for_each(|t| t.revoked = true);
    }

    /// The sessions that are being refreshed right now.
    pub fn refreshing(&self) -> Vec<SessionId> {
        let state = lock(&self.shared);
        let tokens = state.calls.iter().filter(|c| !c.finished).filter_map(|c| c.refresh_token.as_ref());
        tokens.filter_map(|token| Some(state.refresh_tokens.get(token)?.session)).collect()
    }

    /// Whether AWS would accept this refresh token now.
    pub fn refresh_token_works(&self, token: &str) -> bool {
        let state = lock(&self.shared);
        let found = state.refresh_tokens.get(token);
        found.is_some_and(|t| oidc::is_good(t, state.sessions[t.session.0].rotation, state.now()))
    }

    /// AWS forgets every access token of the session: 401 from now on.
    pub fn revoke_access_tokens(&self, id: SessionId) {
        let mut state = lock(&self.shared);
        state.access_tokens.values_mut().filter(|t| t.session == id).for_each(|t| t.revoked = true);
    }

    /// Adds a fault behind those that are there.
    pub fn inject(&self, mut fault: Fault) -> FaultId {
        fault.id = FaultId(fastrand::u64(..));
        let id = fault.id;
        lock(&self.shared).faults.push(fault);
        id
    }

    /// Removes one fault, if it is still there.
    pub fn clear(&self, id: FaultId) {
        lock(&self.shared).faults.retain(|f| f.id != id);
    }

    /// Removes every fault.
    pub fn clear_faults(&self) {
        lock(&self.shared).faults.clear();
    }

    /// What Bedrock offers from now on, by region.
    pub fn offer(&self, profiles: Vec<Offered>) {
        lock(&self.shared).inference_profiles = Some(profiles);
    }

    /// Whether the account has filled in Anthropic's form from now on; at first it has.
    pub fn set_use_case_form(&self, filled_in: bool) {
        lock(&self.shared).lacks_form = !filled_in;
    }

    /// What the model says from now on; at first `pong`.
    pub fn set_reply(&self, text: &str) {
        text.clone_into(&mut lock(&self.shared).reply);
    }

    /// Sets AWS's clock so many seconds ahead of this machine's (negative: behind): dates, expiries, skew checks.
    pub fn set_clock_offset(&self, seconds: i64) {
        lock(&self.shared).clock_offset = seconds;
    }

    /// Every call so far, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared).calls.clone()
    }

    /// Every call of one operation.
    pub fn calls_of(&self, operation: Operation) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|c| c.operation == operation);
        calls
    }

    /// How often an operation was called, whatever became of it.
    pub fn count(&self, operation: Operation) -> usize {
        lock(&self.shared).calls.iter().filter(|c| c.operation == operation).count()
    }

    /// How often an operation succeeded.
    pub fn succeeded(&self, operation: Operation) -> usize {
        lock(&self.shared).calls.iter().filter(|c| c.operation == operation && c.ok()).count()
    }

    /// How often credentials of this role were asked for.
    pub fn role_calls(&self, account: &str, role: &str) -> usize {
        let calls = self.calls_of(Operation::GetRoleCredentials);
        calls.iter().filter(|c| c.account.as_deref() == Some(account) && c.role.as_deref() == Some(role)).count()
    }

    /// The most calls of an operation that were ever under way at one time.
    pub fn most_at_once(&self, operation: Operation) -> usize {
        lock(&self.shared).most_at_once.get(&operation).copied().unwrap_or(0)
    }

    /// Forgets the calls so far; tokens, keys, secrets and faults stay. Only while no call is under way.
    pub fn forget_calls(&self) {
        let mut state = lock(&self.shared);
        assert!(state.calls.iter().all(|c| c.finished), "a call is still under way");
        state.calls.clear();
        state.most_at_once.clear();
    }

    /// Role credentials issued so far, by no particular order.
    pub fn keys(&self) -> Vec<IssuedKey> {
        lock(&self.shared).keys.values().cloned().collect()
    }

    /// Every secret that it ever issued.
    pub fn secrets(&self) -> Vec<IssuedSecret> {
        lock(&self.shared).secrets.clone()
    }
}

impl Drop for FakeAws {
    fn drop(&mut self) {
        self.commands = None; // its loop ends when nobody can command it
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An error of AWS in restJson1: the type in a header, the body as given.
fn aws_json_error(status: u16, error_type: &str, body: &Value) -> Answer {
    marked(Answer::json(status, body).with("x-amzn-errortype", error_type))
}

/// The same with AWS's request id, unless it has one.
fn marked(answer: Answer) -> Answer {
    if answer.headers.iter().any(|(name, _)| name == "x-amzn-requestid") {
        return answer;
    }
    let id = state::random(32).to_lowercase();
    let id = format!("{}-{}-4{}-8{}-{}", &id[..8], &id[8..12], &id[13..16], &id[17..20], &id[20..]);
    answer.with("x-amzn-requestid", &id)
}
