//! Starting `agentd`: the one beside this executable, detached, with an environment that is built and not inherited.
//!
//! The new agent acknowledges on its stdout: one line `ready` (or `already running`) once it listens, or one line of
//! JSON ([`ErrorBody`]) when it cannot; then it closes stdout. Never looked for in `PATH`, never started from inside a
//! sandbox, whose network and files it would be stuck with.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::call;
use super::child;
use super::context::Context;
use super::environment::Environment;
use super::one_shot::Question;
use super::outcome::Problem;
use super::output::Output;
use super::service::unit::Installation;
use crate::api::v1::{self, ErrorBody};
use crate::core::failure::{Failure, FailureClass};
use crate::platform::process;

use zeroize::Zeroizing;

/// How long a new agent has to say that it listens.
pub const READY: Duration = Duration::from_secs(10);

/// More of what a user's own command prints is not read, bytes.
const LONGEST_LINE: usize = 64 * 1024;

/// Starts an agent.
pub trait Launcher {
    /// Returns once an agent says that it listens, at the latest after `within`.
    ///
    /// # Errors
    /// What the agent says, or class `agent-unreachable`.
    fn launch(&self, within: Duration) -> Result<(), Failure>;

    /// Asks a child that is no agent, once; the answer is the document.
    ///
    /// # Errors
    /// What the child says, or class `agent-unreachable`.
    fn ask(&self, question: Question) -> Result<Zeroizing<Vec<u8>>, Failure>;

    /// The agent's program.
    ///
    /// # Errors
    /// Class `agent-unreachable`: there is none beside us.
    fn program(&self) -> Result<PathBuf, Failure>;

    /// Opens a page in the user's browser.
    ///
    /// # Errors
    /// Why none could be opened, in a few words.
    fn browse(&self, url: &str) -> Result<(), String>;

    /// Runs a program of the system's (the service manager's) to its end; what it printed.
    ///
    /// # Errors
    /// Class `transient`: it cannot be run, or says no, in its own words.
    fn run(&self, command: &[String]) -> Result<String, Failure>;

    /// Runs a command of the user's own in a shell, with our input and environment; what it printed, if it came to that in
    /// time.
    fn shell(&self, command: &str, within: Duration) -> Option<String>;

    /// Runs a hook of Claude Code's that is ours in a shell, with nothing of this environment but what the agent would be
    /// given; what it printed. It starts no agent.
    ///
    /// # Errors
    /// In words: it cannot be run, says no, or does not end in time.
    fn hook(&self, command: &str, within: Duration) -> Result<Zeroizing<Vec<u8>>, String>;
}

/// Whether an agent may be started from here; `asked` is false after `--no-autostart`.
///
/// # Errors
/// Class `agent-unreachable`, saying what forbids it.
pub fn permitted(vars: &Environment, asked: bool) -> Result<(), Problem> {
    outside_sandbox(vars)?;
    if !asked {
        return Err(refused(""));
    }
    match vars.get("AGENTCTL_NO_AUTOSTART") {
        Some(value) if value != "0" => Err(refused(" (AGENTCTL_NO_AUTOSTART forbids starting it)")),
        _ => Ok(()),
    }
}

fn outside_sandbox(vars: &Environment) -> Result<(), Problem> {
    match vars.get("SANDBOX_RUNTIME") {
        Some(_) => Err(Problem::unreachable(
            "agentd is not running, and is not started from inside a sandbox (SANDBOX_RUNTIME is set)",
            "start it outside: agentctl daemon start",
        )),
        None => Ok(()),
    }
}

fn refused(why: &str) -> Problem {
    Problem::unreachable(format!("agentd is not running{why}"), "start it: agentctl daemon start")
}

/// Starts an agent, telling about it with `-v`.
///
/// # Errors
/// As [`Launcher::launch`].
pub fn launch(ctx: &Context<'_>, out: &mut Output<'_>, left: Duration) -> Result<(), Problem> {
    let began = ctx.clock.tick();
    let result = ctx.launcher.launch(left.min(READY));
    out.diagnose(|| {
        let took = ctx.clock.tick().since(began).as_millis();
        let end = result.as_ref().map_or_else(Failure::line, |()| "ready".to_owned());
        format!("agentctl: started agentd: {end} after {took} ms")
    });
    Ok(result?)
}

/// Starts an agent and waits until it answers; `false` when one was there already.
///
/// # Errors
/// Class `agent-unreachable` inside a sandbox, and as [`Launcher::launch`].
pub fn ensure(ctx: &Context<'_>, out: &mut Output<'_>) -> Result<bool, Problem> {
    use super::agent::AgentError;
    match call::exchange(ctx, out, "GET", "/v1/health", &[], call::ANSWER) {
        Ok(_) => return Ok(false),
        Err(AgentError::Absent) => {}
        Err(e) => return Err(call::unreachable(ctx, &e)),
    }
    // Asked for by name: AGENTCTL_NO_AUTOSTART does not matter here.
    outside_sandbox(ctx.vars)?;
    launch(ctx, out, READY)?;
    call::settled(ctx, out)?;
    Ok(true)
}

/// The `agentd` in the folder of this executable.
pub struct Sibling<'a> {
    /// This executable.
    pub executable: Option<&'a Path>,
    /// The environment to choose from.
    pub vars: &'a Environment,
    /// Where the agent is to listen.
    pub socket: &'a Path,
    /// Whether that was named by `--socket`, to be passed on.
    pub named: bool,
}

impl Launcher for Sibling<'_> {
    fn launch(&self, within: Duration) -> Result<(), Failure> {
        if self.launch_service().is_some() {
            return Ok(());
        }
        let program = self.program()?;
        let mut command = Command::new(&program);
        command.arg("--detached").env_clear().envs(inherited(self.vars));
        if self.named {
            command.arg("--socket").arg(self.socket);
        }
        let (stdout, mut child) = process::start_detached(&mut command).map_err(|e| {
            let message = format!("{} cannot be started: {e}", program.display());
            unreachable(message, "reinstall agentctl and agentd together")
        })?;
        match first_line(stdout, within) {
            Some(line) if line.trim().is_empty() => {
                let end = child.ended().map(|s| format!(" ({s})")).unwrap_or_default();
                Err(unreachable(format!("agentd ended before it was ready{end}"), look(&program)))
            }
            Some(line) => acknowledged(&line, &program),
            None => Err(unreachable("agentd is not ready yet; it goes on starting", "see: agentctl daemon status")),
        }
    }

    fn ask(&self, question: Question) -> Result<Zeroizing<Vec<u8>>, Failure> {
        self.run_once(&question)
    }

    fn browse(&self, url: &str) -> Result<(), String> {
        crate::platform::browser::open(self.vars, url)
    }

    fn shell(&self, command: &str, within: Duration) -> Option<String> {
        let mut child = child::shell(command).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let said = child::collect(child.stdout.take()?, LONGEST_LINE).recv_timeout(within).ok();
        if said.is_none() {
            let _ = child.kill();
        }
        let _ = child.wait();
        String::from_utf8(said?.to_vec()).ok()
    }

    fn hook(&self, command: &str, within: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
        super::doctor::run_hook(self.vars, command, within)
    }

    fn run(&self, command: &[String]) -> Result<String, Failure> {
        let failed = |why: String| Failure::new(FailureClass::Transient, format!("{}: {why}", command.join(" ")), "");
        let (program, arguments) = command.split_first().ok_or_else(|| failed("no command".to_owned()))?;
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|e| failed(e.to_string()))?;
        let said = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr });
        match said.trim() {
            said if output.status.success() => Ok(said.to_owned()),
            // Some say on stdout what is wrong.
            "" => Err(failed(String::from_utf8_lossy(&output.stdout).trim().replace('\n', ", "))),
            said => Err(failed(said.to_owned())),
        }
    }

    fn program(&self) -> Result<PathBuf, Failure> {
        let name = format!("agentd{}", std::env::consts::EXE_SUFFIX);
        let Some(executable) = self.executable else {
            return Err(unreachable(
                "the folder of agentctl is unknown, so agentd is not found",
                "start agentd by hand",
            ));
        };
        let program = executable.with_file_name(name);
        if program.is_file() {
            return Ok(program);
        }
        let message = format!("agentd is not running and {} does not exist", program.display());
        Err(unreachable(message, "install agentctl and agentd in the same folder"))
    }
}

impl Sibling<'_> {
    /// Lets the installed service listen again, if there is one for this socket; the next connection then starts the
    /// agent. `None`: there is none, or it does not work, and we do as if there was none.
    fn launch_service(&self) -> Option<()> {
        let installation = Installation::plan(self.vars, self.socket, &self.program().ok()?).ok()?;
        if !installation.is_for(self.socket) {
            return None;
        }
        self.run(&installation.start).ok().map(drop)
    }
}

/// What agentd says on its first line.
fn acknowledged(line: &str, program: &Path) -> Result<(), Failure> {
    let line = line.trim();
    if line == "ready" || line.starts_with("already running") {
        return Ok(());
    }
    match serde_json::from_str::<ErrorBody>(line) {
        Ok(error) => Err(error.into()),
        Err(_) => Err(unreachable("agentd did not say that it is ready", look(program))),
    }
}

fn look(program: &Path) -> String {
    format!("see why: {}", program.display())
}

/// The first line of a stream, empty at its end; `None` when it takes too long. (The thread that still reads then ends
/// with this process.)
fn first_line(stream: impl Read + Send + 'static, within: Duration) -> Option<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = Vec::new();
        let limit = u64::try_from(v1::MAX_BODY).unwrap_or(u64::MAX);
        let _ = BufReader::new(stream.take(limit)).read_until(b'\n', &mut line);
        let _ = send.send(String::from_utf8_lossy(&line).into_owned());
    });
    receive.recv_timeout(within).ok()
}

/// The variables that a new agent gets, and no other: its environment is built, not inherited. It runs in `/`, so relative paths are made absolute here.
pub(super) fn inherited(vars: &Environment) -> impl Iterator<Item = (&str, OsString)> {
    vars.iter().filter(|(name, _)| is_inherited(name)).map(|(name, value)| (name, from_root(name, value)))
}

fn from_root(name: &str, value: &str) -> OsString {
    if !PATHS.contains(&name) || value.is_empty() || value.starts_with('~') {
        return value.into();
    }
    std::path::absolute(value).map_or_else(|_| value.into(), PathBuf::into_os_string)
}

fn is_inherited(name: &str) -> bool {
    // Windows' names have no case; elsewhere only the proxy variables are used in both.
    let upper = name.to_ascii_uppercase();
    let known = if cfg!(windows) { upper.as_str() } else { name };
    NAMES.contains(&known) || PROXIES.contains(&upper.as_str()) || PREFIXES.iter().any(|p| known.starts_with(p))
}

const PATHS: [&str; 10] = [
    "AGENTCTL_CONFIG",
    "AGENTCTL_SOCKET",
    "AGENTCTL_STATE_DIR",
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];
const PREFIXES: [&str; 4] = ["LC_", "XDG_", "AGENTCTL_", "AWS_ENDPOINT_URL"];
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];
const NAMES: [&str; 19] = [
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TZ",
    "TMPDIR",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SYSTEMROOT",
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
];

pub(super) fn unreachable(message: impl AsRef<str>, fix: impl AsRef<str>) -> Failure {
    Failure::new(FailureClass::AgentUnreachable, message, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().copied().collect()
    }

    #[test]
    fn who_forbids_a_start_is_said() {
        let line = |v: &[(&str, &str)], asked| permitted(&vars(v), asked).unwrap_err().line().unwrap();
        assert_eq!(permitted(&vars(&[]), true), Ok(()));
        assert_eq!(permitted(&vars(&[("AGENTCTL_NO_AUTOSTART", "0")]), true), Ok(()));
        assert_eq!(line(&[], false), "agentctl: agentd is not running; start it: agentctl daemon start");
        assert!(line(&[("AGENTCTL_NO_AUTOSTART", "1")], true).contains("AGENTCTL_NO_AUTOSTART"));
        assert!(line(&[("SANDBOX_RUNTIME", "1")], true).contains("inside a sandbox"));
        assert_eq!(permitted(&vars(&[("SANDBOX_RUNTIME", "1")]), true).unwrap_err().exit_code(), 19);
    }

    #[test]
    fn only_listed_variables_are_inherited() {
        for name in
            ["HOME", "LC_ALL", "XDG_RUNTIME_DIR", "AGENTCTL_SOCKET", "https_proxy", "HTTPS_PROXY", "Https_Proxy"]
        {
            assert!(is_inherited(name), "{name}");
        }
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SSO_OIDC", "AWS_CA_BUNDLE", "SSL_CERT_DIR"] {
            assert!(is_inherited(name), "{name}");
        }
        for name in [
            "PATH",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_PROFILE",
            "ANTHROPIC_API_KEY",
            "SSLKEYLOGFILE",
        ] {
            assert!(!is_inherited(name), "{name}");
        }
        let chosen = vars(&[("HOME", "/h"), ("GITHUB_TOKEN", "x")]);
        assert_eq!(inherited(&chosen).collect::<Vec<_>>(), [("HOME", "/h".into())]);
    }

    #[test]
    fn relative_paths_do_not_depend_on_the_agents_folder() {
        let here = std::env::current_dir().unwrap().join("x").join("config").into_os_string();
        assert_eq!(from_root("AWS_CONFIG_FILE", "x/config"), here);
        for (name, value) in [("AWS_CONFIG_FILE", "~/config"), ("AWS_CA_BUNDLE", ""), ("TZ", "Europe/Berlin")] {
            assert_eq!(from_root(name, value), *value);
        }
    }

    #[test]
    fn the_first_line_decides() {
        let said = |line: &str| acknowledged(line, Path::new("/opt/agentd"));
        assert_eq!(said("ready\n"), Ok(()));
        assert_eq!(said("already running (pid 7)"), Ok(()));
        let failure = said(r#"{"code":"misconfigured","message":"config.toml: no such key","fix":"edit it"}"#);
        assert_eq!(failure, Err(Failure::new(FailureClass::Misconfigured, "config.toml: no such key", "edit it")));
        assert_eq!(said("hello").unwrap_err().fix, "see why: /opt/agentd");
    }

    #[test]
    fn a_missing_agentd_names_the_place() {
        let folder = Path::new("/no/such");
        let executable = folder.join("agentctl");
        let socket = Path::new("/s/agent.sock");
        let sibling = Sibling { executable: Some(&executable), vars: &vars(&[]), socket, named: false };
        let failure = sibling.launch(READY).unwrap_err();
        assert!(failure.message.contains(&folder.join("agentd").display().to_string()), "{failure:?}");
        assert_eq!(failure.class, FailureClass::AgentUnreachable);
    }

    #[cfg(unix)]
    mod processes {
        use std::os::unix::fs::PermissionsExt;

        use super::*;

        fn started(script: &str, within: Duration) -> (Result<(), Failure>, tempfile::TempDir) {
            let folder = tempfile::tempdir().unwrap();
            let program = folder.path().join("agentd");
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
            let executable = folder.path().join("agentctl");
            let home = folder.path().to_str().unwrap();
            let vars = vars(&[("HOME", home), ("AWS_SESSION_TOKEN", "hidden"), ("TZ", "UTC")]);
            let socket = Path::new("/s/agent.sock");
            let sibling = Sibling { executable: Some(&executable), vars: &vars, socket, named: true };
            (sibling.launch(within), folder)
        }

        #[test]
        fn it_gets_the_flag_the_socket_the_chosen_environment_and_the_root_folder() {
            let (result, folder) = started("{ echo \"$*\"; pwd; env; } > \"$HOME/seen\"; echo ready", READY);
            assert_eq!(result, Ok(()));
            let seen = std::fs::read_to_string(folder.path().join("seen")).unwrap();
            let mut lines = seen.lines();
            assert_eq!(lines.next(), Some("--detached --socket /s/agent.sock"));
            assert_eq!(lines.next(), Some("/"));
            assert!(seen.contains("\nTZ=UTC\n") && !seen.contains("hidden"), "{seen}");
        }

        #[test]
        fn silence_and_an_early_end_are_told_apart() {
            let (ended, _folder) = started("exit 3", READY);
            assert!(ended.unwrap_err().message.contains("ended before it was ready"));
            let (late, _folder) = started("exec sleep 5", Duration::from_millis(50));
            assert!(late.unwrap_err().message.contains("not ready yet"));
        }
    }
}
