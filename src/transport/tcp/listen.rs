//! Listens for connections and for datagrams.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::libc;
use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use crate::io::Link;
use crate::seam::Arrival;
use crate::session::Source;

use super::handed;
use super::settings::{SockOpt, Tproxy};
use super::transparent;
use super::unix::SocketFile;

/// Where connections come in.
#[derive(Debug)]
pub enum Listener {
    /// With the address that every connection was made to, where it cannot be but one.
    Tcp(Arc<TcpListener>, Tproxy, Option<SocketAddr>),
    /// The file goes when the listener does; the abstract namespace has none.
    Unix(Arc<UnixListener>, Option<Arc<SocketFile>>),
    /// Others of this process hand them over.
    Handed(mpsc::Sender<Arrival>, Mutex<mpsc::Receiver<Arrival>>),
}

/// Handed over, and not accepted yet.
const WAITING: usize = 128;

impl Listener {
    /// The next connection. A peer that went away before its turn is passed over; an error means that
    /// nobody can be accepted just now.
    pub async fn accept(&self) -> io::Result<Arrival> {
        match self {
            Self::Tcp(listener, tproxy, local) => loop {
                let (stream, peer) = match listener.accept().await {
                    Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => continue,
                    accepted => accepted?,
                };
                let Some(local) = local.or_else(|| stream.local_addr().ok()) else {
                    continue;
                };
                let original_dst = match tproxy {
                    Tproxy::Off => None,
                    how => transparent::original_dst(*how, &stream, local, listener.local_addr()?),
                };
                return Ok(Arrival {
                    link: Link::Tcp(stream),
                    source: peer.into(),
                    local: local.into(),
                    original_dst,
                    tls: None,
                    since: Instant::now(),
                });
            },
            Self::Handed(_, waiting) => {
                let next = waiting.lock().await.recv().await;
                // It holds a door of its own, so there always is one.
                next.ok_or_else(|| io::ErrorKind::NotConnected.into())
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Arrival {
                    link: Link::other(stream),
                    source: Source::Unix,
                    local: Source::Unix,
                    original_dst: None,
                    tls: None,
                    since: Instant::now(),
                })
            }
        }
    }

    /// One to which connections are handed over.
    pub fn handed() -> Self {
        let (door, waiting) = mpsc::channel(WAITING);
        Self::Handed(door, Mutex::new(waiting))
    }

    /// By which connections are handed over, if it is one for that.
    pub fn door(&self) -> Option<&mpsc::Sender<Arrival>> {
        match self {
            Self::Handed(door, _) => Some(door),
            Self::Tcp(..) | Self::Unix(..) => None,
        }
    }

    /// The address of a TCP listener, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener, ..) => listener.local_addr().ok(),
            Self::Unix(..) | Self::Handed(..) => None,
        }
    }
}

/// Listens on `addr` with the options of an inbound.
///
/// As in Go, and so in V2Ray, both `0.0.0.0` and `::` mean every address of either family.
pub fn listen(addr: SocketAddr, sockopt: &SockOpt) -> io::Result<Listener> {
    listen_as(addr, sockopt, Bind::Alone)
}

/// As [`listen()`], for the only socket of its place, or beside one that will go.
pub fn listen_as(addr: SocketAddr, sockopt: &SockOpt, how: Bind) -> io::Result<Listener> {
    let socket = match handed::tcp(addr, sockopt.v6_only) {
        Some(socket) => {
            socket.set_nonblocking(true)?;
            sockopt.dress_tcp(&socket)?;
            socket
        }
        None => of_either_family(addr, sockopt, |addr| bind(addr, sockopt, how))?,
    };
    sockopt.fast_open_to_listen(&socket)?;
    // Linux looks for others in this place once more.
    socket.listen(BACKLOG)?;
    socket.set_reuse_port(false)?;
    let listener = Arc::new(TcpListener::from_std(socket.into())?);
    handed::remember(&listener, addr.port() == 0, None);
    let at = listener.local_addr()?;
    let is_transparent = sockopt.tproxy != Tproxy::Off;
    if is_transparent {
        transparent::begins();
    }
    let one = !at.ip().is_unspecified() && !is_transparent;
    Ok(Listener::Tcp(listener, sockopt.tproxy, one.then_some(at)))
}

/// How a socket comes to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Nobody else may have it.
    Alone,
    /// Others that [share](share_place) it may have it, too, at this moment.
    Beside,
}

/// Whether another socket of this process may be bound where this one is ([`Bind::Beside`]).
pub fn share_place(socket: &impl AsFd, shares: bool) -> io::Result<()> {
    SockRef::from(socket).set_reuse_port(shares)
}

fn of_either_family<T>(
    addr: SocketAddr,
    sockopt: &SockOpt,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    if addr.ip().is_unspecified() {
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, addr.port()));
        match bind(both) {
            Err(e) if lacks_ipv6(&e) && !sockopt.v6_only => {
                return bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port())));
            }
            result => return result,
        }
    }
    bind(addr)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::ENOPROTOOPT)
    )
}

fn bind(addr: SocketAddr, sockopt: &SockOpt, how: Bind) -> io::Result<Socket> {
    // Accepted sockets inherit the options, keep-alive and `TCP_NODELAY` among them.
    let socket = sockopt.tcp(addr)?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(sockopt.v6_only || !addr.ip().is_unspecified())?;
    }
    socket.set_reuse_port(how == Bind::Beside)?;
    socket.bind(&addr.into())?;
    sockopt.transparent_to_listen(&socket, addr)?;
    Ok(socket)
}

/// A UDP socket that waits for datagrams on `addr`; for `0.0.0.0` and `::` the same holds as for
/// [`listen()`]. Sources of IPv4 may be written as `::ffff:1.2.3.4`.
pub fn udp_listen(addr: SocketAddr, sockopt: &SockOpt) -> io::Result<Arc<UdpSocket>> {
    udp_listen_as(addr, sockopt, Bind::Alone)
}

/// As [`udp_listen`], for the only socket of its place, or beside one that will go.
pub fn udp_listen_as(addr: SocketAddr, sockopt: &SockOpt, how: Bind) -> io::Result<Arc<UdpSocket>> {
    if let Some(socket) = handed::udp(addr, sockopt.v6_only) {
        socket.set_nonblocking(true)?;
        sockopt.apply(&socket)?;
        return remembered(socket, addr);
    }
    let socket = of_either_family(addr, sockopt, |addr| {
        let socket = sockopt.udp(addr)?;
        if addr.is_ipv6() {
            socket.set_only_v6(sockopt.v6_only || !addr.ip().is_unspecified())?;
        }
        sockopt.transparent_datagrams(&socket, addr)?;
        if how == Bind::Beside {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&addr.into())?;
        if how == Bind::Beside {
            socket.set_reuse_port(false)?;
        }
        Ok(socket)
    })?;
    remembered(socket, addr)
}

fn remembered(socket: Socket, asked: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let socket = Arc::new(UdpSocket::from_std(socket.into())?);
    handed::remember(&socket, asked.port() == 0, None);
    Ok(socket)
}

/// A UDP socket for datagrams to `to`, with the options and the local address of an outbound.
pub fn udp_socket(to: SocketAddr, sockopt: &SockOpt) -> io::Result<UdpSocket> {
    let socket = sockopt.udp(to)?;
    match sockopt.local() {
        Some(local) if local.is_ipv4() != to.is_ipv4() => {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("{to} is not of the family of sendThrough {local}"),
            ));
        }
        Some(_) => {
            sockopt.transparent_to_dial(&socket, to);
            sockopt.bind_local(&socket)?;
        }
        None => socket.bind(&any(to).into())?,
    }
    UdpSocket::from_std(socket.into())
}

/// Any address of ours from which `to` can be reached.
pub(super) fn any(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

/// What Go asks for, and the kernel's own usual limit.
pub(super) const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::tcp::FastOpen;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn both_wildcards_take_ipv4_and_show_it_plainly() {
        for any in ["0.0.0.0:0", "[::]:0"] {
            let listener = listen(any.parse().unwrap(), &SockOpt::default()).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let arrival = listener.accept().await.unwrap();
            assert_eq!(arrival.source, Source::Ip(client.local_addr().unwrap()));
            assert_eq!(arrival.local, Source::Ip(client.peer_addr().unwrap()));
        }
    }

    #[tokio::test]
    async fn ipv6_alone_is_listened_on_by_choice() {
        let sockopt = SockOpt {
            v6_only: true,
            ..SockOpt::default()
        };
        let listener = listen("0.0.0.0:0".parse().unwrap(), &sockopt).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
        assert!(TcpStream::connect(("::1", port)).await.is_ok());
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let sockopt = SockOpt::default();
        let first = listen("127.0.0.1:0".parse().unwrap(), &sockopt).unwrap();
        let error = listen(first.local_addr().unwrap(), &sockopt).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_place_is_taken_over_beside_a_socket_that_goes() {
        let sockopt = SockOpt::default();
        let old = listen("127.0.0.1:0".parse().unwrap(), &sockopt).unwrap();
        let at = old.local_addr().unwrap();
        // What was accepted has the place as well.
        let client = TcpStream::connect(at).await.unwrap();
        let accepted = old.accept().await.unwrap();
        let Listener::Tcp(socket, ..) = &old else {
            panic!("a TCP listener");
        };
        for any in [
            at,
            ("0.0.0.0".parse::<Ipv4Addr>().unwrap(), at.port()).into(),
        ] {
            let taken = listen(any, &sockopt).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
            share_place(&**socket, true).unwrap();
            let new = listen_as(any, &sockopt, Bind::Beside);
            share_place(&**socket, false).unwrap();
            let new = new.unwrap();
            let taken = listen(any, &sockopt).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
            drop(new);
        }
        drop((client, accepted));
        let old = udp_listen("127.0.0.1:0".parse().unwrap(), &sockopt).unwrap();
        let at = old.local_addr().unwrap();
        let any = (Ipv4Addr::UNSPECIFIED, at.port()).into();
        assert!(udp_listen_as(any, &sockopt, Bind::Beside).is_err());
        share_place(&*old, true).unwrap();
        udp_listen_as(any, &sockopt, Bind::Beside).unwrap();
    }

    #[tokio::test]
    async fn fast_open_mptcp_and_keep_alive_do_not_get_in_the_way() {
        let sockopt = SockOpt {
            fast_open: FastOpen::On(16),
            mptcp: true,
            ..SockOpt::default()
        };
        let listener = listen("127.0.0.1:0".parse().unwrap(), &sockopt).unwrap();
        let to = listener.local_addr().unwrap().into();
        let mut client = crate::transport::tcp::connect(&to, &crate::dns::Lookup::System, &sockopt)
            .await
            .unwrap();
        client.write_all(b"hi").await.unwrap();
        let mut arrival = listener.accept().await.unwrap();
        let mut two = [0; 2];
        arrival.link.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"hi");
    }

    #[tokio::test]
    async fn datagrams_leave_from_send_through() {
        let server = udp_listen("127.0.0.1:0".parse().unwrap(), &SockOpt::default()).unwrap();
        let to = server.local_addr().unwrap();
        let sockopt = SockOpt {
            send_through: Some([127, 0, 0, 3].into()),
            ..SockOpt::default()
        };
        let client = udp_socket(to, &sockopt).unwrap();
        client.send_to(b"x", to).await.unwrap();
        let (_, from) = server.recv_from(&mut [0; 8]).await.unwrap();
        assert_eq!(from.ip().to_string(), "127.0.0.3");
    }
}
