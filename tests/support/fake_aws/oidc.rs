//! SSO OIDC: `CreateToken`, and its refresh-token grant; those of logins are in [`login`].
//!
//! Wire format: AWS "SSO OIDC API Reference", restJson1 in camel case. Errors carry OAuth's code in the body and AWS's
//! name in `x-amzn-errortype`.

use serde_json::{Value, json};

use super::calls::Call;
use super::login;
use super::state::{RefreshToken, Rotation, State};
use super::wire::{Answer, Request};

/// `POST /token`.
pub(super) fn create_token(state: &mut State, request: &Request, call: &mut Call) -> Answer {
    let body = request.json();
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let client_id = text("clientId");
    if let Some(refusal) = refuse_client(state, &body) {
        return refusal;
    }
    match text("grantType").as_str() {
        "refresh_token" => grant(state, &client_id, &text("refreshToken"), call),
        "urn:ietf:params:oauth:grant-type:device_code" => {
            login::device_token(state, &text("deviceCode"), &client_id, call)
        }
        "authorization_code" => login::code_token(state, &body, &client_id, call),
        _ => error(400, "UnsupportedGrantTypeException", "unsupported_grant_type", "Unsupported grant type"),
    }
}

/// Why this client gets nothing.
pub(super) fn refuse_client(state: &State, body: &Value) -> Option<Answer> {
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    let why = match state.clients.get(text("clientId")) {
        Some(client) if client.secret != text("clientSecret") => "Invalid client secret provided",
        Some(client) if client.expires_at <= state.now() => "Client registration has expired",
        None => "Invalid client_id provided",
        Some(_) => return None,
    };
    Some(error(401, "InvalidClientException", "invalid_client", why))
}

/// The grant itself, once the client is known.
fn grant(state: &mut State, client_id: &str, presented: &str, call: &mut Call) -> Answer {
    let now = state.now();
    let Some(token) = state.refresh_tokens.get_mut(presented).filter(|t| t.client_id == client_id) else {
        return invalid_grant();
    };
    call.refused_before = token.refused;
    let (session, family) = (token.session, token.family);
    let rotation = state.sessions[session.0].rotation;
    if !is_good(token, rotation, now) {
        token.refused = true;
        if rotation == Rotation::FamilyRevocation && token.superseded_at.is_some() {
            state.refresh_tokens.values_mut().filter(|t| t.family == family).for_each(|t| t.revoked = true);
        }
        return invalid_grant();
    }
    if !matches!(rotation, Rotation::Kept | Rotation::Omitted) {
        token.superseded_at.get_or_insert(now);
    }
    call.session = Some(session);
    let (access_token, _) = state.issue_access_token(session);
    let mut answer = json!({
        "accessToken": access_token,
        "expiresIn": state.sessions[session.0].token_lifetime.as_secs(),
        "idToken": null,
        "refreshToken": null,
        "tokenType": "Bearer",
    });
    match rotation {
        Rotation::Omitted => {}
        Rotation::Kept => answer["refreshToken"] = json!(presented),
        _ => answer["refreshToken"] = json!(state.issue_refresh_token(session, family, client_id)),
    }
    Answer::json(200, &answer)
}

/// Whether a grant with this token succeeds.
pub(super) fn is_good(token: &RefreshToken, rotation: Rotation, now: chrono::DateTime<chrono::Utc>) -> bool {
    !token.revoked
        && match (token.superseded_at, rotation) {
            (None, _) | (_, Rotation::Kept | Rotation::Omitted) => true,
            (Some(at), Rotation::Grace(grace)) => now < at + grace,
            (Some(_), Rotation::SingleUse | Rotation::FamilyRevocation) => false,
        }
}

fn invalid_grant() -> Answer {
    error(400, "InvalidGrantException", "invalid_grant", "Invalid refresh token provided")
}

/// An error in the token endpoint's form.
pub(super) fn error(status: u16, error_type: &str, code: &str, description: &str) -> Answer {
    let body = json!({ "error": code, "error_description": description });
    super::marked(Answer::json(status, &body).with("x-amzn-errortype", &format!("{error_type}:")))
}
