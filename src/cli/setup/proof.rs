//! Whether it works: what Claude Code will run is asked for once, without waiting for a login.

use std::time::Duration;

use crate::api::v1::KnownProfile;
use crate::cli::call::Patience;
use crate::cli::context::Context;
use crate::cli::credentials::{self, Wish};
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::core::failure::FailureClass;

/// As long as the hook itself waits for the agent.
const LIMIT: Duration = Duration::from_secs(25);
/// What Claude Code caches well: it keeps a key with less for an hour.
const MIN_TTL: u64 = 390;

/// Asks for credentials, and tells; `claude`: Claude Code is to use them.
///
/// # Errors
/// The agent's own; what is written stays.
pub(super) fn run(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &KnownProfile,
    claude: bool,
) -> Result<(), Problem> {
    let patience = Patience { timeout: LIMIT, autostart: true };
    let wish = Wish { min_ttl: Some(MIN_TTL), ..Wish::default() };
    match credentials::fetch(ctx, out, &profile.name, wish, patience) {
        Ok(_) => {
            let anew = if claude { "; sessions of Claude Code that run must be started anew" } else { "" };
            out.tell(&format!("'{}' has credentials{anew}", profile.name));
            Ok(())
        }
        Err(Problem::Failed(failure)) if failure.class == FailureClass::NeedsLogin => {
            out.tell("all is written; what is left is to sign in");
            Err(Problem::Failed(failure))
        }
        Err(problem) => Err(problem),
    }
}
