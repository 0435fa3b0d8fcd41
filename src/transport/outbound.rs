//! The client side.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{BuildError, ClientCarrier, ClientSettings, Opened, tcp, tls, ws};
use crate::address::Destination;
use crate::cause::{DialError, TcpError};
use crate::dns::Lookup;
use crate::io::{Closing, Link, PeerClock};

/// The client side of `streamSettings`, with the connections that its links share; by default plain TCP.
#[derive(Default)]
pub struct Outbound {
    pub sockopt: tcp::SockOpt,
    tls: Option<tls::Outbound>,
    carrier: Carrier,
}

/// The running half of [`ClientCarrier`].
#[derive(Default)]
enum Carrier {
    /// Each link is a connection of its own, and so with the next.
    #[default]
    Raw,
    Ws(ws::Outbound),
    /// Links share connections.
    #[cfg(test)]
    Many(
        super::tests::ManyLinks,
        super::pool::Pool<super::tests::ManyLinks>,
    ),
}

impl Outbound {
    #[cfg(test)]
    pub(super) fn many(
        carrier: super::tests::ManyLinks,
        pool: super::pool::Pool<super::tests::ManyLinks>,
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
        let alpn = settings.carrier.alpn();
        let tls = settings.security.map(|mut tls| {
            tls.alpn = alpn.map_or(tls.alpn, |name| vec![name.to_owned()]);
            tls::Outbound::new(&tls)
        });
        Ok(Self {
            sockopt: settings.sockopt,
            tls: tls.transpose()?,
            carrier: match settings.carrier {
                ClientCarrier::Raw => Carrier::Raw,
                ClientCarrier::Ws(ws) => Carrier::Ws(ws::Outbound::new(ws)),
            },
        })
    }

    /// What time it is at the server, where the carrier hears of it.
    pub fn clock(&self) -> Option<Arc<PeerClock>> {
        match &self.carrier {
            Carrier::Ws(ws) => Some(ws.clock()),
            _ => None,
        }
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
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn connect(&self, to: &Destination, lookup: &Lookup) -> Result<Link, DialError> {
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
        dial: impl Future<Output = io::Result<Opened>>,
    ) -> io::Result<Opened> {
        match &self.carrier {
            Carrier::Raw => self.dial_securely(server, dial).await,
            Carrier::Ws(ws) => {
                let (link, limits) = self.dial_securely(server, dial).await?;
                let link = ws
                    .wrap(link, server, self.tls.is_some(), closing.clone())
                    .await?;
                Ok((link, limits))
            }
            #[cfg(test)]
            Carrier::Many(many, pool) => {
                let connect = async {
                    let (link, limits) = self.dial_securely(server, dial).await?;
                    Ok((many.connect(link), limits))
                };
                pool.open(connect).await
            }
        }
    }

    /// A raw connection, with TLS on it where there is any.
    async fn dial_securely(
        &self,
        server: &Destination,
        dial: impl Future<Output = io::Result<Opened>>,
    ) -> io::Result<Opened> {
        let (link, limits) = dial.await?;
        let link = match &self.tls {
            Some(tls) => tls.wrap(link, server).await.map_err(DialError::from)?,
            None => link,
        };
        Ok((link, limits))
    }
}

/// How long V2Ray, and so we, wait for a TCP connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(16);
