//! What `streamSettings.fallback` can say.

use std::fmt;
use std::path::PathBuf;

use http::HeaderValue;

use crate::seam::{FallbackTarget, ProxyVersion};

/// A site on the port of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// The files of a folder.
    Folder(PathBuf),
    /// Another web server.
    Upstream(Upstream),
    /// Several, by the host that is asked for: the names of each, in small letters. One without names gets what is left.
    Hosts(Vec<(Vec<String>, Upstream)>),
}

/// A web server that is asked by HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where it is.
    pub to: FallbackTarget,
    /// `xver`: a PROXY header in front of each connection tells who comes.
    pub proxy_header: Option<ProxyVersion>,
    /// `host`: the host that it is asked for; without it, the one that the visitor asks for.
    pub host: Option<HeaderValue>,
}

/// As configs have it.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Upstream(upstream) => upstream.fmt(f),
            Self::Hosts(all) => write!(f, "{} web servers", all.len()),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            FallbackTarget::Port(_) | FallbackTarget::Tcp(_) => write!(f, "http://{}", self.to),
            FallbackTarget::Unix(_) | FallbackTarget::Abstract(_) => write!(f, "unix:{}", self.to),
        }
    }
}
