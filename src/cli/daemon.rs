//! `agentctl daemon start|stop|status|restart`: the agent by hand.

use std::time::Duration;

use super::agent::AgentError;
use super::args::{DaemonVerb, Stop};
use super::autostart;
use super::call;
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;
use super::render;
use super::upgrade;
use crate::api::v1::Health;
use crate::files::config_toml::Config;

/// How long an agent may take to end: it answers whoever waits, and stores what a renewal under way brings.
const END: Duration = Duration::from_secs(30);
/// Ends the service's socket, too.
const STOP_SERVICE: &str = if cfg!(target_os = "macos") {
    "launchctl bootout gui/$UID/local.agentctl.agentd"
} else {
    "systemctl --user stop agentd.socket"
};
/// Between two looks at it.
const STEP: Duration = Duration::from_millis(20);

/// Runs the verb.
///
/// # Errors
/// Class `agent-unreachable`, or what the agent says.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, verb: DaemonVerb) -> Result<(), Problem> {
    match verb {
        DaemonVerb::Start => start(ctx, out),
        DaemonVerb::Stop(how) => stop(ctx, out, how),
        DaemonVerb::Status => status(ctx, out),
        DaemonVerb::Restart(how) => {
            // One that runs on good settings is better than one that cannot start on new ones.
            Config::load(ctx.vars, None)?;
            stop(ctx, out, how)?;
            start(ctx, out)
        }
    }
}

fn start(ctx: &Context<'_>, out: &mut Output<'_>) -> Result<(), Problem> {
    let started = autostart::ensure(ctx, out)?;
    let reply = call::ask(ctx, out, "GET", "/v1/health", &[])?;
    let replaced = upgrade::after(ctx, out, &reply, true);
    let health: Health = if replaced { health(ctx, out)? } else { call::read(&reply)? };
    let how = if started || replaced { "runs" } else { "is already running" };
    out.tell(&format!("agentd {} {how} (pid {})", health.version, health.pid));
    Ok(())
}

fn stop(ctx: &Context<'_>, out: &mut Output<'_>, how: Stop) -> Result<(), Problem> {
    let health: Health = match call::exchange(ctx, out, "GET", "/v1/health", &[], call::ANSWER) {
        Ok(reply) => call::read(&reply)?,
        Err(AgentError::Absent) => {
            out.tell("agentd is not running");
            return Ok(());
        }
        Err(e) => return Err(call::unreachable(ctx, &e)),
    };
    let body = if how.force { br#"{"force":true}"#.as_slice() } else { &[] };
    match call::exchange(ctx, out, "POST", "/v1/shutdown", body, call::ANSWER) {
        Ok(reply) if reply.status == 200 => {}
        Ok(reply) => return Err(call::failure_of(&reply).into()),
        Err(AgentError::Absent) => {}
        Err(e) => return Err(call::unreachable(ctx, &e)),
    }
    if health.service {
        // To ask whether it is gone would start it again.
        out.tell(&format!("agentd has ended; its service starts it when somebody asks, until: {STOP_SERVICE}"));
        return Ok(());
    }
    let began = ctx.clock.tick();
    while ctx.clock.tick().since(began) < END {
        if call::exchange(ctx, out, "GET", "/v1/health", &[], call::ANSWER).err() == Some(AgentError::Absent) {
            out.tell("agentd has ended");
            return Ok(());
        }
        ctx.clock.sleep(STEP);
    }
    let message = format!("agentd was asked to end, but still listens after {}", render::span(END));
    Err(Problem::unreachable(message, "see its process id: agentctl daemon status"))
}

fn status(ctx: &Context<'_>, out: &mut Output<'_>) -> Result<(), Problem> {
    let health = health(ctx, out)?;
    let up = render::span(ctx.clock.wall().since(health.started_at));
    let text = format!(
        "agentd {} is running\n  pid     {}\n  up      {up} (since {})\n  socket  {}\n",
        render::clean(&health.version),
        health.pid,
        health.started_at,
        ctx.socket.display(),
    );
    out.document(text.as_bytes())
}

fn health(ctx: &Context<'_>, out: &mut Output<'_>) -> Result<Health, Problem> {
    call::read(&call::ask(ctx, out, "GET", "/v1/health", &[])?)
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    const HEALTH: &str = r#"{"name":"agentd","version":"0.1.0","pid":4242,"started_at":"2020-06-17T09:00:00Z"}"#;

    #[test]
    fn start_is_done_when_the_agent_answers() {
        let mut fake = Fake::new();
        fake.error(AgentError::Absent).error(AgentError::Absent).answers(200, HEALTH).answers(200, HEALTH);
        let end = fake.run("daemon start");
        assert_eq!((end.code, end.stderr.as_str()), (0, "agentd 0.1.0 runs (pid 4242)\n"));
        assert_eq!(fake.launches.get(), 1);
    }

    #[test]
    fn start_of_a_running_agent_is_success() {
        let mut fake = Fake::new();
        fake.answers(200, HEALTH).answers(200, HEALTH);
        let end = fake.run("daemon start");
        assert_eq!((end.code, end.stderr.as_str()), (0, "agentd 0.1.0 is already running (pid 4242)\n"));
        assert_eq!(fake.launches.get(), 0);
    }

    #[test]
    fn start_by_hand_ignores_the_switch_but_not_the_sandbox() {
        let mut fake = Fake::new();
        fake.vars = [("AGENTCTL_NO_AUTOSTART", "1")].into_iter().collect();
        fake.error(AgentError::Absent).answers(200, HEALTH).answers(200, HEALTH);
        assert_eq!(fake.run("daemon start").code, 0);
        let mut fake = Fake::new();
        fake.vars = [("SANDBOX_RUNTIME", "1")].into_iter().collect();
        fake.error(AgentError::Absent);
        assert_eq!((fake.run("daemon start").code, fake.launches.get()), (19, 0));
    }

    #[test]
    fn stop_waits_until_nobody_listens() {
        let mut fake = Fake::new();
        fake.answers(200, HEALTH).answers(200, "{}").answers(200, HEALTH).error(AgentError::Absent);
        assert_eq!(fake.run("daemon stop").stderr, "agentd has ended\n");
        assert_eq!(fake.targets()[1..], ["POST /v1/shutdown", "GET /v1/health", "GET /v1/health"]);
    }

    #[test]
    fn stop_of_a_service_does_not_start_it_again() {
        let mut fake = Fake::new();
        fake.answers(200, &HEALTH.replace('}', r#","service":true}"#)).answers(200, "{}");
        let end = fake.run("daemon stop");
        assert!(end.code == 0 && end.stderr.contains("systemctl --user stop agentd.socket"), "{}", end.stderr);
        assert_eq!(fake.targets().len(), 2);
    }

    #[test]
    fn stop_of_an_absent_agent_is_success_and_of_a_stuck_one_is_not() {
        let mut fake = Fake::new();
        fake.error(AgentError::Absent);
        assert_eq!(fake.run("daemon stop").code, 0);
        let mut fake = Fake::new();
        fake.answers(200, HEALTH).answers(200, "{}").forever(200, HEALTH, Duration::from_millis(500));
        assert_eq!(fake.run("daemon stop").code, 19);
    }

    #[test]
    fn restart_is_both() {
        let mut fake = Fake::new();
        fake.vars = [("HOME", "/nowhere"), ("APPDATA", "C:\\nowhere")].into_iter().collect();
        fake.answers(200, HEALTH).answers(200, "{}").error(AgentError::Absent).error(AgentError::Absent);
        fake.answers(200, HEALTH).answers(200, HEALTH);
        assert_eq!(fake.run("daemon restart").stderr, "agentd has ended\nagentd 0.1.0 runs (pid 4242)\n");
    }

    #[test]
    fn restart_leaves_an_agent_running_that_could_not_start_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "kep = []").unwrap();
        let mut fake = Fake::new();
        fake.vars = [("AGENTCTL_CONFIG", file.to_str().unwrap())].into_iter().collect();
        let end = fake.run("daemon restart");
        assert_eq!((end.code, fake.targets().len()), (12, 0), "{}", end.stderr);
    }

    #[test]
    fn what_stopping_would_lose_is_lost_by_force_only() {
        let mut fake = Fake::new();
        fake.answers(200, HEALTH);
        fake.fails(crate::core::failure::FailureClass::Transient, "a token would be lost", "make room");
        assert_eq!(fake.run("daemon stop").code, 17);
        fake.answers(200, HEALTH).answers(200, "{}").error(AgentError::Absent);
        assert_eq!(fake.run("daemon stop --force").code, 0);
        assert_eq!(fake.bodies.borrow()[3], r#"{"force":true}"#);
    }

    #[test]
    fn status_is_a_document_and_19_without_an_agent() {
        let mut fake = Fake::new();
        fake.answers(200, HEALTH);
        let end = fake.run("daemon status");
        assert_eq!(
            end.stdout,
            "agentd 0.1.0 is running\n  pid     4242\n  up      1 h 2 min (since 2020-06-17T09:00:00Z)\n  socket  /run/agent.sock\n"
        );
        let mut fake = Fake::new();
        fake.error(AgentError::Absent);
        let end = fake.run("daemon status");
        assert_eq!((end.code, fake.launches.get()), (19, 0));
        assert_eq!(end.stderr, "agentctl: agentd is not running; start it: agentctl daemon start\n");
    }
}
