//! UDP by the inbound's own port, for all clients.
//!
//! As in V2Ray, a client is told this port and is known by its source address, and where no password is asked for it
//! may send without an association, or from several ports. With passwords the datagrams of a host are taken as long
//! as it has an association.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tracing::trace;

use super::associations::{Associations, Claim, Client, Entry, Opened};
use super::codec::{decode_datagram, encode_datagram};
use super::packets::poll_end;
use crate::io::{Link, Packet, Packets};
use crate::protocol::Datagrams;
use crate::protocol::udp_port::{Admitted, Datagram, QUEUED, Received, Replies, Sender, UdpPort};
use crate::session::User;
use crate::stats::Meter;

/// How long datagrams of an association may be apart when its connection has ended. V2Ray has no bond between the
/// two, so some clients hang up at once.
const AFTER_THE_END: Duration = Duration::from_secs(10);

/// A UDP port of the inbound.
pub(super) struct Port {
    at: Option<SocketAddr>,
    all: Arc<Associations>,
    /// Whether nobody's datagrams are taken without an association.
    bound: bool,
    anonymous: Option<Arc<User>>,
    meter: Meter,
}

impl Port {
    pub(super) fn new(
        at: Option<SocketAddr>,
        all: Arc<Associations>,
        bound: bool,
        anonymous: Option<Arc<User>>,
        meter: Meter,
    ) -> Self {
        all.add_port(at);
        Self {
            at,
            all,
            bound,
            anonymous,
            meter,
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.all.remove_port(self.at);
    }
}

impl UdpPort for Port {
    /// Neither a fragment nor what is no datagram of SOCKS.
    fn read(&self, datagram: Datagram) -> Option<Received> {
        let (len, sender) = (datagram.data.len(), Sender::At(datagram.source));
        let (peer, data) = decode_datagram(datagram.data.into())?;
        Some(Received {
            sender,
            packet: Packet { peer, data },
            local: datagram.local,
            original_dst: None,
            len,
        })
    }

    fn admit(&self, source: SocketAddr, _: Sender, replies: &Replies) -> Option<Admitted> {
        let client = Client {
            at: source,
            replies: replies.clone(),
        };
        let (user, permit) = match self.all.claim(client.clone()) {
            Claim::Association(queue) => {
                return Some(Admitted {
                    queue,
                    permit: None,
                    session: None,
                });
            }
            Claim::Host(user, alive) => (user, self.bound.then_some(alive)),
            Claim::Nobody if self.bound => return None,
            Claim::Nobody => (self.anonymous.clone(), None),
        };
        let (queue, data) = mpsc::channel(QUEUED);
        let session = Session {
            bond: Bond::None(permit.clone()),
            data,
            client: Arc::new(OnceLock::from(client)),
            local: None,
            out: BytesMut::new(),
            meter: self.meter.clone(),
            _entry: None,
        };
        Some(Admitted {
            queue,
            permit,
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
                Self::None(permit) => {
                    return match permit
                        .as_ref()
                        .is_some_and(|permit| permit.strong_count() == 0)
                    {
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
