//! What is seen of one call on the wire: who was asked, and who answered what.
//!
//! A [`Trace`] is an SDK interceptor. The SDK's own error hides the host, the date and, on success, everything; and it
//! reads an empty `200` as a success without a token. Answers are reduced to [`Answer`] on the spot; no body is kept.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextMut,
    BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use http_body_util::Limited;
use hyper::Uri;

use crate::core::classify::Answer;
use crate::core::secret::Secret;
use crate::core::time::Timestamp;
use crate::net::answer::{self, Body, MAX_BODY};

/// A secret shorter than this proves nothing by appearing in a text.
const SHORTEST_SECRET: usize = 8;

/// Watches one call. Clones share what they saw.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    seen: Arc<Mutex<Seen>>,
    /// What was sent: a text of the answer that repeats any of it is dropped.
    secrets: Arc<[Secret]>,
}

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The host that was asked.
    pub(super) host: Option<String>,
    /// The answer, if its head arrived.
    pub(super) answer: Option<Answer>,
    /// Its `Date`.
    pub(super) server_date: Option<Timestamp>,
}

impl Trace {
    pub(super) fn new(secrets: &[&Secret]) -> Self {
        let long = secrets.iter().filter(|s| s.expose().len() >= SHORTEST_SECRET);
        Self { seen: Arc::default(), secrets: long.map(|s| (*s).clone()).collect() }
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn without_secrets(&self, text: Option<String>) -> Option<String> {
        text.filter(|t| !self.secrets.iter().any(|s| t.contains(s.expose())))
    }
}

impl Intercept for Trace {
    fn name(&self) -> &'static str {
        "Trace"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let host = context.request().uri().parse::<Uri>().ok().and_then(|u| u.host().map(str::to_owned));
        self.update(|seen| seen.host = host);
        Ok(())
    }

    /// Notes the head, in case the body never ends well, and puts a limit on the body.
    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let date = header(response, "date").and_then(Timestamp::parse_http_date);
        let answer = self.reduce(response, Body::Unread, date);
        self.update(|seen| (seen.answer, seen.server_date) = (Some(answer), date));
        let body = response.take_body();
        *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, MAX_BODY));
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        // Absent: the body broke off, and what the head said stays.
        if let Some(bytes) = response.body().bytes() {
            let answer = self.reduce(response, Body::Read(bytes), self.seen().server_date);
            self.update(|seen| seen.answer = Some(answer));
        }
        Ok(())
    }
}

impl Trace {
    fn reduce(&self, response: &HttpResponse, body: Body<'_>, date: Option<Timestamp>) -> Answer {
        let mut answer = answer::reduce(response.status().as_u16(), |name| header(response, name), body, date);
        answer.message = self.without_secrets(answer.message);
        answer.server = self.without_secrets(answer.server);
        answer
    }
}

fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
    response.headers().get(name)
}
