//! What a refusal of Bedrock means.
//!
//! The codes: ListInferenceProfiles and InvokeModel, "Errors", and "Common Error Types" of the AWS APIs. A region that the
//! account has not enabled does not know its keys; one where this API is not offered does not know the call, or has no host
//! at all. Why a model is refused stands in words only ([`REFUSALS`]).

use super::{Answer, Operation, said};
use crate::core::failure::{Failure, FailureClass};

const POLICY: &str = "have the role allowed what this prints: agentctl models --policy";
const ELSEWHERE: &str = "name a region where Bedrock offers Claude: --region us-east-1";

const MODELS: &str = "name one of: agentctl models";

/// What Bedrock says of a model that it does not run for this account, in lower case, and what that comes to. The words are
/// AWS's own as users report them and as Claude Code 2.1.328 looks for them.
const REFUSALS: [(&str, FailureClass, &str, &str); 11] = [
    ("use case details have not been submitted", FailureClass::AccessDenied, NO_FORM, FORM),
    ("use-case form", FailureClass::AccessDenied, NO_FORM, FORM),
    (
        "on-demand throughput",
        FailureClass::Misconfigured,
        "a bare model id is refused by on-demand throughput; an inference profile's is wanted",
        MODELS,
    ),
    ("model identifier is invalid", FailureClass::Misconfigured, "there is no such model in this region", MODELS),
    ("access to the model with the specified", FailureClass::AccessDenied, NO_ACCESS, ACCESS),
    ("is not available for this account", FailureClass::AccessDenied, NO_ACCESS, ACCESS),
    (
        "marketplace subscription for this model",
        FailureClass::AccessDenied,
        "the account's Marketplace subscription to this model cannot be completed",
        "have somebody who is allowed aws-marketplace:Subscribe and ViewSubscriptions use it once",
    ),
    ("marked by provider as legacy", FailureClass::Misconfigured, RETIRED, MODELS),
    ("end of its life", FailureClass::Misconfigured, RETIRED, MODELS),
    (
        "data retention mode",
        FailureClass::AccessDenied,
        "this model wants another data retention mode than the account has",
        "have it set by who runs the account (bedrock:PutAccountDataRetention), or name another of: agentctl models",
    ),
    ("is not authorized to perform: bedrock:", FailureClass::AccessDenied, "AWS denies the use of this model", POLICY),
];
const NO_FORM: &str = "the account has not filled in Anthropic's use-case form";
const FORM: &str =
    "fill it in once for the account (Bedrock console, model catalog, an Anthropic model), then wait 15 minutes";
const RETIRED: &str = "this model is no longer offered";
const NO_ACCESS: &str = "the account has no access to this model";
const ACCESS: &str = "have it opened (Bedrock console, model catalog), or name another of: agentctl models";

/// The failure of a call of Bedrock, if the code, the words or the status say which.
pub(super) fn failure(operation: Operation, answer: &Answer, host: &str) -> Option<Failure> {
    match operation {
        Operation::InvokeModel => refused_model(answer).or_else(|| refused(operation, answer, host)),
        Operation::ListInferenceProfiles | Operation::GetUseCase => refused(operation, answer, host),
        _ => None,
    }
}

fn refused_model(answer: &Answer) -> Option<Failure> {
    let words = answer.message.as_deref()?.to_lowercase();
    let (_, class, message, fix) = REFUSALS.iter().find(|(said, ..)| words.contains(said))?;
    // Who is denied what stands in AWS's words only.
    let said = if *fix == POLICY { said(answer) } else { String::new() };
    Some(Failure::new(*class, format!("{message}{said}"), fix))
}

fn refused(operation: Operation, answer: &Answer, host: &str) -> Option<Failure> {
    use FailureClass as C;
    let name = operation.name();
    let (code, said) = (answer.code.as_deref().unwrap_or_default(), said(answer));
    let (class, message, fix) = match (code, answer.status) {
        ("UnrecognizedClientException" | "InvalidClientTokenIdException" | "InvalidClientTokenId", _) => (
            C::Misconfigured,
            format!("{host} does not know these credentials"),
            "enable that region for the account, or name another: --region us-east-1; or else: agentctl refresh",
        ),
        ("ExpiredTokenException" | "ExpiredToken", _) => {
            (C::Transient, format!("{host} takes these credentials for expired"), "renew them: agentctl refresh")
        }
        ("InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired", _) if is_about_time(&said) => (
            C::ClockSkew,
            format!("{host} refuses this machine's time{said}"),
            "switch on the time synchronization of this machine",
        ),
        ("UnknownOperationException" | "ResourceNotFoundException", _) | (_, 404) => {
            (C::Misconfigured, format!("{host} does not know {name}{said}"), ELSEWHERE)
        }
        ("ValidationException", _) => {
            let fix = if operation == Operation::InvokeModel { MODELS } else { ELSEWHERE };
            (C::Misconfigured, format!("{host} refuses {name}{said}"), fix)
        }
        // A signature that does not fit is no word on what is allowed.
        ("InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired", _) => return None,
        ("AccessDeniedException", _) | (_, 403) => (C::AccessDenied, format!("AWS denies {name}{said}"), POLICY),
        _ => return None,
    };
    Some(Failure::new(class, message, fix))
}

/// `Signature expired: 20260131T080000Z is now earlier than ...`, `Signature not yet current: ...`.
fn is_about_time(said: &str) -> bool {
    ["expired", "not yet current"].iter().any(|word| said.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::classify::{Evidence, Operation, Signal, Verdict};

    fn of(signal: Signal) -> Failure {
        let host = "bedrock.eu-west-1.amazonaws.com".to_owned();
        match (Evidence { operation: Operation::ListInferenceProfiles, host, signal }).classify() {
            Verdict::Failed { failure, .. } => failure,
            Verdict::TokenRefused => panic!("Bedrock knows no such token"),
        }
    }

    fn answered(status: u16, code: &str, message: &str) -> Failure {
        of(Signal::Answer(Answer {
            status,
            aws_mark: true,
            code: (!code.is_empty()).then(|| code.to_owned()),
            message: Some(message.to_owned()),
            ..Answer::default()
        }))
    }

    #[test]
    fn a_denial_names_the_policy_and_is_one_line() {
        let said = "User: arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Developer_0123456789abcdef/someone@example.com \
                    is not authorized to perform: bedrock:ListInferenceProfiles on resource: arn:aws:bedrock:eu-west-1:";
        for failure in [answered(403, "AccessDeniedException", said), answered(403, "", said)] {
            assert_eq!(failure.class, FailureClass::AccessDenied);
            assert_eq!(failure.fix, POLICY);
            assert!(failure.line().chars().count() <= Failure::MAX_CHARS, "{}", failure.line());
            assert!(failure.message.contains("AWSReservedSSO_Developer"), "{}", failure.message);
        }
    }

    #[test]
    fn a_wrong_region_is_told_as_one() {
        for (status, code) in [
            (403, "UnrecognizedClientException"),
            (404, "UnknownOperationException"),
            (404, ""),
            (400, "ValidationException"),
        ] {
            let failure = answered(status, code, "no");
            assert_eq!(failure.class, FailureClass::Misconfigured, "{code}");
            assert!(failure.fix.contains("--region us-east-1"), "{}", failure.line());
        }
        let failure = of(Signal::Unreachable { detail: "failed to lookup address information".to_owned() });
        assert_eq!(failure.class, FailureClass::Offline);
        assert!(failure.fix.contains("whether Bedrock is offered in this region"), "{}", failure.line());
    }

    #[test]
    fn a_model_that_is_refused_is_told_by_bedrocks_words() {
        use FailureClass as C;
        let invoked = |status, code: &str, message: &str| {
            let answer = Answer {
                status,
                aws_mark: true,
                code: Some(code.to_owned()),
                message: Some(message.to_owned()),
                ..Answer::default()
            };
            let host = "bedrock-runtime.eu-west-1.amazonaws.com".to_owned();
            let evidence = Evidence { operation: Operation::InvokeModel, host, signal: Signal::Answer(answer) };
            match evidence.classify() {
                Verdict::Failed { failure, .. } => failure,
                Verdict::TokenRefused => panic!("Bedrock knows no such token"),
            }
        };
        let long = "Invocation of model ID anthropic.claude-sonnet-4-5-20250929-v1:0 with on-demand throughput isn’t supported. \
                    Retry your request with the ID or ARN of an inference profile that contains this model.";
        for (status, code, said, class, told) in [
            (400, "ValidationException", long, C::Misconfigured, "an inference profile's is wanted"),
            (
                400,
                "ValidationException",
                "The provided model identifier is invalid.",
                C::Misconfigured,
                "no such model",
            ),
            (400, "ValidationException", "max_tokens: too small", C::Misconfigured, "refuses InvokeModel"),
            (
                404,
                "ResourceNotFoundException",
                "This model version has reached the end of its life.",
                C::Misconfigured,
                "no longer offered",
            ),
            (403, "AccessDeniedException", "no identity-based policy allows", C::AccessDenied, "denies InvokeModel"),
            (429, "ThrottlingException", "Too many tokens, please wait", C::Throttled, "throttled"),
            (503, "ServiceUnavailableException", "try again", C::Transient, ""),
        ] {
            let failure = invoked(status, code, said);
            assert_eq!(failure.class, class, "{said}");
            assert!(failure.message.contains(told), "{}", failure.line());
            assert!(failure.line().chars().count() <= Failure::MAX_CHARS, "{}", failure.line());
        }
    }

    #[test]
    fn keys_and_clocks_have_their_own_words() {
        assert_eq!(answered(403, "ExpiredTokenException", "expired").class, FailureClass::Transient);
        let skewed = answered(403, "InvalidSignatureException", "Signature expired: 20260131T080000Z is now earlier");
        assert_eq!(skewed.class, FailureClass::ClockSkew);
        let torn = answered(403, "InvalidSignatureException", "does not match");
        assert_eq!(torn.class, FailureClass::Transient);
        assert_eq!(answered(400, "SomethingNew", "no").class, FailureClass::Transient);
    }
}
