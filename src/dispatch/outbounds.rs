//! The outbounds there are at the moment. A session keeps the one it was given, even when that one is
//! taken away.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::counting::Counting;
use crate::stats::Traffic;
use crate::{mux, protocol, transport};

/// An outbound, whole: how to get there, and what to speak there.
pub struct Outbound {
    /// `outbounds[0]`, for messages.
    pub path: String,
    pub tag: Option<Arc<str>>,
    pub transport: transport::Outbound,
    pub protocol: protocol::Outbound,
    /// The tag that `proxySettings.tag` names: connections go through that outbound.
    pub through: Option<Arc<str>>,
    /// Sessions share connections.
    pub mux: Option<mux::Outbound>,
    /// Its counters, once it is among the others.
    traffic: Traffic,
    /// The second in which it last complained.
    warned: AtomicU64,
}

/// In their order; the first one carries what no rule sends elsewhere.
pub struct Outbounds {
    all: RwLock<Vec<Shared>>,
    counting: Arc<Counting>,
}

/// An outbound by its identity: another one with the same tag is another one.
#[derive(Clone)]
pub struct Shared(Arc<Outbound>);

impl Outbound {
    /// Without a tag, and with nothing in between.
    pub fn new(transport: transport::Outbound, protocol: protocol::Outbound) -> Self {
        Self {
            path: String::new(),
            tag: None,
            transport,
            protocol,
            through: None,
            mux: None,
            traffic: Traffic::default(),
            warned: AtomicU64::new(0),
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// A server of the user's own is worth a warning; a target that does not answer is not.
    pub(super) fn has_server(&self) -> bool {
        self.protocol.has_server() || self.through.is_some()
    }

    /// Tells those who can mend it, once a second at most: a server that is down fails every session.
    pub(super) fn warn(&self, error: &io::Error) {
        let second = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        if self.warned.swap(second, Ordering::Relaxed) != second {
            warn!("{self}: {error}");
        }
    }
}

impl fmt::Display for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.tag {
            Some(tag) => write!(f, " ({tag})"),
            None => Ok(()),
        }
    }
}

impl Outbounds {
    pub fn new(outbounds: Vec<Outbound>, counting: Arc<Counting>) -> Self {
        let all = outbounds.into_iter();
        let all = all.map(|outbound| Shared::new(outbound, &counting));
        Self {
            all: RwLock::new(all.collect()),
            counting,
        }
    }

    pub fn get(&self, tag: &str) -> Option<Shared> {
        let all = self.read();
        all.iter().find(|o| o.tag.as_deref() == Some(tag)).cloned()
    }

    pub fn first(&self) -> Option<Shared> {
        self.read().first().cloned()
    }

    /// The tags there are, in the order of the outbounds.
    pub fn tags(&self) -> Vec<Arc<str>> {
        self.read().iter().filter_map(|o| o.tag.clone()).collect()
    }

    /// Puts one more at the end; gives it back when its tag is taken.
    pub fn add(&self, outbound: Outbound) -> Result<(), Box<Outbound>> {
        let mut all = self.write();
        if outbound.tag.is_some() && all.iter().any(|o| o.tag == outbound.tag) {
            return Err(Box::new(outbound));
        }
        all.push(Shared::new(outbound, &self.counting));
        Ok(())
    }

    /// Takes one away. Its sessions go on.
    pub fn remove(&self, tag: &str) -> Option<Shared> {
        let mut all = self.write();
        let index = all.iter().position(|o| o.tag.as_deref() == Some(tag))?;
        Some(all.remove(index))
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Shared>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Shared>> {
        self.all.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Its counters are there from now on.
    fn new(mut outbound: Outbound, counting: &Counting) -> Self {
        outbound.traffic = counting.outbound(outbound.tag.as_deref());
        Self(Arc::new(outbound))
    }
}

impl Deref for Shared {
    type Target = Outbound;

    fn deref(&self) -> &Outbound {
        &self.0
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Shared {}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}
