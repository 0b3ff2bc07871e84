//! Bedrock, as far as Claude Code needs it to take a turn: inference profiles, and a model that always says the same.
//!
//! A streamed answer is `application/vnd.amazon.eventstream`: each message an event-stream frame of `:event-type:
//! chunk` whose JSON payload is `{"bytes": base64(one Anthropic stream event)}`.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use serde_json::{Value, json};

use super::calls::Call;
use super::sigv4::{self, Refusal};
use super::state::State;
use super::wire::{Answer, Request};

/// The one inference profile that this Bedrock offers; clients are pinned to it.
pub const MODEL: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";

/// `GET /inference-profiles`.
pub(super) fn inference_profiles(state: &State, request: &Request, call: &mut Call) -> Answer {
    if let Some(offered) = &state.inference_profiles {
        return signed(state, request, call, || listed(offered, request));
    }
    if request.query("type").is_some_and(|kind| kind != "SYSTEM_DEFINED") {
        return signed(state, request, call, || Answer::json(200, &json!({ "inferenceProfileSummaries": [] })));
    }
    signed(state, request, call, || {
        Answer::json(
            200,
            &json!({ "inferenceProfileSummaries": [{
                "inferenceProfileArn": format!("arn:aws:bedrock:eu-west-1:111122223333:inference-profile/{MODEL}"),
                "inferenceProfileId": MODEL,
                "inferenceProfileName": "EU Claude",
                "description": "Routes requests to Claude in the EU",
                "models": [{ "modelArn": "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude" }],
                "status": "ACTIVE",
                "type": "SYSTEM_DEFINED",
                "createdAt": "2025-01-01T00:00:00Z",
                "updatedAt": "2025-01-01T00:00:00Z",
            }], "nextToken": null }),
        )
    })
}

/// An inference profile that a test has this Bedrock offer: in a region, of a kind (`SYSTEM_DEFINED` or `APPLICATION`).
#[derive(Clone, Debug)]
pub struct Offered {
    pub region: &'static str,
    pub kind: &'static str,
    pub id: String,
    pub model: &'static str,
}

/// As many to a page as are asked for (1 to 1000), each as long as the real ones are.
fn listed(offered: &[Offered], request: &Request) -> Answer {
    let most = request.query("maxResults").map_or(Ok(100), |most| most.parse::<usize>());
    let Some(most) = most.ok().filter(|most| (1..=1000).contains(most)) else {
        let said = json!({ "message": "maxResults must be between 1 and 1000" });
        return super::aws_json_error(400, "ValidationException", &said);
    };
    let region = sigv4::region(request).unwrap_or_default();
    let kind = request.query("type");
    let here: Vec<_> = (offered.iter())
        .filter(|o| o.region == region && kind.as_deref().is_none_or(|kind| kind == o.kind))
        .map(|o| {
            let path = if o.kind == "APPLICATION" { "application-inference-profile" } else { "inference-profile" };
            let behind =
                |region| json!({ "modelArn": format!("arn:aws:bedrock:{region}::foundation-model/{}", o.model) });
            json!({
                "inferenceProfileArn": format!("arn:aws:bedrock:{region}:111122223333:{path}/{}", o.id),
                "inferenceProfileId": o.id,
                "inferenceProfileName": format!("about {}", o.id),
                "description": format!("Routes requests to {}. {}", o.model, "It says more about itself. ".repeat(16)),
                "models": [behind(region.as_str()), behind("eu-central-1"), behind("eu-north-1"), behind("eu-west-3")],
                "status": "ACTIVE",
                "type": o.kind,
                "createdAt": "2025-01-01T00:00:00Z",
                "updatedAt": "2025-01-01T00:00:00Z",
            })
        })
        .collect();
    let from: usize = request.query("nextToken").and_then(|token| token.parse().ok()).unwrap_or(0);
    let page: Vec<_> = here.iter().skip(from).take(most).collect();
    let next = (from + most < here.len()).then(|| (from + most).to_string());
    Answer::json(200, &json!({ "inferenceProfileSummaries": page, "nextToken": next }))
}

/// `GET /use-case-for-model-access`.
pub(super) fn use_case(state: &State, request: &Request, call: &mut Call) -> Answer {
    signed(state, request, call, || match !state.lacks_form {
        true => Answer::json(200, &json!({ "formData": "eyJjb21wYW55TmFtZSI6ICJYIn0=" })),
        false => super::aws_json_error(404, "ResourceNotFoundException", &json!({ "message": "not found" })),
    })
}

/// Why Bedrock does not run the model of this request, in its own words: a bare id, or one that the region does not have.
fn refused_model(state: &State, request: &Request) -> Option<Answer> {
    let invalid = |said: &str| Some(super::aws_json_error(400, "ValidationException", &json!({ "message": said })));
    let path = percent_encoding::percent_decode_str(&request.path).decode_utf8_lossy();
    let id = path.strip_prefix("/model/")?.rsplit_once('/')?.0;
    if id.starts_with("anthropic.") {
        return invalid(&format!(
            "Invocation of model ID {id} with on-demand throughput isn’t supported. Retry your request with the ID or ARN of \
             an inference profile that contains this model."
        ));
    }
    let region = sigv4::region(request).unwrap_or_default();
    let offered = state.inference_profiles.as_ref()?;
    // An application profile is named by its ARN, which ends with its id.
    let known = offered.iter().any(|o| o.region == region && (o.id == id || id.ends_with(&format!("/{}", o.id))));
    if known { None } else { invalid("The provided model identifier is invalid.") }
}

/// `POST /model/{id}/invoke`.
pub(super) fn invoke(state: &State, request: &Request, call: &mut Call) -> Answer {
    signed(state, request, call, || {
        if let Some(refusal) = refused_model(state, request) {
            return refusal;
        }
        let mut message = opening();
        message["content"] = json!([{ "type": "text", "text": state.reply }]);
        message["stop_reason"] = json!("end_turn");
        Answer::json(200, &message)
    })
}

/// `POST /model/{id}/invoke-with-response-stream`.
pub(super) fn invoke_stream(state: &State, request: &Request, call: &mut Call) -> Answer {
    signed(state, request, call, || {
        if let Some(refusal) = refused_model(state, request) {
            return refusal;
        }
        let delta = json!({ "type": "text_delta", "text": state.reply });
        let end = json!({ "stop_reason": "end_turn", "stop_sequence": null });
        let events = [
            json!({ "type": "message_start", "message": opening() }),
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
            json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "message_delta", "delta": end, "usage": { "output_tokens": 5 } }),
            json!({ "type": "message_stop" }),
        ];
        Answer::new(200, "application/vnd.amazon.eventstream", events.iter().flat_map(frame).collect::<Vec<u8>>())
            .with("x-amzn-bedrock-content-type", "application/json")
    })
}

fn opening() -> Value {
    json!({
        "id": "msg_bdrk_0123456789",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": { "input_tokens": 10, "output_tokens": 1 },
    })
}

/// One Anthropic stream event as an event-stream frame.
fn frame(event: &Value) -> Vec<u8> {
    let text = |name: &'static str, value: &'static str| Header::new(name, HeaderValue::String(value.into()));
    let payload = json!({ "bytes": aws_smithy_types::base64::encode(event.to_string()) });
    let message = Message::new(payload.to_string())
        .add_header(text(":event-type", "chunk"))
        .add_header(text(":content-type", "application/json"))
        .add_header(text(":message-type", "event"));
    let mut bytes = Vec::new();
    match write_message_to(&message, &mut bytes) {
        Ok(()) => bytes,
        Err(e) => unreachable!("a short message always fits into a frame: {e}"),
    }
}

/// The answer, if the request is signed with a living key that the fake issued.
fn signed(state: &State, request: &Request, call: &mut Call, answer: impl FnOnce() -> Answer) -> Answer {
    match sigv4::verify(state, request) {
        Ok(key) => {
            call.signed_by = Some(key.access_key_id);
            call.session = Some(key.session);
            (call.account, call.role) = (Some(key.account), Some(key.role));
            answer()
        }
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: Refusal) -> Answer {
    let (error_type, message) = match refusal {
        Refusal::Missing => ("MissingAuthenticationTokenException", "Missing Authentication Token"),
        Refusal::Incomplete => ("IncompleteSignatureException", "The signature does not conform to AWS standards"),
        Refusal::UnknownKey => {
            ("UnrecognizedClientException", "The security token included in the request is invalid.")
        }
        Refusal::Expired => ("ExpiredTokenException", "The security token included in the request is expired"),
        Refusal::Skewed => ("InvalidSignatureException", "Signature expired"),
        Refusal::Mismatch => {
            ("InvalidSignatureException", "The request signature we calculated does not match the signature provided")
        }
    };
    super::aws_json_error(403, error_type, &json!({ "message": message }))
}
