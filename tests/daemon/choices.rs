//! What there is to choose from, and who a profile is, as any client asks the agent.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::agent::{ACCOUNT, Agent, LIMIT, ROLE};
use crate::support::fake_aws::{Fault, Operation};

/// Status line and document.
fn get(agent: &Agent, target: &str) -> (String, Value) {
    let mut stream = UnixStream::connect(agent.home.state_dir().join("agent.sock")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap_or_default().to_owned(), serde_json::from_str(body).unwrap())
}

#[test]
fn a_thousand_accounts_and_their_roles_are_listed_page_by_page() {
    let agent = Agent::with(|session| {
        for n in 0..1000 {
            *session = session.clone().allow(&format!("{n:012}"), ROLE);
        }
        for n in 0..150 {
            *session = session.clone().allow(ACCOUNT, &format!("Role{n:03}"));
        }
    });
    agent.ctl(&["daemon", "start"]).expect_success();
    let (status, document) = get(&agent, "/v1/sessions/corp/accounts");
    assert_eq!(status, "HTTP/1.1 200 OK", "{document}");
    let accounts = document["accounts"].as_array().unwrap();
    assert_eq!(accounts.len(), 1001);
    let first = json!({ "id": "000000000000", "name": "account 000000000000", "email": "a@example.com" });
    assert_eq!(accounts[0], first);
    assert_eq!(agent.fake.count(Operation::ListAccounts), 11);
    let (_, document) = get(&agent, &format!("/v1/sessions/corp/roles?account={ACCOUNT}"));
    assert_eq!(document["roles"].as_array().map(Vec::len), Some(151), "{document}");
    assert_eq!(document["roles"][0], ROLE);
    assert_eq!(agent.fake.count(Operation::ListAccountRoles), 2);
}

#[test]
fn lists_that_cannot_be_had_say_why() {
    let agent = Agent::new();
    agent.ctl(&["daemon", "start"]).expect_success();
    let code = |target: &str| get(&agent, target).1["code"].clone();
    assert_eq!(code("/v1/sessions/corp/roles?account=999999999999"), "access-denied");
    assert_eq!(code("/v1/sessions/corp/roles"), "misconfigured");
    assert_eq!(code("/v1/sessions/crop/accounts"), "misconfigured");
    agent.fake.inject(Fault::html().on(Operation::ListAccounts).times(1));
    assert_eq!(code("/v1/sessions/corp/accounts"), "intercepted");
    agent.expire_token();
    assert_eq!(code("/v1/sessions/corp/accounts"), "needs-login");
}

#[test]
fn a_profile_is_known_before_and_after_it_has_credentials() {
    let agent = Agent::new();
    agent.ctl(&["daemon", "start"]).expect_success();
    let (status, before) = get(&agent, "/v1/profiles/dev-sso/identity");
    assert_eq!(status, "HTTP/1.1 200 OK", "{before}");
    assert_eq!((&before["account"], &before["role"]), (&json!(ACCOUNT), &json!(ROLE)));
    assert_eq!((&before["region"], &before["key_suffix"]), (&json!("eu-west-1"), &Value::Null));
    assert_eq!(agent.roles(), 0, "nothing is fetched for it");
    let key = agent.credentials("dev-sso")["AccessKeyId"].clone();
    let after = get(&agent, "/v1/profiles/dev-sso/identity").1;
    assert!(key.as_str().unwrap().ends_with(after["key_suffix"].as_str().unwrap()), "{after}");
    assert!(after["expires_at"].is_string(), "{after}");
    assert!(get(&agent, "/v1/profiles/nobody/identity").0.starts_with("HTTP/1.1 404"));
}
