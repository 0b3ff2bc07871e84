//! The SSO portal: role credentials, accounts, roles, logout.
//!
//! Wire format: AWS "IAM Identity Center Portal API Reference". The access token travels in
//! `x-amz-sso_bearer_token`; an account or role that the user has not been given is 403, not 404.

use serde_json::{Value, json};

use super::calls::Call;
use super::state::{SessionId, State};
use super::wire::{Answer, Request};

/// `GET /federation/credentials?role_name=..&account_id=..`.
pub(super) fn role_credentials(state: &mut State, request: &Request, call: &mut Call) -> Answer {
    (call.account, call.role) = (request.query("account_id"), request.query("role_name"));
    let session = match bearer(state, request, call) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    let (Some(account), Some(role)) = (call.account.clone(), call.role.clone()) else {
        return error(400, "InvalidRequestException", "account_id and role_name are required");
    };
    if !state.sessions[session.0].accounts.get(&account).is_some_and(|roles| roles.contains(&role)) {
        return error(403, "ForbiddenException", "No access");
    }
    let key = state.issue_key(session, &account, &role);
    Answer::json(
        200,
        &json!({ "roleCredentials": {
            "accessKeyId": key.access_key_id,
            "secretAccessKey": key.secret_access_key,
            "sessionToken": key.session_token,
            "expiration": key.expires_at.timestamp_millis(),
        }}),
    )
}

/// `GET /assignment/accounts`.
pub(super) fn accounts(state: &State, request: &Request, call: &mut Call) -> Answer {
    let session = match bearer(state, request, call) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    let accounts = state.sessions[session.0].accounts.keys();
    let account =
        |id| json!({ "accountId": id, "accountName": format!("account {id}"), "emailAddress": "a@example.com" });
    page(request, "accountList", accounts.map(account).collect())
}

/// `GET /assignment/roles?account_id=..`.
pub(super) fn roles(state: &State, request: &Request, call: &mut Call) -> Answer {
    call.account = request.query("account_id");
    let session = match bearer(state, request, call) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    let Some((account, roles)) =
        call.account.as_ref().and_then(|id| state.sessions[session.0].accounts.get_key_value(id))
    else {
        return error(403, "ForbiddenException", "No access");
    };
    page(request, "roleList", roles.iter().map(|role| json!({ "roleName": role, "accountId": account })).collect())
}

/// The page that `max_result` and `next_token` ask for; the API takes 1 to 100.
fn page(request: &Request, name: &str, all: Vec<Value>) -> Answer {
    let most = request.query("max_result").map_or(Ok(100), |most| most.parse::<usize>());
    let Some(most) = most.ok().filter(|most| (1..=100).contains(most)) else {
        return error(400, "InvalidRequestException", "max_result must be between 1 and 100");
    };
    let from: usize = request.query("next_token").and_then(|token| token.parse().ok()).unwrap_or(0);
    let next = (from + most < all.len()).then(|| (from + most).to_string());
    Answer::json(200, &json!({ name: all.into_iter().skip(from).take(most).collect::<Vec<_>>(), "nextToken": next }))
}

/// `POST /logout`: ends the whole session, its refresh tokens too. Role credentials live on.
pub(super) fn logout(state: &mut State, request: &Request, call: &mut Call) -> Answer {
    let session = match bearer(state, request, call) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    state.access_tokens.values_mut().filter(|t| t.session == session).for_each(|t| t.revoked = true);
    state.refresh_tokens.values_mut().filter(|t| t.session == session).for_each(|t| t.revoked = true);
    Answer::new(200, "application/json", "")
}

/// The session of the bearer token, or 401 as the portal says it: absent, unknown, ended and revoked look the same.
fn bearer(state: &State, request: &Request, call: &mut Call) -> Result<SessionId, Box<Answer>> {
    let token = request.header("x-amz-sso_bearer_token").and_then(|presented| state.access_tokens.get(presented));
    match token {
        Some(token) if !token.revoked && state.now() < token.expires_at => {
            call.session = Some(token.session);
            Ok(token.session)
        }
        _ => Err(Box::new(error(401, "UnauthorizedException", "Session token not found or invalid"))),
    }
}

/// An error in the portal's form.
fn error(status: u16, error_type: &str, message: &str) -> Answer {
    let body = json!({ "message": message, "__type": format!("com.amazonaws.switchboard.portal#{error_type}") });
    super::aws_json_error(status, error_type, &body)
}
