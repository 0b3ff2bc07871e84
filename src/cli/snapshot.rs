//! The agent's snapshot as the client asks for it: all of it, or one profile with its session.

use serde_json::Value;

use super::context::Context;
use super::outcome::Problem;
use super::render::clean;
use crate::api::v1::StatusDocument;
use crate::core::failure::{FailureClass, shell_word};
use crate::core::status::{ProfileStatus, Status};
use crate::core::words;

/// At most so many names are suggested.
const MAX_NAMES: usize = 5;

/// Leaves only this profile and the sessions that it lives on, for showing.
pub fn keep_only(status: &mut Status, profile: &str) {
    status.profiles.retain(|p| p.name == profile);
    status.sessions.retain(|s| s.profiles.iter().any(|p| p == profile));
}

/// The same in the document as the agent gave it, fields unknown here included.
pub fn keep_only_json(document: &mut Value, profile: &str) {
    let named = |value: Option<&Value>| value.and_then(Value::as_str) == Some(profile);
    if let Some(profiles) = document.get_mut("profiles").and_then(Value::as_array_mut) {
        profiles.retain(|p| named(p.get("name")));
    }
    if let Some(sessions) = document.get_mut("sessions").and_then(Value::as_array_mut) {
        sessions.retain(|s| {
            s.get("profiles").and_then(Value::as_array).is_some_and(|all| all.iter().any(|p| named(Some(p))))
        });
    }
}

/// The profile of that name in this client's world: where two worlds have one, the world's own.
///
/// # Errors
/// `misconfigured`, naming the nearest names that the agent knows.
pub fn find<'s>(ctx: &Context<'_>, document: &'s StatusDocument, profile: &str) -> Result<&'s ProfileStatus, Problem> {
    let own_file = ctx.world.as_ref().ok().map(|w| w.config_file.display().to_string());
    let agents_file = Some(document.agent.config_file.as_str());
    let of_name = || document.status.profiles.iter().filter(|p| p.name == profile);
    of_name()
        .find(|p| p.config_file.as_deref().or(agents_file) == own_file.as_deref())
        .ok_or_else(|| unknown(&document.status, profile))
}

/// Checks that the agent knows a profile of that name, in whatever world.
///
/// # Errors
/// `misconfigured`, naming the nearest names that the agent knows.
pub fn must_know(status: &Status, profile: &str) -> Result<(), Problem> {
    if status.profiles.iter().any(|p| p.name == profile) { Ok(()) } else { Err(unknown(status, profile)) }
}

/// The agent has never heard of the profile.
fn unknown(status: &Status, profile: &str) -> Problem {
    let names = suggestions(status, profile);
    let known = match names.as_slice() {
        [] => String::new(),
        names => format!(" (it knows {})", names.join(", ")),
    };
    let message = format!("the agent was not asked for '{}' yet{known}", clean(profile));
    Problem::failed(
        FailureClass::Misconfigured,
        message,
        format!("ask for it: agentctl refresh --profile {}", shell_word(profile)),
    )
}

/// The names that are most like it; any, if none is.
fn suggestions(status: &Status, profile: &str) -> Vec<String> {
    let known = || status.profiles.iter().map(|p| p.name.as_str());
    let alike = words::nearest(profile, known(), 3);
    let any: std::collections::BTreeSet<_> = known().collect();
    let names = if alike.is_empty() { any.into_iter().take(MAX_NAMES).collect() } else { alike };
    names.into_iter().map(clean).collect()
}
