//! Certificates and keys: loading, matching, reading again when files change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys};
use tracing::warn;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::PROVIDER;

/// PEM text, or where it is.
#[derive(Clone, Debug)]
pub(super) enum Text {
    File(PathBuf),
    Inline(String),
}

/// Where a certificate chain and its key come from.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) cert: Text,
    pub(super) key: Text,
}

/// A chain with its key, and the state of the files that it was read from.
pub(super) struct Keyed {
    origin: Origin,
    stamps: [Option<Stamp>; 2],
    pub(super) key: Arc<CertifiedKey>,
    /// DNS names of the leaf, in lower case; may hold wildcards.
    names: Vec<String>,
}

/// Which of the two cannot be used, and why.
#[derive(Debug)]
pub(super) enum Broken {
    Certificate(String),
    Key(String),
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    inode: u64,
    len: u64,
}

impl Text {
    fn read(&self) -> Result<String, String> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::File(path) => {
                let bytes = fs::read(path)
                    .map_err(|e| format!("cannot read {}: {}", path.display(), io_text(&e)))?;
                String::from_utf8(bytes).map_err(|_| {
                    format!(
                        "{} is not PEM, it holds bytes that are no text",
                        path.display()
                    )
                })
            }
        }
    }

    /// All certificates; none is an error.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let text = self.read()?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|e| format!("{} is broken PEM: {e}", self.name("certificate")))?;
        if chain.is_empty() {
            return Err(format!(
                "{} holds no certificate, expected `-----BEGIN CERTIFICATE-----`",
                self.name("certificate")
            ));
        }
        Ok(chain)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(self.read()?.as_bytes()).map_err(|_| {
            format!(
                "{} holds no private key, expected `-----BEGIN PRIVATE KEY-----`",
                self.name("key")
            )
        })
    }

    fn name(&self, inline: &str) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Inline(_) => format!("`{inline}`"),
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let Self::File(path) = self else { return None };
        let meta = fs::metadata(path).ok()?;
        Some(Stamp {
            modified: (meta.mtime(), meta.mtime_nsec()),
            inode: meta.ino(),
            len: meta.len(),
        })
    }
}

impl Origin {
    /// The PEM texts of the first certificate's chain and of the key.
    pub(super) fn texts(&self) -> Result<(String, String), String> {
        Ok((self.cert.read()?, self.key.read()?))
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [self.cert.stamp(), self.key.stamp()]
    }

    fn load(&self) -> Result<(Arc<CertifiedKey>, Vec<String>), Broken> {
        let chain = self.cert.certificates().map_err(Broken::Certificate)?;
        let key = self.key.private_key().map_err(Broken::Key)?;
        let names = names(&chain[0]);
        let key = CertifiedKey::from_der(chain, key, &PROVIDER).map_err(|e| match e {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Broken::Key(format!(
                "{} does not belong to the certificate of {}",
                self.key.name("key"),
                self.cert.name("certificate")
            )),
            other => Broken::Key(format!("{} cannot be used: {other}", self.key.name("key"))),
        })?;
        Ok((Arc::new(key), names))
    }
}

impl Keyed {
    pub(super) fn load(origin: Origin) -> Result<Self, Broken> {
        let stamps = origin.stamps();
        let (key, names) = origin.load()?;
        Ok(Self {
            origin,
            stamps,
            key,
            names,
        })
    }

    /// A certificate that no file stands behind.
    pub(super) fn made(key: Arc<CertifiedKey>) -> Self {
        let names = key.cert.first().map(|leaf| names(leaf)).unwrap_or_default();
        let nowhere = Text::Inline(String::new());
        let origin = Origin {
            cert: nowhere.clone(),
            key: nowhere,
        };
        Self {
            origin,
            stamps: [None; 2],
            key,
            names,
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Reads the files again if they have changed, and says whether there is something new. A broken
    /// new version changes nothing, but is warned about, once.
    pub(super) fn refresh(&mut self) -> bool {
        let stamps = self.origin.stamps();
        // A file that is gone for a moment is being replaced.
        let gone = stamps
            .iter()
            .zip(&self.stamps)
            .any(|(new, old)| new.is_none() && old.is_some());
        if gone || stamps == self.stamps {
            return false;
        }
        self.stamps = stamps;
        match self.origin.load() {
            Ok((key, names)) => {
                (self.key, self.names) = (key, names);
                true
            }
            Err(Broken::Certificate(text) | Broken::Key(text)) => {
                warn!("a changed certificate is not taken: {text}");
                false
            }
        }
    }

    /// Whether the leaf is for `name`, exactly or by a wildcard.
    pub(super) fn is_for(&self, name: &str, by_wildcard: bool) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(own) => by_wildcard && Some(own) == parent,
            None => !by_wildcard && own == name,
        })
    }

    /// What a user should know about this certificate, though it loads.
    pub(super) fn warning(&self) -> Option<String> {
        let leaf = self.key.cert.first()?;
        let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()?;
        let now = i64::try_from(now.as_secs()).ok()?;
        let validity = leaf.validity();
        if validity.not_after.timestamp() < now {
            return Some(format!(
                "the certificate has expired on {}",
                validity.not_after
            ));
        }
        if validity.not_before.timestamp() > now {
            return Some(format!(
                "the certificate is valid only from {} on",
                validity.not_before
            ));
        }
        None
    }
}

/// V2Ray's hash of a certificate chain, as in `pinnedPeerCertificateChainSha256`: the SHA-256 of the
/// leaf, then for each further certificate the SHA-256 of the hash so far and of its own SHA-256.
pub(super) fn chain_hash(chain: &[impl AsRef<[u8]>]) -> [u8; 32] {
    let mut certs = chain
        .iter()
        .map(|cert| <[u8; 32]>::from(Sha256::digest(cert.as_ref())));
    let first = certs.next().unwrap_or_default();
    certs.fold(first, |hash, cert| {
        Sha256::digest([hash, cert].concat()).into()
    })
}

fn names(leaf: &CertificateDer) -> Vec<String> {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        return Vec::new();
    };
    let Ok(Some(san)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let dns = |name: &GeneralName| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    san.value.general_names.iter().filter_map(dns).collect()
}

/// What the system said, in lower case and without the number.
fn io_text(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => e.to_string(),
    }
}
