//! Connections to what stands behind an inbound: a port of this machine, another host, a unix socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{SockOpt, connect, connect_abstract, connect_unix};
use crate::address::Destination;
use crate::cause::DialError;
use crate::dns::Lookup;
use crate::io::Link;
use crate::seam::FallbackTarget;

/// A connection to who stands behind.
///
/// # Errors
///
/// When nobody answers there.
pub async fn connect_behind(to: &FallbackTarget) -> io::Result<Link> {
    match to {
        // V2Ray takes the first, Xray whatever `localhost` is.
        FallbackTarget::Port(port) => {
            let first = SocketAddr::from((Ipv4Addr::LOCALHOST, *port)).into();
            match connect_tcp(&first).await {
                Ok(link) => Ok(link),
                Err(error) => {
                    let second = SocketAddr::from((Ipv6Addr::LOCALHOST, *port)).into();
                    connect_tcp(&second).await.map_err(|_| error)
                }
            }
        }
        FallbackTarget::Tcp(to) => connect_tcp(to).await,
        FallbackTarget::Unix(path) => Ok(Link::other(connect_unix(path).await?)),
        FallbackTarget::Abstract(name) => Ok(Link::other(connect_abstract(name).await?)),
    }
}

async fn connect_tcp(to: &Destination) -> io::Result<Link> {
    let sockopt = SockOpt::default();
    let connected = connect(to, &Lookup::System, &sockopt).await;
    let stream = connected.map_err(|e: DialError| io::Error::from(e))?;
    Ok(sockopt.link(stream))
}
