//! UDP of a door: datagrams go to its one place, or to whom a packet filter says that they were meant for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tracing::trace;

use super::answers::Answers;
use super::{Inbound, InboundSettings};
use crate::address::Host;
use crate::cause::ProtocolError;
use crate::io::{BindUdp, Counted, Packet, Packets, is_own_listener};
use crate::log;
use crate::protocol::udp_port::{
    Admitted, Datagram, QUEUED, Received, Replies, Sender, Sources, UdpPort,
};
use crate::protocol::{Datagrams, InboundContext};
use crate::session::User;
use crate::stats::Meter;

/// Datagrams that came where answers go out.
const STRAYS: usize = 64;

/// The sources of `socket`; `bind` makes the sockets that answer in the name of others.
pub(super) fn sources(
    socket: Arc<UdpSocket>,
    inbound: &Inbound,
    bind: BindUdp,
    context: &InboundContext,
) -> Sources {
    let (strays, strayed) = mpsc::channel(STRAYS);
    let is_transparent = inbound.settings.follow_redirect;
    let local = socket.local_addr().ok();
    let door = Door {
        local,
        settings: inbound.settings.clone(),
        user: inbound.user(),
        answers: is_transparent.then(|| Arc::new(Answers::new(bind, strays))),
        meter: context.meter.clone(),
    };
    Sources::new(
        socket,
        door,
        is_transparent,
        is_transparent.then_some(strayed),
    )
}

struct Door {
    /// The address of the socket.
    local: Option<SocketAddr>,
    settings: InboundSettings,
    user: Option<Arc<User>>,
    /// There for a transparent door.
    answers: Option<Arc<Answers>>,
    meter: Meter,
}

impl UdpPort for Door {
    fn read(&self, datagram: Datagram) -> Option<Received> {
        let is_other = |original_dst: &SocketAddr| {
            !self
                .local
                .is_some_and(|local| is_own_listener(*original_dst, local))
        };
        let original_dst = datagram.original_dst.filter(is_other);
        // The socket may be that of every address; whoever sent it did so to one of its own family.
        let came_to = self.local.map(|at| {
            let ip = datagram.local.unwrap_or_else(|| datagram.source.ip());
            SocketAddr::new(ip, at.port())
        });
        let to = original_dst.map(Into::into);
        let Some(peer) = to.or_else(|| self.settings.at(came_to)) else {
            log::repeated(&format!(
                "datagrams are dropped: {}; UDP needs `TPROXY`",
                ProtocolError::Nowhere
            ));
            return None;
        };
        Some(Received {
            sender: Sender::At(datagram.source),
            len: datagram.data.len(),
            packet: Packet {
                peer,
                data: datagram.data,
            },
            local: datagram.local,
            original_dst,
        })
    }

    fn admit(&self, source: SocketAddr, _: Sender, replies: &Replies) -> Option<Admitted> {
        let (queue, data) = mpsc::channel(QUEUED);
        let session = Session {
            source,
            replies: replies.clone(),
            answers: self.answers.clone(),
            asked: None,
            local: None,
            data,
        };
        Some(Admitted {
            queue,
            permit: None,
            session: Some(Datagrams {
                source: source.into(),
                user: self.user.clone(),
                packets: Counted::packets(Box::new(session), self.meter.clone()),
            }),
        })
    }

    fn tidy_up(&self) {
        self.answers.iter().for_each(|answers| answers.sweep());
    }
}

/// The datagrams of one source.
struct Session {
    source: SocketAddr,
    replies: Replies,
    answers: Option<Arc<Answers>>,
    /// Whom the last datagram was meant for.
    asked: Option<SocketAddr>,
    /// Which of our addresses it came to.
    local: Option<IpAddr>,
    data: mpsc::Receiver<Received>,
}

impl Packets for Session {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        self.data.poll_recv(cx).map(|received| {
            Ok(received.map(|received| {
                self.asked = received.original_dst;
                self.local = received.local;
                received.packet
            }))
        })
    }

    fn is_connectionless(&self) -> bool {
        true
    }

    /// At a fixed door the source asked one place only, so that is who the answer comes from, whatever
    /// its peer says.
    fn poll_send(&mut self, _cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let sent = match (&self.answers, self.asked) {
            (Some(answers), Some(asked)) => {
                let from = self.answering(packet, asked);
                answers.send(from, from == asked, self.source, &packet.data)
            }
            _ => self.replies.send(&packet.data, self.source, self.local),
        };
        if let Err(e) = sent {
            trace!(source = %self.source, error = %e, "datagram not sent");
        }
        Poll::Ready(Ok(()))
    }
}

impl Session {
    /// Who an answer comes from: its peer, where that is an address as the client knows them.
    fn answering(&self, packet: &Packet, asked: SocketAddr) -> SocketAddr {
        match packet.peer.host {
            Host::Ip(ip) if ip.is_ipv4() == asked.is_ipv4() => {
                SocketAddr::new(ip, packet.peer.port)
            }
            _ => asked,
        }
    }
}
