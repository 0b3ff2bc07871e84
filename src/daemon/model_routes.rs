//! The local API's routes of what there is to choose from: a session's accounts and roles, and Bedrock's inference profiles,
//! which are asked for with a profile's credentials, as any client gets them; and who a profile is.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use tokio::sync::oneshot;

use super::event_loop::Message;
use super::http::{Api, Name, bad_request, document, failed, hold, respond};
use super::logout_flow::Which;
use crate::api::v1;
use crate::core::bedrock;
use crate::core::broker::{Demand, Event, Identity, SignOut};
use crate::core::classify::{Evidence, Verdict};
use crate::core::credential::{RoleCredentials, SsoToken};
use crate::core::failure::{Failure, FailureClass, shell_word};
use crate::core::session::TokenFile;
use crate::core::source::{SsoSession, World};
use crate::core::waiters::{Answer, ProfileRef};
use crate::platform::clock::Clock;

/// The routes.
pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/profiles/{profile}/identity", get(identity))
        .route("/v1/profiles/{profile}/models", get(models))
        .route("/v1/sessions/{session}/accounts", get(accounts))
        .route("/v1/sessions/{session}/roles", get(roles))
}

async fn accounts(State(api): State<Arc<Api>>, Name(id): Name, headers: HeaderMap) -> Response {
    let (session, token) = match session(&api, id, &headers).await {
        Ok(found) => found,
        Err(response) => return *response,
    };
    match api.configuration.aws().accounts(&session, &token.access_token).await {
        Ok(mut accounts) => {
            accounts.sort_by(|a, b| a.id.cmp(&b.id));
            document(StatusCode::OK, &v1::AccountsDocument { accounts })
        }
        Err(evidence) => failed(&failure(&evidence)),
    }
}

async fn roles(
    State(api): State<Arc<Api>>,
    Name(id): Name,
    query: Result<Query<v1::RolesQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Query(v1::RolesQuery { account })) = query else { return bad_request("the query takes account") };
    let (session, token) = match session(&api, id, &headers).await {
        Ok(found) => found,
        Err(response) => return *response,
    };
    match api.configuration.aws().roles(&session, &token.access_token, &account).await {
        Ok(mut roles) => {
            roles.sort_unstable();
            document(StatusCode::OK, &v1::RolesDocument { roles })
        }
        Err(evidence) => failed(&failure(&evidence)),
    }
}

/// A session that somebody is signed in to.
async fn session(api: &Api, id: String, headers: &HeaderMap) -> Result<(SsoSession, Arc<SsoToken>), Box<Response>> {
    let world = api.world(headers, hold(None)).await?;
    let found = api.logouts.sessions(Which::Session(id.clone()).in_world(world)).await;
    let found = found.map_err(|why| Box::new(failed(&why)))?.pop();
    let nobody = || {
        let message = format!("nobody is signed in to '{id}'");
        let fix = format!("run: agentctl login --sso-session {}", shell_word(&id));
        Box::new(failed(&Failure::new(FailureClass::NeedsLogin, message, fix)))
    };
    let SignOut { session, world, token: held, .. } = found.ok_or_else(nobody)?;
    let living = |token: &Arc<SsoToken>| token.expires_at > Clock.wall();
    match held.filter(living) {
        Some(token) => Ok((session, token)),
        // Of a session that nobody has asked for credentials of, the broker knows no token yet.
        None => on_disk(api, &session, world).await.filter(living).map(|token| (session, token)).ok_or_else(nobody),
    }
}

/// The token that the session's file holds now.
async fn on_disk(api: &Api, session: &SsoSession, world: Arc<World>) -> Option<Arc<SsoToken>> {
    let (tokens, session) = (api.tokens.clone(), session.clone());
    match tokio::task::spawn_blocking(move || tokens.read(&session, &world)).await {
        Ok(TokenFile::Present(token)) => Some(token),
        _ => None,
    }
}

/// What a failed call comes to, where the broker has no part in it.
pub(super) fn failure(evidence: &Evidence) -> Failure {
    match evidence.classify() {
        Verdict::Failed { failure, .. } => failure,
        Verdict::TokenRefused => {
            Failure::new(FailureClass::NeedsLogin, "AWS does not know this session any more", "log in again")
        }
    }
}

async fn models(
    State(api): State<Arc<Api>>,
    Name(name): Name,
    query: Result<Query<v1::ModelsQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Query(v1::ModelsQuery { region, wait })) = query else {
        return bad_request("the query takes region and wait");
    };
    let hold = hold(wait);
    let profile = match api.profile(name, &headers, hold).await {
        Ok(profile) => profile,
        Err(response) => return *response,
    };
    let region = match region_of(&api, region, &profile).await {
        Ok(region) => region,
        Err(response) => return *response,
    };
    let demand = |waiter| Demand {
        waiter,
        profile: profile.clone(),
        min_ttl: Duration::ZERO,
        wait: hold.remaining().unwrap_or_default(),
        last_ask: false,
        consumer: None,
    };
    match api.desk.ask(|waiter| Event::Demand(demand(waiter))).await {
        Some(Answer::Credentials(keys)) => match list(&api, &region, &keys).await {
            Ok(models) => document(StatusCode::OK, &v1::ModelsDocument { region, models }),
            Err(failure) => failed(&failure),
        },
        answer => respond(answer),
    }
}

/// The region that is asked for, else the profile's own.
async fn region_of(api: &Api, asked: Option<String>, profile: &ProfileRef) -> Result<String, Box<Response>> {
    if let Some(region) = asked {
        return Ok(region);
    }
    known(api, profile).await?.region.ok_or_else(|| {
        let message = format!("profile '{}' has no region, and none is named", profile.name);
        let fix = "name Bedrock's region: --region eu-west-1, or AWS_REGION";
        Box::new(failed(&Failure::new(FailureClass::Misconfigured, message, fix)))
    })
}

/// What the broker knows of a profile.
async fn known(api: &Api, profile: &ProfileRef) -> Result<Identity, Box<Response>> {
    let (reply, answer) = oneshot::channel();
    let asked = api.desk.broker().send(Message::Identity(profile.clone(), reply));
    match answer.await {
        Ok(known) if asked.is_ok() => known.map_err(|refusal| Box::new(respond(Some(Answer::Refused(refusal))))),
        _ => Err(Box::new(respond(None))),
    }
}

async fn identity(State(api): State<Arc<Api>>, Name(name): Name, headers: HeaderMap) -> Response {
    let profile = match api.profile(name, &headers, hold(None)).await {
        Ok(profile) => profile,
        Err(response) => return *response,
    };
    match known(&api, &profile).await {
        Ok(Identity { account, role, region, key_suffix, expires_at }) => {
            let known = v1::IdentityDocument { account, role, region, key_suffix, expires_at };
            document(StatusCode::OK, &known)
        }
        Err(response) => *response,
    }
}

#[cfg(feature = "bedrock")]
async fn list(api: &Api, region: &str, keys: &RoleCredentials) -> Result<Vec<bedrock::InferenceProfile>, Failure> {
    let aws = api.configuration.aws();
    let mut profiles = aws.inference_profiles(region, keys).await.map_err(|evidence| failure(&evidence))?;
    bedrock::sort(&mut profiles);
    Ok(profiles)
}

#[cfg(not(feature = "bedrock"))]
async fn list(_: &Api, _: &str, _: &RoleCredentials) -> Result<Vec<bedrock::InferenceProfile>, Failure> {
    Err(without_bedrock())
}

#[cfg(not(feature = "bedrock"))]
pub(super) fn without_bedrock() -> Failure {
    let message = "this agent was built without Bedrock";
    Failure::new(FailureClass::Misconfigured, message, "build it with the feature bedrock")
}
