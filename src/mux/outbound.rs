//! The client: sessions share the links of a pool.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tracing::debug;

use super::codec::{GlobalId, Kind};
use super::driver::{Driver, SessionHandler};
use super::packets::MuxPackets;
use super::settings::{Settings, Udp, Udp443};
use super::stream::MuxStream;
use super::table::{Handle, State, Table};
use crate::address::{Destination, Host};
use crate::io::{Link, Packets};
use crate::secret::Secret;

/// How many times as many sessions as may speak a link has, with those that have said all: who half-closes may hear much yet.
const HALF_CLOSED: usize = 4;

/// Sessions over the life of a link; V2Ray's number.
const LIFE: u16 = 128;

/// How often it is looked whether a link has sessions; without any it is closed. V2Ray's number.
pub(super) const UNUSED: Duration = Duration::from_secs(16);

/// A link to a server that is being made, and how long it may be silent.
pub type DialFuture = Pin<Box<dyn Future<Output = io::Result<(Link, Duration)>> + Send>>;

/// The links of an outbound with `mux` switched on.
#[derive(Debug)]
pub struct Outbound {
    streams: Option<Pool>,
    /// Links for datagrams alone.
    xudp: Option<Pool>,
    global_ids: GlobalIds,
    settings: Settings,
}

/// How the datagrams to one destination go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpMode {
    /// As the protocol itself carries them.
    Native,
    /// In a session of their own.
    Session,
    /// In a session together with others.
    Xudp,
    /// As the protocol itself carries them, together with others.
    PacketAddr,
    /// In a stream, together with others.
    PacketStream,
    Dropped,
}

/// Links that sessions share.
#[derive(Debug)]
struct Pool {
    /// Sessions of a link at a time.
    concurrency: usize,
    /// The first session's number, and the one after the last.
    session_ids: (u16, u16),
    links: Mutex<Vec<PooledLink>>,
}

struct PooledLink {
    table: Arc<Table>,
    next: u16,
}

impl Outbound {
    pub fn new(settings: Settings) -> Self {
        let xudp = match settings.udp {
            Udp::Xudp(Some(concurrency)) => Some(Pool::shared(concurrency)),
            Udp::Xudp(None) => Some(Pool::single()),
            Udp::Native | Udp::Shared | Udp::PacketAddr | Udp::PacketStream => None,
        };
        Self {
            streams: settings.concurrency.map(Pool::shared),
            xudp,
            global_ids: GlobalIds(Secret(OnceLock::new())),
            settings,
        }
    }

    /// Whether streams share links.
    pub fn has_streams(&self) -> bool {
        self.streams.is_some()
    }

    /// A stream to `to`, on its way at once; `dial` makes a link if none has room.
    pub fn stream(&self, to: &Destination, dial: impl FnOnce() -> DialFuture) -> Option<Link> {
        let handle = self.streams.as_ref()?.open(None, dial);
        Some(Link::other(MuxStream::open(handle, to.clone())))
    }

    /// How datagrams to `to` go.
    pub fn way(&self, to: &Destination) -> UdpMode {
        match (self.settings.udp, self.settings.udp_443) {
            (_, Udp443::Reject) if to.port == 443 => UdpMode::Dropped,
            (Udp::Native, _) => UdpMode::Native,
            (_, Udp443::Skip) if to.port == 443 => UdpMode::Native,
            (Udp::Shared, _) => UdpMode::Session,
            (Udp::Xudp(_), _) => UdpMode::Xudp,
            // It cannot write names.
            (Udp::PacketAddr | Udp::PacketStream, _) if matches!(to.host, Host::Domain(_)) => {
                UdpMode::Native
            }
            (Udp::PacketAddr, _) => UdpMode::PacketAddr,
            (Udp::PacketStream, _) => UdpMode::PacketStream,
        }
    }

    /// Datagrams by [`UdpMode::Session`] or [`UdpMode::Xudp`]; `id` stays the same for an association that
    /// comes back.
    pub fn packets(
        &self,
        to: &Destination,
        id: u32,
        dial: impl FnOnce() -> DialFuture,
    ) -> io::Result<Box<dyn Packets>> {
        let peer = Some(to.clone());
        Ok(Box::new(match (&self.xudp, &self.streams) {
            (Some(pool), _) => {
                MuxPackets::open(pool.open(peer, dial), true, Some(self.global_ids.of(id)?))
            }
            (None, Some(pool)) if self.settings.udp == Udp::Shared => {
                MuxPackets::open(pool.open(peer, dial), false, None)
            }
            _ => return Err(io::Error::other("datagrams do not go through mux here")),
        }))
    }
}

impl Pool {
    /// Links of at most `concurrency` sessions at a time.
    fn shared(concurrency: usize) -> Self {
        Self {
            concurrency,
            session_ids: (1, LIFE + 1),
            links: Mutex::default(),
        }
    }

    /// A link for each session, with the number that XUDP without mux has.
    fn single() -> Self {
        Self {
            concurrency: 1,
            session_ids: (0, 1),
            links: Mutex::default(),
        }
    }

    /// Whether one more session may be on a link: as in V2Ray, one that has said all no longer counts, but for
    /// [`HALF_CLOSED`].
    fn has_room(&self, table: &State) -> bool {
        let most = match self.concurrency {
            1 => 1,
            several => several * HALF_CLOSED,
        };
        table.speaking() < self.concurrency && table.sessions() < most
    }

    /// A session on a link that has room, or on a new one: its frames wait until it is dialled.
    fn open(&self, peer: Option<Destination>, dial: impl FnOnce() -> DialFuture) -> Handle {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| {
            let table = link.table.lock();
            link.next < self.session_ids.1 && !table.is_over() && !table.is_retired()
        });
        for link in links.iter_mut() {
            if self.has_room(&link.table.lock())
                && let Some(handle) = link.open(peer.clone(), self.session_ids.1)
            {
                return handle;
            }
        }
        let mut link = PooledLink {
            table: Arc::default(),
            next: self.session_ids.0,
        };
        let handle = link
            .open(peer, self.session_ids.1)
            .expect("a new table has every session free");
        crate::io::spawn(run_link(link.table.clone(), dial()));
        links.push(link);
        handle
    }
}

impl PooledLink {
    fn open(&mut self, peer: Option<Destination>, end: u16) -> Option<Handle> {
        let handle = self.table.open(self.next, peer)?;
        self.next += 1;
        if self.next == end {
            self.table.lock().retire();
        }
        Some(handle)
    }
}

async fn run_link(table: Arc<Table>, dial: DialFuture) {
    match dial.await {
        Ok((link, idle)) => {
            let driver = Driver::new(link, table, Refusing, Some(UNUSED), idle);
            driver.run().await;
        }
        Err(e) => table.lock().fail(e.kind(), &e.to_string()),
    }
}

/// A server opens no sessions.
pub(super) struct Refusing;

impl SessionHandler for Refusing {
    fn open(&mut self, _: &Arc<Table>, session_id: u16, _: Kind, _: Option<Bytes>) {
        debug!(
            session_id,
            "the server opens a mux session, which is not for it to do"
        );
    }
}

impl std::fmt::Debug for PooledLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PooledLink")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// Makes ids of associations that nobody else can tell, or use for another's.
#[derive(Debug)]
struct GlobalIds(Secret<OnceLock<[u8; 32]>>);

impl GlobalIds {
    fn of(&self, association: u32) -> io::Result<GlobalId> {
        let secret = match self.0.get() {
            Some(secret) => secret,
            None => {
                let mut fresh = [0; 32];
                getrandom::fill(&mut fresh).map_err(io::Error::other)?;
                self.0.get_or_init(|| fresh)
            }
        };
        let hash = Sha256::new()
            .chain_update(secret)
            .chain_update(association.to_be_bytes())
            .finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Ok(id)
    }
}
