//! Claude Code's settings: `awsCredentialExport`, `statusLine` and `env`, merged into the file of the chosen scope.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::plan::{Plan, Target};
use super::{choose, program, proof, refresh};
use crate::api::v1::KnownProfile;
use crate::cli::args::{Scope, Setup, StatusLineChoice};
use crate::cli::call;
use crate::cli::context::Context;
use crate::cli::doctor;
use crate::cli::one_shot;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::cli::render::clean;
use crate::core::claude_settings::keys::{
    EXPORT, FAMILIES, MODEL, REFRESH, SMALL_MODEL, USE_BEDROCK, USE_MANTLE, is_ours,
};
use crate::core::claude_settings::{self, Change, Wanted};
use crate::core::failure::{Failure, FailureClass, shell_word};
use crate::core::probe::{Probe, Tool};

/// A turn that meets an ended session waits this long for somebody to log in.
const WAIT: &str = "600";
/// What the status line of before stands behind.
const BELOW: &str = " --below ";
/// What was planned for Claude Code.
pub(super) struct Planned {
    /// The settings.
    pub(super) path: PathBuf,
    /// What it will run for credentials.
    pub(super) hook: String,
    /// Whether the profile of [`super::aws`] is needed as well.
    pub(super) wants_aws: bool,
    /// What becomes of sessions that run.
    pub(super) running: Running,
}

/// What sessions of Claude Code that run make of new settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Running {
    /// Nothing is new.
    Untouched,
    /// They take them up.
    TakeItUp,
    /// They go on as they began.
    GoOn,
}

/// Keys that sessions which run take up by themselves. Measured with 2.1.328 (tests/interop/setup_claude.rs): the hook, region
/// and provider, at the next turn; a model is that with which a session began.
const TAKEN_UP: [&[&str]; 5] =
    [&[EXPORT], &[REFRESH], &["statusLine"], &["statusLine", "command"], &["env", "AWS_REGION"]];

impl Running {
    fn after(changes: &[Change]) -> Self {
        match changes {
            [] => Self::Untouched,
            changes if changes.iter().all(|change| TAKEN_UP.iter().any(|key| change.key == *key)) => Self::TakeItUp,
            _ => Self::GoOn,
        }
    }
}

/// Adds what Claude Code needs to the plan.
///
/// # Errors
/// As [`super::run`].
pub(super) fn plan(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    args: &Setup,
    profile: &KnownProfile,
    plan: &mut Plan,
) -> Result<Planned, Problem> {
    let path = settings_file(ctx, args.scope)?;
    let before = Target::read(&path)?;
    let settings = claude_settings::read(before.as_deref().unwrap_or_default()).map_err(|e| of_file(&path, &e))?;
    let region = choose::region(ctx, args, text(&settings, &["env", "AWS_REGION"]), profile)?;
    out.tell(&doctor::tools::describe(doctor::facts::claude_version(ctx).as_ref()));
    let agentctl = program(ctx)?;
    let hook = hook(&agentctl, &profile.name);
    let mut wanted = vec![
        Wanted::set(&[EXPORT], hook.as_str()),
        Wanted::set(&["env", USE_BEDROCK], "1"),
        Wanted::set(&["env", "AWS_REGION"], region.as_str()),
    ];
    if !args.dry_run {
        proof::sign_in(ctx, out, &profile.name)?;
    }
    wanted.extend(models(ctx, out, args, &settings, &profile.name, &region)?);
    let probe = look(ctx, out, &profile.name);
    wanted.extend(probe.as_ref().and_then(|probe| certificates(out, probe)));
    wanted.extend(status_line(ctx, args, &settings, &agentctl, &profile.name)?);
    let refresh = refresh::plan(ctx, out, args, profile, &agentctl, probe.as_ref());
    let wants_aws = !refresh.is_empty();
    wanted.extend(if wants_aws { refresh } else { login(out, &settings).into_iter().collect() });
    let edited = claude_settings::apply(before.as_deref().unwrap_or_default(), &wanted);
    let edited = edited.map_err(|e| of_file(&path, &e))?;
    let running = Running::after(&edited.changes);
    let changes = serde_json::to_value(&edited.changes).unwrap_or_default();
    plan.add(Target { kind: KIND, path: path.clone(), before, after: edited.bytes, changes });
    Ok(Planned { path, hook, wants_aws, running })
}

/// What these edits are remembered as.
pub(super) const KIND: &str = "claude";

/// A refusal with the name of the file that it is about.
pub(super) fn of_file(path: &Path, failure: &Failure) -> Problem {
    Problem::failed(failure.class, format!("{}, {}", path.display(), failure.message), &failure.fix)
}

fn settings_file(ctx: &Context<'_>, scope: Scope) -> Result<PathBuf, Problem> {
    Ok(match scope {
        Scope::User => doctor::facts::user_settings(ctx.vars)?,
        Scope::Project => PathBuf::from(".claude/settings.json"),
        Scope::Local => PathBuf::from(".claude/settings.local.json"),
    })
}

/// What Claude Code runs for credentials.
fn hook(agentctl: &Path, profile: &str) -> String {
    let agentctl = shell_word(&agentctl.to_string_lossy());
    format!("{agentctl} export --profile {} --wait {WAIT}", shell_word(profile))
}

/// Models that are named; at a terminal the main one is asked for, where nobody has named it yet.
fn models(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    args: &Setup,
    settings: &Map<String, Value>,
    profile: &str,
    region: &str,
) -> Result<Vec<Wanted>, Problem> {
    let mut models: Vec<(&str, String)> = Vec::new();
    let flags = [
        (MODEL, &args.model),
        (SMALL_MODEL, &args.small_model),
        (FAMILIES[0].1, &args.opus_model),
        (FAMILIES[1].1, &args.sonnet_model),
        (FAMILIES[2].1, &args.haiku_model),
    ];
    models.extend(flags.into_iter().filter_map(|(name, model)| Some((name, model.clone()?))));
    let named = |name: &str| text(settings, &["env", name]).is_some() || models.iter().any(|(known, _)| *known == name);
    if !named(MODEL) {
        let pins: Vec<_> = FAMILIES.into_iter().filter(|(_, name)| !named(name)).collect();
        models.extend(choose::models(ctx, out, profile, region, (MODEL, &pins))?);
    }
    let mantle = mantle(ctx, out, args, settings, &models)?;
    let models = models.into_iter().map(|(name, model)| Wanted::set(&["env", name], model));
    Ok(models.chain(mantle.then(|| Wanted::set(&["env", USE_MANTLE], "1"))).collect())
}

/// Whether bare ids are to be asked of Bedrock's Messages API, which alone takes them.
fn mantle(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    args: &Setup,
    settings: &Map<String, Value>,
    models: &[(&str, String)],
) -> Result<bool, Problem> {
    let bare = models.iter().find(|(_, model)| model.starts_with("anthropic.")).map(|(_, model)| clean(model));
    if let (Some(id), false, None) = (bare, args.mantle, text(settings, &["env", USE_MANTLE])) {
        if let Some(asker) = ctx.asker {
            let question =
                format!("'{id}' is a bare id, which only Bedrock's Messages API (Mantle) takes. Use that for it?");
            return asker.confirm(&question, true);
        }
        let hint = "inference profiles: agentctl models; for Bedrock's Messages API: --mantle";
        out.tell(&format!("a bare model id is refused by Bedrock's on-demand throughput; {hint}"));
    }
    Ok(args.mantle)
}

/// The way to AWS, and what Claude Code would say to it.
fn look(ctx: &Context<'_>, out: &mut Output<'_>, profile: &str) -> Option<Probe> {
    let looked = one_shot::probe(ctx, out, profile, one_shot::Asked::default(), std::time::Duration::from_secs(5));
    call::read(&looked.ok()?).ok()
}

/// What Claude Code trusts.
pub(super) fn trust_of_claude(probe: &Probe) -> Option<&Tool> {
    probe.trust.iter().find(|tool| tool.setting == "NODE_EXTRA_CA_CERTS")
}

/// Behind a proxy whose CA Claude Code does not trust, a file of this machine that cures that.
fn certificates(out: &mut Output<'_>, probe: &Probe) -> Option<Wanted> {
    let claude = trust_of_claude(probe).filter(|tool| !tool.refuses.is_empty())?;
    match &claude.cure {
        Some(file) => Some(Wanted::set(&["env", "NODE_EXTRA_CA_CERTS"], file.as_str())),
        None => {
            out.tell("Claude Code would not trust what this network presents; see: agentctl doctor trust");
            None
        }
    }
}

fn status_line(
    ctx: &Context<'_>,
    args: &Setup,
    settings: &Map<String, Value>,
    agentctl: &Path,
    profile: &str,
) -> Result<Option<Wanted>, Problem> {
    let ours = format!("{} statusline --profile {}", shell_word(&agentctl.to_string_lossy()), shell_word(profile));
    let there = text(settings, &["statusLine", "command"]);
    let (own, theirs) = match there {
        Some(command) if is_ours(command) => (Some(command), None),
        other => (None, other),
    };
    let choice = match (args.status_line, theirs, ctx.asker) {
        (Some(choice), _, _) => choice,
        (None, None, _) => StatusLineChoice::Replace,
        (None, Some(_), None) => StatusLineChoice::Keep,
        (None, Some(command), Some(asker)) => {
            let question = format!("Your status line runs '{command}'. Show the agent's line as well?");
            let options = ["below yours", "instead of yours", "no"].map(str::to_owned);
            match asker.choose(&question, &options, 0)? {
                0 => StatusLineChoice::Wrap,
                1 => StatusLineChoice::Replace,
                _ => StatusLineChoice::Keep,
            }
        }
    };
    let command = match (choice, theirs) {
        (StatusLineChoice::Keep, _) => return Ok(None),
        (StatusLineChoice::Wrap, Some(theirs)) => format!("{ours}{BELOW}{}", shell_word(theirs)),
        // Ours already: whoever stands below it stays, unless told otherwise.
        _ => match own.and_then(|own| own.split_once(BELOW)).filter(|_| args.status_line.is_none()) {
            Some((_, below)) => format!("{ours}{BELOW}{below}"),
            None => ours,
        },
    };
    if settings.contains_key("statusLine") {
        // Its other keys (padding, refresh) stay.
        return Ok(Some(Wanted::set(&["statusLine", "command"], command)));
    }
    Ok(Some(Wanted::set(&["statusLine"], json!({ "type": "command", "command": command }))))
}

/// A login command of another tool would run at each start at which Claude Code's own check fails: one tab each.
fn login(out: &mut Output<'_>, settings: &Map<String, Value>) -> Option<Wanted> {
    let command = text(settings, &[REFRESH]).filter(|command| !is_ours(command))?;
    out.tell(&format!(
        "{REFRESH} ('{command}') is taken out: it would open a browser at each start at which Claude Code's own check of STS \
         fails, and awsCredentialExport does without it"
    ));
    Some(Wanted::remove(&[REFRESH]))
}

fn text<'a>(settings: &'a Map<String, Value>, key: &[&str]) -> Option<&'a str> {
    let (first, rest) = key.split_first()?;
    let value = settings.get(*first)?;
    if rest.is_empty() { value.as_str() } else { text(value.as_object()?, rest) }
}

/// Nobody would know which file is meant.
pub(super) fn unreadable(path: &Path, why: &str) -> Problem {
    Problem::failed(
        FailureClass::Misconfigured,
        format!("{} {why}", path.display()),
        "correct that; nothing was changed",
    )
}
