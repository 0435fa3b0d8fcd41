//! Certificates with their keys, among settings.
//!
//! Whoever reads settings wants to say at once what is wrong with a file, and the server that is built from them wants
//! what was read. A pipe gives its text once, and a mount that hangs makes everybody wait each time. So the first
//! reading is kept beside the setting until something is built from it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::BuildError;
use super::certificates::{Broken, Keyed, Origin, chain_hash, is_among};
use super::files::Pem;
use super::issue::{self, self_signed};
use super::seen::Leaf;
use crate::address::Host;
use crate::secret::Secret;

/// A certificate chain and its private key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyPair {
    /// The leaf, then what stands above it.
    pub certificate: Pem,
    pub key: Secret<Pem>,
    read: Kept,
}

/// A certificate that is made when it is needed, and that nobody but itself vouches for.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfSigned {
    /// Whom it is for: names and addresses.
    pub names: Vec<String>,
    made: Kept,
}

/// What somebody may want to know of a certificate that can be used.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// It cannot be read in time.
    pub late: Option<String>,
    /// It is not valid now.
    pub invalid: Option<String>,
}

/// What clients must be told of a server's certificate to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The DNS names of the leaf; may hold wildcards.
    pub names: Vec<String>,
    /// SHA-256 of the leaf, if nobody but itself vouches for it.
    pub pin: Option<[u8; 32]>,
}

impl Shown {
    /// Whether the certificate is for `name`, in small letters.
    pub fn is_for(&self, name: &str) -> bool {
        [false, true]
            .into_iter()
            .any(|by_wildcard| is_among(name, &self.names, by_wildcard))
    }
}

/// What was read or made, for the first who builds something of the settings. It is no part of their meaning.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Option<Keyed>>>);

impl KeyPair {
    /// Nothing is read yet.
    pub fn new(certificate: Pem, key: Pem) -> Self {
        Self {
            certificate,
            key: Secret(key),
            read: Kept::default(),
        }
    }

    /// Reads it; the server or client that is built next takes what was read.
    ///
    /// # Errors
    ///
    /// When there is no certificate, no key, or when they do not belong together.
    pub fn check(&self) -> Result<Remarks, Broken> {
        let (keyed, late) = Keyed::load(self.origin())?;
        let invalid = keyed.warning();
        *self.read.lock() = Some(keyed);
        Ok(Remarks { late, invalid })
    }

    /// What clients must be told of it; `None` before it has been read.
    pub fn shown(&self) -> Option<Shown> {
        let read = self.read.lock();
        Some(read.as_ref()?.loaded()?.shown())
    }

    /// What stands in its certificate; `None` before it has been read.
    pub fn leaf(&self) -> Option<Leaf> {
        let read = self.read.lock();
        Leaf::read(read.as_ref()?.loaded()?.key.cert.first()?)
    }

    /// Whether another one is of the same files, or has the same certificate, as far as both have been read.
    pub fn is_same(&self, other: &Self) -> bool {
        let leaf = |pair: &Self| {
            let read = pair.read.lock();
            read.as_ref()?.loaded()?.key.cert.first().cloned()
        };
        let same = |leaf_of: Option<_>| leaf_of.is_some() && leaf_of == leaf(other);
        self == other || same(leaf(self))
    }

    /// Whether it may issue others.
    ///
    /// # Errors
    ///
    /// When its certificate is no authority, or its key cannot sign.
    pub fn check_issuer(&self) -> Result<(), BuildError> {
        let read = self.read.lock();
        let loaded = read.as_ref().and_then(Keyed::loaded);
        let signer = loaded.map(issue::signer).transpose();
        signer.map(|_| ()).map_err(BuildError::Issuer)
    }

    pub(super) fn load(&self) -> Result<Keyed, Broken> {
        let kept = self.read.lock().take();
        kept.map_or_else(|| Keyed::load(self.origin()).map(|(keyed, _)| keyed), Ok)
    }

    fn origin(&self) -> Origin {
        Origin {
            cert: self.certificate.clone(),
            key: self.key.0.clone(),
        }
    }
}

impl SelfSigned {
    /// For `name`, if there is one, and for this machine.
    pub fn new(name: Option<&Host>) -> Self {
        let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let name = name.map(|name| match name {
            Host::Domain(name) => name.clone(),
            Host::Ip(ip) => ip.to_string(),
        });
        Self {
            names: name.into_iter().chain(own).collect(),
            made: Kept::default(),
        }
    }

    /// Makes it, and returns V2Ray's hash of it, by which clients may believe it; the server that is built next
    /// takes what was made.
    ///
    /// # Errors
    ///
    /// When one of the names cannot stand in a certificate.
    pub fn make(&self) -> Result<[u8; 32], BuildError> {
        let key = self_signed(self.names.clone()).map_err(BuildError::SelfSigned)?;
        let hash = chain_hash(&key.cert);
        *self.made.lock() = Some(Keyed::made(Arc::new(key)));
        Ok(hash)
    }

    pub(super) fn load(&self) -> Result<Keyed, BuildError> {
        if self.made.lock().is_none() {
            self.make()?;
        }
        let kept = self.made.lock().take();
        kept.ok_or_else(|| BuildError::SelfSigned("it was taken meanwhile".to_owned()))
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Option<Keyed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Kept {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}
