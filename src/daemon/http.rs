//! The local API as an axum router: requests become events, answers become documents.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Serialize;
use tokio::sync::{Notify, oneshot, watch};
use tracing::warn;

use super::audit::{self, Audit, Peer};
use super::connections::Seats;
use super::engine::Desk;
use super::event_loop::Message;
use super::logout_flow::Logouts;
use super::probe;
use super::settings::Configuration;
use super::succession::Succession;
use super::token_flow::TokenFlow;
use super::watcher::Watcher;
use crate::api::process_json::union_document;
use crate::api::v1;
use crate::core::broker::{Demand, Event};
use crate::core::failure::{Failure, FailureClass};
use crate::core::source::World;
use crate::core::status::{Finding, Setting};
use crate::core::time::{Tick, Timestamp};
use crate::core::waiters::{Answer, ProfileRef, Refusal};
use crate::files::state::{Pause, StateFile};
use crate::platform::clock::{Clock, Deadline};

/// How long a status request waits for tokens to be stored that so far could not be.
const UNSAVED_WAIT: Duration = Duration::from_millis(300);
/// How long a status request with `after` is held by default and at most.
pub(super) const STATUS_WAIT: Duration = Duration::from_secs(25);

/// What every route needs.
pub struct Api {
    /// To the broker.
    pub desk: Desk,
    /// Looks at files before a demand is judged.
    pub watcher: Arc<Watcher>,
    /// Our own notes: a pause is kept there.
    pub state: StateFile,
    /// Remembers who was given what.
    pub audit: Audit,
    /// Ends sessions.
    pub logouts: Logouts,
    /// Knows of renewed tokens that could not be written.
    pub tokens: TokenFlow,
    /// Our own settings, looked at as well.
    pub configuration: Arc<Configuration>,
    /// The daemon's own world.
    pub home: Arc<World>,
    /// The broker's revision.
    pub revision: watch::Receiver<u64>,
    /// Fires when a clean end is asked for.
    pub shutdown: Arc<Notify>,
    /// Whether we make room for a newer agent.
    pub succession: Succession,
    /// When this process started.
    pub started_at: Timestamp,
    /// Network settings and findings that the broker knows nothing of.
    pub circumstances: watch::Receiver<Circumstances>,
    /// Where too many ask at a time, those who only wait make way.
    pub seats: Arc<Seats>,
    /// Why changes of files are not heard of at once, if they are not.
    pub unwatched: watch::Receiver<Option<Finding>>,
}

/// What the daemon says of itself in the status document.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// Settings with their origin.
    pub network: Vec<Setting>,
    /// Ignored overrides, unusable CA files, an invalid config.toml.
    pub findings: Vec<Finding>,
}

/// The routes of `/v1`.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/status", get(status))
        .route("/v1/profiles/{profile}/credentials", get(credentials))
        .route("/v1/profiles/{profile}/refresh", post(refresh))
        .route("/v1/profiles/{profile}/rejected", post(rejected))
        .route("/v1/audit", get(audit_log))
        .route("/v1/probe", post(look_at_the_way))
        .route("/v1/pause", post(pause))
        .route("/v1/resume", post(resume))
        .route("/v1/shutdown", post(shutdown))
        .merge(super::login_routes::routes())
        .merge(super::model_routes::routes())
        .fallback(|| async { unknown_route() })
        .method_not_allowed_fallback(|| async { unknown_route() })
        .with_state(api)
}

async fn health(State(api): State<Arc<Api>>) -> Response {
    document(
        StatusCode::OK,
        &v1::Health {
            name: "agentd".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: api.started_at,
            service: api.succession.by_service(),
        },
    )
}

async fn status(State(api): State<Arc<Api>>, query: Result<Query<v1::StatusQuery>, Rejection>) -> Response {
    let Ok(Query(query)) = query else { return bad_request("the query of /v1/status takes after and wait") };
    // Who looks after changing a file wants to see what came of it.
    api.configuration.look(api.desk.broker());
    api.watcher.look_at_all().await;
    // So does who has made room. A disk that hangs is not waited for.
    let _ = tokio::time::timeout(UNSAVED_WAIT, api.tokens.retry_disk()).await;
    if let Some(after) = query.after {
        let wait = query.wait.map_or(STATUS_WAIT, Duration::from_millis).min(STATUS_WAIT);
        let mut revision = api.revision.clone();
        // No change in time: the same snapshot again.
        tokio::select! {
            _ = tokio::time::timeout(wait, revision.wait_for(|r| *r > after)) => {}
            () = api.seats.make_way() => {}
        }
    }
    let (reply, answer) = oneshot::channel();
    if api.desk.broker().send(Message::Status(reply)).is_err() {
        return stopping();
    }
    let Ok(mut status) = answer.await else { return stopping() };
    let circumstances = api.circumstances.borrow().clone();
    let unwatched = api.unwatched.borrow().clone();
    let inspected = api.configuration.aws().inspected();
    let found = circumstances.findings.into_iter().chain(api.tokens.findings()).chain(api.watcher.findings());
    status.findings.extend(found.chain(api.audit.findings()).chain(unwatched).chain(inspected));
    let agent = v1::AgentStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: api.started_at,
        config_file: api.home.config_file.display().to_string(),
        network: circumstances.network,
    };
    document(StatusCode::OK, &v1::StatusDocument { status, agent })
}

async fn credentials(
    State(api): State<Arc<Api>>,
    Name(name): Name,
    query: Result<Query<v1::CredentialsQuery>, Rejection>,
    peer: Option<Extension<Arc<Peer>>>,
    headers: HeaderMap,
) -> Response {
    let Ok(Query(query)) = query else {
        return bad_request("the query takes min_ttl, wait, consumer and awaits_login");
    };
    let hold = hold(query.wait);
    let profile = match api.profile(name, &headers, hold).await {
        Ok(profile) => profile,
        Err(response) => return *response,
    };
    let last_ask = query.wait.is_some_and(|ms| ms < v1::MAX_WAIT_MS);
    let demand = |waiter| Demand {
        waiter,
        profile: profile.clone(),
        min_ttl: Duration::from_secs(query.min_ttl.unwrap_or(0).min(24 * 3600)),
        wait: hold.remaining().unwrap_or_default(),
        last_ask,
        consumer: query.consumer.filter(|c| c.len() <= 64),
    };
    let answer = tokio::select! {
        answer = api.desk.ask(|waiter| Event::Demand(demand(waiter))) => answer,
        // The fetch goes on without the one who asked for it.
        () = api.seats.make_way(), if !last_ask => Some(Answer::InFlight { since: None }),
    };
    if let Some(Answer::Credentials(credentials)) = &answer {
        // Before the answer goes out: then its process may end, and who it was is known no more.
        let peer = peer.map(|Extension(peer)| peer).unwrap_or_default();
        let foreign = (profile.world != api.home).then_some(profile.world.config_file.as_path());
        api.audit.note(audit::grant(&profile.name, foreign, credentials, &peer));
    }
    if let Some(Answer::Refused(refusal)) = &answer
        && query.awaits_login
        && refusal.failure.class == FailureClass::NeedsLogin
    {
        api.desk.tell(Event::LoginAwaited(profile));
    }
    respond(answer)
}

async fn refresh(
    State(api): State<Arc<Api>>,
    Name(name): Name,
    query: Result<Query<v1::RefreshQuery>, Rejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Query(query)) = query else { return bad_request("the query takes wait and since") };
    let hold = hold(query.wait);
    let profile = match api.profile(name, &headers, hold).await {
        Ok(profile) => profile,
        Err(response) => return *response,
    };
    let since = query.since.map(Tick::from_millis);
    let wait = hold.remaining().unwrap_or_default();
    match api.desk.ask(|waiter| Event::Refresh { waiter, profile, wait, since }).await {
        // The successor counts by the same clock.
        None => respond(Some(Answer::InFlight { since })),
        answer => respond(answer),
    }
}

async fn rejected(State(api): State<Arc<Api>>, Name(name): Name, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(v1::Rejected { access_key_id }) = serde_json::from_slice(&body) else {
        return bad_request("the body must be {\"access_key_id\": \"...\"}");
    };
    match api.profile(name, &headers, hold(None)).await {
        Ok(profile) => api.tell(Event::Rejected { profile, access_key_id }),
        Err(response) => *response,
    }
}

async fn audit_log(State(api): State<Arc<Api>>, query: Result<Query<v1::AuditQuery>, Rejection>) -> Response {
    let Ok(Query(query)) = query else { return bad_request("the query takes since (RFC 3339), profile and limit") };
    match api.audit.read(query).await {
        Ok(document) => json(document.into()),
        Err(failure) => failed(&failure),
    }
}

async fn look_at_the_way(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Response {
    let request = if body.is_empty() { Ok(v1::ProbeRequest::default()) } else { serde_json::from_slice(&body) };
    let Ok(v1::ProbeRequest { profile, sso_session, region, timeout_ms }) = request else {
        return bad_request("the body takes profile, sso_session, region and timeout_ms");
    };
    let world = match api.world(&headers, hold(None)).await {
        Ok(world) => world,
        Err(response) => return *response,
    };
    let within = timeout_ms.map_or(probe::LIMIT, Duration::from_millis);
    let question = probe::Question { profile, sso_session, region, bedrock: false, within };
    match probe::document(&api.configuration, &world, &question).await {
        Ok(probe) => document(StatusCode::OK, &probe),
        Err(failure) => failed(&failure),
    }
}

async fn pause(State(api): State<Arc<Api>>, body: Bytes) -> Response {
    let request = if body.is_empty() { Ok(v1::PauseRequest::default()) } else { serde_json::from_slice(&body) };
    match request {
        Ok(v1::PauseRequest { seconds }) => {
            let span = seconds.map(Duration::from_secs);
            let until = span.map(|span| Clock.wall().plus(span));
            api.remember_pause(Some(Pause { until })).await;
            api.tell(Event::Pause(span))
        }
        Err(_) => bad_request("the body must be {\"seconds\": N} or empty"),
    }
}

async fn resume(State(api): State<Arc<Api>>) -> Response {
    api.remember_pause(None).await;
    api.tell(Event::Resume)
}

async fn shutdown(State(api): State<Arc<Api>>, body: Bytes) -> Response {
    let request = if body.is_empty() { Ok(v1::ShutdownRequest::default()) } else { serde_json::from_slice(&body) };
    let Ok(v1::ShutdownRequest { force, successor }) = request else {
        return bad_request("the body must be {\"force\": true}, {\"successor\": \"1.2.3\"} or empty");
    };
    if let Some(version) = successor {
        if let Err(why) = api.succession.judge(&version) {
            return error(StatusCode::CONFLICT, FailureClass::Transient, why, "");
        }
        if api.is_logging_in().await {
            return error(StatusCode::CONFLICT, FailureClass::Transient, "a login is pending here", "");
        }
    }
    if !force {
        api.tokens.retry_disk().await;
        if let Some(lost) = api.tokens.findings().first() {
            let message = format!("{}, so ending now would lose the session", lost.message);
            let fix = "make room, or make the folder writable; or else: agentctl daemon stop --force";
            return error(StatusCode::SERVICE_UNAVAILABLE, FailureClass::Transient, &message, fix);
        }
    }
    api.shutdown.notify_one();
    empty()
}

type Rejection = axum::extract::rejection::QueryRejection;

impl Api {
    /// For the next agent. This one pauses all the same if it cannot be written.
    async fn remember_pause(&self, pause: Option<Pause>) {
        let state = self.state.clone();
        let stored = tokio::task::spawn_blocking(move || state.update(|s| s.set_pause(pause))).await;
        if let Ok(Err(failure)) = stored {
            warn!(cause = failure.message, "the pause will be forgotten with this process");
        }
    }

    /// Whether somebody is looking at a page that would lead nowhere without this process.
    async fn is_logging_in(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        let asked = self.desk.broker().send(Message::Status(reply)).is_ok();
        asked && answer.await.is_ok_and(|status| status.sessions.iter().any(|s| s.login.is_some()))
    }

    fn tell(&self, event: Event) -> Response {
        if self.desk.broker().send(Message::Event(event)).is_err() { stopping() } else { empty() }
    }

    /// The world of the request, whose files (and our settings) have just been looked at. Files that are not read by the
    /// end of `hold` are work in flight.
    pub(super) async fn world(&self, headers: &HeaderMap, hold: Deadline) -> Result<Arc<World>, Box<Response>> {
        let world = world_of(headers, &self.home).map_err(|why| Box::new(bad_request(&why)))?;
        self.configuration.look(self.desk.broker());
        if !self.watcher.look_at(&world, hold.remaining().unwrap_or_default()).await {
            return Err(Box::new(respond(Some(Answer::InFlight { since: None }))));
        }
        Ok(world)
    }

    /// The profile of the request, in its world.
    pub(super) async fn profile(
        &self,
        name: String,
        headers: &HeaderMap,
        hold: Deadline,
    ) -> Result<ProfileRef, Box<Response>> {
        self.world(headers, hold).await.map(|world| ProfileRef { world, name })
    }
}

/// Until when a request that arrives now is held.
pub(super) fn hold(asked_ms: Option<u64>) -> Deadline {
    Deadline::after(Duration::from_millis(asked_ms.unwrap_or(v1::MAX_WAIT_MS).min(v1::MAX_WAIT_MS)))
}

/// The profile in the route.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let name = Path::from_request_parts(parts, state).await;
        name.map(|Path(name)| Self(name)).map_err(|_| bad_request("the profile's name must be percent-encoded UTF-8"))
    }
}

/// The files that the client named; the daemon's own where it named none.
fn world_of(headers: &HeaderMap, home: &Arc<World>) -> Result<Arc<World>, String> {
    let path = |name: &str, default: &std::path::Path| match headers.get(name) {
        None => Ok(default.to_path_buf()),
        Some(value) => decode_path(value).ok_or_else(|| format!("{name} must be an absolute path, percent-encoded")),
    };
    let world = World {
        config_file: path(v1::CONFIG_FILE_HEADER, &home.config_file)?,
        credentials_file: path(v1::CREDENTIALS_FILE_HEADER, &home.credentials_file)?,
        sso_cache: path(v1::SSO_CACHE_HEADER, &home.sso_cache)?,
    };
    Ok(if world == **home { Arc::clone(home) } else { Arc::new(world) })
}

fn decode_path(value: &HeaderValue) -> Option<std::path::PathBuf> {
    let path = std::path::PathBuf::from(v1::decode(value.to_str().ok()?)?);
    path.is_absolute().then_some(path)
}

pub(super) fn respond(answer: Option<Answer>) -> Response {
    match answer {
        // Ending: whoever asks again finds the successor.
        None => document(StatusCode::ACCEPTED, &v1::InFlight { in_flight: true, since: None }),
        Some(Answer::Credentials(credentials)) => {
            // The buffer is wiped when the last reference to it goes.
            json(Bytes::from_owner(union_document(&credentials)))
        }
        Some(Answer::Renewed { expires_at }) => document(StatusCode::OK, &v1::Renewed { expires_at }),
        Some(Answer::InFlight { since }) => {
            let since = since.map(Tick::as_millis);
            document(StatusCode::ACCEPTED, &v1::InFlight { in_flight: true, since })
        }
        Some(Answer::Refused(refusal)) => refuse(&refusal),
    }
}

fn refuse(refusal: &Refusal) -> Response {
    let code = if refusal.unknown { 404 } else { v1::http_status(refusal.failure.class) };
    let mut body = v1::ErrorBody::from(&refusal.failure);
    body.retry_after = refusal.retry_after.map(|d| d.as_secs().max(1));
    let mut response = document(StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), &body);
    if let Some(seconds) = body.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

pub(super) fn document(status: StatusCode, body: &impl Serialize) -> Response {
    (status, axum::Json(body)).into_response()
}

/// A document that is JSON already.
fn json(body: Bytes) -> Response {
    let mut response = (StatusCode::OK, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) fn empty() -> Response {
    document(StatusCode::OK, &serde_json::json!({}))
}

/// A failure with the status of its class.
pub(super) fn failed(failure: &Failure) -> Response {
    let status = StatusCode::from_u16(v1::http_status(failure.class)).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    document(status, &v1::ErrorBody::from(failure))
}

pub(super) fn error(status: StatusCode, class: FailureClass, message: &str, fix: &str) -> Response {
    document(status, &v1::ErrorBody::from(&Failure::new(class, message, fix)))
}

pub(super) fn bad_request(why: &str) -> Response {
    refused(StatusCode::BAD_REQUEST, why)
}

/// A request that no route is to see, or whose parts make no sense.
pub(super) fn refused(status: StatusCode, why: &str) -> Response {
    error(status, FailureClass::Misconfigured, why, "")
}

fn unknown_route() -> Response {
    error(StatusCode::NOT_FOUND, FailureClass::Misconfigured, "no such route", "see the documentation of /v1")
}

pub(super) fn stopping() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, FailureClass::Transient, "the agent is stopping", "try again")
}
