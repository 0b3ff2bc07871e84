//! The fake AWS keeps its word: wire formats, rotation, lifetimes, faults, signatures. That real clients accept it is
//! proved in the interop tests.

use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use aws_sdk_sso::config::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use serde_json::json;

use crate::support::clock;
use crate::support::fake_aws::{FakeAws, Fault, IssuedKey, Operation, Rotation, SessionId, SignedIn, SsoSession};
use crate::support::home::TestHome;
use crate::support::http::{self, Reply};
use crate::support::secret_scan::SecretScan;

const ACCOUNT: &str = "111122223333";
const PATIENCE: Duration = Duration::from_secs(5);

fn fake() -> (FakeAws, SessionId) {
    let fake = FakeAws::start();
    let session = fake.add_session(SsoSession::new("corp").allow(ACCOUNT, "Developer"));
    (fake, session)
}

fn refresh(fake: &FakeAws, token: &SignedIn, refresh_token: &str) -> Reply {
    let body = json!({
        "grantType": "refresh_token",
        "refreshToken": refresh_token,
        "clientId": token.client_id,
        "clientSecret": token.client_secret,
    });
    http::request(&fake.url(), "POST", "/token", &[], body.to_string().as_bytes(), PATIENCE).unwrap()
}

fn try_role(fake: &FakeAws, bearer: &str, account: &str) -> std::io::Result<Reply> {
    let target = format!("/federation/credentials?role_name=Developer&account_id={account}");
    http::request(&fake.url(), "GET", &target, &[("x-amz-sso_bearer_token", bearer)], b"", Duration::from_millis(300))
}

fn role(fake: &FakeAws, bearer: &str, account: &str) -> Reply {
    try_role(fake, bearer, account).unwrap()
}

fn new_refresh_token(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["refreshToken"].as_str().unwrap_or_default().to_owned()
}

fn assert_invalid_grant(reply: &Reply) {
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"], "invalid_grant");
    assert_eq!(reply.header("x-amzn-errortype"), "InvalidGrantException:");
}

/// Calls GetCallerIdentity, signed by the SDK's own signer.
fn caller_identity(fake: &FakeAws, key: &IssuedKey) -> Reply {
    let identity: Identity =
        Credentials::new(&key.access_key_id, &key.secret_access_key, Some(key.session_token.clone()), None, "test")
            .into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name("sts")
        .time(SystemTime::from(clock::now()))
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let body = b"Action=GetCallerIdentity&Version=2011-06-15";
    let url = format!("{}/?b=2&a=x%20y", fake.url());
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let signable = SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(body)).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    let mut all = headers.to_vec();
    all.extend(instructions.headers());
    http::request(&fake.url(), "POST", "/?b=2&a=x%20y", &all, body, PATIENCE).unwrap()
}

#[test]
fn a_token_buys_role_credentials_that_sign() {
    let (fake, session) = fake();
    let token = fake.sign_in(session);
    let reply = role(&fake, &token.access_token, ACCOUNT);
    let issued = fake.keys().remove(0);
    let answer = &reply.json()["roleCredentials"];
    assert_eq!(answer["accessKeyId"], json!(issued.access_key_id));
    assert_eq!(answer["expiration"], json!(issued.expires_at.timestamp_millis()));
    assert!(!reply.header("x-amzn-requestid").is_empty() && reply.header("date").ends_with("GMT"));
    assert_eq!(fake.role_calls(ACCOUNT, "Developer"), 1);

    let identity = caller_identity(&fake, &issued);
    assert_eq!(identity.status, 200, "{}", identity.text());
    assert!(identity.text().contains("<Account>111122223333</Account>"));
    let calls = fake.calls_of(Operation::GetCallerIdentity);
    assert_eq!(calls[0].signed_by.as_ref(), Some(&issued.access_key_id));
}

#[test]
fn a_signature_must_fit_the_key_its_token_and_the_time() {
    let (fake, session) = fake();
    let key = fake.issue_key(session, ACCOUNT, "Developer");
    let refused = |key: &IssuedKey, code: &str| {
        let reply = caller_identity(&fake, key);
        assert_eq!(reply.status, 403);
        assert!(reply.text().contains(&format!("<Code>{code}</Code>")), "{}", reply.text());
    };
    refused(&IssuedKey { secret_access_key: "wrong".to_owned(), ..key.clone() }, "SignatureDoesNotMatch");
    refused(&IssuedKey { session_token: "wrong".to_owned(), ..key.clone() }, "InvalidClientTokenId");
    refused(&IssuedKey { access_key_id: "ASIAUNKNOWN".to_owned(), ..key.clone() }, "InvalidClientTokenId");
    fake.set_clock_offset(400);
    refused(&key, "SignatureDoesNotMatch");
    fake.set_clock_offset(0);
    fake.configure(session, |s| s.role_lifetime = Duration::ZERO);
    refused(&fake.issue_key(session, ACCOUNT, "Developer"), "ExpiredToken");
    assert!(fake.calls().iter().all(|c| c.signed_by.is_none()));
}

#[test]
fn the_portal_refuses_as_the_real_one_does() {
    let (fake, session) = fake();
    let token = fake.sign_in(session);
    let denied = role(&fake, &token.access_token, "999999999999");
    assert_eq!((denied.status, denied.header("x-amzn-errortype")), (403, "ForbiddenException"));
    assert_eq!(role(&fake, "unknown", ACCOUNT).status, 401);
    fake.revoke_access_tokens(session);
    let refused = role(&fake, &token.access_token, ACCOUNT);
    assert_eq!((refused.status, refused.header("x-amzn-errortype")), (401, "UnauthorizedException"));
    assert_eq!(refused.json()["message"], "Session token not found or invalid");
    fake.configure(session, |s| s.token_lifetime = Duration::ZERO);
    assert_eq!(role(&fake, &fake.sign_in(session).access_token, ACCOUNT).status, 401);
}

#[test]
fn refresh_tokens_rotate_in_every_mode() {
    let (fake, session) = fake();
    let sign_in = |rotation| {
        fake.configure(session, |s| s.rotation = rotation);
        fake.sign_in(session)
    };
    let token = sign_in(Rotation::Grace(Duration::from_secs(60)));
    assert_ne!(new_refresh_token(&refresh(&fake, &token, &token.refresh_token)), token.refresh_token);
    assert_eq!(refresh(&fake, &token, &token.refresh_token).status, 200);
    fake.set_clock_offset(61);
    assert_invalid_grant(&refresh(&fake, &token, &token.refresh_token));
    fake.set_clock_offset(0);

    let token = sign_in(Rotation::SingleUse);
    let second = new_refresh_token(&refresh(&fake, &token, &token.refresh_token));
    assert_invalid_grant(&refresh(&fake, &token, &token.refresh_token));
    assert_eq!(refresh(&fake, &token, &second).status, 200);

    let token = sign_in(Rotation::FamilyRevocation);
    let second = new_refresh_token(&refresh(&fake, &token, &token.refresh_token));
    assert_invalid_grant(&refresh(&fake, &token, &token.refresh_token));
    assert_invalid_grant(&refresh(&fake, &token, &second));
    assert_invalid_grant(&refresh(&fake, &token, &second));
    assert!(fake.calls().last().unwrap().refused_before);

    let token = sign_in(Rotation::Kept);
    assert_eq!(new_refresh_token(&refresh(&fake, &token, &token.refresh_token)), token.refresh_token);
    let token = sign_in(Rotation::Omitted);
    assert_eq!(new_refresh_token(&refresh(&fake, &token, &token.refresh_token)), "");

    fake.configure(session, |s| s.registration_lifetime = Duration::ZERO);
    let token = fake.sign_in(session);
    assert_eq!(refresh(&fake, &token, &token.refresh_token).json()["error"], "invalid_client");
}

#[test]
fn faults_strike_as_often_and_where_they_should() {
    let (fake, session) = fake();
    let token = fake.sign_in(session);
    let role = || role(&fake, &token.access_token, ACCOUNT);
    fake.inject(Fault::too_many_requests(7).on(Operation::GetRoleCredentials).times(2));
    fake.inject(Fault::html().on(Operation::GetRoleCredentials).times(1));
    assert_eq!(refresh(&fake, &token, &token.refresh_token).status, 200);
    let throttled = role();
    assert_eq!((throttled.status, throttled.header("retry-after")), (429, "7"));
    assert_eq!(role().status, 429);
    let page = role();
    assert_eq!((page.status, page.header("x-amzn-requestid")), (200, ""));
    assert!(page.text().contains("<html>"));
    assert_eq!(role().status, 200);

    let stripped = fake.inject(Fault::strip_bearer());
    assert_eq!(role().header("x-amzn-errortype"), "UnauthorizedException");
    fake.clear(stripped);
    fake.inject(Fault::empty_json().times(1));
    assert_eq!(role().json(), json!({}));
    fake.inject(Fault::truncated_json().times(1));
    let cut = role();
    assert!(cut.text().starts_with("{\"roleCredentials\"") && cut.json().is_null());
    assert!(role().json().is_object());
}

#[test]
fn connections_fail_as_connections_do() {
    let (fake, session) = fake();
    let token = fake.sign_in(session);
    let error = || try_role(&fake, &token.access_token, ACCOUNT).unwrap_err().kind();
    fake.inject(Fault::reset().times(1));
    assert_eq!(error(), ErrorKind::ConnectionReset);
    fake.inject(Fault::cut_body().times(1));
    assert_eq!(error(), ErrorKind::UnexpectedEof);
    fake.inject(Fault::hang().times(1));
    assert!(matches!(error(), ErrorKind::WouldBlock | ErrorKind::TimedOut));

    let over = || fake.calls().iter().all(|c| c.finished).then_some(());
    clock::eventually("the fake notices that nobody waits any more", PATIENCE, over);

    let keys = fake.keys().len();
    fake.inject(Fault::reset().after_work().times(1));
    assert_eq!(error(), ErrorKind::ConnectionReset);
    assert_eq!(fake.keys().len(), keys + 1);

    fake.stop();
    assert_eq!(error(), ErrorKind::ConnectionRefused);
    fake.restart();
    assert_eq!(role(&fake, &token.access_token, ACCOUNT).status, 200);
}

#[test]
fn the_scan_finds_every_form_of_a_secret() {
    let (fake, session) = fake();
    let home = TestHome::with_sso_profile(&fake, session, ACCOUNT, "Developer");
    let secret = fake.secrets().into_iter().find(|s| s.kind == "access token").unwrap().value;
    let findings = |content: String| SecretScan::of(&fake).text("log", content).findings();
    assert_eq!(findings(format!("token={secret}.")), ["log: access token"]);
    assert_eq!(findings(secret.replace('/', "%2F").replace('+', "%2B")), ["log: access token, percent-encoded"]);
    for before in ["", "x", "xy"] {
        let encoded = aws_smithy_types::base64::encode(format!("{before}{secret}-"));
        assert_eq!(findings(encoded), ["log: access token, in base64"]);
    }
    SecretScan::of(&fake).tree(home.path(), &[&home.sso_cache()]).process(std::process::id()).assert_clean();
    assert_eq!(SecretScan::of(&fake).tree(home.path(), &[]).findings().len(), 3);
}
