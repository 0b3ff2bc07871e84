//! From an empty home to the real Claude Code answering, by `agentctl setup` alone.

use std::fs;

use serde_json::json;

use super::agent::Agent;
use super::{ACCOUNT, ROLE, claude, clients, fake};
use crate::support::clock::eventually;
use crate::support::fake_aws::{MODEL, Operation, Person};
use crate::support::home::TestHome;
use crate::support::process::run;

/// A home with an SSO profile, in which nobody has set up Claude Code; the fake stands for Bedrock.
fn fresh() -> (crate::support::fake_aws::FakeAws, TestHome, Agent) {
    let (fake, session) = fake();
    let mut home = TestHome::with_sso_profile(&fake, session, ACCOUNT, ROLE);
    claude::surroundings(&mut home, &fake);
    for set_up in ["CLAUDE_CODE_USE_BEDROCK", "AWS_REGION", "ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL"] {
        home.unset(set_up);
    }
    let agent = Agent::absent(&home);
    (fake, home, agent)
}

fn agentctl(home: &TestHome, agent: &Agent, line: &str) -> crate::support::process::Finished {
    let mut command = home.command("sh");
    command.args(["-c", &agent.command_line(line)]);
    run(command, clients::LIMIT)
}

#[test]
fn by_flags_and_an_empty_home_claude_code_answers() {
    let (fake, home, agent) = fresh();
    let line = format!(
        "setup --profile dev-sso --region eu-west-1 --model {MODEL} --small-model {MODEL} --haiku-model {MODEL} --yes"
    );
    agentctl(&home, &agent, &line).expect_success();
    let turn = claude::one_turn(&home).expect_success();
    assert_eq!(turn.stdout.trim(), "pong");
    assert!(fake.count(Operation::InvokeModelStream) > 0);
    agentctl(&home, &agent, "setup --undo").expect_success();
    assert!(!home.path().join(".claude/settings.json").exists());
    agent.assert_no_secret_leaked(&fake, &home);
}

/// Settings as Claude Code's own wizard writes them for Bedrock, and as the guides of other tools have them.
#[test]
fn settings_of_the_wizard_and_of_other_tools_are_merged_without_loss() {
    for before in [
        json!({"env": {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "us-east-1", "AWS_PROFILE": "work"}, "model": "opus"}),
        json!({"awsAuthRefresh": "aws sso login --profile work", "env": {"AWS_PROFILE": "work"}}),
        json!({"awsCredentialExport": "aws-vault export work --format=json | jq '{Credentials: .}'",
               "awsAuthRefresh": "granted sso login", "env": {"CLAUDE_CODE_USE_BEDROCK": "true"}}),
        json!({"apiKeyHelper": "/usr/local/bin/key", "permissions": {"allow": ["Bash"]}, "hooks": {"PreToolUse": []}}),
    ] {
        let (_fake, home, agent) = fresh();
        let path = home.path().join(".claude/settings.json");
        let text = serde_json::to_string_pretty(&before).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
        let models = format!("--model {MODEL} --small-model {MODEL} --haiku-model {MODEL}");
        agentctl(&home, &agent, &format!("setup --profile dev-sso --region eu-west-1 {models} --yes")).expect_success();
        let after: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for (key, value) in before.as_object().unwrap() {
            if !["env", "awsAuthRefresh", "awsCredentialExport"].contains(&key.as_str()) {
                assert_eq!(after[key], *value, "{key}");
            }
        }
        for (name, value) in before["env"].as_object().into_iter().flatten() {
            if !["AWS_REGION", "CLAUDE_CODE_USE_BEDROCK"].contains(&name.as_str()) {
                assert_eq!(after["env"][name], *value, "{name}");
            }
        }
        assert_eq!(claude::one_turn(&home).expect_success().stdout.trim(), "pong", "{before}");
        agentctl(&home, &agent, "setup --undo").expect_success();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

/// From no AWS config at all: a session and a profile by flags, a login, Claude Code's settings, and a turn.
#[test]
fn from_an_empty_home_to_claude_codes_first_answer() {
    let (fake, home, agent) = fresh();
    fs::write(home.aws_config(), "").unwrap();
    fs::remove_file(home.token_file("corp")).unwrap();
    fake.set_person(Person::Approves);
    let sso = "--start-url https://corp.awsapps.com/start --sso-region eu-west-1";
    let models = format!("--model {MODEL} --small-model {MODEL} --haiku-model {MODEL}");
    let role = format!("--account {ACCOUNT} --role {ROLE} --profile dev --region eu-west-1");
    let set_up = agentctl(&home, &agent, &format!("setup sso claude {sso} {role} {models} --yes"));
    assert_eq!(set_up.code(), 10, "what is left is the login: {}", agent.said());
    agentctl(&home, &agent, "login --device --no-browser --profile dev").expect_success();
    assert_eq!(claude::one_turn(&home).expect_success().stdout.trim(), "pong");
    agentctl(&home, &agent, "setup --undo").expect_success();
    assert_eq!(fs::read_to_string(home.aws_config()).unwrap(), "");
}

/// What doctor and setup say of comments: they are kept, and Claude Code ignores the file for them.
#[test]
fn claude_code_ignores_settings_with_comments_and_trailing_commas() {
    let (_fake, home, agent) = fresh();
    let models = format!("--model {MODEL} --small-model {MODEL} --haiku-model {MODEL}");
    agentctl(&home, &agent, &format!("setup --profile dev-sso --region eu-west-1 {models} --yes")).expect_success();
    let path = home.path().join(".claude/settings.json");
    let good = fs::read_to_string(&path).unwrap();
    for (text, answers) in [
        (good.replacen('{', "{\n  // mine", 1), false),
        (good.replacen("\n}", ",\n}", 1), false),
        (format!("\u{feff}{good}"), true),
        (good.replace('\n', "\r\n"), true),
    ] {
        fs::write(&path, &text).unwrap();
        let turn = claude::one_turn(&home);
        assert_eq!(turn.stdout.trim() == "pong", answers, "{text}\n{turn:?}");
        let ignored = aws_credential_agent::core::claude_settings::ignored_from(text.as_bytes());
        assert_eq!(ignored.is_none(), answers, "{text}");
    }
}

/// What `setup` says of sessions that run: at their next turn they take up hook and region, even one that began without
/// Bedrock, but not a model.
#[test]
fn a_session_that_runs_takes_up_hook_and_region_but_no_model() {
    let (fake, home, agent) = fresh();
    let path = home.path().join(".claude/settings.json");
    let mut session = claude::Session::start(&home);
    assert!(!session.turn("hi").ok, "nobody has set anything up");
    let other = "eu.anthropic.claude-opus-4-5-20251101-v1:0";
    for (hook, region, model) in [("first", "eu-central-1", MODEL), ("second", "eu-west-1", other)] {
        let export = agent.command_line("export --profile dev-sso");
        let hook = home.script(hook, &format!("#!/bin/sh\necho {hook} >> \"$HOME/ran\"\nexec {export}\n"));
        let env = json!({ "AWS_REGION": region, "CLAUDE_CODE_USE_BEDROCK": "1", "ANTHROPIC_MODEL": model });
        fs::write(&path, json!({ "awsCredentialExport": hook, "env": env }).to_string()).unwrap();
        let turns = || fake.calls_of(Operation::InvokeModelStream);
        eventually("a turn with the new settings", claude::LIMIT, || {
            assert!(!session.turn("hi").text.is_empty(), "{}", session.output());
            turns().last().is_some_and(|turn| turn.region.as_deref() == Some(region)).then_some(())
        });
        assert!(turns().iter().all(|turn| !turn.target.contains(other)), "the model is the one that it began with");
    }
    let ran = fs::read_to_string(home.path().join("ran")).unwrap();
    assert!(ran.starts_with("first\n") && ran.ends_with("second\n"), "{ran}");
}

/// With `--auth-refresh` a login is there for the day on which it is needed, and runs at no start before that.
#[test]
fn a_login_in_aws_auth_refresh_runs_at_no_start_while_all_is_well() {
    let (fake, mut home, agent) = fresh();
    let models = format!("--model {MODEL} --small-model {MODEL} --haiku-model {MODEL}");
    let line = format!("setup --profile dev-sso --region eu-west-1 {models} --auth-refresh --yes");
    agentctl(&home, &agent, &line).expect_success();
    let path = home.path().join(".claude/settings.json");
    let settings: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(settings["env"]["AWS_PROFILE"], "dev-sso-agent");
    assert!(settings["awsAuthRefresh"].as_str().is_some_and(|command| command.ends_with("login --profile dev-sso")));
    for _ in 0..3 {
        assert_eq!(claude::one_turn(&home).expect_success().stdout.trim(), "pong");
    }
    assert!(fake.succeeded(Operation::GetCallerIdentity) >= 3, "Claude Code's own check passes");
    assert_eq!(agent.said().matches("already signed in").count(), 0, "{}", agent.said());
    agentctl(&home, &agent, "setup --undo").expect_success();

    // STS behind a proxy that does not answer: left out, and said why.
    home.set("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9");
    let said = agentctl(&home, &agent, &line).expect_success().stderr;
    let why = "awsAuthRefresh is left out, since Claude Code would run it at each start: cannot reach 127.0.0.1";
    assert!(said.contains(why) || agent.said().contains(why), "{said}{}", agent.said());
    assert!(!fs::read_to_string(&path).unwrap().contains("awsAuthRefresh"));
}
