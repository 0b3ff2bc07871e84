//! What every verb is given: whom to ask, by which clock, for which world and profile.

use std::path::Path;

use super::agent::{Agent, Clock};
use super::autostart::Launcher;
use super::environment::Environment;
use super::outcome::Problem;
use super::setup::ask::Asker;
use crate::core::failure::Failure;
use crate::core::source::World;

/// The profile when nobody names one, as in AWS's own tools.
const DEFAULT_PROFILE: &str = "default";
/// Longer names are a mistake.
const MAX_NAME: usize = 256;

/// The surroundings of a verb.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The agent.
    pub agent: &'a dyn Agent,
    /// The clocks.
    pub clock: &'a dyn Clock,
    /// What starts an agent.
    pub launcher: &'a dyn Launcher,
    /// The environment.
    pub vars: &'a Environment,
    /// The files that this client means, or why that cannot be told (no home folder).
    pub world: &'a Result<World, Failure>,
    /// `--profile`.
    pub named: Option<&'a str>,
    /// The socket, to be named in messages.
    pub socket: &'a Path,
    /// A person who answers questions, if one sits at a terminal.
    pub asker: Option<&'a dyn Asker>,
    /// Who uses the credentials, if that is known: see `consumer` in [`crate::api::v1::CredentialsQuery`].
    pub consumer: Option<&'a str>,
}

impl Context<'_> {
    /// The profile that is meant: the option, else `AWS_PROFILE`, else `default`.
    ///
    /// # Errors
    /// [`Problem::Usage`] for a name that cannot be one.
    pub fn profile(&self) -> Result<String, Problem> {
        let name = self.named.or_else(|| self.vars.get("AWS_PROFILE")).unwrap_or(DEFAULT_PROFILE);
        if name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let hint = "see: agentctl status, or ~/.aws/config".to_owned();
            return Err(Problem::Usage(format!("'{}' is no profile name", shorten(name)), hint));
        }
        Ok(name.to_owned())
    }
}

fn shorten(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    fn choose(option: Option<&str>, variable: Option<&str>) -> Result<String, Problem> {
        let mut fake = Fake::new();
        fake.vars = variable.map(|v| ("AWS_PROFILE", v)).into_iter().collect();
        Context { named: option, ..fake.context() }.profile()
    }

    #[test]
    fn option_then_variable_then_default() {
        assert_eq!(choose(Some("a"), Some("b")), Ok("a".to_owned()));
        assert_eq!(choose(None, Some("b")), Ok("b".to_owned()));
        assert_eq!(choose(None, Some("")), Ok("default".to_owned()));
        assert_eq!(choose(None, None), Ok("default".to_owned()));
    }

    #[test]
    fn impossible_names_are_usage_errors() {
        for name in ["", "  ", "a\nb", &"x".repeat(300)] {
            assert_eq!(choose(Some(name), None).unwrap_err().exit_code(), 2, "{name:?}");
        }
    }
}
