//! The certificates of a world: made once in a process, and put into a folder of each world, so that
//! none of them finds what another one has read or agreed on.

use std::path::PathBuf;
use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

pub(crate) struct Certificates {
    folder: TempDir,
}

/// In PEM: the authority, and the server's certificate with its key.
struct Made {
    roots: String,
    server: String,
}

static MADE: OnceLock<Made> = OnceLock::new();

impl Certificates {
    pub(crate) fn new() -> std::io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let made = MADE.get_or_init(make);
        std::fs::write(folder.path().join("roots.pem"), &made.roots)?;
        std::fs::write(folder.path().join("server.pem"), &made.server)?;
        Ok(Self { folder })
    }

    pub(crate) fn roots(&self) -> String {
        self.path("roots.pem")
    }

    pub(crate) fn server(&self) -> String {
        self.path("server.pem")
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        path.to_string_lossy()
            .replace('\\', "\\\\")
            .replace(':', "\\:")
    }
}

/// All of them have the same length each time: signatures by Ed25519, and numbers that are given.
fn make() -> Made {
    let made = || -> Result<Made, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.serial_number = Some(SerialNumber::from(1));
        let name = "the authority of a simulated world";
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let authority = CertifiedIssuer::self_signed(params, key)?;

        let mut params = CertificateParams::new(vec!["server".to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(SerialNumber::from(2));
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(4000, 1, 1);
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let server = params.signed_by(&key, &authority)?;
        Ok(Made {
            roots: authority.pem(),
            server: format!("{}{}", server.pem(), key.serialize_pem()),
        })
    };
    made().expect("certificates of these settings can be made")
}
