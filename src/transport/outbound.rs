//! The client side.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::pool::Pool;
use super::{
    BuildError, ClientCarrier, ClientSettings, Opened, browser, grpc, h2, http_header, httpupgrade,
    mws, tcp, tls, ws,
};
use crate::address::{Destination, Host};
use crate::cause::{DialError, TcpError};
use crate::dns::Lookup;
use crate::io::fragment::{self, Fragment};
use crate::io::{Closing, Link, PeerClock};

/// The client side of `streamSettings`, with the connections that its links share; by default plain TCP.
#[derive(Default)]
pub struct Outbound {
    pub sockopt: tcp::SockOpt,
    fragment: Option<Fragment>,
    tls: Option<tls::Outbound>,
    /// What TLS asks for, where that is not the address.
    server_name: Option<String>,
    carrier: Carrier,
}

/// The running half of [`ClientCarrier`].
#[derive(Default)]
enum Carrier {
    /// Each link is a connection of its own, and so with the next.
    #[default]
    Raw,
    /// As `Raw`; the connections are to a unix socket.
    Unix(tcp::UnixSocket),
    HttpHeader(http_header::Outbound),
    Ws(ws::Outbound),
    Mws(mws::Outbound, Pool<mws::Connection>),
    /// A browser dials, and brings the link.
    Browser(browser::Outbound),
    HttpUpgrade(httpupgrade::Outbound),
    Grpc(grpc::Outbound, Pool<grpc::Connection>),
    H2(h2::Outbound, Pool<h2::Connection>),
    /// Links share connections.
    #[cfg(test)]
    Many(super::tests::ManyLinks, Pool<super::tests::ManyLinks>),
}

impl Outbound {
    /// Whether all that goes through it is sealed.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(test)]
    pub(super) fn many(
        carrier: super::tests::ManyLinks,
        pool: Pool<super::tests::ManyLinks>,
    ) -> Self {
        Self {
            carrier: Carrier::Many(carrier, pool),
            ..Self::default()
        }
    }

    /// A client of these settings.
    ///
    /// # Errors
    ///
    /// When its own certificate cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self, BuildError> {
        Self::with_browser(settings, None)
    }

    /// As [`Self::new`], where a browser may be there that opens WebSockets.
    ///
    /// # Errors
    ///
    /// As [`Self::new`], and when a browser cannot do what it is to do.
    pub fn with_browser(
        settings: ClientSettings,
        browser: Option<&browser::Dialer>,
    ) -> Result<Self, BuildError> {
        let tls = settings.tls();
        let named = settings
            .security
            .as_ref()
            .and_then(|tls| tls.server_name.as_ref());
        let server_name = match named {
            Some(Host::Domain(name)) => Some(name.clone()),
            _ => None,
        };
        let sni = settings.security.as_ref().map(|_| {
            let named = named.map(ToString::to_string);
            named.filter(|name| !name.is_empty())
        });
        let through = |browser: &browser::Dialer, ws, asked| {
            browser::Outbound::new(browser.clone(), ws, sni.clone(), asked)
        };
        Ok(Self {
            sockopt: settings.sockopt,
            fragment: settings.fragment,
            tls: tls.as_ref().map(tls::Outbound::new).transpose()?,
            server_name,
            carrier: match settings.carrier {
                ClientCarrier::Raw => Carrier::Raw,
                ClientCarrier::Unix(socket) => Carrier::Unix(socket),
                ClientCarrier::HttpHeader(header) => {
                    Carrier::HttpHeader(http_header::Outbound::new(header))
                }
                ClientCarrier::Ws(ws) => match browser.filter(|b| b.takes() == browser::Takes::All)
                {
                    Some(browser) => Carrier::Browser(through(browser, ws, false)),
                    None => Carrier::Ws(ws::Outbound::new(ws)),
                },
                ClientCarrier::Mws(mws) => Carrier::Mws(mws::Outbound::new(mws), Pool::default()),
                ClientCarrier::Browser(ws) => match browser {
                    Some(browser) => Carrier::Browser(through(browser, ws, true)),
                    None => return Err(BuildError::NoBrowser),
                },
                ClientCarrier::HttpUpgrade(settings) => {
                    Carrier::HttpUpgrade(httpupgrade::Outbound::new(settings))
                }
                ClientCarrier::Grpc(grpc) => {
                    Carrier::Grpc(grpc::Outbound::new(grpc), Pool::default())
                }
                ClientCarrier::H2(h2) => Carrier::H2(h2::Outbound::new(h2), Pool::default()),
            },
        })
    }

    /// What time it is at the server, where the carrier hears of it.
    pub fn clock(&self) -> Option<Arc<PeerClock>> {
        match &self.carrier {
            Carrier::Ws(ws) => Some(ws.clock()),
            Carrier::Mws(mws, _) => Some(mws.clock()),
            Carrier::HttpUpgrade(upgrade) => Some(upgrade.clock()),
            Carrier::Grpc(grpc, _) => Some(grpc.clock()),
            Carrier::H2(h2, _) => Some(h2.clock()),
            _ => None,
        }
    }

    /// Whether a browser makes its connections.
    pub fn is_browsers(&self) -> bool {
        matches!(self.carrier, Carrier::Browser(_))
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

    /// A raw connection to `to`; a name is resolved by `lookup` and its addresses are raced. A unix socket takes the place
    /// of both.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn connect(&self, to: &Destination, lookup: &Lookup) -> Result<Link, DialError> {
        if let Carrier::Unix(socket) = &self.carrier {
            let connected = socket.connect().await;
            let link = connected.map(Link::other);
            return link.map_err(|source| {
                let socket = socket.to_string();
                TcpError::Unix { socket, source }.into()
            });
        }
        let connecting = tcp::connect(to, lookup, &self.sockopt);
        let connected = tokio::time::timeout(CONNECT_LIMIT, connecting).await;
        let (to, limit) = (to.clone(), CONNECT_LIMIT);
        let stream = connected.map_err(|_| TcpError::Slow { to, limit })??;
        Ok(self.sockopt.link(stream))
    }

    /// A link to `server` that a protocol can write to; `closing` tells why it is dropped, if it is. What `dial` makes,
    /// [`Self::connect`] or another outbound, is only asked for where no connection is shared.
    ///
    /// # Errors
    ///
    /// That of `dial`, or when a handshake on top fails.
    pub async fn open(
        &self,
        server: &Destination,
        closing: &Closing,
        dial: impl AsyncFnOnce() -> io::Result<Opened>,
    ) -> io::Result<Opened> {
        match &self.carrier {
            Carrier::Raw | Carrier::Unix(_) => self.dial_securely(server, dial).await,
            Carrier::HttpHeader(header) => {
                let (link, limits) = self.dial_securely(server, dial).await?;
                Ok((header.wrap(link), limits))
            }
            Carrier::Ws(ws) => {
                let (link, limits) = self.dial_securely(server, dial).await?;
                Ok((self.websocket(ws, link, server, closing).await?, limits))
            }
            Carrier::Mws(mws, pool) => {
                let connect = async || {
                    let (link, limits) = self.dial_securely(server, dial).await?;
                    let named = self.named_for_ip(server);
                    let server = named.as_ref().unwrap_or(server);
                    let tls = self.tls.is_some();
                    let connection = mws.connect(link, server, tls, closing).await?;
                    Ok((connection, limits))
                };
                pool.open(server, connect).await
            }
            Carrier::Browser(browser) => Ok((browser.open(server, closing).await?, None)),
            Carrier::HttpUpgrade(upgrade) => {
                let (link, limits) = self.dial_securely(server, dial).await?;
                Ok((self.upgraded(upgrade, link, server).await?, limits))
            }
            Carrier::Grpc(grpc, pool) => {
                let connect = async || {
                    let (link, limits) = self.dial_securely(server, dial).await?;
                    let name = self.tls.as_ref().map(|tls| tls.name(server));
                    let connection = grpc.connect(link, server, name.as_deref()).await?;
                    Ok((connection, limits))
                };
                pool.open(server, connect).await
            }
            Carrier::H2(h2, pool) => {
                let connect = async || {
                    let (link, limits) = self.dial_securely(server, dial).await?;
                    Ok((h2.connect(link).await?, limits))
                };
                pool.open(server, connect).await
            }
            #[cfg(test)]
            Carrier::Many(many, pool) => {
                let connect = async || {
                    let (link, limits) = self.dial_securely(server, dial).await?;
                    Ok((many.connect(link), limits))
                };
                pool.open(server, connect).await
            }
        }
    }

    /// The carrier's own handshake, on a connection that TLS has sealed if it is to; `None` where a carrier has none
    /// that stands alone.
    ///
    /// # Errors
    ///
    /// When the server opens no tunnel.
    pub async fn upgrade(
        &self,
        link: Link,
        server: &Destination,
        closing: &Closing,
    ) -> Option<io::Result<Link>> {
        match &self.carrier {
            Carrier::Ws(ws) => Some(self.websocket(ws, link, server, closing).await),
            Carrier::Mws(mws, _) => {
                Some(self.websocket(mws.websocket(), link, server, closing).await)
            }
            Carrier::HttpUpgrade(upgrade) => Some(self.upgraded(upgrade, link, server).await),
            _ => None,
        }
    }

    async fn websocket(
        &self,
        ws: &ws::Outbound,
        link: Link,
        server: &Destination,
        closing: &Closing,
    ) -> io::Result<Link> {
        let named = self.named_for_ip(server);
        let server = named.as_ref().unwrap_or(server);
        let tls = self.tls.is_some();
        ws.wrap(link, server, tls, closing.clone()).await
    }

    async fn upgraded(
        &self,
        upgrade: &httpupgrade::Outbound,
        link: Link,
        server: &Destination,
    ) -> io::Result<Link> {
        let named = self.named(server);
        let server = named.as_ref().unwrap_or(server);
        upgrade.wrap(link, server, self.tls.is_some()).await
    }

    /// `server`, by the name that TLS asks for.
    fn named(&self, server: &Destination) -> Option<Destination> {
        let name = self.server_name.clone()?;
        Some(Destination::new(Host::Domain(name), server.port))
    }

    /// The same where `server` is an address: V2Ray names that, which nobody but a web server or a CDN looks at, and these
    /// know names.
    fn named_for_ip(&self, server: &Destination) -> Option<Destination> {
        let is_ip = matches!(server.host, Host::Ip(_));
        self.named(server).filter(|_| is_ip)
    }

    /// A raw connection, with TLS on it where there is any.
    async fn dial_securely(
        &self,
        server: &Destination,
        dial: impl AsyncFnOnce() -> io::Result<Opened>,
    ) -> io::Result<Opened> {
        let (link, limits) = dial().await?;
        let link = fragment::cut(link, self.fragment.as_ref());
        let link = match &self.tls {
            Some(tls) => tls.wrap(link, server).await.map_err(DialError::from)?,
            None => link,
        };
        Ok((link, limits))
    }
}

/// How long V2Ray, and so we, wait for a TCP connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(16);
