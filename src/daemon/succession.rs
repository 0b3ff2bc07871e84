//! Whether this agent makes room for a newer one, when a newer client asks for that.

use std::path::PathBuf;

use crate::api::version::Version;
use crate::files::watch::Stamp;
use crate::platform::process;

/// What decides it, as it was when this process began.
#[derive(Debug)]
pub struct Succession {
    /// A service manager listens for us, and starts the program that its unit names.
    by_service: bool,
    /// Our own program; unknown where the system does not tell.
    program: Option<(PathBuf, Stamp)>,
}

impl Succession {
    /// Looks at our own program.
    #[must_use]
    pub fn new(by_service: bool) -> Self {
        let program = process::executable().ok();
        Self { by_service, program: program.map(|path| (path.clone(), Stamp::of(&path))) }
    }

    /// Whether a service manager listens for us.
    #[must_use]
    pub const fn by_service(&self) -> bool {
        self.by_service
    }

    /// Whether a successor of this version would be newer than we are, and would really come.
    ///
    /// # Errors
    /// Why we stay, in words.
    pub fn judge(&self, successor: &str) -> Result<(), &'static str> {
        match (Version::parse(successor), Version::own()) {
            (Some(successor), Some(own)) if successor > own => {}
            (Some(_), Some(_)) => return Err("this agent is not older than its successor"),
            _ => return Err("the successor's version is no version"),
        }
        if self.by_service && !self.was_replaced() {
            return Err("the service manager would start the same program again");
        }
        Ok(())
    }

    fn was_replaced(&self) -> bool {
        self.program.as_ref().is_some_and(|(path, stamp)| Stamp::of(path) != *stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_for_a_newer_one() {
        let succession = Succession::new(false);
        assert_eq!(succession.judge("999.0.0"), Ok(()));
        for stays in ["0.0.1", env!("CARGO_PKG_VERSION"), "", "newer"] {
            assert!(succession.judge(stays).is_err(), "{stays}");
        }
    }

    #[test]
    fn a_service_goes_only_when_its_program_was_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("agentd");
        std::fs::write(&path, "old").unwrap();
        let succession = Succession { by_service: true, program: Some((path.clone(), Stamp::of(&path))) };
        assert!(succession.judge("999.0.0").is_err());
        std::fs::write(root.path().join("new"), "newer").unwrap();
        std::fs::rename(root.path().join("new"), &path).unwrap();
        assert_eq!(succession.judge("999.0.0"), Ok(()));
    }
}
