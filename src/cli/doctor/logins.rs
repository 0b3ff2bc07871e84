//! Whether logins are paused, asked for without need, or made over and over by another tool.

use super::{Check, Facts, Severity, Verdict};

/// See the module's documentation.
pub(super) const CHECK: Check = Check { name: "logins", family: "logins", depends_on: &["agent"], run };

fn run(facts: &Facts) -> Verdict {
    let Some(Ok(document)) = &facts.agent else { return Verdict::skipped("agentd is not running") };
    let status = &document.status;
    let mut found: Vec<(String, String)> = status
        .findings
        .iter()
        .filter(|finding| finding.is_login_loop())
        .map(|finding| (finding.message.clone(), finding.fix.clone()))
        .collect();
    let pauses = status.sessions.iter().filter_map(|session| session.login_pause.as_ref());
    found.extend(
        pauses.map(|pause| (format!("logins are paused: {}", pause.failure.message), pause.failure.fix.clone())),
    );
    let mut found = found.into_iter();
    match found.next() {
        None => Verdict::ok("no login is paused, and nobody asks for one without need"),
        Some((message, fix)) => Verdict::new(Severity::Warning, message)
            .fixed_by(fix)
            .seen(found.map(|(message, fix)| format!("{message}; {fix}"))),
    }
}
