//! TLS with a verifier that records what it is shown and fails closed: what rustls refuses is refused, and then nothing
//! more is sent, not even the alert.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::wire::{self, Stream};
use crate::core::classify::Signal;
use crate::net::certificate;
use crate::net::trust::Trust;

/// What a server presented.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its certificates, its own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whether rustls trusts them.
    pub trusted: Option<bool>,
}

/// Roots to judge a chain by.
#[derive(Clone)]
pub struct Roots {
    provider: Arc<CryptoProvider>,
    /// `None`: there are no roots, so nothing is trusted.
    ours: Option<Arc<WebPkiServerVerifier>>,
    /// The same as certificates.
    certificates: Arc<[CertificateDer<'static>]>,
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Roots")
    }
}

impl Roots {
    /// The roots of `trust`.
    #[must_use]
    pub fn new(trust: &Trust) -> Self {
        let provider = Arc::new(ring::default_provider());
        let ours = verifier(store(&trust.roots), &provider);
        Self { provider, ours, certificates: trust.roots.as_slice().into() }
    }

    /// The roots themselves.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Whether the chain leads to a root that browsers ship.
    #[must_use]
    pub fn is_public(&self, host: &str, seen: &Seen) -> bool {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        verifier(roots, &self.provider).is_some_and(|v| leads_to_a_root(&*v, host, seen))
    }

    /// Whether the chain would be trusted by whoever trusts these roots and, with `public`, those that browsers ship.
    #[must_use]
    pub fn would_trust(&self, extra: &[CertificateDer<'static>], public: bool, host: &str, seen: &Seen) -> bool {
        let mut roots = store(extra);
        if public {
            roots.roots.extend_from_slice(webpki_roots::TLS_SERVER_ROOTS);
        }
        verifier(roots, &self.provider).is_some_and(|v| leads_to_a_root(&*v, host, seen))
    }
}

fn store(roots: &[CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    store
}

fn verifier(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().ok()
}

/// Whether the chain leads to a root. One that has lapsed, or is for another host, still has an issuer, whom alone the
/// question is about.
fn leads_to_a_root(verifier: &dyn ServerCertVerifier, host: &str, seen: &Seen) -> bool {
    use CertificateError as C;
    let (Some((leaf, others)), Ok(name)) = (seen.chain.split_first(), ServerName::try_from(host.to_owned())) else {
        return false;
    };
    match verifier.verify_server_cert(leaf, others, &name, &[], UnixTime::now()) {
        Ok(_) => true,
        Err(Error::InvalidCertificate(fault)) => matches!(
            fault,
            C::Expired
                | C::ExpiredContext { .. }
                | C::NotValidYet
                | C::NotValidYetContext { .. }
                | C::NotValidForName
                | C::NotValidForNameContext { .. }
        ),
        Err(_) => false,
    }
}

/// Records, and says what rustls says.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    judge: Option<Arc<WebPkiServerVerifier>>,
    seen: Mutex<Seen>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = match &self.judge {
            Some(judge) => judge.verify_server_cert(leaf, others, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        let chain = std::iter::once(leaf).chain(others).map(|der| der.clone().into_owned()).collect();
        let seen = Seen { chain, trusted: Some(verdict.is_ok()) };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Shakes hands; whatever comes of it, what was presented is told.
pub(super) fn handshake(mut stream: Stream, host: &str, roots: &Roots) -> (Result<Stream, Signal>, Seen) {
    let recorder =
        Arc::new(Recorder { provider: Arc::clone(&roots.provider), judge: roots.ours.clone(), seen: Mutex::default() });
    let result = connection(host, roots, &recorder).and_then(|mut tls| {
        complete(&mut tls, &mut stream)?;
        let stream: Stream = Box::new(StreamOwned::new(tls, stream));
        Ok(stream)
    });
    let seen = recorder.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (result, seen)
}

fn connection(host: &str, roots: &Roots, recorder: &Arc<Recorder>) -> Result<ClientConnection, Signal> {
    let unusable = |e: &dyn std::error::Error| Signal::Tls { detail: e.to_string() };
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|e| unusable(&e))?;
    let config = ClientConfig::builder_with_provider(Arc::clone(&roots.provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(&e))?
        .dangerous() // the word for a verifier of one's own: this one adds a record and takes nothing away
        .with_custom_certificate_verifier(Arc::<Recorder>::clone(recorder))
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), name).map_err(|e| unusable(&e))
}

/// The handshake, step by step: rustls' own helper would send an alert after a failure.
fn complete(tls: &mut ClientConnection, stream: &mut Stream) -> Result<(), Signal> {
    while tls.is_handshaking() {
        while tls.wants_write() {
            tls.write_tls(stream).map_err(|e| broken(&e))?;
        }
        stream.flush().map_err(|e| broken(&e))?;
        if tls.is_handshaking() && tls.wants_read() {
            match tls.read_tls(stream) {
                Ok(0) => return Err(wire::closed("who answers TLS")),
                Ok(_) => tls.process_new_packets().map_err(|e| refused(&e)).map(drop)?,
                Err(e) => return Err(broken(&e)),
            }
        }
    }
    Ok(())
}

fn broken(error: &io::Error) -> Signal {
    wire::signal(error, false)
}

fn refused(error: &Error) -> Signal {
    match error {
        Error::InvalidCertificate(fault) => Signal::Certificate { fault: certificate::fault(fault), issuer: None },
        other => Signal::Tls { detail: other.to_string() },
    }
}
