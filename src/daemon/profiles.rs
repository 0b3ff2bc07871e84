//! `agentd profiles`: what the AWS config says, for whoever chooses a profile. No secret is among it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::once;
use super::run;
use crate::api::v1::{KnownProfile, KnownProfiles, LegacySession};
use crate::aws::profile;
use crate::core::failure::Failure;
use crate::core::source::{Link, Profile, SsoSession};
use crate::platform::home::Environment;
use crate::platform::process;

/// Prints the profiles of this environment's AWS config.
#[must_use]
pub fn main() -> ExitCode {
    process::harden();
    once::tell(read())
}

fn read() -> Result<Zeroizing<String>, Failure> {
    let environment = Environment::of_process();
    run::log_to_stderr(&environment, tracing::Level::WARN);
    let world = Arc::new(environment.world()?);
    let runtime = run::runtime()?;
    let config = runtime.block_on(profile::load(&world));
    runtime.shutdown_timeout(Duration::ZERO);
    let profiles = config?.profiles.into_iter().map(|(name, profile)| known(name, profile)).collect();
    let document = KnownProfiles { config_file: world.config_file.clone(), profiles };
    Ok(Zeroizing::new(serde_json::to_string(&document).unwrap_or_default()))
}

fn known(name: String, profile: Profile) -> KnownProfile {
    let Profile { source, region, .. } = profile;
    let (session, role, problem) = match &source {
        Ok(chain) => (chain.session(), Some(chain.link()), None),
        Err(failure) => (None, None, Some(failure.line())),
    };
    let legacy = session.filter(|session| session.name.is_none()).map(|SsoSession { start_url, region, .. }| {
        LegacySession { start_url: start_url.clone(), sso_region: region.clone() }
    });
    let (account, role) = match role {
        Some(Link::SsoRole { account_id, role_name }) => (Some(account_id.clone()), Some(role_name.clone())),
        _ => (None, None),
    };
    KnownProfile { name, region, session: session.map(SsoSession::id), account, role, legacy, problem }
}
