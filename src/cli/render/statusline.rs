//! The two lines of `agentctl statusline`: one short line about the profile, and a second one where a login waits.

use std::time::Duration;

use super::text::{clean, width};
use super::{clock_time, span};
use crate::api::v1::StatusDocument;
use crate::cli::output::local_time;
use crate::core::failure::{FailureClass, shell_word};
use crate::core::status::{ProfileStatus, SessionStatus, State, Status};
use crate::core::time::Timestamp;

/// No line is longer.
pub const COLUMNS: usize = 80;
/// A warning worth a person's look, this long before the end of a key that cannot be renewed.
const SOON: Duration = Duration::from_secs(30 * 60);

/// The lines about `profile`, which the agent may know nothing of yet.
#[must_use]
pub fn lines(document: &StatusDocument, profile: &str, found: Option<&ProfileStatus>, now: Timestamp) -> Vec<String> {
    let status = &document.status;
    let mut lines = match found {
        None => vec![format!("aws {}: not asked for yet", clean(profile))],
        Some(p) => about(p, status, now),
    };
    if let (1, Some(f)) = (lines.len(), status.findings.iter().find(|f| f.is_login_loop())) {
        lines.push(format!("{}: see agentctl status", clean(&f.name)));
    }
    lines.into_iter().map(|line| cut(&line)).collect()
}

/// A line that fits: what is too long loses its end.
#[must_use]
pub fn cut(line: &str) -> String {
    if width(line) <= COLUMNS {
        return line.to_owned();
    }
    let mut short = String::new();
    for c in line.chars() {
        if width(&short) + width(&c.to_string()) + 3 > COLUMNS {
            break;
        }
        short.push(c);
    }
    short + "..."
}

fn about(p: &ProfileStatus, status: &Status, now: Timestamp) -> Vec<String> {
    let name = clean(&p.name);
    let session = status.sessions.iter().find(|s| p.session.as_ref() == Some(&s.id));
    // The document's own clock is AWS's: what is left is counted by it.
    let left = p.expires_at.map(|end| end.since(status.now)).filter(|left| !left.is_zero());
    let head = match left {
        Some(left) => format!("aws {name}: {} left", span(left)),
        None => format!("aws {name}"),
    };
    let joined = if left.is_some() { "; " } else { ": " };
    if let Some(login) = session.and_then(|s| s.login.as_ref()) {
        let code = login.user_code.as_ref().map_or_else(String::new, |code| format!(", code {}", clean(code)));
        let until = clock_time(local_time(login.expires_at), local_time(now));
        let how = match login.url.len() {
            0..=COLUMNS => clean(&login.url),
            _ => format!("answer it in the browser, or see: agentctl login --profile {}", shell_word(&p.name)),
        };
        return vec![format!("{head}{joined}login pending until {until}{code}"), how];
    }
    if let Some(pause) = &status.paused {
        let until = pause.until.map(|at| format!(" until {}", clock_time(local_time(at), local_time(now))));
        return vec![format!("{head}{joined}renewing is paused{}", until.unwrap_or_default())];
    }
    let needs_login = ended(p) || session.is_some_and(session_ended);
    if needs_login && let Some(pause) = session.and_then(|s| s.login_pause.as_ref()) {
        let until = pause
            .until
            .map_or_else(String::new, |at| format!(" until {}", clock_time(local_time(at), local_time(now))));
        return vec![format!("{head}{joined}logins are paused{until}"), clean(&pause.failure.fix)];
    }
    if needs_login {
        return vec![format!("{head}{joined}login needed: agentctl login --profile {}", shell_word(&p.name))];
    }
    let failure = p.last_failure.as_ref().map(|f| &f.failure);
    vec![match (p.state, failure) {
        (State::Fetching, _) => format!("{head}: renewing"),
        (State::Failing, Some(f)) => format!("{head}; renewing fails ({})", f.class),
        (_, Some(f)) if left.is_none() => format!("{head}: {}: {}", f.class, clean(&f.message)),
        _ if left.is_none() => format!("{head}: fetched when asked for"),
        _ => match session.filter(|s| !s.renewable).and_then(|s| s.expires_at) {
            Some(end) if end.since(status.now) < SOON => {
                format!("{head}; log in again within {}", span(end.since(status.now)))
            }
            _ => head,
        },
    }]
}

fn ended(p: &ProfileStatus) -> bool {
    p.last_failure.as_ref().is_some_and(|f| f.failure.class == FailureClass::NeedsLogin)
}

fn session_ended(s: &SessionStatus) -> bool {
    s.last_failure.as_ref().is_some_and(|f| f.failure.class == FailureClass::NeedsLogin)
}
