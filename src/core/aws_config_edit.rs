//! A line-preserving edit of `~/.aws/config`: text and wanted sections in, text and a list of changes out.
//!
//! The file belongs to the user, and many tools read it. So only the lines that have to change do; every other byte
//! stays, with line endings, comments, nested blocks and a byte order mark. The text is read as botocore reads it
//! (Python's `configparser`, `shlex` for names), since what is written here is meant for the AWS CLI and boto3.
//!
//! Invariants: an edit that is applied again changes nothing; [`remove`] with the changes of [`apply`] gives back the
//! text to the byte if nobody touched it in between; a text that the AWS CLI would refuse is refused, not guessed at.
//!
//! Botocore knows no comment behind a value: `region = x # mine` has the value `x # mine`. A value that is replaced
//! therefore leaves its comment on a line of its own above the key.
//!
//! It deliberately does no I/O, takes no lock, edits no nested key and does not check what a value means. It is not for
//! secrets: old and new values are in the changes, to be shown and kept for `--undo`.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::core::failure::{Failure, FailureClass, one_line};

mod editor;
mod lines;
mod names;

use self::editor::Editor;

/// What a section is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SectionName {
    /// `[profile NAME]`, or `[default]`.
    Profile(String),
    /// `[sso-session NAME]`.
    SsoSession(String),
}

/// The header, with the name in quotes where botocore needs them.
impl fmt::Display for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&names::header(self))
    }
}

/// A section that the file is to have, with these keys at least, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Which one.
    pub name: SectionName,
    /// Keys and values. Values go in as they are: one line, no blanks at the ends, nothing that reads as a comment.
    pub keys: Vec<(String, String)>,
}

/// The text after an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The whole file.
    pub text: Vec<u8>,
    /// What [`apply`] changed, or what [`remove`] took back, in the order in which it was done.
    pub changes: Vec<Change>,
}

impl Edited {
    /// Whether the text is the one that went in.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.changes.is_empty()
    }
}

/// One change. Serialised, it is what `--undo` keeps. Its text is for people: `adds region = x to [profile dev]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The section.
    pub section: SectionName,
    /// What happened to it.
    pub what: What,
}

/// What happened to a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It was appended, without keys; each of them is an [`What::Added`] of its own.
    Created {
        /// What was put before its header.
        lead: Lead,
    },
    /// A key that it did not have.
    Added {
        /// The key.
        key: String,
        /// The value.
        new: String,
        /// What was put before the line.
        lead: Lead,
    },
    /// A key that had another value.
    Replaced {
        /// The key.
        key: String,
        /// The value before, as botocore reads it; lines are separated by `\n`.
        old: String,
        /// The value now.
        new: String,
        /// The lines before, to the byte.
        old_text: String,
        /// The line that holds the comment which stood behind the value.
        comment: Option<String>,
    },
}

/// What was put before an added line, so that it can go again with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The end of the line before, which had none.
    pub newline: bool,
    /// A blank line.
    pub blank: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |text: &str| one_line(text, 200);
        let section = short(&self.section.to_string());
        match &self.what {
            What::Created { .. } => write!(f, "adds {section}"),
            What::Added { key, new, .. } => write!(f, "adds {key} = {} to {section}", short(new)),
            What::Replaced { key, old, new, .. } => {
                write!(f, "replaces {key} = {} with {} in {section}", short(old), short(new))
            }
        }
    }
}

/// Why a text is not edited. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The line of the file, from 1; `None` when the fault is in what was wanted.
    pub line: Option<usize>,
    /// A lower-case fragment.
    pub cause: String,
}

impl Refused {
    fn at(line: usize, cause: impl Into<String>) -> Self {
        Self { line: Some(line), cause: cause.into() }
    }

    fn wanted(cause: impl Into<String>) -> Self {
        Self { line: None, cause: cause.into() }
    }

    /// Always [`FailureClass::Misconfigured`].
    #[must_use]
    pub const fn class(&self) -> FailureClass {
        FailureClass::Misconfigured
    }

    /// The failure as a person sees it, for the file at `path`.
    #[must_use]
    pub fn failure(&self, path: &Path) -> Failure {
        let (path, cause) = (path.display(), &self.cause);
        match self.line {
            Some(line) => Failure::new(
                self.class(),
                format!("{path}, line {line}: {cause}"),
                format!("correct line {line} of {path}"),
            ),
            None => Failure::new(self.class(), cause, "choose another one"),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.cause),
            None => f.write_str(&self.cause),
        }
    }
}

impl std::error::Error for Refused {}

/// Makes the file have what is wanted.
///
/// An absent section goes to the end, after a blank line. In one that exists, a key with another value gets the wanted
/// one in place (its spelling, indentation and the spacing around `=` stay), and an absent key goes behind the last key
/// of the section, indented as that one is. An added line ends as the line before it does.
///
/// # Errors
/// [`Refused`] if a value, key or name cannot be written so that it is read back, and if the text is none that the AWS
/// CLI reads: no UTF-8, a line without meaning, a section twice, a key twice in a section that is to be edited. Also if
/// a value to be replaced is a nested block or has comments or blank lines in it.
pub fn apply(original: &[u8], wanted: &[Section]) -> Result<Edited, Refused> {
    names::check(wanted)?;
    let mut editor = Editor::new(original)?;
    for section in wanted {
        editor.ensure_section(&section.name)?;
        for (key, value) in &section.keys {
            editor.ensure_key(&section.name, key, value)?;
        }
    }
    Ok(editor.done())
}

/// The profiles and `[sso-session]`s of a text, with their keys in lower case and their values as botocore reads them.
///
/// # Errors
/// [`Refused`] if the text is none that the AWS CLI reads (see [`apply`]).
pub fn read(text: &[u8]) -> Result<Vec<Section>, Refused> {
    Editor::new(text)?.sections()
}

/// Takes back what [`apply`] changed, in a file that others may have touched since; the changes of several edits may be
/// chained in their order.
///
/// A key goes, or gets its old lines back, only while it has our value; a section that we added goes when no key is left
/// in it. A comment that somebody put there stays.
///
/// # Errors
/// [`Refused`] if the text is none that the AWS CLI reads (see [`apply`]).
pub fn remove(current: &[u8], added: &[Change]) -> Result<Edited, Refused> {
    let mut editor = Editor::new(current)?;
    for change in added.iter().rev() {
        editor.undo(change)?;
    }
    Ok(editor.done())
}

#[cfg(test)]
mod tests;
