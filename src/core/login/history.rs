//! What is remembered of a session's logins, and whether one more may open.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Breaker;
use crate::core::credential::SsoToken;
use crate::core::failure::{Failure, FailureClass, shell_word};
use crate::core::source::SsoSession;
use crate::core::time::Timestamp;

/// Openings per session and day that nobody at a terminal asked for.
pub const BUDGET: usize = 6;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is remembered of a session's logins, across restarts too. No secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// Openings of the last day that nobody at a terminal asked for.
    openings: Vec<Timestamp>,
    /// Since when a login stands unanswered, and no person acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    walked_away: Option<Timestamp>,
    /// A login whose URL was shown has not ended.
    pending: bool,
    /// ... or nobody knows: what was remembered could not be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lost: bool,
    breaker: Breaker,
    /// When the session began, as well as it is known: with a login of ours, or when its first token was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    began: Option<Timestamp>,
}

/// Why no login may open now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Class `login-paused`: the cause, and what a person can do.
    pub failure: Failure,
    /// When it ends by itself; `None`: when a person acts.
    pub until: Option<Timestamp>,
}

impl History {
    /// What the next agent makes of it: a login that was pending when the last one ended is one that nobody answered.
    #[must_use]
    pub fn restored(mut self, now: Timestamp) -> Self {
        if std::mem::take(&mut self.pending) {
            self.walked_away = self.walked_away.or(Some(now));
        }
        self
    }

    /// What stands for the memory that could not be read: nobody knows whether a person is there.
    #[must_use]
    pub fn lost(now: Timestamp) -> Self {
        Self { walked_away: Some(now), lost: true, ..Self::default() }
    }

    /// Openings of the last day.
    #[must_use]
    pub fn openings_today(&self, now: Timestamp) -> usize {
        self.openings.iter().filter(|at| Self::is_of_today(**at, now)).count()
    }

    /// A time that lies ahead is that of a clock that was set back since.
    fn is_of_today(at: Timestamp, now: Timestamp) -> bool {
        now.since(at) < DAY && at.since(now) < DAY
    }

    /// Whether a demand may open a browser; `terminal`: a person sits there.
    ///
    /// # Errors
    /// What bars it.
    pub fn may_open(&self, session: &SsoSession, terminal: bool, now: Timestamp) -> Result<(), Bar> {
        let bar = |message: String, until| {
            let fix = format!("run in a terminal: agentctl login --sso-session {}", shell_word(&session.id()));
            Err(Bar { failure: Failure::new(FailureClass::LoginPaused, message, fix), until })
        };
        if !terminal {
            if let Some(since) = self.walked_away {
                let message = match self.lost {
                    true => "what was known of earlier logins could not be read".to_owned(),
                    false => format!("the login to '{}' of {since} was not answered", session.id()),
                };
                return bar(message, None);
            }
            let openings = self.openings_today(now);
            if openings >= BUDGET {
                let until = self.openings.iter().min().map(|first| first.plus(DAY));
                return bar(format!("{openings} of {BUDGET} logins to '{}' were opened today", session.id()), until);
            }
        }
        match self.breaker.open(now) {
            None => Ok(()),
            Some((until, why)) => {
                if why.rejected_chain {
                    // What cures it is noticed; the cause alone fills the line.
                    let failure = Failure::new(FailureClass::LoginPaused, &why.message, &why.fix);
                    return Err(Bar { failure: failure.of_rejected_chain(), until: Some(until) });
                }
                let message = format!("logins to '{}' come to nothing: {}", session.id(), why.message);
                let name = shell_word(&session.id());
                let fix = match (why.class, &*why.fix) {
                    (FailureClass::NeedsLogin, _) => {
                        format!("in a terminal: agentctl login --force --sso-session {name}")
                    }
                    (_, "") => format!("agentctl reset --sso-session {name}"),
                    (_, fix) => format!("{fix}; then: agentctl reset --sso-session {name}"),
                };
                let failure = Failure::new(FailureClass::LoginPaused, message, fix);
                Err(Bar { failure, until: Some(until) })
            }
        }
    }

    /// When the session began.
    #[must_use]
    pub const fn began(&self) -> Option<Timestamp> {
        self.began
    }

    /// A session began, or ended.
    pub const fn set_began(&mut self, at: Option<Timestamp>) {
        self.began = at;
    }

    /// What judges outcomes.
    pub const fn breaker(&mut self) -> &mut Breaker {
        &mut self.breaker
    }

    /// A URL was shown.
    pub fn opened(&mut self, terminal: bool, now: Timestamp) {
        self.pending = true;
        if !terminal {
            self.openings.retain(|at| Self::is_of_today(*at, now));
            self.openings.push(now);
        }
    }

    /// The attempt ended without a word from anybody.
    pub fn unanswered(&mut self, now: Timestamp) {
        self.pending = false;
        self.walked_away = self.walked_away.or(Some(now));
    }

    /// The attempt ended otherwise.
    pub const fn ended(&mut self) {
        self.pending = false;
    }

    /// A person is there.
    pub const fn person_acted(&mut self) {
        (self.walked_away, self.lost) = (None, false);
    }

    /// A token came by another way: news of a person, if it is younger than the login that nobody answered.
    ///
    /// Whether it still lives is another question: it may have been made hours ago, while no agent looked.
    pub fn token_came(&mut self, token: &SsoToken) {
        if self.walked_away.is_some_and(|since| token.obtained_at > since) {
            self.person_acted();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corp() -> SsoSession {
        SsoSession {
            name: Some("corp".into()),
            start_url: "https://corp.awsapps.com/start".into(),
            region: "eu-west-1".into(),
            scopes: Vec::new(),
            endpoints: Default::default(),
        }
    }

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn six_a_day_and_no_more() {
        let mut history = History::default();
        for n in 0..BUDGET {
            assert_eq!(history.may_open(&corp(), false, NOW), Ok(()), "{n}");
            history.opened(false, NOW);
        }
        let refused = history.may_open(&corp(), false, NOW).unwrap_err().failure;
        assert_eq!(refused.class, FailureClass::LoginPaused);
        assert!(refused.message.contains("6 of 6"), "{refused:?}");
        assert!(refused.fix.ends_with("agentctl login --sso-session corp"), "{refused:?}");
        let tomorrow = NOW.plus(DAY);
        assert_eq!(history.may_open(&corp(), false, tomorrow), Ok(()));
        history.opened(true, tomorrow);
        assert_eq!(history.openings_today(tomorrow), 0, "who sits at a terminal has no budget");
        assert_eq!(History::default().openings_today(NOW), 0);
    }

    #[test]
    fn logins_in_vain_name_what_helps() {
        for (class, fix, expected) in [
            (
                FailureClass::Intercepted,
                "try another network",
                "try another network; then: agentctl reset --sso-session corp",
            ),
            (FailureClass::Transient, "", "agentctl reset --sso-session corp"),
            (FailureClass::NeedsLogin, "again", "in a terminal: agentctl login --force --sso-session corp"),
        ] {
            let mut history = History::default();
            for _ in 0..2 {
                history.breaker().strike(super::super::Strike::Hollow, &Failure::new(class, "why", fix), 0.0, NOW);
            }
            let bar = history.may_open(&corp(), true, NOW).unwrap_err();
            assert_eq!((bar.failure.fix.as_str(), bar.until.is_some()), (expected, true));
        }
    }

    #[test]
    fn a_clock_set_back_by_a_year_does_not_pause_logins_for_a_year() {
        let mut history = History::default();
        for _ in 0..BUDGET {
            history.opened(false, NOW);
        }
        assert!(history.may_open(&corp(), false, NOW.minus(DAY / 2)).is_err());
        assert_eq!(history.may_open(&corp(), false, NOW.minus(DAY * 365)), Ok(()));
    }

    #[test]
    fn what_nobody_answered_stands_until_a_person_acts() {
        let mut history = History::default();
        history.opened(false, NOW);
        history.unanswered(NOW);
        let later = NOW.plus(DAY * 30);
        assert_eq!(history.may_open(&corp(), false, later).unwrap_err().failure.class, FailureClass::LoginPaused);
        let token = |obtained_at| SsoToken {
            access_token: "t".into(),
            expires_at: later.plus(DAY),
            refresh: None,
            client_id: None,
            obtained_at,
        };
        history.token_came(&token(NOW.minus(DAY)));
        assert!(history.may_open(&corp(), false, later).is_err(), "an old token is no news");
        history.token_came(&token(later));
        assert_eq!(history.may_open(&corp(), false, later), Ok(()));
    }

    #[test]
    fn an_agent_that_ended_in_between_leaves_an_unanswered_login() {
        let mut history = History::default();
        history.opened(true, NOW);
        let text = serde_json::to_string(&history).unwrap();
        let next: History = serde_json::from_str(&text).unwrap();
        assert!(next.restored(NOW).may_open(&corp(), false, NOW).is_err());
        history.ended();
        assert_eq!(history.restored(NOW).may_open(&corp(), false, NOW), Ok(()));
    }
}
