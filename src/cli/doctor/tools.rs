//! The tools of others: which Claude Code is here and what is known of it, and whether an AWS CLI is missed.

use super::claude::setup;
use super::{Check, Facts, Severity, Verdict};
use crate::core::claude_settings::keys::{EXPORT, REFRESH};
use crate::core::words::first_word;

/// Claude Code's version.
pub(super) const CLAUDE: Check = Check { name: "claude-version", family: "claude", depends_on: &[], run: claude };

/// Nothing of ours needs it.
pub(super) const AWS_CLI: Check =
    Check { name: "aws-cli", family: "claude", depends_on: &["claude-settings"], run: aws_cli };

/// The newest version whose behaviour was measured.
const MEASURED: [u32; 3] = [2, 1, 328];
/// Versions before this one keep credentials for an hour, whenever they end (measured with 2.1.175 and 2.1.179).
const MINDS_EXPIRY: [u32; 3] = [2, 1, 176];

/// Which Claude Code is here and what is known of it, in one line.
#[must_use]
pub fn describe(version: Option<&Result<String, String>>) -> String {
    judge(version).message
}

fn claude(facts: &Facts) -> Verdict {
    judge(facts.claude_version.as_ref())
}

fn judge(version_said: Option<&Result<String, String>>) -> Verdict {
    match version_said {
        None => Verdict::skipped("there is no claude in PATH"),
        Some(Err(why)) => Verdict::new(Severity::Note, format!("claude --version {why}")),
        Some(Ok(said)) => match version(said) {
            None => Verdict::new(Severity::Note, "claude --version names no version"),
            Some(found) => known(found),
        },
    }
}

fn known(found: [u32; 3]) -> Verdict {
    let dotted = |version: [u32; 3]| version.map(|part| part.to_string()).join(".");
    let shown = dotted(found);
    if found < MINDS_EXPIRY {
        let message = format!("Claude Code {shown} keeps credentials for an hour, also those that end sooner");
        return Verdict::new(Severity::Note, message).fixed_by("update it: claude update");
    }
    match found > MEASURED {
        true => Verdict::ok(format!("Claude Code {shown}; what is known of it was measured with {}", dotted(MEASURED))),
        false => Verdict::ok(format!("Claude Code {shown}, which minds when credentials end")),
    }
}

/// `2.1.328 (Claude Code)`.
fn version(said: &str) -> Option<[u32; 3]> {
    let mut parts = said.split_whitespace().next()?.split('.').map(str::parse);
    Some([parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?])
}

fn aws_cli(facts: &Facts) -> Verdict {
    let named = [EXPORT, REFRESH].into_iter().find(|key| {
        let command = facts.claude.command(key).and_then(first_word);
        command.is_some_and(|program| program == "aws")
    });
    match (facts.aws_cli, named) {
        (true, _) => Verdict::ok("there is an AWS CLI, which nothing here needs"),
        (false, None) => Verdict::ok("there is no AWS CLI, and nothing here needs it"),
        (false, Some(key)) => {
            let message = format!("{key} runs 'aws', and there is no AWS CLI in PATH");
            Verdict::new(Severity::Warning, message).fixed_by(setup(facts))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(version("2.1.328 (Claude Code)\n"), Some([2, 1, 328]));
        assert_eq!(version("Claude"), None);
        assert_eq!(known([2, 1, 175]).severity, Severity::Note);
        assert_eq!(known([2, 1, 176]).severity, Severity::Ok);
        assert_eq!(known([2, 1, 328]).message, "Claude Code 2.1.328, which minds when credentials end");
        assert!(known([2, 10, 0]).message.ends_with("measured with 2.1.328"));
    }
}
