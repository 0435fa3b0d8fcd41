//! The datagrams of one listening socket, sorted by their sender.

mod receive;
mod replies;

pub(super) use replies::Replies;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Interval, interval};
use tracing::{debug, trace};

use receive::Receiver;

use super::Datagrams;
use crate::io::Packet;

/// Sources at one time; further ones take the place of those that were silent longest.
const MAX_SOURCES: usize = 16 * 1024;

/// Datagrams of one source that wait to be taken; more are dropped, as UDP does.
pub(super) const QUEUED: usize = 64;

/// How often a port may tidy up.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// With so many sources, those that have ended are looked for.
const FIRST_SWEEP: usize = 64;

/// A datagram that came in.
pub(super) struct Datagram {
    /// Of IPv4 it is written as such.
    pub(super) source: SocketAddr,
    /// Which address of ours it came to, where the socket has several.
    pub(super) local: Option<IpAddr>,
    /// Whom it was meant for, when a packet filter brought it here.
    pub(super) original_dst: Option<SocketAddr>,
    pub(super) data: Bytes,
}

/// Whose a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sender {
    /// Of whoever has this address.
    At(SocketAddr),
    /// Of a user, by number, who has it.
    User { at: SocketAddr, user: u64 },
    /// Of a user's session that names itself, whatever address it has.
    Session { user: u64, id: u64 },
}

/// A datagram as its protocol reads it.
pub(super) struct Received {
    pub(super) sender: Sender,
    pub(super) packet: Packet,
    pub(super) local: Option<IpAddr>,
    pub(super) original_dst: Option<SocketAddr>,
    /// How long it was with what its protocol had put around it.
    pub(super) len: usize,
}

/// What a protocol makes of the datagrams of a port.
pub(super) trait UdpPort: Send {
    /// A datagram to be passed on; `None` drops it.
    fn read(&self, datagram: Datagram) -> Option<Received>;

    /// Where the datagrams of a new sender go, who is at `source`; `None` when it may not send any.
    fn admit(&self, source: SocketAddr, sender: Sender, replies: &Replies) -> Option<Admitted>;

    /// Called now and then.
    fn tidy_up(&self) {}
}

/// A source that may send.
pub(super) struct Admitted {
    pub(super) queue: mpsc::Sender<Received>,
    /// The source is asked for anew when this has gone.
    pub(super) permit: Option<Weak<()>>,
    /// What reads the queue, unless it runs already.
    pub(super) session: Option<Datagrams>,
}

/// The sources of a listening socket.
pub struct Sources {
    socket: Arc<UdpSocket>,
    receiver: Receiver,
    replies: Replies,
    port: Box<dyn UdpPort>,
    /// Datagrams that came by other sockets.
    strays: Option<mpsc::Receiver<Datagram>>,
    known: HashMap<Sender, Known>,
    max: usize,
    /// Datagrams so far.
    received: u64,
    /// With so many sources in the map, those that have ended are looked for.
    sweep_at: usize,
    tidy: Interval,
}

/// Where the datagrams of a source go.
struct Known {
    queue: mpsc::Sender<Received>,
    permit: Option<Weak<()>>,
    /// Which datagram was its last.
    last: u64,
}

impl Sources {
    /// `strays` brings datagrams that came by other sockets.
    pub(super) fn new(
        socket: Arc<UdpSocket>,
        port: impl UdpPort + 'static,
        is_transparent: bool,
        strays: Option<mpsc::Receiver<Datagram>>,
    ) -> Self {
        Self {
            receiver: Receiver::new(&socket, is_transparent),
            replies: Replies::new(&socket),
            socket,
            port: Box::new(port),
            strays,
            known: HashMap::new(),
            max: MAX_SOURCES,
            received: 0,
            sweep_at: FIRST_SWEEP,
            tidy: interval(SWEEP_EVERY),
        }
    }

    /// The datagrams of the next source that has not sent any yet; those of others are handed to their sessions
    /// meanwhile. `None` when the socket can be read no more.
    pub async fn next(&mut self) -> Option<Datagrams> {
        loop {
            let received = tokio::select! {
                received = self.receiver.receive(&self.socket) => received,
                Some(stray) = stray(&mut self.strays) => Ok(stray),
                _ = self.tidy.tick() => {
                    self.port.tidy_up();
                    continue;
                }
            };
            match received {
                Ok(datagram) => {
                    if let Some(session) = self.hand_over(datagram) {
                        return Some(session);
                    }
                }
                // An answer of ours was refused by its source: not the end of the others.
                Err(e) if is_passing(&e) => trace!(error = %e, "receiving a datagram"),
                Err(e) => {
                    debug!(error = %e, "the UDP listener ended");
                    return None;
                }
            }
        }
    }

    fn hand_over(&mut self, datagram: Datagram) -> Option<Datagrams> {
        let source = datagram.source;
        let datagram = self.port.read(datagram)?;
        let sender = datagram.sender;
        self.received += 1;
        let last = self.received;
        let datagram = match self.known.get_mut(&sender) {
            Some(known) if known.may_send() => {
                known.last = last;
                match known.queue.try_send(datagram) {
                    Err(mpsc::error::TrySendError::Closed(datagram)) => datagram,
                    _ => return None,
                }
            }
            _ => datagram,
        };
        self.known.remove(&sender);
        let Admitted {
            queue,
            permit,
            session,
        } = self.port.admit(source, sender, &self.replies).or_else(|| {
            trace!(%source, "a datagram of a stranger");
            None
        })?;
        self.sweep();
        // The queue is empty, so the first datagram fits.
        let _ = queue.try_send(datagram);
        self.known.insert(
            sender,
            Known {
                queue,
                permit,
                last,
            },
        );
        session
    }

    /// Forgets the sources whose sessions have ended, at a cost that is constant per new source.
    fn sweep(&mut self) {
        if self.known.len() < self.sweep_at {
            return;
        }
        self.known.retain(|_, known| !known.queue.is_closed());
        // A whole quarter goes at a time, so that a flood of sources costs little for each.
        if self.known.len() >= self.max {
            let mut all: Vec<u64> = self.known.values().map(|known| known.last).collect();
            let (_, last, _) = all.select_nth_unstable(self.max / 4);
            let last = *last;
            self.known.retain(|_, known| known.last > last);
        }
        self.sweep_at = (2 * self.known.len()).clamp(FIRST_SWEEP.min(self.max), self.max);
    }
}

impl Known {
    fn may_send(&self) -> bool {
        self.permit
            .as_ref()
            .is_none_or(|permit| permit.strong_count() > 0)
    }
}

async fn stray(strays: &mut Option<mpsc::Receiver<Datagram>>) -> Option<Datagram> {
    strays.as_mut()?.recv().await
}

fn is_passing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

#[cfg(test)]
mod tests;
