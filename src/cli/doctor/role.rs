//! Whether the profile has credentials.

use super::{Check, Severity, Verdict};

/// See the module's documentation.
pub(super) const CHECK: Check = Check {
    name: "role",
    family: "session",
    depends_on: &["profile", "sso-session", "token", "aws"],
    run: |facts| match &facts.role {
        None => Verdict::skipped("nobody was asked"),
        Some(Ok(())) => Verdict::ok(format!("'{}' has credentials", facts.profile)),
        Some(Err(failure)) => Verdict::of(Severity::Error, failure),
    },
};
