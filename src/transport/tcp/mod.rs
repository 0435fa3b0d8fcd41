//! Plain TCP, unix sockets, and the options of a socket.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::address::Destination;
use crate::dns::Strategy;
use crate::json::Node;

/// `sockopt`, and `sendThrough` of an outbound.
#[derive(Clone, Debug, Default)]
pub struct SockOpt {
    /// Local address of outgoing connections and datagrams.
    pub send_through: Option<IpAddr>,
}

impl SockOpt {
    pub fn read(_settings: &Node) -> Self {
        todo!()
    }
}

/// Checks `tcpSettings`: only a `header` of type `none` works.
pub fn check_settings(_settings: &Node) {
    todo!()
}

/// Connects to the first address of `to` that answers (Happy Eyeballs, RFC 8305).
pub async fn connect(
    _to: &Destination,
    _strategy: Strategy,
    _sockopt: &SockOpt,
) -> io::Result<TcpStream> {
    todo!()
}

/// Listens on `addr` with the options of an inbound.
pub fn listen(_addr: SocketAddr, _sockopt: &SockOpt) -> io::Result<TcpListener> {
    todo!()
}

/// A UDP socket for datagrams to `to`, with the options and the local address of an outbound.
pub fn udp_socket(_to: SocketAddr, _sockopt: &SockOpt) -> io::Result<UdpSocket> {
    todo!()
}
