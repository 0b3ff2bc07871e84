//! Whether the agent runs and answers, also from inside a sandbox; whether it is of our age, and what of the service is
//! installed.

use super::{Check, Facts, Severity, Verdict};
use crate::api::version::Version;
use crate::core::failure::Failure;

/// The way to it.
pub(super) const SOCKET: Check = Check { name: "socket", family: "agent", depends_on: &[], run: socket };

/// The agent.
pub(super) const AGENT: Check = Check { name: "agent", family: "agent", depends_on: &["socket"], run: agent };

/// Its age.
pub(super) const VERSION: Check = Check { name: "version", family: "agent", depends_on: &["agent"], run: version };

/// What starts it.
pub(super) const SERVICE: Check = Check { name: "service", family: "agent", depends_on: &[], run: service };

fn socket(facts: &Facts) -> Verdict {
    let socket = facts.socket.display();
    match (&facts.agent, facts.sandbox) {
        (_, false) => Verdict::ok(format!("agentd is looked for at {socket}")),
        (Some(Ok(_)), true) => Verdict::ok(format!("{socket} is reached from inside the sandbox")),
        (None, true) => {
            let message = "agentd is not running, and is not started from inside a sandbox (SANDBOX_RUNTIME is set)";
            Verdict::new(Severity::Warning, message).fixed_by("start it outside: agentctl daemon start")
        }
        (Some(Err(failure)), true) => {
            let message =
                format!("agentd is not reached from inside a sandbox (SANDBOX_RUNTIME is set): {}", failure.message);
            let fix = format!("add \"{socket}\" to sandbox.network.allowUnixSockets in Claude Code's settings");
            Verdict::of(Severity::Error, &Failure::new(failure.class, message, fix))
        }
    }
}

fn agent(facts: &Facts) -> Verdict {
    match &facts.agent {
        None => Verdict::new(Severity::Note, "agentd is not running; the next request for credentials starts it")
            .fixed_by("agentctl daemon start"),
        Some(Err(failure)) => Verdict::of(Severity::Error, failure),
        Some(Ok(status)) => Verdict::ok(format!("agentd {} runs (pid {})", status.agent.version, status.agent.pid)),
    }
}

fn version(facts: &Facts) -> Verdict {
    let Some(Ok(status)) = &facts.agent else { return Verdict::skipped("agentd is not running") };
    let (theirs, own) = (&status.agent.version, env!("CARGO_PKG_VERSION"));
    match (Version::parse(theirs), Version::own()) {
        (Some(agent), Some(ours)) if agent < ours => {
            let message =
                format!("agentd {theirs} is older than agentctl {own}; the next request for credentials replaces it");
            Verdict::new(Severity::Note, message).fixed_by("agentctl daemon restart")
        }
        (Some(agent), Some(ours)) if agent > ours => {
            let message = format!("agentctl {own} is older than agentd {theirs}: there are two installations");
            Verdict::new(Severity::Note, message).fixed_by("run the newer agentctl")
        }
        _ => Verdict::ok(format!("both are {own}")),
    }
}

fn service(facts: &Facts) -> Verdict {
    let warning = |message: String| Verdict::new(Severity::Warning, message).fixed_by("agentctl service install");
    match facts.service {
        None => Verdict::ok("no service is installed; agentctl starts agentd by itself"),
        Some(service) if !service.whole => warning("a part of the installed service is missing".to_owned()),
        Some(service) if !service.listens_here => {
            warning(format!("the installed service listens elsewhere than at {}", facts.socket.display()))
        }
        Some(_) => Verdict::ok("the installed service listens where agentctl asks"),
    }
}
