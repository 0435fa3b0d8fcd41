//! The datagrams of a published port: each visitor's are a flow of their own.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::publish::{Publisher, source_of};
use crate::address::Destination;
use crate::io::{Packet, Packets};
use crate::reverse::PublishTarget;
use crate::seam::Accepted;

/// Visitors at the same time; who comes when there are so many is not heard.
const MAX_VISITORS: usize = 4096;

/// Datagrams on their way between a visitor and the flow, and back to all of them.
const QUEUED: usize = 64;
const QUEUED_BACK: usize = 512;

/// The datagrams of one visitor.
struct Visitor {
    from: Destination,
    to: Destination,
    came: mpsc::Receiver<Bytes>,
    back: mpsc::Sender<Packet>,
}

impl Publisher {
    pub(super) async fn serve_datagrams(
        self: &Arc<Self>,
        mut packets: Box<dyn Packets>,
    ) -> io::Result<()> {
        let PublishTarget::Place(to) = &self.settings.to else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let (back, mut answers) = mpsc::channel(QUEUED_BACK);
        let mut visitors: HashMap<Destination, mpsc::Sender<Bytes>> = HashMap::new();
        let mut answer = None;
        loop {
            let came = poll_fn(|cx| {
                loop {
                    if let Some(packet) = &answer
                        && packets.poll_send(cx, packet)?.is_pending()
                    {
                        break;
                    }
                    answer = match answers.poll_recv(cx) {
                        Poll::Ready(packet) => packet,
                        Poll::Pending => None,
                    };
                    if answer.is_none() {
                        break;
                    }
                }
                packets.poll_recv(cx)
            });
            let Some(Packet { peer, data }) = came.await? else {
                return Ok(());
            };
            let data = match visitors.get(&peer) {
                Some(flow) => match flow.try_send(data) {
                    Err(mpsc::error::TrySendError::Closed(data)) => data,
                    // What a flow does not take is lost, as datagrams are.
                    Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => continue,
                },
                None => data,
            };
            if visitors.len() >= MAX_VISITORS {
                visitors.retain(|_, flow| !flow.is_closed());
                // Somebody makes room: strangers may not keep the port from everybody else.
                if visitors.len() >= MAX_VISITORS
                    && let Some(other) = visitors.keys().next().cloned()
                {
                    visitors.remove(&other);
                }
            }
            let (flow, came) = mpsc::channel(QUEUED);
            let _ = flow.try_send(data);
            let visitor = Visitor {
                from: peer.clone(),
                to: to.clone(),
                came,
                back: back.clone(),
            };
            let source = source_of(&peer);
            visitors.insert(peer, flow);
            let accepted = Accepted::Packets {
                user: None,
                packets: Box::new(visitor),
            };
            let dispatcher = self.dispatcher.clone();
            dispatcher.dispatch(source, self.origin(), accepted).await;
        }
    }
}

impl Packets for Visitor {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        let data = ready!(self.came.poll_recv(cx));
        let peer = self.to.clone();
        Poll::Ready(Ok(data.map(|data| Packet { peer, data })))
    }

    fn poll_send(&mut self, _: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let packet = Packet {
            peer: self.from.clone(),
            data: packet.data.clone(),
        };
        Poll::Ready(match self.back.try_send(packet) {
            Err(mpsc::error::TrySendError::Closed(_)) => Err(io::ErrorKind::NotConnected.into()),
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
        })
    }

    fn is_connectionless(&self) -> bool {
        true
    }
}
