//! One renewal of an SSO token, as a sequence that the daemon drives (the rotated-token protocol).
//!
//! ```text
//! RefreshFiles::begin ─┬─▶ Adopted / LoggedOut / NoGrant / Refused / Unusable / Unlockable
//!                      └─▶ Call(refresh) ── the daemon calls CreateToken with refresh.grant() ──┐
//!        ┌──────────────────┬──────────────────────────┬──────────────────────┬─────────────────┘
//!   finish_success   finish_invalid_grant       finish_unknown          finish_failed
//!   (step 6)         (step 7)                   (step 8: one retry)     (nothing was used up)
//! ```
//!
//! A [`Refresh`] holds the session's lock from before the call until its outcome is on disk, so agents of one user
//! never send the same refresh token side by side. Against tools that know no lock there is re-reading at each step.
//! Dropping a [`Refresh`] without an outcome releases the lock and leaves the note "in flight".
//!
//! Everything here blocks (on disk, on the lock, on pauses): run it in the blocking pool.

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::lock::{Lock, LockError};
use super::state::{Fingerprint, StateFile};
use super::token_cache::{Look, TokenCache};
use super::token_store::{self, Before, Recovered, Stored};
use super::{atomic, pause};
use crate::core::credential::{RefreshGrant, SsoToken};
use crate::core::failure::{Failure, FailureClass};
use crate::core::time::Timestamp;
use crate::platform::folder;

/// A logout tries this often for the lock: 2 s.
const LOGOUT_TRIES: usize = 60;

/// The files of one session's renewals.
#[derive(Clone, Debug)]
pub struct RefreshFiles {
    cache: TokenCache,
    state: StateFile,
}

/// How a renewal begins.
#[derive(Debug)]
pub enum Begin {
    /// Another tool renewed it, or the caller held nothing: this is what the file says. No call is needed.
    Adopted(Arc<SsoToken>),
    /// The file is gone: nobody is logged in.
    LoggedOut,
    /// There is no refresh token: only a login helps.
    NoGrant,
    /// AWS refused every refresh token that there is; they are not sent again.
    Refused,
    /// The files are in a bad way, or another agent is at work; nothing was sent.
    Unusable(Failure),
    /// The state folder has no place for the lock, so nothing was sent: no session can be renewed until that changes.
    Unlockable(Failure),
    /// Call CreateToken with [`Refresh::grant`], then finish.
    Call(Box<Refresh>),
}

/// What InvalidGrant turns out to mean.
#[derive(Debug, PartialEq, Eq)]
pub enum AfterInvalidGrant {
    /// Another tool was faster: this is its token.
    Adopted(Arc<SsoToken>),
    /// The file is gone.
    LoggedOut,
    /// AWS ended this session: its refresh token is never sent again. The access token lives to its end.
    Refused,
}

/// What a lost answer turns out to mean.
#[derive(Debug)]
pub enum AfterUnknown {
    /// Another tool renewed it meanwhile.
    Adopted(Arc<SsoToken>),
    /// The file is gone.
    LoggedOut,
    /// Call once more with the same grant.
    RetryOnce(Box<Refresh>),
    /// That was the second time: back off.
    GiveUp,
}

/// A renewal under way. Holds the session's lock.
#[derive(Debug)]
#[must_use = "finish it with its outcome"]
pub struct Refresh {
    files: RefreshFiles,
    grant: RefreshGrant,
    sent: Fingerprint,
    /// The file's text when the renewal began.
    seen: Option<Zeroizing<String>>,
    /// When the token that is renewed ends.
    old_expiry: Timestamp,
    interrupted: bool,
    retried: bool,
    warning: Option<Failure>,
    _lock: Lock,
}

impl RefreshFiles {
    /// The files of the session behind `cache`.
    #[must_use]
    pub const fn new(cache: TokenCache, state: StateFile) -> Self {
        Self { cache, state }
    }

    /// The token file.
    #[must_use]
    pub const fn cache(&self) -> &TokenCache {
        &self.cache
    }

    /// At the start of an agent: settles what a killed one left behind. Does nothing while another agent is renewing.
    #[must_use]
    pub fn recover(&self) -> Recovered {
        match self.lock(&[]) {
            Ok(_lock) => token_store::recover(&self.cache),
            Err(_) => Recovered::Nothing,
        }
    }

    /// Steps 1 to 4: read, lock, read again, note the call. `held` is the token that the caller wants renewed; without
    /// one the file's token is always [`Begin::Adopted`].
    #[must_use]
    pub fn begin(&self, held: Option<&Arc<SsoToken>>, now: Timestamp) -> Begin {
        if let Err(answer) = self.judge(held) {
            return answer;
        }
        let lock = match self.lock(&self.cache.pauses().locked) {
            Ok(lock) => lock,
            Err(NoLock::Busy(failure)) => return Begin::Unusable(failure),
            Err(NoLock::Impossible(failure)) => return Begin::Unlockable(failure),
        };
        token_store::recover(&self.cache);
        let (on_disk, seen) = match self.judge(held) {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        let tokens = [held, on_disk.as_ref()];
        let mut grants = tokens.iter().filter_map(|t| t.and_then(|t| t.refresh.as_ref())).peekable();
        if grants.peek().is_none() {
            return Begin::NoGrant;
        }
        let unrefused = grants.map(|g| (g, Fingerprint::of(&g.refresh_token))).find(|(_, f)| !self.state.is_refused(f));
        let Some((grant, sent)) = unrefused else { return Begin::Refused };
        let interrupted = self.state.load().0.in_flight(&sent).is_some();
        let warning = self.state.update(|state| state.depart(&sent, now)).err();
        let old_expiry = tokens.iter().flatten().map(|t| t.expires_at).max().unwrap_or_default();
        let grant = grant.clone();
        let files = self.clone();
        Begin::Call(Box::new(Refresh {
            files,
            grant,
            sent,
            seen,
            old_expiry,
            interrupted,
            retried: false,
            warning,
            _lock: lock,
        }))
    }

    /// Stores the token of a login in the place of whatever is there, as the AWS CLI does.
    ///
    /// # Errors
    /// The folder, the lock or the disk: then it lives in memory alone.
    pub fn store_login(&self, token: &SsoToken) -> Result<(), Failure> {
        let _lock = self.lock(&self.cache.pauses().locked)?;
        token_store::replace(&self.cache, token)
    }

    /// Removes the token file, as a logout of the AWS CLI does. The token that was in it, and why it stays if it does.
    ///
    /// A renewal under way is waited for, yet not for long: it finds no file and stores nothing.
    pub fn sign_out(&self) -> (Option<Arc<SsoToken>>, Result<(), Failure>) {
        let pauses = &self.cache.pauses().locked;
        let _lock = self.lock(&pauses[..pauses.len().min(LOGOUT_TRIES)]);
        token_store::remove(&self.cache)
    }

    /// Stores a token again that so far lives in memory alone ([`Stored::MemoryOnly`]); `first`: it is a login's, and
    /// there was no file that somebody could have removed since.
    #[must_use]
    pub fn store_again(&self, token: &Arc<SsoToken>, first: bool) -> Stored {
        let in_memory = |why| Stored::MemoryOnly(Arc::clone(token), why);
        match self.lock(&self.cache.pauses().locked) {
            Ok(_lock) if first && matches!(self.cache.look(), Look::Absent) => {
                token_store::replace(&self.cache, token).map_or_else(in_memory, |()| Stored::Written(Arc::clone(token)))
            }
            Ok(_lock) => token_store::store(&self.cache, Before::default(), token),
            Err(why) => in_memory(why.into()),
        }
    }

    /// What the file says compared to what is held: the answer, or else what the file says.
    fn judge(&self, held: Option<&Arc<SsoToken>>) -> Result<OnDisk, Begin> {
        let look = if held.is_some() { self.cache.look_known() } else { self.cache.look() };
        match (look, held) {
            (Look::Absent, _) => {
                // A journal of a session that was logged out must not come back with the next login.
                if let Ok(_lock) = self.lock(&[]) {
                    let _ = atomic::remove(&self.cache.journal());
                }
                Err(Begin::LoggedOut)
            }
            (Look::Unusable(failure), _) => Err(Begin::Unusable(failure)),
            (Look::Broken { text, .. }, Some(_)) => Ok((None, text)),
            (Look::Broken { failure, .. }, None) => Err(Begin::Unusable(failure)),
            (Look::Token { token, .. }, None) => Err(Begin::Adopted(token)),
            (Look::Token { token, .. }, Some(held)) if is_newer(&token, held) => Err(Begin::Adopted(token)),
            (Look::Token { token, text }, Some(_)) => Ok((Some(token), Some(text))),
        }
    }

    /// Why this session cannot be locked, whoever holds the lock now.
    ///
    /// # Errors
    /// As [`Begin::Unlockable`].
    pub fn check_lock(&self) -> Result<(), Failure> {
        match self.lock(&[]) {
            Ok(_) | Err(NoLock::Busy(_)) => Ok(()),
            Err(NoLock::Impossible(failure)) => Err(failure),
        }
    }

    fn lock(&self, pauses: &[std::time::Duration]) -> Result<Lock, NoLock> {
        folder::ensure_private(self.state.folder()).map_err(NoLock::Impossible)?;
        let path = self.lock_path();
        let failure = |why: String, fix| Failure::new(FailureClass::Transient, why, fix);
        Lock::acquire(&path, pauses).map_err(|e| match e {
            LockError::Busy => NoLock::Busy(failure("another agent is renewing this SSO session".to_owned(), "")),
            LockError::Io(e) => {
                let fix = "make room, or make its folder writable: no session is renewed without its lock";
                NoLock::Impossible(failure(format!("{} cannot be locked: {e}", path.display()), fix))
            }
        })
    }

    /// One lock per token file, whatever path leads to it.
    fn lock_path(&self) -> PathBuf {
        let file = self.cache.path();
        let folder = file.parent().and_then(|f| f.canonicalize().ok());
        let real = folder.and_then(|f| file.file_name().map(|name| f.join(name))).unwrap_or(file);
        let digest = Sha256::digest(real.as_os_str().as_encoded_bytes());
        let name: String = digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
        self.state.folder().join(format!("refresh-{name}.lock"))
    }
}

/// Why there is no lock.
#[derive(Debug)]
enum NoLock {
    Busy(Failure),
    Impossible(Failure),
}

impl From<NoLock> for Failure {
    fn from(why: NoLock) -> Self {
        match why {
            NoLock::Busy(failure) | NoLock::Impossible(failure) => failure,
        }
    }
}

/// The file's token and text: no token while it is broken, no text while it is torn.
type OnDisk = (Option<Arc<SsoToken>>, Option<Zeroizing<String>>);

/// Whether another tool replaced what is held: by something that lives longer, or by another login (a refresh never
/// changes the client).
fn is_newer(on_disk: &SsoToken, held: &SsoToken) -> bool {
    let another_login = on_disk.client_id.is_some() && on_disk.client_id != held.client_id;
    on_disk.access_token != held.access_token && (another_login || on_disk.expires_at > held.expires_at)
}

impl Refresh {
    /// What to call CreateToken with.
    #[must_use]
    pub const fn grant(&self) -> &RefreshGrant {
        &self.grant
    }

    /// Whether an earlier call with this grant never came to an outcome (the agent was killed in between): a refusal
    /// may then mean that the answer was lost.
    #[must_use]
    pub const fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Why the call could not be noted on disk, if so: worth reporting, no reason not to call.
    #[must_use]
    pub const fn warning(&self) -> Option<&Failure> {
        self.warning.as_ref()
    }

    /// Step 6: stores the new token before anybody uses it. When AWS sent no refresh token, the old one goes on.
    #[must_use]
    pub fn finish_success(self, new: SsoToken) -> Stored {
        let refresh = new.refresh.clone().or_else(|| Some(self.grant.clone()));
        let token = Arc::new(SsoToken { refresh, ..new });
        let before = Before { text: self.seen.clone(), expires_at: Some(self.old_expiry) };
        let stored = token_store::store(&self.files.cache, before, &token);
        self.land();
        stored
    }

    /// Step 7: AWS refused the grant. First of all that means that another tool may have used it and is just storing
    /// its successor. Blocks for 2 s at most.
    #[must_use]
    pub fn finish_invalid_grant(self) -> AfterInvalidGrant {
        // Renames of others leave gaps: a logout is a file that stays away.
        let mut gone = true;
        for time in &self.files.cache.pauses().refused {
            pause(*time);
            match self.files.cache.look() {
                Look::Token { token, .. } if self.is_successor(&token) => {
                    // A fact about this token all the same: if it ever comes back, it is not sent.
                    let _ = self.files.state.refuse(&self.sent);
                    return AfterInvalidGrant::Adopted(token);
                }
                look => gone &= matches!(look, Look::Absent),
            }
        }
        let _ = self.files.state.refuse(&self.sent);
        if gone { AfterInvalidGrant::LoggedOut } else { AfterInvalidGrant::Refused }
    }

    /// Step 8: the request may have reached AWS, and no answer came.
    #[must_use]
    pub fn finish_unknown(mut self: Box<Self>) -> AfterUnknown {
        match self.files.cache.look_known() {
            Look::Token { token, .. } if self.is_successor(&token) => {
                self.land();
                return AfterUnknown::Adopted(token);
            }
            Look::Absent => return AfterUnknown::LoggedOut,
            _ => {}
        }
        if self.retried {
            return AfterUnknown::GiveUp;
        }
        self.retried = true;
        AfterUnknown::RetryOnce(self)
    }

    /// Any other failure: AWS answered without using the grant, or was never reached.
    pub fn finish_failed(self) {
        self.land();
    }

    /// Another tool's work: another refresh token that AWS has not refused, or a longer life.
    fn is_successor(&self, token: &SsoToken) -> bool {
        let other_grant = token.refresh.as_ref().is_some_and(|grant| {
            let found = Fingerprint::of(&grant.refresh_token);
            found != self.sent && !self.files.state.is_refused(&found)
        });
        other_grant || token.expires_at > self.old_expiry
    }

    /// A note that cannot be removed makes the next renewal believe in an interruption, which changes no decision.
    fn land(&self) {
        let _ = self.files.state.update(|state| state.land(&self.sent));
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
