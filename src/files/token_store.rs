//! Writing a renewed token back, so that a rotated refresh token is never lost (the rotated-token protocol, step
//! 6).
//!
//! The new token is first a file of its own in the AWS cache folder: the *journal*. It has mode 0600 from birth, a
//! fixed name per session, and is flushed before anything else happens, so from then on a crash loses nothing. Only
//! then do we look at the file of the AWS tools again, and the journal takes its name if nobody wrote something better
//! meanwhile. Secrets thus live in one folder only, the one where the AWS tools keep them.
//!
//! All functions here expect the session's refresh lock to be held.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::atomic;
use super::token_cache::{Look, TokenCache, look_once};
use crate::core::credential::SsoToken;
use crate::core::failure::{Failure, FailureClass};
use crate::core::sso_cache;
use crate::core::time::Timestamp;

/// What became of a renewed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is in the file.
    Written(Arc<SsoToken>),
    /// Another tool wrote one that lives longer: use that.
    AdoptedOther(Arc<SsoToken>),
    /// The file is gone: somebody logged out meanwhile. Nothing was written.
    LoggedOut,
    /// It could not be written and lives in memory alone: use it, report the failure, and store it again later.
    MemoryOnly(Arc<SsoToken>, Failure),
}

/// What became of a journal that a killed process left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// There was none.
    Nothing,
    /// It was newer than the file and took its place.
    Adopted(Arc<SsoToken>),
    /// It was older, torn, or of a session that was logged out, and is gone.
    Discarded,
}

/// How often a file that others keep changing is looked at before we write all the same.
const ROUNDS: usize = 5;

/// What the file was when the renewal began.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Its text; `None`: it was torn.
    pub(super) text: Option<Zeroizing<String>>,
    /// When the token that was renewed ends; `None`: nobody knows any more.
    pub(super) expires_at: Option<Timestamp>,
}

/// Stores `token`, the renewal of what was there `before`.
pub(super) fn store(cache: &TokenCache, before: Before, token: &Arc<SsoToken>) -> Stored {
    let (mut previous, mut token) = (before.text, Arc::clone(token));
    for _ in 0..ROUNDS {
        let text = sso_cache::render(previous.as_deref().map(String::as_str), &token, cache.session());
        if let Err(e) = atomic::write_new(&cache.journal(), text.as_bytes()) {
            return in_memory(cache, &token, &e);
        }
        match cache.look_known() {
            Look::Absent => {
                let _ = atomic::remove(&cache.journal());
                return Stored::LoggedOut;
            }
            Look::Unusable(failure) => return Stored::MemoryOnly(token, failure),
            Look::Broken { text: None, .. } => {}
            Look::Token { text, .. } | Look::Broken { text: Some(text), .. } if previous.as_ref() == Some(&text) => {}
            Look::Token { token: theirs, text } if prevails(&theirs, &token, before.expires_at) => {
                let completed = Arc::clone(&theirs).inheriting(&token);
                if Arc::ptr_eq(&completed, &theirs) {
                    let _ = atomic::remove(&cache.journal());
                    return Stored::AdoptedOther(theirs);
                }
                // Ours has the refresh token that theirs lacks: both are kept.
                (previous, token) = (Some(text), completed);
                continue;
            }
            // Changed, but not by a better token: take over what they wrote beside it, and look again.
            Look::Token { text, .. } | Look::Broken { text: Some(text), .. } => {
                previous = Some(text);
                continue;
            }
        }
        // As we know it, or torn.
        match take_place(cache, previous.as_ref()) {
            Ok(true) => return Stored::Written(token),
            Ok(false) => {}
            Err(e) => return in_memory(cache, &token, &e),
        }
    }
    match atomic::rename_over(&cache.journal(), &cache.path()) {
        Ok(()) => Stored::Written(token),
        Err(e) => in_memory(cache, &token, &e),
    }
}

/// Makes `token` what the file says, whatever it said before. Nothing of an older login stays: its refresh token is not
/// this one's.
pub(super) fn replace(cache: &TokenCache, token: &SsoToken) -> Result<(), Failure> {
    let text = sso_cache::render(None, token, cache.session());
    let (journal, file) = (cache.journal(), cache.path());
    let stored = atomic::make_private_parent(&file)
        .and_then(|()| atomic::write_new(&journal, text.as_bytes()))
        .and_then(|()| atomic::rename_over(&journal, &file));
    stored.map_err(|e| {
        let message = format!("the SSO token cannot be stored in {}: {e}", file.display());
        let fix = "see whether the disk is full or read-only; until then a restart loses the session";
        Failure::new(FailureClass::Transient, message, fix)
    })
}

/// Removes the file and whatever is on its way into it: the token that it held, and why it stays if it does.
pub(super) fn remove(cache: &TokenCache) -> (Option<Arc<SsoToken>>, Result<(), Failure>) {
    let token = match cache.look() {
        Look::Token { token, .. } => Some(token),
        Look::Absent | Look::Broken { .. } | Look::Unusable(_) => None,
    };
    let (journal, file) = (cache.journal(), cache.path());
    // What is in the way of one keeps none of the others.
    let removed = [atomic::beside(&journal), journal, file.clone()].map(|path| atomic::remove(&path));
    let why = |e| {
        let message = format!("the token file {} cannot be removed: {e}", file.display());
        Failure::new(FailureClass::Transient, message, "remove it by hand")
    };
    (token, removed.into_iter().collect::<std::io::Result<()>>().map_err(why))
}

/// Whether what another tool wrote meanwhile is to stay. `renewed` is when the token ended that we renewed.
fn prevails(theirs: &SsoToken, ours: &SsoToken, renewed: Option<Timestamp>) -> bool {
    // A refresh never changes the client: somebody logged in.
    let another_login = theirs.client_id.is_some() && theirs.client_id != ours.client_id;
    // It is newer than what we set out from, so somebody logged in or refreshed beside us; whatever lives shorter was
    // only written back. To undo a login would be worse than to waste our own refresh.
    let newer = renewed.is_some_and(|end| theirs.expires_at > end);
    another_login || newer || theirs.expires_at > ours.expires_at
}

/// Gives the journal the file's name. `false`: the file was not what we had looked at any more, and is as it was.
///
/// Between the last look and a rename another tool may write or log out, and neither may be undone. So the two are
/// exchanged, which fails where there is no file, and what was displaced is looked at once more.
fn take_place(cache: &TokenCache, expected: Option<&Zeroizing<String>>) -> std::io::Result<bool> {
    let (journal, file) = (cache.journal(), cache.path());
    match atomic::exchange(&journal, &file) {
        Ok(true) => {}
        Ok(false) => return atomic::rename_over(&journal, &file).map(|()| true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    }
    // Who is writing in place goes on in the displaced file.
    let untouched = match cache.look_at(&journal) {
        Look::Token { text, .. } | Look::Broken { text: Some(text), .. } => expected == Some(&text),
        Look::Broken { text: None, .. } | Look::Absent | Look::Unusable(_) => true,
    };
    if untouched {
        // One that stays is older than the file: it is not adopted.
        let _ = atomic::remove(&journal);
        return Ok(true);
    }
    // Where it is gone again by now, somebody logged out: then this is not wanted any more either.
    match atomic::exchange(&journal, &file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        other => other.map(|_| false),
    }
}

fn in_memory(cache: &TokenCache, token: &Arc<SsoToken>, error: &std::io::Error) -> Stored {
    let message = format!("the renewed SSO token cannot be stored in {}: {error}", cache.path().display());
    let fix = "see whether the disk is full or read-only; until then a restart loses the session";
    Stored::MemoryOnly(Arc::clone(token), Failure::new(FailureClass::Transient, message, fix))
}

/// Settles a journal that was left behind: adopted if it is no older than the file by expiry and by age, else deleted.
/// With no file beside it, it is deleted: somebody logged out.
pub(super) fn recover(cache: &TokenCache) -> Recovered {
    let journal = cache.journal();
    // What was to replace a journal held the same token as the journal does.
    let _ = atomic::remove(&atomic::beside(&journal));
    let discard = || match atomic::remove(&journal) {
        Ok(()) => Recovered::Discarded,
        Err(_) => Recovered::Nothing,
    };
    let ours = match look_once(&journal) {
        Look::Absent => return Recovered::Nothing,
        Look::Broken { .. } | Look::Unusable(_) => return discard(),
        Look::Token { token, .. } => token,
    };
    let newer = match cache.look_known() {
        Look::Absent => false,
        Look::Broken { .. } => true,
        // Keep it until the file can be judged.
        Look::Unusable(_) => return Recovered::Nothing,
        Look::Token { token: theirs, .. } => {
            ours.expires_at >= theirs.expires_at && ours.obtained_at >= theirs.obtained_at
        }
    };
    if !newer {
        return discard();
    }
    match atomic::rename_over(&journal, &cache.path()) {
        Ok(()) => Recovered::Adopted(ours),
        // Not now; it is the only copy, so it stays for the next try.
        Err(_) => Recovered::Nothing,
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::files::testing::{Fixture, text, token};

    /// The file was this, and the token in it ends at hour 1.
    fn seen(text: &str) -> Before {
        Before { text: Some(Zeroizing::new(text.to_owned())), expires_at: Some(token("", "", 1).expires_at) }
    }

    const FILE: &str = "ee0bfd2552fbd840c02cc48b6e823320543c450f.json";

    #[test]
    fn an_unchanged_file_is_replaced_and_keeps_what_is_not_ours() {
        let fixture = Fixture::new();
        let old = text("at1", "rt1", 1);
        fixture.write(&old);
        let renewed = Arc::new(token("at2", "rt2", 9));
        assert_eq!(store(&fixture.cache, seen(&old), &renewed), Stored::Written(Arc::clone(&renewed)));
        let written = fs::read_to_string(fixture.cache.path()).unwrap();
        assert!(written.starts_with(r#"{"toolsOwn":{"x":1},"accessToken":"at2","#), "{written}");
        assert_eq!(fixture.on_disk().refresh, renewed.refresh);
        assert_eq!(fs::metadata(fixture.cache.path()).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fixture.names(), [FILE]);
    }

    #[test]
    fn a_logout_removes_what_it_can() {
        let fixture = Fixture::new();
        fixture.write(&text("at1", "rt1", 1));
        fs::create_dir(fixture.cache.journal()).unwrap();
        let (token, removed) = remove(&fixture.cache);
        assert_eq!(token.unwrap().access_token.expose(), "at1");
        assert!(removed.is_err() && !fixture.cache.path().exists(), "{removed:?}");
        fs::remove_dir(fixture.cache.journal()).unwrap();
        assert_eq!(remove(&fixture.cache), (None, Ok(())));
    }

    #[test]
    fn a_torn_file_is_replaced() {
        let fixture = Fixture::new();
        fixture.write("{\"accessToken\": \"a");
        let renewed = Arc::new(token("at2", "rt2", 9));
        assert!(matches!(store(&fixture.cache, seen(&text("at1", "rt1", 1)), &renewed), Stored::Written(_)));
        assert_eq!(fixture.on_disk().access_token.expose(), "at2");
    }

    #[test]
    fn a_whole_file_that_is_no_token_is_replaced_and_keeps_what_is_not_ours() {
        for broken in [r#"{"toolsOwn":1}"#, r#"{"toolsOwn":1,"accessToken":"at","expiresAt":"never"}"#] {
            let fixture = Fixture::new();
            fixture.write(broken);
            let renewed = Arc::new(token("at2", "rt2", 9));
            assert!(matches!(store(&fixture.cache, seen(&text("at1", "rt1", 1)), &renewed), Stored::Written(_)));
            assert!(fs::read_to_string(fixture.cache.path()).unwrap().starts_with(r#"{"toolsOwn":1,"#));
            assert_eq!(fixture.on_disk().access_token.expose(), "at2");
        }
    }

    #[test]
    fn a_journal_is_never_gone_while_it_is_written_anew() {
        let fixture = Fixture::new();
        fixture.write(&text("at1", "rt1", 1));
        fs::write(fixture.cache.journal(), text("at2", "rt2", 9)).unwrap();
        // A folder in the way of the new one works for root too, unlike a mode.
        fs::create_dir(atomic::beside(&fixture.cache.journal())).unwrap();
        assert!(matches!(
            store(&fixture.cache, Before::default(), &Arc::new(token("at2", "rt2", 9))),
            Stored::MemoryOnly(..)
        ));
        assert!(matches!(recover(&fixture.cache), Recovered::Adopted(_)), "the only copy was lost");
    }

    #[test]
    fn what_is_newer_than_the_renewed_token_stays() {
        let fixture = Fixture::new();
        let renewed = Arc::new(token("ours", "rt2", 9));
        for hour in [2, 9, 10] {
            fixture.write(&text("theirs", "rt3", hour));
            let Stored::AdoptedOther(theirs) = store(&fixture.cache, seen(&text("at1", "rt1", 1)), &renewed) else {
                panic!("theirs was lost")
            };
            assert_eq!((theirs.access_token.expose(), fixture.names()), ("theirs", vec![FILE.to_owned()]));
        }
    }

    #[test]
    fn what_was_only_written_back_gives_way_and_its_keys_stay() {
        let fixture = Fixture::new();
        let renewed = Arc::new(token("ours", "rt2", 9));
        fixture.write(&text("at1", "rt1", 1).replace("toolsOwn", "newKey"));
        assert!(matches!(store(&fixture.cache, seen(&text("at1", "rt1", 1)), &renewed), Stored::Written(_)));
        assert!(fs::read_to_string(fixture.cache.path()).unwrap().starts_with(r#"{"newKey":{"x":1},"#));
        assert_eq!(fixture.on_disk().access_token.expose(), "ours");
        // Nobody knows any more what was renewed: the later expiry wins.
        fixture.write(&text("theirs", "rt3", 8));
        assert!(matches!(store(&fixture.cache, Before::default(), &renewed), Stored::Written(_)));
        assert_eq!(fixture.names(), [FILE]);
    }

    #[test]
    fn another_login_is_never_undone_however_short_it_lives() {
        let fixture = Fixture::new();
        let renewed = Arc::new(token("ours", "rt2", 9));
        for before in [seen(&text("at1", "rt1", 1)), Before::default()] {
            fixture.write(&text("theirs", "rt3", 1).replace(r#""clientId":"client""#, r#""clientId":"other""#));
            assert!(matches!(store(&fixture.cache, before, &renewed), Stored::AdoptedOther(_)));
            assert_eq!(fixture.on_disk().access_token.expose(), "theirs");
        }
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn what_came_after_the_last_look_is_not_overwritten() {
        let fixture = Fixture::new();
        let (old, theirs) = (text("at1", "rt1", 1), text("theirs", "rt3", 5));
        let (journal, file) = (fixture.cache.journal(), fixture.cache.path());
        fs::write(&journal, text("ours", "rt2", 9)).unwrap();
        let expected = seen(&old).text;
        assert!(!take_place(&fixture.cache, expected.as_ref()).unwrap(), "a logout");
        assert!(!file.exists() && journal.exists());
        fixture.write(&theirs);
        assert!(!take_place(&fixture.cache, expected.as_ref()).unwrap(), "another tool's token");
        assert_eq!((fs::read_to_string(&file).unwrap(), fixture.names().len()), (theirs, 2));
        fixture.write(&old);
        assert!(take_place(&fixture.cache, expected.as_ref()).unwrap());
        assert_eq!((fixture.on_disk().access_token.expose(), fixture.names()), ("ours", vec![FILE.to_owned()]));
    }

    #[test]
    fn a_refresh_token_that_a_longer_lived_token_lacks_is_not_lost() {
        let fixture = Fixture::new();
        let renewed = Arc::new(token("ours", "rt2", 9));
        fixture.write(&text("theirs", "", 10));
        let Stored::Written(kept) = store(&fixture.cache, seen(&text("at1", "rt1", 1)), &renewed) else {
            panic!("not written")
        };
        let on_disk = fixture.on_disk();
        assert_eq!((on_disk.access_token.expose(), &on_disk.refresh), ("theirs", &kept.refresh));
        assert_eq!(on_disk.refresh.as_ref().unwrap().refresh_token.expose(), "rt2");
        // Of another client it is no use.
        fixture.write(&text("theirs", "", 11).replace(r#""clientId":"client""#, r#""clientId":"other""#));
        assert!(matches!(store(&fixture.cache, Before::default(), &renewed), Stored::AdoptedOther(_)));
    }

    #[test]
    fn a_logout_is_never_undone() {
        let fixture = Fixture::new();
        let renewed = Arc::new(token("at2", "rt2", 9));
        assert_eq!(store(&fixture.cache, seen(&text("at1", "rt1", 1)), &renewed), Stored::LoggedOut);
        assert_eq!(fixture.names(), [""; 0]);
    }

    #[test]
    fn what_cannot_be_written_lives_in_memory() {
        let fixture = Fixture::new();
        let renewed = Arc::new(token("at2", "rt2", 9));
        // A folder in the journal's place works for root too, unlike a mode.
        fs::create_dir(fixture.cache.journal()).unwrap();
        fixture.write(&text("at1", "rt1", 1));
        let Stored::MemoryOnly(kept, failure) = store(&fixture.cache, Before::default(), &renewed) else {
            panic!("written?")
        };
        assert_eq!((kept, failure.class), (renewed, FailureClass::Transient));
        assert_eq!(fixture.on_disk().access_token.expose(), "at1");
    }

    #[test]
    fn a_file_of_the_wrong_kind_is_not_replaced_and_the_journal_stays() {
        let fixture = Fixture::new();
        fs::create_dir(fixture.cache.path()).unwrap();
        let renewed = Arc::new(token("at2", "rt2", 9));
        assert!(matches!(store(&fixture.cache, Before::default(), &renewed), Stored::MemoryOnly(..)));
        assert_eq!(fixture.names().len(), 2);
        assert_eq!(recover(&fixture.cache), Recovered::Nothing);
        fs::remove_dir(fixture.cache.path()).unwrap();
        fixture.write("");
        assert!(matches!(recover(&fixture.cache), Recovered::Adopted(_)));
        assert_eq!(fixture.on_disk().refresh, renewed.refresh);
    }

    #[test]
    fn a_left_over_journal_is_adopted_only_if_it_is_newer() {
        let fixture = Fixture::new();
        assert_eq!(recover(&fixture.cache), Recovered::Nothing);
        fixture.write(&text("at1", "rt1", 1));
        fs::write(fixture.cache.journal(), text("at2", "rt2", 9)).unwrap();
        assert!(matches!(recover(&fixture.cache), Recovered::Adopted(_)));
        assert_eq!(fixture.on_disk().access_token.expose(), "at2");

        fs::write(fixture.cache.journal(), text("at0", "rt0", 8)).unwrap();
        assert_eq!(recover(&fixture.cache), Recovered::Discarded, "an earlier expiry");
        fs::write(fixture.cache.journal(), &text("at3", "rt3", 10)[..40]).unwrap();
        assert_eq!(recover(&fixture.cache), Recovered::Discarded, "torn");
        assert_eq!((fixture.on_disk().access_token.expose(), fixture.names()), ("at2", vec![FILE.to_owned()]));
    }

    #[test]
    fn a_journal_from_before_a_login_or_a_logout_is_discarded() {
        let fixture = Fixture::new();
        fs::write(fixture.cache.journal(), text("old", "rt-old", 9)).unwrap();
        assert_eq!(recover(&fixture.cache), Recovered::Discarded, "logged out");
        fs::write(fixture.cache.journal(), text("old", "rt-old", 9)).unwrap();
        let old = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        fs::File::options().write(true).open(fixture.cache.journal()).unwrap().set_times(old).unwrap();
        fixture.write(&text("login", "rt-login", 2));
        assert_eq!(recover(&fixture.cache), Recovered::Discarded, "logged in since, for a shorter time");
        assert_eq!(fixture.on_disk().access_token.expose(), "login");
    }
}
