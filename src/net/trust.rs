//! The roots that are trusted: the platform's own and every PEM file that any tool of the user was told of.
//!
//! A file that cannot be used becomes a [`Finding`] and is left out; the agent starts all the same. Each certificate
//! is checked here, because the HTTP client's trust store panics on a bad one.
//!
//! The platform's roots are read here rather than by the HTTP client: its own reading is cached for the life of the
//! process (a newly installed company CA would need a restart), and a debug build of it panics where there are none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::settings::CaFile;
use crate::core::status::Finding;
use crate::files::limits;

/// Longest CA file that is read: bundles of all public roots are about 300 KiB.
const MAX_BUNDLE: usize = 4 * 1024 * 1024;

/// The trusted roots, each checked and each once. May be empty; then no https address can be reached.
#[derive(Clone, Default)]
pub struct Trust {
    /// The certificates, DER.
    pub roots: Vec<CertificateDer<'static>>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trust({} roots)", self.roots.len())
    }
}

/// Reads the platform's roots and `files`. Blocking: some hundred KiB of disk.
#[must_use]
pub fn load(files: &[CaFile]) -> (Trust, Vec<Finding>) {
    let mut trust = Trust::default();
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    if trust.add(platform_roots(), &mut seen) == 0 {
        findings.push(Finding::new(
            "no-system-roots",
            "this machine has no trusted root certificates of its own",
            "install the package ca-certificates, or set AWS_CA_BUNDLE",
        ));
    }
    for file in files {
        if let Err(why) = trust.add_file(file, &mut seen) {
            findings.push(Finding::new(
                "ca-bundle-unusable",
                format!("{} names {}, which {why}", file.name, file.path.display()),
                format!(
                    "correct that file, which is then used at once; or {}, then agentctl daemon restart",
                    file.name
                ),
            ));
        }
    }
    (trust, findings)
}

/// Every file and folder whose change may change what [`load`] finds.
#[must_use]
pub fn sources(files: &[CaFile]) -> Vec<PathBuf> {
    let named = files.iter().map(|file| file.path.clone());
    named.chain(FILES.iter().chain(&FOLDERS).map(PathBuf::from)).collect()
}

impl Trust {
    /// Adds the usable ones and says how many those are, known ones included.
    fn add(&mut self, ders: Vec<CertificateDer<'static>>, seen: &mut BTreeSet<Vec<u8>>) -> usize {
        let usable: Vec<_> = ders.into_iter().filter(|der| RootCertStore::empty().add(der.clone()).is_ok()).collect();
        let count = usable.len();
        self.roots.extend(usable.into_iter().filter(|der| seen.insert(der.to_vec())));
        count
    }

    fn add_file(&mut self, file: &CaFile, seen: &mut BTreeSet<Vec<u8>>) -> Result<(), String> {
        let sections = sections(&file.path)?;
        let total = sections.len();
        let usable = self.add(sections.into_iter().flatten().collect(), seen);
        match (total, usable) {
            (0, _) => Err("holds no PEM certificate".to_owned()),
            (_, 0) => Err("holds no usable certificate".to_owned()),
            (t, u) if u < t => Err(format!("holds {} unusable certificates of {t}; the others are used", t - u)),
            _ => Ok(()),
        }
    }
}

/// The certificates of a PEM file that can be read.
///
/// # Errors
/// In words, the file cannot.
pub(super) fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    Ok(sections(path)?.into_iter().flatten().collect())
}

/// Each section of a PEM file, if it is a certificate.
fn sections(path: &Path) -> Result<Vec<Option<CertificateDer<'static>>>, String> {
    let contents = limits::read_public(path, MAX_BUNDLE).map_err(|e| e.to_string())?;
    Ok(CertificateDer::pem_slice_iter(&contents.bytes).map(Result::ok).collect())
}

/// The system's bundles, as files to be named to others.
pub(super) fn bundles() -> impl Iterator<Item = PathBuf> {
    FILES.iter().map(PathBuf::from).filter(|path| path.is_file())
}

#[cfg(all(unix, not(target_os = "macos")))]
const FILES: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt",                // Debian, Arch, Gentoo
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",                  // older Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",                            // openSUSE
    "/etc/ssl/cert.pem",                                 // Alpine, BSD
    "/usr/local/share/certs/ca-root-nss.crt",            // FreeBSD
    "/var/lib/ca-certificates/ca-bundle.pem",            // SLES
];
#[cfg(all(unix, not(target_os = "macos")))]
const FOLDERS: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];
/// Elsewhere the roots are in no file.
#[cfg(not(all(unix, not(target_os = "macos"))))]
const FILES: [&str; 0] = [];
#[cfg(not(all(unix, not(target_os = "macos"))))]
const FOLDERS: [&str; 0] = [];

/// The system's bundle at its usual places. `SSL_CERT_FILE` is one more file for us, while the usual loader would let
/// it *replace* the system's roots: it reads the process's environment, so it gets paths instead.
#[cfg(all(unix, not(target_os = "macos")))]
pub(super) fn platform_roots() -> Vec<CertificateDer<'static>> {
    let files = FILES.iter().map(Path::new).filter(|p| p.is_file());
    let from_file =
        files.map(|p| rustls_native_certs::load_certs_from_paths(Some(p), None).certs).find(|certs| !certs.is_empty());
    from_file.unwrap_or_else(|| {
        let folders = FOLDERS.iter().map(Path::new).filter(|p| p.is_dir());
        folders.flat_map(|p| rustls_native_certs::load_certs_from_paths(None, Some(p)).certs).collect()
    })
}

/// The keychain or the system store. Where the process's environment has `SSL_CERT_FILE` or `SSL_CERT_DIR`, the loader
/// reads those instead, so there the union lacks the platform's own roots.
#[cfg(not(all(unix, not(target_os = "macos"))))]
pub(super) fn platform_roots() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::settings::Origin;

    fn file(path: &std::path::Path) -> CaFile {
        CaFile { name: "AWS_CA_BUNDLE", origin: Origin::Environment, path: path.into() }
    }

    fn pem() -> String {
        rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem()
    }

    fn findings_of(content: &[u8]) -> (usize, Vec<Finding>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, content).unwrap();
        let (without, _) = load(&[]);
        let (with, findings) = load(&[file(&path)]);
        (with.roots.len() - without.roots.len(), findings.into_iter().filter(|f| f.name != "no-system-roots").collect())
    }

    #[test]
    fn a_bundle_adds_its_certificates_once() {
        let one = pem();
        assert_eq!(findings_of(one.as_bytes()), (1, vec![]));
        assert_eq!(findings_of(format!("# a comment\n{one}\n{one}{}", pem()).as_bytes()), (2, vec![]));
    }

    #[test]
    fn what_cannot_be_used_is_a_finding_and_never_a_panic() {
        let cut = &pem()[..200];
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let huge = vec![b'x'; MAX_BUNDLE + 1];
        for bad in [b"".as_slice(), b"\0\xff\xfe", cut.as_bytes(), junk.as_bytes(), key.as_bytes(), &huge] {
            let (added, findings) = findings_of(bad);
            assert_eq!((added, findings.len()), (0, 1), "{:?}", String::from_utf8_lossy(&bad[..bad.len().min(60)]));
            assert_eq!(findings[0].name, "ca-bundle-unusable");
        }
    }

    #[test]
    fn the_good_part_of_a_bundle_is_used() {
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let (added, findings) = findings_of(format!("{junk}{}", pem()).as_bytes());
        assert_eq!((added, findings.len()), (1, 1));
    }

    #[test]
    fn a_missing_file_is_a_finding() {
        let (_, findings) = load(&[file(std::path::Path::new("/nonexistent/ca.pem"))]);
        let found = findings.iter().find(|f| f.name == "ca-bundle-unusable").unwrap();
        assert!(found.message.contains("does not exist"), "{}", found.message);
    }
}
