//! What the requests of a carrier ask for: by this several inbounds on one place are told apart.

use crate::transport::ServerCarrier;

/// What the requests of an inbound ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `network`.
    pub network: &'static str,
    /// The path, or what paths begin with.
    pub path: String,
    /// The host, in small letters; `None` is any.
    pub host: Option<String>,
}

impl Asked {
    /// Whether no request tells one from the other. What is inside a WebSocket, nobody says when it is asked for.
    pub fn is_as(&self, other: &Self) -> bool {
        let network = |one: &Self| match one.network {
            "mws" => "ws",
            network => network,
        };
        network(self) == network(other) && self.path == other.path && self.host == other.host
    }
}

impl ServerCarrier {
    /// What requests ask for; nothing where a carrier does not begin with one.
    pub fn asked(&self) -> Vec<Asked> {
        let one = |network, path: &str, host: Option<&String>| Asked {
            network,
            path: path.to_owned(),
            host: host.map(|host| host.to_ascii_lowercase()),
        };
        match self {
            Self::Raw | Self::HttpHeader(_) => Vec::new(),
            Self::Ws(ws) => vec![one("ws", &ws.path, ws.host.as_ref())],
            Self::Mws(mws) => vec![one("mws", &mws.ws.path, mws.ws.host.as_ref())],
            Self::HttpUpgrade(upgrade) => {
                vec![one("httpupgrade", &upgrade.path, upgrade.host.as_ref())]
            }
            Self::Grpc(grpc) => {
                let mut paths = grpc.paths.all().to_vec();
                paths.dedup();
                paths.iter().map(|path| one("grpc", path, None)).collect()
            }
            Self::H2(h2) if h2.hosts.is_empty() => vec![one("http", &h2.path, None)],
            Self::H2(h2) => {
                let hosts = h2.hosts.iter();
                hosts
                    .map(|host| one("http", &h2.path, Some(host)))
                    .collect()
            }
        }
    }
}
