//! Whether tools find a region, which is not the one of Identity Center by itself.

use super::{Check, Facts, Severity, Verdict};

/// See the module's documentation.
pub(super) const CHECK: Check = Check { name: "region", family: "config", depends_on: &["profile"], run };

fn run(facts: &Facts) -> Verdict {
    let Some(says) = facts.says() else { return Verdict::skipped("the profile is not known") };
    let variable = |name: &'static str| {
        let value = facts.claude.shell.iter().find(|(known, value)| *known == name && !value.is_empty());
        value.map(|(_, value)| (name, value.as_str()))
    };
    let shell = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    let sso = facts.session().map(|session| session.region.as_str());
    let lives =
        sso.map(|sso| format!("Identity Center is in {sso} (sso_region), which tools do not use for anything else"));
    let verdict = match (shell, &says.region) {
        (Some((name, here)), Some(own)) if here != own => {
            Verdict::new(Severity::Note, format!("{name}={here} here stands before region = {own} of {}", says.section))
        }
        (Some((name, here)), _) => Verdict::ok(format!("tools use {here} ({name})")),
        (None, Some(own)) => Verdict::ok(format!("tools use {own} ({})", says.section)),
        (None, None) => {
            let example = sso.unwrap_or("eu-west-1");
            let fix = format!("add region = {example}, or wherever Bedrock is used, to {}", says.section);
            // Claude Code, at least, finds one.
            let severity = if facts.claude.region().is_some() { Severity::Note } else { Severity::Warning };
            Verdict::new(severity, format!("{} has no region, and AWS_REGION is not set", says.section)).fixed_by(fix)
        }
    };
    verdict.seen(lives)
}
