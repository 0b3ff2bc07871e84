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
//! | what is changed, shown and written? | [`plan`] |
//! | how is it taken back? | [`undo`] |
//! | does it work? | [`proof`] |

pub mod ask;
mod choose;
mod claude;
mod plan;
mod proof;
mod undo;

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
    let steps = if args.steps.is_empty() { vec![SetupStep::Claude] } else { args.steps.clone() };
    let mut plan = Plan::default();
    let mut proofs = Vec::new();
    for step in steps {
        match step {
            SetupStep::Claude => proofs.push(claude::plan(ctx, out, args, &mut plan)?),
        }
    }
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
    if args.dry_run {
        return Ok(());
    }
    proofs.into_iter().try_for_each(|profile| proof::run(ctx, out, &profile))
}

#[cfg(test)]
mod tests;
