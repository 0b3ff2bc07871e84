//! Reads the sources and holds them against the house rules: the layer table, file sizes, clocks, SDK clients.
//!
//! Each rule is a function from (path, text) to complaints, and each is shown a planted violation first: a rule that
//! cannot fail is no rule.

use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 500;

/// The rooms that a room may name; its own is always allowed.
const LAYERS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("api", &["core"]),
    ("net", &["core", "files", "platform"]),
    ("platform", &["core"]),
    ("aws", &["core", "net", "files", "platform"]),
    ("files", &["core", "platform"]),
    ("ipc", &["core", "api", "platform"]),
    ("daemon", &["core", "api", "net", "platform", "aws", "files", "ipc"]),
    ("cli", &["core", "api", "ipc", "files", "platform"]),
];

/// Crates that the pure core may use.
const PURE_CRATES: &[&str] = &[
    "std",
    "core",
    "chrono",
    "serde",
    "serde_json",
    "zeroize",
    "strsim",
    "sha1",
    "jsonc_parser",
    "super",
    "crate",
    "self",
];
/// What of std would make the core impure.
const IMPURE_STD: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "Instant",
    "SystemTime",
    "async fn",
    "println!",
    "eprintln!",
    ".now()",
    "Utc::now",
    "Local::now",
];
const CLOCKS: &[&str] = &["SystemTime::now", "Instant::now", "Utc::now", "Local::now"];
const SDK: &[&str] = &["aws_sdk_", "aws_config", "aws_smithy_", "aws_runtime", "aws_types", "aws_credential_types"];
const RUNTIME: &[&str] = &["tokio", "hyper", "axum"];

fn room(path: &str) -> Option<&str> {
    path.strip_prefix("src/")?.split('/').next().filter(|r| !r.ends_with(".rs") && *r != "bin")
}

/// Code without comments, strings left alone: good enough for imports and calls.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(n, line)| {
        let line = line.split("//").next().unwrap_or_default();
        (!line.trim().is_empty()).then_some((n + 1, line))
    })
}

/// Whether `line` names `word` as a path segment of its own, or one that begins with it if it ends with `_`.
fn names(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        !before.is_some_and(inside) && (!word.ends_with(char::is_alphanumeric) || !after.is_some_and(inside))
    })
}

fn layer_complaints(path: &str, text: &str) -> Vec<String> {
    let Some(room) = room(path) else { return Vec::new() };
    let allowed = LAYERS.iter().find(|(r, _)| *r == room).map(|(_, a)| *a);
    let Some(allowed) = allowed else { return vec![format!("{path}: room '{room}' is not in the layer table")] };
    let mut complaints = Vec::new();
    for (n, line) in code(text) {
        for (other, _) in LAYERS.iter().filter(|(o, _)| *o != room && !allowed.contains(o)) {
            if names(line, &format!("crate::{other}::")) || line.contains(&format!("use crate::{other};")) {
                complaints.push(format!("{path}:{n}: {room} must not use {other}: {}", line.trim()));
            }
        }
        if room != "aws" && SDK.iter().any(|s| names(line, s)) {
            complaints.push(format!("{path}:{n}: only aws uses the SDK: {}", line.trim()));
        }
        if !["daemon", "ipc", "aws"].contains(&room) && RUNTIME.iter().any(|r| names(line, &format!("{r}::"))) {
            complaints.push(format!("{path}:{n}: only daemon and ipc know the async runtime: {}", line.trim()));
        }
    }
    complaints
}

fn purity_complaints(path: &str, text: &str) -> Vec<String> {
    if room(path) != Some("core") || path.contains("tests") {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (n, line) in code(text).take_while(|(_, l)| !l.contains("#[cfg(test)]")) {
        // Imports within a function only rename what is there already.
        if let Some(import) = line.strip_prefix("use ").or_else(|| line.strip_prefix("pub use ")) {
            let root = import.split([':', ';', ' ']).next().unwrap_or_default();
            let own_module = root.chars().all(|c| c.is_lowercase() || c == '_')
                && import.starts_with(&format!("{root}::"))
                && Path::new("src/core").join(format!("broker/{root}.rs")).exists();
            if !PURE_CRATES.contains(&root) && !own_module {
                complaints.push(format!("{path}:{n}: core must not import {root}"));
            }
        }
        for word in IMPURE_STD.iter().filter(|w| line.contains(**w)) {
            complaints.push(format!("{path}:{n}: core is pure, no {word}"));
        }
    }
    complaints
}

fn clock_complaints(path: &str, text: &str) -> Vec<String> {
    if room(path) == Some("platform") {
        return Vec::new();
    }
    let found = code(text).filter(|(_, line)| CLOCKS.iter().any(|c| line.contains(c)));
    found.map(|(n, line)| format!("{path}:{n}: only platform reads clocks: {}", line.trim())).collect()
}

fn size_complaints(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    if lines > MAX_LINES { vec![format!("{path}: {lines} lines, more than {MAX_LINES}")] } else { Vec::new() }
}

fn lint_complaints(path: &str, text: &str) -> Vec<String> {
    let found = code(text).filter(|(_, line)| line.contains("#[allow(") || line.contains("#![allow("));
    found.map(|(n, _)| format!("{path}:{n}: #[expect(lint, reason = ...)] instead of #[allow]")).collect()
}

type Rule = fn(&str, &str) -> Vec<String>;
const RULES: &[Rule] = &[layer_complaints, purity_complaints, clock_complaints, size_complaints, lint_complaints];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // What cargo-fuzz builds and finds beside its targets is nobody's source.
            if !["target", "corpus", "artifacts"].iter().any(|made| path.ends_with(made)) {
                sources(&path, into);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn the_sources_keep_the_house_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "examples"] {
        sources(&root.join(folder), &mut files);
    }
    assert!(files.len() > 50, "the sources were not found");
    let mut complaints = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        let rules: &[Rule] = if path.starts_with("src/") { RULES } else { &[size_complaints] };
        complaints.extend(rules.iter().flat_map(|rule| rule(&path, &text)));
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn each_rule_finds_a_planted_violation() {
    let planted: &[(Rule, &str, &str)] = &[
        (layer_complaints, "src/core/x.rs", "use crate::aws::Aws;"),
        (layer_complaints, "src/cli/x.rs", "    crate::daemon::run::main();"),
        (layer_complaints, "src/cli/x.rs", "use aws_sdk_sso::Client;"),
        (layer_complaints, "src/cli/x.rs", "use aws_config::load;"),
        (layer_complaints, "src/cli/x.rs", "use aws_smithy_types::Blob;"),
        (layer_complaints, "src/files/x.rs", "use tokio::fs;"),
        (layer_complaints, "src/attic/x.rs", ""),
        (purity_complaints, "src/core/x.rs", "use std::fs;"),
        (purity_complaints, "src/core/x.rs", "use tokio::time::sleep;"),
        (purity_complaints, "src/core/x.rs", "use tracing::info;"),
        (purity_complaints, "src/core/x.rs", "use fastrand::u64;"),
        (purity_complaints, "src/core/x.rs", "    let t = std::time::Instant::now();"),
        (purity_complaints, "src/core/x.rs", "pub async fn step() {}"),
        (clock_complaints, "src/daemon/x.rs", "    let now = SystemTime::now();"),
        (lint_complaints, "src/api/x.rs", "#[allow(dead_code)]"),
    ];
    for (rule, path, text) in planted {
        assert!(!rule(path, text).is_empty(), "not found in {path}: {text}");
    }
    assert!(!size_complaints("src/api/x.rs", &"\n".repeat(MAX_LINES + 1)).is_empty());
    // And what is allowed is not complained about.
    assert!(layer_complaints("src/daemon/x.rs", "use crate::aws::Aws;\nuse tokio::sync::mpsc;").is_empty());
    assert!(layer_complaints("src/cli/x.rs", "use crate::core::aws_config_edit::apply;").is_empty());
    assert!(purity_complaints("src/core/x.rs", "use std::collections::BTreeMap;\n// std::fs is not used").is_empty());
}
