//! Hostile files under a running agent: each is refused in one line or served, at once, in little memory; it harms no
//! other profile, and is taken up again without a restart once it is repaired.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::agent::{ACCOUNT, Agent, LIMIT, ROLE};
use crate::bad_input::{MISCONFIGURED, ask, refused, with_variable};
use crate::support::clock::instant;
use crate::support::process::{self, Finished};

/// What a file may turn out to be.
#[derive(Clone)]
enum Thing {
    Fifo,
    LinkToZeros,
    Folder,
    Bytes(Vec<u8>),
    /// Mode 0644.
    Open(Vec<u8>),
    /// Of another user; only root can make one.
    Foreign(Vec<u8>),
    /// The bytes of a file beside it.
    Linked(Vec<u8>),
}

use Thing::{Bytes, Fifo, Folder, Foreign, LinkToZeros, Linked, Open};

fn text(text: impl AsRef<str>) -> Thing {
    Bytes(text.as_ref().as_bytes().to_vec())
}

impl Thing {
    /// Takes the place of whatever is there. False: this user cannot make it.
    fn put(&self, path: &Path) -> bool {
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let write = |bytes: &[u8], mode| {
            fs::write(path, bytes).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        match self {
            Fifo => drop(process::run(with_path("mkfifo", path), LIMIT).expect_success()),
            LinkToZeros => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
            Folder => fs::create_dir(path).unwrap(),
            Bytes(bytes) => write(bytes, 0o600),
            Open(bytes) => write(bytes, 0o644),
            Foreign(bytes) => {
                write(bytes, 0o644);
                return std::os::unix::fs::chown(path, Some(65_534), None).is_ok();
            }
            Linked(bytes) => {
                let beside = path.with_extension("linked");
                fs::write(&beside, bytes).unwrap();
                std::os::unix::fs::symlink(beside, path).unwrap();
            }
        }
        true
    }
}

fn with_path(program: &str, path: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.arg(path);
    command
}

/// What becomes of it: served, or refused with these words.
type Fate = Option<&'static [&'static str]>;
const SERVED: Fate = None;

/// Whatever is asked is answered within this, however busy the machine.
const AT_ONCE: Duration = Duration::from_secs(10);

#[track_caller]
fn judge(what: &str, fate: Fate, asked: impl FnOnce() -> Finished) {
    let start = instant();
    let finished = asked();
    let took = start.elapsed();
    assert!(took < AT_ONCE, "{what}: answered after {took:?}");
    match fate {
        SERVED => assert_eq!(finished.code(), 0, "{what}: {}", finished.stderr),
        Some(words) => drop(refused(&finished, MISCONFIGURED, words)),
    }
}

/// The most memory that the agent ever had.
fn assert_small(agent: &Agent) {
    let pid = agent.status()["agent"]["pid"].clone();
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB");
    let peak: u64 = peak.parse().unwrap();
    println!("the agent's largest size: {peak} KiB");
    assert!(peak < 100 * 1024, "{peak} KiB");
}

/// The messages of the findings of one name.
fn findings(agent: &Agent, name: &str) -> Vec<String> {
    let found = agent.status()["findings"].as_array().cloned().unwrap_or_default();
    let named = found.iter().filter(|finding| finding["name"] == name);
    named.map(|finding| finding["message"].as_str().unwrap().to_owned()).collect()
}

fn of_session(profile: &str, session: &str) -> String {
    format!("[profile {profile}]\nsso_session = {session}\nsso_account_id = {ACCOUNT}\nsso_role_name = {ROLE}\n")
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

/// The token with changed members; the new values are JSON text, so that they may be no JSON.
fn token(whole: &str, changes: &[(&str, &str)]) -> Thing {
    let token: Value = serde_json::from_str(whole).unwrap();
    let mut members: Vec<(String, String)> =
        token.as_object().unwrap().iter().map(|(key, value)| (key.clone(), value.to_string())).collect();
    for (key, value) in changes {
        match members.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = (*value).to_owned(),
            None => members.push(((*key).to_owned(), (*value).to_owned())),
        }
    }
    let members: Vec<String> = members.iter().map(|(key, value)| format!("{key:?}: {value}")).collect();
    text(format!("{{{}}}", members.join(", ")))
}

fn token_cases(whole: &str) -> Vec<(&'static str, Thing, Fate)> {
    const TORN: Fate = Some(&["is no whole JSON document", "log in again"]);
    const KIND: Fate = Some(&["of the wrong kind, or is there twice", "log in again"]);
    const RANGE: Fate = Some(&["expiresAt is out of range", "log in again"]);
    const NO_FILE: Fate = Some(&["is not a regular file", "remove it and log in again"]);
    let changed = |key, value| token(whole, &[(key, value)]);
    vec![
        ("a FIFO", Fifo, NO_FILE),
        ("a folder", Folder, NO_FILE),
        ("endless", LinkToZeros, Some(&["is a symbolic link", "remove it and log in again"])),
        ("a link", Linked(whole.into()), Some(&["is a symbolic link", "remove it and log in again"])),
        ("10 MiB", Bytes(vec![b' '; 10 << 20]), Some(&["is larger than 64 KiB", "remove it and log in again"])),
        ("of another", Foreign(whole.into()), Some(&["belongs to another user (uid 65534)", "remove it"])),
        ("nested", changed("accessToken", &nested(30_000)), KIND),
        ("nested to no end", text("[".repeat(60_000)), KIND),
        ("nested beside the token", changed("x", &nested(30_000)), SERVED),
        ("NaN", changed("expiresAt", "NaN"), TORN),
        ("Infinity", changed("x", "-Infinity"), TORN),
        ("a number for a text", changed("accessToken", "1.5"), KIND),
        ("a number for no machine", changed("accessToken", "1e999"), TORN),
        ("an object for a text", changed("refreshToken", "{}"), KIND),
        ("a key twice", changed("clientId", "\"a\", \"clientId\": \"b\""), KIND),
        ("year 9999", changed("expiresAt", "\"9999-12-31T23:59:59Z\""), RANGE),
        ("before Christ", changed("expiresAt", "\"-0044-03-15T12:00:00Z\""), Some(&["expiresAt is not a time"])),
        ("10^18", changed("expiresAt", "1000000000000000000"), KIND),
        ("10^18 in quotes", changed("expiresAt", "\"1000000000000000000\""), Some(&["expiresAt is not a time"])),
        ("no UTF-8", Bytes([whole.as_bytes(), b"\xff"].concat()), TORN),
        ("NUL bytes", Bytes(vec![0; 4096]), TORN),
        ("a byte order mark", text(format!("\u{feff}{whole}")), SERVED),
        ("open to others", Open(whole.into()), SERVED),
    ]
}

#[test]
fn a_hostile_token_file_harms_its_own_session_only() {
    let agent = Agent::new();
    let whole = fs::read_to_string(agent.home.token_file("corp")).unwrap();
    let cases = token_cases(&whole);
    let config = fs::read_to_string(agent.home.aws_config()).unwrap();
    let (_, section) = config.split_once("[sso-session corp]").unwrap();
    let (session, _) = section.split_once('[').unwrap();
    for n in 0..cases.len() {
        agent
            .home
            .append_config(&format!("[sso-session s{n}]{session}{}", of_session(&format!("p{n}"), &format!("s{n}"))));
    }
    for (n, (what, thing, fate)) in cases.into_iter().enumerate() {
        let (file, profile) = (agent.home.token_file(&format!("s{n}")), format!("p{n}"));
        if !thing.put(&file) {
            continue;
        }
        judge(what, fate, || ask(&agent, &profile));
        judge("its neighbour", SERVED, || ask(&agent, "dev-sso"));
        let open = findings(&agent, "token-file-open");
        assert_eq!(open.len(), usize::from(matches!(thing, Open(_))), "{what}: {open:?}");
        text(&whole).put(&file);
        judge("repaired", SERVED, || ask(&agent, &profile));
    }
    assert!(findings(&agent, "token-file-open").is_empty());
    assert_eq!(agent.tokens(), 0, "nobody had to be asked for a token");
    assert_small(&agent);
}

/// Profiles that assume a role from each other, in a ring.
fn ring(length: usize) -> String {
    (0..length).fold(String::new(), |mut all, n| {
        let next = (n + 1) % length;
        let _ = writeln!(all, "[profile r{n}]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = r{next}");
        all
    })
}

/// What an AWS config file may be; `{}` stands for a good one. The last is the profile that is asked for.
fn config_cases(good: &str) -> Vec<(&'static str, Thing, Fate, &'static str)> {
    const RING: Fate = Some(&["assumes a role from profile 'r", "not serve yet", "sso_session"]);
    const SECTIONS: Fate = Some(&["one section too many (10,000)", "correct"]);
    let and = |more: &str| text(format!("{good}{more}"));
    let dev = "dev-sso";
    let many = |section: &str, count| {
        (0..count).fold(String::new(), |all, n| all + &section.replace("{n}", &format!("{n:04}")))
    };
    vec![
        ("a FIFO", Fifo, Some(&["is not a regular file", "correct"]), dev),
        ("a folder", Folder, Some(&["is not a regular file", "correct"]), dev),
        ("endless", LinkToZeros, Some(&["is not a regular file", "correct"]), dev),
        ("a link", Linked(good.into()), SERVED, dev),
        ("10 MiB", Bytes(vec![b'\n'; 10 << 20]), Some(&["is larger than 1 MiB", "correct"]), dev),
        ("of another", Foreign(good.into()), Some(&["belongs to another user (uid 65534)"]), dev),
        ("open to others", Open(good.into()), SERVED, dev),
        ("no UTF-8", Bytes([good.as_bytes(), b"\xff\n"].concat()), Some(&["is not UTF-8 text", "correct line"]), dev),
        ("NUL bytes", Bytes(vec![0; 4096]), Some(&["line 1: holds a NUL byte", "correct line 1"]), dev),
        ("a byte order mark", text(format!("\u{feff}{good}")), SERVED, dev),
        ("10^5 sections", text("[a]\n".repeat(100_000)), SECTIONS, dev),
        ("10^5 profiles", and(&"[profile a]\n".repeat(80_000)), SECTIONS, dev),
        ("a section twice", and(&of_session(dev, "corp")), SERVED, dev),
        ("a key twice", and("[profile twice]\nregion = a\nregion = b\n"), SERVED, dev),
        ("a line of 1 MB", and(&format!("[profile long]\nregion = {}\n", "x".repeat(1_000_000))), SERVED, dev),
        ("keys of no section", text(format!("NaN = Infinity\n{good}")), Some(&["line 1"]), dev),
        ("a ring of one", and(&ring(1)), RING, "r0"),
        ("a ring of two", and(&ring(2)), RING, "r1"),
        ("a ring of 1,000", and(&ring(1000)), RING, "r999"),
        ("beside a ring", and(&ring(1000)), SERVED, dev),
        (
            "9,000 misspelt sessions",
            and(&(many("[sso-session corporation-{n}]\n", 1000)
                + &many("[profile x{n}]\nsso_session = corporatoin-{n}\n", 8000))),
            SERVED,
            dev,
        ),
    ]
}

#[test]
fn a_hostile_config_file_harms_its_own_world_only() {
    let agent = Agent::new();
    let good = fs::read_to_string(agent.home.aws_config()).unwrap();
    for (n, (what, thing, fate, profile)) in config_cases(&good).into_iter().enumerate() {
        let file = agent.home.path().join(format!("world-{n}/config"));
        if !thing.put(&file) {
            continue;
        }
        let asked = |profile| {
            let arguments = ["credential-process", "--profile", profile];
            with_variable(&agent, "AWS_CONFIG_FILE", Some(&file), &arguments)
        };
        judge(what, fate, || asked(profile));
        judge("another world", SERVED, || ask(&agent, "dev-sso"));
        text(&good).put(&file);
        judge("repaired", SERVED, || asked("dev-sso"));
    }
    assert_small(&agent);
}

#[test]
fn a_config_that_turns_hostile_leaves_the_last_good_one_in_service() {
    let agent = Agent::new();
    let good = fs::read_to_string(agent.home.aws_config()).unwrap();
    agent.credentials("dev-sso");
    for (what, thing, fate, profile) in config_cases(&good) {
        let Some(words) = fate.filter(|_| profile == "dev-sso") else { continue };
        if !thing.put(&agent.home.aws_config()) {
            continue;
        }
        judge(what, SERVED, || ask(&agent, "dev-sso"));
        let found = findings(&agent, "config-invalid");
        assert!(found.len() == 1 && found[0].contains(words[0]), "{what}: {found:?}");
        assert!(found[0].contains("the last good state is used"), "{what}: {found:?}");
        text(&good).put(&agent.home.aws_config());
        judge("repaired", SERVED, || ask(&agent, "dev-sso"));
        assert_eq!(findings(&agent, "config-invalid"), [""; 0], "{what}");
    }
    assert_eq!(agent.roles(), 1, "one key all along");
    assert_small(&agent);
}

#[test]
fn a_hostile_credentials_file_is_ignored_and_told() {
    let agent = Agent::new();
    let file = agent.home.path().join(".aws/credentials");
    agent.credentials("dev-sso");
    let sections: String = "[a]\n".repeat(100_000);
    for (what, thing, word) in [
        ("a FIFO", Fifo, "is not a regular file"),
        ("a folder", Folder, "is not a regular file"),
        ("endless", LinkToZeros, "is not a regular file"),
        ("10 MiB", Bytes(vec![b'\n'; 10 << 20]), "is larger than 1 MiB"),
        ("of another", Foreign(b"[a]\n".into()), "belongs to another user"),
        ("no UTF-8", Bytes(b"[a]\n\xff".into()), "line 2: is not UTF-8 text"),
        ("NUL bytes", Bytes(b"[a]\nx=\0".into()), "line 2: holds a NUL byte"),
        ("10^5 sections", text(sections), "one section too many"),
        ("no end", text("[a\n"), "line 1"),
    ] {
        if !thing.put(&file) {
            continue;
        }
        judge(what, SERVED, || ask(&agent, "dev-sso"));
        let found = findings(&agent, "credentials-file-unusable");
        assert!(found.len() == 1 && found[0].contains(word) && found[0].contains("ignored"), "{what}: {found:?}");
        text("[other]\naws_access_key_id = AKIAEXAMPLE\n").put(&file);
        judge("repaired", SERVED, || ask(&agent, "dev-sso"));
        assert_eq!(findings(&agent, "credentials-file-unusable"), [""; 0], "{what}");
    }
    assert_small(&agent);
}

#[test]
fn hostile_settings_stop_a_start_but_no_running_agent() {
    let agent = Agent::new();
    let file = agent.config_toml();
    let deep = format!("keep = {}", nested(100_000));
    let many = |count, item: fn(usize) -> String| -> String { (0..count).map(item).collect() };
    let (sections, names) = (|n| format!("[profiles.a{n}]\n"), |n| format!("\"a{n}\","));
    for (what, thing, word) in [
        ("a FIFO", Fifo, "is not a regular file"),
        ("a folder", Folder, "is not a regular file"),
        ("endless", LinkToZeros, "is not a regular file"),
        ("10 MiB", Bytes(vec![b'\n'; 10 << 20]), "is larger than 1 MiB"),
        ("of another", Foreign(b"keep = []".into()), "belongs to another user"),
        ("no UTF-8", Bytes(b"keep = [\"\xff\"]".into()), "line 1: this is not UTF-8 text"),
        ("NUL bytes", Bytes(vec![0; 4096]), "line 1"),
        ("nested", text(deep), "line 1"),
        ("10^5 profiles", text(many(100_000, sections)), "is larger than 1 MiB"),
        ("20,000 profiles", text(many(20_000, sections)), "at most 1000 are possible here"),
        ("10^5 names", text(format!("keep = [{}]", many(100_000, names))), "at most 1000 are possible here"),
        ("NaN", text("keep = nan"), "line 1: keep: a list in [ ] is wanted here, found: float"),
        ("Infinity", text("allow_uids = [inf]"), "line 1: allow_uids: a user id"),
        ("a negative number", text("allow_uids = [-1]"), "line 1: allow_uids: a user id"),
        ("a key twice", text("keep = []\nkeep = []"), "line 2: duplicate key"),
    ] {
        text("\u{feff}keep = [\"dev-sso\"]").put(&file);
        judge("good settings", SERVED, || ask(&agent, "dev-sso"));
        if !thing.put(&file) {
            continue;
        }
        judge(what, SERVED, || ask(&agent, "dev-sso"));
        let found = findings(&agent, "settings-invalid");
        assert!(found.len() == 1 && found[0].contains(word), "{what}: {found:?}");
        assert_small(&agent);
        agent.ctl(&["daemon", "stop"]).expect_success();
        let start = instant();
        let line = refused(&ask(&agent, "dev-sso"), MISCONFIGURED, &["config.toml"]);
        assert!(line.contains(word) && start.elapsed() < AT_ONCE, "{what}: {line}");
    }
}
