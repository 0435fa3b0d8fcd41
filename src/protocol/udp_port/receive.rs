//! Receives datagrams together with whom they were meant for.
//!
//! The kernel says it in a control message, when `IP_RECVORIGDSTADDR` was asked for: `IP_ORIGDSTADDR`
//! or `IPV6_ORIGDSTADDR` with a `sockaddr` inside (ip(7)).

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::libc::{sockaddr_in, sockaddr_in6};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The next datagram: its length, its source, and the address it was sent to.
pub(super) async fn receive(
    socket: &UdpSocket,
    buf: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<SocketAddr>)> {
    socket
        .async_io(Interest::READABLE, || try_receive(socket, buf))
        .await
}

fn try_receive(
    socket: &UdpSocket,
    buf: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<SocketAddr>)> {
    let mut control = cmsg_space!(sockaddr_in, sockaddr_in6);
    let mut parts = [IoSliceMut::new(buf)];
    let received = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let source = received
        .address
        .as_ref()
        .and_then(address)
        .ok_or_else(|| io::Error::from(io::ErrorKind::Interrupted))?;
    let original_dst = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4OrigDstAddr(to) => {
            Some(SocketAddrV4::from(SockaddrIn::from(to)).into())
        }
        ControlMessageOwned::Ipv6OrigDstAddr(to) => {
            Some(SocketAddrV6::from(SockaddrIn6::from(to)).into())
        }
        _ => None,
    });
    Ok((received.bytes, source, original_dst))
}

fn address(from: &SockaddrStorage) -> Option<SocketAddr> {
    let ipv4 = || Some(SocketAddrV4::from(*from.as_sockaddr_in()?).into());
    let ipv6 = || Some(SocketAddrV6::from(*from.as_sockaddr_in6()?).into());
    ipv4().or_else(ipv6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{setsockopt, sockopt};

    #[tokio::test]
    async fn the_address_that_was_sent_to_is_told_for_both_families() {
        let both = UdpSocket::bind("[::]:0").await.unwrap();
        setsockopt(&both, sockopt::Ipv4OrigDstAddr, &true).unwrap();
        setsockopt(&both, sockopt::Ipv6OrigDstAddr, &true).unwrap();
        let port = both.local_addr().unwrap().port();
        for (from, to) in [("127.0.0.1:0", "127.0.0.7"), ("[::1]:0", "::1")] {
            let client = UdpSocket::bind(from).await.unwrap();
            let to = SocketAddr::new(to.parse().unwrap(), port);
            client.send_to(b"word", to).await.unwrap();
            let mut buf = [0; 8];
            let (n, source, original_dst) = receive(&both, &mut buf).await.unwrap();
            assert_eq!((&buf[..n], original_dst), (&b"word"[..], Some(to)));
            let here = client.local_addr().unwrap();
            assert_eq!(
                (source.ip().to_canonical(), source.port()),
                (here.ip(), here.port())
            );
        }
    }
}
