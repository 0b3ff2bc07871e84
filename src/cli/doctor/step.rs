//! One step of the way, for every host that came so far.

use super::{Facts, Severity, Verdict};
use crate::core::failure::{Failure, FailureClass};
use crate::core::probe::{Host, NeededBy, Probe, Step};

/// The probe, or that there is none.
pub(super) fn probe(facts: &Facts) -> Result<&Probe, Verdict> {
    facts.probe.as_ref().map_err(|failure| Verdict::of(Severity::Error, failure))
}

/// The first host that failed at this step: an error where the agent needs it, else a warning. `fine`: what is said
/// when none did.
pub(super) fn verdict(facts: &Facts, step: Step, fine: impl FnOnce(&Probe) -> Verdict) -> Verdict {
    let probe = match probe(facts) {
        Ok(probe) => probe,
        Err(verdict) => return verdict,
    };
    // Bedrock has a check of its own.
    let hosts = probe.hosts.iter().filter(|host| host.needed_by != NeededBy::ClaudeCode);
    let failed: Vec<_> = hosts.filter(|h| h.failed.as_ref().is_some_and(|f| f.step == step)).collect();
    let worst = failed.iter().find(|h| h.needed_by == NeededBy::Agent).or(failed.first());
    match worst.and_then(|host| Some((host, host.failed.as_ref()?))) {
        None => fine(probe),
        Some((host, failed_at)) => {
            let needed = host.needed_by == NeededBy::Agent;
            let severity = if needed { Severity::Error } else { Severity::Warning };
            let verdict = match needed {
                true => Verdict::of(severity, &failed_at.failure),
                false => Verdict::of(severity, &for_tools(&failed_at.failure)),
            };
            verdict.seen(failed.iter().map(|host| seen(host)))
        }
    }
}

/// The agent never asks STS; Claude Code does before it runs `awsAuthRefresh`.
fn for_tools(failure: &Failure) -> Failure {
    let Failure { class, message, fix, .. } = failure;
    let class = if *class == FailureClass::Misconfigured { FailureClass::Transient } else { *class };
    let message =
        format!("{message} (STS: Claude Code asks it before awsAuthRefresh, and then runs a login each time)");
    Failure::new(class, message, fix)
}

/// One host on one line.
pub(super) fn seen(host: &Host) -> String {
    let mut parts = vec![format!("{} {}:{}", host.service, host.host, host.port)];
    parts.extend(host.proxy.as_ref().map(|proxy| format!("through {proxy}")));
    parts.extend((!host.addresses.is_empty()).then(|| host.addresses.join(", ")));
    parts.extend(host.issuer.as_ref().map(|issuer| format!("certificate by {issuer}")));
    parts.extend(host.status.map(|status| format!("answered {status}")));
    parts.push(format!("{} ms", host.took_ms));
    parts.join(", ")
}
