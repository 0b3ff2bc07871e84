//! Which tools would trust what AWS's hosts present here: different answers explain why one loops and another works.

use super::{Check, Facts, Severity, Verdict, step};
use crate::core::probe::Tool;

/// See the module's documentation.
pub(super) const CHECK: Check = Check { name: "trust", family: "network", depends_on: &["proxy"], run };

fn run(facts: &Facts) -> Verdict {
    let probe = match step::probe(facts) {
        Ok(probe) => probe,
        Err(verdict) => return verdict,
    };
    if probe.trust.is_empty() {
        return Verdict::skipped("no certificate was presented");
    }
    let tools = || probe.trust.iter().filter(|tool| tool.name != "agentd");
    let refusing: Vec<&Tool> = tools().filter(|tool| !tool.refuses.is_empty()).collect();
    let Some(first) = refusing.first() else {
        let names: Vec<_> = tools().map(|tool| tool.name.as_str()).collect();
        return Verdict::ok(format!("trusted by {}", names.join("; "))).seen(tools().map(line));
    };
    let names: Vec<_> = refusing.iter().map(|tool| tool.name.as_str()).collect();
    let message = format!("{} would refuse {}", names.join("; "), first.refuses.join(", "));
    let mut fixes: Vec<_> = refusing.iter().filter_map(|tool| tool.fix.as_deref()).collect();
    fixes.dedup();
    Verdict::new(Severity::Warning, message).fixed_by(fixes.join("; ")).seen(tools().map(line))
}

fn line(tool: &Tool) -> String {
    let says = if tool.refuses.is_empty() { "trusts" } else { "refuses" };
    format!("{} {says} them, by {}", tool.name, tool.roots)
}
