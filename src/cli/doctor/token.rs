//! Whether somebody is signed in to the profile's session, and whether that lasts.

use std::time::Duration;

use super::session::asks_for_refresh;
use super::{Check, Facts, Severity, Verdict};
use crate::core::failure::{Failure, FailureClass, shell_word};
use crate::core::inspection::{SessionSays, TokenHeld};
use crate::core::words::span;

/// The token file.
pub(super) const TOKEN: Check = Check { name: "token", family: "session", depends_on: &["sso-session"], run: token };

/// The client that it was issued to.
pub(super) const REGISTRATION: Check =
    Check { name: "registration", family: "session", depends_on: &["token"], run: registration };

/// A registration that ends sooner is told.
const SOON: i64 = 7 * 24 * 3600 * 1000;
/// Others than the owner may do nothing.
const OTHERS: u32 = 0o077;

fn login(facts: &Facts) -> String {
    format!("agentctl login --profile {}", shell_word(&facts.profile))
}

fn needs_login(facts: &Facts, message: String) -> Verdict {
    let fix = format!("run: {}", login(facts));
    Verdict::of(Severity::Error, &Failure::new(FailureClass::NeedsLogin, message, fix))
}

fn span_of(milliseconds: i64) -> String {
    span(Duration::from_millis(milliseconds.unsigned_abs()))
}

fn token(facts: &Facts) -> Verdict {
    let Some(session) = facts.session() else { return Verdict::skipped("no session") };
    let (path, id) = (session.token.path.display(), &session.id);
    let held = match &session.token.holds {
        Err(failure) => return Verdict::of(Severity::Error, &failure.clone().for_profile(&facts.profile)),
        Ok(None) => return needs_login(facts, format!("not logged in to sso-session '{id}'")),
        Ok(Some(held)) => held,
    };
    let left = held.expires_at.offset_from(facts.now);
    if left <= 0 && !held.renewable {
        let message = format!("the session '{id}' ended {} ago and has no refresh token", span_of(left));
        return needs_login(facts, message);
    }
    if let Some(mode) = session.token.mode.filter(|mode| mode & OTHERS != 0) {
        let message = format!("{path} may be read by others (mode {mode:03o})");
        let word = shell_word(&session.token.path.to_string_lossy());
        return Verdict::new(Severity::Warning, message).fixed_by(format!("chmod 600 {word}"));
    }
    lasting(facts, session, held, left)
}

fn lasting(facts: &Facts, session: &SessionSays, held: &TokenHeld, left: i64) -> Verdict {
    let id = &session.id;
    match (held.renewable, left) {
        (true, ..=0) => Verdict::ok(format!("the token of '{id}' has ended, and is renewed when somebody asks")),
        (true, _) => Verdict::ok(format!("signed in to '{id}'; the token is renewed without a person")),
        (false, _) => {
            let message = format!("the session '{id}' ends in {} and has no refresh token", span_of(left));
            // What a login would bring is said by `scopes`, which is to be mended first.
            let severity = if asks_for_refresh(session) { Severity::Warning } else { Severity::Note };
            Verdict::new(severity, message).fixed_by(format!("{} --force", login(facts)))
        }
    }
}

fn registration(facts: &Facts) -> Verdict {
    let held = facts.session().and_then(|session| session.token.holds.as_ref().ok()?.as_ref());
    let Some(held) = held.filter(|held| held.renewable) else { return Verdict::skipped("no refresh token") };
    let Some(ends) = held.registration_expires_at else {
        return Verdict::ok("the client's registration names no end");
    };
    let token_lives = held.expires_at > facts.now;
    match ends.offset_from(facts.now) {
        ..=0 if !token_lives => {
            needs_login(facts, "the client's registration has ended, so the session cannot be renewed".to_owned())
        }
        left @ ..SOON => {
            let when = if left <= 0 { "has ended".to_owned() } else { format!("ends in {}", span_of(left)) };
            let message = format!("the client's registration {when}; then the session cannot be renewed");
            Verdict::new(Severity::Warning, message).fixed_by(format!("{} --force", login(facts)))
        }
        left => Verdict::ok(format!("the client is registered for {} more", span_of(left))),
    }
}
