//! What the tests of this room, and of those who use it, share: a cache folder, a state folder, one session.

use std::fs;
use std::sync::Arc;

use super::Pauses;
use super::refresh::RefreshFiles;
use super::state::StateFile;
use super::token_cache::TokenCache;
use crate::core::credential::{RefreshGrant, SsoToken};
use crate::core::session::TokenFile;
use crate::core::source::{Endpoints, SsoSession, World};
use crate::core::time::Timestamp;

/// Expiries of tests are hours after this.
pub(super) const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// One session in folders of its own.
pub(super) struct Fixture {
    /// Removed at the end.
    pub(super) root: tempfile::TempDir,
    /// The session's token file.
    pub(super) cache: TokenCache,
    /// Our state.
    pub(super) state: StateFile,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cache");
        fs::create_dir(&folder).unwrap();
        let world = World { sso_cache: folder, ..World::default() };
        let cache = TokenCache::new(&world, &session(), Pauses::none());
        let state = StateFile::new(root.path().join("state"), Pauses::none());
        Self { root, cache, state }
    }

    /// A process's view: what it remembers is its own, the files are shared.
    pub(super) fn process(&self) -> RefreshFiles {
        RefreshFiles::new(self.cache.clone(), StateFile::new(self.state.folder(), Pauses::none()))
    }

    /// Writes the token file, as another tool would.
    pub(super) fn write(&self, text: &str) {
        fs::write(self.cache.path(), text).unwrap();
    }

    /// What the file says.
    pub(super) fn on_disk(&self) -> Arc<SsoToken> {
        match self.cache.read() {
            TokenFile::Present(token) => token,
            other => panic!("no token: {other:?}"),
        }
    }

    /// The files in the cache folder.
    pub(super) fn names(&self) -> Vec<String> {
        let folder = self.cache.path();
        let entries = fs::read_dir(folder.parent().unwrap()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub(crate) fn session() -> SsoSession {
    SsoSession {
        name: Some("corp".to_owned()),
        start_url: "https://corp.awsapps.com/start".to_owned(),
        region: "eu-west-1".to_owned(),
        scopes: Vec::new(),
        endpoints: Endpoints::default(),
    }
}

/// A token that ends `hours` after [`START`].
pub(crate) fn token(access: &str, refresh: &str, hours: i64) -> SsoToken {
    let grant = RefreshGrant {
        refresh_token: refresh.into(),
        client_id: "client".to_owned(),
        client_secret: "client-secret".into(),
        registration_expires_at: Some(START.shifted(90 * 86_400_000)),
    };
    SsoToken {
        access_token: access.into(),
        expires_at: START.shifted(hours * 3_600_000),
        refresh: (!refresh.is_empty()).then_some(grant),
        client_id: Some("client".to_owned()),
        obtained_at: START,
    }
}

/// The same as another tool writes it, with a key of its own.
pub(super) fn text(access: &str, refresh: &str, hours: i64) -> String {
    let expires_at = START.shifted(hours * 3_600_000);
    format!(
        r#"{{"toolsOwn":{{"x":1}},"accessToken":"{access}","expiresAt":"{expires_at}","refreshToken":"{refresh}","clientId":"client","clientSecret":"client-secret"}}"#
    )
}
