//! Whether the AWS config can be read, and has a profile of that name that can be used.

use super::{Check, Facts, Severity, Verdict};
use crate::core::failure::{Failure, FailureClass, shell_word};

/// The file.
pub(super) const CONFIG: Check = Check { name: "config", family: "config", depends_on: &[], run: config };

/// The profile that is meant.
pub(super) const PROFILE: Check = Check { name: "profile", family: "config", depends_on: &["config"], run: profile };

fn config(facts: &Facts) -> Verdict {
    let seen = match &facts.inspection {
        Err(failure) => return Verdict::of(Severity::Error, failure),
        Ok(seen) => seen,
    };
    // Static keys beside a profile have a check of their own.
    let mut odd = seen.findings.iter().filter(|finding| finding.name != "static-shadow");
    match odd.next() {
        None => {
            let profiles = if seen.count == 1 { "profile" } else { "profiles" };
            Verdict::ok(format!("{} has {} {profiles}", seen.config_file.display(), seen.count))
        }
        Some(first) => Verdict::new(Severity::Warning, &first.message)
            .fixed_by(&first.fix)
            .seen(odd.map(|finding| format!("{}; {}", finding.message, finding.fix))),
    }
}

fn profile(facts: &Facts) -> Verdict {
    let Ok(seen) = &facts.inspection else { return Verdict::skipped("the config cannot be read") };
    let misconfigured = |message: String, fix: String| {
        Verdict::of(Severity::Error, &Failure::new(FailureClass::Misconfigured, message, fix))
    };
    let says = match &seen.profile {
        Ok(says) => says,
        Err(near) => {
            let file = seen.config_file.display();
            let fix = match near.first() {
                Some(near) => format!("did you mean '{near}'? --profile {}", shell_word(near)),
                None => format!("name another with --profile, or begin one: agentctl setup sso (or add it to {file})"),
            };
            return misconfigured(format!("there is no profile '{}' in {file}", facts.profile), fix);
        }
    };
    match &says.problem {
        Some(problem) => {
            let message = format!("profile '{}' cannot be used: {}", facts.profile, problem.message);
            misconfigured(message, problem.fix.clone())
        }
        None => Verdict::ok(format!("{} is there", says.section)),
    }
}
