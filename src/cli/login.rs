//! `agentctl login`, as far as it goes without browser logins: says whether one is needed, and how. Nothing is opened.
//!
//! Asking for credentials renews silently what can be renewed, so a login is called for only when the agent says so.

use super::args::Fetch;
use super::context::Context;
use super::credentials::{self, Wish};
use super::document;
use super::outcome::Problem;
use super::output::{Output, local_time};
use super::{call, render, snapshot};
use crate::api::v1::StatusDocument;
use crate::core::failure::{Failure, FailureClass, shell_word};

/// Runs the verb.
///
/// # Errors
/// `needs-login` with the command that logs in; any other class as it is, since a login would not help.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Fetch) -> Result<(), Problem> {
    let profile = ctx.profile()?;
    let reply =
        credentials::fetch(ctx, out, &profile, Wish::default(), args.patience()).map_err(|p| advise(p, &profile))?;
    let keys = document::parse(&reply.body)?;
    let until = render::clock_time(local_time(keys.expires_at), local_time(ctx.clock.wall()));
    if let Some(failure) = ended_session(ctx, out, &profile)? {
        let message = format!("{} (credentials of '{profile}' live until {until})", failure.message);
        return Err(advise(Problem::failed(failure.class, message, failure.fix), &profile));
    }
    out.tell(&format!("already signed in: '{profile}' has credentials until {until}"));
    Ok(())
}

/// Why the session behind the profile cannot go on, although what came from it still lives.
fn ended_session(ctx: &Context<'_>, out: &mut Output<'_>, profile: &str) -> Result<Option<Failure>, Problem> {
    let document: StatusDocument = call::read(&call::ask(ctx, out, "GET", "/v1/status", &[])?)?;
    let Ok(found) = snapshot::find(ctx, &document, profile) else { return Ok(None) };
    let mut sessions = document.status.sessions.iter().filter(|s| found.session.as_ref() == Some(&s.id));
    let failure = sessions.next().and_then(|s| s.last_failure.clone()).map(|f| f.failure);
    Ok(failure.filter(|f| f.class == FailureClass::NeedsLogin))
}

fn advise(problem: Problem, profile: &str) -> Problem {
    match problem {
        // A token file that is broken says nothing about the session, yet a login is what replaces it.
        Problem::Failed(f) if f.class == FailureClass::NeedsLogin || f.fix.contains("agentctl login") => {
            // What comes before the login matters: a link in the file's place has to go first.
            let before = f.fix.split("agentctl login").next().unwrap_or_default().trim_end();
            let before = if before.is_empty() { "run:" } else { before };
            let login = format!("aws sso login --profile {}", shell_word(profile));
            let fix = format!("{before} {login}; the agent picks the new token up by itself");
            Problem::failed(f.class, f.message, fix)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, union};
    use super::super::status::tests::DOCUMENT;
    use super::*;

    #[test]
    fn valid_credentials_are_success() {
        let mut fake = Fake::new();
        fake.answers(200, &union()).answers(200, DOCUMENT);
        let end = fake.run("login --profile dev");
        assert_eq!((end.code, end.stdout.as_str()), (0, ""));
        assert!(end.stderr.starts_with("already signed in: 'dev' has credentials until "), "{}", end.stderr);
    }

    #[test]
    fn a_session_that_has_ended_needs_a_login_while_its_credentials_live() {
        let mut fake = Fake::new();
        let mut document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        document["profiles"][1]["session"] = "corp".into();
        document["sessions"][0]["last_failure"] = serde_json::json!({
            "class": "needs-login", "message": "AWS refused", "fix": "", "at": "2020-06-17T10:00:00Z", "count": 1
        });
        fake.answers(200, &union()).answers(200, &document.to_string());
        let end = fake.run("login --profile dev");
        assert_eq!(end.code, 10, "{}", end.stderr);
        assert!(end.stderr.contains("AWS refused (credentials of 'dev' live until "), "{}", end.stderr);
        assert!(end.stderr.contains("aws sso login --profile dev"), "{}", end.stderr);
    }

    #[test]
    fn a_needed_login_names_the_command() {
        let mut fake = Fake::new();
        fake.fails(FailureClass::NeedsLogin, "the session 'corp' has ended", "agentctl login --profile my dev");
        let args = ["agentctl", "login", "--profile", "my dev"];
        let end = fake.run_args(&args);
        assert_eq!(end.code, 10);
        assert_eq!(
            end.stderr,
            "agentctl: the session 'corp' has ended; run: aws sso login --profile 'my dev'; the agent picks the new token up by itself\n"
        );
    }

    #[test]
    fn a_broken_token_file_is_replaced_by_a_login() {
        let mut fake = Fake::new();
        let fix = "remove it and log in again: agentctl login --profile dev";
        fake.fails(FailureClass::Misconfigured, "the token file is a symbolic link", fix);
        let end = fake.run("login --profile dev");
        assert_eq!(end.code, 12);
        assert!(end.stderr.contains("; remove it and log in again: aws sso login --profile dev; "), "{}", end.stderr);
    }

    #[test]
    fn other_failures_call_for_no_login() {
        let mut fake = Fake::new();
        fake.fails(FailureClass::AccessDenied, "no", "ask");
        let end = fake.run("login");
        assert_eq!((end.code, end.stderr.as_str()), (11, "agentctl: no; ask\n"));
    }
}
