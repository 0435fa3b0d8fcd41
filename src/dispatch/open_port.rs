//! Ports of this machine that clients of `relay` inbounds have opened: whoever comes there is led to the client.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use lru::LruCache;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::ReadBuf;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{debug, info};

use super::{Dispatcher, Session};
use crate::address::{Destination, Host, Network};
use crate::cause::system_words;
use crate::io::{Counted, Link, Packet, ended, scratch};
use crate::log::{self, NOTICE};
use crate::protocol::relay::bind;
use crate::relay::{Allowance, Relay};
use crate::session::Source;
use crate::smux::{self, KeepAlive, Opener};
use crate::stats::Traffic;

/// A client of which nothing was heard for half as long again is taken for gone when another one wants its port. Gosts
/// say every ten seconds that they are there.
const INTERVAL: Duration = Duration::from_secs(8);

/// As gost's: who has said nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(30);

/// The end of a client's connection may come a little later than the client itself, when it was started anew.
const PATIENCE: u32 = 10;
const LOOK: Duration = Duration::from_millis(100);

/// Pause after an error of `accept` that may pass, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// As at other listeners: a silent visitor is asked whether he is there.
const PROBED: Duration = Duration::from_secs(15);

/// Visitors of a port for datagrams who may be answered; more push out whom nobody has spoken with for longest.
const MAX_VISITORS: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not 0");

/// The ports that are open for clients.
#[derive(Default)]
pub(super) struct OpenPorts(Mutex<Vec<Weak<Holder>>>);

/// A client that has a port.
struct Holder {
    at: SocketAddr,
    network: Network,
    /// Of TCP.
    opener: Option<Opener>,
    /// Its port is another one's.
    lost: Notify,
}

/// What listens on a port.
enum Opened {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Dispatcher {
    /// Opens a port, and leads whoever comes there into `link` until that ends; returns when that is on its way.
    pub(super) async fn open_port(
        self: &Arc<Self>,
        mut session: Session,
        (at, network): (Destination, Network),
        visitors: (usize, bool),
        mut link: Link,
    ) {
        let opened = match self.ports.open(&at, network).await {
            Ok(opened) => opened,
            Err(e) => {
                let inbound = &session.inbound;
                let text = format!(
                    "{inbound}: cannot open {at} for a client: {}",
                    system_words(&e)
                );
                log::repeated_cause(&text, &text, Some("relay-unavailable"));
                return bind::tell_failed(link).await;
            }
        };
        let Ok(at) = opened.address() else {
            return bind::tell_failed(link).await;
        };
        bind::tell_opened(&mut link, at).await;
        info!(target: NOTICE, "{}: {network} port {at} is open for {}", session.inbound, session.source);
        let link = Counted::link(link, session.traffic.clone().of_inbound());
        let kept = (session.presence.take(), session.inbound.held.take());
        let dispatcher = self.clone();
        // The service may stop while it is there: it has no end of its own.
        crate::io::spawn(async move {
            match opened {
                Opened::Tcp(listener) => {
                    let streams = dispatcher.lead_streams(&session, listener, at, visitors, link);
                    streams.await;
                }
                Opened::Udp(socket) => {
                    dispatcher
                        .lead_datagrams(socket, at, visitors.0, link)
                        .await;
                }
            }
            info!(target: NOTICE, "{}: {network} port {at} is closed again", session.inbound);
            ended::one();
            drop(kept);
        });
    }

    async fn lead_streams(
        self: &Arc<Self>,
        session: &Session,
        listener: TcpListener,
        at: SocketAddr,
        (most, windows): (usize, bool),
        link: Link,
    ) {
        let settings = smux::Settings {
            version: match windows {
                true => smux::Version::Two,
                false => smux::Version::One,
            },
            keepalive: Some(KeepAlive {
                interval: INTERVAL,
                timeout: SILENCE,
            }),
            ..smux::Settings::default()
        };
        let (opener, carrying) = smux::client(link, settings);
        let holder = Arc::new(Holder {
            at,
            network: Network::Tcp,
            opener: Some(opener),
            lost: Notify::new(),
        });
        self.ports.add(&holder);
        let accepting = async {
            loop {
                match listener.accept().await {
                    Ok((stream, from)) => {
                        let streams = holder.opener.as_ref().map_or(0, Opener::streams);
                        if streams >= most.min(smux::MAX_STREAMS) {
                            log::repeated(&format!(
                                "{at}: {streams} visitors are there, and no more are let in"
                            ));
                            continue;
                        }
                        let Some(towards) = holder.opener.as_ref().and_then(Opener::open) else {
                            break;
                        };
                        self.lead_visitor(session, stream, from, towards);
                    }
                    Err(e) => {
                        log::repeated(&format!(
                            "{at}: cannot accept a visitor: {}",
                            system_words(&e)
                        ));
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            _ = carrying => {}
            () = accepting => {}
            () = holder.lost.notified() => debug!("{at} is taken over"),
        }
    }

    fn lead_visitor(
        self: &Arc<Self>,
        session: &Session,
        visitor: TcpStream,
        from: SocketAddr,
        towards: Link,
    ) {
        let Some(alive) = self.alive.upgrade() else {
            return;
        };
        let _ = visitor.set_nodelay(true);
        // A visitor that vanishes without a word is noticed.
        let probes = TcpKeepalive::new().with_time(PROBED).with_interval(PROBED);
        let _ = SockRef::from(&visitor).set_tcp_keepalive(&probes);
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        debug!(source = %Source::Ip(from), "a visitor comes");
        // What passes is counted where it passes together.
        let allowance = Allowance {
            traffic: Traffic::default(),
            ..self.allowance(session, None)
        };
        let first = bind::introduction(from);
        let towards = bind::towards_client(towards);
        let mut relay = Relay::new(Link::Tcp(visitor), towards, first, allowance);
        crate::io::spawn(async move {
            let ended = (&mut relay).await;
            debug!(up = ended.up, down = ended.down, "a visitor has gone");
            if let Some(failure) = ended.error {
                Box::pin(relay.finish(failure)).await;
            }
            ended::one();
            drop(alive);
        });
    }

    async fn lead_datagrams(&self, socket: UdpSocket, at: SocketAddr, most: usize, link: Link) {
        let holder = Arc::new(Holder {
            at,
            network: Network::Udp,
            opener: None,
            lost: Notify::new(),
        });
        self.ports.add(&holder);
        let mut visitors = bind::visitors(link);
        // Who has come: nobody else is answered, or the port would lead its client anywhere.
        let mut known: LruCache<SocketAddr, ()> = LruCache::new(
            NonZeroUsize::new(most).map_or(MAX_VISITORS, |most| most.min(MAX_VISITORS)),
        );
        let mut came = None;
        let passing = poll_fn(|cx| {
            while let Poll::Ready(packet) = visitors.poll_recv(cx)? {
                let Some(packet) = packet else {
                    return Poll::Ready(Ok::<(), io::Error>(()));
                };
                if let Host::Ip(ip) = packet.peer.host {
                    // What the system does not take now is lost, as datagrams are.
                    let to = SocketAddr::new(of_family(ip, at), packet.peer.port);
                    if known.get(&to).is_some() {
                        let _ = socket.try_send_to(&packet.data, to);
                    }
                }
            }
            loop {
                if came.is_none() {
                    let mut scratch = scratch::take();
                    let mut buf = ReadBuf::new(&mut scratch);
                    match socket.poll_recv_from(cx, &mut buf) {
                        Poll::Ready(Ok(from)) => {
                            known.put(from, ());
                            let data = bytes::Bytes::copy_from_slice(buf.filled());
                            let peer = from.into();
                            came = Some(Packet { peer, data });
                        }
                        // A datagram that was refused.
                        Poll::Ready(Err(_)) => continue,
                        Poll::Pending => return Poll::Pending,
                    }
                }
                if let Some(packet) = &came
                    && visitors.poll_send(cx, packet)?.is_pending()
                {
                    return Poll::Pending;
                }
                came = None;
            }
        });
        tokio::select! {
            passed = passing => {
                if let Err(e) = passed {
                    debug!("{at}: the datagrams have ended: {e}");
                }
            }
            () = holder.lost.notified() => debug!("{at} is taken over"),
        }
    }
}

impl OpenPorts {
    /// Opens a port, in the place of a client that has it and seems to have gone, if there is one.
    async fn open(&self, at: &Destination, network: Network) -> io::Result<Opened> {
        let mut left = PATIENCE;
        loop {
            let taken = match listen(at, network).await {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => e,
                opened => return opened,
            };
            let Some(holder) = self.holder(at, network) else {
                return Err(taken);
            };
            let has_gone = |opener: &Opener| opener.is_over() || opener.open_surely().is_none();
            if holder.opener.as_ref().is_some_and(has_gone) {
                holder.lost.notify_one();
            }
            left = left.checked_sub(1).ok_or(taken)?;
            drop(holder);
            sleep(LOOK).await;
        }
    }

    fn holder(&self, at: &Destination, network: Network) -> Option<Arc<Holder>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = all.iter().filter_map(Weak::upgrade);
        all.find(|holder| holder.at.port() == at.port && holder.network == network)
    }

    fn add(&self, holder: &Arc<Holder>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(holder));
    }
}

impl Opened {
    fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }
}

async fn listen(at: &Destination, network: Network) -> io::Result<Opened> {
    let name = match &at.host {
        Host::Ip(ip) => ip.to_string(),
        Host::Domain(name) => name.clone(),
    };
    let at = (name.as_str(), at.port);
    Ok(match network {
        Network::Tcp => Opened::Tcp(TcpListener::bind(at).await?),
        Network::Udp => Opened::Udp(UdpSocket::bind(at).await?),
    })
}

/// An IPv6 socket wants IPv4 addresses mapped.
fn of_family(ip: IpAddr, socket: SocketAddr) -> IpAddr {
    match (ip, socket) {
        (IpAddr::V4(ip), SocketAddr::V6(_)) => ip.to_ipv6_mapped().into(),
        _ => ip,
    }
}
