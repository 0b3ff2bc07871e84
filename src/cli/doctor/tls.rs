//! Whether the certificates are AWS's, or somebody's in between who is trusted here.

use super::{Check, Facts, Severity, Verdict, step, trust};
use crate::core::probe::{AGENT, Inspection, Probe, Step};

/// See the module's documentation.
pub(super) const CHECK: Check = Check { name: "tls", family: "network", depends_on: &["proxy"], run };

fn run(facts: &Facts) -> Verdict {
    let verdict = step::verdict(facts, Step::Tls, |probe| match probe.inspection() {
        Some(Inspection { issuer, trusted: true, .. }) => {
            Verdict::new(Severity::Note, format!("TLS is inspected by {issuer}, trusted"))
        }
        _ => Verdict::ok("the certificates are trusted"),
    });
    let Ok(probe) = &facts.probe else { return verdict };
    if verdict.severity != Severity::Error {
        return verdict;
    }
    let in_between = probe.inspection().map(|inspection| whose(&inspection));
    let verdict = verdict.seen(in_between);
    match agents_fix(probe) {
        Some(fix) => verdict.fixed_by(fix),
        None => verdict,
    }
}

/// What two unrelated hosts have in common lies between them and us.
fn whose(inspection: &Inspection<'_>) -> String {
    match inspection.hosts {
        1 => format!("only one host presents a certificate by {}", inspection.issuer),
        n => format!("{n} hosts present certificates by {}: somebody in between opens TLS", inspection.issuer),
    }
}

/// With a file of this machine, where one makes the agent trust what it is shown. No file mends what is wrong in itself.
fn agents_fix(probe: &Probe) -> Option<String> {
    let failed = probe.needed().find_map(|host| host.failed.as_ref())?;
    if !failed.failure.rejected_chain {
        return None;
    }
    let agent = probe.trust.iter().find(|tool| tool.name == AGENT && !tool.refuses.is_empty())?;
    Some(agent.fix().unwrap_or_else(|| format!("{}, and set {} to it", trust::get_root(probe), agent.setting)))
}
