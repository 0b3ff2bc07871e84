//! Words for people that more than one room needs: spans of time, and "did you mean".

use std::time::Duration;

/// A span for people, rounded down: `42 s`, `8 min 5 s`, `42 min`, `7 h 12 min`, `3 d 4 h`; below a second `500 ms`.
#[must_use]
pub fn span(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0 if !d.is_zero() => format!("{} ms", d.as_millis().max(1)),
        0..60 => format!("{s} s"),
        60..600 => two(s / 60, "min", s % 60, "s"),
        600..3_600 => format!("{} min", s / 60),
        3_600..86_400 => two(s / 3_600, "h", s % 3_600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3_600, "h"),
    }
}

fn two(major: u64, major_unit: &str, minor: u64, minor_unit: &str) -> String {
    if minor == 0 { format!("{major} {major_unit}") } else { format!("{major} {major_unit} {minor} {minor_unit}") }
}

/// Longer names are not compared: nobody types them, and comparing costs the product of both lengths.
const MAX_COMPARED: usize = 256;

/// How much comparing one "did you mean" is worth, in letters by letters: some ten thousand names of people, a few tens
/// of milliseconds. Files with more than that were written by machines.
pub const MOST_STEPS: usize = 4_000_000;

/// Up to `most` of the known names that are like a misspelt one, likest first: a third of the letters, but at least
/// two, may differ, or one holds the other.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    let mut steps = MOST_STEPS;
    nearest_within(&mut steps, name, known, most)
}

/// The same for many names, which share `steps` ([`MOST_STEPS`]): once they are used up, nothing is like anything.
#[must_use]
pub fn nearest_within<'a>(
    steps: &mut usize,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    most: usize,
) -> Vec<&'a str> {
    if name.is_empty() || name.len() > MAX_COMPARED {
        return Vec::new();
    }
    let name = name.to_lowercase();
    let letters = name.chars().count();
    let mut scored = Vec::new();
    for known in known.into_iter().filter(|k| k.len() <= MAX_COMPARED) {
        let (lower, length) = (known.to_lowercase(), known.chars().count());
        let (differ, holds) = (2.max(length / 3), lower.contains(&name));
        let is_close = letters.abs_diff(length) <= differ;
        let cost = if is_close || holds { lower.len() * name.len() } else { lower.len() };
        let Some(left) = steps.checked_sub(cost) else { break };
        *steps = left;
        if !is_close && !holds {
            continue;
        }
        let distance = strsim::damerau_levenshtein(&name, &lower);
        if distance <= differ || holds {
            scored.push((distance, known));
        }
    }
    scored.sort_unstable();
    scored.dedup();
    scored.into_iter().take(most).map(|(_, k)| k).collect()
}

/// The first word of a command line as a POSIX shell reads it, without what it would put in place of `$`; `None`: there is
/// none, or a quote stays open.
#[must_use]
pub fn first_word(command: &str) -> Option<String> {
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    let mut letters = command.trim_start().chars().peekable();
    while let Some(c) = letters.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => return Some(word),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            // Before anything else it is a folder's of Windows.
            (None | Some('"'), '\\') if letters.peek().is_some_and(|c| " \t\\'\"".contains(*c)) => {
                word.extend(letters.next());
            }
            (_, c) => word.push(c),
        }
        begun = true;
    }
    (begun && quote.is_none()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (125, "2 min 5 s"), (2_520, "42 min"), (25_920, "7 h 12 min")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(span(Duration::from_millis(500)), "500 ms");
        assert_eq!(span(Duration::from_micros(5)), "1 ms");
        assert!(span(Duration::MAX).ends_with(" h"));
    }

    #[test]
    fn the_first_word_is_found_as_a_shell_finds_it() {
        for (command, word) in [
            ("/bin/x --y", Some("/bin/x")),
            (" \"/a b/x\" --y", Some("/a b/x")),
            (r"'/it'\''s here/x' --y", Some("/it's here/x")),
            (r"/a\ b/x", Some("/a b/x")),
            (r"C:\x\y.exe --z", Some(r"C:\x\y.exe")),
            ("'' x", Some("")),
            ("", None),
            ("'open", None),
        ] {
            assert_eq!(first_word(command).as_deref(), word, "{command}");
        }
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbours() {
        let known = ["dev", "dev-admin", "prod", "staging"];
        assert_eq!(nearest("devv", known, 3), ["dev"]);
        assert_eq!(nearest("DEV", known, 3), ["dev", "dev-admin"]);
        assert_eq!(nearest("stagin", known, 3), ["staging"]);
        assert_eq!(nearest("zzzzzz", known, 3), [""; 0]);
        assert_eq!(nearest(&"x".repeat(10_000), known, 3), [""; 0]);
    }

    #[test]
    fn comparing_has_an_end() {
        let crowd: Vec<String> = (0..10_000).map(|n| format!("team-{n}")).collect();
        let known = || crowd.iter().map(String::as_str);
        assert_eq!(nearest("taem-9999", known(), 1), ["team-9999"], "a large company's config is compared whole");
        let mut steps = MOST_STEPS;
        for _ in 0..100 {
            let _ = nearest_within(&mut steps, "taem-9999", known(), 1);
        }
        assert!(steps < 1000, "{steps}");
        assert_eq!(nearest_within(&mut steps, "taem-1", known(), 1), [""; 0]);
    }
}
