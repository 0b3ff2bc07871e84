//! `agentctl setup --undo`: the last edits are taken back. A file that nobody touched since gets its old bytes; in one that
//! others changed, what is still as we made it is taken back.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::plan::cannot_write;
use super::{aws, claude};
use crate::cli::args::Setup;
use crate::cli::context::Context;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::core::{aws_config_edit, claude_settings};
use crate::files::setup::{self, Edit, Record};

/// Runs it.
///
/// # Errors
/// A file that cannot be read for certain or written: it is as it was, and so are those before it.
pub(super) fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Setup) -> Result<(), Problem> {
    let state = ctx.vars.state_folder()?;
    let mut record = Record::load(&state);
    if record.last().is_none() {
        out.tell("there is nothing to undo");
    }
    while let Some(edit) = record.last().cloned() {
        if !one(out, &state, &mut record, &edit, args.dry_run)? {
            break;
        }
    }
    Ok(())
}

/// Takes one edit back, or says what would be; whether it is done.
fn one(out: &mut Output<'_>, state: &Path, record: &mut Record, edit: &Edit, dry_run: bool) -> Result<bool, Problem> {
    let now = setup::read(&edit.path).map_err(|why| claude::unreadable(&edit.path, &why))?;
    let (then, how) = taken_back(edit, now.as_deref())?;
    if dry_run {
        out.tell(&format!("would be {how}: {} (--dry-run)", edit.path.display()));
        return Ok(false);
    }
    put_back(&edit.path, now.as_deref(), then.as_deref()).map_err(|e| cannot_write(&edit.path, &e))?;
    record.pop(state).map_err(|e| cannot_write(&state.join("setup.json"), &e))?;
    out.tell(&format!("{how}: {}", edit.path.display()));
    Ok(true)
}

/// What the file is to hold again (`None`: it is to go), in words too.
fn taken_back(edit: &Edit, now: Option<&[u8]>) -> Result<(Option<Vec<u8>>, &'static str), Problem> {
    let Some(current) = now else { return Ok((None, "gone already")) };
    if edit.is_untouched(now) {
        return Ok(match &edit.backup {
            None => (None, "removed again"),
            Some(backup) => {
                let kept = setup::read(backup).map_err(|why| claude::unreadable(backup, &why))?;
                match kept {
                    Some(bytes) => (Some(bytes), "as it was, to the byte"),
                    None => return Err(claude::unreadable(backup, "is gone")),
                }
            }
        });
    }
    let bytes = match edit.kind.as_str() {
        aws::KIND => {
            let changes: Vec<aws_config_edit::Change> = read(edit);
            aws_config_edit::remove(current, &changes).map_err(|refused| refused.failure(&edit.path))?.text
        }
        _ => {
            let changes: Vec<claude_settings::Change> = read(edit);
            claude_settings::undo(current, &changes).map_err(|e| claude::of_file(&edit.path, &e))?.bytes
        }
    };
    Ok((Some(bytes), "without what setup had added"))
}

/// What was changed; an edit of another version, which is not understood, changed nothing.
fn read<T: DeserializeOwned>(edit: &Edit) -> Vec<T> {
    serde_json::from_value(edit.changes.clone()).unwrap_or_default()
}

fn put_back(path: &Path, now: Option<&[u8]>, then: Option<&[u8]>) -> std::io::Result<()> {
    match (now, then) {
        (None, None) => Ok(()),
        (Some(now), Some(then)) if now == then => Ok(()),
        (_, Some(then)) => setup::write(path, then),
        (Some(_), None) => std::fs::remove_file(path),
    }
}
