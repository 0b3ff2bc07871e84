//! Real clients accept every answer of the fake, without our agent: what they prove about us is then worth something.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::{ACCOUNT, ROLE, claude, clients, fake, signers, union_document};
use crate::support::fake_aws::{Fault, Operation, Rotation, SsoSession};
use crate::support::home::TestHome;
use crate::support::process::run;

#[test]
fn boto3_refreshes_the_token_and_signs_with_what_it_buys() {
    let (fake, session) = fake();
    fake.configure(session, |s| s.token_lifetime = Duration::from_secs(300));
    let home = TestHome::with_sso_profile(&fake, session, ACCOUNT, ROLE);
    let before = fs::read_to_string(home.token_file("corp")).unwrap();
    fake.configure(session, |s| s.token_lifetime = Duration::from_secs(3600));

    let call = || clients::json(run(clients::python(&home, "sts_calls.py", &["dev-sso", "3"]), clients::LIMIT));
    assert_eq!(call(), json!([ACCOUNT, ACCOUNT, ACCOUNT]));
    assert_eq!((fake.count(Operation::CreateToken), fake.role_calls(ACCOUNT, ROLE)), (1, 1));
    assert_eq!(signers(&fake), vec![Some(fake.keys().remove(0).access_key_id); 3]);
    let after: Value = serde_json::from_str(&fs::read_to_string(home.token_file("corp")).unwrap()).unwrap();
    assert!(!before.contains(after["refreshToken"].as_str().unwrap()), "the rotated token is not on disk");

    call();
    assert_eq!(fake.count(Operation::CreateToken), 1, "the refreshed token was not accepted as fresh");
}

#[test]
fn boto3_takes_a_legacy_profile() {
    let (fake, session) = fake();
    let (home, token) = (TestHome::new(&fake), fake.sign_in(session));
    home.add_legacy_profile("old", &token, ACCOUNT, ROLE);
    home.seed_token(&token.start_url, &token);
    let accounts = clients::json(run(clients::python(&home, "sts_calls.py", &["old", "1"]), clients::LIMIT));
    assert_eq!(accounts, json!([ACCOUNT]));
}

#[test]
fn javascript_takes_the_same_profile() {
    let (fake, session) = fake();
    let home = TestHome::with_sso_profile(&fake, session, ACCOUNT, ROLE);
    let accounts = clients::json(run(clients::node(&home, "sts_calls.cjs", &["dev-sso", "2", "sso"]), clients::LIMIT));
    assert_eq!(accounts, json!([ACCOUNT, ACCOUNT]));
    assert_eq!(signers(&fake), vec![Some(fake.keys().remove(0).access_key_id); 2]);
}

#[test]
fn botocore_understands_every_answer_and_every_error() {
    let (fake, session) = fake();
    fake.configure(session, |s| s.rotation = Rotation::SingleUse);
    let home = TestHome::with_sso_profile(&fake, session, ACCOUNT, ROLE);
    let file = home.token_file("corp");
    let ask = |arguments: &[&str]| {
        let all: Vec<&str> = [file.to_str().unwrap()].into_iter().chain(arguments.iter().copied()).collect();
        clients::json(run(clients::python(&home, "answers.py", &all), clients::LIMIT))
    };
    let role = ["get_role_credentials", "accountId=111122223333", "roleName=Developer"];

    let token = ask(&["create_token"]);
    assert_eq!((&token["expiresIn"], &token["tokenType"]), (&json!(3600), &json!("Bearer")));
    assert!(token["accessToken"].is_string() && token["refreshToken"].is_string() && token["RequestId"] == true);
    let refused = json!(["InvalidGrantException", "InvalidGrantException", 400, ""]);
    assert_eq!(without_message(ask(&["create_token"])), refused);
    let refused = json!(["InvalidClientException", "InvalidClientException", 401, ""]);
    assert_eq!(without_message(ask(&["create_token", "clientSecret=x"])), refused);
    let refused = json!(["UnsupportedGrantTypeException", "UnsupportedGrantTypeException", 400, ""]);
    assert_eq!(without_message(ask(&["create_token", "grantType=x"])), refused);

    let key = ask(&role)["roleCredentials"].clone();
    assert_eq!(key["accessKeyId"], json!(fake.keys().remove(0).access_key_id));
    assert_eq!(key["expiration"], json!(fake.keys().remove(0).expires_at.timestamp_millis()));
    assert_eq!(ask(&["list_accounts"])["accountList"][0]["accountId"], ACCOUNT);
    assert_eq!(ask(&["list_account_roles", "accountId=111122223333"])["roleList"][0]["roleName"], ROLE);
    let unauthorized =
        json!(["UnauthorizedException", "UnauthorizedException", 401, "Session token not found or invalid"]);
    assert_eq!(ask(&["list_accounts", "accessToken=x"]), unauthorized);
    let forbidden = json!(["ClientError", "ForbiddenException", 403, "No access"]);
    assert_eq!(ask(&["get_role_credentials", "accountId=1", "roleName=x"]), forbidden);
    fake.inject(Fault::strip_bearer().times(1));
    assert_eq!(ask(&role), unauthorized);
    fake.inject(Fault::too_many_requests(5).times(1));
    assert_eq!(ask(&role), json!(["TooManyRequestsException", "TooManyRequestsException", 429, "Rate exceeded"]));
    fake.inject(Fault::aws_error(404, "ResourceNotFoundException", "gone").times(1));
    assert_eq!(ask(&role), json!(["ResourceNotFoundException", "ResourceNotFoundException", 404, "gone"]));
    fake.inject(Fault::oidc_error(400, "SlowDownException", "slow_down").times(1));
    let slow_down = json!(["SlowDownException", "SlowDownException", 400, ""]);
    assert_eq!(without_message(ask(&["create_token"])), slow_down);
    ask(&["logout"]);
    assert_eq!(ask(&role), unauthorized);
}

fn without_message(mut error: Value) -> Value {
    error[3] = json!("");
    error
}

#[test]
fn claude_code_answers_on_the_fake_bedrock() {
    let (fake, session) = fake();
    let mut home = TestHome::new(&fake);
    let key = fake.issue_key(session, ACCOUNT, ROLE);
    let hook = home.script("hook", &format!("#!/bin/sh\necho '{}'\n", union_document(&key)));
    claude::configure(&mut home, &fake, hook.to_str().unwrap());

    let turn = claude::one_turn(&home).expect_success();
    assert_eq!(turn.stdout.trim(), "pong");
    let turns = fake.calls_of(Operation::InvokeModelStream);
    assert!(!turns.is_empty());
    assert!(fake.calls().iter().all(|c| c.signed_by.as_ref() == Some(&key.access_key_id)), "{:#?}", fake.calls());

    let mut session = claude::Session::start(&home);
    for reply in ["one", "two"] {
        fake.set_reply(reply);
        let turn = session.turn("hi");
        assert!(turn.ok && turn.text == reply, "{turn:?}\n{}", session.output());
    }
    session.end().expect_success();
}

#[test]
fn claude_code_calls_its_hook_again_after_each_403() {
    let (fake, session) = fake();
    let mut home = TestHome::new(&fake);
    let key = fake.issue_key(session, ACCOUNT, ROLE);
    let log = home.path().join("runs");
    let text = format!("#!/bin/sh\necho run >> '{}'\necho '{}'\n", log.display(), union_document(&key));
    let hook = home.script("hook", &text);
    claude::configure(&mut home, &fake, hook.to_str().unwrap());
    fake.inject(Fault::access_denied().on_bedrock());
    let turn = claude::one_turn(&home);
    assert!(!turn.status.success(), "{turn:?}");
    let runs = fs::read_to_string(log).unwrap().lines().count();
    assert!(runs >= 2, "{runs} runs of the hook");
    fake.clear_faults();
    claude::one_turn(&home).expect_success();
}

#[test]
fn two_sessions_have_nothing_in_common() {
    let (fake, first) = fake();
    let second = fake.add_session(SsoSession::new("corp").allow("444455556666", ROLE));
    let homes = [
        TestHome::with_sso_profile(&fake, first, ACCOUNT, ROLE),
        TestHome::with_sso_profile(&fake, second, "444455556666", ROLE),
    ];
    for (home, account) in homes.iter().zip([ACCOUNT, "444455556666"]) {
        let accounts = clients::json(run(clients::python(home, "sts_calls.py", &["dev-sso", "1"]), clients::LIMIT));
        assert_eq!(accounts, json!([account]));
    }
}
