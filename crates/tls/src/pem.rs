//! Certificates and keys from PEM files (RFC 7468), with errors that name the file and the line.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, SectionKind};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};

use crate::TlsConfigError;

/// A file that is longer is not read: the roots of a whole system have about 250 KiB.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Text in PEM, and where it is from.
pub(crate) struct PemText {
    bytes: Vec<u8>,
    origin: PathBuf,
}

/// A section, and the line that it begins in.
struct Section {
    kind: SectionKind,
    der: Vec<u8>,
    line: usize,
}

impl PemText {
    pub(crate) fn read(path: &Path) -> Result<Self, TlsConfigError> {
        let error = |source: std::io::Error| {
            let advice = match source.kind() {
                std::io::ErrorKind::NotFound => "; is the path right?",
                std::io::ErrorKind::PermissionDenied => "; let the user of this process read it",
                _ => "",
            };
            TlsConfigError::new(path, None, format!("cannot be read: {source}{advice}"))
        };
        let file = fs::File::open(path).map_err(error)?;
        let mut bytes = Vec::new();
        let read = file
            .take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(error)?;
        if read as u64 > MAX_FILE {
            let message = "is longer than 16 MiB; is it a PEM file?";
            return Err(TlsConfigError::new(path, None, message));
        }
        Ok(Self {
            bytes,
            origin: path.to_owned(),
        })
    }

    /// Text that is no file; `origin` is what errors call it.
    pub(crate) fn new(text: &[u8], origin: &str) -> Self {
        Self {
            bytes: text.to_vec(),
            origin: origin.into(),
        }
    }

    /// All certificates, in their order: at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
        let sections = self.sections()?;
        let certificates = sections
            .into_iter()
            .filter_map(|section| match section.kind {
                SectionKind::Certificate => Some(CertificateDer::from(section.der)),
                _ => None,
            });
        let certificates: Vec<_> = certificates.collect();
        if certificates.is_empty() {
            return Err(self.error(
                None,
                "has no certificate; it needs a section `-----BEGIN CERTIFICATE-----`",
            ));
        }
        Ok(certificates)
    }

    /// The private key: exactly one.
    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
        let mut keys = Vec::new();
        for Section { kind, der, line } in self.sections()? {
            let key: PrivateKeyDer<'static> = match kind {
                SectionKind::PrivateKey => PrivatePkcs8KeyDer::from(der).into(),
                SectionKind::RsaPrivateKey => PrivatePkcs1KeyDer::from(der).into(),
                SectionKind::EcPrivateKey => PrivateSec1KeyDer::from(der).into(),
                _ => continue,
            };
            if !keys.is_empty() {
                return Err(self.error(Some(line), "a second private key; keep one"));
            }
            keys.push(key);
        }
        keys.pop()
            .ok_or_else(|| self.error(None, self.why_no_key()))
    }

    /// All certificates, as authorities to trust.
    pub(crate) fn roots(&self) -> Result<RootCertStore, TlsConfigError> {
        let mut roots = RootCertStore::empty();
        for Section { kind, der, line } in self.sections()? {
            if kind == SectionKind::Certificate {
                roots.add(der.into()).map_err(|error| {
                    let message = format!("the certificate cannot be an authority: {error}");
                    self.error(Some(line), message)
                })?;
            }
        }
        if roots.is_empty() {
            return Err(self.error(
                None,
                "has no certificate to trust; it needs a section `-----BEGIN CERTIFICATE-----`",
            ));
        }
        Ok(roots)
    }

    /// An error about this text.
    pub(crate) fn error(&self, line: Option<usize>, message: impl Into<String>) -> TlsConfigError {
        TlsConfigError::new(&self.origin, line, message)
    }

    fn why_no_key(&self) -> &'static str {
        let has = |text: &[u8]| self.bytes.windows(text.len()).any(|window| window == text);
        if has(b"ENCRYPTED") {
            "has a private key that is encrypted; decrypt it with `openssl pkey -in OLD -out NEW`"
        } else {
            "has no private key; it needs a section `-----BEGIN PRIVATE KEY-----`"
        }
    }

    fn sections(&self) -> Result<Vec<Section>, TlsConfigError> {
        let mut rest = self.bytes.as_slice();
        let mut sections = Vec::new();
        loop {
            let start = self.next_section(rest);
            match pem::from_buf(&mut rest) {
                Ok(Some((kind, der))) => sections.push(Section {
                    kind,
                    der,
                    line: start,
                }),
                Ok(None) => return Ok(sections),
                Err(error) => return Err(self.error(Some(start), explain(&error))),
            }
        }
    }

    /// The line in which the first section of `rest` begins, from 1.
    fn next_section(&self, rest: &[u8]) -> usize {
        let marker = b"-----BEGIN";
        let before = self.bytes.len() - rest.len();
        let start = rest.windows(marker.len()).position(|part| part == marker);
        let until = before + start.unwrap_or(0);
        1 + self.bytes[..until]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    }
}

fn explain(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => format!(
            "the section that begins here has no end; add `-----END {}-----`",
            String::from_utf8_lossy(end_marker).trim_end()
        ),
        pem::Error::IllegalSectionStart { .. } => {
            "a section begins with `-----BEGIN NAME-----`, and not like this".to_owned()
        }
        pem::Error::Base64Decode(what) => {
            format!("the section that begins here is not base64 ({what}); was it cut?")
        }
        other => format!("the section that begins here cannot be read: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

    fn error(text: &str) -> String {
        let text = PemText::new(text.as_bytes(), "site.pem");
        text.certificates().unwrap_err().to_string()
    }

    #[test]
    fn certificates_are_found_between_other_text() {
        let text = format!("subject=…\n{BODY}\n# and another\n{BODY}");
        let text = PemText::new(text.as_bytes(), "site.pem");
        assert_eq!(text.certificates().unwrap().len(), 2);
    }

    #[test]
    fn what_is_broken_is_reported_with_the_line_of_its_section() {
        let broken = "-----BEGIN CERTIFICATE-----\n&&&&\n-----END CERTIFICATE-----\n";
        let text = error(&format!("{BODY}\n{broken}"));
        assert!(
            text.starts_with("site.pem, line 5: the section that begins here is not base64"),
            "{text}"
        );
        let text = error(&format!("{BODY}-----BEGIN CERTIFICATE-----\nMAA=\n"));
        assert!(text.contains("line 4: "), "{text}");
        assert!(text.contains("-----END CERTIFICATE-----"), "{text}");
    }

    #[test]
    fn a_file_with_nothing_in_it_says_what_it_needs() {
        assert_eq!(
            error("hello"),
            "site.pem has no certificate; it needs a section `-----BEGIN CERTIFICATE-----`"
        );
        let key = PemText::new(BODY.as_bytes(), "site.pem").key();
        let text = key.unwrap_err().to_string();
        assert!(text.starts_with("site.pem has no private key"), "{text}");
    }

    #[test]
    fn an_encrypted_key_is_told_from_none() {
        let key =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let text = PemText::new(key.as_bytes(), "site.key");
        let error = text.key().unwrap_err().to_string();
        assert!(error.contains("openssl pkey"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = PemText::read(Path::new("/no/such.pem")).err().unwrap();
        assert!(
            error
                .to_string()
                .starts_with("/no/such.pem cannot be read: ")
        );
    }
}
