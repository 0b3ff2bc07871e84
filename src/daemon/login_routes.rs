//! The local API's routes of logins and logouts. A demand for a login goes to the broker, and its client follows it by
//! long polls; a logout is answered when it is done.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::sync::oneshot;

use super::event_loop::Message;
use super::http::{Api, Name, STATUS_WAIT, bad_request, document, empty, error, failed, hold, stopping};
use super::logout_flow::Which;
use crate::api::v1;
use crate::core::broker::Event;
use crate::core::failure::FailureClass;
use crate::core::login::{FlowWish, LoginDemand, LoginId, LoginState, Target};

/// The routes.
pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/profiles/{profile}/login", post(login_to_profile))
        .route("/v1/sessions/{session}/login", post(login_to_session))
        .route("/v1/logins/{id}", get(follow))
        .route("/v1/profiles/{profile}/logout", post(log_out_of_profile))
        .route("/v1/sessions/{session}/logout", post(log_out_of_session))
        .route("/v1/logout", post(log_out_of_all))
        .route("/v1/profiles/{profile}/reset", post(reset_profile))
        .route("/v1/sessions/{session}/reset", post(reset_session))
}

async fn login_to_profile(State(api): State<Arc<Api>>, Name(name): Name, headers: HeaderMap, body: Bytes) -> Response {
    login(&api, name, &headers, &body, true).await
}

async fn login_to_session(State(api): State<Arc<Api>>, Name(name): Name, headers: HeaderMap, body: Bytes) -> Response {
    login(&api, name, &headers, &body, false).await
}

async fn login(api: &Api, name: String, headers: &HeaderMap, body: &[u8], profile: bool) -> Response {
    let request = if body.is_empty() { Ok(v1::LoginRequest::default()) } else { serde_json::from_slice(body) };
    let Ok(v1::LoginRequest { flow, force, terminal, display, ci }) = request else {
        return bad_request("the body takes flow (auto, pkce, device), force, terminal, display and ci");
    };
    let named = match api.profile(name, headers, hold(None)).await {
        Ok(named) => named,
        Err(response) => return *response,
    };
    let target = if profile { Target::Profile(named) } else { Target::Session { world: named.world, id: named.name } };
    let flow = if flow == FlowWish::Auto { api.configuration.login_flow() } else { flow };
    let id = api.desk.login_id();
    api.desk.tell(Event::Login(LoginDemand { id, target, flow, force, terminal, display, ci }));
    view(api, id).await
}

async fn log_out_of_profile(State(api): State<Arc<Api>>, Name(name): Name, headers: HeaderMap) -> Response {
    log_out(&api, &headers, Which::Profile(name)).await
}

async fn log_out_of_session(State(api): State<Arc<Api>>, Name(id): Name, headers: HeaderMap) -> Response {
    log_out(&api, &headers, Which::Session(id)).await
}

async fn log_out_of_all(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    log_out(&api, &headers, Which::All).await
}

async fn log_out(api: &Api, headers: &HeaderMap, which: Which) -> Response {
    let world = match api.world(headers, hold(None)).await {
        Ok(world) => world,
        Err(response) => return *response,
    };
    match api.logouts.run(which.in_world(world)).await {
        Ok(done) => document(StatusCode::OK, &done),
        Err(failure) => failed(&failure),
    }
}

async fn reset_profile(State(api): State<Arc<Api>>, Name(name): Name, headers: HeaderMap) -> Response {
    reset(&api, &headers, Which::Profile(name)).await
}

async fn reset_session(State(api): State<Arc<Api>>, Name(id): Name, headers: HeaderMap) -> Response {
    reset(&api, &headers, Which::Session(id)).await
}

async fn reset(api: &Api, headers: &HeaderMap, which: Which) -> Response {
    let world = match api.world(headers, hold(None)).await {
        Ok(world) => world,
        Err(response) => return *response,
    };
    match api.logouts.sessions(which.in_world(world)).await {
        Ok(sessions) => {
            sessions.into_iter().for_each(|s| api.desk.tell(Event::ResetLogins(s.world, s.session)));
            empty()
        }
        Err(failure) => failed(&failure),
    }
}

async fn follow(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    query: Result<Query<v1::LoginQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else { return bad_request("the query takes after and wait") };
    let Ok(id) = id.parse().map(LoginId) else { return unknown() };
    if let Some(after) = query.after {
        let wait = query.wait.map_or(STATUS_WAIT, Duration::from_millis).min(STATUS_WAIT);
        let mut revision = api.revision.clone();
        let changed = async {
            // Any change of the broker is looked at; the number of the login itself says whether it was this one's.
            while let Some(view) = ask(&api, id).await
                && view.state == LoginState::Pending
                && view.revision <= after
                && revision.changed().await.is_ok()
            {}
        };
        tokio::select! {
            _ = tokio::time::timeout(wait, changed) => {}
            () = api.seats.make_way() => {}
        }
    }
    view(&api, id).await
}

async fn ask(api: &Api, id: LoginId) -> Option<crate::core::login::LoginView> {
    let (reply, answer) = oneshot::channel();
    api.desk.broker().send(Message::Login(id, reply)).ok()?;
    answer.await.ok().flatten()
}

async fn view(api: &Api, id: LoginId) -> Response {
    let (reply, answer) = oneshot::channel();
    if api.desk.broker().send(Message::Login(id, reply)).is_err() {
        return stopping();
    }
    match answer.await {
        Err(_) => stopping(),
        Ok(None) => unknown(),
        Ok(Some(view)) => document(StatusCode::OK, &v1::LoginDocument::new(id.0, view)),
    }
}

fn unknown() -> Response {
    let message = "no such login: the agent was restarted, or it ended long ago";
    error(StatusCode::NOT_FOUND, FailureClass::Transient, message, "run the login again")
}
