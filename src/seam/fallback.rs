//! What stands behind a protocol for those who speak another one.

use std::fmt;
use std::path::PathBuf;

use crate::address::Destination;

/// Where a link that is not one of ours goes on to, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    pub to: FallbackTarget,
    /// `xver`: a PROXY header in front tells who comes.
    pub proxy_header: Option<ProxyVersion>,
}

/// `dest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FallbackTarget {
    /// A port of this machine.
    Port(u16),
    Tcp(Destination),
    /// A unix socket in the file system.
    Unix(PathBuf),
    /// One in the abstract namespace, without the zero in front.
    Abstract(Vec<u8>),
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line.
    One,
    /// Bytes.
    Two,
}

/// As configs have it.
impl fmt::Display for FallbackTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "port {port}"),
            Self::Tcp(to) => to.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Abstract(name) => {
                let name = name.trim_ascii_end().split(|byte| *byte == 0).next();
                let name = String::from_utf8_lossy(name.unwrap_or_default());
                write!(f, "@{}", name.escape_debug())
            }
        }
    }
}
