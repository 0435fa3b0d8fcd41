//! Receives datagrams together with where they were sent to.
//!
//! The kernel says it in control messages: of a transparent socket that had asked for `IP_RECVORIGDSTADDR`, whom a
//! datagram was meant for, in `IP_ORIGDSTADDR` or `IPV6_ORIGDSTADDR` with a `sockaddr` inside; of a socket for every
//! address, which of them it came to, in `IP_PKTINFO` or `IPV6_PKTINFO` (ip(7), ipv6(7)).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use bytes::Bytes;
use nix::cmsg_space;
use nix::libc::{in_pktinfo, in6_pktinfo, sockaddr_in, sockaddr_in6};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg, setsockopt,
    sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::debug;

use super::Datagram;

/// What UDP can carry.
const MAX_DATAGRAM: usize = 64 * 1024;

pub(super) struct Receiver {
    buf: Vec<u8>,
    /// Room for control messages; none where there is nothing to be told.
    control: Option<Vec<u8>>,
}

impl Receiver {
    pub(super) fn new(socket: &UdpSocket, is_transparent: bool) -> Self {
        let local = socket.local_addr().ok();
        let any = local.filter(|local| local.ip().is_unspecified());
        if let Some(any) = any {
            let asked = match any {
                SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true),
                SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true),
            };
            if let Err(e) = asked {
                debug!(error = %e, "the address that was asked is not known");
            }
        }
        let is_told = is_transparent || any.is_some();
        let space = || cmsg_space!(sockaddr_in, sockaddr_in6, in_pktinfo, in6_pktinfo);
        Self {
            buf: vec![0; MAX_DATAGRAM],
            control: is_told.then(space),
        }
    }

    pub(super) async fn receive(&mut self, socket: &UdpSocket) -> io::Result<Datagram> {
        let buf = &mut self.buf;
        let Some(control) = &mut self.control else {
            let (n, source) = socket.recv_from(buf).await?;
            return Ok(Datagram {
                source: canonical(source),
                local: None,
                original_dst: None,
                data: Bytes::copy_from_slice(&buf[..n]),
            });
        };
        socket
            .async_io(Interest::READABLE, || try_receive(socket, buf, control))
            .await
    }
}

fn try_receive(socket: &UdpSocket, buf: &mut [u8], control: &mut [u8]) -> io::Result<Datagram> {
    let mut parts = [IoSliceMut::new(buf)];
    let received = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let source = received
        .address
        .as_ref()
        .and_then(address)
        .ok_or_else(|| io::Error::from(io::ErrorKind::Interrupted))?;
    let (mut original_dst, mut local) = (None, None);
    for message in received.cmsgs()? {
        match message {
            ControlMessageOwned::Ipv4OrigDstAddr(to) => {
                original_dst = Some(SocketAddrV4::from(SockaddrIn::from(to)).into());
            }
            ControlMessageOwned::Ipv6OrigDstAddr(to) => {
                original_dst = Some(SocketAddrV6::from(SockaddrIn6::from(to)).into());
            }
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let ip = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                local = Some(IpAddr::V4(ip));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical());
            }
            _ => {}
        }
    }
    let n = received.bytes;
    Ok(Datagram {
        source: canonical(source),
        local,
        original_dst,
        data: Bytes::copy_from_slice(&buf[..n]),
    })
}

fn address(from: &SockaddrStorage) -> Option<SocketAddr> {
    let ipv4 = || Some(SocketAddrV4::from(*from.as_sockaddr_in()?).into());
    let ipv6 = || Some(SocketAddrV6::from(*from.as_sockaddr_in6()?).into());
    ipv4().or_else(ipv6)
}

/// An IPv4 address as such, where a socket for both families has it as `::ffff:1.2.3.4`.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
        IpAddr::V6(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Replies;
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn the_address_that_was_sent_to_is_told_for_both_families_and_answers_come_from_it() {
        for (at, is_transparent) in [("[::]:0", true), ("[::]:0", false), ("0.0.0.0:0", false)] {
            let all = Arc::new(UdpSocket::bind(at).await.unwrap());
            if is_transparent {
                setsockopt(&all, sockopt::Ipv4OrigDstAddr, &true).unwrap();
                setsockopt(&all, sockopt::Ipv6OrigDstAddr, &true).unwrap();
            }
            let mut receiver = Receiver::new(&all, is_transparent);
            let replies = Replies::new(&all);
            let port = all.local_addr().unwrap().port();
            let all_pairs = [("127.0.0.1:0", "127.0.0.7"), ("[::1]:0", "::1")];
            let families = if at.starts_with('[') { 2 } else { 1 };
            for (from, to) in &all_pairs[..families] {
                let client = UdpSocket::bind(from).await.unwrap();
                let to = SocketAddr::new(to.parse().unwrap(), port);
                client.send_to(b"word", to).await.unwrap();
                let datagram = receiver.receive(&all).await.unwrap();
                assert_eq!(datagram.data, "word");
                assert_eq!(datagram.original_dst, is_transparent.then_some(to));
                assert_eq!(datagram.local, Some(to.ip()));
                assert_eq!(datagram.source, client.local_addr().unwrap());
                all.writable().await.unwrap();
                let asked = datagram.local;
                replies.send(b"answer", datagram.source, asked).unwrap();
                let (_, from) = client.recv_from(&mut [0; 8]).await.unwrap();
                assert_eq!(from, to, "on {at}");
            }
        }
    }
}
