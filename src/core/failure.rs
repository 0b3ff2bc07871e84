//! What can go wrong, as the user sees it: one class, one exit code, one fix.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The class of a failure. It is the exit code of `agentctl` and the error code of the local API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The SSO session ended: a person must log in. The only class that may ever lead to a browser.
    NeedsLogin,
    /// AWS knows who asks and says no.
    AccessDenied,
    /// A setting is missing or wrong.
    Misconfigured,
    /// Somebody in between answered instead of AWS, or presents a certificate that is not trusted here.
    Intercepted,
    /// No route, no DNS, connection refused.
    Offline,
    /// AWS asked us to slow down.
    Throttled,
    /// The local clock is too far from AWS's.
    ClockSkew,
    /// Anything that is expected to pass by itself.
    Transient,
    /// Logins are paused by the circuit breaker.
    LoginPaused,
    /// The agent did not answer. Made by the client, never by the agent.
    AgentUnreachable,
    /// The user's own policy forbids it (`serve = false`, `pause`).
    PolicyDenied,
}

/// What to do about a class of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Back off and try again.
    RetryLater,
    /// Try again after this long: the answer is not expected to change sooner.
    RetryAfter(Duration),
    /// Wait for an event that changes something: a login, a file, a setting.
    Wait,
}

impl FailureClass {
    /// Every class, in the order of exit codes.
    pub const ALL: [Self; 11] = [
        Self::NeedsLogin,
        Self::AccessDenied,
        Self::Misconfigured,
        Self::Intercepted,
        Self::Offline,
        Self::Throttled,
        Self::ClockSkew,
        Self::Transient,
        Self::LoginPaused,
        Self::AgentUnreachable,
        Self::PolicyDenied,
    ];

    /// The exit code of `agentctl`.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::NeedsLogin => 10,
            Self::AccessDenied => 11,
            Self::Misconfigured => 12,
            Self::Intercepted => 13,
            Self::Offline => 14,
            Self::Throttled => 15,
            Self::ClockSkew => 16,
            Self::Transient => 17,
            Self::LoginPaused => 18,
            Self::AgentUnreachable => 19,
            Self::PolicyDenied => 20,
        }
    }

    /// Its name in the API and in every text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeedsLogin => "needs-login",
            Self::AccessDenied => "access-denied",
            Self::Misconfigured => "misconfigured",
            Self::Intercepted => "intercepted",
            Self::Offline => "offline",
            Self::Throttled => "throttled",
            Self::ClockSkew => "clock-skew",
            Self::Transient => "transient",
            Self::LoginPaused => "login-paused",
            Self::AgentUnreachable => "agent-unreachable",
            Self::PolicyDenied => "policy-denied",
        }
    }

    /// What the broker does about it.
    #[must_use]
    pub const fn disposition(self) -> Disposition {
        match self {
            Self::Intercepted
            | Self::Offline
            | Self::Throttled
            | Self::ClockSkew
            | Self::Transient
            | Self::AgentUnreachable => Disposition::RetryLater,
            Self::AccessDenied => Disposition::RetryAfter(Duration::from_secs(300)),
            Self::Misconfigured => Disposition::RetryAfter(Duration::from_secs(30)),
            Self::NeedsLogin | Self::LoginPaused | Self::PolicyDenied => Disposition::Wait,
        }
    }

    /// Whether the cause lies on the way to the portal, so that everything behind the same portal shares the backoff.
    #[must_use]
    pub const fn is_shared_by_portal(self) -> bool {
        matches!(self, Self::Intercepted | Self::Offline | Self::Throttled | Self::ClockSkew | Self::Transient)
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One failure, told to a person: what happened and what to do. Never holds a secret; at most
/// [`Failure::MAX_CHARS`] characters in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its class.
    pub class: FailureClass,
    /// The cause: a lower-case fragment on one line.
    pub message: String,
    /// The next step; empty when there is nothing to do but wait.
    pub fix: String,
    /// Somebody in between presents certificates that are not trusted here: another login would end as this one did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rejected_chain: bool,
}

impl Failure {
    /// The longest line that is shown: cause, separator and fix together.
    pub const MAX_CHARS: usize = 300;

    /// A failure whose texts are made one line each and cut to fit.
    #[must_use]
    pub fn new(class: FailureClass, message: impl AsRef<str>, fix: impl AsRef<str>) -> Self {
        let fix = one_line(fix.as_ref(), Self::MAX_CHARS / 2);
        let room = Self::MAX_CHARS - fix.chars().count() - 2;
        Self { class, message: one_line(message.as_ref(), room), fix, rejected_chain: false }
    }

    /// The same, caused by a chain of certificates that is not trusted here.
    #[must_use]
    pub fn of_rejected_chain(mut self) -> Self {
        self.rejected_chain = true;
        self
    }

    /// This failure in words for somebody who asked for `profile`: a login needs a name.
    #[must_use]
    pub fn for_profile(&self, profile: &str) -> Self {
        let fix = match self.fix.strip_suffix(LOGIN) {
            Some(before) => before,
            None if self.class == FailureClass::NeedsLogin && self.fix.is_empty() => "run: ",
            None => return self.clone(),
        };
        Self::new(self.class, &self.message, format!("{fix}{LOGIN} --profile {}", shell_word(profile)))
    }

    /// Cause and fix on one line.
    #[must_use]
    pub fn line(&self) -> String {
        if self.fix.is_empty() { self.message.clone() } else { format!("{}; {}", self.message, self.fix) }
    }
}

/// The command that logs in; a fix that ends with it gets the profile's name.
const LOGIN: &str = "agentctl login";

/// A name as one word of a command line, to be pasted into a POSIX shell.
#[must_use]
pub fn shell_word(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./@:+=,".contains(c);
    if !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

/// Control characters and marks that turn the writing direction become blanks (nothing that a hostile answer says plays
/// tricks on a terminal), and the end is cut.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let clean: String = text.trim().chars().map(|c| if c.is_control() || turns(c) { ' ' } else { c }).collect();
    if clean.chars().count() <= max {
        return clean;
    }
    let mut cut: String = clean.chars().take(max.saturating_sub(3)).collect();
    cut.push_str("...");
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_distinct() {
        let codes: std::collections::BTreeSet<_> = FailureClass::ALL.iter().map(|c| c.exit_code()).collect();
        let names: std::collections::BTreeSet<_> = FailureClass::ALL.iter().map(|c| c.name()).collect();
        assert_eq!((codes.len(), names.len()), (FailureClass::ALL.len(), FailureClass::ALL.len()));
        for class in FailureClass::ALL {
            assert_eq!(serde_json::to_string(&class).unwrap(), format!("\"{}\"", class.name()));
        }
    }

    #[test]
    fn a_login_is_named_for_the_profile() {
        let fix = |class, fix: &str, profile: &str| Failure::new(class, "over", fix).for_profile(profile).fix;
        assert_eq!(fix(FailureClass::NeedsLogin, "", "dev"), "run: agentctl login --profile dev");
        assert_eq!(fix(FailureClass::NeedsLogin, "", "o'b c"), r"run: agentctl login --profile 'o'\''b c'");
        let torn = "to replace it: agentctl login";
        assert_eq!(fix(FailureClass::Misconfigured, torn, "dev"), "to replace it: agentctl login --profile dev");
        assert_eq!(fix(FailureClass::Offline, "", "dev"), "");
    }

    #[test]
    fn a_failure_is_one_short_line() {
        let f = Failure::new(FailureClass::Transient, "a\nb\u{1b}[31m\u{202e}".repeat(200), "do\r\nthis");
        assert!(f.line().chars().count() <= Failure::MAX_CHARS);
        assert!(f.line().chars().all(|c| !c.is_control() && c != '\u{202e}'));
        assert!(f.line().ends_with("; do  this"));
    }
}
