//! The inspecting proxy keeps its word: each behaviour, as a small TLS client sees it and as the proxy tells it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use serde_json::Value;

use crate::support::clock::{self, eventually};
use crate::support::fake_aws::{FakeAws, Fault, Operation, SsoSession};
use crate::support::proxy::{Behaviour, InspectingProxy, Leaf, Seen, Stage};

const ACCOUNT: &str = "111122223333";
const PORTAL: &str = "portal.sso.eu-west-1.amazonaws.com";
const PATIENCE: Duration = Duration::from_secs(5);
const TLS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];
const STAGES: [Stage; 5] = [Stage::Accept, Stage::Connect, Stage::Handshake, Stage::Request, Stage::Answer];

/// A fake AWS behind a proxy, and a person signed in.
struct Office {
    fake: FakeAws,
    proxy: InspectingProxy,
    bearer: String,
}

impl Office {
    fn open() -> Self {
        let fake = FakeAws::start();
        let session = fake.add_session(SsoSession::new("corp").allow(ACCOUNT, "Developer"));
        let bearer = fake.sign_in(session).access_token;
        let proxy = InspectingProxy::start(address(&fake.url()));
        Self { fake, proxy, bearer }
    }

    fn with(behaviour: Behaviour) -> Self {
        let office = Self::open();
        office.proxy.set(behaviour);
        office
    }

    /// Asks the portal for role credentials through the proxy; the whole answer as text.
    fn ask(&self) -> io::Result<String> {
        self.ask_within(PATIENCE)
    }

    fn ask_within(&self, patience: Duration) -> io::Result<String> {
        let mut stream = self.tunnel(patience)?;
        stream.write_all(self.request().as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8(answer).unwrap())
    }

    fn request(&self) -> String {
        format!(
            "GET /federation/credentials?role_name=Developer&account_id={ACCOUNT} HTTP/1.1\r\nHost: {PORTAL}\r\n\
             x-amz-sso_bearer_token: {}\r\nx-corp-1: a\r\nConnection: keep-alive\r\n\r\n",
            self.bearer
        )
    }

    fn tunnel(&self, patience: Duration) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let (stream, reply) = connect(&self.proxy, PORTAL, "", patience)?;
        assert_eq!(status(&reply), 200, "{reply}");
        let tls = client(&self.proxy.ca_pem(), &rustls::version::TLS13);
        Ok(StreamOwned::new(tls, stream))
    }

    fn last_seen(&self) -> Seen {
        eventually("the connection is over", PATIENCE, || self.proxy.seen().pop().filter(|seen| seen.over))
    }
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}

/// Sends a CONNECT and reads the answer to its end, or to its head if a tunnel is there.
fn connect(proxy: &InspectingProxy, host: &str, header: &str, patience: Duration) -> io::Result<(TcpStream, String)> {
    let mut stream = TcpStream::connect(address(&proxy.url()))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(format!("CONNECT {host}:443 HTTP/1.1\r\nhost: {host}:443\r\n{header}\r\n").as_bytes())?;
    let mut reply = Vec::new();
    while !(reply.starts_with(b"HTTP/1.1 200") && reply.ends_with(b"\r\n\r\n")) {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            break;
        }
        reply.push(byte[0]);
    }
    Ok((stream, String::from_utf8(reply).unwrap()))
}

fn client(trusted: &str, version: &'static SupportedProtocolVersion) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from(PORTAL).unwrap()).unwrap()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().filter_map(|line| line.split_once(": ")).find(|(n, _)| *n == name).map(|(_, value)| value)
}

/// A body of the length that is announced.
fn body(answer: &str) -> &str {
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(header(answer, "content-length"), Some(&*body.len().to_string()), "{answer}");
    body
}

fn is_json(body: &str) -> bool {
    serde_json::from_str::<Value>(body).is_ok()
}

/// A handshake until it fails for the client, which then says so to the server, or not; the client's error.
fn failed_handshake(proxy: &InspectingProxy, mut tls: ClientConnection, alert: bool) -> String {
    let (mut stream, _) = connect(proxy, PORTAL, "", PATIENCE).unwrap();
    tls.write_tls(&mut stream).unwrap();
    loop {
        assert_ne!(tls.read_tls(&mut stream).unwrap(), 0);
        if let Err(e) = tls.process_new_packets() {
            if alert {
                while tls.wants_write() {
                    tls.write_tls(&mut stream).unwrap();
                }
            }
            return format!("{e:?}");
        }
        assert!(tls.is_handshaking(), "the certificate is accepted");
    }
}

#[test]
fn it_opens_tls_with_its_own_certificate_and_relays() {
    let office = Office::open();
    for version in TLS {
        let (stream, _) = connect(&office.proxy, PORTAL, "", PATIENCE).unwrap();
        let mut stream = StreamOwned::new(client(&office.proxy.ca_pem(), version), stream);
        stream.write_all(office.request().as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(status(&answer), 200, "{answer}");
        assert!(body(&answer).contains("accessKeyId") && header(&answer, "x-amzn-requestid").is_some());
        assert_eq!(header(&answer, "connection"), Some("close"));
        let leaf = stream.conn.peer_certificates().unwrap()[0].to_vec();
        for part in ["Zscaler Root CA", "Zscaler Inc.", PORTAL] {
            assert!(leaf.windows(part.len()).any(|w| w == part.as_bytes()), "{part}");
        }
    }
    assert_eq!(office.fake.role_calls(ACCOUNT, "Developer"), 2);
    let expected = Seen {
        target: format!("{PORTAL}:443"),
        handshake: Some(true),
        requests: vec![office.request().trim_end().to_owned()],
        over: true,
        ..Seen::default()
    };
    office.last_seen();
    assert_eq!(office.proxy.seen(), [expected.clone(), expected]);
}

#[test]
fn a_request_with_a_body_is_relayed_however_it_is_framed() {
    let office = Office::open();
    let body = r#"{"clientName":"x","clientType":"public"}"#;
    let (first, second) = body.split_at(10);
    for framed in [
        format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        format!("Transfer-Encoding: chunked\r\n\r\na\r\n{first}\r\n{:x};x=y\r\n{second}\r\n0\r\n\r\n", second.len()),
    ] {
        let mut stream = office.tunnel(PATIENCE).unwrap();
        let head = "POST /client/register HTTP/1.1\r\nHost: oidc\r\nContent-Type: application/json\r\n";
        stream.write_all(format!("{head}{framed}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(status(&answer), 200, "{answer}");
    }
    assert_eq!(office.fake.succeeded(Operation::RegisterClient), 2);
}

#[test]
fn each_wrong_certificate_is_wrong_in_its_way() {
    let office = Office::open();
    for (leaf, complaint) in [
        (Leaf::OtherHost, "NotValidForName"),
        (Leaf::Expired, "Expired"),
        (Leaf::NotYetValid, "NotValidYet"),
        (Leaf::SelfSigned, "UnknownIssuer"),
        (Leaf::AuthorityItself, "CaUsedAsEndEntity"),
    ] {
        office.proxy.set(Behaviour::Leaf(leaf));
        let said = failed_handshake(&office.proxy, client(&office.proxy.ca_pem(), &rustls::version::TLS13), true);
        assert!(said.contains(complaint), "{leaf:?}: {said}");
        let seen = office.last_seen();
        assert_eq!(seen.handshake, Some(false));
        assert!(seen.after_failure > 0 && seen.requests.is_empty(), "{seen:?}");
    }
    office.proxy.set(Behaviour::Inspect);
    assert_eq!(status(&office.ask().unwrap()), 200);
}

#[test]
fn a_client_that_sends_its_alert_is_told_from_one_that_drops_the_connection() {
    let office = Office::open();
    let stranger = InspectingProxy::start_with(address(&office.fake.url()), "Corporate Root", "Corp");
    for version in TLS {
        let tls = || client(&stranger.ca_pem(), version);
        assert!(failed_handshake(&office.proxy, tls(), false).contains("UnknownIssuer"));
        let seen = office.last_seen();
        assert_eq!((seen.handshake, seen.after_failure), (Some(false), 0), "{version:?}");
        assert!(failed_handshake(&office.proxy, tls(), true).contains("UnknownIssuer"));
        let seen = office.last_seen();
        assert_eq!(seen.handshake, Some(false));
        assert!(seen.after_failure >= 7, "{version:?}: {seen:?}"); // an alert's record
    }
    // A client that gives up before any handshake.
    drop(connect(&office.proxy, PORTAL, "", PATIENCE).unwrap());
    assert_eq!(office.last_seen().handshake, None);
}

#[test]
fn the_written_authority_is_the_one_that_signs() {
    let proxy = Office::open().proxy;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    proxy.write_ca(&path);
    assert_eq!(std::fs::read_to_string(path).unwrap(), proxy.ca_pem());
    assert!(proxy.ca_pem().starts_with("-----BEGIN CERTIFICATE-----"));
}

#[test]
fn it_asks_for_credentials_until_they_are_right() {
    let accepts = Some("Basic dTpw".to_owned());
    let schemes = [r#"Basic realm="corp""#, "NTLM", "Negotiate"].map(str::to_owned).to_vec();
    let office = Office::with(Behaviour::AskCredentials { schemes: schemes.clone(), accepts });
    for wrong in ["", "Proxy-Authorization: Basic d3Jvbmc=\r\n"] {
        let (_, reply) = connect(&office.proxy, PORTAL, wrong, PATIENCE).unwrap();
        assert_eq!(status(&reply), 407);
        let asked: Vec<&str> = reply.lines().filter_map(|l| l.strip_prefix("proxy-authenticate: ")).collect();
        assert_eq!(asked, schemes);
        assert!(body(&reply).contains("<html>"));
    }
    assert_eq!(office.last_seen().proxy_authorization.as_deref(), Some("Basic d3Jvbmc="));
    let (_, reply) = connect(&office.proxy, PORTAL, "Proxy-Authorization: Basic dTpw\r\n", PATIENCE).unwrap();
    assert_eq!(status(&reply), 200);
    let given: Vec<_> = office.proxy.seen().into_iter().map(|seen| seen.proxy_authorization).collect();
    assert_eq!(given, [None, Some("Basic d3Jvbmc=".to_owned()), Some("Basic dTpw".to_owned())]);
    office.proxy.set(Behaviour::AskCredentials { schemes, accepts: None });
    let (_, reply) = connect(&office.proxy, PORTAL, "", PATIENCE).unwrap();
    assert_eq!(status(&reply), 407, "nothing opens");
}

#[test]
fn it_refuses_addresses_and_what_is_no_connect() {
    let office = Office::with(Behaviour::Refuse(403));
    let (_, reply) = connect(&office.proxy, PORTAL, "", PATIENCE).unwrap();
    assert!(reply.starts_with("HTTP/1.1 403 Forbidden\r\n") && body(&reply).contains("<html>"), "{reply}");
    assert_eq!(office.last_seen(), Seen { target: format!("{PORTAL}:443"), over: true, ..Seen::default() });

    let plain = crate::support::http::request(&office.proxy.url(), "GET", "http://x/", &[], b"", PATIENCE).unwrap();
    assert_eq!(plain.status, 405);
    assert_eq!(office.last_seen(), Seen { over: true, ..Seen::default() });
}

/// What is seen of a connection that ended at this stage.
fn assert_came_as_far(seen: &Seen, stage: Stage, office: &Office) {
    assert_eq!(seen.target.is_empty(), stage == Stage::Accept, "{stage:?}");
    let handshake = (stage >= Stage::Handshake).then_some(stage > Stage::Handshake);
    assert_eq!(seen.handshake, handshake, "{stage:?}");
    assert_eq!(seen.requests.len(), usize::from(stage >= Stage::Request), "{stage:?}");
    assert_eq!(office.fake.count(Operation::GetRoleCredentials), usize::from(stage == Stage::Answer), "{stage:?}");
}

#[test]
fn it_resets_connections_at_each_stage() {
    for stage in STAGES {
        let office = Office::with(Behaviour::Reset(stage));
        let e = office.ask().unwrap_err();
        // A client that writes after the reset may hear of a broken pipe.
        assert!(matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{stage:?}: {e}");
        assert_came_as_far(&office.last_seen(), stage, &office);
    }
}

#[test]
fn black_holes_say_nothing_more_from_each_stage_on() {
    for stage in STAGES {
        let office = Office::with(Behaviour::BlackHole(stage));
        let e = office.ask_within(Duration::from_millis(500)).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{stage:?}: {e}");
        assert_came_as_far(&office.last_seen(), stage, &office);
    }
}

#[test]
fn an_answer_that_breaks_off_comes_by_half() {
    for end in [Behaviour::Reset, Behaviour::BlackHole] {
        let office = Office::with(end(Stage::Answer));
        let mut stream = office.tunnel(Duration::from_millis(500)).unwrap();
        stream.write_all(office.request().as_bytes()).unwrap();
        let mut came = Vec::new();
        stream.read_to_end(&mut came).unwrap_err();
        let came = String::from_utf8(came).unwrap();
        let body = came.split_once("\r\n\r\n").unwrap().1;
        let announced: usize = header(&came, "content-length").unwrap().parse().unwrap();
        assert_eq!(body.len(), announced / 2, "{came}");
    }
}

#[test]
fn a_drip_comes_byte_by_byte() {
    let office = Office::with(Behaviour::Drip);
    let mut stream = office.tunnel(PATIENCE).unwrap();
    stream.write_all(office.request().as_bytes()).unwrap();
    let mut came = [0; 64];
    assert_eq!(stream.read(&mut came).unwrap(), 1);
    let start = clock::instant();
    stream.read_exact(&mut came[1..4]).unwrap();
    assert!(start.elapsed() > Duration::from_millis(600), "{:?}", start.elapsed());
    assert_eq!(&came[..4], b"HTTP");
}

#[test]
fn pages_stand_where_answers_would() {
    let office = Office::with(Behaviour::page(200));
    let page = office.ask().unwrap();
    assert_eq!((status(&page), header(&page, "content-type")), (200, Some("text/html")));
    assert!(body(&page).contains("<title>Sign in to the network</title>"));
    office.proxy.set(Behaviour::redirect("https://sign-in.invalid/?x=1"));
    let elsewhere = office.ask().unwrap();
    assert_eq!((status(&elsewhere), header(&elsewhere, "location")), (302, Some("https://sign-in.invalid/?x=1")));
    office.proxy.set(Behaviour::network_sign_in());
    assert!(office.ask().unwrap().starts_with("HTTP/1.1 511 Network Authentication Required\r\n"));
    office.proxy.set(Behaviour::Answer(b"no HTTP at all".to_vec()));
    assert_eq!(office.ask().unwrap(), "no HTTP at all");
    assert_eq!(office.last_seen().requests.len(), 1);
    assert!(office.fake.calls().is_empty());
}

#[test]
fn headers_are_stripped_both_ways() {
    let strip = |request: &[&str], response: &[&str]| Behaviour::Strip {
        request: request.iter().map(|s| (*s).to_owned()).collect(),
        response: response.iter().map(|s| (*s).to_owned()).collect(),
    };
    let office = Office::with(strip(&["x-corp-*"], &["x-amzn-*", "Date"]));
    let answer = office.ask().unwrap();
    assert_eq!(status(&answer), 200);
    assert_eq!((header(&answer, "x-amzn-requestid"), header(&answer, "date")), (None, None));
    assert!(is_json(body(&answer)));
    office.proxy.set(strip(&["x-amz-sso_bearer_token"], &[]));
    let answer = office.ask().unwrap();
    assert_eq!(status(&answer), 401);
    assert!(header(&answer, "x-amzn-requestid").is_some() && header(&answer, "date").is_some());
}

#[test]
fn bodies_are_cut_and_mangled() {
    let office = Office::with(Behaviour::Cut);
    let cut = office.ask().unwrap();
    assert!(status(&cut) == 200 && body(&cut).starts_with("{\"") && !is_json(body(&cut)), "{cut}");
    office.proxy.set(Behaviour::Mangle);
    let mangled = office.ask().unwrap();
    assert!(body(&mangled).starts_with("{\"roleCredentials':{'") && !is_json(body(&mangled)), "{mangled}");
    assert_eq!(body(&mangled).matches('"').count(), 1);
    office.proxy.set(Behaviour::Inspect);
    assert!(is_json(body(&office.ask().unwrap())));
}

#[test]
fn hosts_are_told_apart_and_the_last_word_counts() {
    let office = Office::open();
    let said = |host: &str| status(&connect(&office.proxy, host, "", PATIENCE).unwrap().1);
    office.proxy.set_for("Amazonaws", Behaviour::Refuse(403));
    office.proxy.set_for("oidc", Behaviour::Refuse(503));
    assert_eq!((said("api.invalid"), said(PORTAL), said("OIDC.eu-west-1.amazonaws.com")), (200, 403, 503));
    office.proxy.set_for("amazonaws", Behaviour::Inspect);
    assert_eq!((said(PORTAL), said("oidc.eu-west-1.amazonaws.com")), (200, 200));
    office.proxy.set(Behaviour::Refuse(500));
    assert_eq!((said("api.invalid"), said(PORTAL)), (500, 500));
    office.proxy.set(Behaviour::Inspect);
    office.proxy.set_for("portal", Behaviour::Reset(Stage::Accept));
    assert_eq!(connect(&office.proxy, PORTAL, "", PATIENCE).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let targets: Vec<String> = office.proxy.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets.len(), 8);
    assert_eq!((&*targets[0], &*targets[7]), ("api.invalid:443", &*format!("{PORTAL}:443")));
}

#[test]
fn an_upstream_that_fails_is_a_bad_gateway_and_a_client_that_goes_is_let_go() {
    let office = Office::open();
    office.fake.inject(Fault::reset().times(1));
    assert_eq!(status(&office.ask().unwrap()), 502);
    office.fake.inject(Fault::cut_body().times(1));
    let short = office.ask().unwrap();
    let announced: usize = header(&short, "content-length").unwrap().parse().unwrap();
    assert!(short.split_once("\r\n\r\n").unwrap().1.len() < announced);
    office.fake.inject(Fault::hang().times(1));
    assert!(office.ask_within(Duration::from_millis(300)).is_err());
    let over = || office.fake.calls().iter().all(|c| c.finished).then_some(());
    eventually("the fake notices that nobody waits any more", PATIENCE, over);
    office.fake.stop();
    assert_eq!(status(&office.ask().unwrap()), 502);
}

#[test]
fn all_ends_with_the_proxy() {
    let Office { proxy, .. } = Office::with(Behaviour::BlackHole(Stage::Accept));
    let address = address(&proxy.url());
    let mut waiting = TcpStream::connect(address).unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    eventually("the connection is there", PATIENCE, || proxy.seen().pop());
    drop(proxy);
    assert_eq!(waiting.read(&mut [0]).unwrap(), 0);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}
