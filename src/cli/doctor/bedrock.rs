//! Whether Claude Code is told to use Bedrock, where, and models that are to be had there.

use super::claude::setup;
use super::{Check, Facts, Severity, Verdict};
use crate::core::bedrock::{Misfit, misfit};
use crate::core::failure::shell_word;

/// Whether and where.
pub(super) const REGION: Check =
    Check { name: "claude-region", family: "claude", depends_on: &["claude-settings"], run: region };

/// Which models.
pub(super) const MODEL: Check =
    Check { name: "claude-model", family: "claude", depends_on: &["claude-region"], run: model };

/// Either makes Claude Code ask Bedrock.
const SWITCHES: [&str; 2] = ["CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_MANTLE"];
/// Where models are named.
const MODELS: [&str; 6] = [
    "ANTHROPIC_MODEL",
    "ANTHROPIC_SMALL_FAST_MODEL",
    "ANTHROPIC_DEFAULT_OPUS_MODEL",
    "ANTHROPIC_DEFAULT_SONNET_MODEL",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
    "ANTHROPIC_DEFAULT_FABLE_MODEL",
];

fn region(facts: &Facts) -> Verdict {
    let claude = &facts.claude;
    let on = |name: &str| claude.variable(name).is_some_and(|value| !["0", "false", "no", "off"].contains(&value));
    if !SWITCHES.iter().any(|name| on(name)) {
        if claude.own_hook().is_none() {
            return Verdict::skipped("Claude Code does not use Bedrock");
        }
        let message =
            "Claude Code has credentials for AWS but does not use Bedrock: CLAUDE_CODE_USE_BEDROCK is not set";
        return Verdict::new(Severity::Warning, message).fixed_by(setup(facts));
    }
    match claude.region() {
        Some(region) => Verdict::ok(format!("Claude Code uses Bedrock in {region}")),
        None => {
            let message = "Claude Code has no AWS_REGION: it asks Bedrock in its own profile's region or in us-east-1";
            Verdict::new(Severity::Warning, message).fixed_by(setup(facts))
        }
    }
}

fn model(facts: &Facts) -> Verdict {
    let claude = &facts.claude;
    let Some(region) = claude.region() else { return Verdict::skipped("the region is not known") };
    let chosen = claude.command("model").map(|model| ("model", model));
    let named = MODELS.into_iter().filter_map(|name| Some((name, claude.variable(name)?)));
    let mut odd = chosen.into_iter().chain(named).filter_map(|(name, model)| told(facts, region, name, model));
    match odd.next() {
        None => Verdict::ok(format!("no model that is named is out of place in {region}")),
        Some((message, fix)) => Verdict::new(Severity::Warning, message)
            .fixed_by(fix)
            .seen(odd.map(|(message, fix)| format!("{message}; {fix}"))),
    }
}

fn told(facts: &Facts, region: &str, name: &str, model: &str) -> Option<(String, String)> {
    let list = format!("agentctl models --profile {} --region {region}", shell_word(&facts.profile));
    let instead = |id: &str| format!("set {name} to {id}, or another of: {list}");
    Some(match misfit(model, region)? {
        Misfit::Bare(id) => {
            let message = format!("{name} is '{model}', a bare model id, which Bedrock's on-demand throughput refuses");
            (message, instead(&id))
        }
        Misfit::OtherGeography(id) => {
            (format!("{name} is '{model}', an inference profile that {region} does not have"), instead(&id))
        }
        Misfit::OtherRegion(theirs) => (
            format!("{name} is an inference profile of {theirs}, and Bedrock is asked in {region}"),
            format!("set AWS_REGION to {theirs}, or {name} to one of: {list}"),
        ),
    })
}
