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

/// Up to `most` of the known names that are like a misspelt one, likest first: a third of the letters, but at least
/// two, may differ, or one holds the other.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    if name.is_empty() || name.len() > MAX_COMPARED {
        return Vec::new();
    }
    let name = name.to_lowercase();
    let mut scored: Vec<(usize, &str)> = known
        .into_iter()
        .filter(|k| k.len() <= MAX_COMPARED)
        .map(|k| (strsim::damerau_levenshtein(&name, &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= 2.max(k.chars().count() / 3) || k.to_lowercase().contains(&name))
        .collect();
    scored.sort_unstable();
    scored.dedup();
    scored.into_iter().take(most).map(|(_, k)| k).collect()
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
    fn a_misspelt_name_finds_its_neighbours() {
        let known = ["dev", "dev-admin", "prod", "staging"];
        assert_eq!(nearest("devv", known, 3), ["dev"]);
        assert_eq!(nearest("DEV", known, 3), ["dev", "dev-admin"]);
        assert_eq!(nearest("stagin", known, 3), ["staging"]);
        assert_eq!(nearest("zzzzzz", known, 3), [""; 0]);
        assert_eq!(nearest(&"x".repeat(10_000), known, 3), [""; 0]);
    }
}
