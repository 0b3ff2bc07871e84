//! Which proxy an address is reached through.
//!
//! * Names, in this order: our `config.toml`, the lower-case variable, the upper-case variable (as curl and Python do);
//!   `https_proxy` for https addresses, `http_proxy` for http ones, `all_proxy` for both. An empty value is a decision:
//!   no proxy.
//! * `NO_PROXY` names hosts, domains (with all their subdomains), addresses and networks; `*` is everything.
//! * **A loopback address is never sent to a proxy**, whatever the settings say. It names this machine; at the proxy
//!   it would name another one, which would then be shown a bearer token. No setting could make that right.
//! * A proxy that cannot be used (SOCKS, an unreadable URL) is an error for the calls that need it, never a silent
//!   direct connection: who sets a proxy may have reasons to keep traffic off the direct way.
//!
//! User and password stay in a [`Secret`] and appear in no listing.

use http::Uri;

use super::settings::{Environment, NetworkConfig, Origin};
use crate::core::secret::Secret;
use crate::core::status::{Finding, Setting};

/// The proxies in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    https: Option<Proxy>,
    http: Option<Proxy>,
    no_proxy: Option<NoProxy>,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proxy {
    name: String,
    origin: Origin,
    shown: String,
    url: Result<Secret, &'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct NoProxy {
    name: String,
    origin: Origin,
    list: String,
}

/// How an address is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Without a proxy.
    Direct,
    /// Through this proxy, unless the host is on the list.
    Proxy {
        /// The proxy's URL with user and password.
        url: Secret,
        /// The same for people, without them.
        shown: String,
        /// Hosts that are reached directly, separated by commas.
        no_proxy: String,
    },
    /// A proxy is asked for that cannot be used.
    Unusable {
        /// What is wrong.
        detail: String,
        /// What to set.
        fix: String,
    },
}

impl ProxySettings {
    /// The proxies that `env` and `config` ask for.
    #[must_use]
    pub fn new(env: &Environment, config: &NetworkConfig) -> Self {
        let configured = config.https_proxy.as_ref().map(|v| ("https_proxy".to_owned(), v.clone(), Origin::Config));
        let https = configured.or_else(|| variable(env, &["https_proxy", "all_proxy"]));
        let no_proxy = (config.no_proxy.as_ref())
            .map(|v| ("no_proxy".to_owned(), v.clone(), Origin::Config))
            .or_else(|| variable(env, &["no_proxy"]));
        Self {
            https: https.and_then(Proxy::new),
            http: variable(env, &["http_proxy", "all_proxy"]).and_then(Proxy::new),
            no_proxy: no_proxy
                .map(|(name, value, origin)| NoProxy { name, origin, list: normalize_list(&value) })
                .filter(|n| !n.list.is_empty()),
        }
    }

    /// The way to an address of this scheme. `loopback` addresses are always [`Route::Direct`].
    #[must_use]
    pub fn route(&self, https: bool, loopback: bool) -> Route {
        let Some(proxy) = (if https { &self.https } else { &self.http }) else { return Route::Direct };
        if loopback {
            return Route::Direct;
        }
        match &proxy.url {
            Ok(url) => Route::Proxy {
                url: url.clone(),
                shown: proxy.shown.clone(),
                no_proxy: self.no_proxy.as_ref().map(|n| n.list.clone()).unwrap_or_default(),
            },
            Err(why) => Route::Unusable {
                detail: format!("{} ({}) {why}", proxy.name, proxy.shown),
                fix: format!("set {} to http://host:port, or unset it", proxy.name),
            },
        }
    }

    /// What status shows.
    #[must_use]
    pub fn describe(&self) -> Vec<Setting> {
        let shown = |name: &str, value: &str, origin: Origin| Setting {
            name: name.to_owned(),
            value: value.to_owned(),
            origin: origin.name().to_owned(),
        };
        let mut all: Vec<_> = self.https.iter().chain(&self.http).map(|p| shown(&p.name, &p.shown, p.origin)).collect();
        all.dedup();
        all.extend(self.no_proxy.iter().map(|n| shown(&n.name, &n.list, n.origin)));
        all
    }

    /// Settings that cannot be used.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut all: Vec<_> = (self.https.iter().chain(&self.http))
            .filter_map(|p| {
                let why = p.url.as_ref().err()?;
                Some(Finding::new(
                    "proxy-unusable",
                    format!("{} ({}) {why}", p.name, p.shown),
                    format!("set {} to http://host:port, or unset it", p.name),
                ))
            })
            .collect();
        all.dedup();
        all
    }
}

impl Proxy {
    fn new((name, value, origin): (String, String, Origin)) -> Option<Self> {
        let value = value.trim();
        if value.is_empty() {
            return None;
        }
        let full = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let url = check(&full).map(|()| Secret::new(full.clone()));
        Some(Self { name, origin, shown: redacted(&full), url })
    }
}

/// The first of `names` that is set, in lower case before upper case.
fn variable(env: &Environment, names: &[&str]) -> Option<(String, String, Origin)> {
    names.iter().find_map(|name| {
        let spellings = [(*name).to_owned(), name.to_ascii_uppercase()];
        let name = spellings.into_iter().find(|s| env.contains_key(s))?;
        let value = env.get(&name)?.clone();
        Some((name, value, Origin::Environment))
    })
}

/// Refuses what the HTTP client would quietly ignore, which would mean a direct connection.
fn check(url: &str) -> Result<(), &'static str> {
    const UNREADABLE: &str = "is not a URL that can be used; percent-encode user and password";
    let uri: Uri = url.parse().map_err(|_| UNREADABLE)?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(s) if s.starts_with("socks") => return Err("is a SOCKS proxy, which is not supported"),
        _ => return Err("has a scheme that is not supported"),
    }
    if uri.path().to_ascii_lowercase().ends_with(".pac") {
        return Err("is the address of a PAC script, which is not read here");
    }
    let authority = uri.authority().ok_or(UNREADABLE)?;
    let at_signs = authority.as_str().matches('@').count();
    let host_and_port = authority.as_str().rsplit('@').next().unwrap_or_default();
    let port_is_fine = host_and_port == authority.host() || authority.port_u16().is_some();
    if at_signs > 1 || authority.host().is_empty() || !port_is_fine {
        return Err(UNREADABLE);
    }
    Ok(())
}

/// The URL without user, password, path and query: everything before the last `@` is taken for a secret, even in a
/// URL that does not parse.
fn redacted(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{}", host_only(host)),
        None => format!("{scheme}://{}", host_only(rest)),
    }
}

fn host_only(text: &str) -> &str {
    text.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Commas between entries (curl allows blanks), and `*.x` as `.x`: the matcher knows only the latter.
fn normalize_list(list: &str) -> String {
    let entries = list.split([',', ' ', '\t']).filter(|e| !e.is_empty());
    let entries: Vec<_> = entries.map(|e| e.strip_prefix('*').filter(|r| r.starts_with('.')).unwrap_or(e)).collect();
    entries.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> ProxySettings {
        let env = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        ProxySettings::new(&env, &NetworkConfig::default())
    }

    fn url(route: &Route) -> Option<&str> {
        match route {
            Route::Proxy { url, .. } => Some(url.expose()),
            _ => None,
        }
    }

    #[test]
    fn lower_case_wins_and_empty_is_a_decision() {
        let s = settings(&[("HTTPS_PROXY", "http://upper:1"), ("https_proxy", "lower:2")]);
        assert_eq!(url(&s.route(true, false)), Some("http://lower:2"));
        assert_eq!(s.route(false, false), Route::Direct, "https_proxy says nothing of http");
        let s = settings(&[("HTTPS_PROXY", "http://upper:1"), ("https_proxy", "")]);
        assert_eq!(s.route(true, false), Route::Direct);
        let s = settings(&[("ALL_PROXY", "http://all:1")]);
        assert_eq!(
            (url(&s.route(true, false)), url(&s.route(false, false))),
            (Some("http://all:1"), Some("http://all:1"))
        );
        assert_eq!(s.describe().len(), 1);
    }

    #[test]
    fn config_outranks_the_environment() {
        let env = Environment::from([("https_proxy".to_owned(), "http://env:1".to_owned())]);
        let config = NetworkConfig { https_proxy: Some("http://own:1".to_owned()), ..NetworkConfig::default() };
        assert_eq!(url(&ProxySettings::new(&env, &config).route(true, false)), Some("http://own:1"));
        let config = NetworkConfig { https_proxy: Some(String::new()), ..NetworkConfig::default() };
        assert_eq!(ProxySettings::new(&env, &config).route(true, false), Route::Direct);
    }

    #[test]
    fn loopback_never_goes_to_a_proxy() {
        let s = settings(&[("https_proxy", "http://p:1"), ("http_proxy", "socks5://p:1")]);
        assert_eq!((s.route(true, true), s.route(false, true)), (Route::Direct, Route::Direct));
    }

    #[test]
    fn passwords_are_not_shown() {
        for (given, shown) in [
            ("http://user:hunter2@proxy:3128/", "http://***@proxy:3128"),
            ("user:hunter2@proxy:3128", "http://***@proxy:3128"),
            ("http://user:hunter2@hunter2@proxy:3128", "http://***@proxy:3128"),
            ("http://user:hunt/er2@proxy:3128", "http://***@proxy:3128"),
            ("socks5://user:hunter2@proxy", "socks5://***@proxy"),
        ] {
            let s = settings(&[("HTTPS_PROXY", given)]);
            assert_eq!(s.describe()[0].value, shown, "{given}");
            let all = format!("{s:?} {:?} {:?} {:?}", s.route(true, false), s.findings(), s.describe());
            assert!(!all.contains("hunt"), "{all}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_never_a_direct_connection() {
        for bad in [
            "socks5://p:1",
            "http://p:1/proxy.pac",
            "ftp://p:1",
            "http://",
            "http://p:port",
            "http://u:p@ss@p:1",
            "http://u:p?w@p:1",
            "::",
        ] {
            let s = settings(&[("HTTPS_PROXY", bad)]);
            assert!(matches!(s.route(true, false), Route::Unusable { .. }), "{bad}: {:?}", s.route(true, false));
            assert_eq!(s.findings().len(), 1, "{bad}");
        }
    }

    #[test]
    fn no_proxy_is_normalized() {
        let s = settings(&[("https_proxy", "http://p:1"), ("NO_PROXY", "localhost, *.corp.example 10.0.0.0/8,,*")]);
        let Route::Proxy { no_proxy, .. } = s.route(true, false) else { panic!("no proxy") };
        assert_eq!(no_proxy, "localhost,.corp.example,10.0.0.0/8,*");
    }
}
