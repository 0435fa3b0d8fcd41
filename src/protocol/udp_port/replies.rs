//! Datagrams back to a source, from the address that it had sent to.
//!
//! On a socket for every address the system would choose one by the way out, and a client drops what does not come
//! from whom it asked. So the address goes along in a control message, `IP_PKTINFO` or `IPV6_PKTINFO` (ip(7), ipv6(7)).

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Weak};

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;

#[derive(Clone)]
pub(in crate::protocol) struct Replies {
    /// It closes with its listener, whatever sessions there are.
    socket: Weak<UdpSocket>,
    local: Option<SocketAddr>,
}

impl Replies {
    pub(super) fn new(socket: &Arc<UdpSocket>) -> Self {
        Self {
            socket: Arc::downgrade(socket),
            local: socket.local_addr().ok(),
        }
    }

    /// Sends `data` to `to`, as `from` where that is one of several addresses.
    ///
    /// Many sessions share the socket and a socket wakes one writer only, so nobody waits for it: a datagram
    /// that does not fit is lost.
    pub(in crate::protocol) fn send(
        &self,
        data: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> io::Result<()> {
        let socket = self.socket.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        let is_v6 = self.local.is_some_and(|local| local.is_ipv6());
        let to = match to {
            SocketAddr::V4(to) if is_v6 => {
                SocketAddrV6::new(to.ip().to_ipv6_mapped(), to.port(), 0, 0).into()
            }
            as_is => as_is,
        };
        if let Some(from) = from {
            let send = || send_from(&socket, is_v6, data, to, from);
            match socket.try_io(Interest::WRITABLE, send) {
                // It was a group's or everybody's, or is ours no more.
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
        socket.try_send_to(data, to).map(drop)
    }
}

fn send_from(
    socket: &UdpSocket,
    is_v6: bool,
    data: &[u8],
    to: SocketAddr,
    from: IpAddr,
) -> io::Result<()> {
    let (v4, v6);
    let message = match from {
        IpAddr::V4(ip) if !is_v6 => {
            v4 = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr {
                    s_addr: u32::from_ne_bytes(ip.octets()),
                },
                ipi_addr: in_addr { s_addr: 0 },
            };
            ControlMessage::Ipv4PacketInfo(&v4)
        }
        ip => {
            v6 = in6_pktinfo {
                ipi6_addr: in6_addr {
                    s6_addr: mapped(ip).octets(),
                },
                ipi6_ifindex: 0,
            };
            ControlMessage::Ipv6PacketInfo(&v6)
        }
    };
    let to = SockaddrStorage::from(to);
    let parts = [IoSlice::new(data)];
    let flags = MsgFlags::MSG_DONTWAIT;
    sendmsg(socket.as_raw_fd(), &parts, &[message], flags, Some(&to))?;
    Ok(())
}

/// How an IPv6 socket names an address.
fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
