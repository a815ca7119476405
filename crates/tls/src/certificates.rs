//! The certificates of a server: which one a client gets, and how they are renewed on disk.
//!
//! The files are looked at when a handshake begins, at most once a second, by their times, sizes and
//! numbers; only those that changed are read. One that cannot be used is logged once, and what was
//! read from it before stays in use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::pem::PemText;
use crate::stamp::{self, Stamp};
use crate::{TlsConfigError, identity, sni};

/// How often files are looked at, at most.
const CHECK: Duration = Duration::from_secs(1);

/// The file of a directory that is for clients which ask for no name, or for one that none has.
const DEFAULT: &str = "default.pem";

/// Where certificates and keys are.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// In memory, certificate and key in one.
    Pem(Vec<u8>),
    /// A chain of certificates, and its key.
    Files(PathBuf, PathBuf),
    /// Every `*.pem` here, each with its key.
    Directory(PathBuf),
}

#[derive(Debug)]
pub(crate) struct Certificates {
    source: Source,
    provider: Arc<CryptoProvider>,
    table: RwLock<Arc<Table>>,
    check: Mutex<Check>,
}

/// What was read last.
#[derive(Debug)]
struct Check {
    next: Option<Instant>,
    entries: BTreeMap<PathBuf, Entry>,
    /// The directory could not be listed, and this was logged.
    failing: bool,
}

/// A certificate, and the files that it is from.
#[derive(Debug)]
struct Entry {
    stamp: Vec<Stamp>,
    /// `None` if there never was a good one.
    key: Option<Arc<CertifiedKey>>,
}

/// Which certificate a client gets.
#[derive(Debug)]
struct Table {
    default: Arc<CertifiedKey>,
    /// By name, in lower case; `*.` stands for one label.
    names: BTreeMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    pub(crate) fn load(
        source: Source,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsConfigError> {
        let mut entries = BTreeMap::new();
        for path in source.list()? {
            let stamp = source.stamp(&path);
            let key = Some(source.read(&path, &provider)?);
            entries.insert(path, Entry { stamp, key });
        }
        let table = source.table(&entries).ok_or_else(|| source.nothing())?;
        Ok(Self {
            source,
            provider,
            table: RwLock::new(Arc::new(table)),
            check: Mutex::new(Check {
                next: None,
                entries,
                failing: false,
            }),
        })
    }

    /// Reads what has changed, if it is time to look.
    pub(crate) fn reload_if_changed(&self, now: Instant) {
        if let Source::Pem(_) = self.source {
            return;
        }
        // Of several threads one looks, and the others go on with what there is.
        let Ok(mut check) = self.check.try_lock() else {
            return;
        };
        if check.next.is_some_and(|next| now < next) {
            return;
        }
        check.next = now.checked_add(CHECK);
        if self.reload(&mut check)
            && let Some(table) = self.source.table(&check.entries)
        {
            *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        }
    }

    /// Returns whether anything is other than it was.
    fn reload(&self, check: &mut Check) -> bool {
        let paths = match self.source.list() {
            Ok(paths) => paths,
            Err(error) => {
                if !std::mem::replace(&mut check.failing, true) {
                    tracing::error!(%error, "certificates cannot be renewed; the old ones stay");
                }
                return false;
            }
        };
        check.failing = false;
        let before = check.entries.len();
        // They are sorted.
        let is_there = |path: &PathBuf| paths.binary_search(path).is_ok();
        check.entries.retain(|path, _| is_there(path));
        let mut changed = check.entries.len() != before;
        for path in paths {
            let stamp = self.source.stamp(&path);
            let old = check.entries.get(&path);
            if old.is_some_and(|old| old.stamp == stamp) {
                continue;
            }
            let key = match self.source.read(&path, &self.provider) {
                Ok(key) => {
                    tracing::info!(file = %path.display(), "a certificate was renewed");
                    changed = true;
                    Some(key)
                }
                Err(error) => {
                    tracing::error!(%error, "a certificate cannot be renewed; the old one stays");
                    old.and_then(|old| old.key.clone())
                }
            };
            check.entries.insert(path, Entry { stamp, key });
        }
        changed
    }

    fn choose(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.choose(name)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        sni::put(hello.server_name());
        Some(self.choose(hello.server_name()))
    }
}

impl Source {
    /// The certificate files.
    fn list(&self) -> Result<Vec<PathBuf>, TlsConfigError> {
        let directory = match self {
            Self::Pem(_) => return Ok(vec![PathBuf::new()]),
            Self::Files(certificate, _) => return Ok(vec![certificate.clone()]),
            Self::Directory(directory) => directory,
        };
        let unreadable = |error: std::io::Error| {
            TlsConfigError::new(directory, None, format!("cannot be listed: {error}"))
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                paths.push(path);
            }
        }
        paths.sort();
        match paths.is_empty() {
            true => Err(self.nothing()),
            false => Ok(paths),
        }
    }

    /// What `path` and its key look like from outside.
    fn stamp(&self, path: &Path) -> Vec<Stamp> {
        match self {
            Self::Pem(_) => Vec::new(),
            Self::Files(certificate, key) => vec![stamp::of(certificate), stamp::of(key)],
            Self::Directory(_) => vec![stamp::of(path)],
        }
    }

    fn read(
        &self,
        path: &Path,
        provider: &CryptoProvider,
    ) -> Result<Arc<CertifiedKey>, TlsConfigError> {
        let (certificate, key) = match self {
            Self::Pem(text) => (PemText::new(text, "the PEM text"), None),
            Self::Files(_, key) => (PemText::read(path)?, Some(PemText::read(key)?)),
            Self::Directory(_) => (PemText::read(path)?, None),
        };
        let key = key.as_ref().unwrap_or(&certificate);
        Ok(Arc::new(identity::load(&certificate, key, provider)?))
    }

    /// `None` if there is no certificate.
    fn table(&self, entries: &BTreeMap<PathBuf, Entry>) -> Option<Table> {
        let mut names = BTreeMap::new();
        let mut default = None;
        for (path, entry) in entries {
            let Some(key) = &entry.key else { continue };
            if path.file_name().is_some_and(|name| name == DEFAULT) {
                default = Some(Arc::clone(key));
            }
            let end = key.cert.first();
            for name in end.map(identity::names).unwrap_or_default() {
                // The first file by name has it.
                names.entry(name).or_insert_with(|| Arc::clone(key));
            }
        }
        let default = default.or_else(|| entries.values().find_map(|entry| entry.key.clone()))?;
        Some(Table { default, names })
    }

    fn nothing(&self) -> TlsConfigError {
        let message = "has no certificates; put files `NAME.pem` there, each with a chain of \
                       certificates and its private key";
        match self {
            Self::Directory(directory) => TlsConfigError::new(directory, None, message),
            Self::Files(file, _) => TlsConfigError::new(file, None, "has no certificate"),
            Self::Pem(_) => TlsConfigError::general("the PEM text has no certificate"),
        }
    }
}

impl Table {
    fn choose(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let Some(name) = name.map(str::to_ascii_lowercase) else {
            return Arc::clone(&self.default);
        };
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.names.get(&format!("*.{parent}"))
        };
        let found = self.names.get(&name).or_else(wildcard);
        Arc::clone(found.unwrap_or(&self.default))
    }
}
