//! What `sockopt.tproxy` asks for: sockets that take, and send, under the addresses of others.
//!
//! The packet filter brings a listener connections that were meant for somebody else. After `REDIRECT`
//! they came to an address of ours, and the kernel remembers the one that was meant
//! (`SO_ORIGINAL_DST`); after `TPROXY` the one that was meant is the connection's local address, for
//! which the listener needs `IP_TRANSPARENT`. Datagrams tell it beside their data
//! (`IP_RECVORIGDSTADDR`), after `TPROXY` alone: that of a redirected one is lost.
//!
//! V2Ray sets `IP_TRANSPARENT` in either mode and goes on when the kernel refuses it. Here it is an
//! error where nothing can work without.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockRef, Socket};
use tokio::net::{TcpStream, UdpSocket};
use tracing::warn;

use super::options::named;
use super::settings::{SockOpt, Tproxy};
use crate::cause::reason;
use crate::io::is_own_listener;

/// Whom the peer of an accepted connection meant to reach; `None` when it was the listener on `door`.
pub(super) fn original_dst(
    how: Tproxy,
    stream: &TcpStream,
    local: SocketAddr,
    door: SocketAddr,
) -> Option<SocketAddr> {
    let before = match how {
        Tproxy::Redirect => before_redirect(stream, local.ip()),
        Tproxy::Off | Tproxy::Tproxy => None,
    };
    // A connection that the kernel remembers nothing of may still have come by `TPROXY`.
    let original_dst = before.unwrap_or(local);
    (!is_own_listener(original_dst, door))
        .then(|| SocketAddr::new(original_dst.ip().to_canonical(), original_dst.port()))
}

fn before_redirect(stream: &TcpStream, local: IpAddr) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let before = match local.to_canonical() {
        IpAddr::V4(_) => socket.original_dst_v4(),
        IpAddr::V6(_) => socket.original_dst_v6(),
    };
    before.ok()?.as_socket()
}

/// A UDP socket that sends as `from`, which may be anybody's address, with the mark and the device of
/// an inbound.
pub fn udp_answer(from: SocketAddr, sockopt: &SockOpt) -> io::Result<UdpSocket> {
    let socket = sockopt.udp(from)?;
    // A transparent proxy beside us may answer as the same one.
    socket.set_reuse_address(true)?;
    set_transparent(&socket, from)?;
    socket.bind(&from.into())?;
    UdpSocket::from_std(socket.into())
}

/// A packet filter brings connections to this process.
static IS_THERE: AtomicBool = AtomicBool::new(false);

/// An inbound listens for what a packet filter brings.
pub(super) fn begins() {
    IS_THERE.store(true, Ordering::Relaxed);
}

/// Whether one does, or did: what is not marked may come in again.
pub(super) fn is_there() -> bool {
    IS_THERE.load(Ordering::Relaxed)
}

impl SockOpt {
    /// `REDIRECT` works without, and then the rights to ask for more may be missing.
    pub(super) fn transparent_to_listen(
        &self,
        socket: &Socket,
        addr: SocketAddr,
    ) -> io::Result<()> {
        let set = || set_transparent(socket, addr);
        match self.tproxy {
            Tproxy::Off => Ok(()),
            Tproxy::Redirect => set().or(Ok(())),
            Tproxy::Tproxy => named("tproxy", set()),
        }
    }

    /// Without it `sendThrough` is bound to addresses of ours, and says so.
    pub(super) fn transparent_to_dial(&self, socket: &Socket, to: SocketAddr) {
        if self.tproxy != Tproxy::Off {
            let _ = set_transparent(socket, to);
        }
    }

    /// For datagrams `REDIRECT` is not enough, but its streams shall not suffer.
    pub(super) fn transparent_datagrams(
        &self,
        socket: &Socket,
        addr: SocketAddr,
    ) -> io::Result<()> {
        let set = || {
            set_transparent(socket, addr)?;
            if addr.is_ipv6() {
                setsockopt(socket, sockopt::Ipv6OrigDstAddr, &true)?;
            }
            // An IPv6 socket may take IPv4 as well.
            Ok(setsockopt(socket, sockopt::Ipv4OrigDstAddr, &true)?)
        };
        if self.tproxy != Tproxy::Off {
            begins();
        }
        match self.tproxy {
            Tproxy::Off => Ok(()),
            Tproxy::Redirect => {
                if let Err(e) = set() {
                    warn!(
                        "UDP on {addr} cannot be proxied transparently: {} (it needs root or CAP_NET_ADMIN)",
                        reason(&e)
                    );
                }
                Ok(())
            }
            Tproxy::Tproxy => named("tproxy", set()),
        }
    }
}

fn set_transparent(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    match addr {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}
