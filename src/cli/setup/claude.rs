//! Claude Code's settings: `awsCredentialExport`, `statusLine` and `env`, merged into the file of the chosen scope.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::plan::{Plan, Target};
use super::{choose, program};
use crate::api::v1::KnownProfile;
use crate::cli::args::{Scope, Setup, StatusLineChoice};
use crate::cli::call;
use crate::cli::context::Context;
use crate::cli::one_shot;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::core::claude_settings::{self, Wanted};
use crate::core::failure::{Failure, FailureClass, shell_word};
use crate::core::probe::Probe;

/// A turn that meets an ended session waits this long for somebody to log in.
const WAIT: &str = "600";
/// What Claude Code and we say of a login that runs at each start.
const LOGIN: &str = "awsAuthRefresh";

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
) -> Result<(), Problem> {
    let path = settings_file(ctx, args.scope)?;
    let before = Target::read(&path)?;
    let settings = claude_settings::read(before.as_deref().unwrap_or_default()).map_err(|e| of_file(&path, &e))?;
    let region = choose::region(ctx, args, text(&settings, &["env", "AWS_REGION"]), profile)?;
    let agentctl = program(ctx)?;
    let mut wanted = vec![
        Wanted::set(&["awsCredentialExport"], hook(&agentctl, &profile.name)),
        Wanted::set(&["env", "CLAUDE_CODE_USE_BEDROCK"], "1"),
        Wanted::set(&["env", "AWS_REGION"], region.as_str()),
    ];
    wanted.extend(models(ctx, out, args, &settings, &profile.name, &region)?);
    wanted.extend(certificates(ctx, out, &profile.name));
    wanted.extend(status_line(ctx, args, &settings, &agentctl, &profile.name)?);
    wanted.extend(login(out, &settings));
    let edited = claude_settings::apply(before.as_deref().unwrap_or_default(), &wanted);
    let edited = edited.map_err(|e| of_file(&path, &e))?;
    let changes = serde_json::to_value(&edited.changes).unwrap_or_default();
    plan.add(Target { kind: KIND, path, before, after: edited.bytes, changes });
    Ok(())
}

/// What these edits are remembered as.
pub(super) const KIND: &str = "claude";

/// A refusal with the name of the file that it is about.
pub(super) fn of_file(path: &Path, failure: &Failure) -> Problem {
    Problem::failed(failure.class, format!("{}, {}", path.display(), failure.message), &failure.fix)
}

fn settings_file(ctx: &Context<'_>, scope: Scope) -> Result<PathBuf, Problem> {
    let user = || {
        let named = ctx.vars.get("CLAUDE_CONFIG_DIR").map(PathBuf::from);
        named.map_or_else(|| Ok::<_, Failure>(ctx.vars.home()?.join(".claude")), Ok)
    };
    Ok(match scope {
        Scope::User => user()?.join("settings.json"),
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
    let named = args.model.is_some() || text(settings, &["env", "ANTHROPIC_MODEL"]).is_some();
    let chosen = if named { None } else { choose::model(ctx, out, profile, region)? };
    let main = args.model.clone().or(chosen);
    if main.as_deref().is_some_and(|model| model.starts_with("anthropic.")) {
        out.tell("a bare model id is refused by Bedrock's on-demand throughput; inference profiles: agentctl models");
    }
    let set =
        |name: &str, model: &Option<String>| model.as_ref().map(|model| Wanted::set(&["env", name], model.as_str()));
    let all = [
        set("ANTHROPIC_MODEL", &main),
        set("ANTHROPIC_SMALL_FAST_MODEL", &args.small_model),
        set("ANTHROPIC_DEFAULT_OPUS_MODEL", &args.opus_model),
        set("ANTHROPIC_DEFAULT_SONNET_MODEL", &args.sonnet_model),
        set("ANTHROPIC_DEFAULT_HAIKU_MODEL", &args.haiku_model),
    ];
    Ok(all.into_iter().flatten().collect())
}

/// Behind a proxy whose CA Claude Code does not trust, a file of this machine that cures that.
fn certificates(ctx: &Context<'_>, out: &mut Output<'_>, profile: &str) -> Option<Wanted> {
    let looked =
        one_shot::probe(ctx, out, profile, one_shot::Asked::default(), std::time::Duration::from_secs(5)).ok()?;
    let probe: Probe = call::read(&looked).ok()?;
    let claude = probe.trust.iter().find(|tool| tool.setting == "NODE_EXTRA_CA_CERTS" && !tool.refuses.is_empty())?;
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
    let theirs = text(settings, &["statusLine", "command"]).filter(|command| !command.contains("agentctl"));
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
        (StatusLineChoice::Wrap, Some(theirs)) => format!("{ours} --below {}", shell_word(theirs)),
        (StatusLineChoice::Wrap | StatusLineChoice::Replace, _) => ours,
    };
    if settings.contains_key("statusLine") {
        // Its other keys (padding, refresh) stay.
        return Ok(Some(Wanted::set(&["statusLine", "command"], command)));
    }
    Ok(Some(Wanted::set(&["statusLine"], json!({ "type": "command", "command": command }))))
}

/// A login command of another tool would run at each start at which Claude Code's own check fails: one tab each.
fn login(out: &mut Output<'_>, settings: &Map<String, Value>) -> Option<Wanted> {
    let command = text(settings, &[LOGIN]).filter(|command| !command.contains("agentctl"))?;
    out.tell(&format!(
        "{LOGIN} ('{command}') is taken out: Claude Code runs it at each start at which its own check of STS fails, with a \
         browser tab each time; with awsCredentialExport it is not needed (--undo brings it back)"
    ));
    Some(Wanted::remove(&[LOGIN]))
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
