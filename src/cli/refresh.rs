//! `agentctl refresh`: renews now, whatever the backoff says.

use std::fmt::Write as _;

use super::args::Fetch;
use super::call;
use super::context::Context;
use super::outcome::Problem;
use super::output::{Output, local_time};
use super::render;
use super::upgrade;
use crate::api::v1::Renewed;

/// Runs the verb: done means that a renewal that began after this question succeeded.
///
/// # Errors
/// As [`call::until_done`].
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Fetch) -> Result<(), Problem> {
    let profile = ctx.profile()?;
    let path = call::profile_target(&profile, "refresh");
    let target = |wait, since: Option<u64>| {
        let mut target = format!("{path}?wait={wait}");
        if let Some(mark) = since {
            let _ = write!(target, "&since={mark}");
        }
        target
    };
    let reply = call::until_done(ctx, out, "POST", target, args.patience())?;
    let renewed: Renewed = call::read(&reply)?;
    let now = ctx.clock.wall();
    let until = render::clock_time(local_time(renewed.expires_at), local_time(now));
    let left = render::span(renewed.expires_at.since(now));
    out.confirm(&format!("'{profile}' is renewed, valid until {until} (for {left})"));
    upgrade::after(ctx, out, &reply, !args.no_autostart);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use crate::core::failure::FailureClass;

    const RENEWED: &str = r#"{"expires_at":"2020-06-17T10:42:08Z"}"#;

    #[test]
    fn the_mark_of_the_first_answer_is_sent_along() {
        let mut fake = Fake::new();
        fake.answers(202, r#"{"in_flight":true,"since":7}"#)
            .answers(202, r#"{"in_flight":true}"#)
            .answers(200, RENEWED);
        let end = fake.run("refresh --profile dev");
        assert_eq!((end.code, end.stdout.as_str(), end.stderr.as_str()), (0, "", ""));
        assert_eq!(
            fake.targets(),
            [
                "POST /v1/profiles/dev/refresh?wait=1500",
                "POST /v1/profiles/dev/refresh?wait=1500&since=7",
                "POST /v1/profiles/dev/refresh?wait=1500&since=7",
            ]
        );
    }

    #[test]
    fn a_person_is_told_until_when() {
        let mut fake = Fake::new();
        fake.screen.stderr_is_terminal = true;
        fake.answers(200, RENEWED);
        let end = fake.run("refresh --profile dev");
        assert!(end.stderr.starts_with("'dev' is renewed, valid until "), "{}", end.stderr);
        assert!(end.stderr.ends_with(" (for 40 min)\n"), "{}", end.stderr);
        fake.answers(200, RENEWED);
        assert_eq!(fake.run("refresh --profile dev -q").stderr, "");
    }

    #[test]
    fn a_failure_is_its_class() {
        let mut fake = Fake::new();
        fake.fails(FailureClass::Throttled, "the portal asks to wait until 14:05; the held key lives 20 min", "");
        assert_eq!(fake.run("refresh").code, 15);
    }
}
