//! Ports of relay servers that lead to this process: has them opened, keeps them open, and takes in who comes there.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::open::next_hop;
use super::{Dispatcher, Origin};
use crate::address::{Destination, Host, Network};
use crate::cause::{AnswerError, ReverseError, code_of};
use crate::dns;
use crate::http::tell::Tell;
use crate::http::visit::Neighbour;
use crate::http::{Forwarded, Trusted};
use crate::io::Link;
use crate::log::{self, NOTICE};
use crate::protocol;
use crate::protocol::relay::bind;
use crate::reverse::{PublishSettings, PublishTarget, WebTarget};
use crate::seam::{Accepted, Arrival, FallbackTarget};
use crate::session::{Entry, Owner, Source};
use crate::smux::{self, KeepAlive};
use crate::transport::site::{self, Patience, Site, UpstreamSettings};

/// For a connection and its request, so that one that began while the wire was cut does not go on for long.
const OPEN_LIMIT: Duration = Duration::from_secs(6);

/// The same as long as there is one that was not tried yet, so that whoever is behind one that says nothing is there within five seconds.
const TRY_LIMIT: Duration = Duration::from_secs(4);

/// Between two attempts; each failure doubles it.
const PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// After a server has said that it will not.
const REFUSED_PAUSE: Duration = Duration::from_secs(3);

/// A server that says nothing for so long has gone; gosts say every ten seconds that they are there.
const ALIVE: KeepAlive = KeepAlive {
    interval: Duration::from_secs(5),
    timeout: Duration::from_secs(15),
};

/// Visitors who have come and are not looked at yet; one read may bring thousands.
const WAITING: usize = smux::MAX_STREAMS;

/// One published port.
pub(super) struct Publisher {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) settings: PublishSettings,
    /// What answers where visitors are led by what they ask for.
    site: Option<Arc<Site>>,
}

impl Dispatcher {
    /// Keeps a port of a relay server open until the future is dropped.
    pub fn keep_published(
        self: &Arc<Self>,
        settings: PublishSettings,
    ) -> impl Future<Output = ()> + Send + use<> {
        let site = match &settings.to {
            PublishTarget::Place(_) | PublishTarget::Inbound(_) => None,
            PublishTarget::Web(all) => {
                let one = |web: &WebTarget| {
                    let to = UpstreamSettings {
                        to: FallbackTarget::Tcp(web.to.clone()),
                        proxy_header: None,
                        host: None,
                    };
                    (web.hosts.clone(), to)
                };
                let all = site::Settings::Hosts(all.iter().map(one).collect());
                // Visitors are anybody, and nobody's proxies.
                let nobody = Forwarded {
                    trusted: Trusted::Listed(Vec::new()),
                    ..Forwarded::default()
                };
                // Visitors have the time that those of any other port have.
                let limits = self.policy.now().level(0).limits;
                let patience = Patience {
                    silence: limits.idle.into(),
                    carried: limits,
                };
                Some(Arc::new(Site::new(all, nobody).patient(patience)))
            }
        };
        let publisher = Arc::new(Publisher {
            dispatcher: self.clone(),
            settings,
            site,
        });
        dns::asking(Owner::Process, async move { publisher.run().await })
    }
}

impl Publisher {
    async fn run(self: Arc<Self>) {
        let (mut pause, mut turn, mut failures) = (PAUSE, 0, 0);
        loop {
            let limit = match failures + 1 < self.settings.outbounds.len() {
                true => TRY_LIMIT,
                false => OPEN_LIMIT,
            };
            let opened = self.open_within(limit, turn).await;
            failures += usize::from(opened.is_err());
            let (what, error) = match opened {
                Ok((link, at)) => {
                    for (name, to) in self.settings.ends() {
                        info!(target: NOTICE, "{name}: published on {at} → {to}");
                    }
                    (pause, failures) = (PAUSE, 0);
                    let error = self.serve(link).await.err();
                    let gone = || io::Error::from(ReverseError::ServerGone);
                    ("is published no more", error.unwrap_or_else(gone))
                }
                Err(e) => ("is not published", e),
            };
            for (name, _) in self.settings.ends() {
                let text = format!("{name}: {} {what}: {error}", self.settings.listen);
                log::repeated_cause(&text, &text, code_of(&error).as_deref());
            }
            match AnswerError::of(&error) {
                Some(_) => {
                    turn += usize::from(self.settings.servers > 1);
                    sleep(REFUSED_PAUSE).await;
                }
                None => {
                    turn += 1;
                    sleep(pause).await;
                    pause = MAX_PAUSE.min(pause * 2);
                }
            }
        }
    }

    /// The link by which visitors come, and where the port is, by the outbound whose turn it is.
    async fn open_within(&self, limit: Duration, turn: usize) -> io::Result<(Link, Destination)> {
        let tags = &self.settings.outbounds;
        let tag = tags.get(turn % tags.len().max(1)).map_or("", |tag| tag);
        let opened = timeout(limit, self.open(tag, limit)).await;
        opened.unwrap_or_else(|_| {
            let (tag, after) = (tag.to_owned(), limit);
            Err(ReverseError::Slow { tag, after }.into())
        })
    }

    async fn open(&self, tag: &str, limit: Duration) -> io::Result<(Link, Destination)> {
        let (dispatcher, settings) = (&self.dispatcher, &self.settings);
        let none = || ReverseError::NoOutbound {
            tag: tag.to_owned(),
        };
        let outbound = dispatcher.outbounds.get(tag).ok_or_else(none)?;
        let protocol::Outbound::Proxy(proxy) = &outbound.protocol else {
            return Err(none().into());
        };
        let hop = next_hop(proxy)?;
        let (link, _) = dispatcher.dial_server(&outbound, &hop).await?;
        let opening = hop.open_port(link, &settings.listen, settings.network, limit);
        opening.await
    }

    /// Takes visitors in until the server has gone.
    async fn serve(self: &Arc<Self>, link: Link) -> io::Result<()> {
        if self.settings.network == Network::Udp {
            return self.serve_datagrams(bind::visitors(link)).await;
        }
        let settings = smux::Settings {
            keepalive: Some(ALIVE),
            ..smux::Settings::default()
        };
        let (door, mut visitors) = mpsc::channel(WAITING);
        let carrying = smux::server(link, settings, move |stream| door.try_send(stream).is_ok());
        let taking = async {
            while let Some(stream) = visitors.recv().await {
                let publisher = self.clone();
                crate::io::spawn(async move {
                    match bind::introduced(stream).await {
                        Ok((from, link)) => publisher.take_in(&from, link).await,
                        Err(e) => debug!("{publisher}: a visitor is not introduced: {e}"),
                    }
                });
            }
        };
        tokio::select! {
            _ = carrying => {}
            () = taking => {}
        }
        Ok(())
    }

    async fn take_in(&self, from: &Destination, link: Link) {
        let source = source_of(from);
        let dispatcher = self.dispatcher.clone();
        let arrival = |link| Arrival {
            link,
            source,
            local: Source::Unix,
            original_dst: None,
            tls: None,
            since: Instant::now(),
        };
        match (&self.settings.to, &self.site) {
            (PublishTarget::Place(to), _) => {
                let accepted = Accepted::Stream {
                    user: None,
                    to: to.clone(),
                    link,
                    reply: None,
                };
                dispatcher.dispatch(source, self.origin(), accepted).await;
            }
            (PublishTarget::Web(_), Some(site)) => {
                let arrival = arrival(link);
                let guest = site.guest(&arrival, &Tell::default());
                guest.serve(arrival.link, Bytes::new(), &|_| false).await;
            }
            (PublishTarget::Inbound(_), _) => {
                let refused = dispatcher
                    .doors
                    .hand(&self.settings.tag, arrival(link))
                    .await;
                if let Some(arrival) = refused {
                    arrival.link.close().await;
                }
            }
            (PublishTarget::Web(_), None) => link.close().await,
        }
    }

    /// The inbound that visitors seem to have come by.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            name: Some(self.settings.at.to_string().into()),
            tag: Some(self.settings.tag.clone()),
            sniffing: None,
            held: None,
            from_here: false,
            // What stands beside us is what it is there for.
            entry: Entry::Local,
            local: Source::Unix,
            vless_route: 0,
        }
    }
}

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.tag.fmt(f)
    }
}

pub(super) fn source_of(visitor: &Destination) -> Source {
    match visitor.host {
        Host::Ip(ip) => Source::Ip((ip, visitor.port).into()),
        Host::Domain(_) => Source::Unix,
    }
}
