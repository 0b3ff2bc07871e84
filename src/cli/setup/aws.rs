//! The AWS config file: a profile with `credential_process` for the AWS CLI and SDKs; a session and a profile for who has
//! none. Nothing that is there is changed.

use std::path::PathBuf;

use super::plan::{Plan, Target};
use super::program;
use crate::api::v1::KnownProfile;
use crate::cli::args::Setup;
use crate::cli::context::Context;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::core::aws_config_edit::{self, Refused, Section, SectionName, What};
use crate::core::failure::FailureClass;
use crate::core::source::REFRESH_SCOPE;

/// What these edits are remembered as.
pub(super) const KIND: &str = "aws";
/// The new profile is called so: one with both SSO keys and `credential_process` means different things to different SDKs.
const SUFFIX: &str = "-agent";

/// What logins to a session ask for.
pub(super) const SCOPES: &str = "sso_registration_scopes";

/// Adds the profile for other tools to the plan.
///
/// # Errors
/// As [`super::run`].
pub(super) fn plan(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    args: &Setup,
    profile: &KnownProfile,
    plan: &mut Plan,
) -> Result<(), Problem> {
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
    let name = name_of(&profile.name);
    add(ctx, plan, &[Section { name: SectionName::Profile(name.clone()), keys }])?;
    out.tell(&format!("for the AWS CLI and SDKs: AWS_PROFILE={name}"));
    Ok(())
}

/// What the profile for other tools is called.
pub(super) fn name_of(profile: &str) -> String {
    format!("{profile}{SUFFIX}")
}

/// An `[sso-session]` that is to be there.
pub(super) struct NewSession {
    pub(super) name: String,
    pub(super) start_url: String,
    /// Where Identity Center lives.
    pub(super) region: String,
}

/// A profile that is to be there.
pub(super) struct NewProfile {
    pub(super) name: String,
    pub(super) session: String,
    pub(super) account: String,
    pub(super) role: String,
    /// Where its tools work.
    pub(super) region: String,
}

/// Adds the session to the plan.
///
/// # Errors
/// As [`super::run`]; class `misconfigured` where one of that name means another.
pub(super) fn plan_session(ctx: &Context<'_>, new: &NewSession, plan: &mut Plan) -> Result<(), Problem> {
    add(ctx, plan, &[section(new)])
}

/// A config file with these and nothing else.
///
/// # Errors
/// A name or value that cannot stand in one.
pub(super) fn alone(session: &NewSession, profile: Option<&NewProfile>) -> Result<Vec<u8>, Refused> {
    let sections: Vec<_> = [section(session)].into_iter().chain(profile.map(profile_section)).collect();
    aws_config_edit::apply(b"", &sections).map(|edited| edited.text)
}

pub(super) fn section(new: &NewSession) -> Section {
    let keys = vec![
        ("sso_start_url".to_owned(), new.start_url.clone()),
        ("sso_region".to_owned(), new.region.clone()),
        (SCOPES.to_owned(), REFRESH_SCOPE.to_owned()),
    ];
    Section { name: SectionName::SsoSession(new.name.clone()), keys }
}

/// Adds the profile to the plan.
///
/// # Errors
/// As [`plan_session`].
pub(super) fn plan_profile(ctx: &Context<'_>, new: &NewProfile, plan: &mut Plan) -> Result<(), Problem> {
    add(ctx, plan, &[profile_section(new)])
}

fn profile_section(new: &NewProfile) -> Section {
    let keys = vec![
        ("sso_session".to_owned(), new.session.clone()),
        ("sso_account_id".to_owned(), new.account.clone()),
        ("sso_role_name".to_owned(), new.role.clone()),
        ("region".to_owned(), new.region.clone()),
    ];
    Section { name: SectionName::Profile(new.name.clone()), keys }
}

/// The config file, and what it is to hold by the steps before.
pub(super) fn so_far(ctx: &Context<'_>, plan: &Plan) -> Result<(PathBuf, Option<Vec<u8>>), Problem> {
    let path = ctx.world.as_ref().map_err(Clone::clone)?.config_file.clone();
    let bytes = match plan.so_far(&path) {
        Some(bytes) => Some(bytes),
        None => Target::read(&path)?,
    };
    Ok((path, bytes))
}

/// Adds sections and keys to the plan.
///
/// # Errors
/// As [`plan_session`].
pub(super) fn add(ctx: &Context<'_>, plan: &mut Plan, wanted: &[Section]) -> Result<(), Problem> {
    let (path, before) = so_far(ctx, plan)?;
    let edited = aws_config_edit::apply(before.as_deref().unwrap_or_default(), wanted);
    let edited = edited.map_err(|refused| refused.failure(&path))?;
    // What is there is the user's: setup adds, and replaces nothing.
    if let Some(change) = edited.changes.iter().find(|change| matches!(change.what, What::Replaced { .. })) {
        let message = format!("{} is there already, and says otherwise: {change}", change.section);
        return Err(Problem::failed(FailureClass::Misconfigured, message, "choose another name; nothing was changed"));
    }
    let changes = serde_json::to_value(&edited.changes).unwrap_or_default();
    plan.add(Target { kind: KIND, path, before, after: edited.text, changes });
    Ok(())
}
