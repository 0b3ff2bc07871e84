//! The question that several verbs share: a profile's credentials.

use std::fmt::Write as _;

use super::agent::Reply;
use super::args::Ask;
use super::call::{self, Patience};
use super::context::Context;
use super::one_shot;
use super::outcome::Problem;
use super::output::Output;
use crate::api::v1;

/// What is asked for beyond the profile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// Wanted life, seconds.
    pub min_ttl: Option<u64>,
    /// Who uses them.
    pub consumer: Option<&'a str>,
    /// Somebody is to log in, should that be needed.
    pub awaits_login: bool,
}

/// The credentials as `ask` wants them: from the agent, or without one. The body is a document, not yet checked.
///
/// # Errors
/// As [`fetch`] and [`one_shot::resolve`].
pub fn obtain(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &str,
    wish: Wish<'_>,
    ask: &Ask,
) -> Result<Reply, Problem> {
    let patience = ask.fetch.patience();
    if ask.no_daemon {
        one_shot::resolve(ctx, out, profile, wish, patience.timeout)
    } else {
        fetch(ctx, out, profile, wish, patience)
    }
}

/// Asks the agent until they are there.
///
/// # Errors
/// As [`call::until_done`].
pub fn fetch(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &str,
    wish: Wish<'_>,
    patience: Patience,
) -> Result<Reply, Problem> {
    let path = call::profile_target(profile, "credentials");
    call::until_done(ctx, out, "GET", |wait, _| target(&path, wait, wish), patience)
}

fn target(path: &str, wait: u64, wish: Wish<'_>) -> String {
    let mut target = format!("{path}?wait={wait}");
    if let Some(seconds) = wish.min_ttl {
        let _ = write!(target, "&min_ttl={seconds}");
    }
    if wish.awaits_login {
        target += "&awaits_login=true";
    }
    if let Some(consumer) = wish.consumer {
        let _ = write!(target, "&consumer={}", v1::encode_segment(consumer));
    }
    target
}

/// The document and its newline, in one buffer that is wiped and never grows (growing would leave a copy).
#[must_use]
pub fn with_newline(document: &[u8]) -> zeroize::Zeroizing<Vec<u8>> {
    let document = document.trim_ascii();
    let mut line = zeroize::Zeroizing::new(Vec::with_capacity(document.len() + 1));
    line.extend_from_slice(document);
    line.push(b'\n');
    line
}
