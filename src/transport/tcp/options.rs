//! Puts the options of a config on a socket; an option that the kernel refuses is named.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, Once, PoisonError};

use nix::sys::socket::{setsockopt, sockopt};
use nix::{libc, setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use super::settings::{FastOpen, KeepAlive, SockOpt, TcpOptions};
use super::transparent;
use crate::cause::reason;
use crate::io::{Link, handshakes, open_files};

// nix has the client's half of Fast Open, and this macro for the options it lacks.
sockopt_impl!(
    /// Length of the queue of connections that sent data with their SYN.
    TcpFastOpen,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_FASTOPEN,
    libc::c_int
);
sockopt_impl!(
    /// The largest window that is advertised.
    TcpWindowClamp,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_WINDOW_CLAMP,
    libc::c_int
);

impl SockOpt {
    /// A TCP socket of the family of `addr`, by MPTCP when that is wanted and there.
    pub(super) fn tcp(&self, addr: SocketAddr) -> io::Result<Socket> {
        let domain = Domain::for_address(addr);
        let kind = Type::STREAM.nonblocking();
        let socket = match self.mptcp {
            true => Socket::new(domain, kind, Some(Protocol::MPTCP)).or_else(|error| {
                static ONCE: Once = Once::new();
                ONCE.call_once(|| {
                    tracing::warn!(%error, "the kernel has no MPTCP, using TCP");
                });
                Socket::new(domain, kind, Some(Protocol::TCP))
            }),
            false => Socket::new(domain, kind, Some(Protocol::TCP)),
        }?;
        self.dress_tcp(&socket)?;
        Ok(socket)
    }

    /// Puts the options of TCP on a socket.
    pub(super) fn dress_tcp(&self, socket: &Socket) -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        if let KeepAlive::On { idle, interval } = self.keep_alive {
            let probes = TcpKeepalive::new().with_time(idle).with_interval(interval);
            named("tcpKeepAliveInterval", socket.set_tcp_keepalive(&probes))?;
        }
        self.tcp.apply(socket);
        self.apply(socket)
    }

    /// A connection as a link.
    pub fn link(&self, stream: TcpStream) -> Link {
        match self.every_arrival {
            true => Link::other(stream),
            false => Link::Tcp(stream),
        }
    }

    pub(super) fn udp(&self, addr: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))
            .inspect_err(|e| {
                if open_files::are_exhausted(e) {
                    // This datagram is lost; whoever sends another one finds room.
                    handshakes::make_room_for_next();
                }
            })?;
        socket.set_nonblocking(true)?;
        self.apply(&socket)?;
        Ok(socket)
    }

    /// What dialled and listening sockets, streams and datagrams have in common.
    pub(super) fn apply(&self, socket: &Socket) -> io::Result<()> {
        if let Some(mark) = self.mark {
            let set = socket.set_mark(mark);
            // By it alone a packet filter knows what it must not bring back.
            match transparent::is_there() {
                true => named("mark", set)?,
                false => tried("mark", set),
            }
        }
        if let Some(device) = &self.device {
            named("bindToDevice", socket.bind_device(Some(device.as_bytes())))?;
        }
        Ok(())
    }

    pub(super) fn fast_open_to_dial(&self, socket: &Socket) -> io::Result<()> {
        let on = match self.fast_open {
            FastOpen::Default => return Ok(()),
            FastOpen::Off => false,
            FastOpen::On(_) => true,
        };
        let set = setsockopt(socket, sockopt::TcpFastOpenConnect, &on);
        named("tcpFastOpen", set.map_err(Into::into))
    }

    pub(super) fn fast_open_to_listen(&self, socket: &Socket) -> io::Result<()> {
        let queue = match self.fast_open {
            FastOpen::Default => return Ok(()),
            FastOpen::Off => 0,
            FastOpen::On(queue) => libc::c_int::try_from(queue).unwrap_or(libc::c_int::MAX),
        };
        let set = setsockopt(socket, TcpFastOpen, &queue);
        named("tcpFastOpen", set.map_err(Into::into))
    }

    /// `sendThrough`; V2Ray's default `0.0.0.0` means any.
    pub fn local(&self) -> Option<IpAddr> {
        self.send_through.filter(|ip| !ip.is_unspecified())
    }

    pub(super) fn bind_local(&self, socket: &Socket) -> io::Result<()> {
        let Some(ip) = self.local() else {
            return Ok(());
        };
        socket.bind(&SocketAddr::new(ip, 0).into()).map_err(|e| {
            let text = format!("sendThrough {ip}: {}", reason(&e));
            io::Error::new(e.kind(), text)
        })
    }
}

impl TcpOptions {
    /// A connection that lacks one of these works all the same.
    fn apply(&self, socket: &Socket) {
        if let Some(name) = &self.congestion {
            tried("tcpCongestion", socket.set_tcp_congestion(name.as_bytes()));
        }
        if let Some(timeout) = self.user_timeout {
            tried("tcpUserTimeout", socket.set_tcp_user_timeout(Some(timeout)));
        }
        if let Some(bytes) = self.window_clamp {
            let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
            let set = setsockopt(socket, TcpWindowClamp, &bytes);
            tried("tcpWindowClamp", set.map_err(Into::into));
        }
        if let Some(bytes) = self.max_seg {
            tried("tcpMaxSeg", socket.set_tcp_mss(bytes));
        }
    }
}

/// Warns once of an option that the kernel refuses.
fn tried(option: &'static str, result: io::Result<()>) {
    static TOLD: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    if let Err(e) = result {
        let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.contains(&option) {
            told.push(option);
            tracing::warn!("sockopt {option} is left out: {}{}", reason(&e), right(&e));
        }
    }
}

pub(super) fn named(option: &str, result: io::Result<()>) -> io::Result<()> {
    result.map_err(|e| {
        let text = format!("sockopt {option}: {}{}", reason(&e), right(&e));
        // It is this process that has no right, and no rule that forbids a target.
        match e.kind() {
            io::ErrorKind::PermissionDenied => io::Error::other(text),
            kind => io::Error::new(kind, text),
        }
    })
}

/// What is missing where the system allows it to others.
fn right(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (it needs root or CAP_NET_ADMIN)",
        _ => "",
    }
}
