//! Where the agent listens: the same for every client of the user, whatever its environment.
//!
//! In this order: the option `--socket`; `AGENTCTL_SOCKET`; `agent.sock` in `AGENTCTL_STATE_DIR`, if that is set;
//! `/run/user/UID/agentctl/agent.sock`, where `/run/user/UID` is a folder that only this user can enter; `agent.sock`
//! in the state folder. `XDG_RUNTIME_DIR` is not asked: hooks and cron jobs do not have it, and would look elsewhere.
//!
//! On Windows the address is a named pipe whose name comes from the user's SID and the state folder; `AGENTCTL_SOCKET`
//! may name another one (`\\.\pipe\...`).

use std::path::{Path, PathBuf};

use crate::core::failure::{Failure, FailureClass};
use crate::platform::home::{Environment, SOCKET_VARIABLE};

/// The longest path that fits into a `sockaddr_un`, without its final NUL (unix(7): 108 bytes; macOS: 104).
pub const MAX_PATH: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// Where the agent listens, and the lock that guards the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    socket: PathBuf,
    lock: PathBuf,
}

impl Address {
    /// The address in this environment; `named` is the option `--socket`.
    ///
    /// # Errors
    /// Class `misconfigured`: no home folder, or a path that is too long.
    pub fn resolve(environment: &Environment, named: Option<&Path>) -> Result<Self, Failure> {
        #[cfg(unix)]
        return Self::choose(environment, named, &runtime_folder());
        #[cfg(windows)]
        return Self::of_pipe(environment, named);
    }

    /// The socket's path, or the pipe's name.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The lock file: whoever holds it may take the name. It is never removed.
    #[must_use]
    pub fn lock(&self) -> &Path {
        &self.lock
    }

    #[cfg(unix)]
    fn choose(environment: &Environment, named: Option<&Path>, runtime: &Path) -> Result<Self, Failure> {
        use crate::platform::folder;
        use crate::platform::home::STATE_VARIABLE;

        let named = match named {
            Some(path) => Some(path.to_owned()),
            None => environment.path(SOCKET_VARIABLE)?,
        };
        let socket = match named {
            Some(path) => path,
            None => match environment.path(STATE_VARIABLE)? {
                Some(folder) => folder.join("agent.sock"),
                None if folder::is_private(runtime) => runtime.join("agentctl").join("agent.sock"),
                None => environment.state_folder()?.join("agent.sock"),
            },
        };
        let socket = std::path::absolute(&socket).map_err(|e| {
            let message = format!("the socket's path is relative and the current folder is unknown: {e}");
            Failure::new(FailureClass::Misconfigured, message, format!("set {SOCKET_VARIABLE} to an absolute path"))
        })?;
        let length = socket.as_os_str().len();
        if length > MAX_PATH {
            let message =
                format!("the socket's path has {length} bytes, {MAX_PATH} are possible: {}", socket.display());
            let fix = format!("set {SOCKET_VARIABLE} to a shorter path in a folder of your own");
            return Err(Failure::new(FailureClass::Misconfigured, message, fix));
        }
        Ok(Self::of_socket(socket))
    }

    /// The address of a socket that is there already.
    #[cfg(unix)]
    #[must_use]
    pub(super) fn of_socket(socket: PathBuf) -> Self {
        let mut lock = socket.clone().into_os_string();
        lock.push(".lock");
        Self { socket, lock: lock.into() }
    }

    #[cfg(windows)]
    fn of_pipe(environment: &Environment, named: Option<&Path>) -> Result<Self, Failure> {
        use sha2::{Digest, Sha256};

        let state = environment.state_folder()?;
        let named = named.map(Path::to_owned).or_else(|| environment.get(SOCKET_VARIABLE).map(PathBuf::from));
        let socket = match named {
            Some(pipe) if super::windows::is_local_pipe(&pipe) => pipe,
            Some(other) => {
                let message = format!("{} is no name of a pipe on this machine", other.display());
                return Err(Failure::new(FailureClass::Misconfigured, message, r"name one like \\.\pipe\my-agent"));
            }
            None => {
                let sid = super::windows::own_sid().map_err(|e| {
                    Failure::new(FailureClass::Transient, format!("the user's SID cannot be read: {e}"), "")
                })?;
                let folder = short_hex(&Sha256::digest(state.as_os_str().as_encoded_bytes()));
                PathBuf::from(format!(r"\\.\pipe\agentctl-{sid}-{folder}"))
            }
        };
        let name = short_hex(&Sha256::digest(socket.as_os_str().as_encoded_bytes()));
        Ok(Self { socket, lock: state.join(format!("agent-{name}.lock")) })
    }
}

#[cfg(windows)]
fn short_hex(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(unix)]
fn runtime_folder() -> PathBuf {
    PathBuf::from(format!("/run/user/{}", crate::platform::process::uid()))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn environment<const N: usize>(pairs: [(&str, &str); N]) -> Environment {
        pairs.into_iter().collect()
    }

    #[test]
    fn the_order_is_option_variable_state_runtime_home() {
        let root = tempfile::tempdir().unwrap();
        let runtime = root.path().join("1000");
        let socket = |environment: &Environment, named: Option<&str>| {
            Address::choose(environment, named.map(Path::new), &runtime).unwrap().socket().to_owned()
        };
        let all = environment([("HOME", "/h"), ("AGENTCTL_SOCKET", "/v/s"), ("AGENTCTL_STATE_DIR", "/s")]);
        assert_eq!(socket(&all, Some("/o/s")), Path::new("/o/s"));
        assert_eq!(socket(&all, None), Path::new("/v/s"));
        let state = environment([("HOME", "/h"), ("AGENTCTL_STATE_DIR", "/s"), ("AGENTCTL_SOCKET", "")]);
        assert_eq!(socket(&state, None), Path::new("/s/agent.sock"));
        let home = environment([("HOME", "/h"), ("XDG_RUNTIME_DIR", "/x")]);
        if cfg!(target_os = "linux") {
            assert_eq!(socket(&home, None), Path::new("/h/.local/state/agentctl/agent.sock"));
        }
        fs::create_dir(&runtime).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(socket(&home, None).starts_with("/h"), "a runtime folder open to others is not used");
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(socket(&home, None), runtime.join("agentctl/agent.sock"));
    }

    #[test]
    fn the_lock_is_beside_the_socket_and_relative_paths_are_made_absolute() {
        let here = std::env::current_dir().unwrap();
        let address = Address::choose(&environment([]), Some(Path::new("s")), Path::new("/none")).unwrap();
        assert_eq!((address.socket(), address.lock()), (here.join("s").as_path(), here.join("s.lock").as_path()));
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused_before_the_kernel_does() {
        let fits = format!("/{}", "x".repeat(MAX_PATH - 1));
        let choose = |path: &str| Address::choose(&environment([]), Some(Path::new(path)), Path::new("/none"));
        assert!(choose(&fits).is_ok());
        let failure = choose(&format!("{fits}x")).unwrap_err();
        assert_eq!(failure.class, FailureClass::Misconfigured);
        assert!(failure.message.starts_with(&format!("the socket's path has {} bytes", MAX_PATH + 1)));
        assert!(failure.fix.starts_with("set AGENTCTL_SOCKET"));
    }
}
