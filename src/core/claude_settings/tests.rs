//! Nasty files, and random ones.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn ours() -> Vec<Wanted> {
    vec![
        Wanted::set(&["awsCredentialExport"], "/usr/bin/agentctl export --profile dev"),
        Wanted::set(&["env", "AWS_REGION"], "eu-west-1"),
        Wanted::set(&["env", "CLAUDE_CODE_USE_BEDROCK"], "1"),
        Wanted::set(&["statusLine"], json!({"type": "command", "command": "agentctl statusline"})),
        Wanted::remove(&["awsAuthRefresh"]),
    ]
}

/// Applied, each line of the original that is not about our keys is still there, in order; applying again changes
/// nothing; taken back it says what it said.
fn held(original: &str) -> Edited {
    let edited = apply(original.as_bytes(), &ours()).unwrap_or_else(|e| panic!("{e:?}: {original}"));
    let text = String::from_utf8(edited.bytes.clone()).unwrap();
    let mut rest = text.as_str();
    let mentions = |line: &str| {
        // The last two are of the status line that is replaced.
        [
            "awsCredentialExport",
            "AWS_REGION",
            "CLAUDE_CODE_USE_BEDROCK",
            "statusLine",
            "awsAuthRefresh",
            "mine.sh",
            "padding",
        ]
        .iter()
        .any(|key| line.contains(key))
    };
    for line in original.lines().filter(|line| !mentions(line)) {
        // A comma may have come behind it; what stood on one line may stand on several.
        let whole = rest.find(line.trim_end());
        let pieces = if whole.is_some() { vec![line.trim_end()] } else { line.split(['{', '}', ',']).collect() };
        for piece in pieces.into_iter().map(str::trim) {
            let at = rest.find(piece).unwrap_or_else(|| panic!("lost {piece:?} of {original:?} in {text:?}"));
            rest = &rest[at + piece.len()..];
        }
    }
    assert_eq!(apply(&edited.bytes, &ours()).unwrap(), Edited { bytes: edited.bytes.clone(), changes: vec![] });
    let undone = undo(&edited.bytes, &edited.changes).unwrap();
    assert_eq!(read(&undone.bytes).unwrap(), read(original.as_bytes()).unwrap(), "{original}");
    let says = read(&edited.bytes).unwrap();
    for Wanted { key, value } in ours() {
        assert_eq!(lookup(&says, &key), value.as_ref(), "{key:?} in {text}");
    }
    edited
}

#[test]
fn nasty_files_keep_what_is_not_ours() {
    let long =
        format!("{{\n  \"permissions\": {{\"allow\": [{}\"x\"]}}\n}}\n", "\"Bash(git status)\", ".repeat(60_000));
    for original in [
        "",
        "\n\n",
        "{}",
        "{ }\n",
        "{\n}\n",
        "{\"a\":1}",
        "{\"a\":1,}",
        "{\n  \"a\": 1\n}",
        "{\n  \"a\": 1,\n}\n",
        "{\n\t\"a\": [\n\t\t1,\n\t\t2\n\t],\n\t\"b\": null\n}\n",
        "{\r\n  \"a\": 1,\r\n  \"b\": {\r\n    \"c\": true\r\n  }\r\n}\r\n",
        "\u{feff}{\n  \"a\": 1\n}\n",
        "// mine\n{\n  // about a\n  \"a\": 1, // here\n  /* b */ \"b\": 2\n}\n// the end",
        "{\n  \"env\": {}\n}\n",
        "{\n  \"env\": {\n    \"FOO\": \"bar\", // keep\n  },\n}\n",
        "{\"env\":{\"FOO\":\"bar\"}}",
        "{\n  \"env\": { \"AWS_REGION\": \"us-east-1\", \"FOO\": \"bar\" },\n  \"z\": 0\n}\n",
        "{\n  \"awsCredentialExport\": \"old\",\n  \"awsAuthRefresh\": \"aws sso login\", // why\n  \"model\": \"opus\"\n}\n",
        "{\n  \"awsAuthRefresh\": \"aws sso login\"\n}\n",
        "{\n  \"statusLine\": {\n    \"type\": \"command\",\n    \"command\": \"mine.sh\",\n    \"padding\": 0\n  },\n  \"hooks\": {\"Stop\": []}\n}\n",
        "{\n    \"mcpServers\": {\n        \"x\": {\"command\": \"npx\", \"args\": [\"-y\", \"a b\"], \"env\": {\"K\": \"v\"}}\n    },\n    \"enabledPlugins\": {\"p@q\": true}\n}\n",
        "{\"unicode\": \"\u{1f980} \\u00e9 \\\"quoted\\\"\", \"schlüssel\": \"ü\"}",
        "{\"n\": 1e400, \"m\": 0.1000, \"k\": -0}",
        "{\"a\": 1, \"a\": 2}",
        "{\n\n\n  \"a\": 1\n\n\n}\n\n\n",
        "  {\n    \"a\": 1\n  }",
        "{\"$schema\": \"https://example.org/s.json\", \"modelOverrides\": {\"x\": {}}, \"availableModels\": []}",
        "{\"a\":{\"b\":{\"c\":{\"d\":[[[{}]]]}}}}",
        "{\"env\": {\"AWS_REGION\": \"eu-west-1\"}, \"x\": \"//no comment /* here */\"}",
        &long,
    ] {
        if original.contains("1e400") {
            // Beyond what a double holds: whatever a reader makes of it, it stays or is refused.
            if let Ok(edited) = apply(original.as_bytes(), &ours()) {
                assert!(String::from_utf8(edited.bytes).unwrap().contains("1e400"));
            }
            continue;
        }
        held(original);
    }
}

#[test]
fn line_ends_marks_and_indentation_are_the_files_own() {
    let crlf = held("{\r\n    \"a\": 1\r\n}\r\n");
    let text = String::from_utf8(crlf.bytes).unwrap();
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count(), "{text:?}");
    assert!(text.contains("\r\n    \"awsCredentialExport\""), "{text}");
    assert!(held("\u{feff}{\n\t\"a\": 1\n}\n").bytes.starts_with("\u{feff}{\n\t\"a\": 1,\n\t\"aws".as_bytes()));
    let new = String::from_utf8(held("").bytes).unwrap();
    assert!(new.starts_with("{\n  \"awsCredentialExport\"") && new.ends_with("}\n"), "{new}");
}

#[test]
fn what_is_not_certain_is_refused_with_its_line() {
    for (original, line) in [
        ("[1, 2]", "line 1: is no object at the top"),
        ("\"text\"", "line 1: is no object at the top"),
        ("{\n  \"a\": 1\n  \"b\": 2\n}", "line 2: "),
        ("{\n  \"a\": \n}", "line 3: "),
        ("{\n  \"a\": 1\n", "line "),
        ("{\n  'a': 1\n}", "line 2: "),
        ("{\n  a: 1\n}", "line 2: "),
        ("{\n  \"env\": {},\n  \"env\": {}\n}", "line 3: holds 'env.AWS_REGION' twice"),
        (
            "{\n  \"env\": {\"AWS_REGION\": \"a\",\n\n  \"AWS_REGION\": \"b\"}\n}",
            "line 4: holds 'env.AWS_REGION' twice",
        ),
        ("{\"env\": []}", "'env' is no object"),
        ("// nothing else", "holds no object"),
        ("{} {}", "line 1: "),
    ] {
        let refusal = apply(original.as_bytes(), &ours()).unwrap_err();
        assert_eq!(refusal.class, FailureClass::Misconfigured);
        assert!(refusal.message.contains(line), "{original:?}: {refusal:?}");
        assert!(refusal.fix.contains("nothing was changed"));
    }
    let refusal = apply(b"{\n\xff}", &ours()).unwrap_err();
    assert!(refusal.message.contains("line 2: is not UTF-8"), "{refusal:?}");
}

#[test]
fn only_what_is_still_ours_is_taken_back() {
    let edited = apply(b"{\n  \"awsCredentialExport\": \"old\"\n}\n", &ours()).unwrap();
    let text = String::from_utf8(edited.bytes).unwrap();
    let touched = text.replace("\"eu-west-1\"", "\"us-east-1\"").replace("agentctl statusline", "mine");
    let undone = undo(touched.as_bytes(), &edited.changes).unwrap();
    let says = read(&undone.bytes).unwrap();
    assert_eq!(says["awsCredentialExport"], "old");
    assert_eq!(says["env"], json!({"AWS_REGION": "us-east-1"}));
    assert_eq!(says["statusLine"]["command"], "mine");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[ -~äé🦀]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map("[a-zA-Z ]{1,8}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn other_keys_stay(
        map in prop::collection::hash_map("(x[a-z]{0,6}|hooks|model)", any_json(), 0..6),
        env in prop::option::of(prop::collection::hash_map("[A-Z_]{1,8}", "[ -~]{0,8}", 0..4)),
        pretty in any::<bool>(),
        crlf in any::<bool>(),
        bom in any::<bool>(),
    ) {
        let mut document: Map<String, Value> = map.into_iter().collect();
        if let Some(env) = env {
            document.insert("env".to_owned(), serde_json::to_value(env).unwrap());
        }
        let mut text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        if bom {
            text.insert(0, '\u{feff}');
        }
        let edited = apply(text.as_bytes(), &ours()).unwrap();
        let says = read(&edited.bytes).unwrap();
        for (key, value) in &document {
            if key != "env" {
                prop_assert_eq!(says.get(key), Some(value));
                let raw = serde_json::to_string(value).unwrap();
                prop_assert!(pretty || String::from_utf8_lossy(&edited.bytes).contains(&raw));
            }
        }
        prop_assert_eq!(apply(&edited.bytes, &ours()).unwrap().changes, vec![]);
        let undone = undo(&edited.bytes, &edited.changes).unwrap();
        prop_assert_eq!(read(&undone.bytes).unwrap(), document);
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = apply(&bytes, &ours());
    }

    #[test]
    fn no_text_does_harm(text in "[{}\\[\\]\",:/*a-z0-9\\\\ \n\r\t-]{0,120}") {
        if let Ok(edited) = apply(text.as_bytes(), &ours()) {
            prop_assert!(read(&edited.bytes).is_ok());
        }
    }
}

/// As the real one was seen to (tests/interop/setup_claude.rs); an empty file holds nothing that could be ignored.
#[test]
fn what_claude_code_ignores_is_told_by_the_line() {
    for fine in ["", " \n", "{}", "\u{feff}{\r\n}", "{\"a\": 1, \"a\": 2}"] {
        assert_eq!(ignored_from(fine.as_bytes()), None, "{fine}");
    }
    assert_eq!(ignored_from(b"{\n  // mine\n}"), Some(2));
    assert_eq!(ignored_from(b"{\n  \"a\": 1,\n}"), Some(3));
}
