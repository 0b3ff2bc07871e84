//! What the checks look at, gathered once.

use std::time::Duration;

use crate::api::v1::{self, StatusDocument};
use crate::cli::agent::AgentError;
use crate::cli::call;
use crate::cli::context::Context;
use crate::cli::one_shot;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::core::failure::Failure;
use crate::core::probe::Probe;

/// A look, and then some for the child to start and end.
const SLACK: Duration = Duration::from_secs(2);

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The way to AWS in the environment of whoever asks.
    pub probe: Result<Probe, Failure>,
    /// What the agent knows; `None`: none runs.
    pub agent: Option<Result<StatusDocument, Failure>>,
    /// The way to AWS as the agent takes it, where its settings are other than ours.
    pub agents_probe: Option<Result<Probe, Failure>>,
}

impl Facts {
    /// Looks. The limit is that of each look at the way to AWS.
    ///
    /// # Errors
    /// As [`Context::profile`].
    pub fn gather(ctx: &Context<'_>, out: &mut Output<'_>, within: Duration) -> Result<Self, Problem> {
        let profile = ctx.profile()?;
        let region = ctx.vars.get("AWS_REGION").or_else(|| ctx.vars.get("AWS_DEFAULT_REGION"));
        out.progress("looking at the way to AWS ...");
        let probe = own(ctx, out, &profile, region, within);
        let agent = match call::exchange(ctx, out, "GET", "/v1/status", &[], call::ANSWER) {
            Ok(reply) if reply.status == 200 => Some(call::read::<StatusDocument>(&reply).map_err(failure)),
            Ok(reply) => Some(Err(call::failure_of(&reply))),
            Err(AgentError::Absent) => None,
            Err(e) => Some(Err(failure(call::unreachable(ctx, &e)))),
        };
        let differs = match (&probe, &agent) {
            (Ok(probe), Some(Ok(status))) => probe.network != status.agent.network,
            (Err(_), Some(Ok(_))) => true,
            _ => false,
        };
        let agents_probe = differs.then(|| agents(ctx, out, profile, region, within));
        out.progress("");
        Ok(Self { probe, agent, agents_probe })
    }
}

fn failure(problem: Problem) -> Failure {
    match problem {
        Problem::Failed(failure) => failure,
        other => Failure::new(crate::core::failure::FailureClass::Transient, other.line().unwrap_or_default(), ""),
    }
}

fn own(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &str,
    region: Option<&str>,
    within: Duration,
) -> Result<Probe, Failure> {
    let reply = one_shot::probe(ctx, out, profile, region, within).map_err(failure)?;
    call::read(&reply).map_err(failure)
}

fn agents(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: String,
    region: Option<&str>,
    within: Duration,
) -> Result<Probe, Failure> {
    let timeout_ms = Some(within.as_millis().try_into().unwrap_or(u64::MAX));
    let (region, sso_session) = (region.map(str::to_owned), None);
    let request = v1::ProbeRequest { profile: Some(profile), sso_session, region, timeout_ms };
    let body = serde_json::to_vec(&request).unwrap_or_default();
    match call::exchange(ctx, out, "POST", "/v1/probe", &body, within + SLACK) {
        Ok(reply) if reply.status == 200 => call::read(&reply).map_err(failure),
        Ok(reply) => Err(call::failure_of(&reply)),
        Err(e) => Err(failure(call::unreachable(ctx, &e))),
    }
}
