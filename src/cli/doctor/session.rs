//! Whether the profile's SSO session is whole, and whether it can be kept without a person.

use super::{Check, Facts, Severity, Verdict};
use crate::core::failure::shell_word;
use crate::core::inspection::SessionSays;
use crate::core::source::REFRESH_SCOPE as SCOPE;

/// The session.
pub(super) const SESSION: Check =
    Check { name: "sso-session", family: "config", depends_on: &["profile"], run: session };

/// What its logins ask for.
pub(super) const SCOPES: Check = Check { name: "scopes", family: "config", depends_on: &["sso-session"], run: scopes };

fn session(facts: &Facts) -> Verdict {
    match facts.says().and_then(|says| says.session.as_ref()) {
        None => Verdict::skipped("the profile names no SSO session"),
        Some(Err(failure)) => Verdict::of(Severity::Error, failure),
        Some(Ok(SessionSays { id, start_url, region, .. })) => {
            Verdict::ok(format!("'{id}': {start_url} in {region}, which need not be where Bedrock is used"))
        }
    }
}

/// Whether a login of any tool brings a refresh token.
pub(super) fn asks_for_refresh(session: &SessionSays) -> bool {
    session.name.is_some() && session.scopes.iter().any(|scope| scope == SCOPE)
}

fn scopes(facts: &Facts) -> Verdict {
    let (Some(says), Some(session)) = (facts.says(), facts.session()) else { return Verdict::skipped("no session") };
    if asks_for_refresh(session) {
        return Verdict::ok(format!("logins ask for {SCOPE}, so sessions are renewed without a person"));
    }
    let renewable = matches!(&session.token.holds, Ok(Some(held)) if held.renewable);
    let Some(name) = &session.name else {
        let message = format!(
            "{} has its own sso_start_url (the legacy form): a login by the AWS CLI then lasts 8 hours and cannot be renewed",
            says.section
        );
        let fix = format!("agentctl setup --convert --profile {}", shell_word(&facts.profile));
        let severity = if renewable { Severity::Note } else { Severity::Warning };
        return Verdict::new(severity, message).fixed_by(fix);
    };
    let listed: Vec<&str> = session.scopes.iter().map(String::as_str).chain([SCOPE]).collect();
    let message = format!("a login by the AWS CLI to sso-session '{name}' lasts 8 hours and cannot be renewed");
    let fix = match session.scopes.is_empty() {
        true => format!("add sso_registration_scopes = {SCOPE} to [sso-session {name}]"),
        false => format!("write sso_registration_scopes = {} in [sso-session {name}]", listed.join(",")),
    };
    Verdict::new(Severity::Warning, message).fixed_by(fix)
}
