//! `agentctl resume`: ends a pause. Tested beside `pause`.

use super::call;
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;

/// Runs the verb.
///
/// # Errors
/// As [`call::ask`].
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>) -> Result<(), Problem> {
    call::ask(ctx, out, "POST", "/v1/resume", &[])?;
    out.confirm("renewing again; see: agentctl status");
    Ok(())
}
