//! The local API's route of Bedrock's inference profiles: a profile's credentials, as any client gets them, and one list.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;

use super::http::{Api, Name, bad_request, document, failed, hold, respond};
use crate::api::v1;
use crate::core::bedrock;
use crate::core::broker::{Demand, Event};
#[cfg(feature = "bedrock")]
use crate::core::classify::Verdict;
use crate::core::credential::RoleCredentials;
use crate::core::failure::{Failure, FailureClass};
use crate::core::waiters::Answer;

/// The routes.
pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/v1/profiles/{profile}/models", get(models))
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

#[cfg(feature = "bedrock")]
async fn list(api: &Api, region: &str, keys: &RoleCredentials) -> Result<Vec<bedrock::InferenceProfile>, Failure> {
    let aws = api.configuration.aws();
    let mut profiles = aws.inference_profiles(region, keys).await.map_err(|evidence| match evidence.classify() {
        Verdict::Failed { failure, .. } => failure,
        Verdict::TokenRefused => Failure::new(FailureClass::Transient, "the keys were refused", "try again"),
    })?;
    bedrock::sort(&mut profiles);
    Ok(profiles)
}

#[cfg(not(feature = "bedrock"))]
async fn list(_: &Api, _: &str, _: &RoleCredentials) -> Result<Vec<bedrock::InferenceProfile>, Failure> {
    let message = "this agent was built without Bedrock's list";
    Err(Failure::new(FailureClass::Misconfigured, message, "build it with the feature bedrock"))
}
