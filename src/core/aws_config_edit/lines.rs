//! Where sections, keys and values are in a text, by the rules of Python's `configparser` as botocore uses it.
//!
//! A line ends at `\n`, `\r\n` or `\r`. Blank lines and lines that begin with `#` or `;` after any indentation mean
//! nothing. A line that is indented deeper than the key above it belongs to that key's value. `[` begins a header, up to
//! the last `]` of the line. Anything else is a key, up to the first `=` or `:`. Offsets are bytes of the whole text.
//!
//! It refuses what `configparser` refuses, except for a key that is there twice in a section that nobody asks for. A
//! byte order mark is passed over: botocore stumbles over it, other tools do not.

use std::collections::BTreeMap;
use std::ops::Range;

use super::names::{self, Reading};
use super::{Refused, SectionName};

/// A text that was read.
pub(super) struct Config<'a> {
    text: &'a str,
    pub(super) sections: Vec<Found<'a>>,
}

/// One line; `end` is behind its ending.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    number: usize,
    start: usize,
    end: usize,
    /// Without the ending.
    pub(super) content: &'a str,
}

/// A section in the text.
pub(super) struct Found<'a> {
    /// What is between the brackets.
    pub(super) header: &'a str,
    line: Line<'a>,
    pub(super) entries: Vec<Entry<'a>>,
}

/// A key in the text, with the lines of its value.
pub(super) struct Entry<'a> {
    /// As it is spelt.
    pub(super) key: &'a str,
    /// As botocore reads it, but for blank lines.
    pub(super) value: String,
    pub(super) indent: &'a str,
    pub(super) start: usize,
    end: usize,
    line: Line<'a>,
    /// What is behind the `=`, up to the end of the line.
    rest: &'a str,
    /// Comments or blank lines are between the lines of the value.
    has_gap: bool,
}

/// The text behind a byte order mark.
fn body(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// How the text's last line ends; empty if it does not.
pub(super) fn ending(text: &str) -> &'static str {
    if text.ends_with("\r\n") {
        "\r\n"
    } else if text.ends_with('\n') {
        "\n"
    } else if text.ends_with('\r') {
        "\r"
    } else {
        ""
    }
}

/// The text without the end of its last line.
pub(super) fn without_ending(text: &str) -> &str {
    cut(text, ending(text))
}

/// Whether there is nothing in the last line but its end.
pub(super) fn ends_with_empty_line(text: &str) -> bool {
    let before = without_ending(text);
    before.len() < text.len() && (body(before).is_empty() || !ending(before).is_empty())
}

/// What Python takes for a blank (`str.isspace`).
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let (mut at, mut number) = (text.len() - body(text).len(), 0);
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let content = rest.split(['\r', '\n']).next().unwrap_or_default();
        let behind = &rest[content.len()..];
        let end = ["\r\n", "\n", "\r"].iter().find(|e| behind.starts_with(**e)).map_or(0, |e| e.len());
        let start = at;
        at += content.len() + end;
        number += 1;
        Some(Line { number, start, end: at, content })
    })
}

impl<'a> Line<'a> {
    fn bare(&self) -> &'a str {
        self.content.trim_matches(is_space)
    }

    fn indent(&self) -> &'a str {
        &self.content[..self.content.len() - self.content.trim_start_matches(is_space).len()]
    }

    fn depth(&self) -> usize {
        self.indent().chars().count()
    }

    pub(super) fn is_blank(&self) -> bool {
        self.bare().is_empty()
    }

    fn refused(&self, cause: impl Into<String>) -> Refused {
        Refused::at(self.number, cause)
    }
}

impl<'a> Config<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Refused> {
        let mut config = Self { text, sections: Vec::new() };
        let mut headers = BTreeMap::new();
        for line in lines(text).filter(|line| !line.is_blank() && !line.bare().starts_with(['#', ';'])) {
            let section = config.sections.last_mut();
            if let Some(entry) = section.and_then(|s| s.entries.last_mut()).filter(|e| line.depth() > e.line.depth()) {
                entry.continue_with(line);
            } else if line.bare().starts_with('[') {
                let section = Found::new(line)?;
                if let Some(first) = headers.insert(section.header, line.number) {
                    let header = section.header;
                    return Err(line.refused(format!("section [{header}] is there already, in line {first}")));
                }
                config.sections.push(section);
            } else {
                let entry = Entry::new(line)?;
                let section = config.sections.last_mut();
                section.ok_or_else(|| line.refused("is in no section"))?.entries.push(entry);
            }
        }
        Ok(config)
    }

    /// The section of this name.
    ///
    /// One that other tools take for it and the AWS CLI does not is refused: neither a second one nor an edit of that
    /// one would be right for both.
    pub(super) fn find(&self, name: &SectionName) -> Result<Option<&Found<'a>>, Refused> {
        let mut found: Option<&Found<'_>> = None;
        for section in &self.sections {
            match names::reading(section.header, name) {
                Reading::Other => {}
                Reading::Disputed => {
                    return Err(section.line.refused(format!("the AWS CLI does not read this as {name}; write it so")));
                }
                Reading::Same => {
                    if let Some(first) = found {
                        let first = first.line.number;
                        return Err(section.line.refused(format!("{name} is there already, in line {first}")));
                    }
                    found = Some(section);
                }
            }
        }
        Ok(found)
    }

    /// Where a key is added to the section: behind its last one, and indented as that is. A deeper line would belong to
    /// that key, and an indented header behind a less deep one would belong to ours.
    pub(super) fn place_in(&self, section: &Found<'a>) -> (usize, &'a str) {
        if let Some(last) = section.entries.last() {
            return (last.end, last.indent);
        }
        let next = self.sections.iter().find(|other| other.line.start > section.line.start);
        let deeper = next.filter(|next| next.line.depth() > section.line.depth()).unwrap_or(section);
        (section.line.end, deeper.line.indent())
    }

    /// How to end a line that is added at an offset: as the line before it, else as the first one of the file.
    pub(super) fn newline(&self, at: usize) -> &'static str {
        let first = || lines(self.text).next().map_or("", |line| ending(&self.text[..line.end]));
        [ending(&self.text[..at]), first()].into_iter().find(|e| !e.is_empty()).unwrap_or("\n")
    }

    pub(super) fn last_line(&self) -> Option<Line<'a>> {
        lines(self.text).last()
    }

    /// Where the line begins that ends at this offset, if it has this content.
    pub(super) fn line_before(&self, at: usize, content: &str) -> Option<usize> {
        lines(self.text).find(|line| line.end == at && line.content == content).map(|line| line.start)
    }
}

impl<'a> Found<'a> {
    fn new(line: Line<'a>) -> Result<Self, Refused> {
        let inner = line.bare().strip_prefix('[').and_then(|rest| rest.rsplit_once(']'));
        match inner {
            Some((header, _)) if !header.is_empty() => Ok(Self { header, line, entries: Vec::new() }),
            _ => Err(line.refused("begins like a section and is none")),
        }
    }

    pub(super) fn header_range(&self) -> Range<usize> {
        self.line.start..self.line.end
    }

    /// The key in any case, as botocore looks it up.
    pub(super) fn entry(&self, key: &str) -> Result<Option<&Entry<'a>>, Refused> {
        let mut keys = BTreeMap::new();
        for entry in &self.entries {
            let number = entry.line.number;
            if let Some(first) = keys.insert(entry.key.to_lowercase(), number) {
                let cause = format!("key {} is there already, in line {first}", entry.key);
                return Err(entry.line.refused(cause));
            }
        }
        let key = key.to_lowercase();
        Ok(self.entries.iter().find(|entry| entry.key.to_lowercase() == key))
    }
}

impl<'a> Entry<'a> {
    fn new(line: Line<'a>) -> Result<Self, Refused> {
        let Some((key, rest)) = line.content.split_once(['=', ':']) else {
            return Err(line.refused("is neither a section nor a key with a value"));
        };
        let key = key.trim_matches(is_space);
        if key.is_empty() {
            return Err(line.refused("has a value without a key"));
        }
        let value = rest.trim_matches(is_space).to_owned();
        let (start, end, indent) = (line.start, line.end, line.indent());
        Ok(Self { key, value, indent, start, end, line, rest, has_gap: false })
    }

    fn continue_with(&mut self, line: Line<'a>) {
        self.has_gap |= self.end != line.start;
        self.value.push('\n');
        self.value.push_str(line.bare());
        self.end = line.end;
    }

    /// All its lines.
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    pub(super) fn check_replaceable(&self) -> Result<(), Refused> {
        let key = self.key;
        if self.value.starts_with('\n') {
            return Err(self.line.refused(format!("{key} holds a block of keys, not one value")));
        }
        if self.has_gap {
            return Err(self.line.refused(format!("the value of {key} has comments or blank lines in it")));
        }
        Ok(())
    }

    /// The first line up to where the value begins.
    pub(super) fn before_value(&self) -> String {
        let line = self.line.content;
        let value = self.rest.trim_start_matches(is_space);
        // Without a value, no blank behind the `=` is anyone's spacing.
        if value.is_empty() { format!("{} ", line.trim_end_matches(is_space)) } else { cut(line, value).to_owned() }
    }

    /// What the AWS SDKs take for a comment behind the value (`#` or `;` after a blank) and botocore does not.
    pub(super) fn comment(&self) -> Option<&'a str> {
        names::comment_start(self.rest).map(|at| self.rest[at..].trim_matches(is_space))
    }
}

/// `text` without the `end` that it ends with.
fn cut<'a>(text: &'a str, end: &str) -> &'a str {
    &text[..text.len() - end.len()]
}
