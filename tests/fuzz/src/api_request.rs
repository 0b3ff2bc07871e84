//! The local API's server: whatever is sent, every answer is a document that our client can read, and the next client is
//! served as if nothing had happened.
//!
//! The daemon's own engine, router and connection, over a stream in memory. Its home has a session whose token ended and
//! no way to renew it, so nothing is ever sent to AWS. Time is the runtime's: deadlines pass as soon as nothing else is
//! left to do.

use std::fs;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;

use aws_credential_agent::api::v1::{ErrorBody, MAX_STATUS};
use aws_credential_agent::core::failure::Failure;
use aws_credential_agent::core::source::World;
use aws_credential_agent::core::time::Timestamp;
use aws_credential_agent::daemon::audit::Audit;
use aws_credential_agent::daemon::connections::Connections;
use aws_credential_agent::daemon::engine::Engine;
use aws_credential_agent::daemon::http::{Api, router};
use aws_credential_agent::daemon::logout_flow::Logouts;
use aws_credential_agent::daemon::settings::Configuration;
use aws_credential_agent::daemon::succession::Succession;
use aws_credential_agent::files::audit::AuditFile;
use aws_credential_agent::ipc::peer::PeerIdentity;
use aws_credential_agent::platform::home::Environment;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::{api_answer, check_plain, draw};

/// Stands for the home's path in an input.
const HOME: &str = "@HOME";
const SECRET: &str = "a-token-that-is-a-secret";
const HEALTH: &[u8] = b"GET /v1/health HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n";

pub fn check(data: &[u8]) {
    DAEMON.with(|daemon| {
        let sent = daemon.at_home(data);
        // A client that waits for its answer, or one that has said all that it ever will.
        let answers = daemon.exchange(&sent, draw(data).is_multiple_of(2));
        each_answer(&answers, &sent);
        let health = daemon.exchange(HEALTH, false);
        let answer = api_answer::exchange(&health, usize::MAX, MAX_STATUS).expect("an answer to the next client");
        assert_eq!(answer.status, 200, "the next client is served");
    });
}

thread_local! {
    static DAEMON: Daemon = Daemon::start();
}

/// A daemon without a socket.
struct Daemon {
    /// Never dropped: that would wait for its threads to end while this one ends, and Windows lets one end at a time.
    runtime: ManuallyDrop<Runtime>,
    connections: Connections,
    home: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a temporary home");
        let world = furnish(home.path()).expect("a furnished home");
        let path = home.path().to_str().expect("a path of plain letters");
        let environment: Environment = [("HOME", path), ("USERPROFILE", path)].into_iter().collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let connections = runtime.block_on(async {
            let configuration = Configuration::load(environment, None).expect("no settings");
            let engine = Engine::start(configuration, world, &home.path().join("state"));
            let api = Arc::new(Api {
                desk: engine.desk.clone(),
                watcher: Arc::clone(&engine.watcher),
                logouts: Logouts::new(&engine),
                tokens: engine.tokens.clone(),
                state: engine.state.clone(),
                configuration: Arc::clone(&engine.configuration),
                home: Arc::clone(&engine.home),
                revision: engine.revision.clone(),
                shutdown: Arc::default(),
                started_at: Timestamp::from_secs(1_700_000_000),
                circumstances: engine.configuration.circumstances(),
                unwatched: watch::channel(None).1,
                audit: Audit::start(AuditFile::new(home.path().join("state"))),
                succession: Succession::new(false),
                seats: Arc::default(),
            });
            Connections::new(router(Arc::clone(&api)), Arc::clone(&api.seats))
        });
        Self { runtime: ManuallyDrop::new(runtime), connections, home }
    }

    fn at_home(&self, data: &[u8]) -> Vec<u8> {
        let home = self.home.path().as_os_str().as_encoded_bytes();
        let mut sent = Vec::with_capacity(data.len());
        let mut rest = data;
        while let Some(at) = rest.windows(HOME.len()).position(|w| w == HOME.as_bytes()) {
            sent.extend_from_slice(&rest[..at]);
            sent.extend_from_slice(home);
            rest = &rest[at + HOME.len()..];
        }
        sent.extend_from_slice(rest);
        sent
    }

    /// Sends these bytes as one connection's, and returns all that came back.
    fn exchange(&self, sent: &[u8], hangs_up: bool) -> Vec<u8> {
        self.runtime.block_on(async {
            let (client, server) = duplex(16 * 1024);
            let (mut read, mut write) = tokio::io::split(client);
            let talking = async {
                // A server that has heard enough closes.
                let _ = write.write_all(sent).await;
                if hangs_up {
                    let _ = write.shutdown().await;
                }
                write
            };
            let mut answers = Vec::new();
            let listening = read.read_to_end(&mut answers);
            let serving = self.connections.conversation(server, PeerIdentity::default());
            let (_open, heard, ()) = tokio::join!(talking, listening, serving);
            heard.expect("a stream in memory");
            answers
        })
    }
}

/// Two worlds: one with a session that nobody can renew, one with a broken config.
fn furnish(home: &Path) -> std::io::Result<World> {
    let cache = home.join(".aws/sso/cache");
    fs::create_dir_all(&cache)?;
    fs::create_dir(home.join("state"))?;
    #[cfg(unix)]
    fs::set_permissions(home.join("state"), std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    fs::write(
        home.join(".aws/config"),
        "[sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = eu-west-1\n\
         [profile dev]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Dev\n\
         [profile static]\naws_access_key_id = AKIAEXAMPLE\n",
    )?;
    fs::write(home.join("broken"), "no section\n")?;
    let token = format!(r#"{{"accessToken":"{SECRET}","expiresAt":"2020-06-17T10:02:08Z"}}"#);
    fs::write(cache.join(aws_credential_agent::core::sso_cache::file_name("corp")), token)?;
    Ok(World {
        config_file: home.join(".aws/config"),
        credentials_file: home.join(".aws/credentials"),
        sso_cache: cache,
    })
}

/// Every answer is whole, not chunked, and a document: an error one that names class, cause and fix.
fn each_answer(answers: &[u8], sent: &[u8]) {
    let (mut rest, mut count) = (answers, 0);
    while !rest.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(rest).unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(rest)));
        let httparse::Status::Complete(length) = parsed else { panic!("a head is cut off") };
        let code = head.code.unwrap_or_default();
        let header = |name: &str| {
            let found = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
            found.map(|h| String::from_utf8_lossy(h.value).into_owned())
        };
        assert_eq!(header("transfer-encoding"), None, "our client reads no chunks");
        let is_json = header("content-type").is_some_and(|kind| kind == "application/json");
        let size: Option<usize> = header("content-length").and_then(|size| size.parse().ok());
        let start = rest;
        rest = &rest[length..];
        if code == 100 {
            continue;
        }
        count += 1;
        let size = size.unwrap_or_else(|| panic!("{code} without a length"));
        // The answer to HEAD has a length and no body.
        if size > 0 && !rest.is_empty() && !rest.starts_with(b"HTTP/1.") {
            assert!(size <= rest.len(), "a body is cut off");
            document(code, &rest[..size], is_json);
            rest = &rest[size..];
            let read = api_answer::exchange(&start[..length + size], usize::MAX, MAX_STATUS);
            assert!(read.is_ok_and(|read| read.status == code), "our client reads it");
        }
    }
    let lines = sent.iter().filter(|byte| **byte == b'\n').count();
    assert!(count <= lines + 1, "{count} answers to {lines} lines");
}

fn document(code: u16, body: &[u8], is_json: bool) {
    let text = std::str::from_utf8(body).expect("text");
    assert!(is_json, "{code} is no document: {text}");
    assert!(!text.contains(SECRET), "a secret goes out: {text}");
    if code >= 400 {
        let error: ErrorBody = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {code} {text}"));
        let Failure { rejected_chain, .. } = error.clone().into();
        check_plain(&Failure { class: error.code, message: error.message, fix: error.fix, rejected_chain });
    } else {
        let document: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert!(document.is_object(), "{text}");
    }
}
