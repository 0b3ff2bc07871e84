//! What is going to be written, shown before it is.

use std::path::{Path, PathBuf};

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::claude::unreadable;
use crate::cli::args::Setup;
use crate::cli::context::Context;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::cli::render::clean;
use crate::cli::render::text::Paint;
use crate::core::failure::FailureClass;
use crate::files::setup::{self, NewEdit, Record};

/// Files, and what they are to hold.
#[derive(Default)]
pub(super) struct Plan {
    targets: Vec<Target>,
}

/// One file.
pub(super) struct Target {
    /// What kind it is, for `--undo`.
    pub(super) kind: &'static str,
    pub(super) path: PathBuf,
    /// Its bytes; `None`: it does not exist.
    pub(super) before: Option<Vec<u8>>,
    pub(super) after: Vec<u8>,
    /// What is changed, in the form of its kind.
    pub(super) changes: Value,
}

impl Target {
    /// The bytes of a file that is going to be edited.
    pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Problem> {
        setup::read(path).map_err(|why| unreadable(path, &why))
    }

    fn is_unchanged(&self) -> bool {
        self.before.as_deref() == Some(&self.after)
    }
}

impl Plan {
    /// One more edit; of a file that is edited already it becomes a part.
    pub(super) fn add(&mut self, target: Target) {
        if target.is_unchanged() {
            return;
        }
        let known = self.targets.iter_mut().find(|known| known.path == target.path && known.kind == target.kind);
        match (known, target.changes) {
            (Some(known), Value::Array(more)) => {
                known.after = target.after;
                if let Value::Array(changes) = &mut known.changes {
                    changes.extend(more);
                }
            }
            (_, changes) => self.targets.push(Target { changes, ..target }),
        }
    }

    /// What a file is to hold by the steps before.
    pub(super) fn so_far(&self, path: &Path) -> Option<Vec<u8>> {
        self.targets.iter().rev().find(|target| target.path == path).map(|target| target.after.clone())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Every change, as `diff -u` shows it.
    pub(super) fn diff(&self, colour: bool) -> String {
        self.targets.iter().map(|target| diff(target, colour)).collect()
    }

    /// Shows it and asks whether that is what is wanted, unless the person said so already.
    pub(super) fn agree(&self, ctx: &Context<'_>, out: &mut Output<'_>, args: &Setup) -> Result<(), Problem> {
        if args.yes {
            return Ok(());
        }
        let Some(asker) = ctx.asker else {
            let what = "setup changes files and nobody can be asked here".to_owned();
            return Err(Problem::Usage(what, "look with --dry-run, and agree with --yes".to_owned()));
        };
        out.line(self.diff(out.screen.colour).trim_end());
        if asker.confirm("Write this?", true)? { Ok(()) } else { Err(super::ask::given_up()) }
    }

    /// Writes each file, after its bytes were put aside.
    pub(super) fn carry_out(self, ctx: &Context<'_>, out: &mut Output<'_>) -> Result<(), Problem> {
        let state = ctx.vars.state_folder()?;
        let mut record = Record::load(&state);
        for Target { kind, path, before, after, changes } in self.targets {
            // Between the question and the answer others may have written it.
            if Target::read(&path)? != before {
                let message = format!("{} was changed meanwhile", path.display());
                return Err(Problem::failed(FailureClass::Transient, message, "run it again"));
            }
            let path = std::path::absolute(&path).unwrap_or(path);
            let edit = NewEdit { kind, path: &path, before: before.as_deref(), after: &after, changes };
            let written = record.push(&state, edit).and_then(|()| {
                setup::write(&path, &after).inspect_err(|_| {
                    // What was not written is not to be undone.
                    let _ = record.pop(&state);
                })
            });
            written.map_err(|e| cannot_write(&path, &e))?;
            out.tell(&format!("wrote {}", path.display()));
        }
        Ok(())
    }
}

pub(super) fn cannot_write(path: &Path, e: &std::io::Error) -> Problem {
    let message = format!("{} cannot be written: {e}", path.display());
    Problem::failed(FailureClass::Misconfigured, message, "correct that; it is as it was")
}

fn diff(target: &Target, colour: bool) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (before, after) = (text(target.before.as_deref().unwrap_or_default()), text(&target.after));
    let name = clean(&target.path.display().to_string());
    let old = if target.before.is_some() { name.as_str() } else { "/dev/null" };
    let mut shown = format!(
        "{}\n{}\n",
        Paint::Bold.on(&format!("--- {old}"), colour),
        Paint::Bold.on(&format!("+++ {name}"), colour)
    );
    for group in TextDiff::from_lines(&before, &after).grouped_ops(2) {
        shown.push_str(&Paint::Dim.on("@@", colour));
        shown.push('\n');
        let diff = TextDiff::from_lines(&before, &after);
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (sign, paint) = match change.tag() {
                ChangeTag::Delete => ('-', Paint::Red),
                ChangeTag::Insert => ('+', Paint::Green),
                ChangeTag::Equal => (' ', Paint::Plain),
            };
            let line = clean(change.value().trim_end_matches(['\r', '\n']));
            shown.push_str(&paint.on(&format!("{sign}{line}"), colour));
            shown.push('\n');
        }
    }
    shown
}
