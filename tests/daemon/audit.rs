//! Who was given what: what is on record after real grants, and that no grant waits for the record.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::agent::{AGENTCTL, Agent, LIMIT};
use crate::support::clock::eventually;
use crate::support::process::Running;

const ASK: [&str; 3] = ["credential-process", "--profile", "dev-sso"];

fn log_file(agent: &Agent) -> PathBuf {
    agent.home.state_dir().join("audit.jsonl")
}

/// The lines of the log as they stand on disk.
fn lines(agent: &Agent) -> Vec<Value> {
    let text = fs::read_to_string(log_file(agent)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `audit --json` with more options.
fn audit(agent: &Agent, options: &[&str]) -> Value {
    let finished = agent.ctl(&[&["audit", "--json"], options].concat()).expect_success();
    serde_json::from_str(&finished.stdout).unwrap()
}

fn entries(agent: &Agent, options: &[&str]) -> Vec<Value> {
    audit(agent, options)["entries"].as_array().unwrap().clone()
}

fn losses(agent: &Agent) -> Option<String> {
    let findings = agent.status()["findings"].as_array().cloned().unwrap_or_default();
    let finding = findings.into_iter().find(|f| f["name"] == "audit-losses")?;
    assert_ne!(finding["fix"], "");
    finding["message"].as_str().map(str::to_owned)
}

/// A request of this very process, as any other client may make it.
fn request(agent: &Agent, target: &str) -> (String, Value) {
    let mut stream = UnixStream::connect(agent.home.state_dir().join("agent.sock")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), serde_json::from_str(body).unwrap())
}

/// What the system tells of a process's program; `null` where it does not tell.
fn program(path: impl Into<PathBuf>) -> Value {
    let path: PathBuf = path.into();
    if cfg!(target_os = "linux") { json!(path.canonicalize().unwrap()) } else { Value::Null }
}

#[test]
fn a_grant_is_on_record_with_who_asked() {
    let agent = Agent::new();
    agent.ctl(&["daemon", "start"]).expect_success();
    let none = agent.ctl(&["audit"]).expect_success();
    assert_eq!(none.stdout, "nobody was given credentials yet\n");
    let client = Running::start(agent.command(&ASK));
    let client_pid = client.pid();
    let document: Value = serde_json::from_str(&client.finish(LIMIT).expect_success().stdout).unwrap();
    let key = document["AccessKeyId"].as_str().unwrap();

    let document_of_the_log = audit(&agent, &[]);
    assert_eq!((&document_of_the_log["schema"], &document_of_the_log["lost"]), (&json!(1), &json!(0)));
    let entry = &document_of_the_log["entries"][0];
    let us = std::env::current_exe().unwrap();
    let parent = json!({"pid": std::process::id(), "executable": program(&us)});
    let expected = json!({
        "at": entry["at"],
        "profile": "dev-sso",
        "config_file": null,
        "key_suffix": key[key.len() - 4..],
        "expires_at": document["Expiration"],
        "pid": client_pid,
        "uid": rustix::process::geteuid().as_raw(),
        "executable": program(AGENTCTL),
        "parent": if cfg!(target_os = "linux") { parent } else { Value::Null },
    });
    assert_eq!(entry, &expected);
    assert_eq!(lines(&agent), [expected]);
    assert_eq!(fs::metadata(log_file(&agent)).unwrap().mode() & 0o7777, 0o600);
    assert!(!fs::read_to_string(log_file(&agent)).unwrap().contains(key), "a whole key id");
    let table = agent.ctl(&["audit"]).expect_success().stdout;
    assert!(table.contains("dev-sso") && table.contains(&format!("...{}", &key[key.len() - 4..])), "{table}");
    assert_eq!(table.lines().count(), 2, "{table}");
}

#[test]
fn any_client_is_on_record_and_refusals_are_not() {
    let agent = Agent::new();
    agent.ctl(&["daemon", "start"]).expect_success();
    assert!(request(&agent, "/v1/profiles/nobody/credentials").0.starts_with("HTTP/1.1 404"));
    let (head, document) = request(&agent, "/v1/profiles/dev-sso/credentials");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(document["Version"], 1);
    let (head, log) = request(&agent, "/v1/audit");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-type: application/json"), "{head}");
    assert_eq!(log["entries"].as_array().unwrap().len(), 1);
    let entry = &log["entries"][0];
    assert_eq!(
        (&entry["pid"], &entry["executable"]),
        (&json!(std::process::id()), &program(std::env::current_exe().unwrap()))
    );
    for bad in ["since=soon", "limit=many", "limit=-1"] {
        assert!(request(&agent, &format!("/v1/audit?{bad}")).0.starts_with("HTTP/1.1 400"), "{bad}");
    }
}

#[test]
fn only_what_is_asked_for_is_told() {
    let agent = Agent::new();
    agent.home.append_config(&fs::read_to_string(agent.home.aws_config()).unwrap().replace("dev-sso", "second"));
    agent.credentials("dev-sso");
    agent.credentials("second");
    let elsewhere = agent.home.path().join("elsewhere");
    fs::copy(agent.home.aws_config(), &elsewhere).unwrap();
    let mut command = agent.command(&ASK);
    command.env("AWS_CONFIG_FILE", &elsewhere);
    Running::start(command).finish(LIMIT).expect_success();
    let profiles = |options: &[&str]| {
        entries(&agent, options).iter().map(|e| e["profile"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(profiles(&[]), ["dev-sso", "second", "dev-sso"]);
    assert_eq!(profiles(&["--since", "1h"]).len(), 3);
    assert_eq!(profiles(&["--since", "2100-01-01T00:00:00Z"]).len(), 0);
    assert_eq!(profiles(&["--profile", "second"]), ["second"]);
    let files: Vec<_> = entries(&agent, &[]).iter().map(|e| e["config_file"].clone()).collect();
    assert_eq!(files, [Value::Null, Value::Null, json!(elsewhere)]);
    let newest = request(&agent, "/v1/audit?limit=1").1;
    assert_eq!((newest["entries"][0]["config_file"].clone(), &newest["more"]), (json!(elsewhere), &json!(true)));
}

#[test]
fn a_log_that_cannot_be_written_holds_nobody_up() {
    let agent = Agent::new();
    fs::create_dir(log_file(&agent)).unwrap();
    agent.credentials("dev-sso");
    agent.credentials("dev-sso");
    let said = eventually("both losses show", LIMIT, || losses(&agent).filter(|said| said.starts_with("2 grants")));
    assert!(said.contains("audit.jsonl is not a regular file"), "{said}");
    let told = agent.ctl(&["audit"]);
    assert!(!told.status.success() && told.stderr.contains("audit.jsonl is not a regular file"), "{}", told.stderr);
    fs::remove_dir(log_file(&agent)).unwrap();
    agent.credentials("dev-sso");
    let document = audit(&agent, &[]);
    assert_eq!((document["entries"].as_array().unwrap().len(), &document["lost"]), (1, &json!(2)));
    assert!(losses(&agent).unwrap().ends_with("it is written again"));
}

#[test]
fn without_a_daemon_it_is_on_record_too() {
    let agent = Agent::new();
    let once = Running::start(agent.command(&[&ASK[..], &["--no-daemon"]].concat()));
    let pid = once.pid();
    once.finish(LIMIT).expect_success();
    let [entry] = &lines(&agent)[..] else { panic!("{:?}", lines(&agent)) };
    assert_eq!((&entry["profile"], &entry["pid"]), (&json!("dev-sso"), &json!(pid)));
    assert_eq!(entry["executable"], program(AGENTCTL));
    fs::remove_file(log_file(&agent)).unwrap();
    fs::create_dir(log_file(&agent)).unwrap();
    let again = agent.ctl(&[&ASK[..], &["--no-daemon"]].concat()).expect_success();
    assert_eq!(again.stderr, "");
}
