//! What is seen of one call on the wire: who was asked, and who answered what.
//!
//! A [`Trace`] is an SDK interceptor. The SDK's own error hides the host, the date and, on success, everything; and it
//! reads an empty `200` as a success without a token. Answers are reduced to [`Answer`] on the spot; no body is kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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

use super::evidence::{self, Body};
use crate::core::classify::{Answer, BodyKind};
use crate::core::secret::Secret;
use crate::core::time::Timestamp;

/// Longest body that is read. AWS's answers are under 4 KiB; a captive portal's page may be long.
const MAX_BODY: usize = 256 * 1024;
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
        let status = response.status().as_u16();
        let content_type = header(response, "content-type").unwrap_or_default();
        let body = evidence::inspect(status, content_type, body);
        let header_code = header(response, "x-amzn-errortype").and_then(evidence::exception_name);
        let has = |name| header(response, name).is_some_and(|v| !v.is_empty());
        let aws_mark = REQUEST_IDS.iter().any(|n| has(n))
            || has("x-amzn-errortype")
            || body.code.as_deref().is_some_and(evidence::is_known_code);
        let message = if aws_mark || body.kind == BodyKind::Html { body.message } else { None };
        Answer {
            status,
            aws_mark,
            code: header_code.or(body.code),
            message: self.without_secrets(message),
            body: body.kind,
            redirect_host: header(response, "location").and_then(location_host),
            retry_after: header(response, "retry-after").and_then(|v| retry_after(v, date)),
            server: self.without_secrets(header(response, "via").or(header(response, "server")).map(short)),
        }
    }
}

/// The headers in which AWS's services name the request.
const REQUEST_IDS: [&str; 4] = ["x-amzn-requestid", "x-amzn-request-id", "x-amz-request-id", "x-amz-requestid"];

fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
    response.headers().get(name)
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn location_host(value: &str) -> Option<String> {
    let uri: Uri = value.trim().parse().ok()?;
    uri.host().map(|h| h.to_ascii_lowercase())
}

/// Seconds, or a date relative to the answer's own (RFC 9110 section 10.2.3); at most a day.
fn retry_after(value: &str, date: Option<Timestamp>) -> Option<Duration> {
    const MOST: Duration = Duration::from_secs(86_400);
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Timestamp::parse_http_date(value)?.since(date?),
    };
    Some(wait.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_relative_to_the_answer() {
        let date = Timestamp::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(retry_after("7", None), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", date), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", date), Some(Duration::ZERO));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", None), None);
        assert_eq!(retry_after("99999999999999", None), Some(Duration::from_secs(86_400)));
        assert_eq!(retry_after("-1", date), None);
    }

    #[test]
    fn a_relative_redirect_names_no_host() {
        assert_eq!(location_host("https://Portal.example/login?u=1").as_deref(), Some("portal.example"));
        assert_eq!(location_host("/login"), None);
        assert_eq!(location_host("\u{1}"), None);
    }
}
