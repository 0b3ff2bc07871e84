//! The SSO portal, asked with an access token: GetRoleCredentials for a role's credentials, ListAccounts to learn whether
//! the token is good, Logout to end its session.

use super::endpoints::Service;
use super::{Aws, Call, Prepared};
use crate::core::classify::{Evidence, Operation};
use crate::core::credential::{RoleCredentials, SsoAccount};
use crate::core::secret::Secret;
use crate::core::source::SsoSession;
use crate::core::time::Timestamp;

/// The most that the portal gives on one page; it refuses to be asked for more (ListAccounts, ListAccountRoles:
/// "maxResults: minimum value of 1, maximum value of 100").
const PAGE: i32 = 100;
/// More pages than this are no list for a person; what comes behind them is left out.
const MOST_PAGES: usize = 50;

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

    /// The accounts that the token opens, all pages. One request for each page.
    ///
    /// # Errors
    /// What the first request that failed showed.
    pub async fn accounts(
        &self,
        session: &SsoSession,
        access_token: &Secret,
    ) -> Result<Vec<SsoAccount>, Box<Evidence>> {
        let (mut accounts, mut token) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let (prepared, client) = self.portal_call(Operation::ListAccounts, session, access_token)?;
            let request =
                client.list_accounts().access_token(access_token.expose()).max_results(PAGE).set_next_token(token);
            let sent = request.customize().interceptor(prepared.trace.clone()).send().await;
            let page = match sent {
                Ok(page) if page.account_list.is_some() => page,
                Ok(_) => return Err(Box::new(prepared.evidence())),
                Err(error) => return Err(prepared.failure(&error).await),
            };
            let read = |account: aws_sdk_sso::types::AccountInfo| SsoAccount {
                id: account.account_id.unwrap_or_default(),
                name: account.account_name.unwrap_or_default(),
                email: account.email_address.unwrap_or_default(),
            };
            accounts.extend(page.account_list.into_iter().flatten().map(read));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        Ok(accounts)
    }

    /// The roles that the token opens in an account, all pages. One request for each page.
    ///
    /// # Errors
    /// What the first request that failed showed.
    pub async fn roles(
        &self,
        session: &SsoSession,
        access_token: &Secret,
        account_id: &str,
    ) -> Result<Vec<String>, Box<Evidence>> {
        let (mut roles, mut token) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let (prepared, client) = self.portal_call(Operation::ListAccountRoles, session, access_token)?;
            let request = client.list_account_roles().access_token(access_token.expose()).account_id(account_id);
            let request = request.max_results(PAGE).set_next_token(token);
            let page = match request.customize().interceptor(prepared.trace.clone()).send().await {
                Ok(page) if page.role_list.is_some() => page,
                Ok(_) => return Err(Box::new(prepared.evidence())),
                Err(error) => return Err(prepared.failure(&error).await),
            };
            roles.extend(page.role_list.into_iter().flatten().filter_map(|role| role.role_name));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        Ok(roles)
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
