//! `agentctl doctor` about the AWS config, the session behind a profile and the agent itself: one thing wrong in each
//! world, its finding leads, and its fix, applied to the letter, cures it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use aws_credential_agent::platform::clock::Clock;

use crate::agent::{ACCOUNT, AGENTCTL, Agent, LIMIT, ROLE};
use crate::behind::check;
use crate::doctor_settings::{doctor, healthy, is_well, leads};
use crate::support::process::run;

fn config(agent: &Agent) -> String {
    fs::read_to_string(agent.home.aws_config()).unwrap()
}

fn write_config(agent: &Agent, text: &str) {
    fs::write(agent.home.aws_config(), text).unwrap();
}

/// Takes a part of the config away or puts another in its place.
fn edit(agent: &Agent, from: &str, to: &str) {
    let text = config(agent);
    assert!(text.contains(from), "no {from} in {text}");
    write_config(agent, &text.replacen(from, to, 1));
}

/// Does what `add KEY = VALUE to [SECTION]` says.
fn add(agent: &Agent, fix: &str) {
    let (line, section) =
        fix.strip_prefix("add ").and_then(|fix| fix.split_once(" to ")).unwrap_or_else(|| panic!("{fix}"));
    let line = line.split(", or ").next().unwrap();
    edit(agent, &format!("{section}\n"), &format!("{section}\n{line}\n"));
}

/// Rewrites one key of the token file.
fn set_token(agent: &Agent, key: &str, value: Value) {
    let path = agent.home.token_file("corp");
    let mut token: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    token[key] = value;
    fs::write(path, token.to_string()).unwrap();
}

/// What a login that was advised comes to.
fn log_in(agent: &Agent) {
    agent.home.seed_token("corp", &agent.fake.sign_in(agent.session));
}

#[test]
fn a_section_that_is_no_profile() {
    let agent = Agent::new();
    write_config(&agent, &format!("{}[stray]\nregion = eu-west-1\n", config(&agent)));
    let fix = leads(&agent, "config", 0, "section [stray] is ignored");
    edit(&agent, "[stray]", fix.strip_prefix("write ").unwrap());
    is_well(&agent);
}

#[test]
fn a_session_that_is_misspelt_or_not_whole() {
    let agent = Agent::new();
    edit(&agent, "sso_session = corp", "sso_session = crop");
    let fix = leads(&agent, "sso-session", 12, "names sso_session 'crop', which the config does not have");
    let right = fix.strip_prefix("did you mean ").unwrap().trim_end_matches('?');
    edit(&agent, "sso_session = crop", right);
    is_well(&agent);

    let good = config(&agent);
    let region = good.lines().find(|line| line.starts_with("sso_region")).unwrap().to_owned();
    edit(&agent, &format!("{region}\n"), "");
    let fix = leads(&agent, "sso-session", 12, "sso-session 'corp' has no sso_region");
    assert_eq!(fix, "add sso_region = the region of Identity Center to [sso-session corp]");
    add(&agent, &fix.replace("the region of Identity Center", region.split(" = ").nth(1).unwrap()));
    is_well(&agent);

    edit(&agent, "sso_role_name", "#sso_role_name");
    let fix = leads(&agent, "profile", 12, "profile 'dev-sso' has no sso_role_name");
    add(&agent, &fix.replace("the permission set", ROLE));
    is_well(&agent);
}

#[test]
fn a_profile_of_a_kind_that_is_not_served() {
    let agent = Agent::new();
    write_config(&agent, &format!("{}[profile plain]\nregion = eu-west-1\n", config(&agent)));
    let finished = run(agent.command(&["doctor", "config", "--json", "--profile", "plain"]), LIMIT);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((report["first"].as_str(), finished.code()), (Some("profile"), 12), "{report:#}");
    assert!(check(&report, "profile")["message"].to_string().contains("has no credential source"), "{report:#}");
    for child in ["sso-session", "scopes", "region"] {
        assert_eq!(check(&report, child)["severity"], "skipped", "{report:#}");
    }
}

#[test]
fn scopes_without_which_nobody_can_renew() {
    let agent = Agent::new();
    edit(&agent, "sso_registration_scopes = sso:account:access\n", "");
    let fix = leads(&agent, "scopes", 0, "lasts 8 hours and cannot be renewed");
    assert_eq!(fix, "add sso_registration_scopes = sso:account:access to [sso-session corp]");
    add(&agent, &fix);
    is_well(&agent);
    edit(&agent, "sso_registration_scopes = sso:account:access", "sso_registration_scopes = codewhisperer:x");
    let fix = leads(&agent, "scopes", 0, "lasts 8 hours");
    let line = fix.strip_prefix("write ").unwrap().split(" in [").next().unwrap();
    assert_eq!(line, "sso_registration_scopes = codewhisperer:x,sso:account:access");
    edit(&agent, "sso_registration_scopes = codewhisperer:x", line);
    is_well(&agent);
}

#[test]
fn a_legacy_profile() {
    let agent = Agent::new();
    let token = agent.fake.sign_in(agent.session);
    write_config(&agent, "");
    agent.home.add_legacy_profile("dev-sso", &token, ACCOUNT, ROLE);
    let file = agent.home.seed_token(&token.start_url, &token);
    let mut text: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    text.as_object_mut().unwrap().remove("refreshToken");
    fs::write(&file, text.to_string()).unwrap();
    let fix = leads(&agent, "scopes", 0, "has its own sso_start_url (the legacy form)");
    assert_eq!(fix, "agentctl setup --convert --profile dev-sso");
    let words: Vec<&str> = fix.strip_prefix("agentctl ").unwrap().split(' ').chain(["--yes"]).collect();
    fs::remove_file(agent.home.token_file("corp")).unwrap();
    let done = agent.ctl(&words);
    assert!(done.code() == 10 && done.stderr.ends_with("run: agentctl login --profile dev-sso\n"), "{}", done.stderr);
    log_in(&agent);
    is_well(&agent);
}

#[test]
fn what_stands_before_the_profile() {
    let agent = Agent::new();
    let credentials = agent.home.path().join(".aws/credentials");
    fs::write(&credentials, "[dev-sso]\naws_access_key_id = AKIAOLD\naws_secret_access_key = old-secret\n").unwrap();
    let (report, _) = doctor(&agent, &[]);
    assert!(!report.to_string().contains("old-secret"));
    let fix = leads(&agent, "shadowing", 0, "also has static keys in");
    assert_eq!(fix, format!("remove [dev-sso] from {}", credentials.display()));
    fs::write(&credentials, "").unwrap();
    is_well(&agent);

    let line = format!("credential_process = {AGENTCTL} credential-process --profile dev-sso\n");
    edit(&agent, "[profile dev-sso]\n", &format!("[profile dev-sso]\n{line}"));
    let fix = leads(&agent, "shadowing", 0, "has both sso_* keys and credential_process");
    assert!(fix.starts_with("remove credential_process from [profile dev-sso];"), "{fix}");
    edit(&agent, &line, "");
    is_well(&agent);
}

#[test]
fn a_command_that_is_gone() {
    let agent = Agent::new();
    agent.home.add_process_profile("tools", "/gone/agentctl credential-process --profile dev-sso");
    let fix =
        leads(&agent, "process", 0, "credential_process of [profile tools] names /gone/agentctl, which is not there");
    let here = fix.strip_prefix("write ").unwrap().split(" in its place in ").next().unwrap();
    edit(&agent, "/gone/agentctl", here);
    is_well(&agent);
    edit(&agent, here, "/gone/another");
    let fix = leads(&agent, "process", 0, "names /gone/another");
    assert!(fix.ends_with("or remove [profile tools]"), "{fix}");
}

#[test]
fn no_region() {
    let agent = Agent::new();
    write_config(&agent, &config(&agent).replace("\nregion = eu-west-1\n", "\n"));
    add(&agent, &leads(&agent, "region", 0, "[profile dev-sso] has no region, and AWS_REGION is not set"));
    is_well(&agent);
    let (report, _) = doctor(&agent, &[("AWS_REGION", "us-east-1")]);
    let region = check(&report, "region");
    assert_eq!(region["severity"], "note", "{region:#}");
    assert!(region["message"].as_str().unwrap().starts_with("AWS_REGION=us-east-1 here stands before"), "{region:#}");
}

#[test]
fn a_token_that_does_not_last() {
    let agent = Agent::new();
    let path = agent.home.token_file("corp");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let fix = leads(&agent, "token", 0, "may be read by others (mode 644)");
    assert!(Command::new("/bin/sh").args(["-c", &fix]).status().unwrap().success());
    is_well(&agent);

    set_token(&agent, "refreshToken", Value::Null);
    let fix = leads(&agent, "token", 0, "the session 'corp' ends in");
    assert_eq!(fix, "agentctl login --profile dev-sso --force");
    set_token(&agent, "expiresAt", json!("2020-01-01T00:00:00Z"));
    let fix = leads(&agent, "token", 10, "has no refresh token");
    assert_eq!(fix, "run: agentctl login --profile dev-sso");
    log_in(&agent);
    is_well(&agent);

    fs::write(&path, "{}").unwrap();
    let fix = leads(&agent, "token", 12, "holds no access token");
    assert_eq!(fix, "log in again to replace it: agentctl login --profile dev-sso");
    log_in(&agent);
    is_well(&agent);
}

#[test]
fn a_registration_that_ends() {
    let agent = Agent::new();
    let soon = Clock.wall().plus(Duration::from_secs(2 * 86_400)).to_utc();
    set_token(&agent, "registrationExpiresAt", json!(crate::support::home::stamp(soon)));
    let fix = leads(&agent, "registration", 0, "the client's registration ends in 1 d 23 h");
    assert_eq!(fix, "agentctl login --profile dev-sso --force");
    set_token(&agent, "registrationExpiresAt", json!("2020-01-01T00:00:00Z"));
    leads(&agent, "registration", 0, "the client's registration has ended");
    agent.expire_token();
    leads(&agent, "registration", 10, "so the session cannot be renewed");
    log_in(&agent);
    is_well(&agent);
}

#[test]
fn inside_a_sandbox() {
    let agent = Agent::new();
    let inside = [("SANDBOX_RUNTIME", "1")];
    let (report, code) = doctor(&agent, &inside);
    assert_eq!((report["first"].as_str(), code), (Some("socket"), 0), "{report:#}");
    let fix = check(&report, "socket")["fix"].as_str().unwrap().to_owned();
    let words: Vec<&str> = fix.strip_prefix("start it outside: agentctl ").unwrap().split(' ').collect();
    agent.ctl(&words).expect_success();
    let (report, code) = doctor(&agent, &inside);
    assert_eq!((&report["first"], code), (&Value::Null, 0), "{report:#}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_service_for_another_socket() {
    let mut agent = healthy();
    agent.home.script("bin/systemctl", "#!/bin/sh\nexit 0\n");
    let path = std::env::var("PATH").unwrap_or_default();
    agent.home.set("PATH", format!("{}:{path}", agent.home.path().join("bin").display()));
    agent.ctl(&["service", "install"]).expect_success();
    is_well(&agent);
    let unit = agent.home.path().join(".config/systemd/user/agentd.socket");
    let text = fs::read_to_string(&unit).unwrap().replace("ListenStream=", "ListenStream=/elsewhere");
    fs::write(&unit, text).unwrap();
    let fix = leads(&agent, "service", 0, "the installed service listens elsewhere than at");
    let words: Vec<&str> = fix.strip_prefix("agentctl ").unwrap().split(' ').collect();
    agent.ctl(&words).expect_success();
    is_well(&agent);
    fs::remove_file(&unit).unwrap();
    leads(&agent, "service", 0, "a part of the installed service is missing");
    agent.ctl(&words).expect_success();
    is_well(&agent);
}
