//! The one place where HTTP clients and SDK clients are built.
//!
//! One TLS stack (rustls with ring), one set of roots, one attempt per call, deadlines on everything. Connections are
//! not kept: calls are minutes apart, and a connection that died in a suspend would swallow a request whose outcome is
//! then unknown - for a rotating refresh token the worst case there is.

use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use super::endpoints::{Target, Unusable};
#[cfg(feature = "bedrock")]
use crate::core::credential::RoleCredentials;
use crate::net::proxy::{ProxySettings, Route};
use crate::net::trust::Trust;

/// The SDK's error over the HTTP answer.
pub(super) type SdkError<E> = aws_smithy_runtime_api::client::result::SdkError<E, HttpResponse>;

/// How long each part of a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Name lookup, TCP, the proxy's tunnel and TLS together.
    pub connect: Duration,
    /// From the start of the call to the head of the answer.
    pub read: Duration,
    /// One attempt, the body included.
    pub attempt: Duration,
    /// The call.
    pub operation: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(10),
            attempt: Duration::from_secs(15),
            operation: Duration::from_secs(20),
        }
    }
}

/// The HTTP clients: one without a proxy, one for each kind of address that has one.
#[derive(Debug)]
pub(super) struct HttpClients {
    direct: Result<Routed, Unusable>,
    https: Result<Routed, Unusable>,
    http: Result<Routed, Unusable>,
}

/// An HTTP client and the way that it takes.
#[derive(Clone, Debug)]
pub(super) struct Routed {
    client: SharedHttpClient,
    timeouts: TimeoutConfig,
    /// The proxy for people, if one is used.
    pub(super) proxy: Option<String>,
    /// Whether its URL holds user and password.
    pub(super) has_credentials: bool,
}

impl HttpClients {
    pub(super) fn new(trust: &Trust, proxy: &ProxySettings, deadlines: Deadlines) -> Self {
        let store = trust_store(trust);
        let direct = routed(&store, &Route::Direct, deadlines);
        let proxied = |https| match proxy.route(https, false) {
            Route::Direct => direct.clone(),
            route => routed(&store, &route, deadlines),
        };
        Self { https: proxied(true), http: proxied(false), direct }
    }

    /// The client for an address.
    pub(super) fn route(&self, target: &Target) -> Result<Routed, Unusable> {
        match (target.loopback, target.https) {
            (true, _) => self.direct.clone(),
            (false, true) => self.https.clone(),
            (false, false) => self.http.clone(),
        }
    }
}

/// A client of one SDK crate. Each crate has config types of its own, so what must hold for all of them, retries off
/// first, is written once here.
macro_rules! sdk_client {
    ($sdk:ident, $routed:expr, $region:expr, $target:expr) => {{
        use $sdk::config::{BehaviorVersion, Builder, Region, StalledStreamProtectionConfig};
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new($region.to_owned()))
            .http_client($routed.client.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config($routed.timeouts.clone())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_endpoint_url($target.url.clone());
        $sdk::Client::from_conf(config.build())
    }};
}

impl Routed {
    /// An SSO OIDC client.
    pub(super) fn oidc(&self, region: &str, target: &Target) -> aws_sdk_ssooidc::Client {
        sdk_client!(aws_sdk_ssooidc, self, region, target)
    }

    /// A Bedrock client that signs with these keys.
    #[cfg(feature = "bedrock")]
    pub(super) fn bedrock(&self, region: &str, target: &Target, keys: &RoleCredentials) -> aws_sdk_bedrock::Client {
        let unsigned = sdk_client!(aws_sdk_bedrock, self, region, target);
        let signed = unsigned.config().to_builder().credentials_provider(signer(keys)).build();
        aws_sdk_bedrock::Client::from_conf(signed)
    }

    /// The same for its models.
    #[cfg(feature = "bedrock")]
    pub(super) fn bedrock_runtime(
        &self,
        region: &str,
        target: &Target,
        keys: &RoleCredentials,
    ) -> aws_sdk_bedrockruntime::Client {
        let unsigned = sdk_client!(aws_sdk_bedrockruntime, self, region, target);
        let signed = unsigned.config().to_builder().credentials_provider(signer(keys)).build();
        aws_sdk_bedrockruntime::Client::from_conf(signed)
    }

    /// An SSO portal client.
    pub(super) fn portal(&self, region: &str, target: &Target) -> aws_sdk_sso::Client {
        sdk_client!(aws_sdk_sso, self, region, target)
    }
}

#[cfg(feature = "bedrock")]
fn signer(keys: &RoleCredentials) -> aws_sdk_bedrock::config::Credentials {
    aws_sdk_bedrock::config::Credentials::new(
        keys.access_key_id.as_str(),
        keys.secret_access_key.expose(),
        Some(keys.session_token.expose().to_owned()),
        None,
        "agentd",
    )
}

/// The checked roots as the text that the SDK's store wants. The platform's roots are among them already, so its own
/// loading of those stays off.
fn trust_store(trust: &Trust) -> TrustStore {
    let mut pem = String::new();
    for der in &trust.roots {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        pem.push_str(&aws_smithy_types::base64::encode(der));
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    TrustStore::empty().with_pem_certificate(pem)
}

fn routed(store: &TrustStore, route: &Route, deadlines: Deadlines) -> Result<Routed, Unusable> {
    let unusable = |what: &str, why: String| Unusable {
        detail: format!("{what} cannot be used: {why}"),
        fix: "correct it, then agentctl daemon restart".to_owned(),
    };
    let (proxy, shown, has_credentials) = match route {
        Route::Direct => (ProxyConfig::disabled(), None, false),
        Route::Proxy { url, shown, no_proxy } => {
            // The proxy's scheme was checked by `net::proxy`; the error repeats no URL, which may hold a password.
            let all = ProxyConfig::all(url.expose());
            let all = all.map_err(|_| unusable("the proxy", format!("{shown} is not a proxy's URL")))?;
            (all.no_proxy(no_proxy), Some(shown.clone()), url.expose().contains('@'))
        }
        Route::Unusable { detail, fix } => return Err(Unusable { detail: detail.clone(), fix: fix.clone() }),
    };
    let tls = TlsContext::builder().with_trust_store(store.clone()).build();
    let tls = tls.map_err(|e| unusable("the trusted roots", e.to_string()))?;
    let connector = SharedHttpConnector::new(connector(deadlines, proxy, tls));
    let (client, timeouts) = (http_client_fn(move |_, _| connector.clone()), timeouts(deadlines));
    Ok(Routed { client, timeouts, proxy: shown, has_credentials })
}

fn connector(deadlines: Deadlines, proxy: ProxyConfig, tls: TlsContext) -> Connector {
    let settings =
        HttpConnectorSettings::builder().connect_timeout(deadlines.connect).read_timeout(deadlines.read).build();
    ConnectorBuilder::default()
        .connector_settings(settings)
        .pool_max_idle_per_host(0)
        .proxy_config(proxy)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build()
}

fn timeouts(deadlines: Deadlines) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(deadlines.connect)
        .read_timeout(deadlines.read)
        .operation_attempt_timeout(deadlines.attempt)
        .operation_timeout(deadlines.operation)
        .build()
}
