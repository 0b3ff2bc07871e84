//! What tools find before the profile, or instead of it.

use super::{Check, Facts, Severity, Verdict};
use crate::core::failure::shell_word;

/// Variables, static keys and double sources.
pub(super) const SHADOWING: Check = Check { name: "shadowing", family: "config", depends_on: &[], run: shadowing };

/// Commands that are not there.
pub(super) const PROCESS: Check = Check { name: "process", family: "config", depends_on: &["config"], run: process };

fn shadowing(facts: &Facts) -> Verdict {
    let mut found: Vec<(String, String)> = Vec::new();
    if !facts.ambient.is_empty() {
        let message =
            format!("{} set here: tools that find it use it, whatever their profile says", facts.ambient.join(", "));
        found.push((message, format!("unset {}", facts.ambient.join(" "))));
    }
    found.extend(static_keys(facts));
    found.extend(two_sources(facts));
    let mut found = found.into_iter();
    match found.next() {
        None => Verdict::ok("nothing stands before the profile"),
        Some((message, fix)) => Verdict::new(Severity::Warning, message)
            .fixed_by(fix)
            .seen(found.map(|(message, fix)| format!("{message}; {fix}"))),
    }
}

fn static_keys(facts: &Facts) -> Option<(String, String)> {
    let (seen, says) = (facts.inspection.as_ref().ok()?, facts.says()?);
    if !says.static_keys || !(says.sso || says.process) {
        return None;
    }
    let file = seen.credentials_file.display();
    let message = format!("profile '{}' also has static keys in {file}, which many tools use instead", facts.profile);
    Some((message, format!("remove [{}] from {file}", facts.profile)))
}

fn two_sources(facts: &Facts) -> Option<(String, String)> {
    let says = facts.says().filter(|says| says.sso && says.process)?;
    let section = &says.section;
    let message = format!(
        "{section} has both sso_* keys and credential_process: the AWS CLI takes the former, the SDK for JavaScript the latter"
    );
    let profile = shell_word(&facts.profile);
    let fix = format!(
        "remove credential_process from {section}; a profile with it, beside this one: agentctl setup aws --profile {profile}"
    );
    Some((message, fix))
}

fn process(facts: &Facts) -> Verdict {
    let Ok(seen) = &facts.inspection else { return Verdict::skipped("the config cannot be read") };
    let Some(first) = seen.missing.first() else { return Verdict::ok("each credential_process with a path is there") };
    let file = seen.config_file.display();
    let message =
        format!("credential_process of {} names {}, which is not there", first.section, first.program.display());
    let ours = first.program.file_stem().is_some_and(|name| name == "agentctl");
    let fix = match facts.agentctl.as_deref().filter(|_| ours) {
        Some(here) => format!("write {} in its place in {file}", here.display()),
        None => format!("correct the path in {file}, or remove {}", first.section),
    };
    let others = seen.missing.iter().skip(1);
    Verdict::new(Severity::Warning, message)
        .fixed_by(fix)
        .seen(others.map(|other| format!("so does {}: {}", other.section, other.program.display())))
}
