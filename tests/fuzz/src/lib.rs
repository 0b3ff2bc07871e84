//! What must hold whatever somebody writes into our files or sends to our socket.
//!
//! Each module has one `check`, which takes any bytes and panics where a rule is broken. libFuzzer calls it (targets/),
//! and so do the ordinary tests (tests/core/fuzz.rs), with the seeds and with what comes of changing them.

pub mod api_answer;
pub mod api_request;
pub mod aws_config;
pub mod config_toml;
pub mod timestamps;
pub mod token_file;

use aws_credential_agent::core::failure::Failure;

/// A failure is one line for a person: not empty, not too long, and nothing that plays tricks on a terminal.
#[track_caller]
fn check_plain(failure: &Failure) {
    assert!(!failure.message.is_empty(), "nothing is said");
    check_line(&failure.line());
}

/// One short line of plain text.
#[track_caller]
fn check_line(line: &str) {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(line.chars().count() <= Failure::MAX_CHARS, "too long: {line}");
    assert!(!line.contains(|c: char| c.is_control() || turns(c)), "not plain: {line:?}");
}

/// A number that the input decides, so that one input is always checked in one way.
fn draw(data: &[u8]) -> usize {
    data.iter().fold(data.len(), |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)))
}

/// A place to cut `text`, between characters and before its end.
fn cut(text: &str, draw: usize) -> usize {
    let at = draw.checked_rem(text.len()).unwrap_or_default();
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

/// Values that stand in the text once only, behind one of `keys` and `=`: what no message may quote.
fn values_of<'a>(text: &'a str, keys: &[&str]) -> Vec<&'a str> {
    let secret = |line: &'a str| {
        let (key, value) = line.split_once('=')?;
        keys.iter()
            .any(|k| key.trim().eq_ignore_ascii_case(k))
            .then(|| value.trim_matches([' ', '\t', '\r', '"', '\'']))
    };
    // A short one may stand in any sentence by chance.
    let telling = |value: &&str| value.len() >= 8 && text.matches(*value).count() == 1;
    text.lines().filter_map(secret).filter(telling).collect()
}
