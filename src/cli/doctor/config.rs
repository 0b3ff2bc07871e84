//! Whether the AWS config can be read, and has the profile.

use super::{Check, Facts, Severity, Verdict};
use crate::core::failure::{Failure, FailureClass, shell_word};
use crate::core::words;

/// The file.
pub(super) const CONFIG: Check = Check {
    name: "config",
    family: "config",
    depends_on: &[],
    run: |facts| match &facts.profiles {
        Err(failure) => Verdict::of(Severity::Error, failure),
        Ok(known) => Verdict::ok(format!("{} has {} profiles", known.config_file.display(), known.profiles.len())),
    },
};

/// The profile that is meant.
pub(super) const PROFILE: Check = Check { name: "profile", family: "config", depends_on: &["config"], run: profile };

/// Variables that outrank every profile in the AWS CLI, the SDKs and Claude Code.
pub(super) const SHADOWING: Check = Check { name: "shadowing", family: "config", depends_on: &[], run: shadowing };

fn profile(facts: &Facts) -> Verdict {
    let Ok(known) = &facts.profiles else { return Verdict::skipped("the config cannot be read") };
    let misconfigured = |message: String, fix: String| {
        Verdict::of(Severity::Error, &Failure::new(FailureClass::Misconfigured, message, fix))
    };
    match known.profiles.iter().find(|p| p.name == facts.profile) {
        None => {
            let near = words::nearest(&facts.profile, known.profiles.iter().map(|p| p.name.as_str()), 3);
            let fix = match near.first() {
                Some(near) => format!("did you mean '{near}'? --profile {}", shell_word(near)),
                None => format!("name another with --profile, or add it to {}", known.config_file.display()),
            };
            misconfigured(format!("there is no profile '{}' in {}", facts.profile, known.config_file.display()), fix)
        }
        Some(profile) => match (&profile.problem, &profile.session) {
            (Some(problem), _) => {
                let (cause, fix) = problem.split_once("; ").unwrap_or((problem, ""));
                misconfigured(format!("profile '{}' cannot be used: {cause}", profile.name), fix.to_owned())
            }
            (None, session) => {
                let session =
                    session.as_ref().map_or_else(String::new, |session| format!(" lives on session {session}"));
                Verdict::ok(format!("'{}'{session}", profile.name))
            }
        },
    }
}

fn shadowing(facts: &Facts) -> Verdict {
    if facts.ambient.is_empty() {
        return Verdict::ok("no variable stands before the profile");
    }
    let names = facts.ambient.join(", ");
    let message = format!("{names} set here: tools that find it use it, whatever their profile says");
    Verdict::new(Severity::Warning, message).fixed_by(format!("unset {}", facts.ambient.join(" ")))
}
