//! The server side.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use tokio::time::Instant;

use super::front::Front;
use super::{
    Accepted, Arrivals, BuildError, ServerCarrier, ServerSettings, front, grpc, h2, http_header,
    http2, httpupgrade, mws, proxy_protocol, site, tcp, tls, ws,
};
use crate::cause::{AcceptError, RequestError};
use crate::http::tell::Tell;
use crate::http::visit::{self, Door, Neighbour};
use crate::io::{Closing, Link, Prefixed};
use crate::seam::Arrival;
use crate::session::Source;

/// The server side of `streamSettings`.
pub struct Inbound {
    pub sockopt: tcp::SockOpt,
    accept_proxy_protocol: bool,
    tls: Option<tls::Inbound>,
    carrier: Carrier,
    /// Only where the carrier begins with HTTP.
    site: Option<Arc<site::Site>>,
    /// Where several inbounds share the place; the carrier is the first one's.
    front: Option<Front>,
    /// The ports that are listened on.
    ports: OnceLock<Vec<u16>>,
}

/// What goes on as long as somebody listens: certificates are renewed, and authorities may look for us.
#[must_use]
pub struct Kept {
    _certificates: Vec<Arc<tls::acme::Keeping>>,
    _doors: Vec<tls::acme::Door>,
}

/// The running half of [`ServerCarrier`].
enum Carrier {
    Raw,
    HttpHeader(http_header::Inbound),
    Ws(Box<ws::Inbound>),
    Mws(Box<mws::Inbound>),
    HttpUpgrade(Box<httpupgrade::Inbound>),
    Grpc(grpc::Inbound),
    H2(h2::Inbound),
    /// A connection that brings many links.
    #[cfg(test)]
    Many(super::tests::ManyLinks),
}

impl Inbound {
    #[cfg(test)]
    pub(super) fn many(carrier: super::tests::ManyLinks) -> Self {
        Self {
            sockopt: tcp::SockOpt::default(),
            accept_proxy_protocol: false,
            tls: None,
            carrier: Carrier::Many(carrier),
            site: None,
            front: None,
            ports: OnceLock::new(),
        }
    }

    /// A server of these settings.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be used.
    pub fn new(settings: ServerSettings) -> Result<Self, BuildError> {
        Self::shared(settings, Vec::new())
    }

    /// A server that several inbounds share, which are its routes: 0 is that of `settings`, then the others in their order.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be used.
    pub fn shared(
        mut settings: ServerSettings,
        others: Vec<ServerSettings>,
    ) -> Result<Self, BuildError> {
        let mut front = None;
        if !others.is_empty() {
            let (merged, carriers) = front::merge(settings, others);
            (settings, front) = (merged, Some(Front::new(carriers)));
        }
        // That of several is merged already.
        let alpn = settings.alpn().filter(|_| front.is_none());
        let tls = settings.security.map(|mut tls| {
            tls.alpn = alpn.unwrap_or(tls.alpn);
            tls::Inbound::new(&tls)
        });
        let forwarded = settings.carrier.forwarded().cloned();
        let site = settings.site.zip(forwarded);
        let site = site.map(|(site, forwarded)| Arc::new(site::Site::new(site, forwarded)));
        Ok(Self {
            sockopt: settings.sockopt,
            accept_proxy_protocol: settings.accept_proxy_protocol,
            tls: tls.transpose()?,
            site,
            front,
            ports: OnceLock::new(),
            carrier: match settings.carrier {
                ServerCarrier::Raw => Carrier::Raw,
                ServerCarrier::HttpHeader(header) => {
                    Carrier::HttpHeader(http_header::Inbound::new(header))
                }
                ServerCarrier::Ws(ws) => Carrier::Ws(Box::new(ws::Inbound::new(ws))),
                ServerCarrier::Mws(mws) => Carrier::Mws(Box::new(mws::Inbound::new(mws))),
                ServerCarrier::HttpUpgrade(settings) => {
                    Carrier::HttpUpgrade(Box::new(httpupgrade::Inbound::new(settings)))
                }
                ServerCarrier::Grpc(grpc) => Carrier::Grpc(grpc::Inbound::new(grpc)),
                ServerCarrier::H2(h2) => Carrier::H2(h2::Inbound::new(h2)),
            },
        })
    }

    /// With the next handshake the files of certificates are looked at, however long ago they were.
    pub fn look_at_files(&self) {
        if let Some(tls) = &self.tls {
            tls.look_at_files();
        }
    }

    /// Somebody listens on these ports from here on, until what comes back is dropped.
    pub fn keep(&self, ports: Vec<u16>) -> Kept {
        let is_plain = self.tls.is_none();
        let doors = ports.iter().filter(|_| is_plain);
        let kept = Kept {
            _certificates: self
                .tls
                .as_ref()
                .map(tls::Inbound::keep)
                .unwrap_or_default(),
            _doors: doors.copied().map(tls::acme::Door::open).collect(),
        };
        // A second time it is the same ones.
        let _ = self.ports.set(ports);
        kept
    }

    /// The names of its certificates, and when they run out.
    pub fn certificates(&self) -> Vec<(String, SystemTime)> {
        self.tls
            .as_ref()
            .map(tls::Inbound::certificates)
            .unwrap_or_default()
    }

    /// No more requests are for this route; its tunnels go on.
    pub fn close_route(&self, route: usize) {
        if let Some(front) = &self.front {
            front.close(route);
        }
    }

    /// Whether requests may be for this route.
    pub fn is_open(&self, route: usize) -> bool {
        self.front.as_ref().is_none_or(|front| front.is_open(route))
    }

    /// How long a peer may say nothing before the outermost of these layers gives it up; `None` without any.
    pub fn patience(&self) -> Option<Duration> {
        if self.accept_proxy_protocol {
            Some(proxy_protocol::LIMIT)
        } else if self.tls.is_some() {
            Some(tls::HANDSHAKE_LIMIT)
        } else {
            match &self.carrier {
                Carrier::Raw => None,
                Carrier::HttpHeader(_)
                | Carrier::Ws(_)
                | Carrier::Mws(_)
                | Carrier::HttpUpgrade(_)
                | Carrier::Grpc(_)
                | Carrier::H2(_) => Some(visit::HEADER_LIMIT),
                #[cfg(test)]
                Carrier::Many(_) => None,
            }
        }
    }

    /// From a raw connection to links that a protocol can read; `closing` tells why they are dropped, if they are.
    ///
    /// # Errors
    ///
    /// When the connection brings none, and the source, as far as it was known by then. It has been answered, as far as
    /// there is an answer. Of requests that were refused before it brought one, `tell` is told.
    pub async fn accept(
        &self,
        arrival: Arrival,
        closing: &Closing,
        tell: &Tell,
    ) -> Result<Accepted, (Source, AcceptError)> {
        let arrival = self.introduce(arrival).await?;
        self.accept_introduced(arrival, closing, tell).await
    }

    /// The first part of [`Inbound::accept`]: whom the connection is from, as far as a PROXY header says it.
    ///
    /// # Errors
    ///
    /// When there should be one, and none comes.
    pub async fn introduce(&self, mut arrival: Arrival) -> Result<Arrival, (Source, AcceptError)> {
        let source = arrival.source;
        arrival.link = match arrival.link {
            Link::Tcp(stream) => self.sockopt.link(stream),
            other => other,
        };
        if self.accept_proxy_protocol {
            let accepted = proxy_protocol::accept(arrival).await;
            arrival = accepted.map_err(|e| (source, e.into()))?;
            arrival.since = Instant::now();
        }
        Ok(arrival)
    }

    /// The second part of [`Inbound::accept`].
    ///
    /// # Errors
    ///
    /// As those of [`Inbound::accept`].
    pub async fn accept_introduced(
        &self,
        arrival: Arrival,
        closing: &Closing,
        tell: &Tell,
    ) -> Result<Accepted, (Source, AcceptError)> {
        let source = arrival.source;
        let accepted = self.unwrap(arrival, closing, tell).await;
        accepted.map_err(|e| (e.client().unwrap_or(source), e))
    }

    /// Whether the connection's other end may yet name somebody else as its source, in a PROXY header.
    pub fn is_introduced(&self) -> bool {
        self.accept_proxy_protocol
    }

    /// Whether a request from `source` may name somebody else as its source, and be believed.
    pub fn may_speak_for_others(&self, source: Source) -> bool {
        if let Some(front) = &self.front {
            return front.may_speak_for_others(source);
        }
        match &self.carrier {
            Carrier::Raw | Carrier::HttpHeader(_) => false,
            Carrier::Ws(ws) => ws.may_speak_for_others(source),
            Carrier::Mws(mws) => mws.may_speak_for_others(source),
            Carrier::HttpUpgrade(upgrade) => upgrade.may_speak_for_others(source),
            Carrier::Grpc(grpc) => grpc.may_speak_for_others(source),
            Carrier::H2(h2) => h2.may_speak_for_others(source),
            #[cfg(test)]
            Carrier::Many(_) => false,
        }
    }

    /// Whether many people may come from `source`: the reverse proxy, or an edge of a CDN, that did not say for whom
    /// it came. Whoever counts sources does not count it as one person.
    pub fn is_shared(&self, source: Source) -> bool {
        match &self.carrier {
            Carrier::Raw | Carrier::HttpHeader(_) => source == Source::Unix,
            Carrier::Ws(ws) => ws.is_shared(source),
            Carrier::Mws(mws) => mws.is_shared(source),
            Carrier::HttpUpgrade(upgrade) => upgrade.is_shared(source),
            Carrier::Grpc(grpc) => grpc.is_shared(source),
            Carrier::H2(h2) => h2.is_shared(source),
            #[cfg(test)]
            Carrier::Many(_) => false,
        }
    }

    /// What few connections come to has an allocation of its own: the future of all of them is as large as the largest.
    async fn unwrap(
        &self,
        mut arrival: Arrival,
        closing: &Closing,
        tell: &Tell,
    ) -> Result<Accepted, AcceptError> {
        if let Some(tls) = &self.tls {
            let (link, facts) = tls.accept(arrival.link, arrival.since).await?;
            (arrival.link, arrival.tls) = (link, Some(Arc::new(facts)));
            arrival.since = Instant::now();
        } else if self
            .ports
            .get()
            .is_some_and(|ports| tls::acme::is_asked(ports))
        {
            arrival.link = tls::acme::answer(arrival.link, arrival.since).await?;
        }
        if let Some(front) = &self.front {
            let accepting = front.accept(self.site.as_ref(), arrival, closing, tell);
            return Box::pin(accepting).await;
        }
        if let Some(site) = &self.site {
            return Box::pin(self.beside(site, arrival, closing, tell)).await;
        }
        let door = || Door {
            tell: tell.clone(),
            ..Door::default()
        };
        let mut arrival = match &self.carrier {
            Carrier::Raw => return Ok(Accepted::One(0, arrival)),
            Carrier::HttpHeader(header) => header.accept(arrival, tell).await?,
            Carrier::Ws(ws) => ws.accept(arrival, closing, door()).await?,
            Carrier::Mws(mws) => {
                let accepting = mws.accept(arrival, closing, door());
                return Ok(Accepted::Many(Box::pin(accepting).await?));
            }
            Carrier::HttpUpgrade(upgrade) => upgrade.accept(arrival, door()).await?,
            Carrier::Grpc(grpc) => {
                return Ok(Accepted::Many(grpc.accept(arrival, tell, None).await?));
            }
            Carrier::H2(h2) => return Ok(Accepted::Many(h2.accept(arrival, tell, None).await?)),
            #[cfg(test)]
            Carrier::Many(many) => return Ok(Accepted::Many(many.accept(arrival))),
        };
        arrival.since = Instant::now();
        Ok(Accepted::One(0, arrival))
    }

    /// The same where a site is on the port, too: each kind of HTTP is understood, and what is no tunnel's is the site's.
    async fn beside(
        &self,
        site: &Arc<site::Site>,
        mut arrival: Arrival,
        closing: &Closing,
        tell: &Tell,
    ) -> Result<Accepted, AcceptError> {
        let guest = site.guest(&arrival, tell);
        let front = site::preface::look(arrival.link, arrival.since).await?;
        let (read, is_http2) = (front.read, front.is_http2);
        arrival.link = front.link;
        let mut arrival = match (&self.carrier, is_http2) {
            (Carrier::Ws(ws), false) => {
                ws.accept(arrival, closing, door(tell, guest, read)).await?
            }
            (Carrier::Mws(mws), false) => {
                let door = door(tell, guest, read);
                return Ok(Accepted::Many(mws.accept(arrival, closing, door).await?));
            }
            (Carrier::HttpUpgrade(upgrade), false) => {
                upgrade.accept(arrival, door(tell, guest, read)).await?
            }
            (Carrier::Grpc(grpc), true) => {
                arrival.link = Prefixed::link(read.freeze(), arrival.link);
                let arrivals = grpc.accept(arrival, tell, Some(guest)).await?;
                return Ok(Accepted::Many(arrivals));
            }
            (Carrier::H2(h2), true) => {
                arrival.link = Prefixed::link(read.freeze(), arrival.link);
                let arrivals = h2.accept(arrival, tell, Some(guest)).await?;
                return Ok(Accepted::Many(arrivals));
            }
            (_, true) => {
                let arrivals = visit_by_http2(arrival, read, tell, guest).await?;
                return Ok(Accepted::Many(arrivals));
            }
            (_, false) => return Err(visit_by_http1(arrival, read, &guest).await),
        };
        arrival.since = Instant::now();
        Ok(Accepted::One(0, arrival))
    }
}

/// A connection all of whose requests are for a site; `read` is what was read from it.
pub(super) async fn visit_by_http2(
    mut arrival: Arrival,
    read: BytesMut,
    tell: &Tell,
    guest: Arc<site::Guest>,
) -> Result<Arrivals, AcceptError> {
    let link = Prefixed::link(read.freeze(), arrival.link);
    arrival.link = Link::foreign(site::Patient::new(link, guest.silence()));
    let nothing = http2::Inbound::new(http2::NoTunnel::default());
    nothing.accept(arrival, tell, Some(guest)).await
}

/// The same by HTTP/1, and what is to be said when it is over.
pub(super) async fn visit_by_http1(
    arrival: Arrival,
    read: BytesMut,
    guest: &site::Guest,
) -> AcceptError {
    guest.serve(arrival.link, read.freeze(), &|_| false).await;
    RequestError::Visited.into()
}

/// What a connection meets where a site is.
fn door(tell: &Tell, guest: Arc<site::Guest>, read: BytesMut) -> Door {
    Door {
        tell: tell.clone(),
        neighbour: Some(guest),
        read,
    }
}
