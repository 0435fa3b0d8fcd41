//! Certificates and keys: loading, matching, taking what has changed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
#[cfg(feature = "app")]
use std::time::Duration;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use tracing::warn;
use x509_parser::extensions::GeneralName;
#[cfg(feature = "app")]
use x509_parser::prelude::ASN1Time;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::{Pem, Stamp, in_time};
use super::key_pair::Shown;
use super::short_rsa::{self, PrivateKey};
use super::{PROVIDER, der, signed};

/// Where a certificate chain and its key come from.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) cert: Pem,
    pub(super) key: Pem,
}

/// The state of the two files.
type Stamps = [Option<Stamp>; 2];

/// A chain with its key, as it was read last.
pub(super) struct Keyed {
    origin: Origin,
    stamps: Stamps,
    loaded: Option<Loaded>,
    /// Where the first reading ends, if it has not ended at the start.
    late: Option<Receiver<Reading>>,
    /// That something else is in a file's place was said.
    warned: bool,
}

/// What was read, and from which state of the files.
pub(super) struct Reading {
    stamps: Stamps,
    loaded: Result<Loaded, Broken>,
}

pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    /// DNS names of the leaf, in lower case; may hold wildcards.
    names: Vec<String>,
    pub(super) private: Option<PrivateKeyDer<'static>>,
}

/// Which of the two cannot be used, and why.
#[derive(Debug, Error)]
pub enum Broken {
    /// The certificate.
    #[error("{0}")]
    Certificate(String),
    /// The key.
    #[error("{0}")]
    Key(String),
}

/// What [`Origin::look`] has found.
pub(super) enum Look {
    Same,
    Changed(Reading),
    Odd(String),
}

impl Origin {
    fn stamps(&self) -> Stamps {
        [self.cert.stamp(), self.key.stamp()]
    }

    /// Blocks as long as the files do.
    fn read(&self) -> Reading {
        let stamps = self.stamps();
        let loaded = self.load();
        Reading { stamps, loaded }
    }

    /// Reads the files again if they are not as `known` any more; blocks as long as they do.
    pub(super) fn look(&self, known: Stamps) -> Look {
        let stamps = self.stamps();
        // A file that is gone for a moment is being replaced.
        let gone = stamps
            .iter()
            .zip(&known)
            .any(|(new, old)| new.is_none() && old.is_some());
        if gone {
            let odd = self.cert.oddity().or_else(|| self.key.oddity());
            return odd.map_or(Look::Same, Look::Odd);
        }
        match stamps == known {
            true => Look::Same,
            false => Look::Changed(self.read()),
        }
    }

    fn load(&self) -> Result<Loaded, Broken> {
        let chain = self.cert.certificates().map_err(Broken::Certificate)?;
        let private = self.key.private_key().map_err(Broken::Key)?;
        let names = names(&chain[0]);
        let key = self.signing(&chain[0], &private).map_err(Broken::Key)?;
        Ok(Loaded {
            key: Arc::new(CertifiedKey::new(chain, key)),
            names,
            private: Some(private),
        })
    }

    /// The private key, if it belongs to the certificate. The certificate may be any that has a key: whether it is
    /// good enough is for those who get it.
    fn signing(
        &self,
        leaf: &CertificateDer,
        private: &PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, String> {
        let public = der::certificate_key(leaf);
        let (key, belongs): (Arc<dyn SigningKey>, _) = match PrivateKey::short(private) {
            Some(short) => {
                let belongs = public.is_none_or(|public| short.belongs_to(public.key));
                (Arc::new(short_rsa::Signing(Arc::new(short))), belongs)
            }
            None => {
                let loaded = PROVIDER.key_provider.load_private_key(private.clone_key());
                let key =
                    loaded.map_err(|e| format!("{} cannot be used: {e}", self.key.name("key")))?;
                let own = key.public_key();
                let own = own.as_ref().and_then(|own| der::public_key(own));
                let belongs = public
                    .zip(own)
                    .is_none_or(|(theirs, own)| theirs.key == own.key);
                (key, belongs)
            }
        };
        match belongs {
            true => Ok(key),
            false => Err(format!(
                "{} does not belong to the certificate of {}",
                self.key.name("key"),
                self.cert.name("certificate")
            )),
        }
    }
}

impl Keyed {
    /// What cannot be read in time is taken when it has been read: the text says so.
    pub(super) fn load(origin: Origin) -> Result<(Self, Option<String>), Broken> {
        let reading = origin.clone();
        let mut keyed = Self {
            origin,
            stamps: [None; 2],
            loaded: None,
            late: None,
            warned: false,
        };
        match in_time(move || reading.read()) {
            Ok(Reading { stamps, loaded }) => {
                keyed.stamps = stamps;
                keyed.loaded = Some(loaded?);
                Ok((keyed, None))
            }
            Err(late) => {
                keyed.late = Some(late);
                let text = format!(
                    "{} or {} cannot be read in time, is it a pipe that nobody writes to, or on a mount that hangs?",
                    keyed.origin.cert.name("certificate"),
                    keyed.origin.key.name("key")
                );
                Ok((keyed, Some(text)))
            }
        }
    }

    /// A certificate that no file stands behind.
    pub(super) fn made(key: Arc<CertifiedKey>) -> Self {
        let names = key.cert.first().map(|leaf| names(leaf)).unwrap_or_default();
        let nowhere = Pem::Inline(String::new());
        Self {
            origin: Origin {
                cert: nowhere.clone(),
                key: nowhere,
            },
            stamps: [None; 2],
            loaded: Some(Loaded {
                key,
                names,
                private: None,
            }),
            late: None,
            warned: false,
        }
    }

    /// What will be read from `origin` when something is there, and until then the certificate of another one, if there is.
    #[cfg(feature = "app")]
    pub(super) fn stand_in(origin: Origin, other: Option<Self>) -> Self {
        Self {
            // What is there already is known and no news. Files of a folder of ours answer at once.
            stamps: origin.stamps(),
            origin,
            loaded: other.and_then(|other| other.loaded),
            late: None,
            warned: false,
        }
    }

    /// From when and until when the leaf is valid.
    #[cfg(feature = "app")]
    pub(super) fn validity(&self) -> Option<(SystemTime, SystemTime)> {
        let leaf = self.loaded()?.key.cert.first()?;
        let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
        let at = |time: ASN1Time| {
            let secs = u64::try_from(time.timestamp()).ok()?;
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(secs))
        };
        let validity = leaf.validity();
        at(validity.not_before).zip(at(validity.not_after))
    }

    /// Its names, and when it runs out.
    #[cfg(feature = "app")]
    pub(super) fn ends(&self) -> Option<(String, SystemTime)> {
        let (_, until) = self.validity()?;
        Some((self.loaded()?.names.join(" "), until))
    }

    /// Whether the leaf is for all of these names.
    #[cfg(feature = "app")]
    pub(super) fn is_for_all(&self, names: &[String]) -> bool {
        let is_for = |loaded: &Loaded| names.iter().all(|name| loaded.is_for(name, false));
        self.loaded().is_some_and(is_for)
    }

    /// Whether the leaf is for one of these names.
    #[cfg(feature = "app")]
    pub(super) fn is_for_any(&self, names: &[String]) -> bool {
        let is_for = |loaded: &Loaded| names.iter().any(|name| loaded.is_for(name, false));
        self.loaded().is_some_and(is_for)
    }

    /// `None` while it has not been read.
    pub(super) fn loaded(&self) -> Option<&Loaded> {
        self.loaded.as_ref()
    }

    /// What is looked at again, unless its first reading goes on.
    pub(super) fn watched(&self) -> Option<(Origin, Stamps)> {
        let is_read = self.late.is_none();
        is_read.then(|| (self.origin.clone(), self.stamps))
    }

    /// Takes what the first reading has come to, if it ended behind the start; whether there is something new.
    pub(super) fn take_late(&mut self) -> bool {
        let Some(late) = &self.late else { return false };
        match late.try_recv() {
            Ok(reading) => {
                self.late = None;
                self.take(Look::Changed(reading))
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => {
                self.late = None;
                false
            }
        }
    }

    /// Takes what a look at the files has brought; whether there is something new. A broken new version changes
    /// nothing, but is warned about, once.
    pub(super) fn take(&mut self, look: Look) -> bool {
        let text = match look {
            Look::Same => return false,
            Look::Odd(text) if self.warned => {
                drop(text);
                return false;
            }
            Look::Odd(text) => {
                self.warned = true;
                text
            }
            Look::Changed(Reading { stamps, loaded }) => {
                (self.stamps, self.warned) = (stamps, false);
                match loaded {
                    Ok(loaded) => {
                        self.loaded = Some(loaded);
                        return true;
                    }
                    Err(Broken::Certificate(text) | Broken::Key(text)) => text,
                }
            }
        };
        warn!("a changed certificate is not taken: {text}");
        false
    }

    /// What a user should know about this certificate, though it loads.
    pub(super) fn warning(&self) -> Option<String> {
        let leaf = self.loaded()?.key.cert.first()?;
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

impl Loaded {
    /// What clients must be told.
    pub(super) fn shown(&self) -> Shown {
        let leaf = self.key.cert.first();
        // An authority may have the name of what it has issued.
        let is_self_issued = |leaf: &&CertificateDer| {
            let parsed = X509Certificate::from_der(leaf);
            let is_named = parsed.is_ok_and(|(_, parsed)| parsed.issuer() == parsed.subject());
            is_named && signed::by(leaf, leaf).unwrap_or(true)
        };
        Shown {
            names: self.names.clone(),
            pin: leaf
                .filter(is_self_issued)
                .map(|leaf| Sha256::digest(leaf).into()),
        }
    }

    /// Whether the leaf is for `name`, exactly or by a wildcard.
    pub(super) fn is_for(&self, name: &str, by_wildcard: bool) -> bool {
        is_among(name, &self.names, by_wildcard)
    }
}

/// Whether `name` is one of a certificate's, exactly or by a wildcard.
pub(super) fn is_among(name: &str, names: &[String], by_wildcard: bool) -> bool {
    let parent = name.split_once('.').map(|(_, parent)| parent);
    names.iter().any(|own| match own.strip_prefix("*.") {
        Some(own) => by_wildcard && Some(own) == parent,
        None => !by_wildcard && own == name,
    })
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

/// The DNS names of a leaf; as in Go its common name, where it has no others.
pub(super) fn names(leaf: &[u8]) -> Vec<String> {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        return Vec::new();
    };
    let Ok(Some(san)) = leaf.subject_alternative_name() else {
        let name = leaf.subject().iter_common_name().next();
        let name = name.and_then(|name| name.as_str().ok());
        return name.map(str::to_ascii_lowercase).into_iter().collect();
    };
    let dns = |name: &GeneralName| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    san.value.general_names.iter().filter_map(dns).collect()
}
