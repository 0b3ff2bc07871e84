//! What the user's own `config.toml` asks of the broker.

use std::collections::BTreeSet;
use std::time::Duration;

/// Settings that decide what is kept and served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Profiles of the daemon's own world that are kept fresh although nobody asks.
    pub keep: BTreeSet<String>,
    /// Profiles that are never served, whatever the files of the client that asks (`[profiles.NAME] serve = false`).
    pub refused: BTreeSet<String>,
    /// So long after its login a session is renewed no more.
    pub max_session_age: Option<Duration>,
}
