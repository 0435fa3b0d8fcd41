//! UDP by the inbound's own port, for all clients.
//!
//! As in V2Ray, a client is told this port and is known by its source address, and where no password is asked for it
//! may send without an association, or from several ports. With passwords the datagrams of a host are taken as long
//! as it has an association.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tracing::trace;

use super::codec::{decode_datagram, encode_datagram};
use super::packets::poll_end;
use crate::io::{Link, Packet, Packets};
use crate::protocol::Datagrams;
use crate::protocol::udp_port::{Admitted, Datagram, QUEUED, Received, Replies, UdpPort};
use crate::session::{Source, User};
use crate::stats::Meter;

/// How long datagrams of an association may be apart when its connection has ended. V2Ray has no bond between the
/// two, so some clients hang up at once.
const AFTER_THE_END: Duration = Duration::from_secs(10);

/// The associations of an inbound, and the UDP ports that its clients are told.
#[derive(Default)]
pub(super) struct Associations(Mutex<State>);

#[derive(Default)]
struct State {
    ports: Vec<SocketAddr>,
    hosts: HashMap<IpAddr, Host>,
    /// The number of the next association.
    next: u64,
}

/// The associations of one address.
#[derive(Default)]
struct Host {
    living: BTreeMap<u64, (Option<Arc<User>>, Weak<()>)>,
    /// Those that nothing has been sent for.
    unused: BTreeMap<u64, Unused>,
}

struct Unused {
    /// The port that its client wants to send from, or 0; a translation on the way may make another one of it.
    port: u16,
    queue: mpsc::Sender<Received>,
    client: Arc<OnceLock<Client>>,
}

/// Where answers go.
struct Client {
    at: SocketAddr,
    replies: Replies,
}

/// An association that its client has yet to hear of.
pub(super) struct Opened {
    entry: Entry,
    client: Arc<OnceLock<Client>>,
    data: mpsc::Receiver<Received>,
}

/// An association among the others, there until this is dropped.
struct Entry {
    all: Arc<Associations>,
    host: IpAddr,
    number: u64,
    _alive: Arc<()>,
}

impl Associations {
    /// What a client that had connected to `local` is told to send datagrams to; `None` when this inbound has no UDP
    /// port.
    pub(super) fn told(&self, local: Source, source: Source) -> Option<SocketAddr> {
        let state = self.lock();
        let first = *state.ports.first()?;
        let (Source::Ip(local), Source::Ip(source)) = (local, source) else {
            return Some(first);
        };
        let same = state.ports.iter().find(|at| at.port() == local.port());
        let mut told = *same.unwrap_or(&first);
        if told.ip().is_unspecified() {
            // Like V2Ray: it may be known by another address where the client is, and which one it has asked.
            told.set_ip(
                match (source.ip().to_canonical(), local.ip().to_canonical()) {
                    (client, local) if client.is_loopback() => local,
                    (IpAddr::V4(_), _) => Ipv4Addr::UNSPECIFIED.into(),
                    (IpAddr::V6(_), _) => Ipv6Addr::UNSPECIFIED.into(),
                },
            );
        }
        Some(told)
    }

    /// One more association of `host`, whose client wants to send from `port`.
    pub(super) fn open(
        self: &Arc<Self>,
        host: IpAddr,
        port: u16,
        user: Option<Arc<User>>,
    ) -> Opened {
        let (queue, data) = mpsc::channel(QUEUED);
        let (alive, client) = (Arc::new(()), Arc::<OnceLock<Client>>::default());
        let host = host.to_canonical();
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let of_host = state.hosts.entry(host).or_default();
        let living = (user, Arc::downgrade(&alive));
        of_host.living.insert(number, living);
        let unused = Unused {
            port,
            queue,
            client: client.clone(),
        };
        of_host.unused.insert(number, unused);
        drop(state);
        let entry = Entry {
            all: self.clone(),
            host,
            number,
            _alive: alive,
        };
        Opened {
            entry,
            client,
            data,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    /// The association that datagrams from `port` belong to, among those without any.
    fn take(&mut self, port: u16) -> Option<Unused> {
        let wanted = self.unused.iter().find(|(_, unused)| unused.port == port);
        let number = *wanted.or_else(|| self.unused.first_key_value())?.0;
        self.unused.remove(&number)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.all.lock();
        if let Some(host) = state.hosts.get_mut(&self.host) {
            host.unused.remove(&self.number);
            host.living.remove(&self.number);
            if host.living.is_empty() {
                state.hosts.remove(&self.host);
            }
        }
    }
}

/// A UDP port of the inbound.
pub(super) struct Port {
    at: Option<SocketAddr>,
    all: Arc<Associations>,
    /// Whether passwords are asked for.
    requires_auth: bool,
    anonymous: Option<Arc<User>>,
    meter: Meter,
}

impl Port {
    pub(super) fn new(
        at: Option<SocketAddr>,
        all: Arc<Associations>,
        requires_auth: bool,
        anonymous: Option<Arc<User>>,
        meter: Meter,
    ) -> Self {
        all.lock().ports.extend(at);
        Self {
            at,
            all,
            requires_auth,
            anonymous,
            meter,
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.all.lock().ports.retain(|at| Some(*at) != self.at);
    }
}

impl UdpPort for Port {
    /// Neither a fragment nor what is no datagram of SOCKS.
    fn read(&self, datagram: Datagram) -> Option<Received> {
        let len = datagram.data.len();
        let (peer, data) = decode_datagram(datagram.data.into())?;
        Some(Received {
            packet: Packet { peer, data },
            local: datagram.local,
            original_dst: None,
            len,
        })
    }

    fn admit(&self, source: SocketAddr, replies: &Replies) -> Option<Admitted> {
        let client = Client {
            at: source,
            replies: replies.clone(),
        };
        let mut state = self.all.lock();
        let mut host = state.hosts.get_mut(&source.ip());
        if let Some(unused) = host.as_mut().and_then(|host| host.take(source.port())) {
            let _ = unused.client.set(client);
            return Some(Admitted {
                queue: unused.queue,
                right: None,
                session: None,
            });
        }
        let latest = host.and_then(|host| {
            host.living
                .last_key_value()
                .map(|(_, living)| living.clone())
        });
        drop(state);
        let (user, right) = match latest {
            Some((user, right)) => (user, self.requires_auth.then_some(right)),
            None if self.requires_auth => return None,
            None => (self.anonymous.clone(), None),
        };
        let (queue, data) = mpsc::channel(QUEUED);
        let session = Session {
            bond: Bond::None(right.clone()),
            data,
            client: Arc::new(OnceLock::from(client)),
            local: None,
            out: BytesMut::new(),
            meter: self.meter.clone(),
            _entry: None,
        };
        Some(Admitted {
            queue,
            right,
            session: Some(Datagrams {
                source: source.into(),
                user,
                packets: Box::new(session),
            }),
        })
    }
}

/// The datagrams of one source.
pub(super) struct Session {
    bond: Bond,
    data: mpsc::Receiver<Received>,
    client: Arc<OnceLock<Client>>,
    /// Which of our addresses the last datagram came to.
    local: Option<IpAddr>,
    /// A datagram with its header, while it is written.
    out: BytesMut,
    meter: Meter,
    /// There for an association.
    _entry: Option<Entry>,
}

/// How long a source is served.
enum Bond {
    /// As long as its connection, and maybe a little longer.
    Connection(Link, bool),
    /// Its connection has ended; until then, if nothing more comes.
    Ending(Pin<Box<Sleep>>),
    /// As long as it likes, or as its host has the right to send.
    None(Option<Weak<()>>),
}

impl Opened {
    /// The association as its connection `control` keeps it alive; whether it `outlives` it a little.
    pub(super) fn session(self, control: Link, outlives: bool, meter: Meter) -> Session {
        Session {
            bond: Bond::Connection(control, outlives),
            data: self.data,
            client: self.client,
            local: None,
            out: BytesMut::new(),
            meter,
            _entry: Some(self.entry),
        }
    }
}

impl Bond {
    /// Ready when the source is served no more.
    fn poll_over(&mut self, cx: &mut Context<'_>, was_used: bool) -> Poll<()> {
        loop {
            match self {
                Self::Connection(control, outlives) => {
                    ready!(poll_end(control, cx));
                    if !(*outlives && was_used) {
                        return Poll::Ready(());
                    }
                    *self = Self::Ending(Box::pin(sleep(AFTER_THE_END)));
                }
                Self::Ending(until) => return until.as_mut().poll(cx),
                Self::None(right) => {
                    return match right.as_ref().is_some_and(|r| r.strong_count() == 0) {
                        true => Poll::Ready(()),
                        false => Poll::Pending,
                    };
                }
            }
        }
    }
}

impl Packets for Session {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        let was_used = self.client.get().is_some();
        if self.bond.poll_over(cx, was_used).is_ready() {
            return Poll::Ready(Ok(None));
        }
        let Some(received) = ready!(self.data.poll_recv(cx)) else {
            return Poll::Ready(Ok(None));
        };
        if let Bond::Ending(until) = &mut self.bond {
            until.as_mut().reset(Instant::now() + AFTER_THE_END);
        }
        self.meter.add_read(received.len);
        self.local = received.local;
        Poll::Ready(Ok(Some(received.packet)))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let Some(client) = self.client.get() else {
            return Poll::Ready(Ok(()));
        };
        if self.bond.poll_over(cx, true).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        self.out.clear();
        if encode_datagram(&packet.peer, &packet.data, &mut self.out).is_err() {
            return Poll::Ready(Ok(()));
        }
        match client.replies.send(&self.out, client.at, self.local) {
            Ok(()) => self.meter.add_written(self.out.len()),
            Err(e) => trace!(to = %client.at, error = %e, "datagram not sent"),
        }
        Poll::Ready(Ok(()))
    }

    /// The connection of an association.
    fn descriptors(&self) -> usize {
        matches!(self.bond, Bond::Connection(..)).into()
    }

    fn is_connectionless(&self) -> bool {
        matches!(self.bond, Bond::None(_))
    }
}

#[cfg(test)]
#[path = "udp_tests.rs"]
mod tests;
