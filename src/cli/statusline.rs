//! `agentctl statusline`: Claude Code's `statusLine` command. At most two short lines on stdout, soon, and exit 0 whatever
//! is the matter: a status line that fails is not shown at all.

use std::time::Duration;

use super::agent::AgentError;
use super::args::Statusline;
use super::call;
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;
use super::render::statusline::{cut, lines};
use super::snapshot;
use crate::api::v1::StatusDocument;

/// Claude Code runs this again and again: an agent that is slow is told as that.
const ANSWER: Duration = Duration::from_millis(300);

/// The user's own status line may take a little longer.
const THEIRS: Duration = Duration::from_secs(2);

/// Runs the verb. Never starts an agent.
///
/// # Errors
/// None but a stdout that is gone.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Statusline) -> Result<(), Problem> {
    let mut lines = text(ctx, out);
    if let Some(theirs) = &args.below {
        lines.truncate(1);
        let said = ctx.launcher.shell(theirs, THEIRS).unwrap_or_default();
        // Theirs as it is, with its colours.
        lines.splice(0..0, said.lines().take(1).map(str::to_owned));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    out.document(text.as_bytes())
}

fn text(ctx: &Context<'_>, out: &mut Output<'_>) -> Vec<String> {
    let profile = match ctx.profile() {
        Ok(profile) => profile,
        Err(_) => return vec!["aws: AWS_PROFILE names no profile".to_owned()],
    };
    let reply = match call::exchange(ctx, out, "GET", "/v1/status", &[], ANSWER) {
        Ok(reply) => reply,
        Err(AgentError::Absent) => return vec!["aws: the agent is not running".to_owned()],
        Err(AgentError::TimedOut) => return vec!["aws: the agent does not answer".to_owned()],
        Err(AgentError::Refused(why) | AgentError::Protocol(why)) => return vec![cut(&format!("aws: {why}"))],
    };
    match call::read::<StatusDocument>(&reply) {
        Err(_) => vec!["aws: the agent's answer cannot be read: agentctl daemon restart".to_owned()],
        Ok(document) => {
            let found = snapshot::find(ctx, &document, &profile).ok();
            lines(&document, &profile, found, ctx.clock.wall())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::super::status::tests::DOCUMENT;
    use super::*;
    use serde_json::{Value, json};

    fn shown(change: impl FnOnce(&mut Value)) -> String {
        let mut document: Value = serde_json::from_str(DOCUMENT).unwrap();
        document["profiles"][0]["name"] = json!("dev");
        document["profiles"][0]["config_file"] = Value::Null;
        document["agent"]["config_file"] = json!("/home/a b/.aws/config");
        document["profiles"][0]["session"] = json!("corp");
        document["profiles"][0]["expires_at"] = json!("2020-06-17T10:44:08Z");
        document["profiles"][0]["state"] = json!("valid");
        document["profiles"][0]["last_failure"] = Value::Null;
        document["sessions"] = json!([{"id": "corp", "config_file": null, "start_url": "https://corp", "region": "r",
            "state": "valid", "expires_at": "2020-06-17T18:00:00Z", "renewable": true, "next": null,
            "last_failure": null, "profiles": ["dev"]}]);
        change(&mut document);
        let mut fake = Fake::new();
        fake.answers(200, &document.to_string());
        let end = fake.run("statusline --profile dev");
        assert_eq!((end.code, end.stderr.as_str()), (0, ""));
        assert!(
            end.stdout.lines().count() <= 2 && end.stdout.lines().all(|l| l.chars().count() <= 80),
            "{}",
            end.stdout
        );
        end.stdout
    }

    #[test]
    fn it_stands_below_the_users_own() {
        let mut fake = Fake::new();
        fake.answers(200, DOCUMENT).answers(200, DOCUMENT);
        let line = ["agentctl", "statusline", "--profile", "nobody", "--below", "mine.sh -x"];
        assert_eq!(fake.run_args(&line).stdout, "theirs\naws nobody: not asked for yet\n");
        assert_eq!(*fake.commands.borrow(), ["mine.sh -x"]);
        fake.command_fails = Some("no such file");
        assert_eq!(fake.run_args(&line).stdout, "aws nobody: not asked for yet\n");
    }

    fn failure(class: &str, message: &str) -> Value {
        json!({"class": class, "message": message, "fix": "", "at": "2020-06-17T10:00:00Z", "count": 1})
    }

    #[test]
    fn each_state_has_its_line() {
        assert_eq!(shown(|_| {}), "aws dev: 42 min left\n");
        assert_eq!(
            shown(|d| {
                d["profiles"][0]["state"] = json!("failing");
                d["profiles"][0]["last_failure"] = failure("offline", "no route");
            }),
            "aws dev: 42 min left; renewing fails (offline)\n"
        );
        assert_eq!(
            shown(|d| {
                d["profiles"][0]["state"] = json!("failed");
                d["profiles"][0]["expires_at"] = Value::Null;
                d["profiles"][0]["last_failure"] = failure("needs-login", "the session has ended");
            }),
            "aws dev: login needed: agentctl login --profile dev\n"
        );
        assert_eq!(
            shown(|d| d["sessions"][0]["last_failure"] = failure("needs-login", "it has ended")),
            "aws dev: 42 min left; login needed: agentctl login --profile dev\n"
        );
        assert_eq!(
            shown(|d| {
                d["profiles"][0]["state"] = json!("failed");
                d["profiles"][0]["expires_at"] = Value::Null;
                d["profiles"][0]["last_failure"] = failure("intercepted", &"a web page came instead ".repeat(9));
            }),
            "aws dev: intercepted: a web page came instead a web page came instead a web p...\n"
        );
        assert_eq!(
            shown(|d| {
                d["profiles"][0]["state"] = json!("fetching");
                d["profiles"][0]["expires_at"] = Value::Null;
            }),
            "aws dev: renewing\n"
        );
        assert!(
            shown(|d| d["paused"] = json!({"until": "2020-06-17T12:00:00Z"}))
                .starts_with("aws dev: 42 min left; renewing is paused until ")
        );
        assert_eq!(
            shown(|d| {
                d["sessions"][0]["renewable"] = json!(false);
                d["sessions"][0]["expires_at"] = json!("2020-06-17T10:22:08Z");
            }),
            "aws dev: 42 min left; log in again within 20 min\n"
        );
        assert_eq!(shown(|d| d["profiles"] = json!([])), "aws dev: not asked for yet\n");
        assert_eq!(
            shown(|d| d["findings"] = json!([{"name": "phantom-demand", "message": "m", "fix": "f"}])),
            "aws dev: 42 min left\nphantom-demand: see agentctl status\n"
        );
    }

    #[test]
    fn a_login_that_waits_shows_its_code_and_page() {
        let pending = |url: &str| {
            let login = json!({"url": url, "user_code": "ABCD-EFGH", "expires_at": "2020-06-17T10:12:08Z", "openings_today": 1});
            shown(|d| {
                d["profiles"][0]["expires_at"] = Value::Null;
                d["sessions"][0]["login"] = login;
            })
        };
        let text = pending("https://device.sso.eu-west-1.amazonaws.com/?user_code=ABCD-EFGH");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("aws dev: login pending until ") && lines[0].ends_with(", code ABCD-EFGH"));
        assert_eq!(lines[1], "https://device.sso.eu-west-1.amazonaws.com/?user_code=ABCD-EFGH");
        let text = pending(&format!("https://oidc/authorize?{}", "x".repeat(300)));
        assert_eq!(text.lines().nth(1), Some("answer it in the browser, or see: agentctl login --profile dev"));
    }

    #[test]
    fn whatever_is_the_matter_it_ends_well_and_soon() {
        let mut fake = Fake::new();
        fake.error(AgentError::Absent).error(AgentError::TimedOut).answers(200, "{").answers(500, "");
        for expected in ["the agent is not running", "the agent does not answer"] {
            let end = fake.run("statusline");
            assert_eq!((end.code, end.stdout), (0, format!("aws: {expected}\n")));
        }
        assert_eq!(fake.launches.get(), 0);
        assert!(fake.elapsed() <= ANSWER, "{:?}", fake.elapsed());
        for _ in 0..2 {
            let end = fake.run("statusline");
            assert_eq!(end.code, 0);
            assert!(end.stdout.contains("cannot be read"), "{}", end.stdout);
        }
        fake.vars = [("AWS_PROFILE", "a\nb")].into_iter().collect();
        assert_eq!(fake.run("statusline").stdout, "aws: AWS_PROFILE names no profile\n");
    }
}
