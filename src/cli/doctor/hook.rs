//! The command that Claude Code runs for credentials: whether it leads to the agent, and what it comes to.

use std::time::Duration;

use super::claude::{misconfigured, setup};
use super::{Check, Facts, Severity, Verdict};
use crate::core::claude_settings::keys::{EXPORT, is_ours};
use crate::core::failure::shell_word;
use crate::core::words::span;

/// `awsCredentialExport`.
pub(super) const HOOK: Check =
    Check { name: "claude-hook", family: "claude", depends_on: &["claude-settings"], run: hook };

/// What it prints.
pub(super) const CREDENTIALS: Check =
    Check { name: "claude-credentials", family: "claude", depends_on: &["claude-hook", "role"], run: credentials };

/// Claude Code keeps a key with less for an hour.
const ENOUGH: i64 = 6 * 60 * 1000;

fn hook(facts: &Facts) -> Verdict {
    let Some(settings) = facts.claude.known() else { return Verdict::skipped("no settings") };
    let Some(command) = facts.claude.command(EXPORT) else {
        let message = match settings.get(EXPORT) {
            None => format!("Claude Code does not ask the agent: no {EXPORT}"),
            Some(_) => format!("{EXPORT} is no text"),
        };
        return Verdict::new(Severity::Warning, message).fixed_by(setup(facts));
    };
    if !is_ours(command) {
        return Verdict::new(Severity::Note, format!("{EXPORT} is another tool's: {command}"));
    }
    match &facts.claude.hook {
        None => misconfigured(format!("{EXPORT} is no command: {command}"), setup(facts)),
        Some(program) if !program.path.is_absolute() => {
            let message =
                format!("{EXPORT} names '{}', which is looked for in Claude Code's PATH", program.path.display());
            Verdict::new(Severity::Warning, message).fixed_by(setup(facts))
        }
        Some(program) if !program.exists => {
            misconfigured(format!("{EXPORT} names {}, which is not there", program.path.display()), setup(facts))
        }
        Some(program) if !program.executable => {
            let message = format!("{EXPORT} names {}, which may not be run", program.path.display());
            misconfigured(message, format!("chmod +x {}", shell_word(&program.path.to_string_lossy())))
        }
        Some(_) if facts.claude.own_hook().is_none() => {
            misconfigured(format!("{EXPORT} is not agentctl export: {command}"), setup(facts))
        }
        Some(_) => Verdict::ok(format!("{EXPORT} asks the agent")),
    }
}

fn credentials(facts: &Facts) -> Verdict {
    match &facts.claude.ran {
        None if facts.claude.own_hook().is_none() => Verdict::skipped("another tool's hook is not run"),
        None if facts.claude.runnable_hook().is_none() => Verdict::skipped("it is not run without an absolute path"),
        None => Verdict::skipped("agentd is not running, and doctor starts none"),
        Some(Err(why)) => misconfigured(format!("{EXPORT}, run as Claude Code does, {why}"), setup(facts)),
        Some(Ok(left)) => {
            let lives = span(Duration::from_millis(left.unsigned_abs()));
            match *left {
                ..ENOUGH => Verdict::new(
                    Severity::Note,
                    format!(
                        "{EXPORT} prints credentials for {lives}, which Claude Code keeps for an hour all the same"
                    ),
                ),
                _ => Verdict::ok(format!("{EXPORT}, run as Claude Code does, prints credentials for {lives}")),
            }
        }
    }
}
