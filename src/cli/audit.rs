//! `agentctl audit`: who was given what.

use serde_json::Value;

use super::args::Audit;
use super::call;
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;
use super::render::{self, clean};
use super::status::view;
use crate::api::v1::{self, AuditDocument};

/// Runs the verb.
///
/// # Errors
/// As [`call::ask`]; the agent's own failure when its log cannot be read.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Audit) -> Result<(), Problem> {
    // The log is of every profile: only who names one on the command line means one.
    let profile = ctx.named.map(|_| ctx.profile()).transpose()?;
    let reply = call::ask(ctx, out, "GET", &target(ctx, args, profile.as_deref()), &[])?;
    let document: AuditDocument = call::read(&reply)?;
    let text = if args.json {
        // As the agent gave it, fields unknown here included.
        format!("{:#}\n", call::read::<Value>(&reply)?)
    } else {
        let whose = profile.map_or_else(String::new, |name| format!(" for '{}'", clean(&name)));
        let when = if args.since.is_some() { " in that time" } else { " yet" };
        render::audit::render(&document, &view(ctx, out), &format!("nobody was given credentials{whose}{when}"))
    };
    out.document(text.as_bytes())
}

fn target(ctx: &Context<'_>, args: &Audit, profile: Option<&str>) -> String {
    let mut query = Vec::new();
    if let Some(since) = args.since {
        let since = since.seen_from(ctx.clock.wall()).to_string();
        // Who names a time wants all of it.
        query.push(format!("since={}&limit={}", v1::encode_segment(&since), v1::MAX_AUDIT_LIMIT));
    }
    query.extend(profile.map(|name| format!("profile={}", v1::encode_segment(name))));
    if query.is_empty() { "/v1/audit".to_owned() } else { format!("/v1/audit?{}", query.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::super::agent::AgentError;
    use super::super::fake::Fake;
    use crate::core::failure::FailureClass;

    const DOCUMENT: &str = r#"{"schema":1,"entries":[{"at":"2020-06-17T10:02:08Z","profile":"dev","config_file":null,
        "key_suffix":"MPLE","expires_at":"2020-06-17T11:02:08Z","pid":42,"uid":1000,
        "executable":"/usr/bin/agentctl","parent":{"pid":7,"executable":"/usr/bin/aws"},"a_new_field":[1]}],
        "lost":0,"more":false}"#;
    const EMPTY: &str = r#"{"schema":1,"entries":[],"lost":0,"more":false}"#;

    #[test]
    fn a_table_in_a_pipe() {
        let mut fake = Fake::new();
        fake.answers(200, DOCUMENT);
        let end = fake.run("audit");
        assert_eq!(
            end.stdout,
            "\
TIME                  PROFILE  KEY      PID  PROGRAM   PARENT
2020-06-17T10:02:08Z  dev      ...MPLE  42   agentctl  aws (7)
"
        );
        assert_eq!((end.code, end.stderr.as_str()), (0, ""));
    }

    #[test]
    fn json_is_the_agents_own_document() {
        let mut fake = Fake::new();
        fake.screen.colour = true;
        fake.answers(200, DOCUMENT).answers(200, EMPTY);
        let shown = fake.run("audit --json").stdout;
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(&shown), parse(DOCUMENT));
        assert!(shown.starts_with("{\n  \"schema\": 1,\n") && !shown.contains('\x1b'));
        assert_eq!(parse(&fake.run("audit --json").stdout), parse(EMPTY));
    }

    #[test]
    fn what_is_asked_for_goes_along() {
        for (line, target) in [
            ("audit", "/v1/audit"),
            ("audit --since 2h", "/v1/audit?since=2020-06-17T08%3A02%3A08Z&limit=10000"),
            ("audit --since 2020-06-01T02:00:00+02:00", "/v1/audit?since=2020-06-01T00%3A00%3A00Z&limit=10000"),
            ("audit --profile a/b", "/v1/audit?profile=a%2Fb"),
            ("audit --since 1d --profile dev", "/v1/audit?since=2020-06-16T10%3A02%3A08Z&limit=10000&profile=dev"),
        ] {
            let mut fake = Fake::new();
            fake.vars = [("AWS_PROFILE", "ambient")].into_iter().collect();
            fake.answers(200, EMPTY);
            assert_eq!(fake.run(line).code, 0, "{line}");
            assert_eq!(fake.targets(), [format!("GET {target}")], "{line}");
        }
    }

    #[test]
    fn nobody_asked_yet() {
        for (line, said) in [
            ("audit", "nobody was given credentials yet\n"),
            ("audit --profile dev", "nobody was given credentials for 'dev' yet\n"),
            ("audit --since 1h", "nobody was given credentials in that time\n"),
        ] {
            let mut fake = Fake::new();
            fake.answers(200, EMPTY);
            let end = fake.run(line);
            assert_eq!((end.code, end.stdout.as_str(), end.stderr.as_str()), (0, said, ""));
        }
    }

    #[test]
    fn a_time_that_is_none_is_a_usage_error() {
        for since in ["soon", "2020-06-17", "-2h", "0s", "2020-06-17T10:02:08", "400d", ""] {
            let end = Fake::new().run_args(&["agentctl", "audit", &format!("--since={since}")]);
            assert_eq!((end.code, end.stdout.as_str(), end.stderr.lines().count()), (2, "", 1), "{}", end.stderr);
            assert!(
                end.stderr.starts_with("agentctl: ") && end.stderr.contains("agentctl audit --help"),
                "{}",
                end.stderr
            );
        }
    }

    #[test]
    fn without_an_agent_it_says_so_and_starts_none() {
        for line in ["audit", "audit --json"] {
            let mut fake = Fake::new();
            fake.error(AgentError::Absent);
            let end = fake.run(line);
            assert_eq!((end.code, end.stdout.as_str(), fake.launches.get()), (19, "", 0), "{line}");
            assert_eq!(end.stderr, "agentctl: agentd is not running; start it: agentctl daemon start\n");
        }
    }

    #[test]
    fn a_log_that_cannot_be_read_is_told() {
        let mut fake = Fake::new();
        fake.fails(FailureClass::Misconfigured, "/s/audit.jsonl is a symbolic link", "move it away");
        let end = fake.run("audit");
        assert_eq!((end.code, end.stdout.as_str()), (12, ""));
        assert_eq!(end.stderr, "agentctl: /s/audit.jsonl is a symbolic link; move it away\n");
    }
}
