//! Questions to a person at a terminal.

use std::fmt;
use std::sync::Once;

use dialoguer::console::Term;
use dialoguer::theme::Theme;
use dialoguer::{Confirm, Input, Select};

use crate::cli::outcome::Problem;
use crate::cli::render::text::width;

/// Who answers. Tests put scripted answers here.
pub trait Asker {
    /// The number of the option that is chosen.
    ///
    /// # Errors
    /// The person gave up: nothing is to be changed.
    fn choose(&self, question: &str, options: &[String], default: usize) -> Result<usize, Problem>;

    /// A line of text.
    ///
    /// # Errors
    /// As [`Asker::choose`].
    fn text(&self, question: &str, default: &str) -> Result<String, Problem>;

    /// Yes or no.
    ///
    /// # Errors
    /// As [`Asker::choose`].
    fn confirm(&self, question: &str, default: bool) -> Result<bool, Problem>;
}

/// The exit code of a person's Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Ended at a question.
#[must_use]
pub fn given_up() -> Problem {
    Problem::Told(INTERRUPTED)
}

/// The terminal in front of us: questions go to stderr, answers come from the keyboard.
pub struct Terminal {
    asked: Once,
}

impl Default for Terminal {
    fn default() -> Self {
        Self { asked: Once::new() }
    }
}

impl Terminal {
    /// A list of options hides the cursor; whoever gives up gets it back.
    fn ask<T>(&self, question: impl FnOnce() -> dialoguer::Result<Option<T>>) -> Result<T, Problem> {
        self.asked.call_once(restore_at_ctrl_c);
        question().ok().flatten().ok_or_else(|| {
            restore();
            given_up()
        })
    }
}

fn restore() {
    let terminal = Term::stderr();
    // A terminal that is gone shows no cursor.
    let _ = terminal.show_cursor().and_then(|()| terminal.write_line(""));
}

/// The keyboard's library raises SIGINT at Ctrl-C, and between two keys the terminal does.
#[cfg(unix)]
fn restore_at_ctrl_c() {
    use signal_hook::consts::SIGINT;

    // Where that cannot be had, the cursor stays hidden.
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT]) else { return };
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            restore();
            let _ = signal_hook::low_level::emulate_default_handler(SIGINT);
        }
    });
}

#[cfg(not(unix))]
fn restore_at_ctrl_c() {}

impl Asker for Terminal {
    fn choose(&self, question: &str, options: &[String], default: usize) -> Result<usize, Problem> {
        // A line that wraps is not counted as two when the options are drawn anew.
        let columns = usize::from(Term::stderr().size().1).saturating_sub(MARK);
        let options: Vec<_> = options.iter().map(|option| fit(option, columns)).collect();
        self.ask(|| Select::with_theme(&Plain).with_prompt(question).items(&options).default(default).interact_opt())
    }

    fn text(&self, question: &str, default: &str) -> Result<String, Problem> {
        let mut input = Input::<String>::with_theme(&Plain).with_prompt(question).allow_empty(true);
        if !default.is_empty() {
            input = input.default(default.to_owned());
        }
        self.ask(|| input.interact_text().map(Some))
    }

    fn confirm(&self, question: &str, default: bool) -> Result<bool, Problem> {
        self.ask(|| Confirm::with_theme(&Plain).with_prompt(question).default(default).interact_opt())
    }
}

/// Columns before an option.
const MARK: usize = 3;

/// As much of it as fits.
fn fit(option: &str, columns: usize) -> String {
    if width(option) <= columns {
        return option.to_owned();
    }
    let mut shown = String::new();
    for c in option.chars() {
        if width(&shown) + 2 > columns {
            break;
        }
        shown.push(c);
    }
    shown + "…"
}

/// A question with its question mark, and behind it the answer.
struct Plain;

impl Theme for Plain {
    fn format_prompt(&self, f: &mut dyn fmt::Write, prompt: &str) -> fmt::Result {
        f.write_str(prompt)
    }

    fn format_input_prompt(&self, f: &mut dyn fmt::Write, prompt: &str, default: Option<&str>) -> fmt::Result {
        match default {
            Some(default) => write!(f, "{prompt} [{default}] "),
            None => write!(f, "{prompt} "),
        }
    }

    fn format_input_prompt_selection(&self, f: &mut dyn fmt::Write, prompt: &str, answer: &str) -> fmt::Result {
        write!(f, "{prompt} {answer}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_no_longer_than_a_line() {
        assert_eq!(fit("short", 10), "short");
        assert_eq!(fit("a long option", 8), "a long …");
        assert_eq!(width(&fit("模型模型模型", 7)), 7);
        assert_eq!(fit("x", 0), "…");
    }
}
