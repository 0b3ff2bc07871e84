//! Claude Code's `settings.json`, merged: text in, text and a list of changes out.
//!
//! * Only the keys that are asked for change. Everything else stays byte for byte: other keys, their order, comments,
//!   trailing commas, indentation, line ends, a byte order mark.
//! * What cannot be read for certain is refused, with the line: no JSON, anything but an object at the top, a key of ours
//!   that stands there twice.
//! * Applying twice changes nothing more; [`undo`] takes back what is still as it was made.
//!
//! Each result is read again and held against what was meant before anybody gets it.

use jsonc_parser::cst::{CstInputValue, CstObject, CstObjectProp, CstRootNode};
use jsonc_parser::{CollectOptions, ParseOptions, ast, parse_to_ast, parse_to_serde_value};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::failure::{Failure, FailureClass};

pub mod keys;

/// The byte order mark that some editors write.
const BOM: &str = "\u{feff}";
/// Deeper keys than `env.NAME` are not ours.
const DEEPEST: usize = 2;

/// A key, from the top: `["env", "AWS_REGION"]`.
pub type Key = Vec<String>;

/// A key and what it should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The key.
    pub key: Key,
    /// Its value; `None`: it should not be there.
    pub value: Option<Value>,
}

/// One change that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// What it held; `None`: it was not there.
    pub before: Option<Value>,
    /// What it holds now; `None`: it is gone.
    pub after: Option<Value>,
}

/// A file as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What is different, in order; empty: nothing.
    pub changes: Vec<Change>,
}

impl Wanted {
    /// The key should hold this.
    #[must_use]
    pub fn set(key: &[&str], value: impl Into<Value>) -> Self {
        Self { key: key.iter().map(|&part| part.to_owned()).collect(), value: Some(value.into()) }
    }

    /// The key should not be there.
    #[must_use]
    pub fn remove(key: &[&str]) -> Self {
        Self { key: key.iter().map(|&part| part.to_owned()).collect(), value: None }
    }
}

/// Makes the file say what is wanted. An empty one begins a new object.
///
/// # Errors
/// Class `misconfigured`: it cannot be read for certain; the line is named.
pub fn apply(original: &[u8], wanted: &[Wanted]) -> Result<Edited, Failure> {
    let (bom, text) = text_of(original)?;
    let before = document(text)?;
    for Wanted { key, .. } in wanted {
        refuse_doubles(text, key)?;
    }
    let root = parse(if text.trim().is_empty() { "{}\n" } else { text })?;
    let mut changes = Vec::new();
    let mut after = before.clone();
    for Wanted { key, value } in wanted {
        let top = root.object_value().ok_or_else(no_object)?;
        set(&top, key, value.as_ref(), &mut after, &mut changes)?;
    }
    if changes.is_empty() {
        return Ok(Edited { bytes: original.to_vec(), changes });
    }
    checked(bom, &root.to_string(), &after, changes)
}

/// The line at which Claude Code stops to read, and ignores the whole file: it takes strict JSON only (measured with 2.1.328:
/// no comment, no trailing comma; a byte order mark and a key that stands there twice are fine).
#[must_use]
pub fn ignored_from(original: &[u8]) -> Option<usize> {
    let text = original.strip_prefix(BOM.as_bytes()).unwrap_or(original);
    // An empty one is fine.
    if text.trim_ascii().is_empty() {
        return None;
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(text).err().map(|e| e.line())
}

/// Takes changes back, where the file still says what they made of it.
///
/// # Errors
/// As [`apply`].
pub fn undo(current: &[u8], changes: &[Change]) -> Result<Edited, Failure> {
    let (_, text) = text_of(current)?;
    let now = document(text)?;
    let still = |change: &&Change| match (lookup(&now, &change.key), &change.after) {
        // A group that we began goes when nothing of others came into it.
        (Some(Value::Object(_)), Some(Value::Object(empty))) if empty.is_empty() => true,
        (held, after) => held == after.as_ref(),
    };
    let mut edited = Edited { bytes: current.to_vec(), changes: Vec::new() };
    for change in changes.iter().rev().filter(still) {
        if is_group(change) && !is_empty_group(&edited.bytes, &change.key) {
            continue;
        }
        let wanted = Wanted { key: change.key.clone(), value: change.before.clone() };
        let step = apply(&edited.bytes, &[wanted])?;
        edited.bytes = step.bytes;
        edited.changes.extend(step.changes);
    }
    Ok(edited)
}

/// What the file says; an empty one says `{}`.
///
/// # Errors
/// As [`apply`].
pub fn read(bytes: &[u8]) -> Result<Map<String, Value>, Failure> {
    document(text_of(bytes)?.1)
}

fn is_group(change: &Change) -> bool {
    change.before.is_none() && matches!(&change.after, Some(Value::Object(map)) if map.is_empty())
}

fn is_empty_group(bytes: &[u8], key: &[String]) -> bool {
    let held = read(bytes).ok().and_then(|now| lookup(&now, key).cloned());
    matches!(held, Some(Value::Object(map)) if map.is_empty())
}

fn lookup<'a>(map: &'a Map<String, Value>, key: &[String]) -> Option<&'a Value> {
    let (first, rest) = key.split_first()?;
    let value = map.get(first)?;
    if rest.is_empty() { Some(value) } else { lookup(value.as_object()?, rest) }
}

fn set(
    object: &CstObject,
    key: &[String],
    value: Option<&Value>,
    document: &mut Map<String, Value>,
    changes: &mut Vec<Change>,
) -> Result<(), Failure> {
    set_within(object, &[], key, value, document, changes)
}

/// `above` is where `object` stands, `document` what it says.
fn set_within(
    object: &CstObject,
    above: &[String],
    key: &[String],
    value: Option<&Value>,
    document: &mut Map<String, Value>,
    changes: &mut Vec<Change>,
) -> Result<(), Failure> {
    let Some((first, rest)) = key.split_first().filter(|_| above.len() < DEEPEST) else { return Ok(()) };
    let here: Key = above.iter().chain([first]).cloned().collect();
    if rest.is_empty() {
        let before = document.get(first).cloned();
        if before.as_ref() == value {
            return Ok(());
        }
        match (value, property(object, first)) {
            (Some(value), Some(property)) => property.set_value(input(value)),
            (Some(value), None) => drop(object.append(first, input(value))),
            (None, Some(property)) => property.remove(),
            (None, None) => {}
        }
        match value {
            Some(value) => drop(document.insert(first.clone(), value.clone())),
            None => drop(document.shift_remove(first)),
        }
        changes.push(Change { key: here, before, after: value.cloned() });
        return Ok(());
    }
    if !document.contains_key(first) {
        if value.is_none() {
            return Ok(());
        }
        object.append(first, CstInputValue::Object(Vec::new()));
        document.insert(first.clone(), Value::Object(Map::new()));
        changes.push(Change { key: here.clone(), before: None, after: Some(Value::Object(Map::new())) });
    }
    let inner = property(object, first).and_then(|property| property.object_value());
    match (inner, document.get_mut(first)) {
        (Some(inner), Some(Value::Object(map))) => set_within(&inner, &here, rest, value, map, changes),
        _ => Err(refused(&format!("'{first}' is no object"), None)),
    }
}

fn property(object: &CstObject, name: &str) -> Option<CstObjectProp> {
    object.properties().into_iter().find(|p| p.decoded_name().as_deref() == Some(name))
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(b) => CstInputValue::Bool(*b),
        Value::Number(n) => CstInputValue::Number(n.to_string()),
        Value::String(s) => CstInputValue::String(s.clone()),
        Value::Array(all) => CstInputValue::Array(all.iter().map(input).collect()),
        Value::Object(map) => CstInputValue::Object(map.iter().map(|(k, v)| (k.clone(), input(v))).collect()),
    }
}

/// What Claude Code reads, and no more of JSON's kin.
fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_loose_object_property_names: false,
        allow_trailing_commas: true,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn text_of(bytes: &[u8]) -> Result<(&str, &str), Failure> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        refused("is not UTF-8", Some(line))
    })?;
    Ok(text.strip_prefix(BOM).map_or(("", text), |rest| (BOM, rest)))
}

fn parse(text: &str) -> Result<CstRootNode, Failure> {
    CstRootNode::parse(text, &options()).map_err(|e| refused(&cause(e.kind()), Some(e.line_display())))
}

fn document(text: &str) -> Result<Map<String, Value>, Failure> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let value: Option<Value> =
        parse_to_serde_value(text, &options()).map_err(|e| refused(&cause(e.kind()), Some(e.line_display())))?;
    match value {
        Some(Value::Object(map)) => Ok(map),
        // Comments alone.
        None => Err(refused("holds no object", None)),
        Some(_) => Err(no_object()),
    }
}

fn cause(kind: &jsonc_parser::errors::ParseErrorKind) -> String {
    let words = kind.to_string();
    let mut letters = words.chars();
    letters.next().map(|c| c.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn no_object() -> Failure {
    refused("is no object at the top", Some(1))
}

/// A key that stands there twice means different things to different readers.
fn refuse_doubles(text: &str, key: &[String]) -> Result<(), Failure> {
    let Ok(parsed) = parse_to_ast(text, &CollectOptions::default(), &options()) else { return Ok(()) };
    let mut value = parsed.value.as_ref();
    for part in key {
        let Some(ast::Value::Object(object)) = value else { return Ok(()) };
        let mut named = object.properties.iter().filter(|p| p.name.as_str() == part);
        let first = named.next();
        if let Some(second) = named.next() {
            let line = text[..second.range.start].matches('\n').count() + 1;
            return Err(refused(&format!("holds '{}' twice", key.join(".")), Some(line)));
        }
        value = first.map(|property| &property.value);
    }
    Ok(())
}

fn checked(bom: &str, text: &str, meant: &Map<String, Value>, changes: Vec<Change>) -> Result<Edited, Failure> {
    match document(text) {
        Ok(says) if says == *meant => Ok(Edited { bytes: format!("{bom}{text}").into_bytes(), changes }),
        _ => Err(refused("cannot be edited for certain: edit it by hand", None)),
    }
}

/// The file's name is put before it by whoever knows it.
fn refused(what: &str, line: Option<usize>) -> Failure {
    let (message, fix) = match line {
        Some(line) => (format!("line {line}: {what}"), format!("correct line {line}; nothing was changed")),
        None => (what.to_owned(), "correct it; nothing was changed".to_owned()),
    };
    Failure::new(FailureClass::Misconfigured, message, fix)
}

#[cfg(test)]
mod tests;
