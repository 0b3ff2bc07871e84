//! A login, made: a client registration, a page for a person, a token, and the file that the AWS tools share.
//!
//! It runs in a task of its own and goes on whoever goes away. The browser is opened by the client, never from here.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::callback::{Callback, Returned};
use super::token_flow::TokenFlow;
use crate::aws::{Aws, NewToken};
use crate::core::broker::LoginCall;
use crate::core::classify::{Evidence, Signal, Verdict};
use crate::core::credential::{ClientRegistration, RefreshGrant, SsoToken};
use crate::core::failure::{Failure, FailureClass};
use crate::core::login::{Ending, Flow, Poll, Shown};
use crate::core::secret::Secret;
use crate::core::session;
use crate::files::registration::RegistrationFile;
use crate::platform::clock::Clock;
use crate::platform::random;

/// AWS shows this name to the person who is to allow it.
const CLIENT_NAME: &str = "agentctl";
/// As long as AWS's own device codes live.
const BROWSER: Duration = Duration::from_secs(600);
/// A registration must outlive the login.
const REGISTRATION: Duration = Duration::from_secs(3600);
/// What a poll adds to its interval when AWS asks it to slow down (RFC 8628 section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// Logs in. `show` is called once, when there is something for a person to open.
pub async fn run(call: &LoginCall, aws: &Aws, tokens: &TokenFlow, show: impl FnOnce(Shown)) -> Ending {
    let file = RegistrationFile::new(&call.world, &call.session, call.flow);
    let mut login = Login { call, aws, tokens, file, clock: Clock };
    let ended = match call.flow {
        Flow::Device => login.device(show).await,
        Flow::Pkce => login.browser(show).await,
    };
    ended.unwrap_or_else(|ending| ending)
}

struct Login<'a> {
    call: &'a LoginCall,
    aws: &'a Aws,
    tokens: &'a TokenFlow,
    file: RegistrationFile,
    clock: Clock,
}

impl Login<'_> {
    /// One that is valid long enough, from the file or new.
    async fn registration(&self, fresh: bool) -> Result<ClientRegistration, Ending> {
        let (file, until) = (self.file.clone(), self.clock.wall().plus(REGISTRATION));
        let known = if fresh { None } else { blocking(move || file.load(until)).await.flatten() };
        if let Some(registration) = known {
            return Ok(registration);
        }
        let made = self.aws.register_client(&self.call.session, CLIENT_NAME, self.call.flow).await;
        let registration = made.result.map_err(|e| failed(&e))?;
        let (file, to_store) = (self.file.clone(), registration.clone());
        blocking(move || file.store(&to_store)).await;
        Ok(registration)
    }

    /// Device authorization (RFC 8628).
    async fn device(&mut self, show: impl FnOnce(Shown)) -> Result<Ending, Ending> {
        let session = &self.call.session;
        let mut registration = self.registration(false).await?;
        let mut device = self.aws.start_device(session, &registration).await.result;
        if device.as_ref().is_err_and(is_unknown_client) {
            registration = self.registration(true).await?;
            device = self.aws.start_device(session, &registration).await.result;
        }
        let device = device.map_err(|e| failed(&e))?;
        let ends = self.clock.wall().plus(device.expires_in);
        let deadline = self.clock.now().tick.plus(device.expires_in);
        show(Shown { url: device.url, user_code: Some(device.user_code), expires_at: ends });
        let mut interval = device.interval;
        loop {
            sleep(interval).await;
            if self.clock.now().tick >= deadline {
                return Ok(Ending::Unanswered);
            }
            let polled = self.aws.device_token(session, &registration, &device.device_code).await;
            match polled.result {
                Ok(token) => return self.signed(&registration, token).await,
                Err(evidence) => match Poll::of(&evidence) {
                    Poll::Pending | Poll::Passing => {}
                    Poll::SlowDown => interval += SLOWER,
                    Poll::Expired => return Ok(Ending::Unanswered),
                    Poll::Denied => return Ok(Ending::Denied),
                    Poll::Failed(failure) => return Ok(Ending::Failed(failure)),
                },
            }
        }
    }

    /// Authorization code with PKCE (RFC 7636).
    async fn browser(&mut self, show: impl FnOnce(Shown)) -> Result<Ending, Ending> {
        let session = &self.call.session;
        let registration = self.registration(false).await?;
        let (state, verifier) = (secret()?, secret()?);
        let callback = Callback::listen(state.clone()).await.map_err(|e| {
            let fix = "log in with a code instead: agentctl login --device";
            cannot(&format!("no port on 127.0.0.1 for the browser to come back to: {e}"), fix)
        })?;
        let redirect_uri = callback.redirect_uri();
        let url = self.aws.authorize_url(session, &registration, &redirect_uri, state.expose(), &verifier);
        let url = url.map_err(|e| failed(&e))?;
        show(Shown { url, user_code: None, expires_at: self.clock.wall().plus(BROWSER) });
        let code = match tokio::time::timeout(BROWSER, callback.returned()).await {
            Err(_) => return Ok(Ending::Unanswered),
            Ok(Returned::Denied) => return Ok(Ending::Denied),
            Ok(Returned::Failed(error)) => {
                // A client that AWS does not know any more is told to the browser alone.
                let file = self.file.clone();
                blocking(move || file.remove()).await;
                let message = format!("AWS's page ended the login with '{error}'");
                return Ok(Ending::Failed(Failure::new(FailureClass::NeedsLogin, message, "log in again")));
            }
            Ok(Returned::Code(code)) => code,
        };
        let exchanged = self.aws.code_token(session, &registration, &code, &verifier, &redirect_uri).await;
        self.signed(&registration, exchanged.result.map_err(|e| failed(&e))?).await
    }

    /// Stores the token; from here on it is everybody's.
    async fn signed(&self, registration: &ClientRegistration, new: NewToken) -> Result<Ending, Ending> {
        let obtained_at = self.clock.wall();
        let grant = |refresh_token| RefreshGrant {
            refresh_token,
            client_id: registration.client_id.clone(),
            client_secret: registration.client_secret.clone(),
            registration_expires_at: Some(registration.expires_at),
        };
        let token = Arc::new(SsoToken {
            access_token: new.access_token,
            expires_at: obtained_at.plus(new.expires_in),
            refresh: new.refresh_token.map(grant),
            client_id: Some(registration.client_id.clone()),
            obtained_at,
        });
        self.tokens.store_login(&self.call.session, &self.call.world, &token).await;
        Ok(Ending::Signed(token))
    }
}

/// 256 random bits, as text.
fn secret() -> Result<Secret, Ending> {
    random::hex().map(Secret::new).map_err(|e| cannot(&format!("no randomness: {e}"), "try again"))
}

fn cannot(message: &str, fix: &str) -> Ending {
    Ending::Failed(Failure::new(FailureClass::Transient, message, fix))
}

fn is_unknown_client(evidence: &Evidence) -> bool {
    matches!(&evidence.signal, Signal::Answer(a) if a.aws_mark
        && matches!(a.code.as_deref(), Some("InvalidClientException" | "UnauthorizedClientException")))
}

fn failed(evidence: &Evidence) -> Ending {
    Ending::Failed(match evidence.classify() {
        Verdict::Failed { failure, .. } => failure,
        Verdict::TokenRefused => session::hollow(&evidence.host),
    })
}

/// Runs a blocking step in the pool; `None` if it panicked.
async fn blocking<T: Send + 'static>(step: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(step).await.ok()
}
