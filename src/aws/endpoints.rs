//! Which address is called: AWS's own, unless something overrides it.
//!
//! Order: the service's environment variable, `AWS_ENDPOINT_URL`, the service's config key, the profile's
//! `endpoint_url` (the SDKs' order; the config's two arrive merged in [`Endpoints`](crate::core::source::Endpoints)).
//!
//! * The environment may redirect to **loopback only**. A variable is set by whatever runs in a shell; one that sent
//!   refresh tokens to another host would be theft by `export`. Others are ignored, with a finding.
//! * The config file is the user's own deliberate word and is followed, with TLS.
//! * Plain http is for loopback only: the requests carry bearer and refresh tokens.

use std::net::IpAddr;

use hyper::Uri;

use crate::core::source::SsoSession;
use crate::core::status::{Finding, Setting};
use crate::net::Environment;

/// A service with an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// SSO OIDC.
    Oidc,
    /// The SSO portal.
    Portal,
    /// STS, which the agent never asks: tools that it serves do.
    Sts,
    /// Bedrock's control plane.
    Bedrock,
    /// Where Bedrock's models are.
    BedrockRuntime,
}

/// A resolved address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The override; `None`: the SDK's own choice by region.
    pub url: Option<String>,
    /// Its host, for people.
    pub host: String,
    /// Whether TLS is used.
    pub https: bool,
    /// Whether it is this machine.
    pub loopback: bool,
}

/// Why a call cannot be made: class `misconfigured`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong.
    pub detail: String,
    /// What to set.
    pub fix: String,
}

/// The overrides of one environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentEndpoints {
    oidc: Option<(&'static str, Target)>,
    portal: Option<(&'static str, Target)>,
    sts: Option<Target>,
    bedrock: Option<(&'static str, Target)>,
    bedrock_runtime: Option<(&'static str, Target)>,
    ignore_all: bool,
}

const GLOBAL: &str = "AWS_ENDPOINT_URL";
const IGNORE: &str = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS";

impl Service {
    const fn variable(self) -> &'static str {
        match self {
            Self::Oidc => "AWS_ENDPOINT_URL_SSO_OIDC",
            Self::Portal => "AWS_ENDPOINT_URL_SSO",
            Self::Sts => "AWS_ENDPOINT_URL_STS",
            Self::Bedrock => "AWS_ENDPOINT_URL_BEDROCK",
            Self::BedrockRuntime => "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        }
    }

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oidc => "SSO OIDC",
            Self::Portal => "SSO portal",
            Self::Sts => "STS",
            Self::Bedrock => "Bedrock",
            Self::BedrockRuntime => "Bedrock runtime",
        }
    }

    /// AWS's own host in a region: for texts and probes, which have no part in the SDK's partition table.
    #[must_use]
    pub fn default_host(self, region: &str) -> String {
        let suffix = match region {
            _ if region.starts_with("cn-") => "amazonaws.com.cn",
            _ if region.starts_with("eusc-") => "amazonaws.eu",
            _ => "amazonaws.com",
        };
        match self {
            Self::Oidc => format!("oidc.{region}.{suffix}"),
            Self::Portal => format!("portal.sso.{region}.{suffix}"),
            Self::Sts => format!("sts.{region}.{suffix}"),
            Self::Bedrock => format!("bedrock.{region}.{suffix}"),
            Self::BedrockRuntime => format!("bedrock-runtime.{region}.{suffix}"),
        }
    }
}

impl EnvironmentEndpoints {
    /// The overrides of `env` that are honoured, and a finding for each that is not.
    #[must_use]
    pub fn new(env: &Environment) -> (Self, Vec<Finding>) {
        let set = |name: &str| env.get(name).map(String::as_str).filter(|v| !v.is_empty());
        if set(IGNORE).is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            return (Self { ignore_all: true, ..Self::default() }, Vec::new());
        }
        let mut findings = Vec::new();
        let mut honoured = |name: &'static str| {
            let value = set(name)?;
            let why = match parse(value) {
                Ok(target) if target.loopback => return Some((name, target)),
                Ok(target) => format!("{name} names {}, which is not this machine", target.host),
                Err(why) => format!("{name} {why}"),
            };
            findings.push(Finding::new(
                "endpoint-override-ignored",
                format!("{why}; it is ignored"),
                "unset it, or write endpoint_url into the AWS config file",
            ));
            None
        };
        let global = honoured(GLOBAL);
        let oidc = honoured(Service::Oidc.variable()).or_else(|| global.clone());
        let portal = honoured(Service::Portal.variable()).or_else(|| global.clone());
        let bedrock = honoured(Service::Bedrock.variable()).or_else(|| global.clone());
        let bedrock_runtime = honoured(Service::BedrockRuntime.variable()).or(global);
        // Nothing secret is sent there: wherever other tools go is fine.
        let sts = [Service::Sts.variable(), GLOBAL].iter().find_map(|name| parse(set(name)?).ok());
        (Self { oidc, portal, sts, bedrock, bedrock_runtime, ignore_all: false }, findings)
    }

    /// What status shows.
    #[must_use]
    pub fn describe(&self) -> Vec<Setting> {
        let mut shown: Vec<_> = (self.oidc.iter().chain(&self.portal))
            .map(|(name, target)| Setting {
                name: (*name).to_owned(),
                value: target.url.clone().unwrap_or_default(),
                origin: "environment".to_owned(),
            })
            .collect();
        shown.dedup();
        shown
    }

    /// The address of `service` for a session.
    ///
    /// # Errors
    ///
    /// The region is no region, or the config's override is no URL that may be used.
    pub fn resolve(&self, service: Service, session: &SsoSession) -> Result<Target, Unusable> {
        if !is_region(&session.region) {
            return Err(Unusable {
                detail: format!("sso_region '{}' is not the name of a region", session.region),
                fix: "set sso_region to where Identity Center lives, for example eu-west-1".to_owned(),
            });
        }
        let (from_env, configured) = match service {
            Service::Oidc => (&self.oidc, &session.endpoints.oidc),
            Service::Portal => (&self.portal, &session.endpoints.portal),
            Service::Sts | Service::Bedrock | Service::BedrockRuntime => {
                return self.regional(service, &session.region);
            }
        };
        match (from_env, configured) {
            (Some((_, target)), _) => Ok(target.clone()),
            (None, Some(url)) if !self.ignore_all => parse(url).map_err(|why| Unusable {
                detail: format!("endpoint_url in the AWS config file {why}"),
                fix: "write https://host, or remove it".to_owned(),
            }),
            _ => Ok(own(service, &session.region)),
        }
    }

    /// Where a service is that no session has an address for.
    ///
    /// # Errors
    ///
    /// The region is no region.
    pub fn regional(&self, service: Service, region: &str) -> Result<Target, Unusable> {
        if !is_region(region) {
            return Err(Unusable {
                detail: format!("'{region}' is not the name of a region"),
                fix: "name one, for example eu-west-1".to_owned(),
            });
        }
        let from_env = match service {
            Service::Bedrock => &self.bedrock,
            Service::BedrockRuntime => &self.bedrock_runtime,
            Service::Oidc => &self.oidc,
            Service::Portal => &self.portal,
            Service::Sts => return Ok(self.sts(region)),
        };
        Ok(from_env.as_ref().map_or_else(|| own(service, region), |(_, target)| target.clone()))
    }

    /// Where STS is in a region.
    #[must_use]
    pub fn sts(&self, region: &str) -> Target {
        self.sts.clone().unwrap_or_else(|| own(Service::Sts, region))
    }
}

/// AWS's own address.
fn own(service: Service, region: &str) -> Target {
    Target { url: None, host: service.default_host(region), https: true, loopback: false }
}

/// Whether the text can be a region's name. It becomes part of a host name, so nothing else may pass.
#[must_use]
pub fn is_region(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=40).contains(&text.len()) && text.chars().all(fine) && !text.starts_with('-') && !text.ends_with('-')
}

fn parse(url: &str) -> Result<Target, String> {
    let uri: Uri = url.trim().parse().map_err(|_| "is not a URL".to_owned())?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err("must begin with https://".to_owned()),
    };
    let Some(authority) = uri.authority().filter(|a| !a.host().is_empty()) else {
        return Err("names no host".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("must not hold a user name".to_owned());
    }
    if authority.as_str() != authority.host() && authority.port_u16().is_none() {
        return Err("has an unreadable port".to_owned());
    }
    let host = authority.host().to_ascii_lowercase();
    let loopback = is_loopback(&host);
    if !https && !loopback {
        return Err(format!("is plain http to {host}: tokens would travel in the clear"));
    }
    Ok(Target { url: Some(url.trim().to_owned()), host, https, loopback })
}

/// `localhost` by name, and the loopback networks by number.
fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::source::Endpoints;

    fn env(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn session(oidc: Option<&str>, portal: Option<&str>) -> SsoSession {
        SsoSession {
            name: None,
            start_url: "https://corp.awsapps.com/start".to_owned(),
            region: "eu-west-1".to_owned(),
            scopes: Vec::new(),
            endpoints: Endpoints { oidc: oidc.map(str::to_owned), portal: portal.map(str::to_owned) },
        }
    }

    /// A probe goes to the host that is named here, a call to the one that the SDK finds in its table of partitions.
    #[test]
    fn each_partition_has_the_host_that_the_sdk_calls() {
        macro_rules! called {
            ($sdk:ident, $region:expr) => {{
                use $sdk::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
                let params = Params::builder().region($region.to_owned()).use_fips(false).use_dual_stack(false);
                let (params, resolver) = (params.build().unwrap(), DefaultResolver::new());
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let found = runtime.block_on(ResolveEndpoint::resolve_endpoint(&resolver, &params)).unwrap();
                found.url().trim_start_matches("https://").to_owned()
            }};
        }
        for region in ["us-east-1", "eu-west-1", "us-gov-west-1", "us-gov-east-1", "cn-north-1", "eusc-de-east-1"] {
            assert_eq!(Service::Oidc.default_host(region), called!(aws_sdk_ssooidc, region));
            assert_eq!(Service::Portal.default_host(region), called!(aws_sdk_sso, region));
            #[cfg(feature = "bedrock")]
            {
                assert_eq!(Service::Bedrock.default_host(region), called!(aws_sdk_bedrock, region));
                assert_eq!(Service::BedrockRuntime.default_host(region), called!(aws_sdk_bedrockruntime, region));
            }
        }
    }

    #[test]
    fn the_order_is_service_variable_global_variable_config() {
        let all = env(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ENDPOINT_URL_SSO", "http://localhost:2")]);
        let (e, findings) = EnvironmentEndpoints::new(&all);
        let s = session(Some("https://config.example"), Some("https://config.example"));
        assert_eq!(findings, vec![]);
        assert_eq!(e.resolve(Service::Oidc, &s).unwrap().url.as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(e.resolve(Service::Portal, &s).unwrap().url.as_deref(), Some("http://localhost:2"));
        assert_eq!(e.describe().len(), 2);

        let (none, _) = EnvironmentEndpoints::new(&env(&[]));
        assert_eq!(none.resolve(Service::Oidc, &s).unwrap().host, "config.example");
        let own = none.resolve(Service::Portal, &session(None, None)).unwrap();
        assert_eq!((own.url, own.host.as_str()), (None, "portal.sso.eu-west-1.amazonaws.com"));
    }

    #[test]
    fn the_environment_reaches_loopback_only() {
        for url in
            ["https://evil.example", "http://169.254.1.1", "http://127.0.0.1@evil.example", "junk", "http://[::1"]
        {
            let (e, findings) = EnvironmentEndpoints::new(&env(&[("AWS_ENDPOINT_URL_SSO_OIDC", url)]));
            assert_eq!(findings.len(), 1, "{url}");
            assert_eq!(findings[0].name, "endpoint-override-ignored");
            assert_eq!(e.resolve(Service::Oidc, &session(None, None)).unwrap().url, None, "{url}");
        }
        for url in ["http://[::1]:80", "http://127.9.9.9", "https://LOCALHOST:1/base"] {
            let (e, findings) = EnvironmentEndpoints::new(&env(&[("AWS_ENDPOINT_URL", url)]));
            assert_eq!(findings, vec![], "{url}");
            assert!(e.resolve(Service::Oidc, &session(None, None)).unwrap().loopback);
        }
    }

    #[test]
    fn the_config_may_go_anywhere_with_tls() {
        let (e, _) = EnvironmentEndpoints::new(&env(&[]));
        assert!(e.resolve(Service::Oidc, &session(Some("https://vpce.example:8443"), None)).unwrap().https);
        assert!(e.resolve(Service::Oidc, &session(Some("http://127.0.0.1:9"), None)).unwrap().loopback);
        for bad in ["http://vpce.example", "ftp://x", "", "https://", "https://u@h", "https://h:port"] {
            let refused = e.resolve(Service::Oidc, &session(Some(bad), None));
            assert!(refused.is_err(), "{bad}: {refused:?}");
        }
    }

    #[test]
    fn overrides_can_be_ignored_altogether() {
        let ignore = env(&[(IGNORE, "true"), (GLOBAL, "http://127.0.0.1:1")]);
        let (e, findings) = EnvironmentEndpoints::new(&ignore);
        let target = e.resolve(Service::Oidc, &session(Some("https://config.example"), None)).unwrap();
        assert_eq!((target.url, findings), (None, vec![]));
    }

    #[test]
    fn a_region_cannot_become_another_host() {
        let (e, _) = EnvironmentEndpoints::new(&env(&[]));
        for bad in ["", "evil.example/", "eu west", "EU-WEST-1", "-", "a@b", &"a".repeat(41)] {
            let s = SsoSession { region: (*bad).to_owned(), ..session(None, None) };
            assert!(e.resolve(Service::Oidc, &s).is_err(), "{bad}");
        }
    }
}
