//! How much must have arrived before a TCP socket is readable.

use nix::libc;
use nix::sys::socket::setsockopt;
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use tokio::net::TcpStream;

// nix has this macro for the options it lacks.
sockopt_impl!(
    /// The receive low-water mark, in bytes.
    ReceiveLowWater,
    Both,
    libc::SOL_SOCKET,
    libc::SO_RCVLOWAT,
    libc::c_int
);

/// What the socket was last asked for.
#[cfg(test)]
pub(crate) fn get(socket: &impl std::os::fd::AsFd) -> usize {
    let bytes = nix::sys::socket::getsockopt(socket, ReceiveLowWater);
    bytes.map_or(0, |bytes| bytes as usize)
}

pub(super) fn set(stream: &TcpStream, bytes: usize) {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // A system that refuses has the socket wake us more often, no more.
    let _ = setsockopt(stream, ReceiveLowWater, &bytes);
}
