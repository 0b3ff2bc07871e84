//! Names in headers as botocore reads them, and what can be written so that every tool reads it back.
//!
//! Botocore splits a header as a shell would (`shlex.split`) and takes `profile NAME` of exactly two words.

use std::collections::BTreeSet;

use super::lines::is_space;
use super::{Refused, Section, SectionName};

/// What a header is to somebody who looks for a section.
pub(super) enum Reading {
    /// The section.
    Same,
    /// Another one, or none at all.
    Other,
    /// The section for this agent and some SDKs (which trim the header, and end it at a comment), not for the AWS CLI.
    Disputed,
}

/// Reads the text between a header's brackets.
pub(super) fn reading(header: &str, name: &SectionName) -> Reading {
    let lenient = header.split_once("] #").or_else(|| header.split_once("] ;")).map_or(header, |(inner, _)| inner);
    if named(header).as_ref() == Some(name) {
        Reading::Same
    } else if named(lenient.trim_matches(is_space)).as_ref() == Some(name) {
        Reading::Disputed
    } else {
        Reading::Other
    }
}

/// The header with its brackets.
pub(super) fn header(name: &SectionName) -> String {
    match name {
        SectionName::Profile(name) if name == "default" => "[default]".to_owned(),
        SectionName::Profile(name) => format!("[profile {}]", quoted(name)),
        SectionName::SsoSession(name) => format!("[sso-session {}]", quoted(name)),
    }
}

/// Refuses what could not be read back.
pub(super) fn check(wanted: &[Section]) -> Result<(), Refused> {
    let mut seen = BTreeSet::new();
    for Section { name, keys } in wanted {
        check_name(name)?;
        for (key, value) in keys {
            check_key(key)?;
            check_value(key, value)?;
            if !seen.insert((name, key.to_lowercase())) {
                return Err(Refused::wanted(format!("{key} is wanted twice in {name}")));
            }
        }
    }
    Ok(())
}

/// Where a comment begins: at `#` or `;` after a blank. Botocore knows no such thing, the AWS SDKs do.
pub(super) fn comment_start(value: &str) -> Option<usize> {
    let mut after_blank = false;
    value.char_indices().find_map(|(at, c)| {
        let found = after_blank && matches!(c, '#' | ';');
        after_blank = is_space(c);
        found.then_some(at)
    })
}

/// What botocore takes the text between a header's brackets for; `None`: neither a profile nor an SSO session.
pub(super) fn named(header: &str) -> Option<SectionName> {
    if header == "default" {
        return Some(SectionName::Profile(header.to_owned()));
    }
    let [kind, name] = <[String; 2]>::try_from(shell_words(header)?).ok()?;
    match kind.as_str() {
        // One that begins with a blank or a quote is none to botocore, whatever the shell would make of it.
        _ if !header.starts_with(&kind) => None,
        "profile" => Some(SectionName::Profile(name)),
        "sso-session" => Some(SectionName::SsoSession(name)),
        _ => None,
    }
}

/// In quotes unless it is so plain that every SDK reads it without.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-.%@:+/".contains(c);
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Python's `shlex.split`; `None` where that raises.
fn shell_words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some('"'), '\\') if matches!(chars.peek(), Some('"' | '\\')) => {
                word.get_or_insert_default().extend(chars.next())
            }
            (None, '\\') => word.get_or_insert_default().push(chars.next()?),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '\r' | '\n') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

fn check_name(name: &SectionName) -> Result<(), Refused> {
    let (SectionName::Profile(text) | SectionName::SsoSession(text)) = name;
    let cause = if text.is_empty() {
        "is empty"
    } else if text.contains(char::is_control) {
        "has a line break or control character"
    } else if text.contains([']', '[']) {
        "has a square bracket"
    } else {
        return Ok(());
    };
    Err(Refused::wanted(format!("the name {text:?} {cause}, which no section can have")))
}

fn check_key(key: &str) -> Result<(), Refused> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !key.is_empty() && key.chars().all(plain) {
        return Ok(());
    }
    Err(Refused::wanted(format!("{key:?} is not the name of a key")))
}

fn check_value(key: &str, value: &str) -> Result<(), Refused> {
    let cause = if value.is_empty() {
        "is empty"
    } else if value.contains(char::is_control) {
        "has a line break or control character"
    } else if value.starts_with(is_space) || value.ends_with(is_space) {
        "begins or ends with a blank"
    } else if value.starts_with(['#', ';']) || comment_start(value).is_some() {
        "has a # or ; after a blank, which begins a comment for some tools"
    } else {
        return Ok(());
    };
    Err(Refused::wanted(format!("the value of {key} {cause}")))
}
