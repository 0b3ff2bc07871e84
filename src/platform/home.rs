//! Where files live: the user's home, our own folders, and the files of the AWS tools.
//!
//! Everything is computed from an [`Environment`] *value*; only [`Environment::of_process`] looks at the process. A
//! variable that is set but empty counts as unset, except `HOME`: an empty one is a mistake that would send files to
//! the root folder.
//!
//! | what | Linux | macOS | Windows | override |
//! |---|---|---|---|---|
//! | config | `$XDG_CONFIG_HOME/agentctl` or `~/.config/agentctl` | `~/Library/Application Support/agentctl` | `%APPDATA%\agentctl` | `AGENTCTL_CONFIG` (the file) |
//! | state | `$XDG_STATE_HOME/agentctl` or `~/.local/state/agentctl` | `~/Library/Application Support/agentctl` | `%LOCALAPPDATA%\agentctl` | `AGENTCTL_STATE_DIR` |
//! | socket | see `ipc::address` | | | `AGENTCTL_SOCKET` |

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::core::failure::{Failure, FailureClass};
use crate::core::source::World;

/// Names the file of our own settings.
pub const CONFIG_VARIABLE: &str = "AGENTCTL_CONFIG";
/// Names the state folder.
pub const STATE_VARIABLE: &str = "AGENTCTL_STATE_DIR";
/// Names the socket.
pub const SOCKET_VARIABLE: &str = "AGENTCTL_SOCKET";

/// An environment as a value. Values may be secrets (hooks run inside clients that hold keys there): no `Debug` of
/// values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    values: BTreeMap<String, String>,
    /// Names whose values are no UTF-8: never silently taken for unset.
    unreadable: BTreeSet<String>,
    /// The account's home folder, used only if `HOME` is unset.
    account_home: Option<PathBuf>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Environment").field(&self.values.keys()).finish()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let values = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self { values, ..Self::default() }
    }
}

impl Environment {
    /// What this process was given. Names that are no UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let (mut values, mut unreadable) = (Vec::new(), BTreeSet::new());
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            // Windows' names have no case; its own tools write `Path` and `ProgramData`.
            let name = if cfg!(windows) { name.to_uppercase() } else { name };
            match value.into_string() {
                Ok(value) => values.push((name, value)),
                Err(_) => drop(unreadable.insert(name)),
            }
        }
        // Made at once: on the clients' hot path that counts.
        let mut environment = Self { values: values.into_iter().collect(), unreadable, account_home: None };
        if !environment.values.contains_key(HOME) {
            environment.account_home = std::env::home_dir();
        }
        environment
    }

    /// A variable's value; `None` when it is unset or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// Every variable that can be read, empty ones included, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The user's home folder: `HOME` (Windows: `USERPROFILE`), else the account's.
    ///
    /// # Errors
    /// Class `misconfigured`, when it is empty, not absolute, or there is none at all.
    pub fn home(&self) -> Result<PathBuf, Failure> {
        let bad = |what: &str| Err(misconfigured(format!("{HOME} {what}"), format!("set {HOME} to your home folder")));
        if self.unreadable.contains(HOME) {
            return bad("is not UTF-8");
        }
        match self.values.get(HOME).map(String::as_str) {
            Some("") => bad("is set but empty"),
            Some(home) if !Path::new(home).is_absolute() => bad("is not an absolute path"),
            Some(home) => Ok(PathBuf::from(home)),
            None => match &self.account_home {
                Some(home) if home.is_absolute() => Ok(home.clone()),
                _ => bad("is not set and this user has no home folder"),
            },
        }
    }

    /// A path from a variable, as AWS tools read theirs: a leading `~` is the home folder, a relative path starts at
    /// the current folder. `None` when the variable is unset or empty.
    ///
    /// # Errors
    /// Class `misconfigured`: not UTF-8, no home for `~`, no current folder.
    pub fn path(&self, name: &str) -> Result<Option<PathBuf>, Failure> {
        if self.unreadable.contains(name) {
            return Err(misconfigured(format!("{name} is not UTF-8"), "use a path of plain letters"));
        }
        self.get(name).map(|value| self.expand(name, value)).transpose()
    }

    /// Where our own settings are: `AGENTCTL_CONFIG`, else `config.toml` in the config folder. The flag says that the
    /// user named it, so that a missing file is an error.
    ///
    /// # Errors
    /// Class `misconfigured`: as [`Environment::home`] and [`Environment::path`].
    pub fn config_file(&self) -> Result<(PathBuf, bool), Failure> {
        if let Some(named) = self.path(CONFIG_VARIABLE)? {
            return Ok((named, true));
        }
        let folder = match () {
            () if cfg!(windows) => self.path("APPDATA")?.map_or_else(|| self.below_home("AppData/Roaming"), Ok)?,
            () if cfg!(target_os = "macos") => self.below_home("Library/Application Support")?,
            () => self.xdg("XDG_CONFIG_HOME").map_or_else(|| self.below_home(".config"), Ok)?,
        };
        Ok((folder.join("agentctl").join("config.toml"), false))
    }

    /// The folder for state, locks and logs.
    ///
    /// # Errors
    /// Class `misconfigured`: as [`Environment::home`] and [`Environment::path`].
    pub fn state_folder(&self) -> Result<PathBuf, Failure> {
        if let Some(named) = self.path(STATE_VARIABLE)? {
            return Ok(named);
        }
        let folder = match () {
            () if cfg!(windows) => self.path("LOCALAPPDATA")?.map_or_else(|| self.below_home("AppData/Local"), Ok)?,
            () if cfg!(target_os = "macos") => self.below_home("Library/Application Support")?,
            () => self.xdg("XDG_STATE_HOME").map_or_else(|| self.below_home(".local/state"), Ok)?,
        };
        Ok(folder.join("agentctl"))
    }

    /// The files that a client with this environment reads: `AWS_CONFIG_FILE`, `AWS_SHARED_CREDENTIALS_FILE` and the
    /// token cache below the home folder, all absolute.
    ///
    /// # Errors
    /// Class `misconfigured`: as [`Environment::home`] and [`Environment::path`].
    pub fn world(&self) -> Result<World, Failure> {
        let aws = self.home()?.join(".aws");
        Ok(World {
            config_file: self.path("AWS_CONFIG_FILE")?.unwrap_or_else(|| aws.join("config")),
            credentials_file: self.path("AWS_SHARED_CREDENTIALS_FILE")?.unwrap_or_else(|| aws.join("credentials")),
            sso_cache: aws.join("sso").join("cache"),
        })
    }

    /// Where systemd looks for this user's units (systemd.unit(5)).
    ///
    /// # Errors
    /// Class `misconfigured`: as [`Environment::home`].
    pub fn systemd_units(&self) -> Result<PathBuf, Failure> {
        let config = self.xdg("XDG_CONFIG_HOME").map_or_else(|| self.below_home(".config"), Ok)?;
        Ok(config.join("systemd").join("user"))
    }

    fn below_home(&self, folder: &str) -> Result<PathBuf, Failure> {
        Ok(self.home()?.join(folder))
    }

    /// An XDG folder; "all paths must be absolute, a relative one is to be ignored" (XDG Base Directory, section 2).
    fn xdg(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).filter(|p| p.is_absolute())
    }

    fn expand(&self, name: &str, value: &str) -> Result<PathBuf, Failure> {
        let after_tilde = value.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with(is_separator));
        let path = match after_tilde {
            Some(rest) => self.home()?.join(rest.trim_start_matches(is_separator)),
            None => PathBuf::from(value),
        };
        std::path::absolute(&path).map_err(|e| {
            misconfigured(format!("{name} is relative and the current folder is unknown: {e}"), "use an absolute path")
        })
    }
}

const HOME: &str = if cfg!(windows) { "USERPROFILE" } else { "HOME" };

fn is_separator(c: char) -> bool {
    std::path::is_separator(c)
}

fn misconfigured(message: impl AsRef<str>, fix: impl AsRef<str>) -> Failure {
    Failure::new(FailureClass::Misconfigured, message, fix)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    fn env<const N: usize>(pairs: [(&str, &str); N]) -> Environment {
        pairs.into_iter().collect()
    }

    #[test]
    fn home_must_be_a_folder_that_could_be_meant() {
        assert_eq!(env([("HOME", "/home/a")]).home(), Ok(PathBuf::from("/home/a")));
        for (environment, message) in [
            (env([("HOME", "")]), "HOME is set but empty"),
            (env([("HOME", "here")]), "HOME is not an absolute path"),
            (env([]), "HOME is not set and this user has no home folder"),
        ] {
            let failure = environment.home().unwrap_err();
            assert_eq!((failure.class, failure.message.as_str()), (FailureClass::Misconfigured, message));
            assert_eq!(failure.fix, "set HOME to your home folder");
            assert_eq!(environment.world().unwrap_err().message, message);
        }
        let account = Environment { account_home: Some("/home/of/account".into()), ..Environment::default() };
        assert_eq!(account.home(), Ok(PathBuf::from("/home/of/account")));
        let unreadable = Environment { unreadable: ["HOME".to_owned()].into(), ..account };
        assert_eq!(unreadable.home().unwrap_err().message, "HOME is not UTF-8");
    }

    #[test]
    fn our_folders_follow_xdg_and_overrides() {
        let plain = env([("HOME", "/h"), ("XDG_STATE_HOME", "relative/is/ignored"), ("AGENTCTL_CONFIG", "")]);
        assert_eq!(plain.config_file(), Ok(("/h/.config/agentctl/config.toml".into(), false)));
        assert_eq!(plain.state_folder(), Ok("/h/.local/state/agentctl".into()));
        let xdg = env([("XDG_STATE_HOME", "/s"), ("XDG_CONFIG_HOME", "/c")]);
        assert_eq!(xdg.config_file(), Ok(("/c/agentctl/config.toml".into(), false)));
        assert_eq!(xdg.state_folder(), Ok("/s/agentctl".into()));
        let named = env([("HOME", "/h"), ("AGENTCTL_CONFIG", "~/my.toml"), ("AGENTCTL_STATE_DIR", "/x/y")]);
        assert_eq!(named.config_file(), Ok(("/h/my.toml".into(), true)));
        assert_eq!(named.state_folder(), Ok("/x/y".into()));
    }

    #[test]
    fn a_world_is_absolute_whatever_the_variables_say() {
        let plain = env([("HOME", "/h"), ("AWS_CONFIG_FILE", "")]).world().unwrap();
        assert_eq!(plain.config_file, Path::new("/h/.aws/config"));
        assert_eq!(plain.credentials_file, Path::new("/h/.aws/credentials"));
        assert_eq!(plain.sso_cache, Path::new("/h/.aws/sso/cache"));
        let odd = env([("HOME", "/h"), ("AWS_CONFIG_FILE", "~//x/config"), ("AWS_SHARED_CREDENTIALS_FILE", "./y")]);
        let odd = odd.world().unwrap();
        assert_eq!(odd.config_file, Path::new("/h/x/config"));
        assert_eq!(odd.credentials_file, std::env::current_dir().unwrap().join("y"));
        let other_user = env([("HOME", "/h"), ("AWS_CONFIG_FILE", "/a/~b/~")]).world().unwrap();
        assert_eq!(other_user.config_file, Path::new("/a/~b/~"));
    }

    #[test]
    fn debug_shows_names_only() {
        let shown = format!("{:?}", env([("TOKEN", "hunter2")]));
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }
}
