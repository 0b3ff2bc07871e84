//! `agentctl why`: the full reason of the last decision about a profile.

use super::call;
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;
use super::{render, snapshot, status};
use crate::api::v1::StatusDocument;

/// Runs the verb.
///
/// # Errors
/// As [`call::ask`]; `misconfigured` for a profile that the agent was never asked for.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>) -> Result<(), Problem> {
    let name = ctx.profile()?;
    let document: StatusDocument = call::read(&call::ask(ctx, out, "GET", "/v1/status", &[])?)?;
    let profile = snapshot::find(ctx, &document, &name)?;
    let text = render::why::render(profile, &document.status, &status::view(ctx, out));
    out.document(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::super::status::tests::DOCUMENT;

    #[test]
    fn the_profile_of_this_clients_world_is_meant() {
        let mut fake = Fake::new();
        fake.answers(200, DOCUMENT).answers(200, DOCUMENT).answers(200, DOCUMENT);
        assert_eq!(
            fake.run("why --profile dev").stdout,
            "dev: idle\n  config  /home/a b/.aws/config\n  source  of this client's world\n"
        );
        if let Ok(world) = &mut fake.world {
            world.config_file = "/agents/config".into();
        }
        assert!(fake.run("why --profile dev").stdout.contains("of the agent's own world"));
        if let Ok(world) = &mut fake.world {
            world.config_file = "/elsewhere/config".into();
        }
        assert_eq!(fake.run("why --profile dev").code, 12, "another world's profile of that name is not meant");
    }

    #[test]
    fn an_unknown_profile_gets_the_nearest_names() {
        let mut fake = Fake::new();
        fake.answers(200, DOCUMENT).answers(200, DOCUMENT);
        assert!(fake.run("why --profile opss").stderr.contains("'opss' yet (it knows ops); ask for it"));
        let end = fake.run("why");
        assert!(end.stderr.contains("'default' yet (it knows dev, ops); ask"), "{}", end.stderr);
        assert_eq!((end.code, end.stdout.as_str()), (12, ""));
    }
}
