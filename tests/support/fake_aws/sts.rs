//! STS: `GetCallerIdentity` over the query protocol, with a real check of the signature.

use super::calls::Call;
use super::sigv4::{self, Refusal};
use super::state::State;
use super::wire::{Answer, Request, form};

/// Whether this request speaks the query protocol's `GetCallerIdentity`.
pub(super) fn is_get_caller_identity(request: &Request) -> bool {
    let named = |text: &str| form(text).get("Action").is_some_and(|action| action == "GetCallerIdentity");
    named(&request.query) || named(&String::from_utf8_lossy(&request.body))
}

/// `GetCallerIdentity`.
pub(super) fn caller_identity(state: &State, request: &Request, call: &mut Call) -> Answer {
    let key = match sigv4::verify(state, request) {
        Ok(key) => key,
        Err(refusal) => return refused(refusal),
    };
    call.signed_by = Some(key.access_key_id.clone());
    call.session = Some(key.session);
    (call.account, call.role) = (Some(key.account.clone()), Some(key.role.clone()));
    let (account, role) = (&key.account, &key.role);
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  \
         <GetCallerIdentityResult>\n    \
         <Arn>arn:aws:sts::{account}:assumed-role/AWSReservedSSO_{role}_0123456789abcdef/user@example.com</Arn>\n    \
         <UserId>AROAEXAMPLE:user@example.com</UserId>\n    <Account>{account}</Account>\n  \
         </GetCallerIdentityResult>\n  <ResponseMetadata>\n    \
         <RequestId>00000000-0000-4000-8000-000000000000</RequestId>\n  </ResponseMetadata>\n\
         </GetCallerIdentityResponse>\n"
    );
    Answer::new(200, "text/xml", body)
}

fn refused(refusal: Refusal) -> Answer {
    let (code, message) = match refusal {
        Refusal::Missing => ("MissingAuthenticationToken", "Request is missing Authentication Token"),
        Refusal::Incomplete => {
            ("IncompleteSignature", "Request must contain a signature that conforms to AWS standards")
        }
        Refusal::UnknownKey => ("InvalidClientTokenId", "The security token included in the request is invalid."),
        Refusal::Expired => ("ExpiredToken", "The security token included in the request is expired"),
        Refusal::Skewed => ("SignatureDoesNotMatch", "Signature expired: is now earlier than allowed"),
        Refusal::Mismatch => ("SignatureDoesNotMatch", "The request signature we calculated does not match"),
    };
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    <Type>Sender</Type>\n    \
         <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n  \
         <RequestId>00000000-0000-4000-8000-000000000000</RequestId>\n</ErrorResponse>\n"
    );
    Answer::new(403, "text/xml", body)
}
