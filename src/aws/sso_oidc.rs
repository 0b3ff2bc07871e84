//! SSO OIDC CreateToken with a refresh-token grant (RFC 6749 section 6).
//!
//! The caller holds the session's lock and stores the answer before anything else happens; this file makes one request
//! and says what came of it.

use std::time::Duration;

use super::endpoints::Service;
use super::{Aws, Call, NewToken};
use crate::core::classify::Operation;
use crate::core::credential::RefreshGrant;
use crate::core::secret::Secret;
use crate::core::source::SsoSession;

/// AWS's name of the grant in the JSON protocol.
const GRANT_TYPE: &str = "refresh_token";

impl Aws {
    /// Renews the session's token. One request; a failure leaves it to the evidence whether AWS may have acted on it.
    ///
    /// Cancelling the future does not cancel what AWS does: never drop it half-way.
    pub async fn create_token(&self, session: &SsoSession, grant: &RefreshGrant) -> Call<NewToken> {
        let secrets = [&grant.refresh_token, &grant.client_secret];
        let prepared = match self.prepare(Operation::CreateToken, Service::Oidc, session, &secrets) {
            Ok(prepared) => prepared,
            Err(evidence) => return Call { result: Err(*evidence), server_date: None },
        };
        let target = &prepared.target;
        let client = self.shared.oidc.get(session, target, || prepared.http.oidc(&session.region, target));
        let request = client
            .create_token()
            .client_id(&grant.client_id)
            .client_secret(grant.client_secret.expose())
            .grant_type(GRANT_TYPE)
            .refresh_token(grant.refresh_token.expose());
        match request.customize().interceptor(prepared.trace.clone()).send().await {
            Ok(output) => match token(output) {
                Some(token) => prepared.call(Ok(token)),
                None => prepared.incomplete(),
            },
            Err(error) => prepared.failed(&error).await,
        }
    }
}

/// The token, if the answer holds one that lives.
pub(super) fn token(output: aws_sdk_ssooidc::operation::create_token::CreateTokenOutput) -> Option<NewToken> {
    let present = |text: Option<String>| text.map(Secret::new).filter(|s| !s.is_empty());
    let expires_in = u64::try_from(output.expires_in).ok().filter(|s| *s > 0)?;
    Some(NewToken {
        refresh_token: present(output.refresh_token),
        access_token: present(output.access_token)?,
        expires_in: Duration::from_secs(expires_in),
    })
}
