//! The folder of the apps with TLS: a certificate, its key, and what is sent in bulk; and handshakes one by one.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

pub const CERTIFICATE: &str = "site.pem";
const KEY: &str = "site.key";
pub const BULK: &str = "bulk.bin";

const NAME: &str = "example.com";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";

/// Long enough that a request is nothing beside it, short enough for a processor's cache.
const LENGTH: usize = 4 << 20;

/// Makes it in `target`, anew: a certificate of ECDSA P-256, signed by itself.
pub fn make(target: &Path) -> Result<PathBuf, String> {
    let dir = target.join("tls");
    let [certificate, key] = certify().map_err(|error| format!("no certificate: {error}"))?;
    let mut bulk = vec![0; LENGTH];
    fastrand::Rng::with_seed(2).fill(&mut bulk);
    fs::create_dir_all(&dir)
        .and_then(|()| fs::write(dir.join(CERTIFICATE), certificate))
        .and_then(|()| fs::write(dir.join(KEY), key))
        .and_then(|()| fs::write(dir.join(BULK), bulk))
        .map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(dir)
}

fn certify() -> Result<[String; 2], rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let params = CertificateParams::new([NAME.to_owned()])?;
    Ok([params.self_signed(&key)?.pem(), key.serialize_pem()])
}

/// So many full handshakes one after the other, with a request and its answer each.
pub fn handshakes(address: SocketAddr, dir: &Path, count: usize) -> Result<(), Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join(CERTIFICATE))?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);
    for _ in 0..count {
        let tls = ClientConnection::new(Arc::clone(&config), ServerName::try_from(NAME)?)?;
        let mut stream = StreamOwned::new(tls, TcpStream::connect(address)?);
        stream.write_all(REQUEST)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        if !answer.ends_with(b"Hello, World!") {
            return Err("another answer".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection};
    use std::net::TcpListener;

    /// A server with the certificate in `dir`, for two connections.
    fn serve(dir: &Path, answer: &'static str) -> SocketAddr {
        let chain = vec![CertificateDer::from_pem_file(dir.join(CERTIFICATE)).unwrap()];
        let key = PrivateKeyDer::from_pem_file(dir.join(KEY)).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(tls, stream.unwrap());
                stream.read_exact(&mut vec![0; REQUEST.len()]).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        });
        address
    }

    #[test]
    fn the_certificate_that_is_made_serves_for_handshakes() {
        let target = tempfile::tempdir().unwrap();
        let dir = make(target.path()).unwrap();
        assert_eq!(fs::metadata(dir.join(BULK)).unwrap().len(), 4 << 20);
        handshakes(serve(&dir, "Hello, World!"), &dir, 2).unwrap();
        let said = handshakes(serve(&dir, "Hello, wor"), &dir, 1).unwrap_err();
        assert_eq!(said.to_string(), "another answer");
    }
}
