//! Faults as data: what goes wrong, with which operation, and how often.
//!
//! A fault is a value: `Fault::too_many_requests(7).on(Operation::GetRoleCredentials).times(2)`. Without [`Fault::on`]
//! it strikes every operation, without [`Fault::times`] until it is cleared. The first fault that fits strikes; the
//! others wait.

use std::time::Duration;

use serde_json::json;

use super::calls::Operation;
use super::wire::Answer;

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(super) id: FaultId,
    operations: Vec<Operation>,
    left: Option<u32>,
    pub(super) effect: Effect,
    pub(super) delay: Duration,
    pub(super) after_work: bool,
}

/// Names an injected fault, to clear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultId(pub(super) u64);

/// What happens instead of, or to, the true answer.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// Nothing but the delay.
    Slow,
    /// Somebody else's answer.
    Answer(Answer),
    /// No answer, ever; the connection stays open.
    Hang,
    /// TCP reset.
    Reset,
    /// The true body cut in the middle, with a content length that fits.
    TruncatedJson,
    /// The true head, then half of the body, then the end of the connection.
    CutBody,
    /// The bearer header is gone when the request arrives.
    StripBearer,
}

impl Fault {
    const fn of(effect: Effect) -> Self {
        Self { id: FaultId(0), operations: Vec::new(), left: None, effect, delay: Duration::ZERO, after_work: false }
    }

    /// A status and a body without any mark of AWS, as something in between would send it.
    pub fn answer(status: u16, content_type: &str, body: &str) -> Self {
        Self::of(Effect::Answer(Answer::new(status, content_type, body)))
    }

    /// An error of AWS itself in the JSON form of portal and Bedrock, with error type and request id.
    pub fn aws_error(status: u16, error_type: &str, message: &str) -> Self {
        let body = json!({ "message": message, "__type": error_type });
        Self::of(Effect::Answer(super::aws_json_error(status, error_type, &body)))
    }

    /// An error of AWS itself in the form of the token endpoint: `code` is OAuth's (`invalid_grant`).
    pub fn oidc_error(status: u16, error_type: &str, code: &str) -> Self {
        Self::of(Effect::Answer(super::oidc::error(status, error_type, code, "injected")))
    }

    /// A web page with status 200, as a captive portal sends it.
    pub fn html() -> Self {
        Self::answer(200, "text/html; charset=utf-8", "<!DOCTYPE html><html><body>Please sign in</body></html>")
    }

    /// `200 {}`: a JSON document that says nothing.
    pub fn empty_json() -> Self {
        Self::answer(200, "application/json", "{}")
    }

    /// 429 by AWS with `Retry-After` in seconds.
    pub fn too_many_requests(retry_after: u32) -> Self {
        Self::aws_error(429, "TooManyRequestsException", "Rate exceeded")
            .header("retry-after", &retry_after.to_string())
    }

    /// 403 `AccessDeniedException`, as Bedrock sends it.
    pub fn access_denied() -> Self {
        Self::aws_error(403, "AccessDeniedException", "User is not authorized to perform this action")
    }

    /// 503 by AWS.
    pub fn unavailable() -> Self {
        Self::aws_error(503, "ServiceUnavailableException", "Service is unavailable")
    }

    /// The true answer, late.
    pub fn slow(by: Duration) -> Self {
        Self::of(Effect::Slow).delayed(by)
    }

    /// A black hole: the request is taken and never answered.
    pub fn hang() -> Self {
        Self::of(Effect::Hang)
    }

    /// The connection is reset.
    pub fn reset() -> Self {
        Self::of(Effect::Reset)
    }

    /// The true JSON, cut in the middle.
    pub fn truncated_json() -> Self {
        Self::of(Effect::TruncatedJson)
    }

    /// The connection ends in the middle of the true body.
    pub fn cut_body() -> Self {
        Self::of(Effect::CutBody)
    }

    /// A proxy removes `x-amz-sso_bearer_token`: AWS itself answers 401, while the token endpoint works.
    pub fn strip_bearer() -> Self {
        Self::of(Effect::StripBearer)
    }

    /// Strikes this operation only (may be said several times).
    pub fn on(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Strikes all of Bedrock.
    pub fn on_bedrock(mut self) -> Self {
        self.operations.extend(Operation::BEDROCK);
        self
    }

    /// Strikes the next `n` calls, then never again.
    pub fn times(mut self, n: u32) -> Self {
        self.left = Some(n);
        self
    }

    /// Strikes so much later.
    pub fn delayed(mut self, by: Duration) -> Self {
        self.delay = by;
        self
    }

    /// AWS does its work first (a token rotates), and only the answer is lost or replaced.
    pub fn after_work(mut self) -> Self {
        self.after_work = true;
        self
    }

    fn strikes(&self, operation: Operation) -> bool {
        self.left != Some(0) && (self.operations.is_empty() || self.operations.contains(&operation))
    }

    /// Adds a header to an answer.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Effect::Answer(answer) = &mut self.effect {
            answer.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

/// The fault that strikes this call, if any; it is used up by one.
pub(super) fn take(faults: &mut Vec<Fault>, operation: Operation) -> Option<Fault> {
    let at = faults.iter().position(|f| f.strikes(operation))?;
    if let Some(left) = &mut faults[at].left {
        *left = left.saturating_sub(1);
        if *left == 0 {
            return Some(faults.remove(at));
        }
    }
    Some(faults[at].clone())
}
