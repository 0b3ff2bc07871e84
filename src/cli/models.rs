//! `agentctl models`: the inference profiles that the profile's account may use in a region.

use std::time::Duration;

use serde_json::Value;

use super::args::Models;
use super::call::{self, Patience};
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;
use super::render::clean;
use super::render::page::Page;
use super::render::text::{Paint, pad, width};
use super::status::view;
use crate::api::v1::{self, ModelsDocument};
use crate::core::bedrock::{self, InferenceProfile, ProfileKind};
use crate::core::failure::shell_word;

/// Credentials, and some requests to Bedrock, one after the other.
const LIMIT: Duration = Duration::from_secs(45);
const HEADINGS: [&str; 3] = ["ID", "NAME", "KIND"];
/// Blanks between columns.
const GAP: usize = 2;
/// Blanks before what belongs to an id.
const INDENT: usize = 4;

/// Runs the verb.
///
/// # Errors
/// As [`ask`]; class `misconfigured` where nobody names a region.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Models) -> Result<(), Problem> {
    let env = || ctx.vars.get("AWS_REGION").or_else(|| ctx.vars.get("AWS_DEFAULT_REGION"));
    let region = args.region.as_deref().or_else(env);
    if args.policy {
        let policy = bedrock::policy(region.unwrap_or_default());
        return out.document(format!("{policy:#}\n").as_bytes());
    }
    let profile = ctx.profile()?;
    let reply = ask(ctx, out, &profile, region, !args.no_autostart)?;
    if args.json {
        return out.document(format!("{:#}\n", call::read::<Value>(&reply)?).as_bytes());
    }
    let document: ModelsDocument = call::read(&reply)?;
    let view = view(ctx, out);
    if !document.models.is_empty() {
        let mut page = Page::new(&view);
        table(&mut page, &document.models);
        out.document(page.text().as_bytes())?;
    }
    tell_next(out, &document);
    Ok(())
}

/// How to use one of them, or why there is none.
fn tell_next(out: &mut Output<'_>, document: &ModelsDocument) {
    let region = clean(&document.region);
    let usable = document.models.iter().find(|model| model.is_claude() && model.is_active());
    match usable.map(|model| shell_word(&clean(&model.id))) {
        Some(id) => out.confirm(&format!(
            "for Claude Code: agentctl setup --model ID, or export ANTHROPIC_MODEL=ID AWS_REGION={region}; for example \
             ANTHROPIC_MODEL={id}"
        )),
        None => out.tell(&format!(
            "no inference profile of Claude in {region}: ask for access to its models in Bedrock, or name another --region"
        )),
    }
}

/// Asks the agent for the list; without a region for that of the profile's own.
///
/// # Errors
/// As [`call::until_listed`].
pub fn ask(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &str,
    region: Option<&str>,
    autostart: bool,
) -> Result<super::agent::Reply, Problem> {
    let path = call::profile_target(profile, "models");
    let region = region.map_or_else(String::new, |region| format!("region={}&", v1::encode_segment(region)));
    let target = |wait, _| format!("{path}?{region}wait={wait}");
    call::until_listed(ctx, out, target, Patience { timeout: LIMIT, autostart })
}

/// A table where it fits, else a small block for each.
fn table(page: &mut Page<'_>, models: &[InferenceProfile]) {
    let rows: Vec<[String; 3]> = models.iter().map(cells).collect();
    let column = |i: usize| rows.iter().map(|row| width(&row[i])).max().unwrap_or(0).max(HEADINGS[i].len());
    let columns = [column(0), column(1), column(2)];
    let fits = page.view().width.is_none_or(|width| columns.iter().sum::<usize>() + 2 * GAP <= width);
    let line = |cells: [&str; 3]| {
        let [id, name, kind] = cells;
        format!("{}{}{kind}", pad(id, columns[0] + GAP), pad(name, columns[1] + GAP))
    };
    if fits {
        page.raw(Paint::Dim.on(&line(HEADINGS), page.view().colour));
    }
    for (model, [id, name, kind]) in models.iter().zip(&rows) {
        let paint = if model.is_active() { Paint::Plain } else { Paint::Dim };
        if fits {
            page.raw(paint.on(line([id, name, kind]).trim_end(), page.view().colour));
        } else {
            page.line(paint, id);
            page.wrapped(Paint::Dim, &format!("{name}, {kind}"), INDENT, 0);
        }
    }
}

fn cells(model: &InferenceProfile) -> [String; 3] {
    let kind = match model.kind {
        ProfileKind::System => "system",
        ProfileKind::Application => "application",
    };
    let service = if model.is_active() { String::new() } else { format!(" ({})", clean(&model.status)) };
    [clean(&model.id), clean(&model.name), format!("{kind}{service}")]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::agent::AgentError;
    use super::super::fake::Fake;
    use crate::core::failure::FailureClass;

    const DOCUMENT: &str = r#"{"region":"eu-west-1","models":[
        {"id":"eu.anthropic.claude","name":"EU Claude","kind":"system","status":"ACTIVE",
            "models":["arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude"]},
        {"id":"arn:aws:x","name":"bills","kind":"application","status":"RETIRED",
            "models":["arn:aws:bedrock:eu-west-1::foundation-model/meta.llama"]}]}"#;
    const NONE: &str = r#"{"region":"us-gov-west-1","models":[]}"#;

    #[test]
    fn a_table_and_the_next_step() {
        let mut fake = Fake::new();
        fake.screen.stderr_is_terminal = true;
        fake.answers(200, DOCUMENT).answers(200, DOCUMENT);
        let end = fake.run("models --profile dev --region eu-west-1");
        assert_eq!(
            end.stdout,
            "ID                   NAME       KIND\n\
             eu.anthropic.claude  EU Claude  system\n\
             arn:aws:x            bills      application (RETIRED)\n"
        );
        let next = "export ANTHROPIC_MODEL=ID AWS_REGION=eu-west-1; for example ANTHROPIC_MODEL=eu.anthropic.claude\n";
        assert!(end.stderr.ends_with(next), "{}", end.stderr);
        let json = fake.run("models --profile dev --region eu-west-1 --json");
        assert!(json.stdout.starts_with("{\n  \"region\": \"eu-west-1\""), "{}", json.stdout);
        assert!(fake.targets()[0].starts_with("GET /v1/profiles/dev/models?region=eu-west-1&wait="));
    }

    #[test]
    fn a_narrow_terminal_gets_blocks_and_nothing_is_cut() {
        let mut fake = Fake::new();
        fake.screen.stdout_is_terminal = true;
        fake.screen.columns = Some(30);
        fake.answers(200, DOCUMENT);
        let end = fake.run("models --profile dev");
        assert!(end.stdout.contains("eu.anthropic.claude\n    EU Claude, system\n"), "{}", end.stdout);
    }

    #[test]
    fn the_region_is_an_option_else_a_variable_else_left_to_the_agent() {
        let mut fake = Fake::new();
        fake.forever(200, NONE, Duration::ZERO);
        let end = fake.run("models --profile dev");
        assert!(end.stderr.contains("no inference profile of Claude in us-gov-west-1"), "{}", end.stderr);
        assert_eq!((end.code, end.stdout.as_str()), (0, ""));
        let default = ("AWS_DEFAULT_REGION", "ap-northeast-1");
        fake.vars = [default].into_iter().collect();
        fake.run("models --profile dev");
        fake.vars = [default, ("AWS_REGION", "us-gov-west-1")].into_iter().collect();
        fake.run("models --profile dev");
        fake.run("models --profile dev --region eu-west-1");
        let targets = fake.targets();
        let asked: Vec<_> = targets.iter().map(|t| t.split(['?', '&']).nth(1).unwrap_or_default()).collect();
        assert!(asked[0].starts_with("wait="), "{asked:?}");
        assert_eq!(asked[1..], ["region=ap-northeast-1", "region=us-gov-west-1", "region=eu-west-1"]);
    }

    #[test]
    fn what_the_agent_says_of_a_denial_is_told_as_it_is() {
        let mut fake = Fake::new();
        fake.fails(FailureClass::AccessDenied, "AWS denies the list", "allow bedrock:ListInferenceProfiles");
        let end = fake.run("models --profile dev --region eu-west-1");
        let line = "agentctl: AWS denies the list; allow bedrock:ListInferenceProfiles\n";
        assert_eq!((end.code, end.stderr.as_str()), (11, line));
    }

    #[test]
    fn aws_may_take_longer_than_an_agent_and_credentials_may_take_a_while_first() {
        let mut fake = Fake::new();
        fake.answers(202, r#"{"in_flight":true}"#);
        fake.forever(200, NONE, Duration::from_secs(20));
        assert_eq!(fake.run("models --profile dev").code, 0);
        let mut hung = Fake::new();
        hung.error(AgentError::TimedOut);
        let end = hung.run("models --profile dev");
        assert_eq!(end.code, 17, "{}", end.stderr);
        assert!(end.stderr.contains("no list from AWS within 30 s; try again"), "{}", end.stderr);
    }

    #[test]
    fn the_agent_is_started_unless_that_is_not_wanted() {
        let mut fake = Fake::new();
        fake.error(AgentError::Absent).answers(200, NONE);
        assert_eq!((fake.run("models --profile dev").code, fake.launches.get()), (0, 1));
        fake.error(AgentError::Absent);
        assert_eq!(fake.run("models --profile dev --no-autostart").code, 19);
    }
}
