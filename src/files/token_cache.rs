//! One session's token file in the AWS tools' cache folder: reading it as it may be at any moment.
//!
//! AWS CLI v2 and the Rust SDK truncate in place and nobody locks, so a reader meets empty and half-written files. Such
//! a file is read again (for 600 ms in all) and is never a logout. Only a file that is not there is one, and where we
//! knew a token before, only after it stayed away for 2 s.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::limits::{self, ReadError};
use super::{Pauses, pause};
use crate::core::credential::SsoToken;
use crate::core::failure::{Failure, FailureClass};
use crate::core::session::TokenFile;
use crate::core::source::{SsoSession, World};
use crate::core::sso_cache::{self, NotAToken};

/// Where one session's token is, and how patiently it is read.
#[derive(Clone, Debug)]
pub struct TokenCache {
    folder: PathBuf,
    session: SsoSession,
    pauses: Pauses,
}

/// One look at the file, with the text that it was.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// A token and its text.
    Token { token: Arc<SsoToken>, text: Zeroizing<String> },
    /// No file.
    Absent,
    /// No token: torn to the last try, or (with its text) a whole document of another kind. A token that is held is
    /// better than this.
    Broken { failure: Failure, text: Option<Zeroizing<String>> },
    /// It can be neither used nor replaced.
    Unusable(Failure),
}

impl From<Look> for TokenFile {
    fn from(look: Look) -> Self {
        match look {
            Look::Token { token, .. } => Self::Present(token),
            Look::Absent => Self::Absent,
            Look::Broken { failure, .. } | Look::Unusable(failure) => Self::Unusable(failure),
        }
    }
}

impl TokenCache {
    /// The token of `session` in the cache folder of `world`.
    #[must_use]
    pub fn new(world: &World, session: &SsoSession, pauses: Pauses) -> Self {
        Self { folder: world.sso_cache.clone(), session: session.clone(), pauses }
    }

    /// The token file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(sso_cache::file_name(self.session.cache_key()))
    }

    /// Where a rotated token is written before it takes the place of the old one. Other tools look at `*.json` only.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.folder.join(format!(".{}.agentctl-journal", sso_cache::file_name(self.session.cache_key())))
    }

    /// The session.
    #[must_use]
    pub const fn session(&self) -> &SsoSession {
        &self.session
    }

    pub(super) const fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// Reads the file, again and again while it is torn. Blocks for 600 ms at most.
    #[must_use]
    pub fn read(&self) -> TokenFile {
        self.look().into()
    }

    /// Looks for a session whose token was there before: the file counts as absent only when it stays away for 2 s,
    /// because renames of others leave gaps.
    pub(super) fn look_known(&self) -> Look {
        for time in &self.pauses.gone {
            match self.look() {
                Look::Absent => pause(*time),
                found => return found,
            }
        }
        self.look()
    }

    pub(super) fn look(&self) -> Look {
        self.look_at(&self.path())
    }

    /// The same for a file under another name.
    pub(super) fn look_at(&self, path: &Path) -> Look {
        for time in &self.pauses.torn {
            match look_once(path) {
                Look::Broken { text: None, .. } => pause(*time),
                found => return found,
            }
        }
        look_once(path)
    }
}

/// One look, without another try.
pub(super) fn look_once(path: &Path) -> Look {
    let contents = match limits::read_cache(path) {
        Ok(contents) => contents,
        Err(ReadError::Absent) => return Look::Absent,
        Err(ReadError::Refused(why)) => {
            let message = format!("the token file {} {why}", path.display());
            let fix = "remove it and log in again: agentctl login";
            return Look::Unusable(Failure::new(FailureClass::Misconfigured, message, fix));
        }
        Err(e) => return e.failure(path).map_or(Look::Absent, Look::Unusable),
    };
    let broken = |what: &str, text| Look::Broken { failure: unusable(path, what), text };
    const TORN: &str = "is no whole JSON document";
    // A cut through a character is a tear as well.
    let Some(text) = contents.text() else { return broken(TORN, None) };
    let whole = || Zeroizing::new(text.to_owned());
    match sso_cache::parse(text, contents.modified) {
        Ok(token) => Look::Token { token: Arc::new(token), text: whole() },
        Err(NotAToken::Torn) => broken(TORN, None),
        Err(NotAToken::OtherDocument) => broken("holds no access token", Some(whole())),
        Err(NotAToken::Malformed { what }) => broken(&format!("is no valid token: {what}"), Some(whole())),
    }
}

/// Not `needs-login`: a broken file says nothing about the session. A login is still what replaces it.
fn unusable(path: &Path, what: &str) -> Failure {
    let fix = "log in again to replace it: agentctl login";
    Failure::new(FailureClass::Misconfigured, format!("the token file {} {what}", path.display()), fix)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::files::testing::{self, Fixture};

    #[test]
    fn a_token_is_found_under_its_name() {
        let fixture = Fixture::new();
        assert_eq!(fixture.cache.read(), TokenFile::Absent);
        fixture.write(&testing::text("at", "rt", 100));
        let TokenFile::Present(token) = fixture.cache.read() else { panic!("no token") };
        assert_eq!(token.access_token.expose(), "at");
        assert!(fixture.cache.path().ends_with("ee0bfd2552fbd840c02cc48b6e823320543c450f.json"));
    }

    #[test]
    fn what_cannot_be_used_is_no_logout() {
        let fixture = Fixture::new();
        for text in
            ["", "{\"accessToken\": \"se", "[]", r#"{"clientId":"x"}"#, r#"{"accessToken":"secret"}"#, "\u{fffd}"]
        {
            fixture.write(text);
            let TokenFile::Unusable(failure) = fixture.cache.read() else { panic!("{text} was used") };
            assert_eq!(failure.class, FailureClass::Misconfigured);
            assert!(failure.fix.contains("agentctl login"));
            assert!(!failure.line().contains("secret"));
        }
    }

    #[test]
    fn a_cut_through_a_character_is_a_tear() {
        let fixture = Fixture::new();
        fs::write(fixture.cache.path(), b"{\"accessToken\":\"\xc3").unwrap();
        assert!(matches!(fixture.cache.look(), Look::Broken { text: None, .. }));
    }

    #[test]
    fn a_tear_that_heals_is_not_noticed() {
        let mut fixture = Fixture::new();
        fixture.cache.pauses.torn = vec![Duration::from_millis(2); 5000];
        fixture.write("");
        let (path, reader) = (fixture.cache.path(), fixture.cache.clone());
        let reading = std::thread::spawn(move || reader.read());
        // In place, as the AWS CLI writes: first half, then all.
        let text = testing::text("at", "rt", 100);
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        fs::write(&path, &text).unwrap();
        assert!(matches!(reading.join().unwrap(), TokenFile::Present(_)));
    }

    #[test]
    fn a_gap_in_a_known_file_is_waited_out() {
        let mut fixture = Fixture::new();
        fixture.cache.pauses.gone = vec![Duration::from_millis(2); 5000];
        let (path, reader) = (fixture.cache.path(), fixture.cache.clone());
        let reading = std::thread::spawn(move || reader.look_known());
        fs::write(path.with_extension("new"), testing::text("at", "rt", 100)).unwrap();
        fs::rename(path.with_extension("new"), &path).unwrap();
        assert!(matches!(reading.join().unwrap(), Look::Token { .. }));
        fixture.cache.pauses = Pauses::none();
        fs::remove_file(&path).unwrap();
        assert!(matches!(fixture.cache.look_known(), Look::Absent));
    }

    #[test]
    fn a_link_in_the_files_place_is_refused() {
        let fixture = Fixture::new();
        let elsewhere = fixture.root.path().join("elsewhere");
        fs::write(&elsewhere, testing::text("at", "rt", 100)).unwrap();
        std::os::unix::fs::symlink(&elsewhere, fixture.cache.path()).unwrap();
        let TokenFile::Unusable(failure) = fixture.cache.read() else { panic!("a link was followed") };
        assert!(failure.message.ends_with("is a symbolic link"), "{}", failure.message);
    }
}
