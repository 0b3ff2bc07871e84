//! Answers: a flag, else what the surroundings say, else a person at a terminal.

use crate::api::v1::{KnownProfile, KnownProfiles, ModelsDocument};
use crate::cli::args::Setup;
use crate::cli::call;
use crate::cli::context::Context;
use crate::cli::models;
use crate::cli::one_shot;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::cli::render::clean;
use crate::core::bedrock;
use crate::core::failure::FailureClass;
use crate::core::words;

/// Whether the AWS config has a profile that can be used.
///
/// # Errors
/// It cannot be read.
pub(super) fn is_any(ctx: &Context<'_>, out: &mut Output<'_>) -> Result<bool, Problem> {
    let known: KnownProfiles = call::read(&one_shot::profiles(ctx, out)?)?;
    Ok(known.profiles.iter().any(|p| p.problem.is_none()))
}

/// The profile that tools are to use.
///
/// # Errors
/// Class `misconfigured`: there is none of that name, or it cannot be used.
pub(super) fn profile(ctx: &Context<'_>, out: &mut Output<'_>) -> Result<KnownProfile, Problem> {
    let known: KnownProfiles = call::read(&one_shot::profiles(ctx, out)?)?;
    let usable: Vec<&KnownProfile> = known.profiles.iter().filter(|p| p.problem.is_none()).collect();
    let named = ctx.named.or_else(|| ctx.vars.get("AWS_PROFILE"));
    match (named, ctx.asker) {
        (None, Some(asker)) if usable.len() > 1 => {
            let options: Vec<_> = usable.iter().map(|p| line(p)).collect();
            Ok(usable[asker.choose("Which profile is to be used?", &options, 0)?].clone())
        }
        (None, _) if usable.len() == 1 => Ok(usable[0].clone()),
        _ => find(&known, &ctx.profile()?),
    }
}

fn find(known: &KnownProfiles, name: &str) -> Result<KnownProfile, Problem> {
    let file = known.config_file.display();
    let misconfigured = |message: String, fix: String| Err(Problem::failed(FailureClass::Misconfigured, message, fix));
    match known.profiles.iter().find(|p| p.name == name) {
        Some(KnownProfile { problem: Some(problem), .. }) => {
            misconfigured(format!("profile '{name}' cannot be used: {problem}"), String::new())
        }
        Some(profile) => Ok(profile.clone()),
        None => {
            let near = words::nearest(name, known.profiles.iter().map(|p| p.name.as_str()), 3);
            let fix = match near.first() {
                Some(near) => format!("did you mean '{near}'? name it: --profile {near}"),
                None => "make one: agentctl setup sso claude".to_owned(),
            };
            misconfigured(format!("there is no profile '{name}' in {file}"), fix)
        }
    }
}

fn line(profile: &KnownProfile) -> String {
    let KnownProfile { name, session, account, role, .. } = profile;
    match (session, account, role) {
        (Some(session), Some(account), Some(role)) => format!("{name}  (role {role} in {account}, session {session})"),
        _ => name.clone(),
    }
}

/// The region in which Bedrock is used: `--region`, the environment, what is set already, the profile's.
///
/// # Errors
/// [`Problem::Usage`]: nobody says, and nobody can be asked.
pub(super) fn region(
    ctx: &Context<'_>,
    args: &Setup,
    already: Option<&str>,
    profile: &KnownProfile,
) -> Result<String, Problem> {
    let env = || ctx.vars.get("AWS_REGION").or_else(|| ctx.vars.get("AWS_DEFAULT_REGION"));
    let found = args.region.as_deref().or_else(env).or(already).or(profile.region.as_deref());
    let region = match (found, ctx.asker) {
        (Some(region), _) if args.region.is_some() || ctx.asker.is_none() => region.to_owned(),
        (found, Some(asker)) => asker
            .text("In which region is Bedrock used (not where Identity Center lives)?", found.unwrap_or_default())?,
        (Some(region), None) => region.to_owned(),
        (None, None) => return Err(missing("the region of Bedrock", "--region eu-west-1")),
    };
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if region.is_empty() || region.len() > 40 || !region.chars().all(fine) {
        return Err(missing(&format!("a region ('{region}' is none)"), "--region eu-west-1"));
    }
    Ok(region)
}

/// The models that a person chooses, with the variables that name them: the main one of those that Bedrock offers the
/// account, or another by its id, and what the families mean. None: Claude Code is to choose.
///
/// # Errors
/// The person gave up.
pub(super) fn models(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &str,
    region: &str,
    (main, families): (&'static str, &[(&'static str, &'static str)]),
) -> Result<Vec<(&'static str, String)>, Problem> {
    let Some(asker) = ctx.asker else { return Ok(Vec::new()) };
    let offered =
        models::ask(ctx, out, profile, Some(region), true).and_then(|reply| call::read::<ModelsDocument>(&reply));
    let offered = match offered {
        Ok(document) => document.models,
        Err(problem) => {
            out.tell("Bedrock's models cannot be listed now, so Claude Code is left to choose one:");
            problem.line().iter().for_each(|line| out.tell(line));
            return Ok(Vec::new());
        }
    };
    let claude: Vec<_> = offered.into_iter().filter(|model| model.is_claude() && model.is_active()).collect();
    if claude.is_empty() {
        out.tell(&format!("Bedrock offers no inference profile of Claude in {region}; see: agentctl models"));
    }
    let mut options = vec!["leave it to Claude Code".to_owned()];
    options.extend(claude.iter().map(|model| format!("{}  {}", clean(&model.id), clean(&model.name))));
    options.push("another, by its id".to_owned());
    let id = match asker.choose("Which model is Claude Code to use?", &options, 0)? {
        0 => return Ok(Vec::new()),
        chosen if chosen <= claude.len() => claude[chosen - 1].id.clone(),
        _ => asker.text("Its id ([1m] behind it asks for 1M tokens of context)?", "")?.trim().to_owned(),
    };
    if id.is_empty() {
        return Ok(Vec::new());
    }
    let newest = |(family, name): &(&'static str, &'static str)| {
        Some((*family, *name, bedrock::newest(&claude, family, &id)?.to_owned()))
    };
    let pins: Vec<_> = families.iter().filter_map(newest).collect();
    let mut chosen = vec![(main, id.clone())];
    if !pins.is_empty() {
        let ids: Vec<_> = pins.iter().map(|(.., id)| clean(&bedrock::short(id))).collect();
        let options = ["what Claude Code takes".to_owned(), format!("the newest here: {}", ids.join(", "))];
        let families: Vec<_> = pins.iter().map(|(family, ..)| format!("'{family}'")).collect();
        let question = format!("What should {} mean?", families.join(", "));
        if asker.choose(&question, &options, 0)? == 1 {
            chosen.extend(pins.into_iter().map(|(_, name, id)| (name, id)));
        }
    }
    Ok(chosen)
}

/// An answer that nobody gives.
pub(super) fn missing(what: &str, flag: &str) -> Problem {
    Problem::Usage(format!("setup needs {what}"), format!("name it: {flag}"))
}
