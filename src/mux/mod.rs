//! Mux.Cool: many sessions inside one link, and XUDP and packetaddr, which carry datagrams to many
//! places in one session.
//!
//! ```text
//! link: | New 1, data | New 2, data | Keep 1, data | End 2 | Keep 1, data | …
//! ```
//! The link is made by a protocol that can ask for one (VMess with command 3), or is a stream to a name that
//! stands for it. Inbound, each session that the peer opens is accepted like a connection; outbound, a pool of links takes sessions. Keep-alive
//! frames are read and forgotten; none are sent, as V2Ray sends none here: a session that is idle for as
//! long as any other may be ends like any other, and WebSocket has a heartbeat of its own.

pub mod codec;
mod driver;
mod full_cone;
mod inbound;
mod outbound;
pub mod packet_addr;
pub mod packet_stream;
mod packets;
mod settings;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod watch;
mod worker;

pub use inbound::{Inbound, Served};
pub use outbound::{DialFuture, Outbound, UdpMode};
pub use settings::{MAX_CONCURRENCY, Settings, Udp, Udp443};
pub use watch::Watch;
pub use worker::Worker;

use std::sync::Arc;

use crate::address::{Destination, Host};
use crate::io::Link;
use crate::seam::Accepted;
use crate::session::User;

/// V2Ray takes a stream to it for Mux.Cool, in whatever protocol it comes.
const NAME: &str = "v1.mux.cool";

/// V2Ray's, with its name.
const PORT: u16 = 9527;

/// What a stream for sessions is asked for, where a protocol has no other word for it.
pub fn destination() -> Destination {
    Destination {
        host: Host::Domain(NAME.into()),
        port: PORT,
    }
}

/// Whether a stream to `to` carries sessions.
pub fn is_meant(to: &Destination) -> bool {
    matches!(&to.host, Host::Domain(name) if name.eq_ignore_ascii_case(NAME))
}

/// What a peer asks for with a stream to `to`, which may be one of datagrams. `Err` says why it cannot be carried. (A
/// stream for sessions is dispatch's to tell: it may come by any protocol.)
pub fn stream_or_packets(
    user: Option<Arc<User>>,
    to: Destination,
    link: Link,
) -> Result<Accepted, &'static str> {
    if let Some(reason) = other_kind(&to) {
        return Err(reason);
    }
    if packet_stream::is_meant(&to) {
        let packets = packet_stream::packets(link);
        return Ok(Accepted::Packets { user, packets });
    }
    Ok(Accepted::Stream {
        user,
        to,
        link,
        reply: None,
    })
}

/// Why a stream to `to` cannot be carried, if it is another program's multiplexing in disguise.
fn other_kind(to: &Destination) -> Option<&'static str> {
    match &to.host {
        Host::Domain(name) if name.eq_ignore_ascii_case("sp.mux.sing-box.arpa") => Some(
            "sing-box's multiplex (smux, yamux, h2mux) is not built: remove `multiplex` from the client's outbound",
        ),
        Host::Domain(name)
            if ["sp.udp-over-tcp.arpa", "sp.v2.udp-over-tcp.arpa"]
                .iter()
                .any(|meant| name.eq_ignore_ascii_case(meant)) =>
        {
            Some(
                "UDP over TCP is not built: remove `udp_over_tcp`, or `uot`, from the client's outbound",
            )
        }
        _ => None,
    }
}
