//! The SSO portal, asked with an access token: GetRoleCredentials for a role's credentials, ListAccounts to learn whether
//! the token is good, Logout to end its session.

use super::endpoints::Service;
use super::{Aws, Call, Prepared};
use crate::core::classify::{Evidence, Operation};
use crate::core::credential::RoleCredentials;
use crate::core::secret::Secret;
use crate::core::source::SsoSession;
use crate::core::time::Timestamp;

impl Aws {
    /// Fetches the role's credentials. One request.
    pub async fn role_credentials(
        &self,
        session: &SsoSession,
        access_token: &Secret,
        account_id: &str,
        role_name: &str,
    ) -> Call<RoleCredentials> {
        let (prepared, client) = match self.portal_call(Operation::GetRoleCredentials, session, access_token) {
            Ok(ready) => ready,
            Err(evidence) => return Call { result: Err(*evidence), server_date: None },
        };
        let request = client
            .get_role_credentials()
            .access_token(access_token.expose())
            .account_id(account_id)
            .role_name(role_name);
        match request.customize().interceptor(prepared.trace.clone()).send().await {
            Ok(output) => match output.role_credentials.and_then(complete) {
                Some(credentials) => prepared.call(Ok(credentials)),
                None => prepared.incomplete(),
            },
            Err(error) => prepared.failed(&error).await,
        }
    }

    /// Learns whether the portal accepts the token, by a call that needs no role. One request.
    pub async fn list_accounts(&self, session: &SsoSession, access_token: &Secret) -> Call<()> {
        let (prepared, client) = match self.portal_call(Operation::ListAccounts, session, access_token) {
            Ok(ready) => ready,
            Err(evidence) => return Call { result: Err(*evidence), server_date: None },
        };
        let request = client.list_accounts().access_token(access_token.expose()).max_results(1);
        match request.customize().interceptor(prepared.trace.clone()).send().await {
            // A page of a captive portal parses as an answer without accounts.
            Ok(output) if output.account_list.is_some() => prepared.call(Ok(())),
            Ok(_) => prepared.incomplete(),
            Err(error) => prepared.failed(&error).await,
        }
    }

    /// Ends the session that the token belongs to. Role credentials that came of it live to their own end. One request.
    pub async fn logout(&self, session: &SsoSession, access_token: &Secret) -> Call<()> {
        let (prepared, client) = match self.portal_call(Operation::Logout, session, access_token) {
            Ok(ready) => ready,
            Err(evidence) => return Call { result: Err(*evidence), server_date: None },
        };
        let request = client.logout().access_token(access_token.expose());
        match request.customize().interceptor(prepared.trace.clone()).send().await {
            Ok(_) => prepared.call(Ok(())),
            Err(error) => prepared.failed(&error).await,
        }
    }

    fn portal_call(
        &self,
        operation: Operation,
        session: &SsoSession,
        access_token: &Secret,
    ) -> Result<(Prepared, aws_sdk_sso::Client), Box<Evidence>> {
        let prepared = self.prepare(operation, Service::Portal, session, &[access_token])?;
        let target = &prepared.target;
        let client = self.shared.portal.get(session, target, || prepared.http.portal(&session.region, target));
        Ok((prepared, client))
    }
}

/// The credentials, if none of the four parts is missing. `expiration` is in milliseconds since the epoch.
fn complete(given: aws_sdk_sso::types::RoleCredentials) -> Option<RoleCredentials> {
    let present = |text: Option<String>| text.filter(|t| !t.is_empty());
    let secret = |text: Option<String>| text.map(Secret::new).filter(|s| !s.is_empty());
    Some(RoleCredentials {
        secret_access_key: secret(given.secret_access_key)?,
        session_token: secret(given.session_token)?,
        access_key_id: present(given.access_key_id)?,
        expires_at: Some(given.expiration).filter(|ms| *ms > 0).map(Timestamp::from_millis)?,
    })
}
