//! Logins at the fake: RegisterClient, device authorization, the authorization code flow, and the pages that a person (or
//! curl) acts on.
//!
//! Wire format: AWS "SSO OIDC API Reference"; RFC 8628 for the device flow, RFC 6749 and RFC 7636 for the other.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::calls::Call;
use super::oidc::error;
use super::state::{Client, SessionId, State, random};
use super::wire::{Answer, Request, encode};

/// What the person at the browser does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Person {
    /// Opens the page and acts by its links, if at all.
    #[default]
    ActsOnPage,
    /// Says yes as soon as there is something to say yes to.
    Approves,
    /// Says no.
    Denies,
}

/// A login that a person is asked about.
#[derive(Clone, Debug)]
pub struct PendingLogin {
    /// The code of the device flow, or what names the request of the other.
    pub code: String,
    /// Its page.
    pub url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    None,
    Yes,
    No,
}

#[derive(Debug)]
pub(super) struct Authorization {
    client_id: String,
    session: SessionId,
    /// What the client presents: a device code, or an authorization code.
    grant: String,
    name: String,
    word: Word,
    used: bool,
    ends: DateTime<Utc>,
    last_poll: Option<DateTime<Utc>>,
    /// The authorization code flow's: redirect URI, state and challenge.
    browser: Option<Browser>,
}

#[derive(Clone, Debug)]
struct Browser {
    redirect_uri: String,
    state: String,
    challenge: String,
}

/// How the fake plays logins.
#[derive(Debug)]
pub(super) struct Logins {
    pub person: Person,
    /// Life of a device code and of an authorization request.
    pub life: Duration,
    /// Seconds between two polls.
    pub interval: u64,
    pub authorizations: Vec<Authorization>,
}

impl Default for Logins {
    fn default() -> Self {
        Self { person: Person::default(), life: Duration::from_secs(600), interval: 1, authorizations: Vec::new() }
    }
}

impl State {
    /// Those that wait for a word.
    pub(super) fn pending_logins(&self, url: &str) -> Vec<PendingLogin> {
        let waiting = self.logins.authorizations.iter().filter(|a| a.word == Word::None && a.ends > self.now());
        let page = |a: &Authorization| PendingLogin {
            code: a.name.clone(),
            url: format!("{url}/device?user_code={}", a.name),
        };
        waiting.map(page).collect()
    }

    /// The person says it. Whether there was something to say it to.
    pub(super) fn say(&mut self, name: &str, yes: bool) -> bool {
        let now = self.now();
        let found = self.logins.authorizations.iter_mut().find(|a| a.name == name && a.word == Word::None);
        found.filter(|a| a.ends > now).map(|a| a.word = if yes { Word::Yes } else { Word::No }).is_some()
    }

    fn session_of(&self, start_url: &str) -> Option<SessionId> {
        self.sessions.iter().position(|s| s.start_url == start_url).map(SessionId)
    }

    fn authorize(
        &mut self,
        client_id: &str,
        session: SessionId,
        kind: &'static str,
        browser: Option<Browser>,
    ) -> String {
        let name = format!("{}-{}", random(4).to_uppercase(), random(4).to_uppercase());
        let word = match self.logins.person {
            Person::ActsOnPage => Word::None,
            Person::Approves => Word::Yes,
            Person::Denies => Word::No,
        };
        let grant = self.secret(kind, "", 64);
        let ends = self.now() + self.logins.life;
        let client_id = client_id.to_owned();
        self.logins.authorizations.push(Authorization {
            client_id,
            session,
            grant,
            name: name.clone(),
            word,
            used: false,
            ends,
            last_poll: None,
            browser,
        });
        name
    }
}

/// `POST /client/register`.
pub(super) fn register(state: &mut State, request: &Request) -> Answer {
    let body = request.json();
    let list = |key: &str| -> Vec<String> {
        let items = body[key].as_array().into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    if body["clientType"] != "public" {
        return error(400, "InvalidClientMetadataException", "invalid_client_metadata", "clientType must be public");
    }
    let issuer = body["issuerUrl"].as_str().map(|url| state.session_of(url));
    if issuer == Some(None) {
        return error(400, "InvalidRequestException", "invalid_request", "Invalid issuerUrl");
    }
    let lifetime = state.sessions.first().map_or(Duration::from_secs(3600), |s| s.registration_lifetime);
    let (now, client_id) = (state.now(), random(22));
    let secret = state.secret("client secret", "eyJraWQiOiJrZXktMTU2", 240);
    let client = Client {
        secret: secret.clone(),
        expires_at: now + lifetime,
        scopes: list("scopes"),
        redirect_uris: list("redirectUris"),
        issuer: issuer.flatten(),
    };
    state.clients.insert(client_id.clone(), client);
    Answer::json(
        200,
        &json!({
            "clientId": client_id,
            "clientSecret": secret,
            "clientIdIssuedAt": now.timestamp(),
            "clientSecretExpiresAt": (now + lifetime).timestamp(),
        }),
    )
}

/// `POST /device_authorization`.
pub(super) fn start_device(state: &mut State, request: &Request, url: &str) -> Answer {
    let body = request.json();
    let client_id = body["clientId"].as_str().unwrap_or_default().to_owned();
    if let Some(refusal) = super::oidc::refuse_client(state, &body) {
        return refusal;
    }
    let Some(session) = state.session_of(body["startUrl"].as_str().unwrap_or_default()) else {
        return error(400, "InvalidRequestException", "invalid_request", "Invalid startUrl provided");
    };
    let user_code = state.authorize(&client_id, session, "device code", None);
    let device_code = state.logins.authorizations.last().map(|a| a.grant.clone());
    Answer::json(
        200,
        &json!({
            "deviceCode": device_code,
            "userCode": user_code,
            "verificationUri": format!("{url}/device"),
            "verificationUriComplete": format!("{url}/device?user_code={user_code}"),
            "expiresIn": state.logins.life.as_secs(),
            "interval": state.logins.interval,
        }),
    )
}

/// `POST /token` with the device grant.
pub(super) fn device_token(state: &mut State, presented: &str, client_id: &str, call: &mut Call) -> Answer {
    let (now, interval) = (state.now(), chrono::Duration::seconds(state.logins.interval.cast_signed()));
    let mut all = state.logins.authorizations.iter_mut();
    let found = all.find(|a| a.browser.is_none() && a.grant == presented && a.client_id == client_id && !a.used);
    let Some(found) = found else {
        return error(400, "InvalidGrantException", "invalid_grant", "Invalid device code provided");
    };
    let fast = found.last_poll.replace(now).is_some_and(|last| now - last < interval);
    match found.word {
        _ if found.ends <= now => error(400, "ExpiredTokenException", "expired_token", "The device code has expired"),
        _ if fast => error(400, "SlowDownException", "slow_down", "Polling too fast"),
        Word::None => error(400, "AuthorizationPendingException", "authorization_pending", "Not authorized yet"),
        Word::No => error(400, "AccessDeniedException", "access_denied", "The request was denied"),
        Word::Yes => {
            found.used = true;
            let session = found.session;
            signed_in(state, session, client_id, call)
        }
    }
}

/// `POST /token` with an authorization code.
pub(super) fn code_token(state: &mut State, body: &serde_json::Value, client_id: &str, call: &mut Call) -> Answer {
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    let (now, challenge) = (state.now(), challenge(text("codeVerifier")));
    let found = state.logins.authorizations.iter_mut().find(|a| {
        a.browser.as_ref().is_some_and(|b| b.redirect_uri == text("redirectUri") && b.challenge == challenge)
            && a.grant == text("code")
            && a.client_id == client_id
            && a.word == Word::Yes
            && !a.used
            && a.ends > now
    });
    let Some(found) = found else {
        return error(400, "InvalidGrantException", "invalid_grant", "Invalid code provided");
    };
    found.used = true;
    let session = found.session;
    signed_in(state, session, client_id, call)
}

fn challenge(verifier: &str) -> String {
    let digest = aws_smithy_types::base64::encode(Sha256::digest(verifier.as_bytes()));
    digest.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// Only a client that registered the scope for it gets a refresh token.
fn signed_in(state: &mut State, session: SessionId, client_id: &str, call: &mut Call) -> Answer {
    call.session = Some(session);
    let (access_token, _) = state.issue_access_token(session);
    let may_refresh =
        state.clients.get(client_id).is_some_and(|c| c.scopes.iter().any(|scope| scope == "sso:account:access"));
    let refresh = may_refresh.then(|| {
        let family = state.new_family();
        state.issue_refresh_token(session, family, client_id)
    });
    Answer::json(
        200,
        &json!({
            "accessToken": access_token,
            "expiresIn": state.sessions[session.0].token_lifetime.as_secs(),
            "idToken": null,
            "refreshToken": refresh,
            "tokenType": "Bearer",
        }),
    )
}

/// `GET /authorize`: back to the client at once, or a page.
pub(super) fn authorize(state: &mut State, request: &Request) -> Answer {
    let text = |key: &str| request.query(key).unwrap_or_default();
    let (client_id, redirect_uri) = (text("client_id"), text("redirect_uri"));
    let client = state.clients.get(&client_id).filter(|c| c.expires_at > state.now());
    let Some((client, session)) = client.and_then(|c| Some((c, c.issuer?))) else {
        return page(400, "This client is not known.");
    };
    // RFC 8252 section 7.3: any port of the loopback address.
    let portless = redirect_uri.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.split_once('/'));
    let registered =
        portless.is_some_and(|(_, path)| client.redirect_uris.contains(&format!("http://127.0.0.1/{path}")));
    if !registered || text("response_type") != "code" || text("code_challenge_method") != "S256" {
        return page(400, "This request is not valid.");
    }
    let browser = Browser { redirect_uri, state: text("state"), challenge: text("code_challenge") };
    let name = state.authorize(&client_id, session, "authorization code", Some(browser));
    come_back(state, &name).unwrap_or_else(|| asks(&name))
}

/// `GET /device`, `/device/approve`, `/device/deny`: the page of either flow, and its links.
pub(super) fn device_page(state: &mut State, request: &Request) -> Answer {
    let name = request.query("user_code").unwrap_or_default();
    let spoken = match request.path.as_str() {
        "/device/approve" => state.say(&name, true),
        "/device/deny" => state.say(&name, false),
        _ => return asks(&name),
    };
    if !spoken {
        return page(400, "This code is not known or over.");
    }
    come_back(state, &name).unwrap_or_else(|| page(200, "Thank you. You can close this tab."))
}

/// Where the browser goes with the person's word, in the authorization code flow.
fn come_back(state: &State, name: &str) -> Option<Answer> {
    let found = state.logins.authorizations.iter().find(|a| a.name == name)?;
    let browser = found.browser.as_ref()?;
    let word = match found.word {
        Word::None => return None,
        Word::Yes => format!("code={}", encode(&found.grant, "")),
        Word::No => "error=access_denied".to_owned(),
    };
    let location = format!("{}?{word}&state={}", browser.redirect_uri, encode(&browser.state, ""));
    Some(Answer::new(302, "text/html", "").with("location", &location))
}

fn asks(name: &str) -> Answer {
    let links = format!(
        "<p>Allow agentctl to use your account? Code: <b>{name}</b></p>\
         <p><a href=\"/device/approve?user_code={name}\">Allow</a> <a href=\"/device/deny?user_code={name}\">Deny</a></p>"
    );
    page(200, &links)
}

fn page(status: u16, text: &str) -> Answer {
    Answer::new(status, "text/html; charset=utf-8", format!("<!doctype html><title>Fake AWS</title>{text}\n"))
}
