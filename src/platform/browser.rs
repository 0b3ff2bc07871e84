//! The user's browser: which command opens a page, and whether a browser of this machine can come back to its loopback.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::home::Environment;
use super::process;

/// A command that fails fails at once; a browser that stays is not waited for.
const FAILS_WITHIN: Duration = Duration::from_millis(500);

/// The commands to try, in turn: those of `BROWSER` (separated by colons; `%s` stands for the page, which else comes last),
/// or the system's own.
#[must_use]
pub fn commands(vars: &Environment, url: &str) -> Vec<Vec<String>> {
    let words = |command: &str| {
        let mut words: Vec<String> = command.split_whitespace().map(|w| w.replace("%s", url)).collect();
        if !command.contains("%s") {
            words.push(url.to_owned());
        }
        words
    };
    if let Some(named) = vars.get("BROWSER") {
        // On Windows a colon stands in a path.
        let separator = if cfg!(windows) { ';' } else { ':' };
        return named.split(separator).filter(|c| !c.trim().is_empty()).map(words).collect();
    }
    let system: &[&str] = if cfg!(target_os = "macos") {
        &["/usr/bin/open"]
    } else if cfg!(windows) {
        &["rundll32 url.dll,FileProtocolHandler"]
    } else if vars.get("WSL_DISTRO_NAME").is_some() {
        &["wslview"]
    } else if has_screen(vars) {
        &["xdg-open"]
    } else {
        &[]
    };
    system.iter().map(|command| words(command)).collect()
}

fn has_screen(vars: &Environment) -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| vars.get(name).is_some())
}

/// Opens a page. Whatever opens it is in a process group of its own: it outlives whoever ends us.
///
/// # Errors
/// Why none of the commands did, in a few words.
pub fn open(vars: &Environment, url: &str) -> Result<(), String> {
    let mut why = "there is no browser here".to_owned();
    for command in commands(vars, url) {
        match run(&command) {
            Ok(()) => return Ok(()),
            Err(e) => why = format!("{}: {e}", command.first().map_or("", String::as_str)),
        }
    }
    Err(why)
}

fn run(command: &[String]) -> io::Result<()> {
    let Some((program, arguments)) = command.split_first() else { return Err(io::ErrorKind::NotFound.into()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    process::ended_well_within(&mut child, FAILS_WITHIN).map(drop)
}

/// Whether a browser that the user sees can come back to this machine's 127.0.0.1: not over SSH, from a container or from
/// a machine in the cloud, and not where there is no browser at all.
#[must_use]
pub fn can_come_back(vars: &Environment) -> bool {
    const ELSEWHERE: [&str; 6] =
        ["SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "CODESPACES", "REMOTE_CONTAINERS", "AWS_EXECUTION_ENV"];
    let elsewhere = ELSEWHERE.iter().any(|name| vars.get(name).is_some());
    let contained = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists());
    !elsewhere && !contained && !commands(vars, "").is_empty()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)]) -> Vec<Vec<String>> {
        commands(&vars.iter().copied().collect(), "https://a/?b=c%20d")
    }

    #[test]
    fn browser_is_respected() {
        assert_eq!(of(&[("BROWSER", "firefox")]), [["firefox", "https://a/?b=c%20d"]]);
        assert_eq!(
            of(&[("BROWSER", "open -u %s -n:lynx")]),
            [vec!["open", "-u", "https://a/?b=c%20d", "-n"], vec!["lynx", "https://a/?b=c%20d"]]
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn without_a_screen_there_is_no_browser() {
        assert!(of(&[]).is_empty());
        assert_eq!(of(&[("DISPLAY", ":0")])[0][0], "xdg-open");
        assert!(!can_come_back(&[("BROWSER", "x"), ("SSH_TTY", "/dev/pts/0")].into_iter().collect()));
    }

    #[test]
    fn the_first_command_that_works_opens() {
        let vars: Environment = [("BROWSER", "/nowhere/browser:false:true")].into_iter().collect();
        assert_eq!(open(&vars, "https://a"), Ok(()));
        let vars: Environment = [("BROWSER", "false")].into_iter().collect();
        assert_eq!(open(&vars, "https://a").unwrap_err(), "false: exit status: 1");
    }
}
