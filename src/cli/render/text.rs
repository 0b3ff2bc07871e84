//! Text on a grid of columns: width, padding, wrapping, colour.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A colour of the terminal's own palette, so that it fits every theme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// As is.
    Plain,
    /// All is well.
    Green,
    /// Look at it.
    Yellow,
    /// It does not work.
    Red,
    /// Of lesser weight.
    Dim,
    /// A heading.
    Bold,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
            Self::Red => "\x1b[31m",
            Self::Dim => "\x1b[2m",
            Self::Bold => "\x1b[1m",
        }
    }

    /// The text in this colour, if colours are wanted.
    #[must_use]
    pub fn on(self, text: &str, colour: bool) -> String {
        if !colour || self == Self::Plain || text.is_empty() {
            return text.to_owned();
        }
        format!("{}{text}\x1b[0m", self.code())
    }
}

/// Text of others, made harmless for a terminal: control characters and marks that turn the writing direction become
/// `?`.
#[must_use]
pub fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { '?' } else { c }).collect()
}

/// The columns that a text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text and blanks up to `columns`.
#[must_use]
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Breaks a text at blanks into lines of at most `columns` (`None`: one line), each after the first behind `indent`
/// blanks. A longer word (a URL) is broken only where it alone does not fit.
#[must_use]
pub fn wrap(text: &str, columns: Option<usize>, indent: usize) -> Vec<String> {
    let Some(columns) = columns else { return vec![text.to_owned()] };
    let indent = if indent + 10 > columns { 0 } else { indent };
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        push_word(&mut lines, word, columns, indent);
    }
    lines
}

fn push_word(lines: &mut Vec<String>, word: &str, columns: usize, indent: usize) {
    let Some(line) = lines.last_mut() else { return };
    let gap = usize::from(!line.trim().is_empty());
    if width(line) + gap + width(word) <= columns {
        line.push_str(&" ".repeat(gap));
        line.push_str(word);
        return;
    }
    if gap == 1 {
        lines.push(" ".repeat(indent));
        return push_word(lines, word, columns, indent);
    }
    // Alone on its line, and still too long.
    for letter in word.chars() {
        let Some(line) = lines.last_mut() else { return };
        if width(line) + letter.width().unwrap_or(0) <= columns {
            line.push(letter);
        } else {
            lines.push(format!("{}{letter}", " ".repeat(indent)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_take_two_columns_and_accents_none() {
        assert_eq!((width("dev"), width("開発"), width("e\u{301}")), (3, 4, 1));
        assert_eq!(pad("開発", 6), "開発  ");
        assert_eq!(pad("too long", 3), "too long");
    }

    #[test]
    fn lines_break_at_blanks_and_hang() {
        assert_eq!(wrap("one two three four", Some(11), 0), ["one two", "three four"]);
        assert_eq!(wrap("fix: one two three four", Some(16), 5), ["fix: one two", "     three four"]);
        assert_eq!(wrap("as it is, however long", None, 4), ["as it is, however long"]);
        assert_eq!(wrap("", Some(20), 0), [""]);
    }

    #[test]
    fn a_long_word_is_broken_only_alone() {
        assert_eq!(wrap("see https://example.com/x", Some(20), 0), ["see", "https://example.com/", "x"]);
        assert!(wrap("開発開発開発開発開発開発", Some(11), 0).iter().all(|l| width(l) <= 11));
    }

    #[test]
    fn nothing_of_others_steers_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\n\u{202e}c"), "a?[31mb??c");
    }

    #[test]
    fn colour_only_when_wanted() {
        assert_eq!(Paint::Red.on("x", false), "x");
        assert_eq!(Paint::Red.on("x", true), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint::Plain.on("x", true), "x");
    }
}
