//! From a file that somebody else wrote to a text that the SDK's parser takes as the AWS CLI does.
//!
//! The AWS CLI accepts three things at which the SDK's parser fails or looks away, and users have them: names in quotes
//! with blanks or letters beyond ASCII (`[profile "my team"]`), indented keys, and indented comments. So each line is
//! looked at once: such names get an alias that the parser accepts, and superfluous indentation goes. Line numbers stay.
//!
//! Values are left alone, but for those of secret keys: these are blanked, for nobody here needs them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use aws_runtime::env_config::file::EnvConfigFileKind;
use zeroize::Zeroizing;

use super::malformed;
use crate::core::failure::Failure;
use crate::core::status::Finding;
use crate::files::limits::{self, ReadError};

/// Most sections in a file.
const MAX_SECTIONS: usize = 10_000;
/// Findings of one kind; the rest would only hide the others.
pub(super) const MAX_FINDINGS: usize = 10;

/// A file for the parser.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) findings: Vec<Finding>,
}

/// Names that the parser would not accept, and what stands for them. One set for both files.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    by_name: BTreeMap<String, String>,
    by_alias: BTreeMap<String, String>,
}

/// Begins every alias. The characters are allowed in names; a name that begins like this is aliased itself.
const ALIAS: &str = "%agentctl%";

impl Aliases {
    fn intern(&mut self, name: &str) -> String {
        if is_identifier(name) {
            return name.to_owned();
        }
        let next = format!("{ALIAS}{}", self.by_name.len());
        self.by_name.entry(name.to_owned()).or_insert(next).clone()
    }

    /// Makes [`Aliases::name`] work; nothing is interned afterwards.
    pub(super) fn freeze(&mut self) {
        self.by_alias = self.by_name.iter().map(|(name, alias)| (alias.clone(), name.clone())).collect();
    }

    /// What the parser calls `name`.
    pub(super) fn parsed<'a>(&'a self, name: &'a str) -> &'a str {
        self.by_name.get(name).map_or(name, String::as_str)
    }

    /// What the user calls what the parser calls `parsed`.
    pub(super) fn name<'a>(&'a self, parsed: &'a str) -> &'a str {
        self.by_alias.get(parsed).map_or(parsed, String::as_str)
    }
}

/// The parser's rule for names (`validate_identifier` in aws-runtime).
fn is_identifier(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_-/.%@:+".contains(c);
    !name.is_empty() && name.chars().all(fine) && !name.starts_with(ALIAS)
}

/// A file's bytes, or why they were not read.
pub(super) type Bytes = Result<Zeroizing<Vec<u8>>, Failure>;

/// Reads the file. An absent one is empty.
pub(super) fn read(path: &Path) -> Bytes {
    match limits::read_config(path) {
        Ok(contents) => Ok(contents.bytes),
        Err(ReadError::Absent) => Ok(Zeroizing::default()),
        Err(other) => Err(malformed(path, None, &other.to_string())),
    }
}

/// Makes a file fit for the parser.
pub(super) fn fit(path: &Path, bytes: &[u8], kind: EnvConfigFileKind, aliases: &mut Aliases) -> Result<Text, Failure> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}'),
        Err(e) => {
            let line = bytes.iter().take(e.valid_up_to()).filter(|b| **b == b'\n').count() + 1;
            return Err(malformed(path, Some(line), "is not UTF-8 text"));
        }
    };
    let text = &*newlines(text);
    if let Some(at) = text.lines().position(|l| l.contains('\0')) {
        return Err(malformed(path, Some(at + 1), "holds a NUL byte"));
    }
    let mut fit = Fit { path, kind, aliases, findings: Vec::new(), sections: 0, indentation: None };
    let mut out = String::with_capacity(text.len() + 64);
    for (index, line) in text.lines().enumerate() {
        out.push_str(&fit.line(index + 1, line)?);
        out.push('\n');
    }
    let findings = fit.findings;
    Ok(Text { text: out, findings })
}

/// A carriage return ends a line, too, as it does for the AWS CLI (Python's universal newlines).
fn newlines(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

struct Fit<'a> {
    path: &'a Path,
    kind: EnvConfigFileKind,
    aliases: &'a mut Aliases,
    findings: Vec<Finding>,
    sections: usize,
    /// How far the last key of this section was indented; deeper lines belong to its value.
    indentation: Option<usize>,
}

impl Fit<'_> {
    fn line(&mut self, number: usize, line: &str) -> Result<String, Failure> {
        let bare = line.trim_start_matches([' ', '\t']);
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            return Ok(String::new());
        }
        if line.starts_with('[') {
            self.sections += 1;
            if self.sections > MAX_SECTIONS {
                return Err(malformed(self.path, Some(number), "one section too many (10,000)"));
            }
            self.indentation = None;
            return Ok(self.header(number, line).unwrap_or_else(|| line.to_owned()));
        }
        let depth = line.len() - bare.len();
        if self.sections == 0 || self.indentation.is_some_and(|key| depth > key) {
            // A key that slipped into the value before it may be a secret one.
            return Ok(format!("{}{}", &line[..depth], without_secret(bare)));
        }
        self.indentation = Some(depth);
        Ok(without_secret(bare))
    }

    /// The header as the parser wants it; `None` if it is none, which the parser then says better.
    fn header(&mut self, number: usize, line: &str) -> Option<String> {
        let (inner, after) = line.strip_prefix('[')?.rsplit_once(']')?;
        let (inner, after) = match inner.split_once("] #").or_else(|| inner.split_once("] ;")) {
            Some((name, _)) => (name.trim(), ""),
            None => (inner.trim(), after.trim()),
        };
        if !after.is_empty() && !after.starts_with(['#', ';']) {
            return None;
        }
        let rewritten = match self.kind {
            EnvConfigFileKind::Config => self.config_header(inner),
            EnvConfigFileKind::Credentials => self.credentials_header(inner),
        };
        Some(rewritten.unwrap_or_else(|fix| {
            if self.findings.len() < MAX_FINDINGS {
                self.findings.push(Finding::new(
                    "ignored-section",
                    format!("{}, line {number}: section [{inner}] is ignored", self.path.display()),
                    fix,
                ));
            }
            // Still a header, so that its keys fall into no other section; no kind of file accepts this one.
            "[profile !]".to_owned()
        }))
    }

    /// `[default]`, `[profile NAME]`, `[sso-session NAME]`, `[services NAME]`; or how to write what is meant.
    fn config_header(&mut self, inner: &str) -> Result<String, String> {
        let Some((prefix, rest)) = inner.split_once([' ', '\t']) else {
            return match inner {
                "default" => Ok("[default]".to_owned()),
                // Sections of the AWS CLI that are no profiles.
                "plugins" | "preview" | "toplevel" => Ok(format!("[{inner}]")),
                other => Err(format!("write [profile {other}]")),
            };
        };
        match unquoted(rest.trim()) {
            Some(name) => Ok(format!("[{prefix} {}]", self.aliases.intern(&name))),
            None => Err(format!("write the name in double quotes: [{prefix} \"my name\"]")),
        }
    }

    /// `[NAME]`: the whole text is the name, quotes and all.
    fn credentials_header(&mut self, inner: &str) -> Result<String, String> {
        match inner.split_once([' ', '\t']) {
            Some(("profile", name)) => Err(format!("in this file, write [{}]", name.trim())),
            _ if inner.is_empty() => Err("name the section".to_owned()),
            _ => Ok(format!("[{}]", self.aliases.intern(inner))),
        }
    }
}

/// A name as a shell would read it (the AWS CLI uses `shlex`): one word, or several in quotes. `None` for anything
/// else, which the AWS CLI ignores too.
fn unquoted(text: &str) -> Option<String> {
    let quoted = |q: char| text.strip_prefix(q)?.strip_suffix(q).filter(|t| !t.is_empty());
    if let Some(name) = quoted('\'') {
        return (!name.contains('\'')).then(|| name.to_owned());
    }
    if let Some(name) = quoted('"') {
        let plain = name.replace("\\\\", "").replace("\\\"", "");
        return (!plain.contains(['"', '\\'])).then(|| name.replace("\\\"", "\"").replace("\\\\", "\\"));
    }
    let is_word = !text.is_empty() && !text.contains([' ', '\t', '\'', '"', '\\']);
    is_word.then(|| text.to_owned())
}

/// The line, its value blanked if the key is a secret's.
fn without_secret(line: &str) -> String {
    const SECRETS: [&str; 3] = ["aws_secret_access_key", "aws_session_token", "aws_security_token"];
    match line.split_once('=') {
        Some((key, value)) if !value.trim().is_empty() => {
            let key = key.trim();
            let is_secret = SECRETS.iter().any(|s| key.eq_ignore_ascii_case(s));
            if is_secret { format!("{key} = blanked") } else { line.to_owned() }
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_a_shell_would() {
        for (text, name) in [
            ("dev", Some("dev")),
            ("\"my team\"", Some("my team")),
            ("'my team'", Some("my team")),
            (r#""a \"b\" \\c""#, Some(r#"a "b" \c"#)),
            ("émile", Some("émile")),
            ("my team", None),
            ("it's", None),
            ("\"", None),
            ("\"\"", None),
            ("", None),
            (r#""a"b""#, None),
        ] {
            assert_eq!(unquoted(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn aliases_are_one_to_one() {
        let mut aliases = Aliases::default();
        let (a, b, again) = (aliases.intern("my team"), aliases.intern("%agentctl%0"), aliases.intern("my team"));
        assert_eq!(a, again);
        assert_ne!(a, b);
        assert_eq!(aliases.intern("dev"), "dev");
        aliases.freeze();
        assert_eq!((aliases.name(&a), aliases.name(&b), aliases.name("dev")), ("my team", "%agentctl%0", "dev"));
        assert_eq!(aliases.parsed("my team"), a);
    }

    #[test]
    fn secrets_are_blanked() {
        assert_eq!(without_secret("AWS_Secret_Access_Key=abc=d"), "AWS_Secret_Access_Key = blanked");
        assert_eq!(without_secret("aws_session_token ="), "aws_session_token =");
        assert_eq!(without_secret("region = x"), "region = x");
    }
}
