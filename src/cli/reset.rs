//! `agentctl reset`: logins that are paused may be tried again, as if a person had signed in at a terminal.

use super::args::Reset;
use super::call;
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;

/// Runs the verb.
///
/// # Errors
/// As [`call::ask`]; class `misconfigured` where there is no such profile or session.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Reset) -> Result<(), Problem> {
    let (name, target) = call::session_target(ctx, args.sso_session.as_deref(), "reset")?;
    // A question about files that are not known would be answered from the agent's own.
    ctx.world.as_ref().map_err(Clone::clone)?;
    call::ask(ctx, out, "POST", &target, &[])?;
    out.confirm(&format!("the next login for '{name}' is tried again"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::agent::AgentError;
    use super::super::fake::Fake;

    #[test]
    fn a_session_or_the_profiles_own() {
        let mut fake = Fake::new();
        fake.screen.stderr_is_terminal = true;
        fake.answers(200, "{}").answers(200, "{}");
        assert_eq!(fake.run("reset --sso-session corp").stderr, "the next login for 'corp' is tried again\n");
        assert_eq!(fake.run("reset --profile dev").code, 0);
        assert_eq!(fake.targets(), ["POST /v1/sessions/corp/reset", "POST /v1/profiles/dev/reset"]);
        fake.error(AgentError::Absent);
        assert_eq!((fake.run("reset").code, fake.launches.get()), (19, 0));
    }
}
