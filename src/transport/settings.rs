//! What a transport is made of: `streamSettings`.

#![warn(missing_docs)]

use std::fmt;

use super::{grpc, h2, http_header, http2, httpupgrade, mws, site, tcp, tls, ws};
use crate::http::Forwarded;
use crate::http::request::with_slash;
use crate::io::fragment::Fragment;

/// The server side; by default plain TCP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerSettings {
    /// `sockopt`.
    pub sockopt: tcp::SockOpt,
    /// `acceptProxyProtocol`: a PROXY header stands in front of everything else.
    pub accept_proxy_protocol: bool,
    /// `security: tls`, with its settings.
    pub security: Option<tls::ServerSettings>,
    /// `network`, with its settings.
    pub carrier: ServerCarrier,
    /// `fallback`, ours: who answers the requests that open no tunnel, where the carrier begins with HTTP.
    pub site: Option<site::Settings>,
}

/// The client side; by default plain TCP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientSettings {
    /// `sockopt`, and `sendThrough` of the outbound.
    pub sockopt: tcp::SockOpt,
    /// `finalmask` of type `fragment`: what is written to the wire is cut.
    pub fragment: Option<Fragment>,
    /// `security: tls`, with its settings.
    pub security: Option<tls::ClientSettings>,
    /// `network`, with its settings.
    pub carrier: ClientCarrier,
}

/// What carries a tunnel's bytes to a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ServerCarrier {
    /// The connection itself (`tcp`, `raw`).
    #[default]
    Raw,
    /// The connection itself, behind a head of HTTP (`tcpSettings.header`).
    HttpHeader(http_header::Settings),
    /// WebSocket (`ws`).
    Ws(ws::ServerSettings),
    /// Many tunnels inside one WebSocket (`mws`).
    Mws(mws::ServerSettings),
    /// The upgrade of a WebSocket and the connection itself behind it (`httpupgrade`).
    HttpUpgrade(httpupgrade::ServerSettings),
    /// gRPC (`grpc`).
    Grpc(grpc::ServerSettings),
    /// HTTP/2 (`http`, `h2`).
    H2(h2::ServerSettings),
}

/// What carries a tunnel's bytes from a client.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ClientCarrier {
    /// The connection itself (`tcp`, `raw`).
    #[default]
    Raw,
    /// A connection to a unix socket of this machine, whatever the server is called (`domainsocket`).
    Unix(tcp::UnixSocket),
    /// The connection itself, behind a head of HTTP (`tcpSettings.header`).
    HttpHeader(http_header::Settings),
    /// WebSocket (`ws`).
    Ws(ws::ClientSettings),
    /// Many tunnels inside one WebSocket (`mws`).
    Mws(mws::ClientSettings),
    /// WebSocket, opened by a browser (`ws` with `useBrowserForwarding`).
    Browser(ws::ClientSettings),
    /// The upgrade of a WebSocket and the connection itself behind it (`httpupgrade`).
    HttpUpgrade(httpupgrade::ClientSettings),
    /// gRPC (`grpc`).
    Grpc(grpc::ClientSettings),
    /// HTTP/2 (`http`, `h2`).
    H2(h2::ClientSettings),
}

/// The only protocol that an upgrade can be spoken in, as TLS calls it.
const HTTP_1_1: &str = "http/1.1";

impl ServerSettings {
    /// The same for a protocol that is HTTP/1.1 itself: over TLS alone nothing else is agreed on.
    pub fn in_http_1_1(mut self) -> Self {
        if let (ServerCarrier::Raw, Some(tls)) = (&self.carrier, &mut self.security) {
            without_http2(&mut tls.alpn);
        }
        self
    }

    /// Whether clients must show a certificate.
    pub fn requires_client_certificate(&self) -> bool {
        let tls = self.security.as_ref();
        tls.is_some_and(|tls| tls.client_auth != tls::ClientAuth::None)
    }
}

/// What understands HTTP/1.1 alone must not agree on HTTP/2, which the other end would speak then.
fn without_http2(alpn: &mut Vec<String>) {
    let offers_none = alpn.is_empty();
    alpn.retain(|name| name != http2::ALPN);
    if alpn.is_empty() && !offers_none {
        alpn.push(HTTP_1_1.to_owned());
    }
}

impl ClientSettings {
    /// As [`ServerSettings::in_http_1_1`].
    pub fn in_http_1_1(mut self) -> Self {
        let is_bare = matches!(self.carrier, ClientCarrier::Raw | ClientCarrier::Unix(_));
        if let (true, Some(tls)) = (is_bare, &mut self.security) {
            without_http2(&mut tls.alpn);
        }
        self
    }

    /// Whether nothing that it carries leaves this machine.
    pub fn stays_here(&self) -> bool {
        matches!(self.carrier, ClientCarrier::Unix(_))
    }

    /// Whether bytes go into bare TCP connections.
    pub fn is_bare(&self) -> bool {
        !self.has_tls() && matches!(self.carrier, ClientCarrier::Raw)
    }

    /// What TLS below the carrier is told, with the protocol that the carrier speaks.
    pub fn tls(&self) -> Option<tls::ClientSettings> {
        let mut tls = self.security.clone()?;
        if let Some(name) = self.carrier.alpn() {
            tls.alpn = vec![name.to_owned()];
        }
        Some(tls)
    }

    /// Whether nobody in between can read what passes.
    pub fn has_tls(&self) -> bool {
        self.security.is_some()
    }
}

/// As configs have it: `ws at /ray, security tls`.
impl fmt::Display for ServerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.carrier {
            ServerCarrier::Raw => f.write_str("tcp")?,
            ServerCarrier::HttpHeader(header) => {
                write!(
                    f,
                    "tcp with an HTTP header at {}",
                    header.request.paths.join(", ")
                )?;
            }
            ServerCarrier::Ws(ws) => write!(f, "ws at {}", with_slash(ws.path.clone()))?,
            ServerCarrier::Mws(mws) => write!(f, "mws at {}", with_slash(mws.ws.path.clone()))?,
            ServerCarrier::HttpUpgrade(upgrade) => {
                write!(f, "httpupgrade at {}", with_slash(upgrade.path.clone()))?;
            }
            ServerCarrier::Grpc(grpc) => write!(f, "grpc at {}", grpc.paths)?,
            ServerCarrier::H2(h2) => write!(f, "http at {}", h2.path)?,
        }
        f.write_str(match self.security {
            Some(_) => ", security tls",
            None => ", security none",
        })?;
        if let Some(site) = &self.site {
            write!(f, ", beside the site {site}")?;
        }
        f.write_str(match self.accept_proxy_protocol {
            true => ", behind a PROXY header",
            false => "",
        })
    }
}

impl ServerCarrier {
    /// The protocol that TLS below must agree on, where it is not for the user to choose.
    pub(super) fn alpn(&self) -> Option<&'static str> {
        match self {
            Self::Raw | Self::HttpHeader(_) => None,
            Self::Ws(_) | Self::Mws(_) | Self::HttpUpgrade(_) => Some(HTTP_1_1),
            Self::Grpc(_) | Self::H2(_) => Some(http2::ALPN),
        }
    }
}

impl ServerCarrier {
    /// Who may say for whom it comes, where requests come in; a site can stand beside no other carrier.
    pub fn forwarded(&self) -> Option<&Forwarded> {
        match self {
            Self::Raw | Self::HttpHeader(_) => None,
            Self::Ws(settings) => Some(&settings.forwarded),
            Self::Mws(settings) => Some(&settings.ws.forwarded),
            Self::HttpUpgrade(settings) => Some(&settings.forwarded),
            Self::Grpc(settings) => Some(&settings.forwarded),
            Self::H2(settings) => Some(&settings.forwarded),
        }
    }
}

impl ServerSettings {
    /// The protocols that TLS below may agree on; the first is liked best.
    pub(super) fn alpn(&self) -> Option<Vec<String>> {
        let own = self.carrier.alpn()?;
        let tls = self.security.as_ref()?;
        if self.site.is_none() {
            return Some(vec![own.to_owned()]);
        }
        // A site is there in both, unless the user says otherwise; the tunnel is in its own, whatever they say.
        let all = tls.alpn.iter().map(String::as_str);
        let known = all.filter(|name| [http2::ALPN, HTTP_1_1].contains(name));
        let mut names: Vec<String> = known.map(str::to_owned).collect();
        if !names.iter().any(|name| name == own) {
            names.push(own.to_owned());
        }
        Some(names)
    }
}

impl ClientCarrier {
    /// As [`ServerCarrier::alpn`].
    pub fn alpn(&self) -> Option<&'static str> {
        match self {
            Self::Raw | Self::Unix(_) | Self::HttpHeader(_) => None,
            Self::Ws(_) | Self::Mws(_) | Self::Browser(_) | Self::HttpUpgrade(_) => Some(HTTP_1_1),
            Self::Grpc(_) | Self::H2(_) => Some(http2::ALPN),
        }
    }
}
