//! The ways to DNS servers: those that the built-in DNS asks, and the one behind a `dns` outbound.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Weak};
use std::task::{Context, Poll};

use tracing::debug;

use super::{Dispatcher, Origin, Session, Shared};
use crate::address::{Destination, Host, Network};
use crate::dns::{Dial, Dialled, Lookup, Way};
use crate::io::{BindUdp, Counted, Link, Packet, Packets, Udp};
use crate::protocol::{self, freedom};
use crate::session::Source;
use crate::stats::Meter;
use crate::transport::{tcp, tls};

/// For the built-in DNS: through the rules, as an inbound of its own, or straight from this host.
pub(super) struct Roads(pub(super) Weak<Dispatcher>);

/// For a `dns` outbound: as an outbound without a server of its own would go there.
pub(super) struct Upstream {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) by: Shared,
}

impl Roads {
    fn dispatcher(&self) -> io::Result<Arc<Dispatcher>> {
        let gone = || io::Error::other("the service stops");
        self.0.upgrade().ok_or_else(gone)
    }
}

impl Dial for Roads {
    fn stream(&self, way: &Way, to: &Destination) -> Dialled<Link> {
        let (dispatcher, way, to) = (self.dispatcher(), way.clone(), to.clone());
        Box::pin(async move {
            let dispatcher = dispatcher?;
            let Way::Routed(tag) = way else {
                let to = dispatcher.own(&to).await?;
                let sockopt = tcp::SockOpt::default();
                let stream = tcp::connect(&to, &Lookup::System, &sockopt).await?;
                return Ok(Link::Tcp(stream));
            };
            let (_, by) = dispatcher.route_own(tag, Network::Tcp, &to).await?;
            match &by.protocol {
                protocol::Outbound::Dns(dns) => {
                    let (_, to) = dns.server(Network::Tcp, &to);
                    dispatcher.upstream(&by).stream(&Way::Direct, &to).await
                }
                protocol::Outbound::Freedom(_) => {
                    let to = dispatcher.own(&to).await?;
                    dispatcher.open(&by, &to).await.map(|(link, _)| link)
                }
                _ => dispatcher.open(&by, &to).await.map(|(link, _)| link),
            }
        })
    }

    fn packets(&self, way: &Way, to: &Destination) -> Dialled<Box<dyn Packets>> {
        let (dispatcher, way, to) = (self.dispatcher(), way.clone(), to.clone());
        Box::pin(async move {
            let dispatcher = dispatcher?;
            let Way::Routed(tag) = way else {
                return Ok(freedom::packets(bind(
                    tcp::SockOpt::default(),
                    Meter::default(),
                )));
            };
            let (session, by) = dispatcher.route_own(tag, Network::Udp, &to).await?;
            match &by.protocol {
                protocol::Outbound::Dns(dns) => {
                    let (_, to) = dns.server(Network::Udp, &to);
                    dispatcher.upstream(&by).packets(&Way::Direct, &to).await
                }
                protocol::Outbound::Freedom(_) => {
                    let to = dispatcher.own(&to).await?;
                    let (inner, _) = dispatcher.open_packets(&by, &to, session.id).await?;
                    Ok(Box::new(Only { inner, to }))
                }
                _ => {
                    let opened = dispatcher.open_packets(&by, &to, session.id).await;
                    opened.map(|(packets, _)| packets)
                }
            }
        })
    }

    fn tls(&self, link: Link, server: &Destination) -> Dialled<(Link, bool)> {
        static CLIENT: LazyLock<tls::Outbound> = LazyLock::new(tls::Outbound::https);
        let server = server.clone();
        Box::pin(async move { CLIENT.dress_https(link, &server).await })
    }
}

impl Dial for Upstream {
    fn stream(&self, _way: &Way, to: &Destination) -> Dialled<Link> {
        let (dispatcher, by, to) = (self.dispatcher.clone(), self.by.clone(), to.clone());
        Box::pin(async move {
            let link = match dispatcher.through(&by)? {
                Some(other) => dispatcher.open(&other, &to).await?.0,
                None => by.transport.connect(&to, &Lookup::System).await?,
            };
            let link = by.transport.dress(link, &to).await?;
            Ok(Counted::link(link, by.traffic().of_outbound()))
        })
    }

    fn packets(&self, _way: &Way, to: &Destination) -> Dialled<Box<dyn Packets>> {
        let (dispatcher, by, to) = (self.dispatcher.clone(), self.by.clone(), to.clone());
        Box::pin(async move {
            let meter = by.traffic().of_outbound();
            match dispatcher.through(&by)? {
                Some(other) => {
                    let id = dispatcher.next_id();
                    let (packets, _) = dispatcher.open_packets(&other, &to, id).await?;
                    Ok(Counted::packets(packets, meter))
                }
                None => {
                    let sockopt = by.transport.sockopt.clone();
                    Ok(freedom::packets(bind(sockopt, meter)))
                }
            }
        })
    }

    fn tls(&self, _link: Link, _server: &Destination) -> Dialled<(Link, bool)> {
        let text = "a `dns` outbound does not ask by HTTPS";
        Box::pin(async move { Err(io::Error::other(text)) })
    }
}

impl Dispatcher {
    pub(super) fn upstream(self: &Arc<Self>, by: &Shared) -> Arc<dyn Dial> {
        Arc::new(Upstream {
            dispatcher: self.clone(),
            by: by.clone(),
        })
    }

    /// The outbound for a question of our own, and the session that it is.
    async fn route_own(
        &self,
        tag: Option<Arc<str>>,
        network: Network,
        to: &Destination,
    ) -> io::Result<(Session, Shared)> {
        let inbound = Origin {
            tag,
            sniffing: None,
        };
        let mut session = self.session(Source::Unix, inbound, None);
        session.is_own = true;
        let none = || io::Error::other("there is no outbound");
        let by = self.route(&session, network, to).await.ok_or_else(none)?;
        debug!(id = session.id, %network, %to, by = by.path, "a way to a DNS server");
        Ok((session, by))
    }

    /// A DNS server by its address: it cannot be asked for its own name.
    async fn own(&self, to: &Destination) -> io::Result<Destination> {
        let Host::Domain(_) = to.host else {
            return Ok(to.clone());
        };
        let addrs: Vec<SocketAddr> = self.resolver.own(to).await?;
        let first = addrs.first().copied().map(Destination::from);
        first.ok_or_else(|| io::Error::other("it has no address"))
    }
}

/// Datagrams to one address, whatever name they give it.
struct Only {
    inner: Box<dyn Packets>,
    to: Destination,
}

impl Packets for Only {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        self.inner.poll_recv(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let packet = Packet {
            peer: self.to.clone(),
            data: packet.data.clone(),
        };
        self.inner.poll_send(cx, &packet)
    }
}

fn bind(sockopt: tcp::SockOpt, meter: Meter) -> BindUdp {
    Arc::new(move |to| {
        let socket = tcp::udp_socket(to, &sockopt)?;
        Ok(Udp::new(socket, meter.clone()))
    })
}
