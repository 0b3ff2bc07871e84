//! What a refusal of Bedrock's control plane means.
//!
//! The codes: ListInferenceProfiles, "Errors", and "Common Error Types" of the AWS APIs. A region that the account has not
//! enabled does not know its keys; one where this API is not offered does not know the call, or has no host at all.

use super::{Answer, said};
use crate::core::failure::{Failure, FailureClass};

/// The least that Claude Code needs.
const POLICY: &str = "allow bedrock:ListInferenceProfiles, bedrock:InvokeModel, \
                      bedrock:InvokeModelWithResponseStream on inference-profile/* and foundation-model/*";
const ELSEWHERE: &str = "name a region where Bedrock offers Claude: --region us-east-1";

/// The failure, if the code or the status says which.
pub(super) fn failure(answer: &Answer, host: &str) -> Option<Failure> {
    use FailureClass as C;
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
            (C::Misconfigured, format!("{host} lists no inference profiles{said}"), ELSEWHERE)
        }
        ("ValidationException", _) => {
            (C::Misconfigured, format!("{host} refuses to list inference profiles{said}"), ELSEWHERE)
        }
        // A signature that does not fit is no word on what is allowed.
        ("InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired", _) => return None,
        ("AccessDeniedException", _) | (_, 403) => {
            (C::AccessDenied, format!("AWS denies the list of inference profiles{said}"), POLICY)
        }
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
    fn keys_and_clocks_have_their_own_words() {
        assert_eq!(answered(403, "ExpiredTokenException", "expired").class, FailureClass::Transient);
        let skewed = answered(403, "InvalidSignatureException", "Signature expired: 20260131T080000Z is now earlier");
        assert_eq!(skewed.class, FailureClass::ClockSkew);
        let torn = answered(403, "InvalidSignatureException", "does not match");
        assert_eq!(torn.class, FailureClass::Transient);
        assert_eq!(answered(400, "SomethingNew", "no").class, FailureClass::Transient);
    }
}
