//! `agentctl setup`: Claude Code and the AWS CLI on the agent's credentials, by questions at a terminal or by flags.
//!
//! Nothing is written before everything is known: each step adds to a [`Plan`], which is shown as a diff, agreed to, and
//! carried out file by file; what was there is put aside ([`crate::files::setup`]), and `--undo` brings it back. Who ends
//! it at a question has changed nothing.
//!
//! | question | file |
//! |---|---|
//! | what is asked, and who answers? | [`ask`], [`choose`] |
//! | what does Claude Code get? | [`claude`] |
//! | what do the AWS CLI and SDKs get? | [`aws`] |
//! | how does who has no profile come to one? | [`sso`] |
//! | how does a legacy profile come to sessions that renew? | [`convert`] |
//! | what is changed, shown and written? | [`plan`] |
//! | how is it taken back? | [`undo`] |
//! | may a login stand in `awsAuthRefresh`? | [`refresh`] |
//! | does it work? | [`proof`] |

pub mod ask;
mod aws;
mod choose;
mod claude;
mod convert;
mod plan;
mod proof;
mod refresh;
mod sso;
mod undo;

use std::path::PathBuf;

use self::plan::Plan;
use super::args::{Setup, SetupStep};
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;

/// Runs the verb.
///
/// # Errors
/// [`Problem::Usage`] where an answer is missing and nobody can be asked; class `misconfigured` for a file that cannot be
/// edited for certain; what the proof shows.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Setup) -> Result<(), Problem> {
    if args.undo {
        return undo::run(ctx, out, args);
    }
    // Who agrees beforehand is asked nothing.
    let ctx = &Context { asker: ctx.asker.filter(|_| !args.yes), ..*ctx };
    let mut steps = args.steps.clone();
    if steps.is_empty() && !args.convert {
        let begin = ctx.asker.is_some() && ctx.named.is_none() && !choose::is_any(ctx, out)?;
        steps = if begin { vec![SetupStep::Sso, SetupStep::Claude] } else { vec![SetupStep::Claude] };
    }
    let mut plan = Plan::default();
    // Until the plan is carried out, a new profile or session can be asked about in a world of its own.
    let (profile, aside) = match steps.contains(&SetupStep::Sso) {
        true => sso::plan(ctx, out, args, &mut plan)?,
        false => {
            let profile = choose::profile(ctx, out)?;
            let aside = convert::plan(ctx, out, args, &profile, &mut plan)?;
            (profile, aside)
        }
    };
    // What was answered once is not asked again.
    let answered = profile.region.clone().filter(|_| steps.contains(&SetupStep::Sso));
    let args = &Setup { region: args.region.clone().or(answered), ..args.clone() };
    let there = aside.as_ref().map_or(*ctx, |aside| aside.context(ctx));
    let claude = match steps.contains(&SetupStep::Claude) {
        true => Some(claude::plan(&there, out, args, &profile, &mut plan)?),
        false => None,
    };
    if steps.contains(&SetupStep::Aws) || claude.as_ref().is_some_and(|claude| claude.wants_aws) {
        aws::plan(ctx, out, args, &profile, &mut plan)?;
    }
    drop(aside);
    if plan.is_empty() {
        out.tell("everything is set up already; nothing was changed");
    } else if args.dry_run {
        out.document(plan.diff(out.screen.colour).as_bytes())?;
        out.tell("nothing was changed (--dry-run)");
        return Ok(());
    } else {
        plan.agree(ctx, out, args)?;
        plan.carry_out(ctx, out)?;
    }
    proof::run(ctx, out, &profile, claude.as_ref())
}

/// A path that an update of agentctl leaves as it is: the one in PATH, where that is this program.
fn program(ctx: &Context<'_>) -> Result<PathBuf, Problem> {
    let agentd = ctx.launcher.program()?;
    let here = agentd.with_file_name(format!("agentctl{}", std::env::consts::EXE_SUFFIX));
    let real = std::fs::canonicalize(&here).unwrap_or_else(|_| here.clone());
    let path = ctx.vars.get("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    let mut same = in_path
        .map(|folder| folder.join("agentctl"))
        .filter(|candidate| std::fs::canonicalize(candidate).is_ok_and(|candidate| candidate == real));
    Ok(same.next().unwrap_or(here))
}

#[cfg(test)]
mod tests;
