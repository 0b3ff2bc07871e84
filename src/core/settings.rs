//! What the user's own `config.toml` asks of the broker.

use std::collections::BTreeSet;

/// Settings that decide what is kept and served. They speak of the daemon's own world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Profiles that are kept fresh although nobody asks.
    pub keep: BTreeSet<String>,
    /// Profiles that are never served (`[profiles.NAME] serve = false`).
    pub refused: BTreeSet<String>,
}
