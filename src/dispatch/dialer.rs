//! The ways to DNS servers: those that the built-in DNS asks, and the one behind a `dns` outbound.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Weak};

use tracing::debug;

use super::route::Asked;
use super::single_server::{SingleServer, is_one_server};
use super::{Dispatcher, Origin, OutboundRef, Session};
use crate::address::{Destination, Host, Network};
use crate::dns::{self, DialFuture, Dialer, Inside, Known, Lookup, Via};
use crate::io::{BindUdp, Counted, Link, Packets, Udp};
use crate::protocol::{self, Endpoint, freedom};
use crate::session::{Entry, Source};
use crate::stats::Meter;
use crate::transport::{tcp, tls};

/// DNS servers are the operator's choice.
const OWN: Entry = Entry::Local;

/// What V2Ray calls questions, in rules by `protocol`.
const DNS: Option<&str> = Some("dns");

/// For the built-in DNS: through the rules, as an inbound of its own, or straight from this host.
pub(super) struct RoutedDialer(pub(super) Weak<Dispatcher>);

/// For a `dns` outbound: as an outbound without a server of its own would go there.
pub(super) struct ServerDialer {
    dispatcher: Arc<Dispatcher>,
    outbound: OutboundRef,
    /// The name that the client meant to ask, and what is known of its addresses.
    target: Host,
    known: Known,
}

impl RoutedDialer {
    fn dispatcher(&self) -> io::Result<Arc<Dispatcher>> {
        let gone = || io::Error::other("the service stops");
        self.0.upgrade().ok_or_else(gone)
    }
}

impl Dialer for RoutedDialer {
    fn stream(&self, way: &Via, to: &Destination) -> DialFuture<Link> {
        let (dispatcher, way, to) = (self.dispatcher(), way.clone(), to.clone());
        Box::pin(dns::on_its_way(async move {
            let dispatcher = dispatcher?;
            let Via::Routed(tag) = way else {
                let to = dispatcher.bootstrap(&to).await?;
                let sockopt = tcp::SockOpt::default();
                let stream = tcp::connect(&to, &Lookup::System, &sockopt).await?;
                return Ok(Link::Tcp(stream));
            };
            let (_, outbound) = dispatcher.route_own(tag, DNS, Network::Tcp, &to).await?;
            match &outbound.protocol {
                protocol::Outbound::Endpoint(Endpoint::Dns(dns)) => {
                    let (_, to) = dns.server(Network::Tcp, &to);
                    let upstream = dispatcher.upstream(&outbound, &to, &Known::Unasked);
                    upstream.stream(&Via::Direct, &to).await
                }
                protocol::Outbound::Freedom(_) => {
                    let to = dispatcher.bootstrap(&to).await?;
                    let opened = dispatcher.open(&outbound, &to, &Known::Unasked, OWN).await;
                    opened.map(|(link, _)| link)
                }
                // With a `domainStrategy` its name would be asked of itself.
                _ => {
                    let opened = dispatcher
                        .open_as_is(&outbound, &to, &Known::Unasked, OWN.into())
                        .await;
                    opened.map(|(link, _)| link)
                }
            }
        }))
    }

    fn packets(&self, way: &Via, to: &Destination) -> DialFuture<Box<dyn Packets>> {
        let (dispatcher, way, to) = (self.dispatcher(), way.clone(), to.clone());
        Box::pin(dns::on_its_way(async move {
            let dispatcher = dispatcher?;
            let Via::Routed(tag) = way else {
                return Ok(freedom::packets(bind(
                    tcp::SockOpt::default(),
                    Meter::default(),
                )));
            };
            let (session, outbound) = dispatcher.route_own(tag, DNS, Network::Udp, &to).await?;
            match &outbound.protocol {
                protocol::Outbound::Endpoint(Endpoint::Dns(dns)) => {
                    let (_, to) = dns.server(Network::Udp, &to);
                    let upstream = dispatcher.upstream(&outbound, &to, &Known::Unasked);
                    upstream.packets(&Via::Direct, &to).await
                }
                protocol::Outbound::Freedom(_) => {
                    let to = dispatcher.bootstrap(&to).await?;
                    let unasked = &Known::Unasked;
                    let opened = dispatcher.open_packets(&outbound, &to, unasked, session.id, OWN);
                    let (inner, _) = opened.await?;
                    let target = outbound
                        .protocol
                        .straight(&to)
                        .filter(|_| outbound.through.is_none());
                    // Where a redirect leads there, answers come from whom we have asked.
                    let from = target.filter(is_one_server).map(|_| to.clone());
                    Ok(Box::new(SingleServer { inner, to, from }))
                }
                _ => {
                    let unasked = &Known::Unasked;
                    let opened = dispatcher.open_packets(&outbound, &to, unasked, session.id, OWN);
                    opened.await.map(|(packets, _)| packets)
                }
            }
        }))
    }

    fn tls(&self, link: Link, server: &Destination, inside: Inside) -> DialFuture<(Link, bool)> {
        let server = server.clone();
        let client = match inside {
            Inside::Http => &HTTPS,
            Inside::Dns => &TLS,
        };
        Box::pin(async move {
            let wrapped = client.wrap_with_alpn(link, &server).await;
            // No setting is for this connection.
            let (link, alpn) = wrapped.map_err(|e| io::Error::new(e.kind(), e.plain()))?;
            Ok((link, alpn.as_deref() == Some(b"h2")))
        })
    }
}

/// The client of DNS over HTTPS.
static HTTPS: LazyLock<tls::Outbound> = LazyLock::new(|| {
    let settings = tls::ClientSettings::default();
    tls::Outbound::new(&settings).expect("the defaults need no files")
});

/// The client of DNS over TLS.
static TLS: LazyLock<tls::Outbound> = LazyLock::new(|| {
    let settings = tls::ClientSettings {
        alpn: Vec::new(),
        ..tls::ClientSettings::default()
    };
    tls::Outbound::new(&settings).expect("the defaults need no files")
});

pub(super) fn warm_up() {
    HTTPS.warm_up();
}

impl ServerDialer {
    /// The settings may name another server than the client did.
    fn known_of(&self, to: &Destination) -> Known {
        match to.host == self.target {
            true => self.known.clone(),
            false => Known::Unasked,
        }
    }
}

impl Dialer for ServerDialer {
    fn stream(&self, _way: &Via, to: &Destination) -> DialFuture<Link> {
        let (dispatcher, outbound, to) =
            (self.dispatcher.clone(), self.outbound.clone(), to.clone());
        let known = self.known_of(&to);
        Box::pin(async move {
            let lookup = Lookup::System.among(&known);
            let through = dispatcher.through(&outbound)?;
            let dial = async || match &through {
                Some(other) => dispatcher.open(other, &to, &known, OWN).await,
                None => Ok((outbound.transport.connect(&to, &lookup).await?, None)),
            };
            let opening = outbound.transport.open(&to, &dispatcher.closing, dial);
            let (link, _) = opening.await?;
            Ok(Counted::link(link, outbound.traffic().of_outbound()))
        })
    }

    fn packets(&self, _way: &Via, to: &Destination) -> DialFuture<Box<dyn Packets>> {
        let (dispatcher, outbound, to) =
            (self.dispatcher.clone(), self.outbound.clone(), to.clone());
        let known = self.known_of(&to);
        Box::pin(async move {
            let meter = outbound.traffic().of_outbound();
            match dispatcher.through(&outbound)? {
                Some(other) => {
                    let id = dispatcher.next_id();
                    let at = dispatcher.address(&other, &to, &known)?;
                    let to = at.unwrap_or(to);
                    let opened = dispatcher.open_packets(&other, &to, &known, id, OWN);
                    let (packets, _) = opened.await?;
                    Ok(Counted::packets(packets, meter))
                }
                None => {
                    let found = Lookup::System.among(&known).resolve(&to).await?;
                    let to = found.first().map_or(to, |addr| (*addr).into());
                    let inner = freedom::packets(bind(outbound.transport.sockopt.clone(), meter));
                    let from = is_one_server(&to).then(|| to.clone());
                    let only: Box<dyn Packets> = Box::new(SingleServer { inner, to, from });
                    Ok(only)
                }
            }
        })
    }

    fn tls(&self, _: Link, _: &Destination, _: Inside) -> DialFuture<(Link, bool)> {
        let text = "a `dns` outbound asks by UDP and TCP alone";
        Box::pin(async move { Err(io::Error::other(text)) })
    }
}

impl Dispatcher {
    /// For a `dns` outbound that a client asks as `to`.
    pub(super) fn upstream(
        self: &Arc<Self>,
        outbound: &OutboundRef,
        to: &Destination,
        known: &Known,
    ) -> Arc<dyn Dialer> {
        Arc::new(ServerDialer {
            dispatcher: self.clone(),
            outbound: outbound.clone(),
            target: to.host.clone(),
            known: known.clone(),
        })
    }

    /// A stream to `to` for a page that a config names, as a session of the inbound tagged `inbound` would go.
    pub async fn open_for_page(
        self: &Arc<Self>,
        inbound: &str,
        to: &Destination,
    ) -> io::Result<Link> {
        let tag = Some(inbound.into());
        let (_, outbound) = self.route_own(tag, None, Network::Tcp, to).await?;
        let opened = self.open(&outbound, to, &Known::Unasked, OWN);
        opened.await.map(|(link, _)| link)
    }

    /// The outbound for what we ask ourselves, and the session that it is.
    async fn route_own(
        &self,
        tag: Option<Arc<str>>,
        protocol: Option<&'static str>,
        network: Network,
        to: &Destination,
    ) -> io::Result<(Session, OutboundRef)> {
        let inbound = Origin {
            tag,
            ..Origin::default()
        };
        let mut session = self.session(Source::Unix, inbound, None);
        // A question does not wait for other names; a page is looked for as a session is.
        session.is_own = protocol == DNS;
        session.protocol = protocol;
        let none = || io::Error::other("there is no outbound");
        let aim = to.clone().into();
        let chosen = self.route(&session, Asked::new(network, &aim)).await;
        let outbound = chosen.ok_or_else(none)?.outbound;
        debug!(id = session.id, %network, %to, outbound = outbound.name, "a way of our own");
        Ok((session, outbound))
    }

    /// A DNS server by its address: it cannot be asked for its own name.
    async fn bootstrap(&self, to: &Destination) -> io::Result<Destination> {
        let Host::Domain(_) = to.host else {
            return Ok(to.clone());
        };
        let addrs: Vec<SocketAddr> = self.resolver.now().bootstrap(to).await?;
        let first = addrs.first().copied().map(Destination::from);
        first.ok_or_else(|| io::Error::other("it has no address"))
    }
}

fn bind(sockopt: tcp::SockOpt, meter: Meter) -> BindUdp {
    Arc::new(move |to| {
        let socket = tcp::udp_socket(to, &sockopt)?;
        Ok(Udp::new(socket, meter.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{Outbound, Parts};
    use crate::dns::Resolver;
    use crate::io::Packet;
    use crate::protocol::{OutboundSettings, ProtocolState, dns};
    use crate::transport;
    use bytes::Bytes;
    use std::future::poll_fn;
    use tokio::net::UdpSocket;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn nobody_answers_in_the_place_of_a_server() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = Destination::from(server.local_addr().unwrap());
        for protocol in [
            OutboundSettings::Freedom(freedom::OutboundSettings::default()),
            OutboundSettings::Dns(dns::OutboundSettings::default()),
        ] {
            let (alive, _) = mpsc::channel(1);
            let dispatcher = Dispatcher::new(parts(protocol.clone()), alive.downgrade());
            let dialer = RoutedDialer(Arc::downgrade(&dispatcher));
            let mut packets = dialer.packets(&Via::Routed(None), &to).await.unwrap();
            let question = Packet {
                peer: to.clone(),
                data: Bytes::from_static(b"?"),
            };
            poll_fn(|cx| packets.poll_send(cx, &question))
                .await
                .unwrap();
            let (_, asker) = server.recv_from(&mut [0]).await.unwrap();
            let at = SocketAddr::new([127, 0, 0, 1].into(), asker.port());
            stranger.send_to(b"forged", at).await.unwrap();
            server.send_to(b"true", at).await.unwrap();
            let answer = poll_fn(|cx| packets.poll_recv(cx)).await.unwrap().unwrap();
            assert_eq!(answer.data, "true", "{protocol:?}");
        }
    }

    fn parts(protocol: OutboundSettings) -> Parts {
        let protocol = protocol::Outbound::new(protocol);
        Parts {
            outbounds: vec![Outbound::new(transport::Outbound::default(), protocol)],
            router: Default::default(),
            resolver: Resolver::default(),
            policy: Default::default(),
            limits: Default::default(),
            metrics: None,
            count: false,
            state: ProtocolState::default(),
        }
    }
}
