//! An authority, and a certificate of it for `localhost` and 127.0.0.1.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

pub(crate) struct Authority(TempDir);

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // Of the same name as who issued it, a certificate is taken for one that nobody vouches for.
        let name = "the authority of a test";
        params.distinguished_name.push(DnType::CommonName, name);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        let site = params.signed_by(&key, &authority).unwrap();
        let made = Self(folder);
        fs::write(made.roots(), authority.pem()).unwrap();
        fs::write(made.chain(), site.pem()).unwrap();
        fs::write(made.key(), key.serialize_pem()).unwrap();
        made
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// What those who trust it need.
    pub(crate) fn roots(&self) -> PathBuf {
        self.path().join("roots.pem")
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.path().join("site.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path().join("site.key")
    }
}
