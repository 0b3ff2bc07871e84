//! `agentctl doctor` beyond the network, as a whole: healthy worlds, and what the AWS config and Claude Code's settings
//! lead to first. In each world exactly one thing is wrong, its finding leads, and its fix, applied to the letter, cures it
//! (more of them in `doctor_config` and `doctor_claude`).

use std::fs;

use serde_json::{Value, json};

use crate::agent::{AGENTCTL, Agent, LIMIT};
use crate::behind::check;
use crate::support::fake_aws::{Fault, Operation};
use crate::support::process::run;

/// A user set up by `agentctl setup`, and whose STS is the fake too.
pub(crate) fn healthy() -> Agent {
    let mut agent = Agent::new();
    claude_of_today(&mut agent);
    agent.ctl(&["setup", "--profile", "dev-sso", "--region", "eu-west-1", "--yes"]).expect_success();
    agent
}

/// A `claude` that says its version, whatever this machine has.
pub(crate) fn claude_of_today(agent: &mut Agent) {
    let bin = agent.home.path().join("bin");
    fs::create_dir_all(&bin).unwrap();
    agent.home.script("bin/claude", "#!/bin/sh\necho '2.1.328 (Claude Code)'\n");
    let path = std::env::var("PATH").unwrap_or_default();
    agent.home.set("PATH", format!("{}:{path}", bin.display()));
}

pub(crate) fn doctor(agent: &Agent, variables: &[(&str, &str)]) -> (Value, i32) {
    let mut command = agent.command(&["doctor", "--json", "--profile", "dev-sso"]);
    command.envs(variables.iter().copied());
    let finished = run(command, LIMIT);
    agent.note(&["doctor"], &finished);
    let report = serde_json::from_str(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {finished:?}"));
    (report, finished.code())
}

pub(crate) fn settings(agent: &Agent, change: impl FnOnce(&mut Value)) {
    let path = agent.home.path().join(".claude/settings.json");
    let mut settings: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut settings);
    fs::write(path, serde_json::to_string_pretty(&settings).unwrap()).unwrap();
}

/// The finding that leads, held against what it must be; its fix is returned.
pub(crate) fn leads(agent: &Agent, first: &str, code: i32, message: &str) -> String {
    let (report, ended) = doctor(agent, &[]);
    assert_eq!((report["first"].as_str(), ended), (Some(first), code), "{report:#}");
    let finding = check(&report, first);
    assert!(finding["message"].as_str().unwrap().contains(message), "{finding:#}");
    finding["fix"].as_str().unwrap().to_owned()
}

pub(crate) fn is_well(agent: &Agent) {
    let (report, code) = doctor(agent, &[]);
    assert_eq!((&report["first"], code), (&Value::Null, 0), "{report:#}");
}

#[test]
fn a_healthy_world_is_all_well_with_an_agent_and_without() {
    let agent = healthy();
    is_well(&agent);
    let (report, _) = doctor(&agent, &[]);
    // The fake speaks no TLS.
    for finding in report["checks"].as_array().unwrap().iter().filter(|f| f["name"] != "trust") {
        assert_eq!(finding["severity"], "ok", "{finding}");
    }
    let unnamed = agent.ctl(&["doctor"]).expect_success().stdout;
    assert!(unnamed.starts_with("nothing is wrong"), "who names no profile means Claude Code's: {unnamed}");
    let path = agent.home.path().join(".claude/settings.json");
    let good = fs::read(&path).unwrap();
    fs::write(&path, "{").unwrap();
    let unnamed = agent.ctl(&["doctor"]).stdout;
    assert!(unnamed.starts_with("error: claude-settings: "), "or else the only one that there is: {unnamed}");
    fs::write(&path, good).unwrap();
    agent.ctl(&["daemon", "stop"]).expect_success();
    is_well(&agent);
    let (report, _) = doctor(&agent, &[]);
    assert_eq!(check(&report, "role")["severity"], "ok", "{report:#}");
    agent.ctl(&["setup", "--undo"]).expect_success();
    is_well(&agent);
}

/// Nobody answered, and nobody is signed in: that leads, and beside it stands why no client may begin a login.
#[test]
fn logins_that_are_paused() {
    let agent = healthy();
    agent.fake.set_login_life(std::time::Duration::from_secs(1));
    agent.ctl(&["logout", "--profile", "dev-sso"]).expect_success();
    let login = ["login", "--device", "--no-browser", "--profile", "dev-sso"];
    assert!((0..6).any(|_| agent.ctl(&login).code() == 18), "a login that nobody answers is not begun for ever");
    leads(&agent, "token", 10, "not logged in to sso-session 'corp'");
    let (report, _) = doctor(&agent, &[]);
    let logins = check(&report, "logins");
    assert_eq!(logins["severity"], "warning", "{logins}");
    assert!(logins["message"].as_str().unwrap().starts_with("logins are paused: "), "{logins}");
    assert_eq!(logins["fix"], "run in a terminal: agentctl login --sso-session corp");
    agent.home.seed_token("corp", &agent.fake.sign_in(agent.session));
    is_well(&agent);
}

#[test]
fn a_config_that_cannot_be_read() {
    let agent = healthy();
    let file = agent.home.aws_config();
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{good}\n[profile broken\n")).unwrap();
    let fix = leads(&agent, "config", 12, "/.aws/config, line ");
    assert!(fix.starts_with("correct line "), "{fix}");
    fs::write(&file, good).unwrap();
    is_well(&agent);
}

#[test]
fn a_profile_that_is_spelt_otherwise() {
    let agent = healthy();
    let file = agent.home.aws_config();
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("[profile dev-sso]", "[profile dev-ssoo]")).unwrap();
    let fix = leads(&agent, "profile", 12, "there is no profile 'dev-sso'");
    assert_eq!(fix, "did you mean 'dev-ssoo'? --profile dev-ssoo");
    fs::write(&file, good).unwrap();
    is_well(&agent);
}

#[test]
fn variables_that_stand_before_the_profile() {
    let agent = healthy();
    let (report, code) = doctor(&agent, &[("AWS_ACCESS_KEY_ID", "AKIAOLD"), ("AWS_SESSION_TOKEN", "old-token-secret")]);
    assert_eq!((report["first"].as_str(), code), (Some("shadowing"), 0), "{report:#}");
    assert_eq!(check(&report, "shadowing")["fix"], "unset AWS_ACCESS_KEY_ID AWS_SESSION_TOKEN");
    assert!(!report.to_string().contains("old-token-secret"));
    is_well(&agent);
}

#[test]
fn a_role_that_is_denied_and_a_session_that_has_ended() {
    let agent = Agent::new();
    agent.fake.inject(Fault::access_denied().on(Operation::GetRoleCredentials));
    let fix = leads(&agent, "role", 11, "AWS denies role Developer");
    assert!(fix.contains("ask for the permission set"), "{fix}");
    let agent = Agent::new();
    fs::remove_file(agent.home.token_file("corp")).unwrap();
    let fix = leads(&agent, "token", 10, "not logged in to sso-session 'corp'");
    assert_eq!(fix, "run: agentctl login --profile dev-sso");
    agent.home.seed_token("corp", &agent.fake.sign_in(agent.session));
    is_well(&agent);
}

#[test]
fn claude_codes_settings() {
    let agent = healthy();
    let path = agent.home.path().join(".claude/settings.json");
    let good = fs::read_to_string(&path).unwrap();
    let cure = |fix: &str| {
        let line = fix.strip_prefix("agentctl ").unwrap_or_else(|| panic!("{fix}"));
        let words: Vec<&str> = line.split(' ').chain(["--region", "eu-west-1", "--yes"]).collect();
        agent.ctl(&words).expect_success();
        is_well(&agent);
    };
    fs::write(&path, good.replacen(',', "", 1)).unwrap();
    let fix = leads(&agent, "claude-settings", 12, "settings.json: line 2: expected comma");
    assert!(fix.starts_with("correct that line"), "{fix}");
    fs::write(&path, &good).unwrap();
    is_well(&agent);

    settings(&agent, |s| drop(s.as_object_mut().unwrap().remove("awsCredentialExport")));
    cure(&leads(&agent, "claude-hook", 0, "Claude Code does not ask the agent"));
    settings(&agent, |s| s["awsCredentialExport"] = json!("agentctl export --profile dev-sso"));
    cure(&leads(&agent, "claude-hook", 0, "which is looked for in Claude Code's PATH"));
    settings(&agent, |s| s["awsCredentialExport"] = json!("/gone/agentctl export --profile dev-sso"));
    cure(&leads(&agent, "claude-hook", 12, "names /gone/agentctl, which is not there"));
    settings(&agent, |s| s["awsAuthRefresh"] = json!("aws sso login --profile dev-sso"));
    cure(&leads(&agent, "claude-refresh", 0, "runs 'aws sso login --profile dev-sso' at each start"));
}

#[test]
fn settings_of_a_folder_that_win_there() {
    let agent = healthy();
    let folder = agent.home.path().join("project");
    let own = folder.join(".claude/settings.local.json");
    fs::create_dir_all(own.parent().unwrap()).unwrap();
    fs::write(&own, r#"{"awsCredentialExport": "other"}"#).unwrap();
    let doctor = || {
        let mut command = agent.home.command(AGENTCTL);
        command.args(["doctor", "claude", "--json", "--profile", "dev-sso"]).current_dir(&folder);
        let finished = run(command, LIMIT).expect_success();
        serde_json::from_str::<Value>(&finished.stdout).unwrap()
    };
    let report = doctor();
    assert_eq!(report["first"], "claude-project", "{report:#}");
    assert_eq!(check(&report, "claude-project")["fix"], "take awsCredentialExport out of it");
    fs::write(&own, "{}").unwrap();
    assert_eq!(doctor()["first"], Value::Null);
}
