//! A temporary home with AWS files as their real writers leave them, and the environment that belongs to it.
//!
//! Children start from an empty environment plus [`TestHome::env`]: nothing of this machine's `AWS_*`, `AGENTCTL_*`,
//! CA or proxy variables gets in, and an endpoint override that is ignored meets a proxy that refuses.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::{DateTime, Utc};
use serde_json::json;
use sha1::{Digest, Sha1};

use super::fake_aws::{FakeAws, SessionId, SignedIn};

/// One user's home, in a folder of its own that is removed when this is dropped.
#[derive(Debug)]
pub struct TestHome {
    folder: tempfile::TempDir,
    env: BTreeMap<OsString, OsString>,
}

impl TestHome {
    /// An empty home whose environment points at the fake.
    pub fn new(fake: &FakeAws) -> Self {
        Self::try_new(fake).unwrap_or_else(|e| panic!("cannot make a temporary home: {e}"))
    }

    fn try_new(fake: &FakeAws) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("home").tempdir()?;
        let mut home = Self { folder, env: BTreeMap::new() };
        private_folder(&home.sso_cache())?;
        private_folder(&home.state_dir())?;
        fs::write(home.aws_config(), "")?;
        let (url, refusing) = (fake.url(), fake.refusing_url());
        let path = home.path().to_owned();
        home.set("HOME", &path);
        if cfg!(windows) {
            home.set("USERPROFILE", &path);
            home.set("APPDATA", path.join(r"AppData\Roaming"));
            home.set("LOCALAPPDATA", path.join(r"AppData\Local"));
            // Without it there are no sockets.
            home.set("SYSTEMROOT", std::env::var_os("SYSTEMROOT").unwrap_or_default());
        }
        home.set("PATH", std::env::var_os("PATH").unwrap_or_default());
        home.set("AGENTCTL_STATE_DIR", home.state_dir());
        home.set("AWS_EC2_METADATA_DISABLED", "true");
        for service in ["SSO_OIDC", "SSO", "STS", "BEDROCK", "BEDROCK_RUNTIME"] {
            home.set(&format!("AWS_ENDPOINT_URL_{service}"), &url);
        }
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            home.set(proxy, &refusing);
        }
        home.set("NO_PROXY", "127.0.0.1,localhost");
        home.set("no_proxy", "127.0.0.1,localhost");
        Ok(home)
    }

    /// The usual case: session `corp`, signed in, and profile `dev-sso` for one of its roles.
    pub fn with_sso_profile(fake: &FakeAws, session: SessionId, account: &str, role: &str) -> Self {
        let home = Self::new(fake);
        let token = fake.sign_in(session);
        let name = fake.session(session).name;
        home.add_sso_session(&name, &token);
        home.add_sso_profile("dev-sso", &name, account, role);
        home.seed_token(&name, &token);
        home
    }

    /// The home folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `~/.aws/config`.
    pub fn aws_config(&self) -> PathBuf {
        self.path().join(".aws/config")
    }

    /// `~/.aws/sso/cache`.
    pub fn sso_cache(&self) -> PathBuf {
        self.path().join(".aws/sso/cache")
    }

    /// The agent's state folder; its socket is there too.
    pub fn state_dir(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The token file of a session (by its name) or of a legacy profile (by its start URL).
    pub fn token_file(&self, cache_key: &str) -> PathBuf {
        let name: String = Sha1::digest(cache_key).iter().map(|b| format!("{b:02x}")).collect();
        self.sso_cache().join(name + ".json")
    }

    /// Sets a variable for every child from now on.
    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.env.insert(name.into(), value.as_ref().to_owned());
    }

    /// Removes a variable.
    pub fn unset(&mut self, name: &str) {
        self.env.remove(OsStr::new(name));
    }

    /// The whole environment of a child.
    pub fn env(&self) -> &BTreeMap<OsString, OsString> {
        &self.env
    }

    /// A command with this environment and nothing else, in the home folder.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(&self.env).current_dir(self.path());
        command
    }

    /// Appends to `~/.aws/config`.
    pub fn append_config(&self, text: &str) {
        let path = self.aws_config();
        let old = fs::read_to_string(&path).unwrap_or_default();
        write(&path, &format!("{old}{text}\n"));
    }

    /// An `[sso-session]` with the scope that brings a refresh token.
    pub fn add_sso_session(&self, name: &str, token: &SignedIn) {
        self.append_config(&format!(
            "[sso-session {name}]\nsso_start_url = {}\nsso_region = {}\nsso_registration_scopes = sso:account:access\n",
            token.start_url, token.region
        ));
    }

    /// A profile of an `[sso-session]`.
    pub fn add_sso_profile(&self, profile: &str, session: &str, account: &str, role: &str) {
        self.append_config(&format!(
            "[profile {profile}]\nsso_session = {session}\nsso_account_id = {account}\nsso_role_name = {role}\n\
             region = eu-west-1\n"
        ));
    }

    /// A legacy profile: start URL and region in the profile itself, its token filed under the start URL.
    pub fn add_legacy_profile(&self, profile: &str, token: &SignedIn, account: &str, role: &str) {
        self.append_config(&format!(
            "[profile {profile}]\nsso_start_url = {}\nsso_region = {}\nsso_account_id = {account}\n\
             sso_role_name = {role}\nregion = eu-west-1\n",
            token.start_url, token.region
        ));
    }

    /// A profile whose credentials come from a command.
    pub fn add_process_profile(&self, profile: &str, command: &str) {
        self.append_config(&format!("[profile {profile}]\nregion = eu-west-1\ncredential_process = {command}\n"));
    }

    /// Writes the token file as AWS CLI v2 writes it after a login; returns its path.
    pub fn seed_token(&self, cache_key: &str, token: &SignedIn) -> PathBuf {
        let document = json!({
            "startUrl": token.start_url,
            "region": token.region,
            "accessToken": token.access_token,
            "expiresAt": stamp(token.expires_at),
            "clientId": token.client_id,
            "clientSecret": token.client_secret,
            "registrationExpiresAt": stamp(token.registration_expires_at),
            "refreshToken": token.refresh_token,
        });
        let path = self.token_file(cache_key);
        write(&path, &document.to_string());
        path
    }

    /// Writes an executable script below the home; returns its path.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        write(&path, text);
        set_mode(&path, 0o700);
        path
    }
}

/// The time form of the token cache.
pub fn stamp(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    set_mode(path, 0o700);
    Ok(())
}

/// Writes a file that only its owner can read.
fn write(path: &Path, text: &str) {
    if let Err(e) = fs::write(path, text) {
        panic!("cannot write {}: {e}", path.display());
    }
    set_mode(path, 0o600);
}

fn set_mode(path: &Path, mode: u32) {
    #[cfg(unix)]
    if let Err(e) = fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)) {
        panic!("cannot set the mode of {}: {e}", path.display());
    }
    #[cfg(not(unix))]
    let _ = (path, mode);
}
