//! `agentctl credential-process`: the union document on stdout, or one line on stderr and an exit code.
//!
//! The hot path: one exchange, no prompt, no browser, and stdin is never read (Claude Code's never ends).

use super::args::Ask;
use super::context::Context;
use super::credentials::{self, Wish};
use super::document;
use super::outcome::Problem;
use super::output::Output;
use super::upgrade;

/// Runs the verb.
///
/// # Errors
/// As [`credentials::obtain`], and when the answer is no whole document.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Ask) -> Result<(), Problem> {
    let profile = ctx.profile()?;
    let reply = credentials::obtain(ctx, out, &profile, Wish::default(), args)?;
    document::parse(&reply.body)?;
    out.document(&credentials::with_newline(&reply.body))?;
    upgrade::after(ctx, out, &reply, !args.fetch.no_autostart);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::agent::AgentError;
    use super::super::fake::{Fake, union};
    use crate::core::failure::{Failure, FailureClass};

    #[test]
    fn exactly_the_document_and_a_newline() {
        let mut fake = Fake::new();
        fake.answers(200, &format!("{}\r\n", union()));
        let end = fake.run("credential-process --profile dev/α");
        assert_eq!((end.code, end.stderr.as_str()), (0, ""));
        assert_eq!(end.stdout, format!("{}\n", union()));
        assert_eq!(fake.targets(), ["GET /v1/profiles/dev%2F%CE%B1/credentials?wait=1500"]);
    }

    #[test]
    fn the_world_goes_along_percent_encoded() {
        let mut fake = Fake::new();
        fake.answers(200, &union());
        fake.run("credential-process");
        let headers = fake.headers.borrow();
        assert_eq!(headers[0], ("x-aws-config-file".to_owned(), "/home/a%20b/.aws/config".to_owned()));
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn without_a_home_folder_nothing_is_asked() {
        let mut fake = Fake::new();
        fake.world = Err(Failure::new(FailureClass::Misconfigured, "HOME is not set", "set HOME"));
        let end = fake.run("credential-process");
        assert_eq!((end.code, end.stderr.as_str()), (12, "agentctl: HOME is not set; set HOME\n"));
        assert_eq!(fake.targets().len(), 0);
    }

    #[test]
    fn each_class_is_its_exit_code_and_one_line() {
        for class in FailureClass::ALL {
            let mut fake = Fake::new();
            fake.fails(class, "the cause", "the fix");
            let end = fake.run("credential-process");
            assert_eq!(end.code, class.exit_code());
            assert_eq!((end.stdout.as_str(), end.stderr.as_str()), ("", "agentctl: the cause; the fix\n"));
        }
    }

    #[test]
    fn work_in_flight_is_asked_for_again_until_the_limit() {
        let mut fake = Fake::new();
        fake.forever(202, r#"{"in_flight":true}"#, Duration::from_millis(1500));
        let end = fake.run("credential-process --timeout 25s");
        assert_eq!(end.code, 17);
        assert!(end.stderr.starts_with("agentctl: the agent is still fetching after 25 s; "), "{}", end.stderr);
        assert_eq!(fake.elapsed(), Duration::from_secs(25));
        assert!((17..=19).contains(&fake.targets().len()), "{:?}", fake.targets());
    }

    #[test]
    fn an_agent_that_answers_202_at_once_is_not_hammered() {
        let mut fake = Fake::new();
        fake.forever(202, r#"{"in_flight":true}"#, Duration::ZERO);
        assert_eq!(fake.run("credential-process --timeout 1s").code, 17);
        assert_eq!(fake.targets().len(), 10);
    }

    #[test]
    fn a_short_limit_shortens_what_the_agent_may_hold() {
        let mut fake = Fake::new();
        fake.forever(202, r#"{"in_flight":true}"#, Duration::from_millis(300));
        assert_eq!(fake.run("credential-process --timeout 400ms").code, 17);
        assert!(fake.targets()[0].ends_with("?wait=300"), "{:?}", fake.targets());
        assert_eq!(fake.elapsed(), Duration::from_millis(400));
    }

    #[test]
    fn no_answer_in_two_seconds_is_19_and_starts_nothing() {
        let mut fake = Fake::new();
        fake.error(AgentError::TimedOut);
        let end = fake.run("credential-process");
        assert_eq!(end.code, 19);
        assert!(end.stderr.contains("does not answer (waited 2 s)"), "{}", end.stderr);
        assert_eq!((fake.elapsed(), fake.launches.get()), (Duration::from_secs(2), 0));
    }

    #[test]
    fn an_agent_that_stops_answering_is_19_unless_the_limit_came_first() {
        let mut fake = Fake::new();
        fake.answers(202, r#"{"in_flight":true}"#).error(AgentError::TimedOut);
        assert_eq!(fake.run("credential-process").code, 19);
        let mut fake = Fake::new();
        fake.answers(202, r#"{"in_flight":true}"#).error(AgentError::TimedOut);
        assert_eq!(fake.run("credential-process --timeout 1500ms").code, 17);
    }

    #[test]
    fn a_limit_below_two_seconds_without_any_answer_is_19() {
        let mut fake = Fake::new();
        fake.error(AgentError::TimedOut);
        let end = fake.run("credential-process --timeout 500ms");
        assert_eq!(end.code, 19);
    }

    #[test]
    fn half_a_document_prints_nothing() {
        let mut fake = Fake::new();
        fake.answers(200, &union()[..40]);
        let end = fake.run("credential-process");
        assert_eq!((end.code, end.stdout.as_str()), (19, ""));
    }

    #[test]
    fn a_stranger_on_the_socket_is_19_and_starts_nothing() {
        for error in [AgentError::Refused("it belongs to uid 7".into()), AgentError::Protocol("no HTTP".into())] {
            let mut fake = Fake::new();
            fake.error(error);
            assert_eq!((fake.run("credential-process").code, fake.launches.get()), (19, 0));
        }
    }

    #[test]
    fn an_absent_agent_is_started_once() {
        let mut fake = Fake::new();
        fake.error(AgentError::Absent).error(AgentError::Absent).answers(200, &union());
        assert_eq!(fake.run("credential-process").code, 0);
        assert_eq!(fake.launches.get(), 1);
    }

    #[test]
    fn a_failed_start_does_not_matter_when_another_client_was_faster() {
        let mut fake = Fake::new();
        fake.launch = Err(Failure::new(FailureClass::AgentUnreachable, "agentd ended", ""));
        fake.error(AgentError::Absent).answers(200, &union());
        assert_eq!(fake.run("credential-process").code, 0);
    }

    #[test]
    fn a_failed_start_is_told_by_its_own_class() {
        let mut fake = Fake::new();
        fake.launch = Err(Failure::new(FailureClass::Misconfigured, "config.toml: unknown key", "edit it"));
        fake.error(AgentError::Absent).error(AgentError::Absent);
        let end = fake.run("credential-process");
        assert_eq!((end.code, end.stderr.as_str()), (12, "agentctl: config.toml: unknown key; edit it\n"));
        assert_eq!(fake.launches.get(), 1);
    }

    #[test]
    fn a_start_that_outlasts_the_limit_is_told_as_what_it_is() {
        let mut fake = Fake::new();
        fake.launch = Err(Failure::new(FailureClass::AgentUnreachable, "agentd is not ready yet", ""));
        fake.launch_takes = Duration::from_secs(60);
        fake.error(AgentError::Absent);
        let end = fake.run("credential-process --timeout 1s");
        assert_eq!((end.code, end.stderr.as_str()), (19, "agentctl: agentd is not ready yet\n"));
        assert_eq!(fake.elapsed(), Duration::from_secs(1));
    }

    #[test]
    fn a_started_agent_that_never_listens_is_given_up() {
        let mut fake = Fake::new();
        fake.absent_forever();
        let end = fake.run("credential-process");
        assert_eq!((end.code, fake.launches.get()), (19, 4));
        assert!(fake.elapsed() <= Duration::from_secs(3));
    }

    #[test]
    fn without_autostart_an_absent_agent_is_19() {
        let mut fake = Fake::new();
        fake.error(AgentError::Absent);
        let end = fake.run("credential-process --no-autostart");
        assert_eq!(end.stderr, "agentctl: agentd is not running; start it: agentctl daemon start\n");
        assert_eq!((end.code, fake.launches.get()), (19, 0));
        for (name, value) in [("AGENTCTL_NO_AUTOSTART", "1"), ("SANDBOX_RUNTIME", "1")] {
            let mut fake = Fake::new();
            fake.vars = [(name, value)].into_iter().collect();
            fake.error(AgentError::Absent);
            assert_eq!((fake.run("credential-process").code, fake.launches.get()), (19, 0), "{name}");
        }
    }

    #[test]
    fn verbose_tells_what_was_asked_and_no_secret() {
        let mut fake = Fake::new();
        fake.answers(200, &union());
        let end = fake.run("credential-process -v");
        assert_eq!(end.stderr, "agentctl: GET /v1/profiles/default/credentials?wait=1500 -> 200 in 0 ms\n");
    }
}
