//! Whether the agent takes the same way to AWS as this shell: it was started by another, perhaps, with other variables.

use super::{Check, Facts, Severity, Verdict};
use crate::core::failure::Failure;
use crate::core::status::Setting;

/// See the module's documentation.
pub(super) const CHECK: Check = Check { name: "same-network", family: "network", depends_on: &["agent"], run };

/// The variables are taken from whoever starts the agent.
const RESTART: &str =
    "agentctl daemon restart, from this shell; for a service: https_proxy, no_proxy, ca_bundle in config.toml";

fn run(facts: &Facts) -> Verdict {
    let Some(Ok(status)) = &facts.agent else { return Verdict::skipped("agentd is not running") };
    let (Some(agents), Ok(ours)) = (&facts.agents_probe, &facts.probe) else {
        return Verdict::ok("agentd has the settings of this shell");
    };
    let differences = differences(&ours.network, &status.agent.network);
    let reached = agents.as_ref().map_err(Clone::clone).and_then(crate::core::probe::Probe::verdict);
    match (ours.verdict(), reached) {
        (Ok(()), Err(failure)) => {
            let message = format!("agentd does not reach AWS, while this shell does: {}", failure.message);
            let failure =
                Failure { rejected_chain: failure.rejected_chain, ..Failure::new(failure.class, message, RESTART) };
            Verdict::of(Severity::Error, &failure).seen(differences)
        }
        (Err(failure), Ok(())) => {
            let message = format!("agentd reaches AWS, while this shell does not: {}", failure.message);
            Verdict::new(Severity::Warning, message).fixed_by(failure.fix).seen(differences)
        }
        (Ok(()), Ok(())) => {
            Verdict::new(Severity::Note, "agentd has other settings than this shell; both reach AWS").seen(differences)
        }
        (Err(_), Err(failure)) => {
            let message = format!(
                "agentd has other settings than this shell, and does not reach AWS either: {}",
                failure.message
            );
            Verdict::new(Severity::Warning, message).fixed_by(failure.fix).seen(differences)
        }
    }
}

fn differences(ours: &[Setting], agents: &[Setting]) -> Vec<String> {
    let only = |here: &[Setting], there: &[Setting], who: &str| -> Vec<String> {
        let missing = here.iter().filter(|s| !there.contains(s));
        missing.map(|s| format!("only {who}: {}={} ({})", s.name, s.value, s.origin)).collect()
    };
    [only(ours, agents, "this shell"), only(agents, ours, "agentd")].concat()
}
