//! What makes a link: TCP, TLS on top, WebSocket on top of that. The table of transports.
//!
//! Inbound, `accept` turns a raw connection into an [`Arrival`]: PROXY protocol first (it stands
//! before TLS on the wire), then TLS, then WebSocket. Outbound, `connect` opens the raw connection
//! and `wrap` puts TLS and WebSocket on it; the two are apart because a raw connection may also come
//! out of another outbound (`proxySettings`).

pub mod proxy_protocol;
mod settings;
pub mod tcp;
pub mod tls;
pub mod ws;

pub use settings::{ClientCarrier, ClientSettings, ServerCarrier, ServerSettings};

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use crate::address::Destination;
use crate::dns::Lookup;
use crate::http;
use crate::io::{Arrival, Link, Refusal};
use crate::session::Source;

/// The server side of `streamSettings`.
pub struct Inbound {
    pub sockopt: tcp::SockOpt,
    accept_proxy_protocol: bool,
    tls: Option<tls::Inbound>,
    carrier: AcceptedBy,
    requires_client_certificate: bool,
}

/// The client side of `streamSettings`; by default plain TCP.
#[derive(Default)]
pub struct Outbound {
    pub sockopt: tcp::SockOpt,
    tls: Option<tls::Outbound>,
    carrier: CarriedBy,
}

/// The running half of [`ServerCarrier`].
enum AcceptedBy {
    Raw,
    Ws(ws::Inbound),
}

/// The running half of [`ClientCarrier`].
#[derive(Default)]
enum CarriedBy {
    #[default]
    Raw,
    Ws(ws::Outbound),
}

/// Why settings make no transport.
#[derive(Debug, Error)]
pub enum BuildError {
    #[error(transparent)]
    Tls(#[from] tls::BuildError),
}

impl Inbound {
    /// A server of these settings.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be used.
    pub fn new(settings: ServerSettings) -> Result<Self, BuildError> {
        let requires_client_certificate = settings.requires_client_certificate();
        let alpn = settings.carrier.alpn();
        let tls = settings.security.map(|mut tls| {
            tls.alpn = alpn.map_or(tls.alpn, |name| vec![name.to_owned()]);
            tls::Inbound::new(&tls)
        });
        Ok(Self {
            sockopt: settings.sockopt,
            accept_proxy_protocol: settings.accept_proxy_protocol,
            tls: tls.transpose()?,
            carrier: match settings.carrier {
                ServerCarrier::Raw => AcceptedBy::Raw,
                ServerCarrier::Ws(ws) => AcceptedBy::Ws(ws::Inbound::new(ws)),
            },
            requires_client_certificate,
        })
    }

    /// How long a peer may say nothing before the outermost of these layers gives it up; `None` without any.
    pub fn patience(&self) -> Option<Duration> {
        if self.accept_proxy_protocol {
            Some(proxy_protocol::LIMIT)
        } else if self.tls.is_some() {
            Some(tls::HANDSHAKE_LIMIT)
        } else {
            match &self.carrier {
                AcceptedBy::Raw => None,
                AcceptedBy::Ws(_) => Some(http::visit::HEADER_LIMIT),
            }
        }
    }

    /// From a raw connection to a link that a protocol can read; a refusal comes with the source, as
    /// far as it was known by then.
    pub async fn accept(&self, mut arrival: Arrival) -> Result<Arrival, (Source, Refusal)> {
        let source = arrival.source;
        arrival.link = match arrival.link {
            Link::Tcp(stream) => self.sockopt.link(stream),
            other => other,
        };
        if self.accept_proxy_protocol {
            arrival = proxy_protocol::accept(arrival)
                .await
                .map_err(|refusal| (source, refusal))?;
            arrival.since = Instant::now();
        }
        let source = arrival.source;
        self.wrap(arrival)
            .await
            .map_err(|refusal| (source, refusal))
    }

    /// Whether whoever comes must show a certificate.
    pub fn requires_client_certificate(&self) -> bool {
        self.requires_client_certificate
    }

    /// Whether many people may come from `source`: the reverse proxy, or an edge of a CDN, that did not say for whom
    /// it came. Whoever counts sources does not count it as one person.
    pub fn is_shared(&self, source: Source) -> bool {
        match &self.carrier {
            AcceptedBy::Raw => source == Source::Unix,
            AcceptedBy::Ws(ws) => ws.is_shared(source),
        }
    }

    async fn wrap(&self, mut arrival: Arrival) -> Result<Arrival, Refusal> {
        if let Some(tls) = &self.tls {
            arrival.link = tls.accept(arrival.link, arrival.since).await?;
            arrival.since = Instant::now();
        }
        if let AcceptedBy::Ws(ws) = &self.carrier {
            let accepted = ws.accept(arrival).await;
            arrival = accepted.map_err(|e| Refusal::Done(e.to_string()))?;
            arrival.since = Instant::now();
        }
        Ok(arrival)
    }
}

impl Outbound {
    /// A client of these settings.
    ///
    /// # Errors
    ///
    /// When its own certificate cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self, BuildError> {
        let alpn = settings.carrier.alpn();
        let tls = settings.security.map(|mut tls| {
            tls.alpn = alpn.map_or(tls.alpn, |name| vec![name.to_owned()]);
            tls::Outbound::new(&tls)
        });
        Ok(Self {
            sockopt: settings.sockopt,
            tls: tls.transpose()?,
            carrier: match settings.carrier {
                ClientCarrier::Raw => CarriedBy::Raw,
                ClientCarrier::Ws(ws) => CarriedBy::Ws(ws::Outbound::new(ws)),
            },
        })
    }

    /// Whether [`Self::warm_up`] may have something to do.
    pub fn is_cold(&self) -> bool {
        self.tls.is_some()
    }

    /// Does what a first handshake would do once.
    pub fn warm_up(&self) {
        if let Some(tls) = &self.tls {
            tls.warm_up();
        }
    }

    /// A raw connection to `to`; a name is resolved by `lookup` and its addresses are raced.
    pub async fn connect(&self, to: &Destination, lookup: &Lookup) -> io::Result<Link> {
        let stream = tokio::time::timeout(CONNECT_LIMIT, tcp::connect(to, lookup, &self.sockopt))
            .await
            .map_err(|_| {
                let text = format!("no answer from {to} within {} s", CONNECT_LIMIT.as_secs());
                io::Error::new(io::ErrorKind::TimedOut, text)
            })??;
        Ok(self.sockopt.link(stream))
    }

    /// TLS and WebSocket, as configured, over a raw connection to `server`.
    pub async fn wrap(&self, mut link: Link, server: &Destination) -> io::Result<Link> {
        if let Some(tls) = &self.tls {
            link = tls.wrap(link, server).await?;
        }
        if let CarriedBy::Ws(ws) = &self.carrier {
            link = ws.wrap(link, server, self.tls.is_some()).await?;
        }
        Ok(link)
    }
}

/// How long V2Ray, and so we, wait for a TCP connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(16);
