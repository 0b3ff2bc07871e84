//! Whether Claude Code is told to use Bedrock, where, and with models that are to be had there; and what Bedrock itself says
//! to that.

use super::claude::setup;
use super::{Check, Facts, Severity, Verdict, step};
use crate::cli::doctor::facts::invoked_as;
use crate::core::bedrock::{Look, Misfit, Tried, misfit};
use crate::core::failure::{Failure, FailureClass, shell_word};
use crate::core::probe::{Host, NeededBy};

/// Whether and where.
pub(super) const REGION: Check =
    Check { name: "claude-region", family: "claude", depends_on: &["claude-settings"], run: region };

/// Which models, by their names alone.
pub(super) const MODEL: Check =
    Check { name: "claude-model", family: "claude", depends_on: &["claude-region"], run: model };

/// Whether Bedrock is reached, and how far it is.
pub(super) const HOST: Check =
    Check { name: "bedrock-host", family: "bedrock", depends_on: &["aws", "claude-region"], run: host };

/// What it offers.
pub(super) const LIST: Check =
    Check { name: "bedrock-list", family: "bedrock", depends_on: &["bedrock-host", "role"], run: list };

/// Whether the models that are named answer.
pub(super) const INVOKE: Check =
    Check { name: "bedrock-model", family: "bedrock", depends_on: &["bedrock-host", "role"], run: invoke };

/// Whether Anthropic's form is filled in.
pub(super) const FORM: Check =
    Check { name: "bedrock-form", family: "bedrock", depends_on: &["bedrock-host", "role"], run: form };

/// Milliseconds of one way there and back from which on a turn, which takes several, is felt to be slow.
const FAR: u64 = 400;

fn region(facts: &Facts) -> Verdict {
    let claude = &facts.claude;
    if !claude.uses_bedrock() {
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

/// Of what Bedrock was asked itself nothing is guessed.
fn model(facts: &Facts) -> Verdict {
    let Some(region) = facts.claude.region() else { return Verdict::skipped("the region is not known") };
    let tried = |model: &str| look(facts).is_ok_and(|look| look.tried.iter().any(|one| one.id == invoked_as(model)));
    let named = facts.claude.models().filter(|(_, model)| !tried(model));
    let mut odd = named.filter_map(|(name, model)| told(facts, region, name, model));
    match odd.next() {
        None => Verdict::ok(format!("no model that is named is out of place in {region}")),
        Some((message, fix)) => Verdict::new(Severity::Warning, message)
            .fixed_by(fix)
            .seen(odd.map(|(message, fix)| format!("{message}; {fix}"))),
    }
}

fn told(facts: &Facts, region: &str, name: &str, model: &str) -> Option<(String, String)> {
    let fix = instead(facts, region, name, model);
    let message = match misfit(model, region)? {
        Misfit::Bare(_) if facts.claude.uses_mantle() => return None,
        Misfit::Bare(_) => {
            format!("{name} is '{model}', a bare model id, which Bedrock's on-demand throughput refuses")
        }
        Misfit::OtherGeography(_) => format!("{name} is '{model}', an inference profile that {region} does not have"),
        Misfit::OtherRegion(theirs) => {
            format!("{name} is an inference profile of {theirs}, and Bedrock is asked in {region}")
        }
    };
    Some((message, fix))
}

/// What to set in place of a model that cannot be used.
fn instead(facts: &Facts, region: &str, name: &str, model: &str) -> String {
    let list = format!("agentctl models --profile {} --region {region}", shell_word(&facts.profile));
    match misfit(model, region) {
        Some(Misfit::Bare(id) | Misfit::OtherGeography(id)) => format!("set {name} to {id}, or another of: {list}"),
        Some(Misfit::OtherRegion(theirs)) => format!("set AWS_REGION to {theirs}, or {name} to one of: {list}"),
        None => format!("set {name} to one of: {list}"),
    }
}

fn host(facts: &Facts) -> Verdict {
    let probe = match step::probe(facts) {
        Ok(probe) => probe,
        Err(verdict) => return verdict,
    };
    let Some(host) = probe.hosts.iter().find(|host| host.needed_by == NeededBy::ClaudeCode) else {
        return Verdict::skipped(match facts.claude.gateway() {
            Some(gateway) => format!("Claude Code asks {gateway} in place of Bedrock"),
            None => "Claude Code does not ask Bedrock itself".to_owned(),
        });
    };
    match (&host.failed, host.round_trip_ms) {
        (Some(failed), _) => Verdict::of(Severity::Error, &failed.failure).seen([step::seen(host)]),
        (None, Some(ms @ FAR..)) => far(host, ms),
        (None, ms) => {
            let there_and_back = ms.map_or_else(String::new, |ms| format!(", {ms} ms there and back"));
            Verdict::ok(format!("{} answers{there_and_back}", host.host)).seen([step::seen(host)])
        }
    }
}

fn far(host: &Host, ms: u64) -> Verdict {
    let message = format!("{} is far: {ms} ms there and back, several times in each turn", host.host);
    let fix = "use Bedrock in a region near you: agentctl setup claude --region REGION";
    Verdict::new(Severity::Warning, message).fixed_by(fix).seen([step::seen(host)])
}

fn look(facts: &Facts) -> Result<&Look, Verdict> {
    match &facts.bedrock {
        None => Err(Verdict::skipped("Bedrock was not asked")),
        Some(Ok(look)) => Ok(look),
        Some(Err(failure)) => Err(Verdict::of(Severity::Error, failure)),
    }
}

/// Claude Code works without the list.
fn list(facts: &Facts) -> Verdict {
    match look(facts) {
        Err(verdict) => verdict,
        Ok(Look { listed: Err(failure), .. }) => Verdict::of(Severity::Warning, failure),
        Ok(Look { listed: Ok(0), region, .. }) => {
            let message = format!("Bedrock has no inference profile of Claude in service in {region}");
            Verdict::new(Severity::Warning, message)
                .fixed_by("use another region: agentctl setup claude --region REGION")
        }
        Ok(Look { listed: Ok(count), region, .. }) => {
            Verdict::ok(format!("inference profiles of Claude in {region}: {count}"))
        }
    }
}

fn invoke(facts: &Facts) -> Verdict {
    let look = match look(facts) {
        Ok(look) => look,
        Err(verdict) => return verdict,
    };
    let failed = |one: &'_ Tried| Some((one.id.clone(), one.failure.clone()?));
    let mut refused = look.tried.iter().filter_map(failed);
    let Some((id, failure)) = refused.next() else {
        return match look.tried.iter().map(|one| one.took_ms).max() {
            None => Verdict::ok("Claude Code chooses its models itself; one that settings name is tried"),
            Some(ms) => {
                let ids: Vec<_> = look.tried.iter().map(|one| one.id.as_str()).collect();
                Verdict::ok(format!("{} answers within {ms} ms", ids.join(", ")))
            }
        };
    };
    // Only a model that may be used is asked too often.
    let severity = if failure.class == FailureClass::Throttled { Severity::Note } else { Severity::Error };
    let others = refused.map(|(id, failure)| format!("{id}: {}", failure.message));
    let told = Failure { message: format!("{id}: {}", failure.message), ..failure.clone() };
    let verdict = Verdict::of(severity, &told).seen(others);
    match facts.claude.models().find(|(_, model)| invoked_as(model) == id) {
        Some((name, model)) if failure.class == FailureClass::Misconfigured => {
            verdict.fixed_by(instead(facts, &look.region, name, model))
        }
        _ => verdict,
    }
}

/// An organization's form holds for its accounts, and AWS's answer does not tell of it.
fn form(facts: &Facts) -> Verdict {
    match look(facts) {
        // Told by `bedrock-list` and `bedrock-model`.
        Err(_) => Verdict::skipped("Bedrock was not asked"),
        Ok(Look { form: None, .. }) => Verdict::skipped("AWS does not tell"),
        Ok(Look { form: Some(true), .. }) => Verdict::ok("Anthropic's use-case form is filled in"),
        Ok(Look { form: Some(false), .. }) => {
            let message =
                "the account has filled in no use-case form of Anthropic's, without which models stop to answer";
            let fix = "fill it in (Bedrock console, model catalog, an Anthropic model), unless your organization has";
            Verdict::new(Severity::Note, message).fixed_by(fix)
        }
    }
}
