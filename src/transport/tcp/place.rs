//! Where a command of its own listens: an address, or a path in the file system.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Listener, SockOpt, listen, listen_unix};

/// Where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address; that of IPv6 which is every address is so for IPv4, too.
    Tcp(SocketAddr),
    /// A path in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Listen {
    /// Listens there.
    ///
    /// # Errors
    ///
    /// What the system says against it.
    pub fn bind(&self) -> io::Result<Listener> {
        match self {
            Self::Tcp(address) => listen(*address, &SockOpt::default()),
            Self::Unix(path) => listen_unix(path),
        }
    }
}
