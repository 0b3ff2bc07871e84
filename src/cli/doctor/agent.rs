//! Whether the agent runs and answers.

use super::{Check, Facts, Severity, Verdict};

/// See the module's documentation.
pub(super) const CHECK: Check = Check { name: "agent", family: "agent", depends_on: &[], run };

fn run(facts: &Facts) -> Verdict {
    match &facts.agent {
        None => Verdict::new(Severity::Note, "agentd is not running; the next request for credentials starts it")
            .fixed_by("agentctl daemon start"),
        Some(Err(failure)) => Verdict::of(Severity::Error, failure),
        Some(Ok(status)) => Verdict::ok(format!("agentd {} runs (pid {})", status.agent.version, status.agent.pid)),
    }
}
