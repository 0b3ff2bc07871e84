//! Whether the network's settings can be used: proxies that are no proxies, CA files without a certificate.

use super::{Check, Facts, Severity, Verdict, step};
use crate::core::failure::{Failure, FailureClass};

/// See the module's documentation.
pub(super) const CHECK: Check = Check { name: "settings", family: "network", depends_on: &[], run };

fn run(facts: &Facts) -> Verdict {
    let probe = match step::probe(facts) {
        Ok(probe) => probe,
        Err(verdict) => return verdict,
    };
    let shown = probe.network.iter().map(|s| format!("{}={} ({})", s.name, s.value, s.origin));
    // A proxy that cannot be used stops every call; the rest is left out.
    let stops = |name: &str| matches!(name, "proxy-unusable" | "no-system-roots");
    let worst = probe.findings.iter().find(|f| stops(&f.name)).or_else(|| probe.findings.first());
    match worst {
        Some(finding) if stops(&finding.name) => {
            let failure = Failure::new(FailureClass::Misconfigured, &finding.message, &finding.fix);
            Verdict::of(Severity::Error, &failure).seen(shown)
        }
        Some(finding) => Verdict::new(Severity::Warning, &finding.message).fixed_by(&finding.fix).seen(shown),
        None if probe.network.is_empty() => Verdict::ok("no proxy, no CA file, no other endpoint is set"),
        None => Verdict::ok(format!("{} settings, each usable", probe.network.len())).seen(shown),
    }
}
