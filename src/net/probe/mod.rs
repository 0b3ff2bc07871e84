//! A look at the way to AWS, step by step: name, connection, the proxy's tunnel, TLS, and one harmless request that
//! only AWS answers as AWS does.
//!
//! * It sends no secret but, to a proxy that is configured with them, user and password; and those not again once that
//!   proxy has refused them ([`Prober::refused`]), so that no account is locked.
//! * A verifier that records the chain refuses what rustls refuses ([`tls`]); after that not one byte is sent.
//! * Everything ends within the limit that the caller gives. Blocking; hosts are looked at beside each other.
//!
//! Deliberately absent: any verdict. What was seen becomes [`Evidence`], which `core::classify` judges like that of any
//! other call.

mod exchange;
mod tls;
mod tunnel;
mod wire;

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use self::wire::{Stream, Wire};
use super::certificate;
use super::proxy::{ProxySettings, Route};
use super::trust::Trust;
use crate::core::classify::{Evidence, Operation, ProxyAnswer, Signal, Verdict};
use crate::core::failure::Failure;
use crate::core::probe::{Failed, Host, NeededBy, Step};
use crate::core::time::Tick;
use crate::platform::clock::{Clock, Deadline};

pub use self::exchange::Request;
pub use self::tls::{Roots, Seen};
pub(crate) use self::wire::is_unreachable;

/// A host to look at.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is, for people.
    pub service: &'static str,
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether TLS is used.
    pub https: bool,
    /// Whether it is this machine, which no proxy leads to.
    pub loopback: bool,
    /// Whether it is one of AWS's own names.
    pub own: bool,
    /// Who needs it.
    pub needed_by: NeededBy,
    /// What is asked.
    pub request: Request,
}

impl Target {
    /// Whether the agent itself needs it.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.needed_by == NeededBy::Agent
    }
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// To the certificates: to see who is there.
    Handshake,
    /// To AWS's answer.
    Answer,
}

/// Looks under one set of network settings. Clones share what they know of the proxy.
#[derive(Clone, Debug)]
pub struct Prober {
    proxy: ProxySettings,
    roots: Roots,
    /// When the proxy refused them, in milliseconds of the monotonic clock; 0: it did not.
    refused: Arc<AtomicU64>,
}

/// User and password that a proxy refused are sent again after this long: whoever locks accounts counts a few tries within
/// minutes, and what was wrong may have been the proxy's own.
const REFUSED: Duration = Duration::from_secs(30 * 60);

impl Prober {
    /// One that uses these settings.
    #[must_use]
    pub fn new(proxy: &ProxySettings, trust: &Trust) -> Self {
        Self { proxy: proxy.clone(), roots: Roots::new(trust), refused: Arc::default() }
    }

    /// What chains are judged by.
    #[must_use]
    pub const fn roots(&self) -> &Roots {
        &self.roots
    }

    /// The proxy has refused user and password: no clone of this sends them again for half an hour.
    pub fn refused(&self) {
        self.refused.store(Clock.tick().as_millis().max(1), Ordering::Relaxed);
    }

    /// Whether they were refused, and should not be sent.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let at = self.refused.load(Ordering::Relaxed);
        at != 0 && Clock.tick().since(Tick::from_millis(at)) < REFUSED
    }

    /// Looks at all of them, at the latest until `within` is over.
    #[must_use]
    pub fn probe(&self, targets: &[Target], depth: Depth, within: Duration) -> Vec<Host> {
        self.probe_all(targets, depth, within).into_iter().map(|(host, _)| host).collect()
    }

    /// The same, with the chains as they were presented.
    #[must_use]
    pub fn probe_all(&self, targets: &[Target], depth: Depth, within: Duration) -> Vec<(Host, Seen)> {
        let deadline = Deadline::after(within);
        let look = |target: &Target| self.look(target, depth, deadline);
        // Whether the proxy takes our credentials is tried once, not once for each host.
        let (first, others) = match targets.split_first() {
            Some((first, others)) if depth == Depth::Answer && self.has_credentials() => (Some(look(first)), others),
            _ => (None, targets),
        };
        std::thread::scope(|scope| {
            let looks: Vec<_> = others.iter().map(|target| scope.spawn(move || look(target))).collect();
            first.into_iter().chain(looks.into_iter().filter_map(|look| look.join().ok())).collect()
        })
    }

    /// What the proxy answers to CONNECT, if it refuses.
    #[must_use]
    pub fn answer_to_connect(&self, target: &Target, within: Duration) -> Option<ProxyAnswer> {
        let deadline = Deadline::after(within);
        let depth = Depth::Handshake;
        match Look::new(self, target, depth, deadline).steps() {
            Err(Signal::ProxyRefused(answer)) => Some(answer),
            _ => None,
        }
    }

    /// Whether a call to it would send them to the proxy once more.
    #[must_use]
    pub fn would_be_refused(&self, target: &Target) -> bool {
        self.is_refused() && matches!(self.way(target), Ok(Some((intercept, _))) if intercept.basic_auth().is_some())
    }

    /// The proxy that leads to a target, if there is one, and its name for people.
    fn way(&self, target: &Target) -> Result<Option<(Intercept, String)>, Signal> {
        let (url, shown, no_proxy) = match self.proxy.route(target.https, target.loopback) {
            Route::Direct => return Ok(None),
            Route::Unusable { detail, fix } => return Err(Signal::Unusable { detail, fix }),
            Route::Proxy { url, shown, no_proxy } => (url, shown, no_proxy),
        };
        // The matcher of the HTTP client under the SDK, so that both take the same way.
        let matcher = Matcher::builder().all(url.expose()).no(no_proxy).build();
        let scheme = if target.https { "https" } else { "http" };
        let uri = format!("{scheme}://{}:{}/", target.host, target.port).parse::<Uri>();
        Ok(uri.ok().and_then(|uri| matcher.intercept(&uri)).map(|intercept| (intercept, shown)))
    }

    fn has_credentials(&self) -> bool {
        matches!(self.proxy.route(true, false), Route::Proxy { url, .. } if url.expose().contains('@'))
    }

    fn look(&self, target: &Target, depth: Depth, deadline: Deadline) -> (Host, Seen) {
        let began = Clock.tick();
        let mut look = Look::new(self, target, depth, deadline);
        if let Err(signal) = look.steps() {
            look.host.failed = look.failure(signal).map(|failure| Failed { step: look.step, failure });
        }
        look.host.took_ms = milliseconds_since(began);
        (look.host, look.seen)
    }
}

fn milliseconds_since(tick: Tick) -> u64 {
    Clock.tick().since(tick).as_millis().try_into().unwrap_or(u64::MAX)
}

fn blank(target: &Target) -> Host {
    Host {
        service: target.service.to_owned(),
        host: target.host.clone(),
        port: target.port,
        needed_by: target.needed_by,
        own: target.own,
        proxy: None,
        addresses: Vec::new(),
        chain: Vec::new(),
        issuer: None,
        trusted: None,
        public: None,
        status: None,
        clock_offset_ms: None,
        failed: None,
        round_trip_ms: None,
        took_ms: 0,
    }
}

/// One look at one host.
struct Look<'a> {
    prober: &'a Prober,
    target: &'a Target,
    depth: Depth,
    deadline: Deadline,
    step: Step,
    host: Host,
    seen: Seen,
}

impl<'a> Look<'a> {
    fn new(prober: &'a Prober, target: &'a Target, depth: Depth, deadline: Deadline) -> Self {
        let (host, seen) = (blank(target), Seen::default());
        Self { prober, target, depth, deadline, step: Step::Settings, host, seen }
    }

    fn steps(&mut self) -> Result<(), Signal> {
        let intercept = self.way()?;
        let stream = match &intercept {
            None => self.connect(&self.target.host.clone(), self.target.port)?,
            Some(intercept) => self.through(intercept)?,
        };
        let stream = if self.target.https { self.handshake(stream, &self.target.host.clone(), true)? } else { stream };
        if self.depth == Depth::Handshake {
            return Ok(());
        }
        self.step = Step::Answer;
        let asked = Clock.tick();
        let heard = exchange::ask(stream, self.target, Clock.wall())?;
        self.host.round_trip_ms = Some(milliseconds_since(asked));
        self.host.status = Some(heard.answer.status);
        if !heard.is_aws() {
            return Err(Signal::Answer(heard.answer));
        }
        self.host.clock_offset_ms = heard.clock_offset_ms;
        Ok(())
    }

    /// The proxy that leads there, if there is one.
    fn way(&mut self) -> Result<Option<Intercept>, Signal> {
        let way = self.prober.way(self.target)?;
        self.host.proxy = way.as_ref().map(|(_, shown)| shown.clone());
        Ok(way.map(|(intercept, _)| intercept))
    }

    fn through(&mut self, intercept: &Intercept) -> Result<Stream, Signal> {
        let uri = intercept.uri();
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = self.connect(&host, port)?;
        let stream = if secure { self.handshake(stream, &host, false)? } else { stream };
        let credentials = intercept.basic_auth().and_then(|value| value.to_str().ok());
        let (prober, given) = (self.prober, credentials.is_some());
        let send = !prober.is_refused();
        self.step = Step::Tunnel;
        let opened = tunnel::open(stream, self.target, credentials.filter(|_| send));
        opened.map_err(|signal| {
            let Signal::ProxyRefused(mut answer) = signal else { return signal };
            if given && answer.status == Some(407) {
                if send {
                    prober.refused();
                }
                // Not sent again, yet known to be refused.
                answer.with_credentials = prober.is_refused();
            }
            Signal::ProxyRefused(answer)
        })
    }

    fn connect(&mut self, host: &str, port: u16) -> Result<Stream, Signal> {
        self.step = Step::Name;
        let addresses = resolve(host, port, self.deadline).map_err(|signal| self.of_proxy(signal))?;
        self.host.addresses = addresses.iter().take(4).map(|a| a.ip().to_string()).collect();
        self.step = Step::Connection;
        let wire = Wire::connect(&addresses, self.deadline);
        Ok(Box::new(wire.map_err(|e| self.of_proxy(wire::signal(&e, true)))?))
    }

    /// Whom we did not get to, or who broke off, is the proxy, where there is one.
    fn of_proxy(&self, signal: Signal) -> Signal {
        match (signal, &self.host.proxy) {
            (Signal::Unreachable { detail }, Some(proxy)) => {
                Signal::Unreachable { detail: format!("the proxy {proxy}: {detail}") }
            }
            (Signal::Broken { sent, detail }, Some(proxy)) => {
                Signal::Broken { sent, detail: format!("the proxy {proxy}: {detail}") }
            }
            (signal, _) => signal,
        }
    }

    fn handshake(&mut self, stream: Stream, host: &str, record: bool) -> Result<Stream, Signal> {
        self.step = if record { Step::Tls } else { Step::Tunnel };
        let (result, seen) = tls::handshake(stream, host, &self.prober.roots);
        if record {
            self.host.chain = certificate::describe(&seen.chain);
            self.host.issuer = certificate::issuer(&self.host.chain);
            self.host.trusted = seen.trusted;
            self.host.public = (!seen.chain.is_empty()).then(|| self.prober.roots.is_public(host, &seen));
            self.seen = seen;
        }
        result.map_err(|signal| match signal {
            Signal::Certificate { fault, .. } => Signal::Certificate { fault, issuer: self.host.issuer.clone() },
            other => other,
        })
    }

    /// As any other call would fail that showed this.
    fn failure(&self, signal: Signal) -> Option<Failure> {
        let evidence = Evidence { operation: Operation::Probe, host: self.target.host.clone(), signal };
        match evidence.classify() {
            Verdict::Failed { failure, .. } => Some(failure),
            // The portal's answer to somebody without a token.
            Verdict::TokenRefused => None,
        }
    }
}

/// The addresses behind a name. The system's resolver knows no deadline, so it is left behind when it takes too long.
fn resolve(host: &str, port: u16, deadline: Deadline) -> Result<Vec<SocketAddr>, Signal> {
    let bare = host.trim_matches(['[', ']']);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (answer, heard) = mpsc::channel();
    let name = bare.to_owned();
    std::thread::spawn(move || answer.send((name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>)));
    let within = deadline.remaining().unwrap_or_default();
    match heard.recv_timeout(within) {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(_)) => Err(Signal::Unreachable { detail: format!("{bare} has no address") }),
        Ok(Err(e)) => Err(Signal::Unreachable { detail: wire::words(&e) }),
        Err(_) => Err(Signal::TimedOut { sent: false }),
    }
}
