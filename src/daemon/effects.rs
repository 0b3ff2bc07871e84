//! Actions of the broker, run: each in a task with a deadline that posts exactly one event back, whatever happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use super::event_loop::{Message, Sender};
use super::login_flow;
use super::probe;
use super::settings::Configuration;
use super::token_flow::{TokenFlow, role_flow};
use super::watcher::Watcher;
use crate::core::broker::{Event, Fetch, LoginCall, Outcome, ProbeCall, Verify};
use crate::core::classify::Verdict;
use crate::core::failure::{Failure, FailureClass, shell_word};
use crate::core::login::{AttemptId, Ending, History, Notice, Shown};
use crate::core::node::{FlightId, NodeId};
use crate::core::source::{Link, World};
use crate::core::time::Timestamp;
use crate::files::state::{State, StateFile};
use crate::platform::notification;

/// Then a fetch counts as failed: one AWS call ends after 20 s, and a renewal may make two and wait for a lock before. A
/// renewal that takes longer goes on all the same; what it stores is found in the file.
const FETCH_DEADLINE: Duration = Duration::from_secs(55);

/// What actions are run with.
pub struct Effects {
    /// Where their events go.
    pub broker: Sender,
    /// The way to AWS, and our own settings.
    pub configuration: Arc<Configuration>,
    /// The files' side of the token protocol.
    pub tokens: TokenFlow,
    /// Looks at the files of worlds and sessions.
    pub watcher: Arc<Watcher>,
    /// Our own notes.
    pub state: StateFile,
    /// Logins under way.
    pub logins: Mutex<BTreeMap<AttemptId, AbortHandle>>,
    /// Fires with each look at the files, for what else is to be looked at then.
    pub looked: Arc<Notify>,
}

impl Effects {
    /// Reads a session's token file and reports what it is.
    pub fn read_token(&self, node: NodeId, link: Link, world: Arc<World>) {
        let (watcher, broker) = (Arc::clone(&self.watcher), self.broker.clone());
        tokio::spawn(async move {
            let file = watcher.read_token(&link, &world).await;
            post(&broker, Event::TokenRead { node, file });
        });
    }

    /// Fetches an entry's credential and reports how that ended.
    pub fn fetch(&self, fetch: Fetch) {
        let report = Report { broker: self.broker.clone(), node: fetch.node, flight: fetch.flight, posted: false };
        let aws = self.configuration.aws();
        let (tokens, watcher) = (self.tokens.clone(), Arc::clone(&self.watcher));
        tokio::spawn(async move {
            let (what, why) = (fetch.link.to_string(), fetch.why);
            debug!(node = fetch.node.0, what, why, "fetching");
            let flow = async {
                match &fetch.link {
                    Link::SsoSession(session) => tokens.renew(&aws, session, &fetch).await,
                    Link::SsoRole { account_id, role_name } => role_flow(&aws, account_id, role_name, &fetch).await,
                    Link::AssumedRole { role_arn } => (Outcome::NotSent(unsupported(role_arn)), None),
                }
            };
            let (outcome, date) = tokio::time::timeout(FETCH_DEADLINE, flow).await.unwrap_or_else(|_| (late(), None));
            log(&what, why, &outcome);
            let reached = matches!(outcome, Outcome::Got { issued_now: true, .. });
            report.post(outcome, date);
            if reached {
                watcher.note_token_written(&fetch.link, &fetch.world);
                if let Some(session) = fetch.session {
                    aws.look_who_is_there(&session).await;
                }
            }
        });
    }

    /// Logs in, and reports what a person needs, then how it ended.
    pub fn login(&self, call: LoginCall) {
        let (broker, aws, tokens) = (self.broker.clone(), self.configuration.aws(), self.tokens.clone());
        let (attempt, watcher) = (call.attempt, Arc::clone(&self.watcher));
        let login = tokio::spawn(async move {
            info!(session = call.session.id(), flow = ?call.flow, "logging in");
            let mut report = LoginReport { broker: broker.clone(), attempt, ended: false };
            let show = |shown| post(&broker, Event::LoginShown(attempt, shown));
            let ending = login_flow::run(&call, &aws, &tokens, show).await;
            info!(session = call.session.id(), how = ending.word(), "the login ended");
            let signed = matches!(ending, Ending::Signed(_));
            report.end(ending);
            if signed {
                watcher.note_token_written(&Link::SsoSession(call.session), &call.world);
            }
        });
        self.logins().insert(attempt, login.abort_handle());
    }

    /// Gives a login up: somebody signed in by another way.
    pub fn abandon(&self, attempt: AttemptId) {
        if let Some(login) = self.logins().remove(&attempt) {
            login.abort();
        }
    }

    /// Tries a session's token.
    pub fn verify(&self, verify: Verify) {
        let (broker, aws) = (self.broker.clone(), self.configuration.aws());
        tokio::spawn(async move {
            let call = aws.list_accounts(&verify.session, &verify.token.access_token).await;
            let result = call.result.map_err(|evidence| evidence.classify());
            post(&broker, Event::Verified(verify.login, result));
        });
    }

    /// Looks whether AWS is reached.
    pub fn probe(&self, call: ProbeCall) {
        let (broker, aws) = (self.broker.clone(), self.configuration.aws());
        tokio::spawn(async move {
            let result = probe::way_to(&aws, &call.session).await;
            let found = result.as_ref().map_or_else(Failure::line, |()| "AWS is reached".to_owned());
            info!(session = call.session.id(), found, "looked whether a login is worth it");
            post(&broker, Event::Probed(call, result));
        });
    }

    /// Keeps what is to be remembered of a session's logins.
    pub fn remember_login(&self, session: String, history: History) {
        let (state, network) = (self.state.clone(), self.configuration.fingerprint());
        tokio::task::spawn_blocking(move || {
            let remember = |s: &mut State| {
                s.set_login(&session, history);
                s.set_network(network);
            };
            if let Err(failure) = state.update(remember) {
                warn!(cause = failure.message, "a login will be forgotten with this process");
            }
        });
    }

    /// Tells a person, by the program that the user named.
    pub fn notify(&self, notice: &Notice) {
        let program = self.configuration.notify();
        if program.is_empty() {
            return;
        }
        let session = &notice.session;
        let (title, text) = match &notice.shown {
            Some(Shown { url, user_code: Some(code), .. }) => {
                (format!("Sign in to AWS ({session}): code {code}"), url.clone())
            }
            Some(Shown { url, .. }) => (format!("Sign in to AWS ({session})"), url.clone()),
            None => {
                let command = format!("agentctl login --sso-session {}", shell_word(session));
                (format!("AWS: a login to {session} is waited for"), command)
            }
        };
        tokio::task::spawn_blocking(move || {
            if let Err(e) = notification::show(&program, &title, &text) {
                warn!(program = program.join(" "), cause = %e, "a notification was not shown");
            }
        });
    }

    fn logins(&self) -> MutexGuard<'_, BTreeMap<AttemptId, AbortHandle>> {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.retain(|_, login| !login.is_finished());
        logins
    }

    /// Looks at every file that matters, beside the loop.
    pub fn look_at_files(&self) {
        let (watcher, tokens) = (Arc::clone(&self.watcher), self.tokens.clone());
        self.configuration.look(&self.broker);
        watcher.forget_old();
        self.looked.notify_one();
        tokio::spawn(async move {
            watcher.look_at_all().await;
            tokens.retry_disk().await;
        });
    }

    /// The sessions whose token files matter from now on.
    pub fn watch_sessions(&self, sessions: impl Iterator<Item = (NodeId, Link, Arc<World>)>) {
        self.watcher.set_sessions(sessions);
    }
}

/// Posts how a login ended; one whose task dies failed.
struct LoginReport {
    broker: Sender,
    attempt: AttemptId,
    ended: bool,
}

impl LoginReport {
    fn end(&mut self, ending: Ending) {
        self.ended = true;
        post(&self.broker, Event::LoginEnded(self.attempt, ending));
    }
}

impl Drop for LoginReport {
    fn drop(&mut self) {
        if !self.ended {
            let failure = Failure::new(FailureClass::Transient, "the login ended without a result", "run it again");
            self.end(Ending::Failed(failure));
        }
    }
}

fn post(broker: &Sender, event: Event) {
    // When the loop has ended there is nobody left to tell.
    let _ = broker.send(Message::Event(event));
}

/// Posts one outcome: the flow's, or, if its task dies, a failure in its place.
struct Report {
    broker: Sender,
    node: NodeId,
    flight: FlightId,
    posted: bool,
}

impl Report {
    fn post(mut self, outcome: Outcome, server_date: Option<Timestamp>) {
        self.send(outcome, server_date);
    }

    fn send(&mut self, outcome: Outcome, server_date: Option<Timestamp>) {
        self.posted = true;
        post(&self.broker, Event::Fetched { node: self.node, flight: self.flight, outcome, server_date });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.posted {
            self.send(Outcome::Failed(failed(FailureClass::Transient, "the fetch ended without a result", "")), None);
        }
    }
}

fn failed(class: FailureClass, message: &str, fix: &str) -> Verdict {
    Verdict::Failed { failure: Failure::new(class, message, fix), retry_after: None }
}

fn late() -> Outcome {
    Outcome::Failed(failed(FailureClass::Transient, "no answer from AWS in time", ""))
}

fn unsupported(role_arn: &str) -> Failure {
    let message = format!("assuming {role_arn} is not supported by this version");
    Failure::new(
        FailureClass::Misconfigured,
        message,
        "use a profile with sso_session, sso_account_id and sso_role_name",
    )
}

/// One line per fetch, with what decided it. No secret fits into these values.
fn log(what: &str, why: &str, outcome: &Outcome) {
    match outcome {
        Outcome::Got { credential, issued_now } => {
            info!(what, why, issued_now, expires_at = %credential.expires_at(), "renewed");
        }
        Outcome::NotSent(failure) => {
            info!(what, why, class = failure.class.name(), cause = failure.message, "not renewed, and nobody asked");
        }
        Outcome::LoggedOut => info!(what, why, "the token file is gone: logged out"),
        Outcome::Failed(Verdict::TokenRefused) => warn!(what, why, "the portal refused the token"),
        Outcome::Failed(Verdict::Failed { failure, .. }) => {
            let (class, message) = (failure.class.name(), failure.message.as_str());
            if failure.class == FailureClass::NeedsLogin {
                warn!(what, why, class, message, "not renewed");
            } else {
                info!(what, why, class, message, "not renewed");
            }
        }
    }
}
