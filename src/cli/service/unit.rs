//! What is installed: the files of `systemd/` and `launchd/` with the places of this machine, and the commands that make
//! the service manager take them.

use std::path::{Path, PathBuf};

use super::super::autostart::inherited;
use super::super::environment::Environment;
use crate::core::failure::{Failure, FailureClass};
use crate::platform::process;

/// Stands in each of our files.
pub const MARK: &str = "AWS credential agent";
/// The launchd job.
const LABEL: &str = "local.agentctl.agentd";

/// A file of the service manager's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFile {
    /// Where.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// A service as it is installed on this machine. Commands are a program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Its files.
    pub files: Vec<UnitFile>,
    /// Make it listen, now and at each sign-in, in this order.
    pub enable: Vec<Vec<String>>,
    /// Make it listen now.
    pub start: Vec<String>,
    /// End it.
    pub disable: Vec<String>,
    /// To be run when the files are gone.
    pub forget: Vec<Vec<String>>,
    /// How it is.
    pub ask: Vec<String>,
}

impl Installation {
    /// For agents at `socket`, made of `program`; clients in this environment are to find theirs there.
    ///
    /// # Errors
    /// Class `misconfigured`: no home folder, or no service manager that we know.
    pub fn plan(vars: &Environment, socket: &Path, program: &Path) -> Result<Self, Failure> {
        match std::env::consts::OS {
            "linux" => Self::systemd(vars, socket, program),
            "macos" => Self::launchd(vars, socket, program),
            other => {
                let message = format!("there is no service on {other}");
                let fix = "agentctl starts agentd by itself when it is needed";
                Err(Failure::new(FailureClass::Misconfigured, message, fix))
            }
        }
    }

    /// Whether one of its files is there.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        self.files.iter().any(|file| file.path.exists())
    }

    /// Whether what is installed listens there.
    #[must_use]
    pub fn is_for(&self, socket: &Path) -> bool {
        let (unit, job) = (listen_stream(socket), format!("<string>{}</string>", xml(&socket.display().to_string())));
        let names = |text: String| text.contains(&unit) || text.contains(&job);
        self.files.iter().any(|file| std::fs::read_to_string(&file.path).is_ok_and(names))
    }

    fn systemd(vars: &Environment, socket: &Path, program: &Path) -> Result<Self, Failure> {
        let folder = vars.systemd_units()?;
        let program = format!("ExecStart={}", quoted(&program.display().to_string()).replace('$', "$$"));
        let settings: String =
            settings(vars).map(|(k, v)| format!("Environment={}\n", quoted(&format!("{k}={v}")))).collect();
        let service = include_str!("../../../systemd/agentd.service")
            .replace("ExecStart=%h/.cargo/bin/agentd\n", &format!("{program}\n{settings}"));
        let socket = include_str!("../../../systemd/agentd.socket")
            .replace("\nListenStream=%t/agentctl/agent.sock\n", &listen_stream(socket));
        let file = |name: &str, text| UnitFile { path: folder.join(name), text };
        let systemctl =
            |words: &str| format!("systemctl --user {words}").split(' ').map(str::to_owned).collect::<Vec<_>>();
        Ok(Self {
            files: vec![file("agentd.service", service), file("agentd.socket", socket)],
            enable: vec![systemctl("daemon-reload"), systemctl("enable --now agentd.socket")],
            start: systemctl("start agentd.socket"),
            disable: systemctl("disable --now agentd.socket agentd.service"),
            forget: vec![systemctl("daemon-reload")],
            ask: systemctl("is-active agentd.socket agentd.service"),
        })
    }

    fn launchd(vars: &Environment, socket: &Path, program: &Path) -> Result<Self, Failure> {
        let home = vars.home()?;
        let path = home.join("Library/LaunchAgents").join(format!("{LABEL}.plist"));
        let variables: String = settings(vars)
            .map(|(k, v)| format!("    <key>{}</key>\n    <string>{}</string>\n", xml(&k), xml(&v)))
            .collect();
        let variables = format!("  <key>EnvironmentVariables</key>\n  <dict>\n{variables}  </dict>\n</dict>\n</plist>");
        let text = include_str!("../../../launchd/agentd.plist")
            .replace("HOME/.cargo/bin/agentd", &xml(&program.display().to_string()))
            .replace("HOME/Library/Application Support/agentctl/agent.sock", &xml(&socket.display().to_string()))
            .replace("<string>HOME/", &format!("<string>{}/", xml(&home.display().to_string())))
            .replace("</dict>\n</plist>", &variables);
        let domain = format!("gui/{}", user());
        let bootstrap = ["bootstrap", &domain, &path.display().to_string()];
        let launchctl =
            |words: &[&str]| std::iter::once("launchctl").chain(words.iter().copied()).map(str::to_owned).collect();
        Ok(Self {
            enable: vec![launchctl(&bootstrap)],
            start: launchctl(&bootstrap),
            disable: launchctl(&["bootout", &format!("{domain}/{LABEL}")]),
            forget: Vec::new(),
            ask: launchctl(&["print", &format!("{domain}/{LABEL}")]),
            files: vec![UnitFile { path, text }],
        })
    }
}

fn listen_stream(socket: &Path) -> String {
    format!("\nListenStream={}\n", socket.display().to_string().replace('%', "%%"))
}

fn user() -> u32 {
    #[cfg(unix)]
    return process::uid();
    #[cfg(not(unix))]
    return process::pid();
}

/// What a service manager does not hand on: where files are, and the way to AWS, as it is here and now. Not what is
/// everybody's (`HOME`, locale, `TZ`, XDG folders), and no proxy with a password, which config.toml can name instead.
fn settings(vars: &Environment) -> impl Iterator<Item = (String, String)> {
    let everybodys = |name: &str| name.starts_with("LC_") || name.starts_with("XDG_") || !name.contains('_');
    let ours =
        |name: &str| name.starts_with("AGENTCTL_") && name != "AGENTCTL_SOCKET" && name != "AGENTCTL_NO_AUTOSTART";
    inherited(vars)
        .filter(move |(name, value)| {
            !value.is_empty() && (ours(name) || !name.starts_with("AGENTCTL_")) && !everybodys(name)
        })
        .filter_map(|(name, value)| Some((name.to_owned(), value.into_string().ok()?)))
        .filter(|(name, value)| !(name.to_ascii_lowercase().ends_with("_proxy") && value.contains('@')))
}

/// A word in a unit file: systemd.syntax(7), and no specifier in it (systemd.unit(5)).
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('%', "%%");
    format!("\"{escaped}\"")
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn vars() -> Environment {
        [
            ("HOME", "/home/a b"),
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("https_proxy", "http://user:secret@proxy:3128"),
            ("AWS_CA_BUNDLE", "/ca 100%/corp.pem"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AGENTCTL_STATE_DIR", "/state"),
            ("AGENTCTL_SOCKET", "/s"),
            ("LC_ALL", "C"),
            ("TZ", "UTC"),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn the_units_name_the_places_of_this_machine() {
        let units =
            Installation::systemd(&vars(), Path::new("/run/x%/agent.sock"), Path::new("/opt/a $b/agentd")).unwrap();
        let [service, socket] = &units.files[..] else { panic!("{units:?}") };
        assert_eq!(service.path, Path::new("/home/a b/.config/systemd/user/agentd.service"));
        let environment: Vec<_> = service.text.lines().filter(|l| l.starts_with("Environment=")).collect();
        assert_eq!(
            environment,
            [
                "Environment=\"AGENTCTL_STATE_DIR=/state\"",
                "Environment=\"AWS_CA_BUNDLE=/ca 100%%/corp.pem\"",
                "Environment=\"HTTPS_PROXY=http://proxy:3128\"",
            ]
        );
        assert!(service.text.contains("\nExecStart=\"/opt/a $$b/agentd\"\n"), "{}", service.text);
        assert!(socket.text.contains("\nListenStream=/run/x%%/agent.sock\n"), "{}", socket.text);
        assert!(units.files.iter().all(|file| file.text.contains(MARK) && !file.text.contains("secret")));
    }

    #[test]
    fn so_does_the_plist() {
        let job = Installation::launchd(&vars(), Path::new("/s/agent.sock"), Path::new("/opt/a&b/agentd")).unwrap();
        let [plist] = &job.files[..] else { panic!("{job:?}") };
        assert_eq!(plist.path, Path::new("/home/a b/Library/LaunchAgents/local.agentctl.agentd.plist"));
        assert!(plist.text.contains("<string>/opt/a&amp;b/agentd</string>") && plist.text.contains(MARK));
        assert!(plist.text.contains("<string>/s/agent.sock</string>") && !plist.text.contains("<string>HOME"));
        assert!(plist.text.contains("<key>AGENTCTL_STATE_DIR</key>\n    <string>/state</string>"), "{}", plist.text);
        assert!(!plist.text.contains("secret") && plist.text.trim_end().ends_with("</dict>\n</plist>"));
    }
}
