//! Asking the agent: one exchange, or one question that is asked again while the agent reports work in flight.
//!
//! Two limits, never mixed up: an agent that does not answer *at all* within [`ANSWER`] is unreachable (19); one that
//! answers, but whose fetch outlasts the user's `--timeout`, is told as transient (17).

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::agent::{AgentError, Reply};
use super::autostart;
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;
use crate::api::v1;
use crate::core::failure::{Failure, FailureClass};
use crate::core::time::Tick;

/// How long the agent has to answer at all.
pub const ANSWER: Duration = Duration::from_secs(2);
/// How long it has where it asks AWS for page after page.
const LONG: Duration = Duration::from_secs(30);
/// Two questions are at least this far apart, whatever the agent answers.
const SPACING: Duration = Duration::from_millis(100);
/// An agent that was just started, yet does not listen this long after, is gone.
const SETTLE: Duration = Duration::from_millis(500);
/// How often one question starts an agent: one that is killed under load is started again.
const STARTS: u8 = 4;
/// Between two tries to connect to it.
const SETTLE_STEP: Duration = Duration::from_millis(10);

const START: &str = "agentctl daemon start";

/// How long a question may take, and whether to start an agent for it.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// `--timeout`: the limit of everything together.
    pub timeout: Duration,
    /// Whether an absent agent is started (once).
    pub autostart: bool,
}

/// One exchange, told with `-v`.
///
/// # Errors
/// As [`super::agent::Agent::request`].
pub fn exchange(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    method: &str,
    target: &str,
    body: &[u8],
    within: Duration,
) -> Result<Reply, AgentError> {
    let began = ctx.clock.tick();
    let world = world_headers(ctx);
    let headers: Vec<(&str, &str)> = world.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let result = ctx.agent.request(method, target, &headers, body, within);
    out.diagnose(|| {
        let took = ctx.clock.tick().since(began).as_millis();
        let end = match &result {
            Ok(reply) => reply.status.to_string(),
            Err(e) => format!("{e:?}"),
        };
        format!("agentctl: {method} {target} -> {end} in {took} ms")
    });
    result
}

/// One exchange whose answer must be a success; the agent is never started.
///
/// # Errors
/// The agent's own failure, or `agent-unreachable`.
pub fn ask(ctx: &Context<'_>, out: &mut Output<'_>, method: &str, target: &str, body: &[u8]) -> Result<Reply, Problem> {
    let reply = exchange(ctx, out, method, target, body, ANSWER).map_err(|e| unreachable(ctx, &e))?;
    if reply.status == 200 { Ok(reply) } else { Err(failure_of(&reply).into()) }
}

/// One exchange that takes the agent some calls of AWS.
///
/// # Errors
/// As [`ask`].
pub fn ask_for_long(ctx: &Context<'_>, out: &mut Output<'_>, target: &str) -> Result<Reply, Problem> {
    let reply = exchange(ctx, out, "GET", target, &[], LONG).map_err(|e| unreachable(ctx, &e))?;
    if reply.status == 200 { Ok(reply) } else { Err(failure_of(&reply).into()) }
}

/// Asks until the answer is there. `target` makes the request's target from the milliseconds that the agent may hold
/// it and the `since` mark of an earlier `202`.
///
/// # Errors
/// The agent's own failure; `transient` when the work outlasts the limit; `agent-unreachable`; `misconfigured` when
/// this client's own world is unknown.
pub fn until_done(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    method: &str,
    target: impl Fn(u64, Option<u64>) -> String,
    patience: Patience,
) -> Result<Reply, Problem> {
    until_done_with(ctx, out, method, target, &[], patience)
}

/// The same, with a body.
///
/// # Errors
/// The same.
pub fn until_done_with(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    method: &str,
    target: impl Fn(u64, Option<u64>) -> String,
    body: &[u8],
    patience: Patience,
) -> Result<Reply, Problem> {
    until(ctx, out, (method, body), target, patience, ANSWER)
}

/// The same for a question that takes the agent, once it has credentials, some calls of AWS: the last answer is waited
/// for as long as [`ask_for_long`] waits.
///
/// # Errors
/// The same.
pub fn until_listed(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    target: impl Fn(u64, Option<u64>) -> String,
    patience: Patience,
) -> Result<Reply, Problem> {
    until(ctx, out, ("GET", &[]), target, patience, LONG)
}

fn until(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    (method, body): (&str, &[u8]),
    target: impl Fn(u64, Option<u64>) -> String,
    patience: Patience,
    answer: Duration,
) -> Result<Reply, Problem> {
    // A question about a profile without its world would be answered from the agent's own.
    ctx.world.as_ref().map_err(Clone::clone)?;
    let began = ctx.clock.tick();
    let mut start = Start::new(patience.autostart);
    let (mut since, mut answered) = (None, false);
    loop {
        let asked = ctx.clock.tick();
        let left = patience.timeout.saturating_sub(asked.since(began));
        if left.is_zero() {
            return Err(start.failure.unwrap_or_else(|| outlasted(patience.timeout, answered)));
        }
        let within = left.min(answer);
        match exchange(ctx, out, method, &target(hold(left), since), body, within) {
            Ok(reply) if reply.status == 202 => {
                answered = true;
                since = in_flight_mark(&reply).or(since);
                let next = SPACING.saturating_sub(ctx.clock.tick().since(asked));
                ctx.clock.sleep(next.min(left));
            }
            Ok(reply) if reply.status == 200 => return Ok(reply),
            Ok(reply) => return Err(failure_of(&reply).into()),
            Err(AgentError::Absent) => start.after_absence(ctx, out, left)?,
            Err(AgentError::TimedOut) if answer > ANSWER => return Err(unlisted(within)),
            Err(AgentError::TimedOut) if answered && within < ANSWER => {
                return Err(outlasted(patience.timeout, answered));
            }
            Err(e) => return Err(unreachable(ctx, &e)),
        }
    }
}

/// The agent answers `202` this long after the question at the latest, and in time for the user's own limit.
fn hold(left: Duration) -> u64 {
    let three_quarters = left.saturating_mul(3) / 4;
    u64::try_from(three_quarters.as_millis()).unwrap_or(u64::MAX).min(v1::MAX_WAIT_MS)
}

fn in_flight_mark(reply: &Reply) -> Option<u64> {
    serde_json::from_slice::<v1::InFlight>(&reply.body).ok().and_then(|f| f.since)
}

fn outlasted(timeout: Duration, answered: bool) -> Problem {
    let limit = super::render::span(timeout);
    if answered {
        let message = format!("the agent is still fetching after {limit}");
        return Problem::failed(
            FailureClass::Transient,
            message,
            "see: agentctl status, or wait longer: --timeout 60s",
        );
    }
    Problem::unreachable(format!("no answer from the agent within {limit}"), "see: agentctl daemon status")
}

fn unlisted(within: Duration) -> Problem {
    let message = format!("no list from AWS within {}", super::render::span(within));
    Problem::failed(FailureClass::Transient, message, "try again; or see: agentctl doctor network")
}

/// The starts of an agent that a question is good for: one, and again when the agent that came of it is gone too.
struct Start {
    allowed: bool,
    left: u8,
    done_at: Option<Tick>,
    failure: Option<Problem>,
}

impl Start {
    const fn new(allowed: bool) -> Self {
        Self { allowed, left: STARTS, done_at: None, failure: None }
    }

    /// Nobody listens: start an agent, or give the one just started a moment. Another client may have started one at
    /// the same time, so a failed start is only told when nobody listens afterwards either.
    fn after_absence(&mut self, ctx: &Context<'_>, out: &mut Output<'_>, left: Duration) -> Result<(), Problem> {
        let now = ctx.clock.tick();
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        match self.done_at {
            Some(at) if now.since(at) < SETTLE => ctx.clock.sleep(SETTLE_STEP),
            _ if self.left == 0 => {
                return Err(Problem::unreachable("agentd was started, yet it does not listen", START));
            }
            _ => {
                autostart::permitted(ctx.vars, self.allowed)?;
                self.left -= 1;
                self.failure = autostart::launch(ctx, out, left).err();
                self.done_at = Some(ctx.clock.tick());
            }
        }
        Ok(())
    }
}

/// Waits until a just started agent answers.
///
/// # Errors
/// Class `agent-unreachable`.
pub fn settled(ctx: &Context<'_>, out: &mut Output<'_>) -> Result<(), Problem> {
    let began = ctx.clock.tick();
    loop {
        match exchange(ctx, out, "GET", "/v1/health", &[], ANSWER) {
            Ok(_) => return Ok(()),
            Err(AgentError::Absent) if ctx.clock.tick().since(began) < SETTLE => ctx.clock.sleep(SETTLE_STEP),
            Err(e) => return Err(unreachable(ctx, &e)),
        }
    }
}

/// Why the agent could not be asked, for a person.
#[must_use]
pub fn unreachable(ctx: &Context<'_>, error: &AgentError) -> Problem {
    let socket = ctx.socket.display();
    match error {
        AgentError::Absent => Problem::unreachable("agentd is not running", format!("start it: {START}")),
        AgentError::TimedOut => {
            let message = format!("agentd does not answer (waited {})", super::render::span(ANSWER));
            Problem::unreachable(message, format!("end the process that holds {socket}, then: {START}"))
        }
        AgentError::Refused(why) => {
            Problem::unreachable(why, "name your own agent's socket (AGENTCTL_SOCKET), or run this outside the sandbox")
        }
        AgentError::Protocol(what) => {
            let message = format!("what answers on {socket} is not this agent: {what}");
            Problem::unreachable(message, "agentctl daemon restart")
        }
    }
}

/// The agent's failure. An error of a newer agent, whose code is unknown here, is told by its HTTP status.
#[must_use]
pub fn failure_of(reply: &Reply) -> Failure {
    if let Ok(body) = serde_json::from_slice::<v1::ErrorBody>(&reply.body) {
        return body.into();
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Words {
        message: String,
        fix: String,
    }
    let words: Words = serde_json::from_slice(&reply.body).unwrap_or_default();
    if words.message.is_empty() {
        let message = format!("the agent answered HTTP {} without a reason", reply.status);
        return Failure::new(FailureClass::AgentUnreachable, message, "agentctl daemon restart");
    }
    Failure::new(class_of_status(reply.status), words.message, words.fix)
}

const fn class_of_status(status: u16) -> FailureClass {
    match status {
        401 => FailureClass::NeedsLogin,
        403 => FailureClass::AccessDenied,
        404 | 422 => FailureClass::Misconfigured,
        423 => FailureClass::LoginPaused,
        429 => FailureClass::Throttled,
        502 => FailureClass::Intercepted,
        _ => FailureClass::Transient,
    }
}

/// Reads a document of the agent.
///
/// # Errors
/// `agent-unreachable`, when it is not what this client knows.
pub fn read<T: DeserializeOwned>(reply: &Reply) -> Result<T, Problem> {
    serde_json::from_slice(&reply.body)
        .map_err(|e| Problem::unreachable(format!("the agent's answer cannot be read: {e}"), "agentctl daemon restart"))
}

/// `/v1/profiles/NAME/what`.
#[must_use]
pub fn profile_target(profile: &str, what: &str) -> String {
    format!("/v1/profiles/{}/{what}", v1::encode_segment(profile))
}

/// What a verb about a session is about: the name that a person knows it by, and `/v1/sessions/NAME/what`, or the
/// profile's where no session is named.
///
/// # Errors
/// As [`Context::profile`].
pub fn session_target(ctx: &Context<'_>, session: Option<&str>, what: &str) -> Result<(String, String), Problem> {
    match session {
        Some(session) => Ok((session.to_owned(), format!("/v1/sessions/{}/{what}", v1::encode_segment(session)))),
        None => {
            let profile = ctx.profile()?;
            let target = profile_target(&profile, what);
            Ok((profile, target))
        }
    }
}

fn world_headers(ctx: &Context<'_>) -> Vec<(&'static str, String)> {
    let Ok(world) = ctx.world else { return Vec::new() };
    vec![
        (v1::CONFIG_FILE_HEADER, v1::encode_path(&world.config_file)),
        (v1::CREDENTIALS_FILE_HEADER, v1::encode_path(&world.credentials_file)),
        (v1::SSO_CACHE_HEADER, v1::encode_path(&world.sso_cache)),
    ]
}
