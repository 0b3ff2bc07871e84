//! Looks at the way to AWS: before the one login that a half-open breaker lets through, for `POST /v1/probe`, and as
//! `agentd probe` in the environment of whoever asks.
//!
//! The config files are read anew for it, so that it needs neither a socket nor the broker, which may be the fault.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::once;
use super::settings::Configuration;
use crate::aws::{Aws, profile};
use crate::core::failure::{Failure, FailureClass};
use crate::core::probe::Probe;
use crate::core::source::{Profile, SsoSession, World, WorldConfig};
use crate::files::limits;
use crate::net::probe::{Depth, Target};
use crate::net::tools;
use crate::platform::clock::Clock;
use crate::platform::process;

/// A look takes no longer than this, whoever asks.
pub const LIMIT: Duration = Duration::from_secs(5);
/// A longer settings.json is no settings.json.
const MOST_SETTINGS: usize = 1024 * 1024;
/// Where no session and no setting names one: the region that all of AWS's tools fall back to.
const FALLBACK_REGION: &str = "us-east-1";

/// Whose hosts to look at.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The profile whose session it is.
    pub profile: Option<String>,
    /// The session, whatever its profiles.
    pub sso_session: Option<String>,
    /// Where the asking tools ask STS, and Bedrock.
    pub region: Option<String>,
    /// Whether they ask Bedrock.
    pub bedrock: bool,
    /// How long it may take, at most [`LIMIT`].
    pub within: Duration,
}

/// `agentd probe`: looks once, and prints the document.
#[must_use]
pub fn main(config: Option<PathBuf>, question: &Question) -> ExitCode {
    process::harden();
    once::tell(once::without_engine(config.as_deref(), async |configuration, world| {
        document(configuration, world, question).await
    }))
}

/// The document of a look at a world's session.
///
/// # Errors
/// Class `misconfigured`: the named session is not known, or its address cannot be used.
pub async fn document(
    configuration: &Configuration,
    world: &Arc<World>,
    question: &Question,
) -> Result<Probe, Failure> {
    let config = profile::load(world).await.unwrap_or_default();
    let (session, profile) = find(&config, question)?;
    let aws = configuration.aws();
    let region = question.region.clone().or_else(|| profile?.region.clone()).unwrap_or_else(|| session.region.clone());
    let targets = targets(&aws, &session, &region, question.bedrock)?;
    let (within, prober) = (question.within.min(LIMIT), aws.prober().clone());
    let asked = tools::Settings {
        env: configuration.network_environment(),
        claude: claude_env(configuration.claude_settings().as_deref()),
        aws_ca_bundle: profile.and_then(|p| p.ca_bundle.clone()),
        home: configuration.home(),
        config_toml: configuration.path(),
    };
    let look = move || {
        let looked = prober.probe_all(&targets, Depth::Answer, within);
        let trust = tools::judge(&asked, prober.roots(), &looked);
        (looked.into_iter().map(|(host, _)| host).collect(), trust)
    };
    let (hosts, trust) = tokio::task::spawn_blocking(look).await.map_err(|_| interrupted())?;
    let (network, findings) = configuration.network();
    Ok(Probe { schema: 1, at: Clock.wall(), network, findings, hosts, trust })
}

/// What the user's settings of Claude Code add to its environment; a file that cannot be read adds nothing.
fn claude_env(path: Option<&Path>) -> crate::net::Environment {
    #[derive(Default, Deserialize)]
    struct Settings {
        #[serde(default)]
        env: BTreeMap<String, Value>,
    }
    let read = path.and_then(|path| limits::read_public(path, MOST_SETTINGS).ok());
    let settings = read.and_then(|read| serde_json::from_slice::<Settings>(&read.bytes).ok()).unwrap_or_default();
    let texts = settings.env.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
    texts.collect()
}

/// Whether the hosts that a login needs are reached, without a person.
///
/// # Errors
/// What is in the way.
pub async fn way_to(aws: &Aws, session: &SsoSession) -> Result<(), Failure> {
    let targets = targets(aws, session, &session.region, false)?;
    let needed: Vec<Target> = targets.into_iter().filter(Target::is_needed).collect();
    let prober = aws.prober().clone();
    let look = move || prober.probe(&needed, Depth::Answer, LIMIT);
    let hosts = tokio::task::spawn_blocking(look).await.map_err(|_| interrupted())?;
    hosts.into_iter().find_map(|host| host.failed).map_or(Ok(()), |failed| Err(failed.failure))
}

fn targets(aws: &Aws, session: &SsoSession, region: &str, bedrock: bool) -> Result<Vec<Target>, Failure> {
    aws.probe_targets(session, region, bedrock).map_err(|u| Failure::new(FailureClass::Misconfigured, u.detail, u.fix))
}

fn interrupted() -> Failure {
    Failure::new(FailureClass::Transient, "the probe ended without a result", "try again")
}

/// The session that is meant, and the profile that its tools use.
fn find<'a>(config: &'a WorldConfig, question: &Question) -> Result<(SsoSession, Option<&'a Profile>), Failure> {
    let session = |profile: &Profile| profile.source.as_ref().ok().and_then(|chain| chain.session().cloned());
    if let Some(id) = &question.sso_session {
        let named = config.profiles.values().find(|p| session(p).is_some_and(|s| s.id() == *id));
        let found = named.and_then(|profile| Some((session(profile)?, Some(profile))));
        return found.ok_or_else(|| {
            let message = format!("no profile lives on an SSO session '{id}'");
            Failure::new(FailureClass::Misconfigured, message, "see the sso-session sections of the AWS config file")
        });
    }
    let profile = question.profile.as_ref().and_then(|name| config.profiles.get(name));
    let any = || config.profiles.values().find_map(session);
    let region = question.region.clone().unwrap_or_else(|| FALLBACK_REGION.to_owned());
    let nobodys = || SsoSession::nobodys(&region);
    Ok((profile.and_then(session).or_else(any).unwrap_or_else(nobodys), profile))
}
