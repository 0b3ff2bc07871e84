//! What the daemon is told by its environment and its `config.toml`, and what follows from it: the broker's settings,
//! the way to AWS, and what status says about both. Read at the start, and again when the file changes, or a file of
//! trusted roots that it or the environment names, or one of the system's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tracing::{info, warn};

use super::event_loop::{Message, Sender};
use super::http::Circumstances;
use crate::aws::{Aws, Deadlines};
use crate::core::broker::Event;
use crate::core::failure::Failure;
use crate::core::login::FlowWish;
use crate::core::settings::Settings;
use crate::core::source::World;
use crate::core::status::{Finding, Setting};
use crate::core::time::Tick;
use crate::files::config_toml::Config;
use crate::files::watch::Stamp;
use crate::net::{NetworkConfig, NetworkSettings, trust};
use crate::platform::clock::Clock;
use crate::platform::home::Environment;

/// The configuration in force.
pub struct Configuration {
    environment: Environment,
    named: Option<PathBuf>,
    seen: Mutex<Seen>,
    aws: Mutex<Aws>,
    circumstances: watch::Sender<Circumstances>,
}

struct Seen {
    config: Config,
    /// The `ca_bundle`s of each world's AWS config.
    bundles: BTreeMap<Arc<World>, BTreeSet<PathBuf>>,
    stamp: Stamp,
    roots: Vec<(PathBuf, Stamp)>,
    /// When the files of roots were last looked at.
    roots_looked_at: Tick,
    fingerprint: String,
}

/// Files of roots are looked at no more often: they are a dozen, and requests come by the thousand.
const LOOK_AT_ROOTS: Duration = Duration::from_secs(1);

impl Configuration {
    /// Reads it for the first time. `named` is the `--config` option.
    ///
    /// # Errors
    /// Class `misconfigured`: a daemon does not start on settings that it cannot read.
    pub fn load(environment: Environment, named: Option<&Path>) -> Result<Self, Failure> {
        let path = named.map_or_else(|| environment.config_file().map(|(path, _)| path), |path| Ok(path.to_owned()))?;
        // Before the file is read, so that a change during the read is seen later.
        let stamp = Stamp::of(&path);
        let config = Config::load(&environment, named)?;
        let Network { aws, circumstances, roots, fingerprint } = Network::new(&environment, &config, &BTreeSet::new());
        let bundles = BTreeMap::new();
        Ok(Self {
            environment,
            named: named.map(Path::to_owned),
            seen: Mutex::new(Seen { config, bundles, stamp, roots, roots_looked_at: Clock.tick(), fingerprint }),
            aws: Mutex::new(aws),
            circumstances: watch::Sender::new(circumstances),
        })
    }

    /// The way to AWS under the settings in force.
    #[must_use]
    pub fn aws(&self) -> Aws {
        self.aws.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What status says about the network, and findings that the broker knows nothing of.
    #[must_use]
    pub fn circumstances(&self) -> watch::Receiver<Circumstances> {
        self.circumstances.subscribe()
    }

    /// The settings of the network in force, and what is wrong with them.
    #[must_use]
    pub fn network(&self) -> (Vec<Setting>, Vec<Finding>) {
        let circumstances = self.circumstances.borrow();
        (circumstances.network.clone(), circumstances.findings.clone())
    }

    /// The variables of this process that say how the network is used, as far as `config.toml` lets them.
    #[must_use]
    pub fn network_environment(&self) -> crate::net::Environment {
        environment(&self.environment, &self.seen.lock().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// What tells these settings of the network from others.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).fingerprint.clone()
    }

    /// The user's home folder, if there is one.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        self.environment.home().ok()
    }

    /// Claude Code's settings of this user.
    #[must_use]
    pub fn claude_settings(&self) -> Option<PathBuf> {
        let folder = self.environment.get("CLAUDE_CONFIG_DIR").map(PathBuf::from);
        Some(folder.or_else(|| Some(self.home()?.join(".claude")))?.join("settings.json"))
    }

    /// Users other than ours that may use the socket. Read once: the socket is bound once.
    #[must_use]
    pub fn allowed_uids(&self) -> BTreeSet<u32> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).config.allow_uids.clone()
    }

    /// What is to be kept and refused.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).config.settings.clone()
    }

    /// How to log in when the client does not say.
    #[must_use]
    pub fn login_flow(&self) -> FlowWish {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).config.login_flow
    }

    /// The program that tells a person something, with its first arguments; none: nobody is told.
    #[must_use]
    pub fn notify(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).config.notify.clone()
    }

    /// Where `config.toml` is, or would be.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).config.path.clone()
    }

    /// Tells the broker what it is to keep and to refuse.
    pub fn announce(&self, broker: &Sender) {
        // When the loop has ended there is nobody left to tell.
        let _ = broker.send(Message::Event(Event::Settings(self.settings())));
    }

    /// Reads the file again if it changed. One that cannot be read leaves everything as it was, with a finding.
    pub fn look(&self, broker: &Sender) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&seen.config.path);
        if stamp == seen.stamp {
            if seen.has_other_roots() {
                info!("trusted roots changed");
                self.take_network(seen, Some(broker));
            }
            return;
        }
        seen.stamp = stamp;
        match Config::load(&self.environment, self.named.as_deref()) {
            Ok(config) => {
                info!(path = %config.path.display(), "settings changed");
                seen.config = config;
                self.take_network(seen, Some(broker));
            }
            Err(failure) => {
                warn!(cause = failure.message, "the settings cannot be read; the last good ones stay");
                let finding =
                    Finding::new(INVALID, format!("{}; the last good settings are used", failure.message), failure.fix);
                self.circumstances.send_modify(|c| {
                    c.findings.retain(|f| f.name != INVALID);
                    c.findings.push(finding);
                });
            }
        }
    }

    /// Trusts the roots that the AWS config of a world names as well; none: it names none, or is forgotten. Blocking:
    /// the files are read. `broker`: whom to tell.
    pub fn take_bundles(&self, world: &Arc<World>, bundles: BTreeSet<PathBuf>, broker: Option<&Sender>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.all_bundles();
        match bundles.is_empty() {
            true => seen.bundles.remove(world),
            false => seen.bundles.insert(Arc::clone(world), bundles),
        };
        if seen.all_bundles() != before {
            info!("trusted roots changed");
            self.take_network(seen, broker);
        }
    }

    /// Builds the way to AWS anew. What failed on the old one may work.
    fn take_network(&self, mut seen: MutexGuard<'_, Seen>, broker: Option<&Sender>) {
        let Network { aws, circumstances, roots, fingerprint } =
            Network::new(&self.environment, &seen.config, &seen.all_bundles());
        (seen.roots, seen.fingerprint) = (roots, fingerprint);
        *self.aws.lock().unwrap_or_else(PoisonError::into_inner) = aws;
        self.circumstances.send_replace(circumstances);
        drop(seen);
        let Some(broker) = broker else { return };
        self.announce(broker);
        // When the loop has ended there is nobody left to tell.
        let _ = broker.send(Message::Event(Event::NetworkChanged));
    }
}

/// More files of roots are no configuration.
const MOST_BUNDLES: usize = 64;

const INVALID: &str = "settings-invalid";

impl Seen {
    fn all_bundles(&self) -> BTreeSet<PathBuf> {
        self.bundles.values().flatten().take(MOST_BUNDLES).cloned().collect()
    }

    fn has_other_roots(&mut self) -> bool {
        let now = Clock.tick();
        if now.since(self.roots_looked_at) < LOOK_AT_ROOTS {
            return false;
        }
        self.roots_looked_at = now;
        self.roots.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
    }
}

/// The way to AWS, what status says about it, and the files of roots as they were before they were read.
struct Network {
    aws: Aws,
    circumstances: Circumstances,
    roots: Vec<(PathBuf, Stamp)>,
    fingerprint: String,
}

impl Network {
    fn new(environment: &Environment, config: &Config, bundles: &BTreeSet<PathBuf>) -> Self {
        let env = self::environment(environment, config);
        let settings = NetworkSettings::new(
            &env,
            &NetworkConfig {
                https_proxy: config.https_proxy.as_ref().map(|s| s.expose().to_owned()),
                no_proxy: config.no_proxy.clone(),
                ca_bundle: config.ca_bundle.clone(),
                aws_ca_bundles: bundles.iter().cloned().collect(),
            },
        );
        let stamped = |path: PathBuf| (path.clone(), Stamp::of(&path));
        let roots = trust::sources(&settings.ca_files).into_iter().map(stamped).collect();
        let (aws, findings) = Aws::new(&settings, &env, Deadlines::default());
        let network: Vec<_> = settings.describe().into_iter().chain(aws.describe()).collect();
        let fingerprint = fingerprint(&network, &aws);
        Self { aws, circumstances: Circumstances { network, findings }, roots, fingerprint }
    }
}

/// What tells two sets of settings apart: as they are shown (without passwords), and every trusted root.
fn fingerprint(shown: &[Setting], aws: &Aws) -> String {
    let mut digest = Sha256::new();
    for Setting { name, value, origin } in shown {
        digest.update(format!("{name}={value} {origin}\n"));
    }
    let mut roots: Vec<_> = aws.prober().roots().certificates().iter().map(|der| &**der).collect();
    roots.sort_unstable();
    roots.into_iter().for_each(|root| digest.update(root));
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The environment without what `config.toml` forbids to take from it.
fn environment(environment: &Environment, config: &Config) -> crate::net::Environment {
    let inherited = environment.iter().filter(|(name, _)| config.inherit_network_env || !is_network(name));
    inherited.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Endpoint overrides and file locations are no network settings: they stay.
fn is_network(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.ends_with("_PROXY")
        || name == "AWS_CA_BUNDLE"
        || name.ends_with("_CA_CERTS")
        || name.ends_with("CA_BUNDLE")
        || name.starts_with("SSL_CERT_")
}
