//! A legacy profile (`sso_start_url` and `sso_region` in the profile itself) gets an `[sso-session]`: without one a login
//! by the AWS CLI brings no refresh token, and lasts 8 hours ("legacy non-refreshable configuration" in AWS's SDK guide,
//! feature-sso-credentials).
//!
//! It only adds: the session or its scope, and `sso_session` in the profile. The old keys stay, so the profile means the
//! same as before to tools that know only those. Both forms in one profile are fine where no key of the session has
//! another value in the profile: botocore holds every one of them against it (`SSOProvider`,
//! `_resolve_sso_session_reference`), and so do we with the two that matter (`named_session` in `aws::profile`).
//!
//! From then on the token file is named after the session, not after the start URL: a new session needs a login. At a terminal
//! that is made, where Claude Code's step needs one, in a world that has the file as it will be ([`Aside`]): once is enough.

use super::aws::{self, NewSession, SCOPES};
use super::plan::Plan;
use super::sso::{Aside, SESSION};
use crate::api::v1::{KnownProfile, LegacySession};
use crate::cli::args::Setup;
use crate::cli::context::Context;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::core::aws_config_edit::{self, Section, SectionName};
use crate::core::failure::{FailureClass, shell_word};
use crate::core::source::REFRESH_SCOPE as SCOPE;

/// Adds the session and its name to the plan, where the profile is a legacy one and somebody wants it; at a terminal there is
/// a world then that has both already.
///
/// # Errors
/// As [`super::run`].
pub(super) fn plan(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    args: &Setup,
    profile: &KnownProfile,
    plan: &mut Plan,
) -> Result<Option<Aside>, Problem> {
    let name = &profile.name;
    let Some(legacy) = &profile.legacy else {
        if args.convert {
            out.tell(&format!("profile '{name}' is no legacy profile, so there is nothing to convert"));
        }
        return Ok(None);
    };
    if !is_wanted(ctx, out, args, name)? {
        return Ok(None);
    }
    let (path, text) = aws::so_far(ctx, plan)?;
    let there = aws_config_edit::read(text.as_deref().unwrap_or_default());
    let there = there.map_err(|refused| refused.failure(&path))?;
    let session = match (&args.sso_session, fitting(&there, name, legacy), ctx.asker) {
        (Some(named), ..) => named.clone(),
        (None, Some(fitting), _) => fitting,
        (None, None, Some(asker)) => {
            asker.text("What is the session to be called?", &free_name(&there))?.trim().to_owned()
        }
        (None, None, _) => free_name(&there),
    };
    aws::add(ctx, plan, &wanted(&there, name, legacy, &session)?)?;
    tell(out, name, &session, find(&there, &SectionName::SsoSession(session.clone())));
    if ctx.asker.is_none() || args.dry_run {
        return Ok(None);
    }
    let (aside, (_, text)) = (Aside::new(ctx)?, aws::so_far(ctx, plan)?);
    aside.hold_text(&text.unwrap_or_default())?;
    Ok(Some(aside))
}

/// `known`: the session, where it is there already.
fn tell(out: &mut Output<'_>, profile: &str, session: &str, known: Option<&Section>) {
    out.tell(&match known {
        None => format!("profile '{profile}' gets a new sso-session '{session}', which needs a login of its own"),
        Some(_) => format!("profile '{profile}' gets sso-session '{session}', which is there already"),
    });
    if let Some(scopes) = known.and_then(|known| value(known, SCOPES)).filter(|scopes| !has_scope(scopes)) {
        out.tell(&format!(
            "its {SCOPES} = {scopes} stays, with which a login by the AWS CLI lasts 8 hours; add {SCOPE} there"
        ));
    }
}

fn is_wanted(ctx: &Context<'_>, out: &mut Output<'_>, args: &Setup, profile: &str) -> Result<bool, Problem> {
    let why = format!(
        "profile '{profile}' is a legacy SSO profile: a login to it by the AWS CLI lasts 8 hours and cannot be renewed"
    );
    match ctx.asker {
        _ if args.convert => Ok(true),
        Some(asker) => asker.confirm(&format!("{why}. Add an [sso-session] that can?"), false),
        _ => {
            out.tell(&format!("{why}; convert it: agentctl setup --convert --profile {}", shell_word(profile)));
            Ok(false)
        }
    }
}

/// What the file is to have.
///
/// # Errors
/// Class `misconfigured`: the name is another session's, or a key of the profile would contradict the session.
pub(super) fn wanted(
    there: &[Section],
    profile: &str,
    legacy: &LegacySession,
    session: &str,
) -> Result<[Section; 2], Problem> {
    let misconfigured = |message: String, fix: &str| Problem::failed(FailureClass::Misconfigured, message, fix);
    let name = SectionName::SsoSession(session.to_owned());
    let known = find(there, &name);
    let mut whole = aws::section(&NewSession {
        name: session.to_owned(),
        start_url: legacy.start_url.clone(),
        region: legacy.sso_region.clone(),
    });
    if let Some(known) = known {
        if !is_same(known, legacy) {
            let message = format!("{name} is there already, with another sso_start_url or sso_region");
            return Err(misconfigured(message, &format!("choose another name: --sso-session {}", free_name(there))));
        }
        // What it has stays.
        whole.keys.retain(|(key, _)| value(known, key).is_none());
    }
    let profile = SectionName::Profile(profile.to_owned());
    let keys = known.iter().flat_map(|known| &known.keys).chain(&whole.keys);
    if let Some((key, own, theirs)) = find(there, &profile).and_then(|profile| contradicted(profile, keys)) {
        let message = format!("{profile} has {key} = {own}, {name} would have {theirs}, and the AWS CLI refuses that");
        return Err(misconfigured(message, &format!("remove {key} from {profile}, then run it again")));
    }
    Ok([whole, Section { name: profile, keys: vec![("sso_session".to_owned(), session.to_owned())] }])
}

/// A session that is there and can be the profile's.
pub(super) fn fitting(there: &[Section], profile: &str, legacy: &LegacySession) -> Option<String> {
    let profile = find(there, &SectionName::Profile(profile.to_owned()));
    there.iter().find_map(|section| match &section.name {
        SectionName::SsoSession(name) if is_same(section, legacy) => {
            let fits = profile.is_none_or(|profile| contradicted(profile, &section.keys).is_none());
            fits.then(|| name.clone())
        }
        _ => None,
    })
}

/// `corp`, `corp-2` and so on.
pub(super) fn free_name(there: &[Section]) -> String {
    let is_free = |name: &String| find(there, &SectionName::SsoSession(name.clone())).is_none();
    let more = (2_u32..).map(|number| format!("{SESSION}-{number}"));
    std::iter::once(SESSION.to_owned()).chain(more).find(is_free).unwrap_or_default()
}

/// The first key to which the profile gives another value than the session; both values.
fn contradicted<'a>(
    profile: &'a Section,
    session: impl IntoIterator<Item = &'a (String, String)>,
) -> Option<(&'a str, &'a str, &'a str)> {
    session.into_iter().find_map(|(key, theirs)| {
        let own = value(profile, key).filter(|own| own != theirs)?;
        Some((key.as_str(), own, theirs.as_str()))
    })
}

fn is_same(session: &Section, legacy: &LegacySession) -> bool {
    let same = |key: &str, wanted: &String| value(session, key) == Some(wanted);
    same("sso_start_url", &legacy.start_url) && same("sso_region", &legacy.sso_region)
}

fn has_scope(scopes: &str) -> bool {
    scopes.split(',').any(|scope| scope.trim() == SCOPE)
}

fn find<'a>(there: &'a [Section], name: &SectionName) -> Option<&'a Section> {
    there.iter().find(|section| section.name == *name)
}

fn value<'a>(section: &'a Section, key: &str) -> Option<&'a str> {
    section.keys.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
}
