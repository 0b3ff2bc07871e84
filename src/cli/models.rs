//! `agentctl models`: the inference profiles that the profile's account may use in a region.

use std::time::Duration;

use serde_json::Value;

use super::args::Models;
use super::call::{self, Patience};
use super::context::Context;
use super::one_shot;
use super::outcome::Problem;
use super::output::Output;
use super::render::clean;
use super::render::page::Page;
use super::render::text::{Paint, pad, width};
use super::status::view;
use crate::api::v1::{self, KnownProfiles, ModelsDocument};
use crate::core::bedrock::{InferenceProfile, ProfileKind};
use crate::core::failure::FailureClass;

/// Some requests to Bedrock, one after the other.
const LIMIT: Duration = Duration::from_secs(45);

/// Runs the verb.
///
/// # Errors
/// As [`call::until_done`]; class `misconfigured` where nobody names a region.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Models) -> Result<(), Problem> {
    let profile = ctx.profile()?;
    let region = region(ctx, out, args, &profile)?;
    let reply = ask(ctx, out, &profile, &region, !args.no_autostart)?;
    if args.json {
        return out.document(format!("{:#}\n", call::read::<Value>(&reply)?).as_bytes());
    }
    let document: ModelsDocument = call::read(&reply)?;
    let view = view(ctx, out);
    let mut page = Page::new(&view);
    table(&mut page, &document.models);
    let text = page.text();
    out.document(text.as_bytes())?;
    match document.models.iter().find(|model| model.is_claude() && model.active) {
        Some(model) => out.confirm(&format!("for Claude Code: agentctl setup --model {}", clean(&model.id))),
        None => out.tell(&format!(
            "no inference profile of Claude in {}: ask for access to its models in Bedrock, or name another --region",
            clean(&document.region)
        )),
    }
    Ok(())
}

/// Asks the agent for the list.
///
/// # Errors
/// As [`call::until_done`].
pub fn ask(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &str,
    region: &str,
    autostart: bool,
) -> Result<super::agent::Reply, Problem> {
    let path = call::profile_target(profile, "models");
    let target = |wait, _| format!("{path}?region={}&wait={wait}", v1::encode_segment(region));
    call::until_done(ctx, out, "GET", target, Patience { timeout: LIMIT, autostart })
}

fn region(ctx: &Context<'_>, out: &mut Output<'_>, args: &Models, profile: &str) -> Result<String, Problem> {
    let env = || ctx.vars.get("AWS_REGION").or_else(|| ctx.vars.get("AWS_DEFAULT_REGION"));
    if let Some(region) = args.region.as_deref().or_else(env) {
        return Ok(region.to_owned());
    }
    let known: KnownProfiles = call::read(&one_shot::profiles(ctx, out)?)?;
    let own = known.profiles.into_iter().find(|known| known.name == profile).and_then(|known| known.region);
    own.ok_or_else(|| {
        let message = format!("profile '{}' has no region, and none is named", clean(profile));
        Problem::failed(FailureClass::Misconfigured, message, "name Bedrock's region: --region eu-west-1")
    })
}

fn table(page: &mut Page<'_>, models: &[InferenceProfile]) {
    let ids: Vec<String> = models.iter().map(|model| clean(&model.id)).collect();
    let column = ids.iter().map(|id| width(id)).max().unwrap_or(0);
    let fits = page.view().width.is_none_or(|columns| column + 2 + 24 <= columns);
    for (model, id) in models.iter().zip(&ids) {
        let mut about = clean(&model.name);
        if model.kind == ProfileKind::Application {
            about.push_str(" (of this account)");
        }
        if !model.active {
            about.push_str(" (not in service)");
        }
        let paint = if model.active { Paint::Plain } else { Paint::Dim };
        if fits {
            page.line(paint, &format!("{}  {about}", pad(id, column)));
        } else {
            page.line(paint, id);
            page.wrapped(Paint::Dim, &about, 4, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;

    const DOCUMENT: &str = r#"{"region":"eu-west-1","models":[
        {"id":"eu.anthropic.claude","name":"EU Claude","kind":"system","active":true,"models":["anthropic.claude"]},
        {"id":"arn:aws:x","name":"bills","kind":"application","active":false,"models":["meta.llama"]}]}"#;

    #[test]
    fn a_table_and_the_next_step() {
        let mut fake = Fake::new();
        fake.screen.stderr_is_terminal = true;
        fake.answers(200, DOCUMENT).answers(200, DOCUMENT);
        let end = fake.run("models --profile dev --region eu-west-1");
        assert_eq!(
            end.stdout,
            "eu.anthropic.claude  EU Claude\narn:aws:x            bills (of this account) (not in service)\n"
        );
        assert_eq!(end.stderr, "for Claude Code: agentctl setup --model eu.anthropic.claude\n");
        let json = fake.run("models --profile dev --region eu-west-1 --json");
        assert!(json.stdout.starts_with("{\n  \"region\": \"eu-west-1\""), "{}", json.stdout);
        assert!(fake.targets()[0].starts_with("GET /v1/profiles/dev/models?region=eu-west-1&wait="));
    }

    #[test]
    fn the_region_is_named_by_somebody() {
        let mut fake = Fake::new();
        fake.resolved = Ok(r#"{"config_file":"/c","profiles":[{"name":"dev","region":null,"session":null,"account":null,
            "role":null,"problem":null},{"name":"ops","region":"us-gov-west-1","session":null,"account":null,"role":null,
            "problem":null}]}"#
            .to_owned());
        let end = fake.run("models --profile dev");
        assert_eq!(end.code, 12);
        assert!(end.stderr.contains("name Bedrock's region: --region eu-west-1"), "{}", end.stderr);
        fake.answers(200, r#"{"region":"us-gov-west-1","models":[]}"#);
        let end = fake.run("models --profile ops");
        assert!(end.stderr.contains("no inference profile of Claude in us-gov-west-1"), "{}", end.stderr);
        assert!(fake.targets()[0].contains("region=us-gov-west-1"));
    }
}
