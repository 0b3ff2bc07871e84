//! Logouts with the real programs: nothing stays, here or at AWS.

use std::fs;

use serde_json::Value;

use crate::agent::{ACCOUNT, Agent, ROLE};
use crate::support::fake_aws::{Fault, Operation, SsoSession};

const NEEDS_LOGIN: i32 = 10;
const MISCONFIGURED: i32 = 12;

#[test]
fn a_logout_ends_the_session_here_and_at_aws() {
    let agent = Agent::new();
    agent.credentials("dev-sso");
    let token: Value = serde_json::from_str(&fs::read_to_string(agent.home.token_file("corp")).unwrap()).unwrap();
    let kept = agent.home.path().join(".aws/cli/cache");
    fs::create_dir_all(&kept).unwrap();
    // printf '%s' '{"accountId":"111122223333","roleName":"Developer","sessionName":"corp"}' | sha1sum
    let (ours, foreign) = (kept.join("6b17aaa4b7ddc1fd491e01d5f64d4b66d9e2b04c.json"), kept.join("another.json"));
    for file in [&ours, &foreign] {
        fs::write(file, "{}").unwrap();
    }
    let done = agent.ctl(&["logout", "--profile", "dev-sso"]).expect_success();
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", "signed out of 'corp'\n"));
    assert!(!agent.home.token_file("corp").exists());
    assert!(!ours.exists() && foreign.exists());
    assert_eq!(agent.fake.succeeded(Operation::Logout), 1);
    assert!(!agent.fake.refresh_token_works(token["refreshToken"].as_str().unwrap()));
    let asked = agent.fake.calls().len();
    let refused = agent.ctl(&["credential-process", "--profile", "dev-sso"]);
    assert_eq!(refused.code(), NEEDS_LOGIN, "{}", refused.stderr);
    assert!(refused.stderr.contains("agentctl login --profile dev-sso"), "{}", refused.stderr);
    assert_eq!(agent.fake.calls().len(), asked, "AWS is not asked with what is over");
    let again = agent.ctl(&["logout", "--sso-session", "corp"]).expect_success();
    assert_eq!(again.stderr, "nobody was signed in to 'corp'\n");
    assert_eq!(agent.fake.count(Operation::Logout), 1);
    agent.home.seed_token("corp", &agent.fake.sign_in(agent.session));
    agent.credentials("dev-sso");
}

#[test]
fn without_an_agent_it_works_too_and_none_is_started() {
    let agent = Agent::new();
    let other = agent.fake.add_session(SsoSession::new("lab").allow(ACCOUNT, ROLE));
    let token = agent.fake.sign_in(other);
    agent.home.add_sso_session("lab", &token);
    agent.home.add_sso_profile("lab-sso", "lab", ACCOUNT, ROLE);
    agent.home.seed_token("lab", &token);
    let done = agent.ctl(&["logout", "--all"]).expect_success();
    assert_eq!(done.stderr, "signed out of 'corp'\nsigned out of 'lab'\n");
    assert!(!agent.home.token_file("corp").exists() && !agent.home.token_file("lab").exists());
    assert_eq!(agent.fake.succeeded(Operation::Logout), 2);
    assert_eq!(agent.ctl(&["daemon", "status"]).code(), 19);
    let again = agent.ctl(&["logout", "--all"]).expect_success();
    assert_eq!(again.stderr, "nobody was signed in to 'corp'\nnobody was signed in to 'lab'\n");
    assert_eq!(agent.ctl(&["logout", "--profile", "nobody"]).code(), MISCONFIGURED);
    let near = agent.ctl(&["logout", "--sso-session", "crop"]);
    assert!(near.code() == MISCONFIGURED && near.stderr.contains("did you mean 'corp'?"), "{}", near.stderr);
}

#[test]
fn a_session_that_aws_is_not_told_of_is_gone_here_all_the_same() {
    let agent = Agent::new();
    agent.credentials("dev-sso");
    agent.fake.inject(Fault::unavailable().on(Operation::Logout));
    let done = agent.ctl(&["logout", "--profile", "dev-sso"]);
    assert_eq!(done.code(), 17, "{}", done.stderr);
    assert!(done.stderr.starts_with("agentctl: signed out here, but AWS was not told: "), "{}", done.stderr);
    assert!(!agent.home.token_file("corp").exists());
    assert_eq!(agent.ctl(&["credential-process", "--profile", "dev-sso"]).code(), NEEDS_LOGIN);
}
