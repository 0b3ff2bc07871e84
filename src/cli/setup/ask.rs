//! Questions to a person at a terminal.

use crate::cli::outcome::Problem;

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
pub struct Terminal;

impl Asker for Terminal {
    fn choose(&self, question: &str, options: &[String], default: usize) -> Result<usize, Problem> {
        let asked = dialoguer::Select::new().with_prompt(question).items(options).default(default).interact_opt();
        asked.ok().flatten().ok_or_else(given_up)
    }

    fn text(&self, question: &str, default: &str) -> Result<String, Problem> {
        let mut input = dialoguer::Input::<String>::new().with_prompt(question).allow_empty(true);
        if !default.is_empty() {
            input = input.default(default.to_owned());
        }
        input.interact_text().map_err(|_| given_up())
    }

    fn confirm(&self, question: &str, default: bool) -> Result<bool, Problem> {
        let asked = dialoguer::Confirm::new().with_prompt(question).default(default).interact_opt();
        asked.ok().flatten().ok_or_else(given_up)
    }
}
