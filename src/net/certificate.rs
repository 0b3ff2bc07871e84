//! What a chain of certificates says, and why one is refused. Only read for people: what is trusted is decided by
//! rustls alone.

use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::products;
use crate::core::classify::{CertificateFault, Issuer};
use crate::core::probe::Certificate;
use crate::core::time::Timestamp;

/// Names are cut there: a hostile one is not repeated at length.
const LONGEST_NAME: usize = 80;
/// More certificates than any sane server presents are not looked at.
const LONGEST_CHAIN: usize = 10;

/// The certificates of a chain, the server's own first; what cannot be read is left out.
#[must_use]
pub fn describe(chain: &[CertificateDer<'_>]) -> Vec<Certificate> {
    chain.iter().take(LONGEST_CHAIN).filter_map(|der| one(der)).collect()
}

/// Who stands behind the chain: the issuer of its last certificate, and the product that any of its names tells.
#[must_use]
pub fn issuer(chain: &[Certificate]) -> Option<Issuer> {
    let last = chain.last()?;
    let names = chain.iter().flat_map(|c| [c.issuer.as_str(), c.organisation.as_str()]);
    Some(Issuer { name: last.issuer.clone(), product: products::known_by(names).map(str::to_owned) })
}

/// rustls' verdict in our words.
#[must_use]
pub fn fault(fault: &CertificateError) -> CertificateFault {
    use CertificateError as C;
    match fault {
        C::UnknownIssuer => CertificateFault::UnknownIssuer,
        C::NotValidForName | C::NotValidForNameContext { .. } => CertificateFault::NameMismatch,
        C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. } => {
            CertificateFault::NotValidNow
        }
        // The type of this one is private to rustls' verifier.
        C::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => CertificateFault::Authority,
        other => CertificateFault::Other(other.to_string()),
    }
}

fn one(der: &CertificateDer<'_>) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some(Certificate {
        subject: name(certificate.subject()),
        issuer: name(certificate.issuer()),
        organisation: organisation(certificate.issuer()),
        not_before: Timestamp::from_secs(validity.not_before.timestamp()),
        not_after: Timestamp::from_secs(validity.not_after.timestamp()),
    })
}

/// The common name, else the organisation, else everything.
fn name(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().find_map(|part| part.as_str().ok());
    let text = common.map_or_else(|| organisation(name), str::to_owned);
    printable(if text.is_empty() { name.to_string() } else { text })
}

fn organisation(name: &X509Name<'_>) -> String {
    let found = name.iter_organization().find_map(|part| part.as_str().ok());
    printable(found.unwrap_or_default().to_owned())
}

fn printable(text: String) -> String {
    let clean = text.chars().map(|c| if c.is_control() || c == '\'' { ' ' } else { c });
    clean.take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    #[test]
    fn a_chain_tells_who_signed_it() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Corp 'Root'\n CA");
        params.distinguished_name.push(DnType::OrganizationName, "Zscaler Inc.");
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let params = CertificateParams::new(vec!["oidc.eu-west-1.amazonaws.com".to_owned()]).unwrap();
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &root).unwrap();
        let chain = describe(&[leaf.der().clone(), CertificateDer::from(vec![1, 2, 3])]);
        assert_eq!(chain.len(), 1, "what is no certificate is left out");
        let issuer = issuer(&chain).unwrap();
        assert_eq!(issuer.name, "Corp  Root   CA");
        assert_eq!(issuer.to_string(), "'Corp  Root   CA' (Zscaler)");
        assert_eq!(super::issuer(&[]), None);
    }
}
