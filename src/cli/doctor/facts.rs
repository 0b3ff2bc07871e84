//! What the checks look at, gathered once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::api::v1::{self, KnownProfiles, StatusDocument};
use crate::cli::agent::AgentError;
use crate::cli::call;
use crate::cli::context::Context;
use crate::cli::credentials;
use crate::cli::one_shot;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::core::claude_settings;
use crate::core::failure::Failure;
use crate::core::probe::Probe;
use crate::files::setup;

/// How long a profile's credentials are waited for.
const ROLE: Duration = Duration::from_secs(10);
/// A look, and then some for the child to start and end.
const SLACK: Duration = Duration::from_secs(2);

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The way to AWS in the environment of whoever asks.
    pub probe: Result<Probe, Failure>,
    /// What the agent knows; `None`: none runs.
    pub agent: Option<Result<StatusDocument, Failure>>,
    /// The way to AWS as the agent takes it, where its settings are other than ours.
    pub agents_probe: Option<Result<Probe, Failure>>,
    /// The profile that is meant.
    pub profile: String,
    /// What the AWS config says.
    pub profiles: Result<KnownProfiles, Failure>,
    /// Variables with credentials in the environment of whoever asks, by name.
    pub ambient: Vec<&'static str>,
    /// Whether the profile has credentials; `None`: nobody was asked.
    pub role: Option<Result<(), Failure>>,
    /// Claude Code's settings.
    pub claude: ClaudeFacts,
}

/// What Claude Code's settings say.
#[derive(Clone, Debug)]
pub struct ClaudeFacts {
    /// The user's.
    pub path: PathBuf,
    /// What they hold; `None`: there are none.
    pub settings: Result<Option<Map<String, Value>>, String>,
    /// The program of `awsCredentialExport`.
    pub hook_program: Option<PathBuf>,
    /// Whether that exists.
    pub hook_exists: bool,
    /// Settings of the folder that have one of their own.
    pub overriding: Vec<PathBuf>,
}

/// Credentials that stand before any profile.
const AMBIENT: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"];
/// The settings of a folder, relative to it.
const PROJECT: [&str; 2] = [".claude/settings.json", ".claude/settings.local.json"];
const EXPORT: &str = "awsCredentialExport";

impl Facts {
    /// Looks. The limit is that of each look at the way to AWS.
    ///
    /// # Errors
    /// As [`Context::profile`].
    pub fn gather(ctx: &Context<'_>, out: &mut Output<'_>, within: Duration, with_role: bool) -> Result<Self, Problem> {
        let profile = ctx.profile()?;
        let region = ctx.vars.get("AWS_REGION").or_else(|| ctx.vars.get("AWS_DEFAULT_REGION"));
        out.progress("looking at the way to AWS ...");
        let probe = own(ctx, out, &profile, region, within);
        let agent = match call::exchange(ctx, out, "GET", "/v1/status", &[], call::ANSWER) {
            Ok(reply) if reply.status == 200 => Some(call::read::<StatusDocument>(&reply).map_err(failure)),
            Ok(reply) => Some(Err(call::failure_of(&reply))),
            Err(AgentError::Absent) => None,
            Err(e) => Some(Err(failure(call::unreachable(ctx, &e)))),
        };
        let differs = match (&probe, &agent) {
            (Ok(probe), Some(Ok(status))) => probe.network != status.agent.network,
            (Err(_), Some(Ok(_))) => true,
            _ => false,
        };
        let agents_probe = differs.then(|| agents(ctx, out, profile.clone(), region, within));
        let reached = probe.as_ref().is_ok_and(|probe| probe.verdict().is_ok());
        let role = (with_role && reached).then(|| role(ctx, out, &profile, agent.is_some()));
        out.progress("");
        let profiles = one_shot::profiles(ctx, out).and_then(|reply| call::read(&reply)).map_err(failure);
        let ambient = AMBIENT.into_iter().filter(|name| ctx.vars.get(name).is_some()).collect();
        Ok(Self { probe, agent, agents_probe, profile, profiles, ambient, role, claude: claude(ctx) })
    }
}

fn failure(problem: Problem) -> Failure {
    match problem {
        Problem::Failed(failure) => failure,
        other => Failure::new(crate::core::failure::FailureClass::Transient, other.line().unwrap_or_default(), ""),
    }
}

/// Whether the profile has credentials, by the agent, or without one by a child.
fn role(ctx: &Context<'_>, out: &mut Output<'_>, profile: &str, agent: bool) -> Result<(), Failure> {
    let asked = match agent {
        true => {
            let patience = call::Patience { timeout: ROLE, autostart: false };
            credentials::fetch(ctx, out, profile, credentials::Wish::default(), patience)
        }
        false => one_shot::resolve(ctx, out, profile, credentials::Wish::default(), ROLE),
    };
    asked.map(drop).map_err(failure)
}

fn claude(ctx: &Context<'_>) -> ClaudeFacts {
    let folder = ctx.vars.get("CLAUDE_CONFIG_DIR").map(PathBuf::from);
    let folder = folder.or_else(|| Some(ctx.vars.home().ok()?.join(".claude"))).unwrap_or_else(|| ".claude".into());
    let path = folder.join("settings.json");
    let settings = settings(&path);
    let hook_program = settings.as_ref().ok().and_then(Option::as_ref).and_then(|settings| {
        let command = settings.get(EXPORT)?.as_str()?;
        Some(PathBuf::from(command.split_whitespace().next()?.trim_matches(['\'', '"'])))
    });
    let overrides = |project: &PathBuf| {
        let same = std::fs::canonicalize(project).ok() == std::fs::canonicalize(&path).ok();
        !same && settings_of(project).is_some_and(|settings| settings.contains_key(EXPORT))
    };
    let overriding = PROJECT.iter().map(PathBuf::from).filter(|p| p.exists()).filter(overrides).collect();
    let hook_exists = hook_program.as_ref().is_some_and(|program| program.is_file());
    ClaudeFacts { path, settings, hook_program, hook_exists, overriding }
}

fn settings_of(path: &Path) -> Option<Map<String, Value>> {
    settings(path).ok().flatten()
}

fn settings(path: &Path) -> Result<Option<Map<String, Value>>, String> {
    match setup::read(path)? {
        None => Ok(None),
        Some(bytes) => claude_settings::read(&bytes).map(Some).map_err(|failure| failure.message),
    }
}

fn own(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &str,
    region: Option<&str>,
    within: Duration,
) -> Result<Probe, Failure> {
    let reply = one_shot::probe(ctx, out, profile, region, within).map_err(failure)?;
    call::read(&reply).map_err(failure)
}

fn agents(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: String,
    region: Option<&str>,
    within: Duration,
) -> Result<Probe, Failure> {
    let timeout_ms = Some(within.as_millis().try_into().unwrap_or(u64::MAX));
    let (region, sso_session) = (region.map(str::to_owned), None);
    let request = v1::ProbeRequest { profile: Some(profile), sso_session, region, timeout_ms };
    let body = serde_json::to_vec(&request).unwrap_or_default();
    match call::exchange(ctx, out, "POST", "/v1/probe", &body, within + SLACK) {
        Ok(reply) if reply.status == 200 => call::read(&reply).map_err(failure),
        Ok(reply) => Err(call::failure_of(&reply)),
        Err(e) => Err(failure(call::unreachable(ctx, &e))),
    }
}
