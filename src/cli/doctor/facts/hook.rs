//! The hook of Claude Code's settings, run once as Claude Code does: by a shell, without a terminal, and with nothing of
//! this shell's environment that it may not count on.

use std::process::Stdio;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::cli::autostart;
use crate::cli::child;
use crate::cli::document;
use crate::cli::environment::Environment;
use crate::core::time::Timestamp;

/// What every system has.
const PATH: &str = "/usr/bin:/bin";
/// A document has some 2 KiB.
const LONGEST: usize = 64 * 1024;

/// Runs the command and returns what it printed. No agent is started: doctor only looks.
///
/// # Errors
/// In words, with nothing of what it printed on stdout.
pub fn run(vars: &Environment, command: &str, within: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut child = child::shell(command)
        .env_clear()
        .envs(autostart::inherited(vars))
        .env("PATH", PATH)
        .env("AGENTCTL_NO_AUTOSTART", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot be started: {e}"))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("cannot be read".to_owned());
    };
    let (said, complained) = (child::collect(stdout, LONGEST), child::collect(stderr, LONGEST));
    let said = said.recv_timeout(within);
    if said.is_err() {
        let _ = child.kill();
    }
    let ended = child.wait();
    let Ok(said) = said else { return Err(format!("does not end within {} s", within.as_secs())) };
    let code = match ended {
        Ok(status) if status.success() => return Ok(said),
        Ok(status) => status.code(),
        Err(_) => None,
    };
    // It may have left somebody behind who holds the pipe.
    let complained = complained.recv_timeout(Duration::from_millis(200)).unwrap_or_default();
    Err(complaint(&String::from_utf8_lossy(&complained), code))
}

/// Our own words as they are. Those of others may hold anything, so they are not repeated.
fn complaint(complained: &str, code: Option<i32>) -> String {
    if let Some(ours) = complained.lines().find_map(|line| line.strip_prefix("agentctl: ")) {
        return format!("fails: {ours}");
    }
    match code {
        Some(126) => "runs a program that may not be run".to_owned(),
        Some(127) => format!("runs a program that is not found in {PATH}"),
        Some(code) => format!("fails with exit code {code}"),
        None => "was ended by a signal".to_owned(),
    }
}

/// Milliseconds of life that the printed credentials have.
///
/// # Errors
/// What is wrong with them, in words that quote nothing of them.
pub fn judge(printed: &[u8], now: Timestamp) -> Result<i64, String> {
    let keys = document::parse(printed).map_err(|_| "prints something else than credentials alone".to_owned())?;
    match keys.expires_at.offset_from(now) {
        left @ 1.. => Ok(left),
        _ => Err("prints credentials that have ended".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_words_are_repeated() {
        let traced = "+ AWS_SECRET_ACCESS_KEY=secret\n";
        assert_eq!(
            complaint(&format!("{traced}agentctl: it is over; log in\n"), Some(10)),
            "fails: it is over; log in"
        );
        assert_eq!(complaint(traced, Some(1)), "fails with exit code 1");
        assert_eq!(complaint("sh: aws: not found\n", Some(127)), "runs a program that is not found in /usr/bin:/bin");
        assert_eq!(complaint("", None), "was ended by a signal");
    }

    #[test]
    fn what_is_no_document_is_not_quoted() {
        let now = Timestamp::from_secs(0);
        let printed = crate::cli::fake::union();
        assert!(judge(printed.as_bytes(), now).unwrap() > 0);
        for odd in [format!("Hello\n{printed}"), format!("{printed}bye"), String::new(), "{}".to_owned()] {
            let why = judge(odd.as_bytes(), now).unwrap_err();
            assert_eq!(why, "prints something else than credentials alone");
        }
        let late = Timestamp::from_secs(4_000_000_000);
        assert_eq!(judge(printed.as_bytes(), late).unwrap_err(), "prints credentials that have ended");
    }
}
