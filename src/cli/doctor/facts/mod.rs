//! What the checks look at, gathered once.

mod claude;
mod hook;

use std::path::PathBuf;
use std::time::Duration;

use crate::api::v1::{self, KnownProfiles, StatusDocument};
use crate::cli::agent::{AgentError, Reply};
use crate::cli::call;
use crate::cli::context::Context;
use crate::cli::credentials;
use crate::cli::one_shot::{self, Asked};
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::cli::service::unit::Installation;
use crate::core::bedrock::Look;
use crate::core::failure::{Failure, FailureClass};
use crate::core::inspection::{Inspection, ProfileSays, SessionSays};
use crate::core::probe::{NeededBy, Probe};
use crate::core::time::Timestamp;

pub use claude::{ClaudeFacts, Override, Program, invoked_as, user_settings};
pub use hook::{judge, run as run_hook};

/// How long a profile's credentials are waited for.
const ROLE: Duration = Duration::from_secs(10);
/// How long the hook is, which answers from the agent's memory.
const HOOK: Duration = Duration::from_secs(5);
/// A large program, from a cold disk.
const VERSION: Duration = Duration::from_secs(3);
/// A look, and then some for the child to start and end.
const SLACK: Duration = Duration::from_secs(2);

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When, by this machine's clock.
    pub now: Timestamp,
    /// The way to AWS in the environment of whoever asks.
    pub probe: Result<Probe, Failure>,
    /// What the agent knows; `None`: none runs.
    pub agent: Option<Result<StatusDocument, Failure>>,
    /// The way to AWS as the agent takes it, where its settings are other than ours.
    pub agents_probe: Option<Result<Probe, Failure>>,
    /// Where the agent is looked for.
    pub socket: PathBuf,
    /// Whether this is inside Claude Code's sandbox.
    pub sandbox: bool,
    /// The installed service; `None`: there is none.
    pub service: Option<ServiceFacts>,
    /// This program, as others may name it.
    pub agentctl: Option<PathBuf>,
    /// The profile that is meant.
    pub profile: String,
    /// What the AWS config says.
    pub inspection: Result<Inspection, Failure>,
    /// Variables with credentials in the environment of whoever asks, by name.
    pub ambient: Vec<&'static str>,
    /// Whether the profile has credentials; `None`: nobody was asked.
    pub role: Option<Result<(), Failure>>,
    /// What Bedrock says; `None`: it was not asked.
    pub bedrock: Option<Result<Look, Failure>>,
    /// What `claude --version` says, or what becomes of it; `None`: there is none in PATH.
    pub claude_version: Option<Result<String, String>>,
    /// Whether there is an AWS CLI in PATH.
    pub aws_cli: bool,
    /// Claude Code's settings.
    pub claude: ClaudeFacts,
}

/// A service that is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Whether it listens where the agent is looked for.
    pub listens_here: bool,
    /// Whether all of its files are there.
    pub whole: bool,
}

/// Credentials that stand before any profile.
const AMBIENT: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"];

/// What costs a request or a command, and so is looked at only if somebody wants to know.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The profile's credentials.
    pub role: bool,
    /// What Claude Code's hook prints.
    pub hook: bool,
    /// What Bedrock says to them.
    pub bedrock: bool,
    /// Which Claude Code this is.
    pub claude: bool,
}

impl Facts {
    /// Looks. The limit is that of each look at the way to AWS.
    ///
    /// # Errors
    /// As [`Context::profile`].
    pub fn gather(ctx: &Context<'_>, out: &mut Output<'_>, within: Duration, wanted: Wanted) -> Result<Self, Problem> {
        let mut claude = ClaudeFacts::read(ctx);
        let profile = meant(ctx, out, &claude)?;
        let own_region = ctx.vars.get("AWS_REGION").or_else(|| ctx.vars.get("AWS_DEFAULT_REGION"));
        let asked =
            Asked { region: claude.bedrock_region().or(own_region), bedrock: claude.bedrock_region().is_some() };
        out.progress("looking at the way to AWS ...");
        let probe = own(ctx, out, &profile, asked, within);
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
        let agents_probe = differs.then(|| agents(ctx, out, profile.clone(), asked.region, within));
        let reached = probe.as_ref().is_ok_and(|probe| probe.verdict().is_ok());
        let keys = (wanted.role && reached).then(|| role(ctx, out, &profile, agent.is_some()));
        let bedrock = match (wanted.bedrock, claude.bedrock_region(), &keys) {
            (true, Some(region), Some(Ok(keys))) if is_bedrock_reached(&probe) => {
                out.progress("asking Bedrock ...");
                Some(one_shot::bedrock(ctx, out, region, &claude.invoked(), keys).map_err(failure))
            }
            _ => None,
        };
        let role = keys.map(|keys| keys.map(drop));
        if let (true, Some(Ok(_)), Some(Ok(()))) = (wanted.hook, &agent, &role) {
            let printed = claude.runnable_hook().map(|command| ctx.launcher.hook(command, HOOK));
            claude.ran = printed.map(|printed| hook::judge(&printed?, ctx.clock.wall()));
        }
        let inspection = one_shot::inspect(ctx, out, &profile, claude.default_profile());
        let inspection = inspection.and_then(|reply| call::read(&reply)).map_err(failure);
        out.progress("");
        let ambient = AMBIENT.into_iter().filter(|name| ctx.vars.get(name).is_some()).collect();
        let (now, socket) = (ctx.clock.wall(), ctx.socket.to_owned());
        let sandbox = ctx.vars.get("SANDBOX_RUNTIME").is_some();
        let (service, agentctl) = (service(ctx), agentctl(ctx));
        Ok(Self {
            now,
            probe,
            agent,
            agents_probe,
            socket,
            sandbox,
            service,
            agentctl,
            profile,
            inspection,
            ambient,
            role,
            bedrock,
            claude_version: if wanted.claude { claude_version(ctx) } else { None },
            aws_cli: is_in_path(ctx, "aws"),
            claude,
        })
    }

    /// What the config says of the profile, if that much is known.
    #[must_use]
    pub fn says(&self) -> Option<&ProfileSays> {
        self.inspection.as_ref().ok()?.profile.as_ref().ok()
    }

    /// The profile's session, if that much is known.
    #[must_use]
    pub fn session(&self) -> Option<&SessionSays> {
        self.says()?.session.as_ref()?.as_ref().ok()
    }
}

/// Whoever is not reached is not waited for once more.
fn is_bedrock_reached(probe: &Result<Probe, Failure>) -> bool {
    let hosts = probe.as_ref().map(|probe| probe.hosts.as_slice()).unwrap_or_default();
    hosts.iter().any(|host| host.needed_by == NeededBy::ClaudeCode && host.failed.is_none())
}

/// The profile that is meant: the one that is named, else that of Claude Code's hook, else the only one that can be used, else
/// `default`.
fn meant(ctx: &Context<'_>, out: &mut Output<'_>, claude: &ClaudeFacts) -> Result<String, Problem> {
    if ctx.named.or_else(|| ctx.vars.get("AWS_PROFILE")).is_some() {
        return ctx.profile();
    }
    if let Some(hooks) = claude.hooks_profile() {
        return Ok(hooks);
    }
    let known = one_shot::profiles(ctx, out).and_then(|reply| call::read::<KnownProfiles>(&reply));
    let known = known.map(|known| known.profiles).unwrap_or_default();
    let usable: Vec<_> = known.into_iter().filter(|profile| profile.problem.is_none()).collect();
    match usable.as_slice() {
        [only] => Ok(only.name.clone()),
        _ => ctx.profile(),
    }
}

/// What `claude --version` says, or what becomes of it; `None`: there is none in PATH.
#[must_use]
pub fn claude_version(ctx: &Context<'_>) -> Option<Result<String, String>> {
    is_in_path(ctx, "claude").then(|| {
        let said = ctx.launcher.shell("claude --version", VERSION);
        said.ok_or_else(|| format!("does not end within {} s", VERSION.as_secs()))
    })
}

fn is_in_path(ctx: &Context<'_>, program: &str) -> bool {
    let program = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(ctx.vars.get("PATH").unwrap_or_default()).any(|folder| folder.join(&program).is_file())
}

fn failure(problem: Problem) -> Failure {
    match problem {
        Problem::Failed(failure) => failure,
        other => Failure::new(FailureClass::Transient, other.line().unwrap_or_default(), ""),
    }
}

fn service(ctx: &Context<'_>) -> Option<ServiceFacts> {
    let installation = Installation::plan(ctx.vars, ctx.socket, &ctx.launcher.program().ok()?).ok()?;
    let whole = installation.files.iter().all(|file| file.path.exists());
    let listens_here = installation.is_for(ctx.socket);
    installation.is_installed().then_some(ServiceFacts { listens_here, whole })
}

fn agentctl(ctx: &Context<'_>) -> Option<PathBuf> {
    let agentd = ctx.launcher.program().ok()?;
    Some(agentd.with_file_name(format!("agentctl{}", std::env::consts::EXE_SUFFIX)))
}

/// The profile's credentials, by the agent, or without one by a child.
fn role(ctx: &Context<'_>, out: &mut Output<'_>, profile: &str, agent: bool) -> Result<Reply, Failure> {
    let asked = match agent {
        true => {
            let patience = call::Patience { timeout: ROLE, autostart: false };
            credentials::fetch(ctx, out, profile, credentials::Wish::default(), patience)
        }
        false => one_shot::resolve(ctx, out, profile, credentials::Wish::default(), ROLE),
    };
    asked.map_err(failure)
}

fn own(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &str,
    asked: Asked<'_>,
    within: Duration,
) -> Result<Probe, Failure> {
    let reply = one_shot::probe(ctx, out, profile, asked, within).map_err(failure)?;
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
