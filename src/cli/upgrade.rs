//! A newer `agentctl` that was answered by an older agent has it replaced: the older one answers whoever has asked, and
//! ends; a new one, of our own folder, takes its place.
//!
//! That is done after the answer was printed, by the verbs that would start an agent, and it is no failure of theirs if
//! it does not work: the older agent serves on, since the API only grows. The agent itself judges whether it should go
//! (not while a login is pending, not when a service manager would only start the same version again).

use super::agent::{AgentError, Reply};
use super::autostart;
use super::call;
use super::context::Context;
use super::output::Output;
use crate::api::v1::ShutdownRequest;
use crate::api::version::Version;
use crate::core::time::Tick;

use std::time::Duration;

/// How long an agent may take to give up its name.
const END: Duration = Duration::from_secs(2);
/// Between two looks.
const STEP: Duration = Duration::from_millis(10);

/// Replaces the agent that gave this answer, if it is older than we are; whether it did.
pub fn after(ctx: &Context<'_>, out: &mut Output<'_>, reply: &Reply, may_start: bool) -> bool {
    let Some(own) = Version::own().filter(|own| reply.agent.is_some_and(|agent| agent < *own)) else { return false };
    if !may_start || autostart::permitted(ctx.vars, true).is_err() {
        return false;
    }
    let replaced = replace(ctx, out, own);
    out.diagnose(|| match &replaced {
        Ok(()) => format!("agentctl: agentd was replaced by version {own}"),
        Err(why) => format!("agentctl: agentd stays as it is: {why}"),
    });
    replaced.is_ok()
}

/// Asks the agent to make room for version `own`, and starts that.
///
/// # Errors
/// Why it stays, in words.
fn replace(ctx: &Context<'_>, out: &mut Output<'_>, own: Version) -> Result<(), String> {
    let wish = ShutdownRequest { force: false, successor: Some(own.to_string()) };
    let body = serde_json::to_vec(&wish).unwrap_or_default();
    match call::exchange(ctx, out, "POST", "/v1/shutdown", &body, call::ANSWER) {
        Ok(reply) if reply.status == 200 => {}
        Ok(reply) => return Err(call::failure_of(&reply).message),
        // Somebody else was faster.
        Err(AgentError::Absent) => {}
        Err(e) => return Err(format!("{e:?}")),
    }
    let began = ctx.clock.tick();
    while !is_gone(ctx, out, own) {
        if ctx.clock.tick().since(began) > END {
            return Err("it does not end".to_owned());
        }
        ctx.clock.sleep(STEP);
    }
    start(ctx, out, began)
}

/// Whether the older agent has given up its name: nobody is there, or a newer one is.
fn is_gone(ctx: &Context<'_>, out: &mut Output<'_>, own: Version) -> bool {
    match call::exchange(ctx, out, "GET", "/v1/health", &[], call::ANSWER) {
        Ok(reply) => reply.agent.is_some_and(|agent| agent >= own),
        Err(e) => e == AgentError::Absent,
    }
}

fn start(ctx: &Context<'_>, out: &mut Output<'_>, began: Tick) -> Result<(), String> {
    let left = autostart::READY.saturating_sub(ctx.clock.tick().since(began));
    // One that a service manager or another client has started by now is as good.
    autostart::launch(ctx, out, left).map_err(|problem| problem.line().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, union};
    use super::*;

    fn older() -> Fake {
        let mut fake = Fake::new();
        fake.agent_version = Version::parse("0.0.1");
        fake.answers(200, &union());
        fake
    }

    #[test]
    fn the_answer_first_then_the_older_agent_is_replaced() {
        let mut fake = older();
        fake.answers(200, "{}").error(AgentError::Absent);
        let end = fake.run("credential-process");
        assert_eq!((end.code, end.stderr.as_str(), end.stdout), (0, "", format!("{}\n", union())));
        assert_eq!(fake.targets()[1..], ["POST /v1/shutdown", "GET /v1/health"]);
        let wish: ShutdownRequest = serde_json::from_str(&fake.bodies.borrow()[1]).unwrap();
        assert_eq!(wish.successor.as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(fake.launches.get(), 1);
    }

    #[test]
    fn one_that_stays_is_no_failure() {
        let mut fake = older();
        fake.answers(409, r#"{"code":"transient","message":"a login is pending"}"#);
        let end = fake.run("export");
        assert_eq!((end.code, end.stderr.as_str(), fake.launches.get()), (0, "", 0));
    }

    #[test]
    fn the_same_a_newer_and_an_unknown_agent_stay() {
        for version in [Version::own(), Version::parse("99.0.0"), None] {
            let mut fake = older();
            fake.agent_version = version;
            assert_eq!(fake.run("credential-process").code, 0);
            assert_eq!((fake.targets().len(), fake.launches.get()), (1, 0));
        }
    }

    #[test]
    fn who_may_not_start_an_agent_does_not_end_one() {
        let fake = older();
        assert_eq!(fake.run("credential-process --no-autostart").code, 0);
        let mut forbidden = older();
        forbidden.vars = [("AGENTCTL_NO_AUTOSTART", "1")].into_iter().collect();
        assert_eq!(forbidden.run("credential-process").code, 0);
        assert_eq!((fake.targets().len(), forbidden.targets().len()), (1, 1));
    }
}
