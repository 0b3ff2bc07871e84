//! Small raw servers on loopback that misbehave in one way each, and the calls against them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Aws, Call, Deadlines, NewToken};
use crate::core::classify::{Evidence, Signal, Verdict};
use crate::core::credential::{RefreshGrant, RoleCredentials};
use crate::core::failure::FailureClass;
use crate::core::secret::Secret;
use crate::core::source::{Endpoints, SsoSession};
use crate::net::{Environment, NetworkConfig, NetworkSettings};

/// The secrets of every test call; none may appear in any evidence.
pub(super) const SECRETS: [&str; 3] = ["refresh-token-7f3a", "client-secret-91bc", "access-token-55de"];

/// What a server does with a connection.
#[derive(Clone)]
pub(super) enum Deed {
    /// Reads the request and writes these bytes.
    Answer(Vec<u8>),
    /// The same for every request of the connection, which stays open.
    KeepAlive(Vec<u8>),
    /// Reads the request and closes.
    Close,
    /// Reads a part of the request and closes, which resets the connection.
    Reset,
    /// Reads and never answers.
    Silence,
    /// Writes these bytes before reading anything.
    Blurt(Vec<u8>),
    /// Answers the request of a CONNECT with 200 and carries bytes to this port.
    Tunnel(u16),
}

pub(super) fn answer(status: &str, headers: &[&str], body: &str) -> Deed {
    let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    Deed::Answer(format!("{text}\r\n{body}").into_bytes())
}

/// Serves plain TCP and returns the port.
pub(super) fn serve(deed: Deed) -> u16 {
    spawn(move |stream| act(stream, &deed))
}

/// Serves plain TCP and counts the connections.
pub(super) fn serve_and_count(deed: Deed) -> (u16, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let port = spawn(move |stream| {
        seen.fetch_add(1, Ordering::SeqCst);
        act(stream, &deed);
    });
    (port, count)
}

/// Serves TLS with this certificate.
pub(super) fn serve_tls(identity: &Identity, deed: Deed) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![identity.certificate.clone()];
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, identity.key.clone_key())
        .unwrap();
    let config = Arc::new(config);
    spawn(move |stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        act(rustls::StreamOwned::new(connection, stream), &deed);
    })
}

/// A port that nobody listens on, held by a socket that never will: nobody else can take it meanwhile.
pub(super) fn closed_port() -> u16 {
    static HELD: LazyLock<tokio::net::TcpSocket> = LazyLock::new(|| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket
    });
    HELD.local_addr().unwrap().port()
}

fn spawn(work: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let work = Arc::new(work);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let work = Arc::clone(&work);
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            std::thread::spawn(move || work(stream));
        }
    });
    port
}

/// I/O errors are the client's business: it may hang up at any time.
fn act<S: Read + Write>(mut stream: S, deed: &Deed) {
    match deed {
        Deed::Answer(bytes) => {
            let _ = read_request(&mut stream);
            let _ = stream.write_all(bytes).and_then(|()| stream.flush());
        }
        Deed::KeepAlive(bytes) => {
            while read_request(&mut stream).is_ok_and(|r| !r.is_empty()) {
                let _ = stream.write_all(bytes).and_then(|()| stream.flush());
            }
        }
        Deed::Close => {
            let _ = read_request(&mut stream);
        }
        Deed::Reset => {
            let _ = stream.read(&mut [0; 8]);
        }
        Deed::Silence => while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {},
        Deed::Blurt(bytes) => {
            let _ = stream.write_all(bytes).and_then(|()| stream.flush());
            while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {}
        }
        Deed::Tunnel(port) => {
            let _ = tunnel(stream, *port);
        }
    }
}

/// Bytes to and fro, one direction at a time: enough for one TLS exchange.
fn tunnel<S: Read + Write>(mut client: S, port: u16) -> std::io::Result<()> {
    read_request(&mut client)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffer = [0; 16 * 1024];
    loop {
        let n = client.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        server.write_all(&buffer[..n])?;
        while let Ok(n) = server.read(&mut buffer) {
            if n == 0 {
                return Ok(());
            }
            client.write_all(&buffer[..n])?;
        }
    }
}

/// The head and, by its Content-Length, the body.
fn read_request<S: Read>(stream: &mut S) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.split("content-length:").nth(1).and_then(|t| t.split("\r\n").next());
            let length: usize = length.and_then(|l| l.trim().parse().ok()).unwrap_or(0);
            if request.len() >= end + 4 + length {
                return Ok(request);
            }
        }
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(request);
        }
        request.extend_from_slice(&buffer[..n]);
    }
}

/// A certificate with its key.
pub(super) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// The name of every authority made here.
pub(super) const AUTHORITY: &str = "Test Root CA";

/// A certificate authority of our own.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, AUTHORITY);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The root, as if it were a server's.
    pub(super) fn itself(&self) -> Identity {
        let key = PrivateKeyDer::try_from(self.0.key().serialize_der()).unwrap();
        Identity { certificate: self.0.der().clone(), key }
    }

    /// Writes the root as a PEM file for the life of the folder.
    pub(super) fn write(&self, folder: &tempfile::TempDir) -> String {
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, self.0.pem()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A certificate for `name`, valid between the first days of two years.
    pub(super) fn issue(&self, name: &str, years: (i32, i32)) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { certificate: certificate.der().clone(), key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }
}

/// Deadlines for tests that wait for one.
pub(super) fn short_deadlines() -> Deadlines {
    Deadlines {
        connect: Duration::from_millis(1000),
        read: Duration::from_millis(2000),
        attempt: Duration::from_millis(2500),
        operation: Duration::from_millis(3000),
    }
}

pub(super) fn aws(env: &[(&str, &str)], deadlines: Deadlines) -> Aws {
    let env: Environment = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Aws::new(&NetworkSettings::new(&env, &NetworkConfig::default()), &env, deadlines).0
}

/// A session whose two services are at `url`; `None` is AWS itself (behind a proxy of the test).
pub(super) fn session(url: Option<&str>) -> SsoSession {
    SsoSession {
        name: Some("corp".to_owned()),
        start_url: "https://corp.awsapps.com/start".to_owned(),
        region: "eu-west-1".to_owned(),
        scopes: Vec::new(),
        endpoints: Endpoints { oidc: url.map(str::to_owned), portal: url.map(str::to_owned) },
    }
}

pub(super) async fn token(aws: &Aws, session: &SsoSession) -> Call<NewToken> {
    let grant = RefreshGrant {
        refresh_token: Secret::from(SECRETS[0]),
        client_id: "client-id".to_owned(),
        client_secret: Secret::from(SECRETS[1]),
        registration_expires_at: None,
    };
    let call = aws.create_token(session, &grant).await;
    assert_no_secret(&format!("{call:?}"));
    call
}

pub(super) async fn role(aws: &Aws, session: &SsoSession) -> Call<RoleCredentials> {
    let call = aws.role_credentials(session, &Secret::from(SECRETS[2]), "111122223333", "Dev").await;
    assert_no_secret(&format!("{call:?}"));
    call
}

fn assert_no_secret(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "a secret in {text}");
    }
}

/// The evidence of a CreateToken against a server that does this.
pub(super) async fn token_against(deed: Deed) -> Evidence {
    let url = format!("http://127.0.0.1:{}", serve(deed));
    token(&aws(&[], Deadlines::default()), &session(Some(&url))).await.result.unwrap_err()
}

/// The evidence of a GetRoleCredentials against a server that does this.
pub(super) async fn role_against(deed: Deed) -> Evidence {
    let url = format!("http://127.0.0.1:{}", serve(deed));
    role(&aws(&[], Deadlines::default()), &session(Some(&url))).await.result.unwrap_err()
}

/// The class that the evidence comes to; a refused bearer token has none.
pub(super) fn class(evidence: &Evidence) -> Option<FailureClass> {
    match evidence.classify() {
        Verdict::Failed { failure, .. } => Some(failure.class),
        Verdict::TokenRefused => None,
    }
}

pub(super) fn assert_class(evidence: &Evidence, expected: FailureClass) -> Signal {
    assert_eq!(class(evidence), Some(expected), "{evidence:?}");
    evidence.signal.clone()
}
