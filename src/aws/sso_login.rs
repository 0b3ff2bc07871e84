//! SSO OIDC's calls of a login: RegisterClient (RFC 7591), StartDeviceAuthorization and its polls (RFC 8628), and the
//! exchange of an authorization code (RFC 6749 section 4.1.3 with RFC 7636). Each is one request.

use std::time::Duration;

use aws_sdk_ssooidc::operation::create_token::builders::CreateTokenFluentBuilder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::endpoints::Service;
use super::sso_oidc::token;
use super::{Aws, Call, NewToken, Prepared};
use crate::core::classify::{Evidence, Operation};
use crate::core::credential::ClientRegistration;
use crate::core::login::Flow;
use crate::core::secret::Secret;
use crate::core::source::SsoSession;
use crate::core::time::Timestamp;

/// The path of the callback. AWS compares it with the registered one and lets the port differ (RFC 8252 section 7.3).
pub const CALLBACK_PATH: &str = "/oauth/callback";

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const CODE_GRANT: &str = "authorization_code";
const REFRESH_GRANT: &str = "refresh_token";
/// Unreserved characters (RFC 3986 section 2.3) stay.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A device authorization.
#[derive(Clone, Debug)]
pub struct Device {
    /// What the polls send.
    pub device_code: Secret,
    /// What the page shows.
    pub user_code: String,
    /// The page, with the code in it where AWS says so.
    pub url: String,
    /// How long AWS waits.
    pub expires_in: Duration,
    /// The least distance between two polls.
    pub interval: Duration,
}

impl Aws {
    /// Registers a public client for a flow.
    pub async fn register_client(&self, session: &SsoSession, name: &str, flow: Flow) -> Call<ClientRegistration> {
        let (prepared, client) = match self.oidc_call(Operation::RegisterClient, session, &[]) {
            Ok(ready) => ready,
            Err(evidence) => return Call { result: Err(*evidence), server_date: None },
        };
        let mut request = client
            .register_client()
            .client_name(name)
            .client_type("public")
            .set_scopes(Some(session.registration_scopes()));
        // Without grant types it is a client of the device flow, as the AWS CLI's.
        request = match flow {
            Flow::Device => request,
            Flow::Pkce => request
                .grant_types(CODE_GRANT)
                .grant_types(REFRESH_GRANT)
                .redirect_uris(format!("http://127.0.0.1{CALLBACK_PATH}"))
                .issuer_url(&session.start_url),
        };
        match request.customize().interceptor(prepared.trace.clone()).send().await {
            Ok(output) => {
                let ends = Some(output.client_secret_expires_at).filter(|s| *s > 0).map(Timestamp::from_secs);
                match (output.client_id, output.client_secret.map(Secret::new), ends) {
                    (Some(client_id), Some(client_secret), Some(expires_at)) => {
                        prepared.call(Ok(ClientRegistration { client_id, client_secret, expires_at }))
                    }
                    _ => prepared.incomplete(),
                }
            }
            Err(error) => prepared.failed(&error).await,
        }
    }

    /// Begins a device authorization.
    pub async fn start_device(&self, session: &SsoSession, registration: &ClientRegistration) -> Call<Device> {
        let secrets = [&registration.client_secret];
        let (prepared, client) = match self.oidc_call(Operation::StartDeviceAuthorization, session, &secrets) {
            Ok(ready) => ready,
            Err(evidence) => return Call { result: Err(*evidence), server_date: None },
        };
        let request = client
            .start_device_authorization()
            .client_id(&registration.client_id)
            .client_secret(registration.client_secret.expose())
            .start_url(&session.start_url);
        match request.customize().interceptor(prepared.trace.clone()).send().await {
            Ok(output) => {
                let seconds = |s: i32| u64::try_from(s).ok().filter(|s| *s > 0).map(Duration::from_secs);
                let url = output.verification_uri_complete.or(output.verification_uri);
                match (output.device_code, output.user_code, url, seconds(output.expires_in)) {
                    (Some(device_code), Some(user_code), Some(url), Some(expires_in)) => prepared.call(Ok(Device {
                        device_code: Secret::new(device_code),
                        user_code,
                        url,
                        expires_in,
                        // Five seconds where AWS does not say (RFC 8628 section 3.2).
                        interval: seconds(output.interval).unwrap_or(Duration::from_secs(5)),
                    })),
                    _ => prepared.incomplete(),
                }
            }
            Err(error) => prepared.failed(&error).await,
        }
    }

    /// Polls a device authorization.
    pub async fn device_token(
        &self,
        session: &SsoSession,
        registration: &ClientRegistration,
        device_code: &Secret,
    ) -> Call<NewToken> {
        self.sign_in(session, registration, device_code, |request| {
            request.grant_type(DEVICE_GRANT).device_code(device_code.expose())
        })
        .await
    }

    /// Exchanges an authorization code.
    pub async fn code_token(
        &self,
        session: &SsoSession,
        registration: &ClientRegistration,
        code: &Secret,
        verifier: &Secret,
        redirect_uri: &str,
    ) -> Call<NewToken> {
        self.sign_in(session, registration, code, |request| {
            request
                .grant_type(CODE_GRANT)
                .code(code.expose())
                .code_verifier(verifier.expose())
                .redirect_uri(redirect_uri)
        })
        .await
    }

    async fn sign_in(
        &self,
        session: &SsoSession,
        registration: &ClientRegistration,
        grant: &Secret,
        with: impl FnOnce(CreateTokenFluentBuilder) -> CreateTokenFluentBuilder,
    ) -> Call<NewToken> {
        let secrets = [grant, &registration.client_secret];
        let (prepared, client) = match self.oidc_call(Operation::SignIn, session, &secrets) {
            Ok(ready) => ready,
            Err(evidence) => return Call { result: Err(*evidence), server_date: None },
        };
        let request =
            client.create_token().client_id(&registration.client_id).client_secret(registration.client_secret.expose());
        match with(request).customize().interceptor(prepared.trace.clone()).send().await {
            Ok(output) => match token(output) {
                Some(token) => prepared.call(Ok(token)),
                None => prepared.incomplete(),
            },
            Err(error) => prepared.failed(&error).await,
        }
    }

    fn oidc_call(
        &self,
        operation: Operation,
        session: &SsoSession,
        secrets: &[&Secret],
    ) -> Result<(Prepared, aws_sdk_ssooidc::Client), Box<Evidence>> {
        let prepared = self.prepare(operation, Service::Oidc, session, secrets)?;
        let target = &prepared.target;
        let client = self.shared.oidc.get(session, target, || prepared.http.oidc(&session.region, target));
        Ok((prepared, client))
    }

    /// The page that begins the authorization code flow, with the S256 challenge of `verifier`.
    ///
    /// # Errors
    /// As any call: the address is not usable.
    pub fn authorize_url(
        &self,
        session: &SsoSession,
        registration: &ClientRegistration,
        redirect_uri: &str,
        state: &str,
        verifier: &Secret,
    ) -> Result<String, Box<Evidence>> {
        let prepared = self.prepare(Operation::SignIn, Service::Oidc, session, &[])?;
        let default = || format!("https://{}", Service::Oidc.default_host(&session.region));
        let base = prepared.target.url.clone().unwrap_or_else(default);
        let (challenge, scopes) = (challenge(verifier), session.registration_scopes().join(","));
        let query = [
            ("response_type", "code"),
            ("client_id", &registration.client_id),
            ("redirect_uri", redirect_uri),
            ("state", state),
            ("code_challenge_method", "S256"),
            ("scopes", &scopes),
            ("code_challenge", &challenge),
        ];
        let query: Vec<_> = query.iter().map(|(k, v)| format!("{k}={}", utf8_percent_encode(v, QUERY))).collect();
        Ok(format!("{}/authorize?{}", base.trim_end_matches('/'), query.join("&")))
    }
}

/// BASE64URL(SHA256(verifier)) without padding (RFC 7636 section 4.2).
fn challenge(verifier: &Secret) -> String {
    let digest = aws_smithy_types::base64::encode(Sha256::digest(verifier.expose().as_bytes()));
    digest.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        // RFC 7636, appendix B.
        let verifier = Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
