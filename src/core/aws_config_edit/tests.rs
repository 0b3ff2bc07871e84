//! A table of nasty files, and random ones.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::lines::{self, Config, Found};
use super::*;

const COMMAND: &str = "agentctl credentials --profile dev";

fn profile(name: &str, keys: &[(&str, &str)]) -> Section {
    section(SectionName::Profile(name.to_owned()), keys)
}

fn session(name: &str, keys: &[(&str, &str)]) -> Section {
    section(SectionName::SsoSession(name.to_owned()), keys)
}

fn section(name: SectionName, keys: &[(&str, &str)]) -> Section {
    Section { name, keys: keys.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() }
}

/// What is wanted in the table: two keys of one profile.
fn dev() -> Vec<Section> {
    vec![profile("dev", &[("region", "eu-west-1"), ("credential_process", COMMAND)])]
}

fn edited(original: &str, wanted: &[Section]) -> Edited {
    apply(original.as_bytes(), wanted).unwrap_or_else(|e| panic!("{original:?}: {e}"))
}

fn text(edited: &Edited) -> &str {
    std::str::from_utf8(&edited.text).unwrap()
}

/// Also that it is idempotent, and that it can be taken back to the byte.
fn check(original: &str, wanted: &[Section], result: &str) {
    let first = edited(original, wanted);
    assert_eq!(text(&first), result, "{original:?}");
    assert!(edited(result, wanted).is_unchanged(), "{original:?}: once more");
    assert_eq!(text(&remove(&first.text, &first.changes).unwrap()), original, "taken back");
}

#[test]
fn nasty_files_keep_their_bytes() {
    // @R is the wanted line with the region, @C the one with the command.
    for (original, result) in [
        ("", "[profile dev]\n@R\n@C\n"),
        ("\u{feff}", "\u{feff}[profile dev]\n@R\n@C\n"),
        ("[default]\nk = v\n", "[default]\nk = v\n\n[profile dev]\n@R\n@C\n"),
        ("[default]\nk = v", "[default]\nk = v\n\n[profile dev]\n@R\n@C\n"),
        ("[default]\nk = v\n\n", "[default]\nk = v\n\n[profile dev]\n@R\n@C\n"),
        ("[default]\nk = v\n \t", "[default]\nk = v\n \t\n[profile dev]\n@R\n@C\n"),
        ("# only\n\n; comments", "# only\n\n; comments\n\n[profile dev]\n@R\n@C\n"),
        ("[a]\r\nk=v", "[a]\r\nk=v\r\n\r\n[profile dev]\r\n@R\r\n@C\r\n"),
        ("[profile dev]\r\nk=v\r\n\r\n[b]\r\n", "[profile dev]\r\nk=v\r\n@R\r\n@C\r\n\r\n[b]\r\n"),
        ("[profile dev]\rk=v\r\r[b]\r", "[profile dev]\rk=v\r@R\r@C\r\r[b]\r"),
        ("\u{feff}[profile dev]\nk=v", "\u{feff}[profile dev]\nk=v\n@R\n@C\n"),
        ("[profile dev]", "[profile dev]\n@R\n@C\n"),
        ("[profile dev]\n[profile b]\nregion = x\n", "[profile dev]\n@R\n@C\n[profile b]\nregion = x\n"),
        ("[profile dev] # mine\n\n# b\n[b]\n", "[profile dev] # mine\n@R\n@C\n\n# b\n[b]\n"),
        ("[profile  \"dev\"\t];mine\nk=v\n", "[profile  \"dev\"\t];mine\nk=v\n@R\n@C\n"),
        ("  [profile dev]\n[b]\n", "  [profile dev]\n  @R\n  @C\n[b]\n"),
        ("[profile dev]\n [b]\n", "[profile dev]\n @R\n @C\n [b]\n"),
        (
            "[profile dev]\n\tk = v\n\t# old\n\n [b]\n\tregion = x\n",
            "[profile dev]\n\tk = v\n\t@R\n\t@C\n\t# old\n\n [b]\n\tregion = x\n",
        ),
        (
            "[profile dev]\ns3 =\n  region = inner\n  a = b\n\n[b]\n",
            "[profile dev]\ns3 =\n  region = inner\n  a = b\n@R\n@C\n\n[b]\n",
        ),
        (
            "[profile dev]\nk = a\n  b\n\n# c\n  [profile dev]\n\n# end\n",
            "[profile dev]\nk = a\n  b\n\n# c\n  [profile dev]\n@R\n@C\n\n# end\n",
        ),
        ("[profile dev]\nREGION=x\nk=v\n", "[profile dev]\nREGION=eu-west-1\nk=v\n@C\n"),
        ("[profile dev]\n  Region\t:   x  \n", "[profile dev]\n  Region\t:   eu-west-1\n  @C\n"),
        ("[profile dev]\nregion =\nk=v", "[profile dev]\nregion = eu-west-1\nk=v\n@C\n"),
        ("[profile dev]\nregion=", "[profile dev]\nregion= eu-west-1\n@C\n"),
        ("[profile dev]\nregion = a\n  b\n  c", "[profile dev]\n@R\n@C\n"),
        ("[profile dev]\n  region = x ; mine \n[b]\n", "[profile dev]\n  ; mine\n  @R\n  @C\n[b]\n"),
        ("[profile dev]\r\nregion = eu-west-1 # mine", "[profile dev]\r\n# mine\r\n@R\r\n@C\r\n"),
        ("[profile dev]\nregion = a#b\n@C", "[profile dev]\n@R\n@C"),
        ("[profile dev]\n@C\n@R", "[profile dev]\n@C\n@R"),
        ("[profile dev2]\n[prof dev]\n[dev]\n", "[profile dev2]\n[prof dev]\n[dev]\n\n[profile dev]\n@R\n@C\n"),
        ("[sso-session dev]\nk=v\n", "[sso-session dev]\nk=v\n\n[profile dev]\n@R\n@C\n"),
        ("[b]\nk=1\nk=2\n", "[b]\nk=1\nk=2\n\n[profile dev]\n@R\n@C\n"),
    ] {
        let command = format!("credential_process = {COMMAND}");
        let lines = |text: &str| text.replace("@R", "region = eu-west-1").replace("@C", &command);
        check(&lines(original), &dev(), &lines(result));
    }
}

#[test]
fn what_the_aws_cli_would_not_read_is_refused() {
    for (original, line, cause) in [
        (&b"[a]\nk = \xff"[..], 2, "UTF-8"),
        (b"[a]\n[b]\n[a]\n", 3, "section [a] is there already, in line 1"),
        (b"[profile dev]\n[profile 'dev']\n", 2, "[profile dev] is there already, in line 1"),
        (b"[profile dev]\nk=1\nx=2\nK=3\n", 4, "key K is there already, in line 2"),
        (b"k = v\n[a]\n", 1, "no section"),
        (b"\nfree text\n", 2, "neither"),
        (b"[a]\r\rfree text\r", 3, "neither"),
        (b"[a]\n= v\n", 2, "without a key"),
        (b"[a\nk = v\n", 1, "is none"),
        (b"[]\n", 1, "is none"),
        (b"[ profile dev ]\n", 1, "does not read this as [profile dev]"),
        (b"[profile dev] # see [a]\n", 1, "does not read this as [profile dev]"),
        (b"[profile dev]\nregion =\n  a = b\n", 2, "holds a block"),
        (b"[profile dev]\nregion = a\n# c\n  b\n", 2, "comments or blank lines"),
    ] {
        let refused = apply(original, &dev()).unwrap_err();
        assert_eq!((refused.line, refused.class()), (Some(line), FailureClass::Misconfigured), "{refused}");
        assert!(refused.cause.contains(cause), "{refused}");
        let failure = refused.failure(Path::new("/c"));
        assert!(failure.line().starts_with(&format!("/c, line {line}: ")), "{}", failure.line());
    }
    assert!(apply(b"[ profile other ]\n[profile b] # [c]\n", &dev()).is_ok(), "not the section that is wanted");
}

#[test]
fn what_could_not_be_read_back_is_refused() {
    let key = |key: &str, value: &str| profile("dev", &[(key, value)]);
    for (wanted, cause) in [
        (key("region", "a\nb"), "line break"),
        (key("region", "a\u{1b}"), "control character"),
        (key("region", ""), "empty"),
        (key("region", " a"), "blank"),
        (key("region", "a\u{a0}"), "blank"),
        (key("region", "#a"), "comment"),
        (key("region", "a ; b"), "comment"),
        (key("a=b", "c"), "name of a key"),
        (key("", "c"), "name of a key"),
        (profile("", &[]), "is empty"),
        (profile("a]b", &[]), "square bracket"),
        (session("a\rb", &[]), "line break"),
        (profile("dev", &[("a", "b"), ("A", "b")]), "wanted twice"),
    ] {
        let refused = apply(b"", &[wanted]).unwrap_err();
        assert_eq!(refused.line, None);
        assert!(refused.cause.contains(cause), "{refused}");
        assert!(!refused.to_string().contains(char::is_control), "{refused:?}");
    }
    assert!(apply(b"", &[key("region", "a#b;c = d")]).is_ok());
}

#[test]
fn names_are_quoted_as_botocore_reads_them() {
    for (name, header) in [
        ("default", "[default]"),
        ("dev", "[profile dev]"),
        ("émile", "[profile émile]"),
        ("a b", "[profile \"a b\"]"),
        (" a#b; ", "[profile \" a#b; \"]"),
        ("it's", "[profile \"it's\"]"),
        ("a \"b\" \\c", "[profile \"a \\\"b\\\" \\\\c\"]"),
    ] {
        check("", &[profile(name, &[("k", "v")])], &format!("{header}\nk = v\n"));
    }
    check("", &[session("default", &[("k", "v")])], "[sso-session default]\nk = v\n");
    for header in ["profile 'a b'", "profile\t\"a b\"", "profile a\\ b", "profile a\" \"b "] {
        check(&format!("[{header}]\n"), &[profile("a b", &[("k", "v")])], &format!("[{header}]\nk = v\n"));
    }
    for header in ["profile a b", "profile \"a b", "profile a\\", "profile \"\" 'a b'", "\"profile\" 'a b'"] {
        let original = format!("[{header}]\n");
        check(&original, &[profile("a b", &[("k", "v")])], &format!("{original}\n[profile \"a b\"]\nk = v\n"));
    }
    check("[profile default]\n", &[profile("default", &[("k", "v")])], "[profile default]\nk = v\n");
    let twice = apply(b"[default]\n[profile default]\n", &[profile("default", &[])]).unwrap_err();
    assert_eq!(twice.line, Some(2));
}

#[test]
fn changes_are_told() {
    let wanted = [
        session("corp", &[("sso_region", "eu-west-1")]),
        profile("dev", &[("sso_session", "corp"), ("region", "eu-west-1")]),
    ];
    let edited = edited("[profile dev]\nregion = us\n  east\n", &wanted);
    let told: Vec<String> = edited.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "adds [sso-session corp]",
            "adds sso_region = eu-west-1 to [sso-session corp]",
            "adds sso_session = corp to [profile dev]",
            "replaces region = us east with eu-west-1 in [profile dev]",
        ]
    );
    let kept = serde_json::to_string(&edited.changes).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Change>>(&kept).unwrap(), edited.changes);
}

#[test]
fn in_a_touched_file_only_what_is_ours_is_taken_back() {
    let original = "[profile dev]\nregion = us-east-1 # home\nk = v\n\n[b]";
    let wanted = [dev().remove(0), profile("new", &[("a", "1"), ("b", "2")])];
    let first = edited(original, &wanted);
    let ours = text(&first).to_owned();
    let command = format!("credential_process = {COMMAND}\n");
    assert!(ours.ends_with("[b]\n\n[profile new]\na = 1\nb = 2\n"), "{ours}");
    for (from, to, left) in [
        ("", "", original.to_owned()),
        // More behind the section: the line before keeps its end.
        ("b = 2\n", "b = 2\n[c]\n", format!("{original}\n[c]\n")),
        ("b = 2\n", "b = 2\n\n# mine\n[c]", format!("{original}\n\n# mine\n[c]")),
        // A key more in the section, a key less, a value that is no longer ours.
        ("a = 1\n", "a = 1\nx = y\n", format!("{original}\n\n[profile new]\nx = y\n")),
        ("a = 1\n", "", original.to_owned()),
        ("a = 1\n", "a = 1\n  2\n", format!("{original}\n\n[profile new]\na = 1\n  2\n")),
        ("[b]\n\n[profile new]\na = 1\nb = 2\n", "[b]\n", format!("{original}\n")),
        (
            "region = eu-west-1\n",
            "region = other\n",
            original.replace("region = us-east-1 # home", "# home\nregion = other"),
        ),
        ("# home\n", "", original.to_owned()),
        ("# home\n", "# house\n", original.replace("region", "# house\nregion")),
        (&*command, "", original.to_owned()),
        ("\n[b]", "z = z\n\n[b]", original.replace("\n[b]", "z = z\n\n[b]")),
    ] {
        let touched = ours.replacen(from, to, 1);
        assert_eq!(text(&remove(touched.as_bytes(), &first.changes).unwrap()), left, "{from:?} became {to:?}");
    }
    assert!(remove(b"", &first.changes).unwrap().is_unchanged(), "nothing is left to take back");
    assert_eq!(remove(b"[a]\n[a]\n", &first.changes).unwrap_err().line, Some(2));
}

#[test]
fn edits_in_a_row_are_taken_back_in_one() {
    let first = edited("[a]", &[profile("dev", &[("region", "x")])]);
    let second = edited(text(&first), &dev());
    let chain = [first.changes, second.changes].concat();
    assert_eq!(text(&remove(&second.text, &chain).unwrap()), "[a]");
}

/// Lines that mean something, in any order, with any ending.
fn config() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "",
        "",
        "  ",
        "\u{a0}",
        "# c",
        "  ; c",
        "[default]",
        "[profile dev]",
        "[profile \"dev\"] # c",
        " [profile b]",
        "[profile \"a b\"]",
        "[sso-session corp]",
        "[ profile x ]",
        "[x] ; [y]",
        "region = us",
        "  region = us # c",
        "REGION:us",
        "region=",
        "region",
        "k = v",
        "\tk2 = v",
        "   k3=v;w",
        "s3 =",
        "  a = b",
        "    deep",
        "k4 = é # ü",
        "credential_process = old --x",
        "sso_session = corp",
        "\u{1c}k5 = v",
    ]);
    let end = prop::sample::select(vec!["\n", "\n", "\n", "\n", "\r\n", "\r", ""]);
    let bom = prop::sample::select(vec!["", "", "\u{feff}"]);
    (bom, prop::collection::vec((line, end), 0..14))
        .prop_map(|(bom, lines)| lines.into_iter().fold(bom.to_owned(), |text, (line, end)| text + line + end))
}

/// The same, in an order that is more often accepted: each header at most once, keys numbered.
fn orderly() -> impl Strategy<Value = String> {
    let headers = ["[default]", "[profile dev]", "  [profile \"a b\"]", "[sso-session corp]\t# c", "[other]"];
    let key = prop::sample::select(vec![
        "",
        "# c",
        "region = us",
        "  region : us ; c",
        "\tN = v",
        "N=v\n    more",
        "sN =\n  a = b\n  c = d",
        "  N = x\n\n     y",
    ]);
    let sections = prop::sample::subsequence(headers.to_vec(), 0..=headers.len()).prop_shuffle();
    let keys = prop::collection::vec(prop::collection::vec(key, 0..5), headers.len());
    let form = (prop::sample::select(vec!["\n", "\r\n", "\r"]), any::<bool>(), any::<bool>());
    (sections, keys, form).prop_map(|(sections, keys, (newline, has_bom, is_closed))| {
        let mut lines = Vec::new();
        for (header, keys) in sections.iter().zip(keys) {
            lines.push((*header).to_owned());
            lines.extend(keys.iter().enumerate().map(|(n, key)| key.replace('N', &format!("k{n}"))));
        }
        let text = lines.join("\n") + if is_closed && !lines.is_empty() { "\n" } else { "" };
        format!("{}{}", if has_bom { "\u{feff}" } else { "" }, text.replace('\n', newline))
    })
}

fn wanted() -> impl Strategy<Value = Vec<Section>> {
    let name = prop::sample::select(vec!["default", "dev", "a b", "new", "it's \\ \"me\""]);
    let keys = prop::sample::subsequence(
        vec![("region", "eu-west-1"), ("credential_process", COMMAND), ("sso_session", "corp"), ("k1", "v")],
        0..=4,
    )
    .prop_shuffle();
    let sso = prop::sample::subsequence(vec![session("corp", &[("sso_region", "eu"), ("region", "x")])], 0..=1);
    (sso, name, keys).prop_map(|(mut all, name, keys)| {
        all.push(profile(name, &keys));
        all
    })
}

/// Each line with what it means for the reader: section, key and value.
fn meaning(text: &str) -> Vec<(String, String, String)> {
    let config = Config::parse(text).unwrap();
    let of = |section: &Found<'_>| {
        let header = section.header.to_owned();
        section.entries.iter().map(|e| (header.clone(), e.key.to_lowercase(), e.value.clone())).collect::<Vec<_>>()
    };
    config.sections.iter().flat_map(of).collect()
}

fn contents(text: &str) -> Vec<&str> {
    lines::lines(text).map(|line| line.content).collect()
}

fn holds_for(original: &str, wanted: &[Section]) -> Result<bool, TestCaseError> {
    let Ok(first) = apply(original.as_bytes(), wanted) else { return Ok(false) };
    let result = text(&first);
    // Each line that is not replaced is there, in order, with its end.
    let replaced: BTreeSet<&str> = first
        .changes
        .iter()
        .flat_map(|c| match &c.what {
            What::Replaced { old_text, .. } => contents(old_text),
            _ => Vec::new(),
        })
        .collect();
    let mut after = contents(result).into_iter();
    for line in contents(original).into_iter().filter(|line| !replaced.contains(line)) {
        prop_assert!(after.any(|l| l == line), "{line:?} of {original:?} is not in {result:?}");
    }
    if replaced.is_empty() {
        let mut after = result.chars();
        prop_assert!(original.chars().all(|c| after.any(|a| a == c)), "{original:?} {result:?}");
    }
    // What was wanted can be read, what was not wanted has its old meaning, where it had one.
    let (before, now) = (meaning(original), meaning(result));
    let config = Config::parse(result).unwrap();
    let mut ours = BTreeSet::new();
    for section in wanted {
        let found = config.find(&section.name).unwrap().unwrap();
        for (key, value) in &section.keys {
            prop_assert_eq!(&found.entry(key).unwrap().unwrap().value, value);
            ours.insert((found.header.to_owned(), key.clone()));
        }
    }
    let others = |all: Vec<(String, String, String)>| -> Vec<_> {
        all.into_iter().filter(|(header, key, _)| !ours.contains(&(header.clone(), key.clone()))).collect()
    };
    prop_assert_eq!(others(before), others(now));
    prop_assert!(edited(result, wanted).is_unchanged(), "{original:?}: once more");
    prop_assert_eq!(first.is_unchanged(), result == original);
    let back = remove(&first.text, &first.changes).unwrap();
    prop_assert_eq!(text(&back), original);
    prop_assert_eq!(back.changes.len(), first.changes.len());
    Ok(true)
}

#[test]
fn a_header_stays_whose_end_would_join_what_is_around_it() {
    let first = edited("", &[SectionName::SsoSession("corp".into())].map(|name| Section { name, keys: Vec::new() }));
    let other = "[default]\nk = v\n[sso-session corp]\n [profile b]\n";
    let back = remove(other.as_bytes(), &first.changes).unwrap();
    assert_eq!(text(&back), other, "without it the indented header would belong to k");
    let other = "[default]\nk = v\n[sso-session corp]\n[profile b]\n";
    assert_eq!(text(&remove(other.as_bytes(), &first.changes).unwrap()), "[default]\nk = v\n[profile b]\n");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn an_edit_of_random_lines_keeps_the_rest(original in config(), wanted in wanted()) {
        holds_for(&original, &wanted)?;
    }

    #[test]
    fn an_edit_of_a_readable_file_keeps_the_rest(original in orderly(), wanted in wanted()) {
        let is_readable = Config::parse(&original).is_ok();
        if !holds_for(&original, &wanted)? {
            let refused = apply(original.as_bytes(), &wanted).unwrap_err();
            let known = ["already", "blank lines in it", "holds a block"].iter().any(|c| refused.cause.contains(c));
            prop_assert!(!is_readable || known, "{original:?}: {refused}");
        }
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), wanted in wanted()) {
        let changes = edited("[a]", &wanted).changes;
        let _ = (apply(&bytes, &wanted), remove(&bytes, &changes));
        let text = String::from_utf8_lossy(&bytes);
        holds_for(&format!("[a]\nk = {text}"), &wanted)?;
    }

    #[test]
    fn what_others_append_stays(original in orderly(), wanted in wanted()) {
        const MINE: &str = "[mine]\n# c\nz = 1";
        let Ok(first) = apply(original.as_bytes(), &wanted) else { return Ok(()) };
        let end = if lines::ending(text(&first)).is_empty() { "\n" } else { "" };
        let touched = format!("{}{end}{MINE}", text(&first));
        let back = remove(touched.as_bytes(), &first.changes).unwrap();
        let between = text(&back).strip_prefix(original.as_str()).and_then(|rest| rest.strip_suffix(MINE));
        let is_closed = !lines::ending(&original).is_empty();
        let allowed: &[&str] = if is_closed { &[""] } else { &["", "\n", "\r\n", "\r"] };
        prop_assert!(between.is_some_and(|b| allowed.contains(&b)), "{original:?}: {:?}", text(&back));
    }

    #[test]
    fn in_another_file_nothing_else_is_taken_back(original in orderly(), other in config(), wanted in wanted()) {
        let Ok(first) = apply(original.as_bytes(), &wanted) else { return Ok(()) };
        let Ok(back) = remove(other.as_bytes(), &first.changes) else { return Ok(()) };
        let added = |key: &str, value: &str| first.changes.iter().any(|c| match &c.what {
            What::Added { key: k, new, .. } | What::Replaced { key: k, new, .. } => k.eq_ignore_ascii_case(key) && new == value,
            What::Created { .. } => false,
        });
        let left = meaning(text(&back));
        for entry in meaning(&other) {
            prop_assert!(left.contains(&entry) || added(&entry.1, &entry.2), "{entry:?} of {other:?} is gone");
        }
    }

    #[test]
    fn any_name_is_read_back(name in "[^\\[\\]\\p{Cc}]{1,12}") {
        check("", &[profile(&name, &[("k", "v")])], &format!("{}\nk = v\n", SectionName::Profile(name.clone())));
    }
}

#[test]
fn sections_are_read_as_botocore_reads_them() {
    let text = "\u{feff}[default]\r\nRegion : a # b\r\n[profile 'my team']\r\n[sso-session \"x\"]\r\nk = 1\r\n  2\r\n\
                [services y]\r\n[plain]\r\n[ profile z]\r\n[profile a b]\r\n";
    let wanted = [profile("default", &[("region", "a # b")]), profile("my team", &[]), session("x", &[("k", "1\n2")])];
    assert_eq!(read(text.as_bytes()).unwrap(), wanted);
    assert_eq!(read(b"[a]\n[a]\n").unwrap_err().line, Some(2));
}
