//! `agentctl setup --convert` with the real programs: a legacy SSO profile gets an `[sso-session]`, and is served.

use std::fs;

use serde_json::Value;

use crate::agent::{ACCOUNT, Agent, ROLE, has_script};
use crate::support::fake_aws::{Operation, Person, SignedIn};
use crate::support::process::Finished;

const NEEDS_LOGIN: i32 = 10;

/// A user signed in, by the AWS CLI, to two legacy profiles of one start URL, `old` and `older`.
fn legacy() -> (Agent, SignedIn) {
    let agent = Agent::new();
    let token = agent.fake.sign_in(agent.session);
    fs::remove_file(agent.home.token_file("corp")).unwrap();
    fs::write(agent.home.aws_config(), "# mine\n").unwrap();
    agent.home.add_legacy_profile("old", &token, ACCOUNT, ROLE);
    agent.home.add_legacy_profile("older", &token, ACCOUNT, ROLE);
    let file = agent.home.seed_token(&token.start_url, &token);
    let mut text: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    text.as_object_mut().unwrap().remove("refreshToken");
    fs::write(&file, text.to_string()).unwrap();
    agent.fake.set_person(Person::Approves);
    (agent, token)
}

fn config(agent: &Agent) -> String {
    fs::read_to_string(agent.home.aws_config()).unwrap()
}

fn convert(agent: &Agent, more: &[&str]) -> Finished {
    agent.ctl(&[&["setup", "--convert", "--profile", "old"], more].concat())
}

/// The lines that are added; that nothing is taken away.
fn added(diff: &str) -> Vec<&str> {
    assert!(!diff.lines().any(|line| line.starts_with('-') && !line.starts_with("---")), "{diff}");
    diff.lines().filter_map(|line| line.strip_prefix('+')).filter(|line| !line.starts_with("++")).collect()
}

/// The session of a profile in `status`.
fn session_of(agent: &Agent, profile: &str) -> Value {
    agent.profile(profile)["session"].clone()
}

#[test]
fn a_session_is_added_served_after_a_login_and_taken_back_to_the_byte() {
    let (agent, token) = legacy();
    let before = config(&agent);
    agent.credentials("old");
    let shown = convert(&agent, &["--dry-run"]).expect_success();
    let url = format!("sso_start_url = {}", token.start_url);
    assert_eq!(
        added(&shown.stdout),
        [
            "sso_session = corp",
            "[sso-session corp]",
            &url,
            "sso_region = eu-west-1",
            "sso_registration_scopes = sso:account:access",
        ],
        "{}",
        shown.stdout
    );
    assert!(shown.stderr.contains("profile 'old' gets a new sso-session 'corp', which needs a login of its own"));
    assert_eq!(config(&agent), before, "a look changes nothing");
    let refused = convert(&agent, &[]);
    assert_eq!((refused.code(), config(&agent)), (2, before.clone()), "{}", refused.stderr);

    let done = convert(&agent, &["--yes"]);
    assert!(!agent.home.path().join(".claude").exists(), "Claude Code is another step");
    assert_eq!(done.code(), NEEDS_LOGIN, "{}", done.stderr);
    assert!(done.stderr.contains("what is left is to sign in\n"), "{}", done.stderr);
    let login = done.stderr.trim_end().rsplit("run: agentctl ").next().unwrap();
    assert_eq!(login, "login --profile old");
    let words: Vec<&str> = login.split(' ').collect();
    agent.ctl(&[&words[..], &["--device", "--no-browser"]].concat()).expect_success();
    agent.credentials("old");
    assert_eq!(session_of(&agent, "old"), "corp");
    let written: Value = serde_json::from_str(&fs::read_to_string(agent.home.token_file("corp")).unwrap()).unwrap();
    assert!(written["refreshToken"].is_string(), "what the whole is for");
    agent.credentials("older");
    assert_ne!(session_of(&agent, "older"), "corp", "only the chosen profile is converted");

    let again = convert(&agent, &["--yes"]).expect_success();
    assert!(again.stderr.contains("profile 'old' is no legacy profile"), "{}", again.stderr);
    assert!(again.stderr.contains("everything is set up already"), "{}", again.stderr);
    let second = agent.ctl(&["setup", "--convert", "--profile", "older", "--yes"]).expect_success();
    assert!(second.stderr.contains("gets sso-session 'corp', which is there already"), "{}", second.stderr);
    assert_eq!(session_of(&agent, "older"), "corp", "and needs no login");
    agent.ctl(&["setup", "--undo"]).expect_success();
    assert_eq!(config(&agent), before);
    agent.credentials("old");
}

#[test]
fn a_session_that_is_there_already_is_used_and_gets_the_scope() {
    let (agent, token) = legacy();
    let url = &token.start_url;
    agent.home.append_config(&format!("[sso-session mine]\nsso_start_url = {url}\nsso_region = eu-west-1\n"));
    agent.home.seed_token("mine", &agent.fake.sign_in(agent.session));
    let before = config(&agent);
    let shown = convert(&agent, &["--dry-run"]).expect_success();
    let scope = "sso_registration_scopes = sso:account:access";
    assert_eq!(added(&shown.stdout), ["sso_session = mine", scope], "{}", shown.stdout);
    // One with scopes of its own keeps them.
    let other = "sso_registration_scopes = codewhisperer:completions";
    fs::write(agent.home.aws_config(), before.trim_end().to_owned() + &format!("\n{other}\n")).unwrap();
    let done = convert(&agent, &["--yes"]).expect_success();
    assert!(done.stderr.contains(&format!("its {other} stays")), "{}", done.stderr);
    assert!(done.stderr.contains("'old' has credentials\n"), "{}", done.stderr);
    assert!(config(&agent).ends_with(&format!("{other}\n")) && !config(&agent).contains(scope), "{}", config(&agent));
    assert_eq!(session_of(&agent, "old"), "mine");
}

#[test]
fn a_name_that_another_session_has_is_not_taken() {
    let (agent, _) = legacy();
    agent
        .home
        .append_config("[sso-session corp]\nsso_start_url = https://x.awsapps.com/start\nsso_region = eu-west-1\n");
    let before = config(&agent);
    let refused = convert(&agent, &["--sso-session", "corp", "--yes"]);
    assert_eq!((refused.code(), config(&agent)), (12, before.clone()), "{}", refused.stderr);
    assert!(refused.stderr.ends_with("choose another name: --sso-session corp-2\n"), "{}", refused.stderr);
    assert_eq!(convert(&agent, &["--yes"]).code(), NEEDS_LOGIN);
    let after = config(&agent);
    assert!(after.contains("sso_session = corp-2\n") && after.contains("[sso-session corp-2]\n"), "{after}");
    agent.ctl(&["setup", "--undo"]).expect_success();
    assert_eq!(config(&agent), before);
    assert_eq!(convert(&agent, &["--sso-session", "my corp", "--yes"]).code(), NEEDS_LOGIN);
    agent.ctl(&["login", "--device", "--no-browser", "--profile", "old"]).expect_success();
    agent.credentials("old");
    assert_eq!(session_of(&agent, "old"), "my corp");
}

#[test]
fn lines_that_end_in_crlf_stay_so_and_what_others_add_stays_at_an_undo() {
    let (agent, _) = legacy();
    let before = config(&agent).replace('\n', "\r\n") + "# without an end";
    fs::write(agent.home.aws_config(), &before).unwrap();
    assert_eq!(convert(&agent, &["--yes"]).code(), NEEDS_LOGIN);
    let after = config(&agent);
    assert!(after.contains("region = eu-west-1\r\nsso_session = corp\r\n\r\n[profile older]\r\n"), "{after}");
    assert_eq!(after.matches('\n').count(), after.matches("\r\n").count(), "{after:?}");
    agent.ctl(&["login", "--device", "--no-browser", "--profile", "old"]).expect_success();
    agent.credentials("old");
    fs::write(agent.home.aws_config(), format!("{after}[profile later]\r\nregion = x\r\n")).unwrap();
    agent.ctl(&["setup", "--undo"]).expect_success();
    let left = config(&agent);
    assert!(left.contains("[profile later]") && !left.contains("corp]") && !left.contains("sso_session"), "{left}");
}

#[test]
fn without_the_flag_it_is_told_and_nothing_is_converted() {
    let (agent, _) = legacy();
    let before = config(&agent);
    let done = agent.ctl(&["setup", "claude", "--profile", "old", "--yes"]).expect_success();
    assert!(
        done.stderr
            .contains("lasts 8 hours and cannot be renewed; convert it: agentctl setup --convert --profile old\n")
    );
    assert_eq!(config(&agent), before);
    agent.ctl(&["setup", "--undo"]).expect_success();
    let both = agent.ctl(&["setup", "claude", "--convert", "--profile", "old", "--yes"]);
    assert_eq!(both.code(), NEEDS_LOGIN, "{}", both.stderr);
    assert!(config(&agent).contains("sso_session = corp") && agent.home.path().join(".claude/settings.json").exists());
    agent.ctl(&["setup", "--undo"]).expect_success();
    assert_eq!(config(&agent), before);
    assert!(!agent.home.path().join(".claude/settings.json").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn at_a_terminal_it_asks_and_the_default_is_no() {
    use crate::setup::typed;
    if !has_script() {
        return;
    }
    let (agent, _) = legacy();
    let before = config(&agent);
    let (question, region) = ("Add an [sso-session] that can?", "In which region is Bedrock used");
    let model = "Which model is Claude Code to use?";
    let line = "setup claude --profile old";
    let done = typed(&agent, line, &[(question, "\r"), (region, "\r"), (model, "\r"), ("Write this?", "y")]);
    assert_eq!((done.code(), config(&agent)), (0, before.clone()), "{}", done.stdout);
    let given_up = typed(&agent, line, &[(question, "\u{3}")]);
    assert_eq!((given_up.code(), config(&agent)), (130, before), "{}", given_up.stdout);
    let (name, login) = (("What is the session to be called?", "\u{15}work\r"), ("Sign in now?", "y"));
    let asked = [(question, "y"), name, (region, "\r"), login, (model, "\r"), ("Write this?", "y")];
    let done = typed(&agent, line, &asked);
    assert_eq!(done.code(), 0, "{}", done.stdout);
    assert!(done.stdout.contains("'old' has credentials"), "the one login was to the new session: {}", done.stdout);
    assert!(config(&agent).contains("[sso-session work]"), "{}", config(&agent));
    assert_eq!((session_of(&agent, "old"), agent.fake.count(Operation::RegisterClient)), ("work".into(), 1));
}
