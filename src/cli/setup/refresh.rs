//! `agentctl login` as `awsAuthRefresh`: only where it will not run at each start.
//!
//! Before Claude Code runs that command it asks STS GetCallerIdentity through its own chain of credentials, which never sees
//! what `awsCredentialExport` prints, and any failure runs it. So the chain gets a profile with `credential_process`
//! ([`super::aws`]), and here is shown, beforehand, that this prints credentials and that Claude Code reaches STS and trusts
//! what it is shown there.

use std::path::Path;
use std::time::Duration;

use super::claude::trust_of_claude;
use super::{aws, proof};
use crate::api::v1::KnownProfile;
use crate::cli::args::Setup;
use crate::cli::context::Context;
use crate::cli::doctor::facts::judge;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::core::claude_settings::Wanted;
use crate::core::claude_settings::keys::REFRESH;
use crate::core::failure::shell_word;
use crate::core::probe::{NeededBy, Probe};

/// How long the command may take that Claude Code gives 60 s.
const LIMIT: Duration = Duration::from_secs(5);

/// What is to be set; nothing where it is not wanted, or where the proof fails, which is told.
pub(super) fn plan(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    args: &Setup,
    profile: &KnownProfile,
    agentctl: &Path,
    probe: Option<&Probe>,
) -> Vec<Wanted> {
    if !args.auth_refresh {
        return Vec::new();
    }
    let (agentctl, name) = (shell_word(&agentctl.to_string_lossy()), shell_word(&profile.name));
    let command = format!("{agentctl} credential-process --profile {name}");
    match prove(ctx, out, &profile.name, &command, probe) {
        Ok(()) => vec![
            Wanted::set(&[REFRESH], format!("{agentctl} login --profile {name}")),
            Wanted::set(&["env", "AWS_PROFILE"], aws::name_of(&profile.name)),
        ],
        Err(why) => {
            out.tell(&format!("{REFRESH} is left out, since Claude Code would run it at each start: {why}"));
            Vec::new()
        }
    }
}

/// That Claude Code's check will pass.
fn prove(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &str,
    command: &str,
    probe: Option<&Probe>,
) -> Result<(), String> {
    let line = |problem: Problem| problem.line().unwrap_or_default();
    proof::credentials(ctx, out, profile).map_err(line)?;
    let printed = ctx.launcher.hook(command, LIMIT)?;
    judge(&printed, ctx.clock.wall())?;
    let probe = probe.ok_or("the way to AWS cannot be looked at")?;
    let sts = probe.hosts.iter().find(|host| host.needed_by == NeededBy::Clients).ok_or("STS was not looked at")?;
    if let Some(failed) = &sts.failed {
        return Err(failed.failure.message.clone());
    }
    match trust_of_claude(probe) {
        Some(claude) if claude.refuses.contains(&sts.host) && claude.cure.is_none() => {
            Err(format!("it does not trust what {} presents here", sts.host))
        }
        _ => Ok(()),
    }
}
