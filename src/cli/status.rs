//! `agentctl status`: what is kept, how long it lives, what happens next and what failed.

use serde_json::Value;

use super::agent::Reply;
use super::args::Status;
use super::call;
use super::context::Context;
use super::outcome::Problem;
use super::output::{Output, local_time};
use super::render::{self, View};
use super::snapshot;
use super::watch;
use crate::api::v1::StatusDocument;

/// Runs the verb.
///
/// # Errors
/// As [`call::ask`]; `misconfigured` for a profile that the agent does not know.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Status) -> Result<(), Problem> {
    let profile = ctx.named.map(|_| ctx.profile()).transpose()?;
    if args.watch {
        return watch::run(ctx, out, profile.as_deref(), args.json);
    }
    let reply = call::ask(ctx, out, "GET", "/v1/status", &[])?;
    let document: StatusDocument = call::read(&reply)?;
    if let Some(name) = &profile {
        snapshot::must_know(&document.status, name)?;
    }
    let text = if args.json {
        format!("{:#}\n", json(&reply, profile.as_deref())?)
    } else {
        table(ctx, out, document, profile.as_deref())
    };
    out.document(text.as_bytes())
}

/// The document as the agent gave it, fields unknown here included.
///
/// # Errors
/// `agent-unreachable`, when it is none.
pub fn json(reply: &Reply, profile: Option<&str>) -> Result<Value, Problem> {
    let mut document: Value = call::read(reply)?;
    if let Some(name) = profile {
        snapshot::keep_only_json(&mut document, name);
    }
    Ok(document)
}

/// The document for people.
#[must_use]
pub fn table(ctx: &Context<'_>, out: &Output<'_>, mut document: StatusDocument, profile: Option<&str>) -> String {
    if let Some(name) = profile {
        snapshot::keep_only(&mut document.status, name);
    }
    render::status::render(&document, &view(ctx, out))
}

/// How this run looks at a snapshot, now.
#[must_use]
pub fn view(ctx: &Context<'_>, out: &Output<'_>) -> View<'static> {
    View {
        now: ctx.clock.wall(),
        width: out.screen.columns,
        colour: out.screen.colour,
        local: out.screen.stdout_is_terminal.then_some(&local_time),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::agent::AgentError;
    use super::super::fake::Fake;

    /// A snapshot in which `dev` is valid, of the agent's own world and of another.
    pub(in super::super) const DOCUMENT: &str = r#"{"schema":1,"revision":7,"now":"2020-06-17T10:02:08Z",
        "clock_offset_ms":null,"paused":null,"a_new_field":[1],"profiles":[
        {"name":"dev","config_file":null,"state":"valid","source":null,"session":"corp","key_suffix":"MPLE",
         "expires_at":"2020-06-17T10:44:08Z","lifetime_seconds":3600,"refresh_at":null,
         "next":{"at":"2020-06-17T10:19:08Z","what":"renew"},"kept":"recently-used","last_failure":null,
         "why":[{"topic":"source","text":"of the agent's own world"}]},
        {"name":"dev","config_file":"/home/a b/.aws/config","state":"idle","source":null,"session":null,
         "key_suffix":null,"expires_at":null,"lifetime_seconds":null,"refresh_at":null,"next":null,"kept":"no",
         "last_failure":null,"why":[{"topic":"source","text":"of this client's world"}]},
        {"name":"ops","config_file":null,"state":"idle","source":null,"session":null,"key_suffix":null,
         "expires_at":null,"lifetime_seconds":null,"refresh_at":null,"next":null,"kept":"no","last_failure":null,
         "why":[{"topic":"source","text":"nobody asked"}]}],
        "sessions":[{"id":"corp","config_file":null,"start_url":"https://x","region":"eu-west-1","state":"valid",
         "expires_at":"2020-06-17T17:02:08Z","renewable":true,"next":null,"last_failure":null,"profiles":["dev"]}],
        "findings":[],"agent":{"version":"0.1.0","pid":42,"started_at":"2020-06-17T10:00:08Z",
        "config_file":"/agents/config","network":[]}}"#;

    #[test]
    fn a_table_in_a_pipe() {
        let mut fake = Fake::new();
        fake.answers(200, DOCUMENT);
        let end = fake.run("status");
        assert_eq!(
            end.stdout,
            "\
agentd 0.1.0, pid 42, up 2 min

PROFILE  STATE  ENDS       NEXT
dev      valid  in 42 min  renew in 17 min
dev      idle   -          when asked
    of /home/a b/.aws/config
ops      idle   -          when asked

SESSION  STATE  ENDS       NEXT
corp     valid  in 7 h     when asked
"
        );
        assert_eq!((end.code, end.stderr.as_str()), (0, ""));
    }

    #[test]
    fn one_profile_comes_with_its_session() {
        let mut fake = Fake::new();
        fake.answers(200, DOCUMENT).answers(200, DOCUMENT).answers(200, DOCUMENT);
        assert!(!fake.run("status --profile ops").stdout.contains("corp"));
        let dev = fake.run("status --profile dev").stdout;
        assert!(dev.contains("corp") && !dev.contains("ops"));
        let end = fake.run("status --profile devv");
        assert_eq!(end.code, 12);
        assert_eq!(
            end.stderr,
            "agentctl: the agent was not asked for 'devv' yet (it knows dev); ask for it: agentctl refresh --profile devv\n"
        );
    }

    #[test]
    fn json_is_the_agents_own_document() {
        let mut fake = Fake::new();
        fake.screen.colour = true;
        fake.answers(200, DOCUMENT).answers(200, DOCUMENT);
        let all = fake.run("status --json").stdout;
        let (given, shown): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(DOCUMENT).unwrap(), serde_json::from_str(&all).unwrap());
        assert_eq!(given, shown);
        assert!(all.starts_with("{\n  \"schema\": 1,\n") && !all.contains('\x1b'));
        let one: serde_json::Value = serde_json::from_str(&fake.run("status --json --profile ops").stdout).unwrap();
        assert_eq!(one["profiles"].as_array().unwrap().len(), 1);
        assert_eq!((one["sessions"].as_array().unwrap().len(), &one["a_new_field"]), (0, &given["a_new_field"]));
    }

    #[test]
    fn without_an_agent_it_says_so_and_starts_none() {
        for line in ["status", "status --json", "status --watch", "why"] {
            let mut fake = Fake::new();
            fake.error(AgentError::Absent);
            let end = fake.run(line);
            assert_eq!((end.code, end.stdout.as_str(), fake.launches.get()), (19, "", 0), "{line}");
            assert_eq!(end.stderr, "agentctl: agentd is not running; start it: agentctl daemon start\n");
        }
    }
}
