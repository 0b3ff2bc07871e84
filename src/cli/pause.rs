//! `agentctl pause`: no renewing until a time, or until `agentctl resume`.

use super::args::Pause;
use super::call;
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;
use super::render;
use crate::api::v1::PauseRequest;
use crate::core::failure::FailureClass;

/// Runs the verb.
///
/// # Errors
/// As [`call::ask`].
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Pause) -> Result<(), Problem> {
    // A part of a second is rounded up: a pause is never shorter than asked for.
    let seconds = args.span.map(|s| s.as_millis().div_ceil(1000)).and_then(|s| u64::try_from(s).ok());
    let body = serde_json::to_vec(&PauseRequest { seconds })
        .map_err(|e| Problem::failed(FailureClass::Transient, e.to_string(), ""))?;
    call::ask(ctx, out, "POST", "/v1/pause", &body)?;
    let how_long = args.span.map_or_else(String::new, |s| format!(" for {}", render::span(s)));
    out.confirm(&format!("paused{how_long}; to renew again: agentctl resume"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::agent::AgentError;
    use super::super::fake::Fake;

    #[test]
    fn the_span_goes_along_in_seconds() {
        for (line, body) in [
            ("pause", r#"{"seconds":null}"#),
            ("pause --for 8h", r#"{"seconds":28800}"#),
            ("pause --for 1ms", r#"{"seconds":1}"#),
        ] {
            let mut fake = Fake::new();
            fake.answers(200, "{}");
            assert_eq!(fake.run(line).code, 0);
            assert_eq!(fake.bodies.borrow()[0], body);
            assert_eq!(fake.targets(), ["POST /v1/pause"]);
        }
    }

    #[test]
    fn no_agent_is_started_for_it() {
        for line in ["pause", "resume"] {
            let mut fake = Fake::new();
            fake.error(AgentError::Absent);
            assert_eq!((fake.run(line).code, fake.launches.get()), (19, 0));
        }
    }

    #[test]
    fn a_person_is_told_how_to_go_on() {
        let mut fake = Fake::new();
        fake.screen.stderr_is_terminal = true;
        fake.answers(200, "{}").answers(200, "{}");
        assert_eq!(fake.run("pause --for 8h").stderr, "paused for 8 h; to renew again: agentctl resume\n");
        assert_eq!(fake.run("resume").stderr, "renewing again; see: agentctl status\n");
    }
}
