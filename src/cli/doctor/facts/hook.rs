//! The hook of Claude Code's settings, run once as Claude Code does: by a shell, without a terminal, and with nothing of
//! this shell's environment that it may not count on.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::cli::autostart;
use crate::cli::document;
use crate::cli::environment::Environment;
use crate::core::time::Timestamp;

/// What every system has.
const PATH: &str = "/usr/bin:/bin";
/// A document has some 2 KiB.
const LONGEST: u64 = 64 * 1024;

/// Runs the command and returns what it printed. No agent is started: doctor only looks.
///
/// # Errors
/// In words, with nothing of what it printed on stdout.
pub fn run(vars: &Environment, command: &str, within: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
    let (shell, option) = if cfg!(windows) { ("cmd", "/C") } else { ("/bin/sh", "-c") };
    let mut child = Command::new(shell)
        .args([option, command])
        .env_clear()
        .envs(autostart::inherited(vars))
        .env("PATH", PATH)
        .env("AGENTCTL_NO_AUTOSTART", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{shell} cannot be started: {e}"))?;
    let said = all(child.stdout.take());
    let complained = all(child.stderr.take());
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

fn all(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Zeroizing<Vec<u8>>> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        // Never grows, which would leave a copy behind.
        let mut text = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
        if let Some(stream) = stream {
            let _ = stream.take(LONGEST).read_to_end(&mut text);
        }
        let _ = send.send(text);
    });
    receive
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
