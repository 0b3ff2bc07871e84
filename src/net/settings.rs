//! The network settings in force, each with its origin.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::proxy::ProxySettings;
use crate::core::status::Setting;

/// An environment as a value: the daemon's own, or the one of the client that started it.
pub type Environment = BTreeMap<String, String>;

/// The network keys of our own `config.toml`, each of which outranks the environment, and what the AWS config adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkConfig {
    /// `https_proxy`: a URL; empty means no proxy whatever the environment says.
    pub https_proxy: Option<String>,
    /// `no_proxy`: hosts, domains and networks that are reached directly.
    pub no_proxy: Option<String>,
    /// `ca_bundle`: a PEM file of roots to trust as well.
    pub ca_bundle: Option<PathBuf>,
    /// The same key of the AWS config file's profiles.
    pub aws_ca_bundles: Vec<PathBuf>,
}

/// A PEM file of roots to trust beside the platform's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaFile {
    /// The variable or config key that names it.
    pub name: &'static str,
    /// Where it is set.
    pub origin: Origin,
    /// The file.
    pub path: PathBuf,
}

/// Where a setting came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An environment variable.
    Environment,
    /// Our own `config.toml`.
    Config,
    /// The AWS config file.
    AwsConfig,
}

impl Origin {
    /// The word that status shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Config => "config.toml",
            Self::AwsConfig => "AWS config",
        }
    }
}

/// Everything that decides how AWS is reached, apart from endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Which proxy is used for what.
    pub proxy: ProxySettings,
    /// Roots to trust beside the platform's own: all of them, in this order.
    pub ca_files: Vec<CaFile>,
}

/// Every variable by which some tool of the field is told of a company's CA. The union of all is trusted, because the
/// user who told one of them told us.
const CA_VARIABLES: [&str; 5] =
    ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

impl NetworkSettings {
    /// The settings that `env` and `config` ask for. Nothing is opened yet.
    #[must_use]
    pub fn new(env: &Environment, config: &NetworkConfig) -> Self {
        let from_config = config.ca_bundle.iter().filter(|p| !p.as_os_str().is_empty()).map(|path| CaFile {
            name: "ca_bundle",
            origin: Origin::Config,
            path: path.clone(),
        });
        let from_env = CA_VARIABLES.iter().filter_map(|name| {
            let path = env.get(*name).filter(|v| !v.is_empty())?;
            Some(CaFile { name, origin: Origin::Environment, path: path.into() })
        });
        let from_aws = config.aws_ca_bundles.iter().map(|path| CaFile {
            name: "ca_bundle",
            origin: Origin::AwsConfig,
            path: path.clone(),
        });
        let ca_files = from_config.chain(from_env).chain(from_aws).collect();
        Self { proxy: ProxySettings::new(env, config), ca_files }
    }

    /// What status shows.
    #[must_use]
    pub fn describe(&self) -> Vec<Setting> {
        let mut shown = self.proxy.describe();
        shown.extend(self.ca_files.iter().map(|f| Setting {
            name: f.name.to_owned(),
            value: f.path.display().to_string(),
            origin: f.origin.name().to_owned(),
        }));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ca_variable_is_taken_and_named() {
        let env: Environment =
            CA_VARIABLES.iter().map(|name| ((*name).to_owned(), format!("/ca/{name}.pem"))).collect();
        let config = NetworkConfig { ca_bundle: Some("/ca/own.pem".into()), ..NetworkConfig::default() };
        let settings = NetworkSettings::new(&env, &config);
        let shown = settings.describe();
        assert_eq!(shown.len(), 6);
        assert_eq!((shown[0].name.as_str(), shown[0].origin.as_str()), ("ca_bundle", "config.toml"));
        assert_eq!((shown[1].name.as_str(), shown[1].value.as_str()), ("AWS_CA_BUNDLE", "/ca/AWS_CA_BUNDLE.pem"));
    }

    #[test]
    fn an_empty_value_is_no_value() {
        let env = Environment::from([("AWS_CA_BUNDLE".to_owned(), String::new())]);
        assert_eq!(NetworkSettings::new(&env, &NetworkConfig::default()), NetworkSettings::default());
    }
}
