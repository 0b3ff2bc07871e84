//! Each row of the failure table that concerns SSO, over the real client: an answer in, a class out.

use std::time::Duration;

use super::test_server::*;
use crate::core::classify::{Evidence, Signal, Verdict};
use crate::core::failure::FailureClass as C;

const ID: &str = "x-amzn-RequestId: 5d1e7a5c-0000-4f4f-8b8b-000000000000";
const JSON: &str = "Content-Type: application/json";

async fn oidc(status: &str, headers: &[&str], body: &str) -> Evidence {
    token_against(answer(status, headers, body)).await
}

async fn portal(status: &str, headers: &[&str], body: &str) -> Evidence {
    role_against(answer(status, headers, body)).await
}

fn code_of(evidence: &Evidence) -> Option<&str> {
    match &evidence.signal {
        Signal::Answer(a) => a.code.as_deref(),
        _ => None,
    }
}

/// Every way in which AWS, its old stages and other OAuth servers spell an error.
#[tokio::test]
async fn oidc_errors_by_code_in_each_spelling() {
    for (code, snake, class) in [
        ("InvalidGrantException", "invalid_grant", C::NeedsLogin),
        ("ExpiredTokenException", "expired_token", C::NeedsLogin),
        ("InvalidClientException", "invalid_client", C::NeedsLogin),
        ("UnauthorizedClientException", "unauthorized_client", C::NeedsLogin),
        ("InvalidScopeException", "invalid_scope", C::Misconfigured),
        ("UnsupportedGrantTypeException", "unsupported_grant_type", C::Misconfigured),
        ("InvalidRequestException", "invalid_request", C::Misconfigured),
        ("SlowDownException", "slow_down", C::Throttled),
        ("AccessDeniedException", "access_denied", C::AccessDenied),
        ("InternalServerException", "server_error", C::Transient),
    ] {
        let header = format!("x-amzn-ErrorType: {code}");
        let with_uri = format!("x-amzn-ErrorType: {code}:http://internal.amazon.com/coral/com.amazonaws.ssooidc/");
        let oauth = format!(r#"{{"error":"{snake}","error_description":"AWS says so"}}"#);
        let typed = format!(r#"{{"__type":"com.amazonaws.ssooidc#{code}","message":"AWS says so"}}"#);
        for (headers, body) in [
            (vec![ID, JSON, header.as_str()], oauth.as_str()),
            (vec![JSON, with_uri.as_str()], "{}"),
            (vec![JSON], oauth.as_str()),
            (vec![], typed.as_str()),
        ] {
            let evidence = oidc("400 Bad Request", &headers, body).await;
            assert_eq!((class_of(&evidence), code_of(&evidence)), (class, Some(code)), "{headers:?} {body}");
        }
    }
}

fn class_of(evidence: &Evidence) -> C {
    class(evidence).unwrap_or_else(|| panic!("a refused token: {evidence:?}"))
}

#[tokio::test]
async fn server_errors_are_transient_whoever_sends_them() {
    for status in ["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"] {
        for body in ["", "<html>down</html>", "{}", r#"{"error":"invalid_grant"}"#] {
            assert_class(&oidc(status, &[], body).await, C::Transient);
            assert_class(&portal(status, &[ID], body).await, C::Transient);
        }
    }
}

#[tokio::test]
async fn throttling_carries_its_time() {
    let body = r#"{"message":"Too many requests"}"#;
    let headers = [ID, "x-amzn-ErrorType: TooManyRequestsException", "Retry-After: 7"];
    for evidence in [portal("429 Too Many", &headers, body).await, oidc("429 Too Many", &["Retry-After: 7"], "").await]
    {
        let Verdict::Failed { failure, retry_after } = evidence.classify() else { panic!("{evidence:?}") };
        assert_eq!((failure.class, retry_after), (C::Throttled, Some(Duration::from_secs(7))));
    }
}

#[tokio::test]
async fn the_portal_refuses_a_bearer_token() {
    let body = r#"{"message":"Session token not found or invalid","__type":"com.amazonaws.switchboard.portal#UnauthorizedException"}"#;
    for headers in [vec![ID], vec!["x-amzn-ErrorType: UnauthorizedException"], vec![JSON]] {
        let evidence = portal("401 Unauthorized", &headers, body).await;
        assert_eq!(evidence.classify(), Verdict::TokenRefused, "{headers:?}");
    }
    for body in ["", "{}", "Unauthorized", "<html>log in</html>", r#"{"message":"Unauthorized"}"#] {
        assert_class(&portal("401 Unauthorized", &[JSON], body).await, C::Intercepted);
    }
}

#[tokio::test]
async fn the_portal_denies_a_role_or_does_not_know_it() {
    let forbidden = r#"{"message":"No access","__type":"com.amazonaws.switchboard.portal#ForbiddenException"}"#;
    let headers = [ID, "x-amzn-ErrorType: ForbiddenException"];
    assert_class(&portal("403 Forbidden", &headers, forbidden).await, C::AccessDenied);
    for (status, code) in [("400 Bad", "InvalidRequestException"), ("404 Not Found", "ResourceNotFoundException")] {
        let header = format!("x-amzn-ErrorType: {code}");
        let evidence = portal(status, &[&header, ID], r#"{"message":"unknown"}"#).await;
        assert_class(&evidence, C::Misconfigured);
    }
}

/// The rule that keeps a proxy's refusal from becoming a login.
#[tokio::test]
async fn refusals_without_a_mark_of_aws_are_somebody_else() {
    for status in ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found"] {
        for (headers, body) in [
            (vec![], ""),
            (vec!["Content-Type: text/html", "Server: Zscaler/6.2"], "<html><title>Blocked</title></html>"),
            (vec![JSON], r#"{"error":"blocked_by_policy","message":"InvalidGrantException"}"#),
            (vec!["Content-Type: text/plain"], "invalid_grant"),
            (vec![JSON, "x-amzn-RequestId: "], "{}"),
        ] {
            for evidence in [oidc(status, &headers, body).await, portal(status, &headers, body).await] {
                let Signal::Answer(found) = assert_class(&evidence, C::Intercepted) else { panic!("{evidence:?}") };
                assert!(!found.aws_mark);
            }
        }
    }
}

#[tokio::test]
async fn portals_redirects_and_proxies() {
    let page = "<html><head><title>Hotel WiFi</title></head></html>";
    for (status, headers) in [
        ("511 Network Authentication Required", vec![]),
        ("407 Proxy Authentication Required", vec!["Via: 1.1 proxy.corp"]),
        ("302 Found", vec!["Location: https://login.hotel.example/?from=aws"]),
        ("307 Temporary Redirect", vec!["Location: /login"]),
        ("200 OK", vec!["Content-Type: text/html", "Server: hotel"]),
    ] {
        for evidence in [oidc(status, &headers, page).await, portal(status, &headers, page).await] {
            assert_class(&evidence, C::Intercepted);
        }
    }
    let evidence = oidc("302 Found", &["Location: https://login.hotel.example/?from=aws"], page).await;
    let Signal::Answer(found) = &evidence.signal else { panic!("{evidence:?}") };
    assert_eq!(found.redirect_host.as_deref(), Some("login.hotel.example"));
    assert_eq!(found.message.as_deref(), Some("Hotel WiFi"));
}
