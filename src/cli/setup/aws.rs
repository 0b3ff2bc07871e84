//! The AWS config file: a profile with `credential_process` for the AWS CLI and SDKs. No profile that is there is changed.

use super::choose;
use super::plan::{Plan, Target};
use super::program;
use crate::api::v1::KnownProfile;
use crate::cli::args::Setup;
use crate::cli::context::Context;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::core::aws_config_edit::{self, Section, SectionName};
use crate::core::failure::FailureClass;

/// What these edits are remembered as.
pub(super) const KIND: &str = "aws";
/// The new profile is called so: one with both SSO keys and `credential_process` means different things to different SDKs.
const SUFFIX: &str = "-agent";

/// Adds the profile for other tools to the plan.
///
/// # Errors
/// As [`super::run`].
pub(super) fn plan(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    args: &Setup,
    known: Option<&KnownProfile>,
    plan: &mut Plan,
) -> Result<KnownProfile, Problem> {
    let profile = known.map_or_else(|| choose::profile(ctx, out), |known| Ok(known.clone()))?;
    let agentctl = program(ctx)?.to_string_lossy().into_owned();
    // botocore splits the command by itself, others use a shell: only plain words mean the same to all (CONTRACTS).
    let plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./@:+=,".contains(c));
    if !plain(&agentctl) || !plain(&profile.name) {
        let message = format!("'{agentctl}' and '{}' must be plain words for credential_process", profile.name);
        let fix = "install agentctl where its path has no blanks, and name the profile without any";
        return Err(Problem::failed(FailureClass::Misconfigured, message, fix));
    }
    let mut keys = Vec::new();
    keys.extend(profile.region.clone().or_else(|| args.region.clone()).map(|region| ("region".to_owned(), region)));
    keys.push(("credential_process".to_owned(), format!("{agentctl} credential-process --profile {}", profile.name)));
    let name = format!("{}{SUFFIX}", profile.name);
    add(ctx, plan, &[Section { name: SectionName::Profile(name.clone()), keys }])?;
    out.tell(&format!("for the AWS CLI and SDKs: AWS_PROFILE={name}"));
    Ok(profile)
}

fn add(ctx: &Context<'_>, plan: &mut Plan, wanted: &[Section]) -> Result<(), Problem> {
    let path = ctx.world.as_ref().map_err(Clone::clone)?.config_file.clone();
    let before = match plan.so_far(&path) {
        Some(bytes) => Some(bytes),
        None => Target::read(&path)?,
    };
    let edited = aws_config_edit::apply(before.as_deref().unwrap_or_default(), wanted);
    let edited = edited.map_err(|refused| refused.failure(&path))?;
    let changes = serde_json::to_value(&edited.changes).unwrap_or_default();
    plan.add(Target { kind: KIND, path, before, after: edited.text, changes });
    Ok(())
}
