//! A text under way, line by line, as wide as the view.

use super::View;
use super::text::{Paint, wrap};

/// The lines so far.
pub struct Page<'a> {
    view: &'a View<'a>,
    lines: Vec<String>,
}

impl<'a> Page<'a> {
    /// An empty one.
    #[must_use]
    pub const fn new(view: &'a View<'a>) -> Self {
        Self { view, lines: Vec::new() }
    }

    /// What it is for.
    #[must_use]
    pub const fn view(&self) -> &'a View<'a> {
        self.view
    }

    /// A line as it is.
    pub fn raw(&mut self, line: String) {
        self.lines.push(line);
    }

    /// A paragraph that begins at the left.
    pub fn line(&mut self, paint: Paint, text: &str) {
        self.wrapped(paint, text, 0, 2);
    }

    /// A paragraph behind `indent` blanks, its later lines behind `hang` more.
    pub fn wrapped(&mut self, paint: Paint, text: &str, indent: usize, hang: usize) {
        let columns = self.view.width.map(|w| w.saturating_sub(indent).max(1));
        for line in wrap(text, columns, hang) {
            self.lines.push(format!("{}{}", " ".repeat(indent), paint.on(line.trim_end(), self.view.colour)));
        }
    }

    /// An empty line, unless there is one already.
    pub fn gap(&mut self) {
        if self.lines.last().is_some_and(|l| !l.is_empty()) {
            self.lines.push(String::new());
        }
    }

    /// The whole text, ending with a newline.
    #[must_use]
    pub fn text(mut self) -> String {
        while self.lines.last().is_some_and(String::is_empty) {
            self.lines.pop();
        }
        let lines: Vec<&str> = self.lines.iter().map(|l| l.trim_end()).collect();
        lines.join("\n") + "\n"
    }
}
