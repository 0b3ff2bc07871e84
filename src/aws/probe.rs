//! Probes of AWS's hosts: what is asked of each, and a closer look where a call failed on a certificate or a proxy.
//!
//! The HTTP client under the SDK does not tell who signed a certificate that it refuses, nor what a proxy answered to
//! CONNECT. So whoever is there is looked at once more, by [`crate::net::probe`] and without any secret.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Uri;
use tokio::sync::Mutex as AsyncMutex;

use super::Aws;
use super::endpoints::{Service, Target, Unusable};
use crate::core::classify::{Issuer, ProxyAnswer, Signal};
use crate::core::probe::{Host, NeededBy, inspected_trusted};
use crate::core::source::SsoSession;
use crate::core::status::Finding;
use crate::core::time::Tick;
use crate::net::probe::{self, Depth, Prober, Request};
use crate::platform::clock::Clock;

/// A closer look takes no longer.
const LOOK: Duration = Duration::from_secs(3);
/// What was seen is good for so long: a burst of calls that fail is one look.
const FRESH: Duration = Duration::from_secs(30);
/// Where all is well a look costs one handshake, beside calls that cost three an hour or so.
const NOW_AND_THEN: Duration = Duration::from_secs(3600);

impl Aws {
    /// Looks under the settings of this.
    #[must_use]
    pub fn prober(&self) -> &Prober {
        &self.shared.closer.prober
    }

    /// The hosts behind a session, and STS in `region` for the tools that ask it; where they are said to ask Bedrock there,
    /// that too.
    ///
    /// # Errors
    /// An address of the session cannot be used.
    pub fn probe_targets(
        &self,
        session: &SsoSession,
        region: &str,
        bedrock: bool,
    ) -> Result<Vec<probe::Target>, Unusable> {
        let resolve = |service| Ok(target(service, &self.shared.endpoints.resolve(service, session)?));
        let sts = self.shared.endpoints.sts(region);
        let mut targets = vec![resolve(Service::Oidc)?, resolve(Service::Portal)?, target(Service::Sts, &sts)];
        if bedrock {
            let runtime = Service::BedrockRuntime;
            targets.push(target(runtime, &self.shared.endpoints.regional(runtime, region)?));
        }
        Ok(targets)
    }
}

fn target(service: Service, target: &Target) -> probe::Target {
    let uri = target.url.as_deref().and_then(|url| url.trim().parse::<Uri>().ok());
    let port = uri.as_ref().and_then(Uri::port_u16).unwrap_or(if target.https { 443 } else { 80 });
    let base = uri.as_ref().map_or("", |uri| uri.path().trim_end_matches('/'));
    probe::Target {
        service: service.name(),
        host: target.host.clone(),
        port,
        https: target.https,
        loopback: target.loopback,
        own: target.url.is_none(),
        needed_by: match service {
            Service::Oidc | Service::Portal => NeededBy::Agent,
            Service::Sts => NeededBy::Clients,
            Service::Bedrock | Service::BedrockRuntime => NeededBy::ClaudeCode,
        },
        request: request(service, base),
    }
}

/// What AWS refuses for want of what is missing: no grant, no bearer token, no signature.
fn request(service: Service, base: &str) -> Request {
    let (method, path, body) = match service {
        Service::Oidc => ("POST", "/token", Some(("application/json", "{}"))),
        Service::Portal => ("GET", "/assignment/accounts", None),
        Service::Bedrock => ("GET", "/inference-profiles", None),
        Service::BedrockRuntime => ("POST", "/model/none/invoke", Some(("application/json", "{}"))),
        Service::Sts => {
            let form = "Action=GetCallerIdentity&Version=2011-06-15";
            ("POST", "/", Some(("application/x-www-form-urlencoded; charset=utf-8", form)))
        }
    };
    Request { method, path: format!("{base}{path}"), body }
}

impl Aws {
    /// Where AWS is reached: whether somebody opens TLS on the way, who is trusted here. Looked at now and then.
    pub async fn look_who_is_there(&self, session: &SsoSession) {
        let Ok(target) = self.shared.endpoints.resolve(Service::Portal, session) else { return };
        if target.url.is_none() && self.shared.closer.is_due() {
            let host = self.shared.closer.host(&target).await;
            let issuer = host.filter(|host| host.is_inspected() && host.trusted == Some(true)).and_then(|h| h.issuer);
            *self.shared.closer.inspected.lock().unwrap_or_else(PoisonError::into_inner) = issuer;
        }
    }

    /// Who opens TLS on the way, and is trusted here.
    #[must_use]
    pub fn inspected(&self) -> Option<Finding> {
        let issuer = self.shared.closer.inspected.lock().unwrap_or_else(PoisonError::into_inner);
        issuer.as_ref().map(inspected_trusted)
    }
}

/// The proxy has refused user and password, so they were not sent.
pub(super) fn refused_before() -> Signal {
    Signal::ProxyRefused(ProxyAnswer { status: Some(407), schemes: Vec::new(), with_credentials: true })
}

/// Looks closer where a call failed, and now and then where one did not.
#[derive(Debug)]
pub(super) struct Closer {
    prober: Prober,
    seen: AsyncMutex<BTreeMap<String, (Tick, Host)>>,
    inspected: Mutex<Option<Issuer>>,
    /// When nothing had failed and it was looked all the same, in milliseconds of the monotonic clock; 0: never.
    looked_at: AtomicU64,
}

impl Closer {
    pub(super) fn new(prober: Prober) -> Arc<Self> {
        let (seen, inspected, looked_at) = Default::default();
        Arc::new(Self { prober, seen, inspected, looked_at })
    }

    /// Whether the proxy on the way there has refused user and password, which are not to be sent again.
    pub(super) fn would_be_refused(&self, at: &Target) -> bool {
        self.prober.is_refused() && self.prober.would_be_refused(&target(Service::Portal, at))
    }

    /// Whether it is time to look although nothing failed; said once.
    fn is_due(&self) -> bool {
        let (now, last) = (Clock.tick(), self.looked_at.load(Ordering::Relaxed));
        let due = last == 0 || now.since(Tick::from_millis(last)) >= NOW_AND_THEN;
        due && self.looked_at.compare_exchange(last, now.as_millis(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The signal with what a closer look at the host adds.
    pub(super) async fn look(&self, signal: Signal, target: &Target, with_credentials: bool) -> Signal {
        match signal {
            Signal::Certificate { fault, issuer: None } => {
                let issuer = self.host(target).await.and_then(|host| host.issuer);
                Signal::Certificate { fault, issuer }
            }
            Signal::ProxyRefused(answer) => self.proxy(answer, target, with_credentials).await,
            other => other,
        }
    }

    async fn proxy(&self, mut answer: ProxyAnswer, at: &Target, with_credentials: bool) -> Signal {
        answer.with_credentials = with_credentials && answer.status == Some(407);
        if answer.with_credentials {
            // So they are not sent once more just to look.
            self.prober.refused();
        }
        if let Some(told) = self.answer_to_connect(target(Service::Portal, at)).await {
            answer.schemes = told.schemes;
            answer.status = answer.status.or(told.status);
        }
        Signal::ProxyRefused(answer)
    }

    async fn answer_to_connect(&self, target: probe::Target) -> Option<ProxyAnswer> {
        let prober = self.prober.clone();
        tokio::task::spawn_blocking(move || prober.answer_to_connect(&target, LOOK)).await.ok().flatten()
    }

    async fn host(&self, at: &Target) -> Option<Host> {
        let mut seen = self.seen.lock().await;
        let now = Clock.tick();
        seen.retain(|_, (at, _)| now.since(*at) < FRESH);
        let target = target(Service::Portal, at);
        let key = format!("{}:{}", target.host, target.port);
        if let Some((_, host)) = seen.get(&key) {
            return Some(host.clone());
        }
        let prober = self.prober.clone();
        let looked = tokio::task::spawn_blocking(move || prober.probe(&[target], Depth::Handshake, LOOK)).await;
        let host = looked.ok()?.pop()?;
        seen.insert(key, (now, host.clone()));
        Some(host)
    }
}
