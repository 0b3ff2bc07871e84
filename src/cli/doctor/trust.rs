//! Which tools would trust what AWS's hosts present here: different answers explain why one loops and another works.

use super::{Check, Facts, Severity, Verdict, step};
use crate::core::probe::{AGENT, Probe, Tool};

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
    let tools = || probe.trust.iter().filter(|tool| tool.name != AGENT);
    let names = |tools: &[&Tool]| tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ");
    let refusing: Vec<&Tool> = tools().filter(|tool| !tool.refuses.is_empty()).collect();
    let Some(first) = refusing.first() else {
        return Verdict::ok(format!("trusted by {}", names(&tools().collect::<Vec<_>>()))).seen(tools().map(line));
    };
    let presented = probe.hosts.iter().filter(|host| !host.chain.is_empty()).count();
    let what = match first.refuses.len() == presented {
        true => "what is presented here".to_owned(),
        false => first.refuses.join(", "),
    };
    let message = format!("{} would refuse {what}", names(&refusing));
    Verdict::new(Severity::Warning, message).fixed_by(fix(probe, &refusing)).seen(tools().map(line))
}

/// One setting for each that has a file of this machine; the others share a sentence.
fn fix(probe: &Probe, refusing: &[&Tool]) -> String {
    let mut fixes: Vec<String> = Vec::new();
    let mut without: Vec<&str> = Vec::new();
    for tool in refusing {
        match tool.fix() {
            Some(fix) if !fixes.contains(&fix) => fixes.push(fix),
            None if !without.contains(&tool.setting.as_str()) => without.push(&tool.setting),
            _ => {}
        }
    }
    if !without.is_empty() {
        fixes.push(format!("{}, and set {} to it", get_root(probe), without.join(", ")));
    }
    fixes.join("; ")
}

/// Where the file is to be had that this machine lacks.
pub(super) fn get_root(probe: &Probe) -> String {
    let issuer = probe.hosts.iter().find_map(|host| host.issuer.as_ref());
    let whose = issuer.map_or_else(|| "the proxy's root".to_owned(), ToString::to_string);
    format!("get {whose} as a PEM file from who runs the proxy")
}

fn line(tool: &Tool) -> String {
    let verdict = if tool.refuses.is_empty() { "trusted" } else { "refused" };
    format!("{}: {verdict} (roots: {})", tool.name, tool.roots)
}
