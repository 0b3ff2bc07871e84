//! `agentctl logout`: ends SSO sessions, here and at AWS. Without an agent a child does it: nobody is started for it.

use std::time::Duration;

use super::agent::{AgentError, Reply};
use super::args::Logout;
use super::call;
use super::context::Context;
use super::one_shot;
use super::outcome::Problem;
use super::output::Output;
use crate::api::v1::LogoutDocument;
use crate::core::failure::Failure;

/// A call to AWS, and a renewal under way before it, each have their own, shorter limits.
const LIMIT: Duration = Duration::from_secs(45);

/// Runs the verb. What failed with one session is told, and the others are signed out of all the same.
///
/// # Errors
/// The first failure; class `misconfigured` where there is no such profile or session.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Logout) -> Result<(), Problem> {
    let reply = ask(ctx, out, args)?;
    let document: LogoutDocument = call::read(&reply)?;
    if document.sessions.is_empty() {
        out.tell("the AWS config names no SSO session");
    }
    let mut first = None;
    for session in document.sessions {
        match (session.error, session.was_signed_in) {
            (None, true) => out.tell(&format!("signed out of '{}'", session.id)),
            (None, false) => out.tell(&format!("nobody was signed in to '{}'", session.id)),
            (Some(error), _) => {
                let failure = Failure::from(error);
                match &first {
                    None => first = Some(failure),
                    Some(_) => out.line(&format!("agentctl: '{}': {}", session.id, failure.line())),
                }
            }
        }
    }
    first.map_or(Ok(()), |failure| Err(failure.into()))
}

fn ask(ctx: &Context<'_>, out: &mut Output<'_>, args: &Logout) -> Result<Reply, Problem> {
    let (name, target) = match args.all {
        true => (String::new(), "/v1/logout".to_owned()),
        false => call::session_target(ctx, args.sso_session.as_deref(), "logout")?,
    };
    let which: &[&str] = match (args.all, &args.sso_session) {
        (true, _) => &["--all"],
        (false, Some(_)) => &["--sso-session", &name],
        (false, None) => &["--profile", &name],
    };
    // A question about files that are not known would be answered from the agent's own.
    ctx.world.as_ref().map_err(Clone::clone)?;
    match call::exchange(ctx, out, "POST", &target, &[], LIMIT) {
        Ok(reply) if reply.status == 200 => Ok(reply),
        Ok(reply) if reply.status == 202 => {
            Err(Problem::unreachable("the agent is still reading its files", "try again"))
        }
        Ok(reply) => Err(call::failure_of(&reply).into()),
        Err(AgentError::Absent) => one_shot::log_out(ctx, out, which, LIMIT),
        Err(e) => Err(call::unreachable(ctx, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;
    use crate::api::v1;
    use crate::core::failure::FailureClass;

    const DONE: &str = r#"{"sessions":[{"id":"corp","was_signed_in":true},{"id":"lab","was_signed_in":false}]}"#;

    #[test]
    fn each_session_has_its_line() {
        let mut fake = Fake::new();
        fake.answers(200, DONE);
        let end = fake.run("logout --all");
        assert_eq!((end.code, end.stdout.as_str()), (0, ""));
        assert_eq!(end.stderr, "signed out of 'corp'\nnobody was signed in to 'lab'\n");
        fake.answers(200, DONE).answers(200, DONE);
        fake.run("logout --sso-session lab");
        fake.run("logout --profile dev");
        let targets = ["POST /v1/logout", "POST /v1/sessions/lab/logout", "POST /v1/profiles/dev/logout"];
        assert_eq!(fake.targets(), targets);
        assert_eq!(fake.run("logout --all --sso-session lab").code, 2);
        fake.answers(200, r#"{"sessions":[]}"#);
        let end = fake.run("logout --all");
        assert_eq!((end.code, end.stderr.as_str()), (0, "the AWS config names no SSO session\n"));
    }

    #[test]
    fn without_an_agent_a_child_does_it() {
        for (line, asked) in [
            ("logout --all", "logout --all"),
            ("logout --sso-session lab", "logout --sso-session lab"),
            ("logout", "logout --profile default"),
        ] {
            let mut fake = Fake::new();
            fake.error(AgentError::Absent);
            fake.resolved = Ok(DONE.to_owned());
            let end = fake.run(line);
            assert_eq!((end.code, fake.launches.get()), (0, 0), "{}", end.stderr);
            assert_eq!(*fake.questions.borrow(), [asked]);
        }
    }

    #[test]
    fn what_failed_is_its_class_and_the_others_are_told() {
        let mut fake = Fake::new();
        let error = |message: &str| {
            serde_json::to_string(&v1::ErrorBody::from(&Failure::new(
                FailureClass::Offline,
                message,
                "it ends by itself",
            )))
            .unwrap()
        };
        fake.answers(
            200,
            &format!(
                r#"{{"sessions":[{{"id":"a","was_signed_in":true,"error":{}}},{{"id":"b","was_signed_in":true}},{{"id":"c","was_signed_in":true,"error":{}}}]}}"#,
                error("no route"),
                error("no name")
            ),
        );
        let end = fake.run("logout --all");
        assert_eq!(end.code, 14);
        assert_eq!(
            end.stderr,
            "signed out of 'b'\nagentctl: 'c': no name; it ends by itself\nagentctl: no route; it ends by itself\n"
        );
    }
}
