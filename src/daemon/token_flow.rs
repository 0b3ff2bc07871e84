//! The calls themselves: a role's credentials from the portal, and the rotated-token protocol around CreateToken.
//!
//! The protocol's file half is [`crate::files::refresh`]; here it is driven: blocking steps run in the blocking pool,
//! and between them at most two calls go out (the second only when the first one's answer was lost).

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::warn;

use crate::aws::{Aws, Call};
use crate::core::broker::{Fetch, Outcome};
use crate::core::classify::{Evidence, Signal, Verdict};
use crate::core::credential::{Credential, RefreshGrant, SsoToken};
use crate::core::failure::{Failure, FailureClass};
use crate::core::session::TokenFile;
use crate::core::source::{SsoSession, World};
use crate::core::status::Finding;
use crate::core::time::Timestamp;
use crate::files::Pauses;
use crate::files::refresh::{AfterInvalidGrant, AfterUnknown, Begin, Refresh, RefreshFiles};
use crate::files::state::StateFile;
use crate::files::token_cache::TokenCache;
use crate::files::token_store::{Recovered, Stored};
use crate::platform::clock::Clock;

/// How a flow ended, and what time AWS said it was.
pub type Ended = (Outcome, Option<Timestamp>);

/// Fetches a role's credentials with the session's token.
pub async fn role_flow(aws: &Aws, account_id: &str, role_name: &str, fetch: &Fetch) -> Ended {
    let Some((session, token)) = fetch.session.as_ref().zip(fetch.with.as_ref().and_then(Credential::as_token)) else {
        return (not_sent(FailureClass::Transient, "no SSO token to fetch the role with"), None);
    };
    let call = aws.role_credentials(session, &token.access_token, account_id, role_name).await;
    let server_date = call.server_date.filter(|_| is_from_aws(&call.result));
    let outcome = match call.result {
        Ok(credentials) => Outcome::Got { credential: Credential::Role(Arc::new(credentials)), issued_now: true },
        Err(evidence) => Outcome::Failed(named(evidence.classify(), account_id, role_name)),
    };
    (outcome, server_date)
}

/// Who is denied access wants to know to what: the evidence does not say.
fn named(verdict: Verdict, account_id: &str, role_name: &str) -> Verdict {
    match verdict {
        Verdict::Failed { failure, retry_after } if failure.class == FailureClass::AccessDenied => {
            let role = format!("role {role_name} in account {account_id}");
            let message = failure.message.replacen("this role", &role, 1);
            Verdict::Failed { failure: Failure::new(failure.class, message, failure.fix), retry_after }
        }
        other => other,
    }
}

/// Whether AWS itself answered: a proxy's idea of the time is not AWS's.
fn is_from_aws<T>(result: &Result<T, Evidence>) -> bool {
    match result {
        Ok(_) => true,
        Err(Evidence { signal: Signal::Answer(answer), .. }) => answer.aws_mark,
        Err(_) => false,
    }
}

/// The files' side of renewing sessions. Clones share what was learned: refused tokens, and tokens not yet on disk.
#[derive(Clone)]
pub struct TokenFlow {
    state: StateFile,
    clock: Clock,
    unsaved: Arc<Mutex<Vec<Unsaved>>>,
    /// A session that could not be locked when it was last tried, and why: then none can.
    unlockable: Arc<Mutex<Option<(RefreshFiles, Failure)>>>,
    /// Renewals under way.
    open: watch::Sender<usize>,
    /// The process is about to end: no further call is begun.
    ending: Arc<AtomicBool>,
}

/// Counts one renewal for as long as it lives.
struct OpenRenewal(watch::Sender<usize>);

impl OpenRenewal {
    fn new(open: &watch::Sender<usize>) -> Self {
        open.send_modify(|n| *n += 1);
        Self(open.clone())
    }
}

impl Drop for OpenRenewal {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n = n.saturating_sub(1));
    }
}

/// A renewed token that could not be written and lives in memory alone.
struct Unsaved {
    files: RefreshFiles,
    token: Arc<SsoToken>,
    why: Failure,
    /// Of a login; there was no file.
    first: bool,
}

impl TokenFlow {
    /// `state` keeps our own notes, in the folder of the locks.
    #[must_use]
    pub fn new(state: StateFile, clock: Clock) -> Self {
        Self {
            state,
            clock,
            unsaved: Arc::default(),
            unlockable: Arc::default(),
            open: watch::Sender::new(0),
            ending: Arc::default(),
        }
    }

    /// Reads a session's token file, after settling what a killed agent may have left behind.
    #[must_use]
    pub fn read(&self, session: &SsoSession, world: &World) -> TokenFile {
        let files = self.files(session, world);
        if let Recovered::Adopted(_) = files.recover() {
            warn!(session = session.id(), "adopted a token that an agent had stored before it was killed");
        }
        match files.cache().read() {
            TokenFile::Absent => TokenFile::Absent,
            found => self.unsaved_after(&files, &found).map_or(found, TokenFile::Present),
        }
    }

    /// A token that lives in memory alone and is newer than what the file says: other entries of the broker that share
    /// the file must not send its predecessor's refresh token again.
    fn unsaved_after(&self, files: &RefreshFiles, found: &TokenFile) -> Option<Arc<SsoToken>> {
        let unsaved = self.unsaved();
        let ours = &unsaved.iter().find(|u| u.files.cache().path() == files.cache().path())?.token;
        let newer = match found {
            TokenFile::Present(theirs) => {
                let older = theirs.expires_at <= ours.expires_at && theirs.obtained_at <= ours.obtained_at;
                older && !ours.is_same_grant(theirs)
            }
            TokenFile::Absent => false,
            TokenFile::Unusable(_) => true,
        };
        newer.then(|| Arc::clone(ours))
    }

    /// Whether the token of this file could not be written.
    #[must_use]
    pub fn is_in_memory_alone(&self, path: &Path) -> bool {
        self.unsaved().iter().any(|u| u.files.cache().path() == path)
    }

    fn unsaved(&self) -> MutexGuard<'_, Vec<Unsaved>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unlockable(&self) -> MutexGuard<'_, Option<(RefreshFiles, Failure)>> {
        self.unlockable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self, session: &SsoSession, world: &World) -> RefreshFiles {
        RefreshFiles::new(TokenCache::new(world, session, Pauses::real()), self.state.clone())
    }

    /// Ends well: no further call is begun, and those under way come to their end and are stored.
    pub async fn finish(&self) {
        self.ending.store(true, Ordering::Release);
        // The sender is ours, so it cannot be gone.
        let _ = self.open.subscribe().wait_for(|n| *n == 0).await;
        // What could not be written before perhaps can be now.
        self.retry_disk().await;
        for finding in self.findings() {
            warn!(cause = finding.message, "lost with this process");
        }
    }

    /// Renews a session's token by the rotated-token protocol, in a task of its own: once AWS may have rotated the
    /// token, nobody's deadline may keep the new one from being stored.
    pub async fn renew(&self, aws: &Aws, session: &SsoSession, fetch: &Fetch) -> Ended {
        let (flow, aws, session, fetch) = (self.clone(), aws.clone(), session.clone(), fetch.clone());
        let open = OpenRenewal::new(&self.open);
        let renewal = tokio::spawn(async move {
            let _open = open;
            flow.run(&aws, &session, &fetch).await
        });
        renewal
            .await
            .unwrap_or_else(|_| (not_sent(FailureClass::Transient, "the renewal ended without a result"), None))
    }

    /// Stores the token of a login; one that cannot be written lives in memory until it can.
    pub async fn store_login(&self, session: &SsoSession, world: &World, token: &Arc<SsoToken>) {
        let files = self.files(session, world);
        let (store, to_store) = (files.clone(), Arc::clone(token));
        let stored = blocking(move || {
            store.store_login(&to_store).map_err(|why| (why, store.cache().read() == TokenFile::Absent))
        });
        let stored = stored.await;
        // Whatever lived in memory alone until now has a successor.
        self.unsaved().retain(|u| u.files.cache().path() != files.cache().path());
        if let Some(Err((why, first))) = stored {
            warn!(cause = why.message, "the token of a login lives in memory only");
            self.unsaved().push(Unsaved { files, token: Arc::clone(token), why, first });
        }
    }

    /// Removes a session's token file: the token that it held, and why it stays if it does. What lives in memory alone
    /// is forgotten.
    pub async fn sign_out(&self, session: &SsoSession, world: &World) -> (Option<Arc<SsoToken>>, Result<(), Failure>) {
        let files = self.files(session, world);
        self.unsaved().retain(|u| u.files.cache().path() != files.cache().path());
        let broken = || Failure::new(FailureClass::Transient, "the token file could not be worked on", "try again");
        blocking(move || files.sign_out()).await.unwrap_or_else(|| (None, Err(broken())))
    }

    async fn run(&self, aws: &Aws, session: &SsoSession, fetch: &Fetch) -> Ended {
        let files = self.files(session, &fetch.world);
        let held = fetch.held.as_ref().and_then(Credential::as_token).cloned();
        if let Some(held) = &held
            && let Some(newer) = self.unsaved_after(&files, &TokenFile::Present(Arc::clone(held)))
        {
            return (adopted(newer), None);
        }
        let now = self.clock.wall();
        let known = files.clone();
        match blocking(move || known.begin(held.as_ref(), now)).await {
            None => (not_sent(FailureClass::Transient, "the token files could not be worked on"), None),
            Some(Begin::Adopted(token)) => (adopted(token), None),
            Some(Begin::LoggedOut) => (Outcome::LoggedOut, None),
            Some(Begin::NoGrant) => (not_sent(FailureClass::NeedsLogin, NO_GRANT), None),
            Some(Begin::Refused) => (not_sent(FailureClass::NeedsLogin, REFUSED), None),
            Some(Begin::Unusable(failure)) => (Outcome::NotSent(failure), None),
            Some(Begin::Unlockable(failure)) => {
                *self.unlockable() = Some((files, failure.clone()));
                (Outcome::NotSent(failure), None)
            }
            Some(Begin::Call(refresh)) => self.call(aws, session, files, refresh).await,
        }
    }

    /// Tries again what the disk did not allow: to lock, and to store what lives in memory alone.
    pub async fn retry_disk(&self) {
        let unlockable = self.unlockable().as_ref().map(|(files, _)| files.clone());
        if let Some(files) = unlockable
            && let Some(still) = blocking(move || files.check_lock().err().map(|failure| (files, failure))).await
        {
            *self.unlockable() = still;
        }
        let waiting: Vec<_> = self.unsaved().iter().map(|u| (u.files.clone(), Arc::clone(&u.token), u.first)).collect();
        for (files, token, first) in waiting {
            let to_store = Arc::clone(&token);
            let stored = blocking(move || files.store_again(&to_store, first)).await;
            if !matches!(stored, None | Some(Stored::MemoryOnly(..))) {
                // A still newer one may have come in its place meanwhile.
                self.unsaved().retain(|u| !Arc::ptr_eq(&u.token, &token));
            }
        }
    }

    /// What lives in memory alone, and what stands in the way of renewing.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let finding = |u: &Unsaved| {
            Finding::new(
                "token-not-stored",
                format!("an SSO token lives in memory only: {}", u.why.message),
                "make room, or make the folder writable: it is tried again every 30 s",
            )
        };
        let unlockable = self.unlockable().as_ref().map(|(_, why)| {
            Finding::new("state-not-writable", format!("no session can be renewed: {}", why.message), &why.fix)
        });
        self.unsaved().iter().map(finding).chain(unlockable).collect()
    }

    fn stored(&self, files: RefreshFiles, stored: Option<Stored>) -> Outcome {
        // Whatever lived in memory alone until now has a successor.
        self.unsaved().retain(|u| u.files.cache().path() != files.cache().path());
        let issued = |token| Outcome::Got { credential: Credential::Token(token), issued_now: true };
        match stored {
            Some(Stored::Written(token)) => issued(token),
            Some(Stored::AdoptedOther(token)) => adopted(token),
            Some(Stored::LoggedOut) => Outcome::LoggedOut,
            Some(Stored::MemoryOnly(token, failure)) => {
                warn!(cause = failure.message, "the renewed token lives in memory only");
                self.unsaved().push(Unsaved { files, token: Arc::clone(&token), why: failure, first: false });
                issued(token)
            }
            None => not_sent(FailureClass::Transient, "the renewed token could not be stored"),
        }
    }

    async fn call(&self, aws: &Aws, session: &SsoSession, files: RefreshFiles, mut refresh: Box<Refresh>) -> Ended {
        if let Some(warning) = refresh.warning() {
            warn!(cause = warning.message, "a renewal could not be noted in the state folder");
        }
        loop {
            if self.ending.load(Ordering::Acquire) {
                // The note "in flight" stays: a first call may have reached AWS.
                drop(refresh);
                return (not_sent(FailureClass::Transient, "the agent is stopping"), None);
            }
            let Call { result, server_date } = aws.create_token(session, refresh.grant()).await;
            let server_date = server_date.filter(|_| is_from_aws(&result));
            let evidence = match result {
                Ok(new) => {
                    let obtained_at = self.clock.wall();
                    let token = SsoToken {
                        access_token: new.access_token,
                        expires_at: server_date.unwrap_or(obtained_at).plus(new.expires_in),
                        refresh: new
                            .refresh_token
                            .map(|refresh_token| RefreshGrant { refresh_token, ..refresh.grant().clone() }),
                        client_id: Some(refresh.grant().client_id.clone()),
                        obtained_at,
                    };
                    let stored = blocking(move || refresh.finish_success(token)).await;
                    return (self.stored(files, stored), server_date);
                }
                Err(evidence) => evidence,
            };
            if !evidence.outcome_unknown() {
                return (answered(&evidence, refresh).await, server_date);
            }
            match blocking(move || refresh.finish_unknown()).await {
                Some(AfterUnknown::RetryOnce(again)) => refresh = again,
                Some(AfterUnknown::Adopted(token)) => return (adopted(token), server_date),
                Some(AfterUnknown::LoggedOut) => return (Outcome::LoggedOut, server_date),
                Some(AfterUnknown::GiveUp) | None => return (Outcome::Failed(evidence.classify()), server_date),
            }
        }
    }
}

/// AWS, or somebody in its place, said no.
async fn answered(evidence: &Evidence, refresh: Box<Refresh>) -> Outcome {
    let verdict = evidence.classify();
    let refused = matches!(&verdict, Verdict::Failed { failure, .. } if failure.class == FailureClass::NeedsLogin);
    if !refused {
        blocking(move || refresh.finish_failed()).await;
        return Outcome::Failed(verdict);
    }
    match blocking(move || refresh.finish_invalid_grant()).await {
        Some(AfterInvalidGrant::Adopted(token)) => adopted(token),
        Some(AfterInvalidGrant::LoggedOut) => Outcome::LoggedOut,
        Some(AfterInvalidGrant::Refused) | None => Outcome::Failed(verdict),
    }
}

fn adopted(token: Arc<SsoToken>) -> Outcome {
    Outcome::Got { credential: Credential::Token(token), issued_now: false }
}

const NO_GRANT: &str = "the SSO session cannot be renewed: its token has no refresh token \
                        (set sso_registration_scopes = sso:account:access)";
const REFUSED: &str = "AWS has ended this SSO session";

fn not_sent(class: FailureClass, message: &str) -> Outcome {
    Outcome::NotSent(Failure::new(class, message, ""))
}

/// Runs a blocking step in the pool; `None` if it panicked.
async fn blocking<T: Send + 'static>(step: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(step).await.ok()
}
