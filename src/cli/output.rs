//! Where a verb writes: the document to stdout, everything else to stderr, and what each of them can show.

use std::io::Write;

use chrono::{Local, NaiveDateTime};

use super::environment::{Environment, Invocation};
use super::outcome::Problem;
use crate::core::time::Timestamp;

/// The columns that are assumed on a terminal that does not tell.
const DEFAULT_COLUMNS: usize = 80;
/// To the beginning of the line, which is emptied (ECMA-48 EL).
const OVER: &str = "\r\x1b[K";
/// Narrower than this, no layout makes sense.
const MIN_COLUMNS: usize = 20;

/// What the two streams are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// Whether stdout is a terminal.
    pub stdout_is_terminal: bool,
    /// Whether stderr is a terminal.
    pub stderr_is_terminal: bool,
    /// Columns to fit a text on stdout into; `None` in a pipe: lines are as long as they are.
    pub columns: Option<usize>,
    /// Lines of the terminal.
    pub lines: Option<usize>,
    /// Whether colours may be used on stdout.
    pub colour: bool,
    /// Whether a line on stderr may be written over.
    pub progress: bool,
    /// Whether `columns` was named by the user and does not follow the terminal.
    pub fixed: bool,
}

impl Screen {
    /// What this start of the process has in front of it. `COLUMNS` wins over the terminal's own size, in a pipe too;
    /// `NO_COLOR` with any value and `TERM=dumb` turn colours off.
    #[must_use]
    pub fn of(start: &Invocation) -> Self {
        let (vars, tty) = (&start.vars, start.stdout_is_terminal);
        let named = columns_from(vars).map(|c| c.max(MIN_COLUMNS));
        let mut screen = Self {
            stdout_is_terminal: tty,
            stderr_is_terminal: start.stderr_is_terminal,
            columns: named,
            lines: None,
            colour: tty && vars.get("NO_COLOR").is_none() && vars.get("TERM") != Some("dumb"),
            progress: start.stderr_is_terminal && vars.get("TERM") != Some("dumb"),
            fixed: named.is_some(),
        };
        screen.measure();
        screen
    }

    /// Takes the terminal's size as it is now.
    pub fn measure(&mut self) {
        if !self.stdout_is_terminal {
            return;
        }
        let size = terminal_size::terminal_size();
        self.lines = size.map(|(_, h)| usize::from(h.0)).filter(|h| *h > 0);
        if !self.fixed {
            let columns = size.map(|(w, _)| usize::from(w.0)).filter(|w| *w > 0).unwrap_or(DEFAULT_COLUMNS);
            self.columns = Some(columns.max(MIN_COLUMNS));
        }
    }
}

fn columns_from(vars: &Environment) -> Option<usize> {
    vars.get("COLUMNS")?.parse().ok().filter(|c| *c > 0)
}

/// The two streams with what they can show.
pub struct Output<'a> {
    /// For the document only.
    pub stdout: &'a mut dyn Write,
    /// For everything else.
    pub stderr: &'a mut dyn Write,
    /// What they are.
    pub screen: Screen,
    /// `-q`: no confirmations.
    pub quiet: bool,
    /// `-v`: diagnostics.
    pub verbose: bool,
    /// A line of progress stands on stderr.
    pub in_progress: bool,
}

impl Output<'_> {
    /// Writes the whole document in one go.
    ///
    /// # Errors
    /// [`Problem::Closed`] when the reader is gone; otherwise what the system says.
    pub fn document(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.stdout.write_all(bytes)?;
        Ok(self.stdout.flush()?)
    }

    /// Confirms to a person at a terminal what was done; silent in a script and with `-q`.
    pub fn confirm(&mut self, text: &str) {
        if self.screen.stderr_is_terminal && !self.quiet {
            self.line(text);
        }
    }

    /// Tells the result of a verb that has no document; silent only with `-q`.
    pub fn tell(&mut self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// One line of diagnostics, with `-v`.
    pub fn diagnose(&mut self, text: impl FnOnce() -> String) {
        if self.verbose {
            let text = text();
            self.line(&text);
        }
    }

    /// How it goes, on a line of a terminal that the next line takes.
    pub fn progress(&mut self, text: &str) {
        if self.screen.progress && !self.quiet {
            self.in_progress = true;
            let _ = self.stderr.write_all(format!("{OVER}{text}").as_bytes());
            let _ = self.stderr.flush();
        }
    }

    /// One line on stderr. That stderr is gone is no reason to fail.
    pub fn line(&mut self, text: &str) {
        let over = if std::mem::take(&mut self.in_progress) { OVER } else { "" };
        let _ = self.stderr.write_all(format!("{over}{text}\n").as_bytes());
    }
}

/// The instant as this machine's clock on the wall shows it.
#[must_use]
pub fn local_time(at: Timestamp) -> NaiveDateTime {
    at.to_utc().with_timezone(&Local).naive_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(tty: bool, vars: &[(&str, &str)]) -> Screen {
        let vars = vars.iter().copied().collect();
        Screen::of(&Invocation { vars, stdout_is_terminal: tty, ..Invocation::default() })
    }

    #[test]
    fn a_pipe_has_no_width_and_no_colour() {
        assert_eq!(screen(false, &[]), Screen::default());
        assert_eq!(screen(false, &[("COLUMNS", "40")]).columns, Some(40));
    }

    #[test]
    fn columns_is_respected_within_reason() {
        assert_eq!(screen(true, &[("COLUMNS", "100")]).columns, Some(100));
        assert_eq!(screen(true, &[("COLUMNS", "3")]).columns, Some(MIN_COLUMNS));
        for odd in ["0", "-1", "wide", ""] {
            assert!(screen(true, &[("COLUMNS", odd)]).columns.unwrap() >= MIN_COLUMNS, "{odd}");
        }
    }

    #[test]
    fn no_color_is_respected_unless_empty() {
        assert!(screen(true, &[]).colour);
        assert!(screen(true, &[("NO_COLOR", "")]).colour);
        assert!(!screen(true, &[("NO_COLOR", "1")]).colour);
        assert!(!screen(true, &[("TERM", "dumb")]).colour);
    }
}
