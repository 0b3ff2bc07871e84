//! Claude Code's settings: whether they can be read, what of them opens browsers, and which others win over them.

use super::facts::{ClaudeFacts, Override};
use super::{Check, Facts, Severity, Verdict};
use crate::core::claude_settings::keys::{EXPORT, REFRESH, is_ours};
use crate::core::failure::{Failure, FailureClass, shell_word};

/// The file.
pub(super) const SETTINGS: Check = Check { name: "claude-settings", family: "claude", depends_on: &[], run: settings };

/// `awsAuthRefresh`.
pub(super) const LOGIN: Check =
    Check { name: "claude-refresh", family: "claude", depends_on: &["claude-settings"], run: refresh };

/// Settings of the folder or of the machine, which win over the user's.
pub(super) const PROJECT: Check =
    Check { name: "claude-project", family: "claude", depends_on: &["claude-settings"], run: project };

/// A setting that is wrong.
pub(super) fn misconfigured(message: impl AsRef<str>, fix: impl AsRef<str>) -> Verdict {
    Verdict::of(Severity::Error, &Failure::new(FailureClass::Misconfigured, message, fix))
}

/// What writes the settings anew.
pub(super) fn setup(facts: &Facts) -> String {
    format!("agentctl setup --profile {}", shell_word(&facts.profile))
}

fn settings(facts: &Facts) -> Verdict {
    match &facts.claude {
        ClaudeFacts { settings: Err(why), path, .. } => {
            let fix = "correct that line: Claude Code ignores the whole file";
            misconfigured(format!("{}: {why}", path.display()), fix)
        }
        ClaudeFacts { settings: Ok(None), path, .. } => Verdict::skipped(format!("there is no {}", path.display())),
        ClaudeFacts { path, ignored_from: Some(line), .. } => {
            let message = format!(
                "{}, line {line}: Claude Code takes no comments and no trailing commas, and ignores the whole file",
                path.display()
            );
            misconfigured(message, "take out comments and trailing commas")
        }
        ClaudeFacts { path, .. } => Verdict::ok(format!("{} can be read", path.display())),
    }
}

fn refresh(facts: &Facts) -> Verdict {
    let Some(command) = facts.claude.command(REFRESH) else { return Verdict::ok("no login command is run at starts") };
    if !is_ours(command) {
        let message = format!(
            "{REFRESH} runs '{command}' at each start at which Claude Code's own check of STS fails, even with valid \
             credentials: a browser tab each time"
        );
        return Verdict::new(Severity::Warning, message).fixed_by(setup(facts));
    }
    let has_source = facts.inspection.as_ref().is_ok_and(|seen| seen.also_sourced);
    if has_source || !facts.ambient.is_empty() {
        return Verdict::ok(format!("{REFRESH} is ours, which opens nothing without need"));
    }
    let message = format!(
        "{REFRESH} is ours, but runs at every start: Claude Code's own check of STS never sees what {EXPORT} prints, and finds \
         no credentials in profile '{}'",
        facts.claude.default_profile()
    );
    let fix = format!("take {REFRESH} out of {}; {EXPORT} does without it", facts.claude.path.display());
    Verdict::new(Severity::Warning, message).fixed_by(fix)
}

fn project(facts: &Facts) -> Verdict {
    let line = |Override { path, key }: &Override| format!("{} has an {key} of its own", path.display());
    match facts.claude.overriding.split_first() {
        None => Verdict::ok("no other settings win over yours"),
        Some((first, others)) => {
            let message = format!("{}, which wins {}", line(first), where_of(first));
            Verdict::new(Severity::Warning, message)
                .fixed_by(format!("take {} out of it", first.key))
                .seen(others.iter().map(line))
        }
    }
}

fn where_of(settings: &Override) -> &'static str {
    if settings.path.is_absolute() { "on this machine" } else { "in this folder" }
}
