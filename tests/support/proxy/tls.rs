//! The proxy's authority, the certificates that it signs, and the handshake with them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Datelike;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, ServerConnection};

use super::behaviour::Leaf;
use crate::support::clock;

/// A host, and what is wrong with its certificate.
type Name = (String, Option<Leaf>);

/// A certificate authority, and the servers that it plays: one for each host and fault, each with its one certificate.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    servers: Mutex<BTreeMap<Name, Arc<ServerConfig>>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    pub(super) fn new(common_name: &str, organisation: &str) -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.distinguished_name.push(DnType::OrganizationName, organisation);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (date_time_ymd(2015, 1, 1), date_time_ymd(2049, 1, 1));
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        Ok(Self { issuer, servers: Mutex::default() })
    }

    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The server for this host, with a good certificate or a wrong one.
    pub(super) fn server(&self, host: &str, wrong: Option<Leaf>) -> io::Result<Arc<ServerConfig>> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (host.to_ascii_lowercase(), wrong);
        if let Some(server) = servers.get(&name) {
            return Ok(Arc::clone(server));
        }
        let (certificate, key) = self.identity(host, wrong).map_err(io::Error::other)?;
        let server = Arc::new(server_config(certificate, key)?);
        servers.insert(name, Arc::clone(&server));
        Ok(server)
    }

    fn identity(&self, host: &str, wrong: Option<Leaf>) -> Result<(CertificateDer<'static>, Vec<u8>), rcgen::Error> {
        if wrong == Some(Leaf::AuthorityItself) {
            return Ok((self.issuer.der().clone(), self.issuer.key().serialize_der()));
        }
        let name = if wrong == Some(Leaf::OtherHost) { "other.invalid" } else { host };
        let params = leaf(name, wrong)?;
        let key = KeyPair::generate()?;
        let certificate = match wrong {
            Some(Leaf::SelfSigned) => params.self_signed(&key)?,
            _ => params.signed_by(&key, &self.issuer)?,
        };
        Ok((certificate.der().clone(), key.serialize_der()))
    }
}

/// As strict clients want them: OpenSSL asks for the key identifiers, Apple for a life under 825 days.
fn leaf(name: &str, wrong: Option<Leaf>) -> Result<CertificateParams, rcgen::Error> {
    let year = clock::now().year();
    let years = match wrong {
        Some(Leaf::Expired) => (year - 3, year - 2),
        Some(Leaf::NotYetValid) => (year + 3, year + 4),
        _ => (year - 1, year + 1),
    };
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 2), date_time_ymd(years.1, 12, 31));
    Ok(params)
}

fn server_config(certificate: CertificateDer<'static>, key: Vec<u8>) -> io::Result<ServerConfig> {
    let key = PrivateKeyDer::try_from(key).map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Nothing is resumed: each connection judges its certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Reads a ClientHello's record, and no more.
pub(super) fn read_client_hello(mut client: &TcpStream) -> io::Result<()> {
    let mut head = [0; 5];
    io::Read::read_exact(&mut client, &mut head)?;
    let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
    io::Read::read_exact(&mut client, &mut vec![0; length])
}

/// Plays the server's side. `heard` is told how many bytes have come since the certificate was sent, each time that more
/// come; a handshake that fails is listened to until the client ends the connection.
pub(super) fn handshake(
    mut client: &TcpStream,
    server: Arc<ServerConfig>,
    mut heard: impl FnMut(usize),
) -> io::Result<ServerConnection> {
    let mut tls = ServerConnection::new(server).map_err(io::Error::other)?;
    // Since the proxy last said something: the certificate is the last that it says unasked.
    let mut since = None;
    while tls.is_handshaking() || tls.wants_write() {
        if tls.wants_write() {
            tls.write_tls(&mut client)?;
            since = Some(0);
            continue;
        }
        let n = tls.read_tls(&mut client)?;
        since = since.map(|before| before + n);
        heard(since.unwrap_or(0));
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(e) = tls.process_new_packets() {
            let _ = tls.write_tls(&mut client); // our own alert
            listen(client, since, heard);
            return Err(io::Error::other(e));
        }
    }
    Ok(tls)
}

fn listen(mut client: &TcpStream, since: Option<usize>, mut heard: impl FnMut(usize)) {
    let mut since = since;
    while let Ok(n @ 1..) = io::Read::read(&mut client, &mut [0; 1024]) {
        since = since.map(|before| before + n);
        heard(since.unwrap_or(0));
    }
}

/// Whether the client of an open connection has gone, which is looked at for a moment.
pub(super) fn has_gone(tls: &mut ServerConnection, mut client: &TcpStream) -> bool {
    let _ = client.set_read_timeout(Some(Duration::from_millis(1)));
    let read = tls.read_tls(&mut client);
    let _ = client.set_read_timeout(Some(super::PATIENCE));
    match read {
        Ok(0) => true,
        Ok(_) => tls.process_new_packets().map_or(true, |state| state.peer_has_closed()),
        Err(e) => !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
    }
}
