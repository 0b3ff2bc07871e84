//! Whether it works: what Claude Code will do is done once, without waiting for a login.

use std::time::Duration;

use super::claude::{Planned, Running};
use crate::api::v1::KnownProfile;
use crate::cli::agent::Reply;
use crate::cli::args::Login;
use crate::cli::call::Patience;
use crate::cli::context::Context;
use crate::cli::credentials::{self, Wish};
use crate::cli::doctor::facts::{ClaudeFacts, judge};
use crate::cli::login;
use crate::cli::one_shot;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::core::claude_settings::keys::EXPORT;
use crate::core::failure::{Failure, FailureClass};

/// As long as the hook itself waits for the agent.
const LIMIT: Duration = Duration::from_secs(25);
/// The hook answers from the agent's memory.
const HOOK: Duration = Duration::from_secs(5);
/// What Claude Code caches well: it keeps a key with less for an hour.
const MIN_TTL: u64 = 390;

/// The profile's credentials; an agent is started for them.
///
/// # Errors
/// The agent's own.
pub(super) fn credentials(ctx: &Context<'_>, out: &mut Output<'_>, profile: &str) -> Result<Reply, Problem> {
    let patience = Patience { timeout: LIMIT, autostart: true };
    let wish = Wish { min_ttl: Some(MIN_TTL), ..Wish::default() };
    credentials::fetch(ctx, out, profile, wish, patience)
}

/// Has the person at the terminal sign in, where that is needed: models are listed with the profile's credentials.
///
/// # Errors
/// The person gave up; the login's own.
pub(super) fn sign_in(ctx: &Context<'_>, out: &mut Output<'_>, profile: &str) -> Result<(), Problem> {
    let Some(asker) = ctx.asker else { return Ok(()) };
    match credentials(ctx, out, profile) {
        Err(Problem::Failed(failure)) if failure.class == FailureClass::NeedsLogin => {
            if asker.confirm(&format!("'{profile}' needs a login. Sign in now?"), true)? {
                login::run(&Context { named: Some(profile), ..*ctx }, out, &Login::default())?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Asks for credentials, and for Claude Code runs its hook as it does and tries the models that its settings name; and tells.
///
/// # Errors
/// The agent's own, or Bedrock's; what is written stays.
pub(super) fn run(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &KnownProfile,
    claude: Option<&Planned>,
) -> Result<(), Problem> {
    let keys = match credentials(ctx, out, &profile.name) {
        Ok(keys) => keys,
        Err(Problem::Failed(failure)) if failure.class == FailureClass::NeedsLogin => {
            out.tell("all is written; what is left is to sign in");
            return Err(Problem::Failed(failure));
        }
        Err(problem) => return Err(problem),
    };
    out.tell(&format!("'{}' has credentials", profile.name));
    let Some(Planned { path, hook, running, .. }) = claude else { return Ok(()) };
    let printed = ctx.launcher.hook(hook, HOOK).and_then(|printed| judge(&printed, ctx.clock.wall()));
    printed.map_err(|why| {
        let message = format!("{EXPORT}, run as Claude Code does, {why}");
        Problem::failed(FailureClass::Misconfigured, message, "see: agentctl doctor claude")
    })?;
    let facts = ClaudeFacts::of(ctx, path.clone());
    bedrock(ctx, out, &facts, &keys)?;
    if let Some(line) = facts.ignored_from {
        let (message, path) = ("takes no comments and no trailing commas, and ignores the whole file", path.display());
        out.tell(&format!("{path}, line {line}: Claude Code {message}; take them out"));
    }
    match running {
        Running::Untouched => {}
        Running::TakeItUp => out.tell("sessions of Claude Code that run take it up by themselves"),
        Running::GoOn => out.tell("sessions of Claude Code that run must be started anew: they keep their model"),
    }
    Ok(())
}

/// A model that refuses is a failure; that the list is denied is told.
fn bedrock(ctx: &Context<'_>, out: &mut Output<'_>, claude: &ClaudeFacts, keys: &Reply) -> Result<(), Problem> {
    let Some(region) = claude.bedrock_region() else { return Ok(()) };
    let look = one_shot::bedrock(ctx, out, region, &claude.invoked(), keys)?;
    if let Some((id, failure)) = look.tried.iter().find_map(|one| Some((&one.id, one.failure.as_ref()?))) {
        let Failure { class, message, fix, .. } = failure;
        return Err(Problem::failed(*class, format!("all is written, but {id}: {message}"), fix));
    }
    if let Err(failure) = &look.listed {
        out.tell(&failure.line());
    }
    if look.form == Some(false) {
        out.tell("the account has filled in no use-case form of Anthropic's; see: agentctl doctor bedrock-form");
    }
    for one in &look.tried {
        out.tell(&format!("{} answers in {region}, within {} ms", one.id, one.took_ms));
    }
    Ok(())
}
