//! Bad input: whatever is wrong, stdout stays empty, stderr has one short line with the cause and then the next step,
//! and the exit code is the documented one.

use std::fs;
use std::path::Path;
use std::process::Command;

use chrono::Duration;
use serde_json::Value;

use crate::agent::{ACCOUNT, Agent, LIMIT, ROLE};
use crate::support::clock;
use crate::support::home::stamp;
use crate::support::process::{self, Finished};

const USAGE: i32 = 2;
const NEEDS_LOGIN: i32 = 10;
pub(crate) const MISCONFIGURED: i32 = 12;
const AGENT_UNREACHABLE: i32 = 19;

/// Checks the shape of a refusal and that its line says each of `words`; returns the line.
#[track_caller]
pub(crate) fn refused(finished: &Finished, code: i32, words: &[&str]) -> String {
    let line = finished.stderr.strip_suffix('\n').unwrap_or(&finished.stderr).to_owned();
    assert_eq!((finished.code(), finished.stdout.as_str()), (code, ""), "{line}");
    assert!(!line.contains(['\n', '\r', '\u{1b}']), "one plain line: {line:?}");
    assert!(line.chars().count() <= 300, "at most 300 characters: {line}");
    let said = line.strip_prefix("agentctl: ").unwrap_or_else(|| panic!("who says it: {line}"));
    let first = said.split(' ').next().unwrap_or_default();
    let is_name = first.contains('/') || first.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    assert!(is_name || said.starts_with(|c: char| !c.is_uppercase()), "the cause in lower case: {line}");
    assert!(said.contains("; "), "the cause, then the next step: {line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
    line
}

/// `credential-process` for a profile.
pub(crate) fn ask(agent: &Agent, profile: &str) -> Finished {
    agent.ctl(&["credential-process", "--profile", profile])
}

/// A command of this agent's user with one variable changed (`None`: removed).
pub(crate) fn with_variable(agent: &Agent, name: &str, value: Option<&Path>, arguments: &[&str]) -> Finished {
    let mut command = agent.command(arguments);
    match value {
        Some(value) => command.env(name, value),
        None => command.env_remove(name),
    };
    let finished = process::run(command, LIMIT);
    agent.note(arguments, &finished);
    finished
}

fn profile(name: &str, keys: &str) -> String {
    format!("[profile {name}]\n{keys}\n")
}

fn of_session(session: &str) -> String {
    format!("sso_session = {session}\nsso_account_id = {ACCOUNT}\nsso_role_name = {ROLE}\nregion = eu-west-1")
}

/// Rewrites keys of the token file; `null` removes one.
fn edit_token(agent: &Agent, changes: &[(&str, Value)]) {
    let path = agent.home.token_file("corp");
    let mut token: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for (key, value) in changes {
        match value {
            Value::Null => drop(token.as_object_mut().unwrap().remove(*key)),
            value => token[*key] = value.clone(),
        }
    }
    fs::write(path, token.to_string()).unwrap();
}

#[test]
fn a_profile_that_cannot_be_served_says_why() {
    let agent = Agent::new();
    let sso = |session: &str| of_session(session);
    for (name, keys) in [
        ("crossed", sso("crop")),
        ("stray", sso("zzz")),
        ("placeless", sso("placeless")),
        ("nowhere", sso("nowhere")),
        ("short", sso("corp").replace(ACCOUNT, "1234")),
        ("roleless", sso("corp").replace("sso_role_name", "sso_rolename")),
        ("empty", "region = eu-west-1".to_owned()),
        ("assumes", "role_arn = arn:aws:iam::111122223333:role/x\nsource_profile = dev-sso".to_owned()),
        ("machine", "role_arn = arn:aws:iam::111122223333:role/x\ncredential_source = Ec2InstanceMetadata".to_owned()),
        ("rootless", "role_arn = arn:aws:iam::111122223333:role/x".to_owned()),
        ("static", "aws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = not-so-secret-example".to_owned()),
        ("runs", "credential_process = /opt/tool get".to_owned()),
        ("loops", "credential_process = /usr/bin/agentctl credential-process --profile dev-sso".to_owned()),
        ("web", "role_arn = arn:aws:iam::1:role/x\nweb_identity_token_file = /tmp/token".to_owned()),
        ("signed", "login_session = arn:aws:iam::111122223333:user/x".to_owned()),
    ] {
        agent.home.append_config(&profile(name, &keys));
    }
    agent.home.append_config("[sso-session placeless]\nsso_start_url = https://p.awsapps.com/start\n");
    agent
        .home
        .append_config("[sso-session nowhere]\nsso_start_url = https://p.awsapps.com/start\nsso_region = Berlin\n");
    for (name, words) in [
        ("dev-ss", &["'dev-ss'", "dev-sso"][..]),
        ("DEV-SSO", &["'DEV-SSO'", "dev-sso"]),
        ("qqq", &["'qqq'"]),
        ("crossed", &["'crop'", "did you mean", "corp"]),
        ("stray", &["'zzz'", "[sso-session zzz]", "aws configure sso"]),
        ("placeless", &["sso-session 'placeless' has no sso_region", "add sso_region"]),
        ("nowhere", &["sso_region = Berlin", "eu-west-1"]),
        ("short", &["sso_account_id = 1234", "12 digits"]),
        ("roleless", &["no sso_role_name", "add sso_role_name", "[profile roleless]"]),
        ("empty", &["'empty' has no credential source", "aws configure sso"]),
        ("assumes", &["source_profile", "'dev-sso'", "not serve yet"]),
        ("machine", &["credential_source = Ec2InstanceMetadata"]),
        ("rootless", &["role_arn without source_profile", "add source_profile"]),
        ("static", &["static keys"]),
        ("runs", &["credential_process"]),
        ("loops", &["runs agentctl itself", "--profile dev-sso"]),
        ("web", &["web identity"]),
        ("signed", &["aws login"]),
    ] {
        let line = refused(&ask(&agent, name), MISCONFIGURED, words);
        assert!(!line.contains("not-so-secret"), "{line}");
        refused(&agent.ctl(&["refresh", "--profile", name]), MISCONFIGURED, words);
    }
    agent.credentials("dev-sso");
}

#[test]
fn a_profile_needs_neither_a_region_nor_a_plain_name() {
    let agent = Agent::new();
    let keys = of_session("corp");
    agent.home.append_config(&profile("placeless", &keys.replace("region = eu-west-1", "")));
    for (name, header) in
        [("my team", "\"my team\""), ("émile", "émile"), ("o'brien", "\"o'brien\""), ("a/b%20c?d", "a/b%20c?d")]
    {
        agent.home.append_config(&profile(header, &keys));
        agent.credentials(name);
    }
    agent.credentials("placeless");
    for (name, words) in [
        ("", &["'' is no profile name"][..]),
        (" ", &["no profile name"]),
        ("a\nb", &["no profile name"]),
        (&"x".repeat(300), &["no profile name"]),
    ] {
        refused(&ask(&agent, name), USAGE, words);
    }
    for (name, words) in [
        ("my tean", &["'my tean'", "my team"][..]),
        ("emile", &["émile"]),
        ("o'brian", &["o'brien"]),
        ("../../etc/passwd", &["../../etc/passwd"]),
        ("\u{202e}dev", &["no profile"]),
    ] {
        refused(&ask(&agent, name), MISCONFIGURED, words);
    }
    fs::remove_file(agent.home.token_file("corp")).unwrap();
    agent.ctl(&["daemon", "stop"]);
    // The command that helps can be pasted into a shell.
    for (name, words) in [("my team", "--profile 'my team'"), ("o'brien", r"--profile 'o'\''brien'")] {
        refused(&ask(&agent, name), NEEDS_LOGIN, &[words]);
    }
}

#[test]
fn a_config_that_cannot_be_read_says_where() {
    let huge = "# a comment\n".repeat(100_000);
    for (text, words) in [
        ("[profile dev-sso\nsso_session = corp\n", &["line 1"][..]),
        ("[default]\nregion = x\nno equals sign here\n", &["line 3"]),
        ("[default]\n\u{0}\n", &["line 2", "NUL"]),
        (&huge, &["larger than 1 MiB"]),
    ] {
        let agent = Agent::new();
        fs::write(agent.home.aws_config(), text).unwrap();
        refused(&ask(&agent, "dev-sso"), MISCONFIGURED, &[&[".aws/config", "correct"], words].concat());
    }
}

#[test]
fn a_config_that_is_no_file_never_blocks() {
    let agent = Agent::new();
    let config = agent.home.aws_config();
    fs::remove_file(&config).unwrap();
    let made = process::run(with_program(&agent, "mkfifo", &config), LIMIT);
    made.expect_success();
    refused(&ask(&agent, "dev-sso"), MISCONFIGURED, &[".aws/config", "not a regular file"]);
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    refused(&ask(&agent, "dev-sso"), MISCONFIGURED, &[".aws/config", "not a regular file"]);
    fs::remove_dir(&config).unwrap();
    refused(&ask(&agent, "dev-sso"), MISCONFIGURED, &["no profile 'dev-sso'", "agentctl setup sso"]);
}

fn with_program(agent: &Agent, program: &str, path: &Path) -> Command {
    let mut command = agent.home.command(program);
    command.arg(path);
    command
}

/// Makes an agent's token file unusable.
type Spoil = Box<dyn Fn(&Agent)>;

#[test]
fn a_token_that_cannot_be_used_says_what_to_do() {
    let long = " ".repeat(70_000);
    let past = stamp(clock::now() - Duration::hours(1));
    let cases: [(&str, Spoil, i32, &[&str]); 8] = [
        (
            "torn",
            Box::new(|a: &Agent| write_token(a, "{\"accessToken\": \"ao")),
            MISCONFIGURED,
            &["token file", "log in again", "agentctl login --profile dev-sso"],
        ),
        (
            "a list",
            Box::new(|a: &Agent| write_token(a, "[]")),
            MISCONFIGURED,
            &["token file", "log in again", "agentctl login --profile dev-sso"],
        ),
        ("a number", Box::new(|a: &Agent| edit_token(a, &[("expiresAt", 7.into())])), MISCONFIGURED, &["token file"]),
        (
            "too large",
            Box::new(move |a: &Agent| write_token(a, &long)),
            MISCONFIGURED,
            &["token file", "larger than 64 KiB", "log in again"],
        ),
        (
            "a registration",
            Box::new(|a: &Agent| edit_token(a, &[("accessToken", Value::Null)])),
            MISCONFIGURED,
            &["token file"],
        ),
        (
            "absent",
            Box::new(|a: &Agent| fs::remove_file(a.home.token_file("corp")).unwrap()),
            NEEDS_LOGIN,
            &["agentctl login --profile dev-sso"],
        ),
        (
            "ended, without a refresh token",
            Box::new({
                let past = past.clone();
                move |a: &Agent| edit_token(a, &[("expiresAt", past.clone().into()), ("refreshToken", Value::Null)])
            }),
            NEEDS_LOGIN,
            &["refresh token", "agentctl login --profile dev-sso"],
        ),
        (
            "ended, and its registration too",
            Box::new(move |a: &Agent| {
                edit_token(a, &[("expiresAt", past.clone().into()), ("registrationExpiresAt", past.clone().into())]);
            }),
            NEEDS_LOGIN,
            &["registration", "agentctl login --profile dev-sso"],
        ),
    ];
    let agent = Agent::new();
    let whole = fs::read_to_string(agent.home.token_file("corp")).unwrap();
    for (what, spoil, code, words) in cases {
        write_token(&agent, &whole);
        spoil(&agent);
        refused(&ask(&agent, "dev-sso"), code, words);
        assert_eq!(agent.tokens(), 0, "{what}: nothing to ask AWS");
        agent.ctl(&["daemon", "stop"]);
    }
}

#[test]
fn a_home_that_is_not_set_is_the_accounts_and_an_empty_one_is_a_mistake() {
    let agent = Agent::new();
    // Nothing of the real home but its place: no settings, no socket, and no profile of that name.
    let settings = agent.home.path().join("none.toml");
    fs::write(&settings, "").unwrap();
    let account = account_home(&agent);
    let mut command = agent.command(&["credential-process", "--profile", "nobody-s-profile-7f3a"]);
    command.env_remove("HOME").env("AGENTCTL_CONFIG", settings);
    let words = [&*format!("'nobody-s-profile-7f3a' in {account}/.aws/config")];
    refused(&process::run(command, LIMIT), MISCONFIGURED, &words);
    agent.ctl(&["daemon", "stop"]);
    for home in ["", "relative"] {
        for verb in ["credential-process", "export", "refresh"] {
            refused(
                &with_variable(&agent, "HOME", Some(Path::new(home)), &[verb]),
                MISCONFIGURED,
                &["HOME", "set HOME"],
            );
        }
    }
}

/// The home folder that the account has, whatever the environment says.
fn account_home(agent: &Agent) -> String {
    let mut command = agent.home.command("/bin/sh");
    command.args(["-c", "eval echo ~$(id -un)"]);
    process::run(command, LIMIT).expect_success().stdout.trim().to_owned()
}

#[test]
fn settings_that_cannot_be_used_stop_the_start_and_say_so() {
    let agent = Agent::new();
    let missing = agent.home.path().join("no/such.toml");
    let ask = ["credential-process", "--profile", "dev-sso"];
    refused(
        &with_variable(&agent, "AGENTCTL_CONFIG", Some(&missing), &ask),
        MISCONFIGURED,
        &["there is no file", "no/such.toml", "AGENTCTL_CONFIG"],
    );
    for (text, words) in [
        ("kep = [\"dev-sso\"]\n", &["line 1", "unknown key 'kep'", "did you mean 'keep'?"][..]),
        ("keep = []\n[profiles.dev-sso]\nsrve = false\n", &["line 3", "'srve'", "'serve'"]),
        ("keep = 7\n", &["line 1"]),
        ("keep = [\n", &["line 1"]),
        ("ca_bundle = \"\"\n", &["line 1", "must not be empty"]),
        ("something_else = 1\n", &["'something_else'", "known keys"]),
    ] {
        agent.write_settings(text);
        let all = [&["config.toml", "correct that line"], words].concat();
        refused(&agent.ctl(&ask), MISCONFIGURED, &all);
        refused(&agent.ctl(&["daemon", "start"]), MISCONFIGURED, &all);
        refused(&agent.ctl(&["daemon", "status"]), AGENT_UNREACHABLE, &["not running"]);
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_2() {
    let agent = Agent::new();
    for (arguments, words) in [
        (&["credential-process", "--timeout", "soon"][..], &["'soon'", "500ms"][..]),
        (&["credential-process", "--timeout", "0"], &["more than zero"]),
        (&["credential-process", "--timeout", "-1s"], &["-1"]),
        (&["credential-process", "--timeout", "1.5s"], &["'1.5s'"]),
        (&["export", "--format", "jsno"], &["'jsno'", "json"]),
        (&["export", "--profile"], &["--profile"]),
        (&["exprot"], &["did you mean export?"]),
        (&["status", "--jsn"], &["did you mean --json?"]),
        (&["pause", "--for", "8x"], &["'8x'", "8h"]),
        (&["daemon", "strat"], &["did you mean start?"]),
        (&["daemon"], &["agentctl daemon --help"]),
        (&[], &["agentctl --help"]),
        (&["why", "--profile", ""], &["no profile name"]),
        (&["status", "--profile", ""], &["no profile name"]),
        (&["refresh", "dev"], &["'dev'"]),
    ] {
        refused(&process::run(agent.command(arguments), LIMIT), USAGE, words);
    }
}

#[test]
fn a_socket_that_cannot_be_used_says_why() {
    let agent = Agent::new();
    let ask = ["credential-process", "--profile", "dev-sso"];
    let long = agent.home.path().join("x".repeat(120));
    let words = ["the socket's path has", "107 are possible", "AGENTCTL_SOCKET"];
    refused(&with_variable(&agent, "AGENTCTL_SOCKET", Some(&long), &ask), MISCONFIGURED, &words[..]);
    refused(&agent.ctl(&["status", "--socket", &long.display().to_string()]), MISCONFIGURED, &words[..1]);
    let open = agent.home.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let socket = open.join("agent.sock");
    refused(
        &with_variable(&agent, "AGENTCTL_SOCKET", Some(&socket), &ask),
        MISCONFIGURED,
        &["open to others", "chmod 700"],
    );
    refused(
        &with_variable(&agent, "AGENTCTL_STATE_DIR", Some(&open), &ask),
        MISCONFIGURED,
        &["open to others", "chmod 700"],
    );
    let occupied = agent.home.state_dir().join("occupied");
    fs::write(&occupied, "").unwrap();
    let file = agent.home.path().join("file");
    fs::write(&file, "").unwrap();
    refused(&with_variable(&agent, "AGENTCTL_STATE_DIR", Some(&file), &ask), MISCONFIGURED, &["is not a folder"]);
    refused(&with_variable(&agent, "AGENTCTL_SOCKET", Some(&occupied), &ask), MISCONFIGURED, &["occupied"]);
}

fn write_token(agent: &Agent, text: &str) {
    fs::write(agent.home.token_file("corp"), text).unwrap();
}
