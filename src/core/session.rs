//! What is special about an SSO session: its token lives in a file that others write too, it can be renewed only with
//! a refresh grant, and a refusal by the portal has to be read with care.

use std::time::Duration;

use super::credential::SsoToken;
use super::failure::{Failure, FailureClass};
use super::schedule::LOGOUT_AFTER;
use super::time::{Tick, Timestamp};

/// What the token file was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFile {
    /// A token.
    Present(std::sync::Arc<SsoToken>),
    /// No file.
    Absent,
    /// A file that is no token, even after the tries that outlast another tool's write.
    Unusable(Failure),
}

/// A session's own state.
#[derive(Clone, Debug, Default)]
pub struct SessionState {
    /// The token file was read at least once.
    pub loaded: bool,
    /// A read is under way.
    pub reading: bool,
    /// Since when the file is missing although a token is held.
    pub absent_since: Option<Tick>,
    /// The generation of the token that the portal refused.
    pub refused: Option<u64>,
    /// The generation of the last token that the portal accepted.
    pub accepted: Option<u64>,
    /// The generation of the token that was fetched because the one before was refused.
    pub replacement: Option<u64>,
    /// The last logout.
    pub signed_out: Option<SignedOut>,
}

/// A logout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedOut {
    /// Just before the token file was removed, by the local clock.
    pub at: Timestamp,
    /// When that was heard of.
    pub tick: Tick,
}

/// Reads that began before a logout have reported this long after it.
const ECHO: Duration = Duration::from_secs(10);

/// A file's time is that of the system's last tick, which may lie this far back.
const GRAIN: Duration = Duration::from_millis(20);

/// A token that was obtained this recently and is refused was not refused for its age.
const FRESH: Duration = Duration::from_secs(60);

/// What a refusal of the bearer token by the portal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token was replaced meanwhile: try again with the new one.
    Replaced,
    /// Renew the session, then try once more.
    Renew,
    /// A fresh token was refused: somebody in between strips the bearer header, or the login was hollow.
    Hollow,
}

impl SessionState {
    /// Whether this is the token of a session that was just signed out of, read before its file went away.
    #[must_use]
    pub fn is_signed_out_of(&self, token: &SsoToken, now: Tick) -> bool {
        self.signed_out.is_some_and(|out| now.since(out.tick) < ECHO && token.obtained_at.plus(GRAIN) <= out.at)
    }

    /// A read found the file, whole or not. Reads report in no order, so this one may be older than one that found none:
    /// the read that is due [`LOGOUT_AFTER`] that one decides.
    pub fn note_present(&mut self, now: Tick) {
        self.absent_since = self.absent_since.filter(|since| now < since.plus(LOGOUT_AFTER));
    }

    /// Judges the portal's 401 on the token of `generation`, while `held` (generation, token) is what is held now, at
    /// `now` by the local clock.
    #[must_use]
    pub fn judge(&self, generation: u64, held: Option<(u64, &SsoToken)>, now: Timestamp) -> Refusal {
        let Some((held_generation, token)) = held else { return Refusal::Renew };
        if held_generation != generation {
            return Refusal::Replaced;
        }
        let fresh = now.since(token.obtained_at) < FRESH;
        // What worked before and is refused now was ended by somebody: worth asking AWS itself, if it can be asked.
        if self.accepted == Some(generation) && (token.refresh.is_some() || !fresh) {
            return Refusal::Renew;
        }
        if fresh || self.replacement == Some(generation) { Refusal::Hollow } else { Refusal::Renew }
    }
}

/// Why a session cannot be renewed without a person; `Ok` if it can.
///
/// # Errors
/// Class `needs-login`, worded for the cause.
pub fn renewable(token: &SsoToken, server_now: Timestamp) -> Result<(), Failure> {
    let no = |why: &str| Err(Failure::new(FailureClass::NeedsLogin, why, ""));
    match &token.refresh {
        None => no("the SSO session cannot be renewed: its token has no refresh token \
                    (set sso_registration_scopes = sso:account:access)"),
        Some(grant) if grant.registration_expires_at.is_some_and(|t| t <= server_now) => {
            no("the SSO session cannot be renewed: its client registration expired")
        }
        Some(_) => Ok(()),
    }
}

/// The user's own limit (`max_session_age`) is reached.
#[must_use]
pub fn too_old() -> Failure {
    let message = "the SSO session is older than max_session_age (config.toml), and is not renewed";
    Failure::new(FailureClass::NeedsLogin, message, "")
}

/// No token at all.
#[must_use]
pub fn no_token(session: &str) -> Failure {
    Failure::new(
        FailureClass::NeedsLogin,
        format!("not logged in to sso-session '{session}': there is no cached token"),
        "",
    )
}

/// The token file went away: somebody logged out.
#[must_use]
pub fn signed_out(session: &str) -> Failure {
    Failure::new(FailureClass::NeedsLogin, format!("signed out of '{session}': the token file was removed"), "")
}

/// A fresh token was refused.
#[must_use]
pub fn hollow(region: &str) -> Failure {
    Failure::new(
        FailureClass::Intercepted,
        format!(
            "the SSO portal in {region} refuses a token that AWS has just issued: something in between may strip the bearer header"
        ),
        "try another network or ask who runs the proxy; a new login does not help",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(obtained_s: i64) -> SsoToken {
        SsoToken {
            access_token: "t".into(),
            expires_at: Timestamp::from_secs(90_000),
            refresh: None,
            client_id: None,
            obtained_at: Timestamp::from_secs(obtained_s),
        }
    }

    #[test]
    fn an_old_token_is_worth_a_renewal_and_its_replacement_is_not() {
        let (now, old, fresh) = (Timestamp::from_secs(1000), token(0), token(990));
        let mut s = SessionState::default();
        assert_eq!(s.judge(1, Some((1, &old)), now), Refusal::Renew);
        assert_eq!(s.judge(1, Some((2, &fresh)), now), Refusal::Replaced);
        s.replacement = Some(2);
        assert_eq!(s.judge(2, Some((2, &fresh)), now), Refusal::Hollow);
        assert_eq!(s.judge(2, Some((2, &fresh)), Timestamp::from_secs(5000)), Refusal::Hollow, "age does not help");
        s.accepted = Some(2);
        assert_eq!(s.judge(2, Some((2, &fresh)), Timestamp::from_secs(5000)), Refusal::Renew, "it worked once");
    }
}
