//! A proxy that opens TLS, as companies have them, and that misbehaves as they do.
//!
//! * Where every address leads is said at the start: one plain HTTP server, the fake AWS.
//! * What it does is said by [`Behaviour`]s, for all hosts or for some, also while it runs.
//! * What clients did is read from [`InspectingProxy::seen`].
//!
//! It speaks HTTP/1.1, and carries one request over each connection: every answer says `connection: close`. No TLS
//! session is ever resumed, so that each connection judges its certificate. While the client waits, its going ends the
//! request to the upstream; an upstream that gives no answer is a 502. It does not play: plain requests (405), tunnels
//! that it does not open, HTTP/2, `expect: 100-continue`, the further rounds of NTLM and Negotiate.

mod behaviour;
mod connection;
mod message;
mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use behaviour::{Behaviour, Leaf, Stage};
use tls::Authority;

/// How long a socket is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the proxy saw of one connection. It grows while the connection lasts; `over` says that it is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// `host:port` of the CONNECT; empty before.
    pub target: String,
    /// The CONNECT's Proxy-Authorization.
    pub proxy_authorization: Option<String>,
    /// Whether the TLS handshake was completed; `None` if none was begun (a ClientHello begins it).
    pub handshake: Option<bool>,
    /// How many bytes the client still sent after the proxy's certificate, if the handshake was not completed: its TLS
    /// alert, for one. A client of TLS 1.3 may send 6 bytes of change_cipher_spec before it has judged the certificate.
    pub after_failure: usize,
    /// The heads of the HTTP requests that came through the tunnel, without the empty line.
    pub requests: Vec<String>,
    /// Whether the connection has ended.
    pub over: bool,
}

/// An HTTP proxy on loopback as companies have them: it opens TLS with certificates of its own, and leads every address
/// to one plain HTTP server (the fake AWS). It ends when dropped, and its connections with it.
#[derive(Debug)]
pub struct InspectingProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl InspectingProxy {
    /// Starts one on a free port, with an authority as Zscaler's.
    pub fn start(upstream: SocketAddr) -> Self {
        Self::start_with(upstream, "Zscaler Root CA", "Zscaler Inc.")
    }

    /// Starts one whose authority has this common name and organisation.
    pub fn start_with(upstream: SocketAddr, common_name: &str, organisation: &str) -> Self {
        Self::try_start(upstream, common_name, organisation).unwrap_or_else(|e| panic!("the proxy does not start: {e}"))
    }

    fn try_start(upstream: SocketAddr, common_name: &str, organisation: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let authority = Authority::new(common_name, organisation)?;
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { upstream, authority, state, stopped: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("proxy".to_owned()).spawn(move || accept(&listener, &accepting))?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// What `HTTPS_PROXY` says: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The authority's certificate.
    pub fn ca_pem(&self) -> String {
        self.shared.authority.pem()
    }

    /// Writes the authority's certificate to a file, for `AWS_CA_BUNDLE` and the like.
    pub fn write_ca(&self, path: &Path) {
        fs::write(path, self.ca_pem()).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }

    /// What it does from now on for every host: whatever was set before is forgotten.
    pub fn set(&self, behaviour: Behaviour) {
        self.shared.lock().rules = vec![(String::new(), behaviour)];
    }

    /// What it does from now on for hosts that contain this text; what is set later wins. A connection's host is known
    /// with its CONNECT: what would happen at [`Stage::Accept`] happens there.
    pub fn set_for(&self, host_part: &str, behaviour: Behaviour) {
        self.shared.lock().rules.push((host_part.to_ascii_lowercase(), behaviour));
    }

    /// Every connection so far, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }
}

impl Drop for InspectingProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes the thread that accepts
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for client in self.shared.lock().open.values() {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

/// What the connections have in common.
#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    authority: Authority,
    state: Mutex<State>,
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Parts of hosts, in lower case, and what is done for them; the last that fits counts.
    rules: Vec<(String, Behaviour)>,
    seen: Vec<Seen>,
    /// Second handles on the connections that have not ended, to end them.
    open: BTreeMap<usize, TcpStream>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn behaviour(&self, host: &str) -> Behaviour {
        let host = host.to_ascii_lowercase();
        let state = self.lock();
        let rule = state.rules.iter().rev().find(|(part, _)| host.contains(part));
        rule.map(|(_, behaviour)| behaviour.clone()).unwrap_or_default()
    }

    fn begin(&self, client: &TcpStream) -> io::Result<usize> {
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_write_timeout(Some(PATIENCE))?;
        client.set_nodelay(true)?;
        let handle = client.try_clone()?;
        let mut state = self.lock();
        let at = state.seen.len();
        state.seen.push(Seen::default());
        state.open.insert(at, handle);
        Ok(at)
    }

    fn note(&self, at: usize, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock().seen[at]);
    }

    /// Gives the second handle back: a connection ends with its last one.
    fn release(&self, at: usize) {
        self.lock().open.remove(&at);
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

/// Accepts until the proxy is dropped, each connection on a thread of its own.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.stopped() {
            return;
        }
        let Ok(client) = client else { continue };
        let Ok(at) = shared.begin(&client) else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || connection::serve(client, at, &shared));
    }
}
