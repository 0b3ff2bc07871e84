//! Claude Code's settings: whether they can be read, whether they lead to the agent, and what of them opens browsers.

use serde_json::{Map, Value};

use super::facts::ClaudeFacts;
use super::{Check, Facts, Severity, Verdict};
use crate::core::failure::{Failure, FailureClass, shell_word};

/// The file.
pub(super) const SETTINGS: Check = Check { name: "claude-settings", family: "claude", depends_on: &[], run: settings };

/// `awsCredentialExport`.
pub(super) const HOOK: Check =
    Check { name: "claude-hook", family: "claude", depends_on: &["claude-settings"], run: hook };

/// `awsAuthRefresh`.
pub(super) const REFRESH: Check =
    Check { name: "claude-refresh", family: "claude", depends_on: &["claude-settings"], run: refresh };

/// Settings of the folder, which win over the user's.
pub(super) const PROJECT: Check =
    Check { name: "claude-project", family: "claude", depends_on: &["claude-settings"], run: project };

const EXPORT: &str = "awsCredentialExport";

fn settings(facts: &Facts) -> Verdict {
    match &facts.claude {
        ClaudeFacts { settings: Err(why), path, .. } => {
            let message = format!("{}: {why}", path.display());
            let fix = "correct that line: Claude Code ignores the whole file";
            Verdict::of(Severity::Error, &Failure::new(FailureClass::Misconfigured, message, fix))
        }
        ClaudeFacts { settings: Ok(None), path, .. } => Verdict::skipped(format!("there is no {}", path.display())),
        ClaudeFacts { path, .. } => Verdict::ok(format!("{} can be read", path.display())),
    }
}

fn read(facts: &Facts) -> Option<&Map<String, Value>> {
    facts.claude.settings.as_ref().ok()?.as_ref()
}

fn text<'a>(settings: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    settings.get(key)?.as_str()
}

fn setup(facts: &Facts) -> String {
    format!("agentctl setup --profile {}", shell_word(&facts.profile))
}

fn hook(facts: &Facts) -> Verdict {
    let Some(settings) = read(facts) else { return Verdict::skipped("no settings") };
    let Some(command) = text(settings, EXPORT) else {
        return Verdict::new(Severity::Warning, format!("Claude Code does not ask the agent: no {EXPORT}"))
            .fixed_by(setup(facts));
    };
    if !command.contains("agentctl") {
        return Verdict::new(Severity::Note, format!("{EXPORT} is another tool's: {command}"));
    }
    let program = facts.claude.hook_program.as_ref();
    match program {
        Some(path) if !path.is_absolute() => {
            let message = format!("{EXPORT} names '{}', which is looked for in Claude Code's PATH", path.display());
            Verdict::new(Severity::Warning, message).fixed_by(setup(facts))
        }
        Some(path) if !facts.claude.hook_exists => {
            let message = format!("{EXPORT} names {}, which is not there", path.display());
            Verdict::of(Severity::Error, &Failure::new(FailureClass::Misconfigured, message, setup(facts)))
        }
        _ => Verdict::ok(format!("{EXPORT} asks the agent")),
    }
}

fn refresh(facts: &Facts) -> Verdict {
    match read(facts).and_then(|settings| text(settings, "awsAuthRefresh")) {
        Some(command) if !command.contains("agentctl") => Verdict::new(
            Severity::Warning,
            format!(
                "awsAuthRefresh runs '{command}' at each start at which Claude Code's own check of STS fails, even with valid \
                 credentials: a browser tab each time"
            ),
        )
        .fixed_by(setup(facts)),
        Some(_) => Verdict::ok("awsAuthRefresh is ours, which opens nothing without need"),
        None => Verdict::ok("no login command is run at starts"),
    }
}

fn project(facts: &Facts) -> Verdict {
    match facts.claude.overriding.first() {
        None => Verdict::ok("no settings of this folder stand before yours"),
        Some(path) => {
            let message = format!("{} has an {EXPORT} of its own, which wins in this folder", path.display());
            Verdict::new(Severity::Warning, message).fixed_by(format!("take {EXPORT} out of it"))
        }
    }
}
