//! One step after the other on a text: each finds its place, makes a splice and records the change.

use std::ops::Range;

use super::lines::{self, Config, Entry, Found, ending, without_ending};
use super::names;
use super::{Change, Edited, Lead, Refused, Section, SectionName, What};

/// The text so far. It is read anew for each step: simple, and files are small.
pub(super) struct Editor {
    text: String,
    changes: Vec<Change>,
}

/// A range of the text and what comes there.
type Splice = (Range<usize>, String);

impl Editor {
    /// A text that can be read.
    pub(super) fn new(bytes: &[u8]) -> Result<Self, Refused> {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let line = bytes.iter().take(e.valid_up_to()).filter(|b| **b == b'\n').count() + 1;
            Refused::at(line, "is not UTF-8 text")
        })?;
        Config::parse(text)?;
        Ok(Self { text: text.to_owned(), changes: Vec::new() })
    }

    pub(super) fn done(self) -> Edited {
        Edited { text: self.text.into_bytes(), changes: self.changes }
    }

    /// Profiles and SSO sessions.
    pub(super) fn sections(&self) -> Result<Vec<Section>, Refused> {
        let config = Config::parse(&self.text)?;
        let key = |entry: &Entry<'_>| (entry.key.to_lowercase(), entry.value.clone());
        let section = |found: &Found<'_>| {
            Some(Section { name: names::named(found.header)?, keys: found.entries.iter().map(key).collect() })
        };
        Ok(config.sections.iter().filter_map(section).collect())
    }

    fn commit(&mut self, (range, text): Splice, section: &SectionName, what: What) {
        self.text.replace_range(range, &text);
        self.changes.push(Change { section: section.clone(), what });
    }

    /// The section is there, if need be without keys.
    pub(super) fn ensure_section(&mut self, name: &SectionName) -> Result<(), Refused> {
        let config = Config::parse(&self.text)?;
        if config.find(name)?.is_some() {
            return Ok(());
        }
        let at = self.text.len();
        let newline = config.newline(at);
        let last = config.last_line();
        let lead = Lead {
            newline: last.is_some() && ending(&self.text).is_empty(),
            blank: last.is_some_and(|line| !line.is_blank()),
        };
        let header = format!("{}{name}{newline}", lead.text(newline));
        self.commit((at..at, header), name, What::Created { lead });
        Ok(())
    }

    /// The key has the value, in a section that is there.
    pub(super) fn ensure_key(&mut self, name: &SectionName, key: &str, value: &str) -> Result<(), Refused> {
        let config = Config::parse(&self.text)?;
        let Some(section) = config.find(name)? else { return Ok(()) };
        let (splice, what) = match section.entry(key)? {
            Some(entry) if entry.value == value => return Ok(()),
            Some(entry) => self.replaced(&config, entry, value)?,
            None => self.added(&config, section, key, value),
        };
        self.commit(splice, name, what);
        Ok(())
    }

    fn added(&self, config: &Config<'_>, section: &Found<'_>, key: &str, value: &str) -> (Splice, What) {
        let (at, indent) = config.place_in(section);
        let newline = config.newline(at);
        let lead = Lead { newline: ending(&self.text[..at]).is_empty(), blank: false };
        let line = format!("{}{indent}{key} = {value}{newline}", lead.text(newline));
        ((at..at, line), What::Added { key: key.to_owned(), new: value.to_owned(), lead })
    }

    fn replaced(&self, config: &Config<'_>, entry: &Entry<'_>, value: &str) -> Result<(Splice, What), Refused> {
        entry.check_replaceable()?;
        let old_text = &self.text[entry.range()];
        let comment = entry.comment().map(|comment| format!("{}{comment}", entry.indent));
        let mut new_text = String::new();
        if let Some(comment) = &comment {
            new_text = format!("{comment}{}", config.newline(entry.start));
        }
        new_text.push_str(&entry.before_value());
        new_text.push_str(value);
        new_text.push_str(ending(old_text));
        let what = What::Replaced {
            key: entry.key.to_owned(),
            old: entry.value.clone(),
            new: value.to_owned(),
            old_text: old_text.to_owned(),
            comment,
        };
        Ok(((entry.range(), new_text), what))
    }

    /// Takes one change back, if what it made is still there.
    pub(super) fn undo(&mut self, change: &Change) -> Result<(), Refused> {
        let config = Config::parse(&self.text)?;
        let Some(section) = config.find(&change.section)? else { return Ok(()) };
        let splice = match &change.what {
            What::Created { lead } if section.entries.is_empty() => self.without(section.header_range(), *lead),
            What::Created { .. } => return Ok(()),
            What::Added { key, new, lead } => match section.entry(key)? {
                Some(entry) if entry.value == *new => self.without(entry.range(), *lead),
                _ => return Ok(()),
            },
            What::Replaced { key, new, old_text, comment, .. } => match section.entry(key)? {
                Some(entry) if entry.value == *new => self.restored(&config, entry, old_text, comment.as_deref()),
                _ => return Ok(()),
            },
        };
        if self.keeps_the_rest(&config, section.header, &change.what, &splice) {
            self.commit(splice, &change.section, change.what.clone());
        }
        Ok(())
    }

    /// Whether a splice leaves every other key its meaning: with a header gone, an indented one below it would become a
    /// part of the value above.
    fn keeps_the_rest(&self, config: &Config<'_>, header: &str, what: &What, (range, with): &Splice) -> bool {
        let ours = match what {
            What::Created { .. } => None,
            What::Added { key, .. } | What::Replaced { key, .. } => Some(key.to_lowercase()),
        };
        let others = |config: &Config<'_>| -> Vec<(String, String, String)> {
            let is_ours = |section: &str, key: &str| section == header && Some(key.to_lowercase()) == ours;
            let all = config.sections.iter().flat_map(|s| s.entries.iter().map(|e| (s.header, e)));
            let others = all.filter(|(section, entry)| !is_ours(section, entry.key));
            others.map(|(section, entry)| (section.to_owned(), entry.key.to_owned(), entry.value.clone())).collect()
        };
        let mut text = self.text.clone();
        text.replace_range(range.clone(), with);
        Config::parse(&text).is_ok_and(|after| others(&after) == others(config))
    }

    /// The splice that takes a range away, with what was put before it. The end of the line before goes only if nothing
    /// would stick to that line.
    fn without(&self, range: Range<usize>, lead: Lead) -> Splice {
        let mut before = &self.text[..range.start];
        if lead.blank && lines::ends_with_empty_line(before) {
            before = without_ending(before);
        }
        if lead.newline && range.end == self.text.len() {
            before = without_ending(before);
        }
        (before.len()..range.end, String::new())
    }

    /// The splice that brings back the old lines of a key, its comment behind the value again.
    fn restored(&self, config: &Config<'_>, entry: &Entry<'_>, old: &str, comment: Option<&str>) -> Splice {
        let mut range = entry.range();
        if let Some(line) = comment.and_then(|comment| config.line_before(range.start, comment)) {
            range.start = line;
        }
        let is_last = range.end == self.text.len();
        let end = if ending(old).is_empty() && !is_last { config.newline(range.end) } else { "" };
        (range, format!("{old}{end}"))
    }
}

impl Lead {
    fn text(self, newline: &str) -> String {
        newline.repeat(usize::from(self.newline) + usize::from(self.blank))
    }
}
