//! Notifications on the desktop, by a program of the user's choice (`notify-send`, say): it gets a title and a text.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process;

/// One that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(10);

/// Shows one; blocks until the program ends.
///
/// # Errors
/// The program cannot be started, fails, or hangs (and is then killed).
pub fn show(program: &[String], title: &str, text: &str) -> io::Result<()> {
    let Some((name, arguments)) = program.split_first() else { return Ok(()) };
    let mut command = Command::new(name);
    command.args(arguments).args([title, text]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    if process::ended_well_within(&mut child, LIMIT)? {
        return Ok(());
    }
    child.kill()?;
    child.wait()?;
    Err(io::Error::new(io::ErrorKind::TimedOut, "it does not come to an end"))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_program_gets_title_and_text_and_its_failure_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = format!("printf '%s|' \"$0\" \"$@\" > {}", file.path().display());
        let program = ["sh", "-c", &script, "first"].map(str::to_owned);
        show(&program, "a title", "some text").unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "first|a title|some text|");
        assert!(show(&words("false"), "", "").is_err());
        assert!(show(&words("/nowhere/notify"), "", "").is_err());
        assert!(show(&[], "", "").is_ok());
    }
}
