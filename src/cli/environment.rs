//! What the process was started with, as one value. `main` makes it; nothing below reads the process's own.

use std::ffi::OsString;
use std::path::PathBuf;

pub use crate::platform::home::Environment;

/// The start of the process: arguments, environment and place.
#[derive(Clone, Default)]
pub struct Invocation {
    /// The arguments, the program's own name first.
    pub args: Vec<OsString>,
    /// The environment.
    pub vars: Environment,
    /// This executable's path, where the system tells: `agentd` is looked for beside it.
    pub executable: Option<PathBuf>,
    /// Whether standard input is a terminal.
    pub stdin_is_terminal: bool,
    /// Whether standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub stderr_is_terminal: bool,
}
