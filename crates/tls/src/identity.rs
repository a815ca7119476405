//! A certificate with its private key.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use crate::TlsConfigError;
use crate::pem::PemText;

/// Reads the chain of certificates from `certificate`, the end's own first, and the key from `key`.
pub(crate) fn load(
    certificate: &PemText,
    key: &PemText,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsConfigError> {
    let chain = certificate.certificates()?;
    check_first(certificate, &chain[0])?;
    let der = key.key()?;
    CertifiedKey::from_der(chain, der, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => key.error(
            None,
            "has the key of another certificate; give the certificate and the key that belong \
             together, the server's own certificate first",
        ),
        other => key.error(
            None,
            format!("has a private key that cannot be used: {other}"),
        ),
    })
}

/// The names that a certificate is for, in lower case.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    match webpki::EndEntityCert::try_from(certificate) {
        Ok(certificate) => certificate
            .valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect(),
        Err(_) => Vec::new(),
    }
}

fn check_first(text: &PemText, first: &CertificateDer<'_>) -> Result<(), TlsConfigError> {
    match webpki::EndEntityCert::try_from(first) {
        Ok(_) => Ok(()),
        Err(error) => Err(text.error(
            None,
            format!("has a first certificate that cannot be read: {error}"),
        )),
    }
}
