//! How a verb ends: with nothing more to say, or with one line on stderr and the exit code of its class.

use std::io;

use crate::core::failure::{Failure, FailureClass};

/// Exit code of a command line that makes no sense (also: refused until `--yes`).
pub const USAGE: u8 = 2;

/// Why a verb did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The command line is wrong: cause, and what to type instead.
    Usage(String, String),
    /// One of the documented classes.
    Failed(Failure),
    /// All was told already; the exit code remains.
    Told(u8),
    /// The reader of our output went away (`agentctl status | head`): not worth a word.
    Closed,
}

impl Problem {
    /// A failure of the class, from its cause and its fix.
    #[must_use]
    pub fn failed(class: FailureClass, message: impl AsRef<str>, fix: impl AsRef<str>) -> Self {
        Self::Failed(Failure::new(class, message, fix))
    }

    /// The agent cannot be asked: class `agent-unreachable`.
    #[must_use]
    pub fn unreachable(message: impl AsRef<str>, fix: impl AsRef<str>) -> Self {
        Self::failed(FailureClass::AgentUnreachable, message, fix)
    }

    /// The exit code.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(..) => USAGE,
            Self::Failed(f) => f.class.exit_code(),
            Self::Told(code) => *code,
            Self::Closed => 0,
        }
    }

    /// What stderr says: one line of at most [`Failure::MAX_CHARS`] characters, the program's name included.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        // `Failure::new` makes any text one clean line; the class does not show in it.
        let failure = match self {
            Self::Usage(message, fix) => Failure::new(FailureClass::Misconfigured, message, fix),
            Self::Failed(f) => Failure::new(f.class, &f.message, &f.fix),
            Self::Told(_) | Self::Closed => return None,
        };
        let line = format!("{PREFIX}{}", failure.line());
        let excess = line.chars().count().saturating_sub(Failure::MAX_CHARS);
        if excess == 0 {
            return Some(line);
        }
        let keep = failure.message.chars().count().saturating_sub(excess + 3);
        let message = format!("{}...", failure.message.chars().take(keep).collect::<String>());
        Some(format!("{PREFIX}{}", Failure { message, ..failure }.line()))
    }
}

const PREFIX: &str = "agentctl: ";

impl From<Failure> for Problem {
    fn from(f: Failure) -> Self {
        Self::Failed(f)
    }
}

impl From<io::Error> for Problem {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Self::failed(FailureClass::Transient, format!("the answer could not be written: {e}"), "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_short_and_keeps_the_fix() {
        let p = Problem::failed(FailureClass::Offline, "x".repeat(400), "agentctl doctor");
        let line = p.line().unwrap();
        assert_eq!(line.chars().count(), Failure::MAX_CHARS);
        assert!(line.starts_with("agentctl: xxx") && line.ends_with("...; agentctl doctor"), "{line}");
    }

    #[test]
    fn codes_follow_the_table() {
        assert_eq!(Problem::Usage(String::new(), String::new()).exit_code(), 2);
        for class in FailureClass::ALL {
            assert_eq!(Problem::failed(class, "a", "").exit_code(), class.exit_code());
        }
    }

    #[test]
    fn a_broken_pipe_is_quiet_and_a_full_disk_is_not() {
        assert_eq!(Problem::from(io::Error::from(io::ErrorKind::BrokenPipe)).line(), None);
        assert_eq!(Problem::from(io::Error::from(io::ErrorKind::StorageFull)).exit_code(), 17);
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        let line = Problem::Usage("bad \u{1b}[31m name\n".into(), String::new()).line().unwrap();
        assert_eq!(line, "agentctl: bad  [31m name");
    }
}
