//! `agentd inspect`: what the AWS config says of one profile, and what its session's token file holds, for
//! `agentctl doctor`. No secret is among it, and nothing is changed.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::once;
use super::run;
use crate::aws::profile;
use crate::core::failure::Failure;
use crate::core::inspection::{SessionSays, TokenHeld, TokenSays};
use crate::core::session::TokenFile;
use crate::core::source::{SsoSession, World};
use crate::files::Pauses;
use crate::files::token_cache::TokenCache;
use crate::platform::home::Environment;
use crate::platform::process;

/// Prints what this environment's files say of `profile`, and whether `also` has a source of credentials.
#[must_use]
pub fn main(profile: &str, also: &str) -> ExitCode {
    process::harden();
    once::tell(read(profile, also))
}

fn read(profile: &str, also: &str) -> Result<Zeroizing<String>, Failure> {
    let environment = Environment::of_process();
    run::log_to_stderr(&environment, tracing::Level::WARN);
    let world = Arc::new(environment.world()?);
    let runtime = run::runtime()?;
    let inspected = runtime.block_on(profile::inspect(&world, profile, also));
    runtime.shutdown_timeout(Duration::ZERO);
    let document = inspected?.map_session(|session| of_session(&world, session));
    Ok(Zeroizing::new(serde_json::to_string(&document).unwrap_or_default()))
}

fn of_session(world: &World, session: SsoSession) -> SessionSays {
    let token = token(&TokenCache::new(world, &session, Pauses::real()));
    let id = session.id();
    let SsoSession { name, start_url, region, scopes, .. } = session;
    SessionSays { id, name, start_url, region, scopes, token }
}

fn token(cache: &TokenCache) -> TokenSays {
    let path = cache.path();
    let holds = match cache.read() {
        TokenFile::Present(token) => Ok(Some(TokenHeld {
            expires_at: token.expires_at,
            renewable: token.refresh.is_some(),
            registration_expires_at: token.refresh.as_ref().and_then(|grant| grant.registration_expires_at),
        })),
        TokenFile::Absent => Ok(None),
        TokenFile::Unusable(failure) => Err(failure),
    };
    TokenSays { mode: mode(&path), path, holds }
}

#[cfg(unix)]
fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    Some(std::fs::symlink_metadata(path).ok()?.permissions().mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode(_: &Path) -> Option<u32> {
    None
}
