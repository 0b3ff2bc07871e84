//! AWS: the only room that uses the SDK's crates.
//!
//! | question | file |
//! |---|---|
//! | how is an SDK client built: deadlines, roots, proxy, no retries? | [`http`] |
//! | which address is called? | [`endpoints`] |
//! | what came back, and who answered? | [`trace`] |
//! | what does a failed call show? | [`evidence`], and at a closer look [`probe`] |
//! | the calls | [`sso_login`], [`sso_oidc`], [`sso_portal`], `bedrock` |
//! | what do the AWS config files say? | [`profile`] |
//!
//! Invariants:
//!
//! * One call is one request. Nothing here retries: a repeated CreateToken can burn a rotating refresh token, and the
//!   broker's backoff is the only retry layer.
//! * No connection is kept: after a suspend, a kept one swallows a request whose fate is then unknown.
//! * Neither [`Evidence`] nor any error text holds a secret, a request or the raw body of an answer.
//! * No environment variable is read; every setting arrives as a value.
//!
//! The SDK writes whole requests, with tokens, to its own log at level TRACE. Who installs a log subscriber must keep
//! the targets `aws_*`, `hyper*` and `rustls` above that.
//!
//! Deliberately absent: the SDK's credential and token providers. They hide failures, return expired tokens as success
//! and write the token cache in place.

#[cfg(feature = "bedrock")]
pub mod bedrock;
pub mod endpoints;
pub mod evidence;
pub mod http;
mod probe;
pub mod profile;
pub mod sso_login;
pub mod sso_oidc;
pub mod sso_portal;
mod trace;

#[cfg(test)]
mod evidence_tests;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod test_server;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::core::classify::{Evidence, Operation, Signal};
use crate::core::secret::Secret;
use crate::core::source::SsoSession;
use crate::core::status::{Finding, Setting};
use crate::core::time::Timestamp;
use crate::net::probe::Prober;
use crate::net::{Environment, NetworkSettings, trust};

pub use http::Deadlines;

use endpoints::{EnvironmentEndpoints, Service, Target};
use http::HttpClients;
use probe::Closer;
use trace::Trace;

/// The way to AWS under one set of network settings. Cheap to clone; changed settings want a new one.
#[derive(Clone, Debug)]
pub struct Aws {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: HttpClients,
    closer: Arc<Closer>,
    endpoints: EnvironmentEndpoints,
    oidc: Clients<aws_sdk_ssooidc::Client>,
    portal: Clients<aws_sdk_sso::Client>,
}

/// What one call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<T> {
    /// The success, or what the failure showed.
    pub result: Result<T, Evidence>,
    /// The `Date` of the answer, success or not: whole seconds by the clock of whoever answered.
    pub server_date: Option<Timestamp>,
}

/// A renewed SSO token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// The bearer token of the SSO portal.
    pub access_token: Secret,
    /// The next refresh token; absent: the old one stays valid.
    pub refresh_token: Option<Secret>,
    /// Its life from the moment of the answer. Never zero.
    pub expires_in: Duration,
}

impl Aws {
    /// Reads the CA files (blocking) and prepares the HTTP clients. What cannot be used becomes a finding, never a
    /// failure: a bad proxy fails the calls that need it.
    #[must_use]
    pub fn new(network: &NetworkSettings, env: &Environment, deadlines: Deadlines) -> (Self, Vec<Finding>) {
        let (trust, mut findings) = trust::load(&network.ca_files);
        findings.extend(network.proxy.findings());
        let (endpoints, ignored) = EnvironmentEndpoints::new(env);
        findings.extend(ignored);
        let shared = Shared {
            http: HttpClients::new(&trust, &network.proxy, deadlines),
            closer: Closer::new(Prober::new(&network.proxy, &trust)),
            endpoints,
            oidc: Clients::default(),
            portal: Clients::default(),
        };
        (Self { shared: Arc::new(shared) }, findings)
    }

    /// The endpoint overrides of the environment, for status.
    #[must_use]
    pub fn describe(&self) -> Vec<Setting> {
        self.shared.endpoints.describe()
    }

    /// Where a call goes and what will watch it; or why it cannot be made.
    fn prepare(
        &self,
        operation: Operation,
        service: Service,
        session: &SsoSession,
        secrets: &[&Secret],
    ) -> Result<Prepared, Box<Evidence>> {
        let host = service.default_host(&session.region);
        let refuse = |host: String, u: endpoints::Unusable| {
            Box::new(Evidence { operation, host, signal: Signal::Unusable { detail: u.detail, fix: u.fix } })
        };
        let target = self.shared.endpoints.resolve(service, session).map_err(|u| refuse(host, u))?;
        let http = self.shared.http.route(&target).map_err(|u| refuse(target.host.clone(), u))?;
        self.prepared(operation, target, http, secrets)
    }

    /// The call, unless it would only send once more what a proxy has refused.
    fn prepared(
        &self,
        operation: Operation,
        target: Target,
        http: http::Routed,
        secrets: &[&Secret],
    ) -> Result<Prepared, Box<Evidence>> {
        let closer = Arc::clone(&self.shared.closer);
        if closer.would_be_refused(&target) {
            // Until the settings change, or long after: each more may lock the account.
            return Err(Box::new(Evidence { operation, host: target.host, signal: probe::refused_before() }));
        }
        Ok(Prepared { operation, target, http, closer, trace: Trace::new(secrets) })
    }
}

/// A call that is ready to be made.
struct Prepared {
    operation: Operation,
    target: Target,
    http: http::Routed,
    closer: Arc<Closer>,
    trace: Trace,
}

impl Prepared {
    /// The failure, told by the SDK's error, by what was seen on the wire, and by a closer look at who is there.
    async fn failed<T, E>(&self, error: &http::SdkError<E>) -> Call<T> {
        let seen = self.trace.seen();
        let signal = evidence::signal(error, &seen, self.http.proxy.as_deref());
        self.call(Err(self.closer.look(signal, &self.target, self.http.has_credentials).await))
    }

    /// The same without a call's date, for a list of many pages.
    async fn failure<E>(&self, error: &http::SdkError<E>) -> Box<Evidence> {
        let call = self.failed::<(), E>(error).await;
        Box::new(call.result.err().unwrap_or_else(|| self.evidence()))
    }

    /// What an answer showed that lacks what was asked for.
    fn evidence(&self) -> Evidence {
        let (operation, host) = (self.operation, self.target.host.clone());
        Evidence { operation, host, signal: Signal::Answer(self.trace.seen().answer.unwrap_or_default()) }
    }

    /// An answer that is a success by its status and lacks what was asked for.
    fn incomplete<T>(&self) -> Call<T> {
        self.call(Err(Signal::Answer(self.trace.seen().answer.unwrap_or_default())))
    }

    fn call<T>(&self, result: Result<T, Signal>) -> Call<T> {
        let seen = self.trace.seen();
        let host = seen.host.unwrap_or_else(|| self.target.host.clone());
        let operation = self.operation;
        Call { result: result.map_err(|signal| Evidence { operation, host, signal }), server_date: seen.server_date }
    }
}

/// SDK clients by region and address. Building one costs about a millisecond, so they are kept; a config that names
/// ever new addresses does not grow them without bound.
#[derive(Debug)]
struct Clients<C>(Mutex<BTreeMap<(String, Option<String>), C>>);

impl<C> Default for Clients<C> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<C: Clone> Clients<C> {
    const MOST: usize = 64;

    fn get(&self, session: &SsoSession, target: &Target, build: impl FnOnce() -> C) -> C {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= Self::MOST {
            clients.clear();
        }
        clients.entry((session.region.clone(), target.url.clone())).or_insert_with(build).clone()
    }
}
