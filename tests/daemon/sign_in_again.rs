//! Sessions that only a login brings on: one opening, everything is served again at once, and keys that live are served
//! meanwhile.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::{ACCOUNT, Agent, ROLE};
use crate::support::clock::instant;
use crate::support::fake_aws::{Operation, Person};

const NEEDS_LOGIN: i32 = 10;
/// Another role of the same session, of which no key is held.
const OTHER: &str = "Reader";

fn agent() -> Agent {
    let mut agent = Agent::with(|session| *session = session.clone().allow(ACCOUNT, OTHER));
    let browser = agent.home.script("browser", "#!/bin/sh\necho \"$1\" >> \"$HOME/opened\"\n");
    agent.home.set("BROWSER", browser);
    agent.home.add_sso_profile("other", "corp", ACCOUNT, OTHER);
    agent.fake.set_person(Person::Approves);
    agent
}

fn openings(agent: &Agent) -> usize {
    fs::read_to_string(agent.home.path().join("opened")).unwrap_or_default().lines().count()
}

/// Nobody at a terminal asks for a login, as Claude Code does; everything is served within 2 s of its end.
fn signs_in_again(agent: &Agent, profiles: &[&str]) {
    agent.ctl(&["login", "--device", "--profile", profiles[0]]).expect_success();
    let began = instant();
    for profile in profiles {
        agent.credentials(profile);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(openings(agent), 1);
    agent.ctl(&["login", "--device", "--profile", profiles[0]]).expect_success();
    assert_eq!(openings(agent), 1, "and no more");
}

fn change_token(agent: &Agent, cache_key: &str, change: impl FnOnce(&mut Value)) {
    let path = agent.home.token_file(cache_key);
    let mut token: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut token);
    fs::write(path, token.to_string()).unwrap();
}

#[test]
fn a_session_that_was_ended_at_aws() {
    let agent = agent();
    let held = agent.credentials("dev-sso");
    agent.fake.revoke_access_tokens(agent.session);
    agent.fake.revoke_refresh_tokens(agent.session);
    let refused = agent.ctl(&["credential-process", "--profile", "other"]);
    assert_eq!(refused.code(), NEEDS_LOGIN, "{}", refused.stderr);
    assert_eq!(agent.credentials("dev-sso"), held, "a key that lives is served");
    signs_in_again(&agent, &["other", "dev-sso"]);
    assert_eq!(agent.credentials("dev-sso"), held, "to its end");
}

#[test]
fn a_legacy_session_after_its_eight_hours() {
    let agent = agent();
    let token = agent.fake.sign_in(agent.session);
    agent.home.add_legacy_profile("legacy", &token, ACCOUNT, ROLE);
    agent.home.seed_token(&token.start_url, &token);
    change_token(&agent, &token.start_url, |t| {
        t.as_object_mut()
            .unwrap()
            .retain(|key, _| ["startUrl", "region", "accessToken", "expiresAt"].contains(&&**key));
        t["expiresAt"] = json!("2020-01-01T00:00:00Z");
    });
    let refused = agent.ctl(&["credential-process", "--profile", "legacy"]);
    assert_eq!(refused.code(), NEEDS_LOGIN, "{}", refused.stderr);
    agent.credentials("dev-sso");
    signs_in_again(&agent, &["legacy"]);
    assert_eq!(agent.fake.count(Operation::RegisterClient), 1);
}

#[test]
fn a_client_registration_that_expired() {
    let agent = agent();
    agent.credentials("dev-sso");
    change_token(&agent, "corp", |t| {
        t["expiresAt"] = json!("2020-01-01T00:00:00Z");
        t["registrationExpiresAt"] = json!("2020-01-01T00:00:00Z");
    });
    agent.ctl(&["daemon", "restart"]).expect_success();
    let refused = agent.ctl(&["credential-process", "--profile", "other"]);
    assert_eq!(refused.code(), NEEDS_LOGIN, "{}", refused.stderr);
    assert!(refused.stderr.contains("registration expired"), "{}", refused.stderr);
    signs_in_again(&agent, &["other", "dev-sso"]);
}
