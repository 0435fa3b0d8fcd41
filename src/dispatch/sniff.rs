//! Reads what sniffing looks at, and no more: it reaches the target first, in its order.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep, timeout};
use tracing::debug;

use super::route::{Asked, Chosen};
use super::waiting::Waiting;
use super::{Dispatcher, OutboundRef, Session, first};
use crate::address::{Destination, Host, Network};
use crate::dns::{Fake, FakePools, Known};
use crate::io::{Link, Packet};
use crate::sniffing::codec::{self, Quic, Sniffed};
use crate::sniffing::{Aim, MadeUp, Settings};

/// How long V2Ray, and so we, wait for something to look at: the target may be the one to speak first.
const WAIT: Duration = Duration::from_millis(200);

/// The beginning of a stream that is looked into. V2Ray's 2 KiB are fewer than a browser's ClientHello
/// has today; this is as much as one chunk of VMess carries.
const MAX_BEGINNING: usize = 16 * 1024;

/// Finds out what `link` carries, if its inbound wants to know; then what was read is given back, be it
/// nothing, and nobody needs to wait for a first payload again.
pub(super) async fn stream(
    fakes: &FakePools,
    session: &mut Session,
    asked: Destination,
    link: &mut Link,
) -> (Aim, Option<Vec<u8>>) {
    let Some(sniffing) = session.inbound.sniffing.clone() else {
        return (asked.into(), None);
    };
    if !session.looks_into_content() {
        let aim = aim(&sniffing, fakes, Sniffed::No, session, asked);
        return (aim, None);
    }
    let mut beginning = Vec::new();
    let looking = async {
        loop {
            let room = MAX_BEGINNING - beginning.len();
            let n = first::read(link, room, &mut beginning).await;
            match codec::stream(&beginning) {
                Sniffed::NeedMore if n > 0 && beginning.len() < MAX_BEGINNING => {}
                answer => return answer,
            }
        }
    };
    let answer = timeout(WAIT, looking).await.unwrap_or(Sniffed::No);
    let aim = aim(&sniffing, fakes, answer, session, asked);
    (aim, Some(beginning))
}

/// Where a session goes that asked for `asked`, with what its content said.
fn aim(
    sniffing: &Settings,
    fakes: &FakePools,
    answer: Sniffed,
    session: &mut Session,
    asked: Destination,
) -> Aim {
    let found = match answer {
        Sniffed::Found(found) => Some(found),
        Sniffed::NeedMore | Sniffed::No => None,
    };
    if let Some(found) = &found {
        session.protocol = Some(found.protocol);
    }
    let fake = match asked.host {
        Host::Ip(ip) if sniffing.names_fakes() => fakes.find(ip),
        _ => None,
    };
    let made_up = match fake {
        None => return sniffing.aim(found.as_ref(), asked),
        Some(Fake::Forgotten) => MadeUp::Forgotten,
        Some(Fake::Name(name)) => {
            // As in V2Ray, where the content says nothing.
            session.protocol.get_or_insert("fakedns");
            MadeUp::Named(Host::Domain(name.to_string()))
        }
    };
    sniffing.aim_of_fake(made_up, found.as_ref(), asked)
}

/// Datagrams to one destination, until it is known where they go.
pub(super) struct PendingRoute {
    asked: Destination,
    stage: Stage,
    pub(super) waiting: Waiting,
}

enum Stage {
    /// More datagrams could tell what they are, up to a moment.
    Looking(Box<Quic>, Pin<Box<Sleep>>),
    Routing(Pin<Box<dyn Future<Output = Option<Route>> + Send>>),
}

/// How datagrams to one destination travel.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) outbound: OutboundRef,
    /// The destination that takes the place of theirs; answers come from theirs all the same.
    pub(super) to: Option<Destination>,
    /// The address that they are sent to, where the rules were asked about addresses of a name. Answers come
    /// from it, as they do when no rule is.
    pub(super) at: Option<Destination>,
    pub(super) known: Known,
    /// What their destination stands for, which is a made-up address. It may come to stand for something else.
    pub(super) name_of_fake: Option<Host>,
}

impl Route {
    /// Whether it leads to what `peer` stands for, which is in use thereby.
    pub(super) fn holds(&self, fakes: &FakePools, peer: &Destination) -> bool {
        let (Some(name), Host::Ip(ip)) = (&self.name_of_fake, &peer.host) else {
            return true;
        };
        match (fakes.find(*ip), name) {
            (Some(Fake::Name(now)), Host::Domain(name)) => *now == **name,
            // Nobody else has been given the address.
            _ => true,
        }
    }
}

impl PendingRoute {
    pub(super) fn new(dispatcher: &Arc<Dispatcher>, session: &Session, asked: Destination) -> Self {
        let mut pending = Self {
            asked,
            stage: Stage::Looking(Box::default(), Box::pin(sleep(WAIT))),
            waiting: Waiting::default(),
        };
        if !session.looks_into_content() {
            pending.route(dispatcher, session, Sniffed::No);
        }
        pending
    }

    /// One more; UDP may lose what comes beyond the bound.
    pub(super) fn push(&mut self, dispatcher: &Arc<Dispatcher>, session: &Session, packet: Packet) {
        if let Stage::Looking(quic, _) = &mut self.stage {
            match codec::datagram(quic, &packet.data) {
                Sniffed::NeedMore => {}
                answer => self.route(dispatcher, session, answer),
            }
        }
        self.waiting.push(packet);
    }

    /// Ready when the route is known; `None` when nothing carries them.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        dispatcher: &Arc<Dispatcher>,
        session: &Session,
    ) -> Poll<Option<Route>> {
        if let Stage::Looking(_, until) = &mut self.stage {
            match until.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.route(dispatcher, session, Sniffed::No),
            }
        }
        match &mut self.stage {
            Stage::Routing(route) => route.as_mut().poll(cx),
            Stage::Looking(..) => Poll::Pending,
        }
    }

    fn route(&mut self, dispatcher: &Arc<Dispatcher>, session: &Session, answer: Sniffed) {
        let mut session = session.clone();
        let asked = self.asked.clone();
        let aim = match session.inbound.sniffing.clone() {
            Some(sniffing) => {
                let resolver = dispatcher.resolver.now();
                aim(&sniffing, resolver.fakes(), answer, &mut session, asked)
            }
            None => asked.into(),
        };
        self.stage = Stage::routing(dispatcher, session, aim);
    }
}

impl Stage {
    fn routing(dispatcher: &Arc<Dispatcher>, session: Session, aim: Aim) -> Self {
        let dispatcher = dispatcher.clone();
        Self::Routing(Box::pin(async move {
            let question = Asked::new(Network::Udp, &aim);
            let Chosen {
                outbound,
                known,
                by_rule,
                ..
            } = dispatcher.route(&session, question).await?;
            dispatcher.log_accepted(&session, (&outbound, by_rule), Network::Udp, &aim);
            if aim.is_lost() && outbound.goes_to(aim.asked()) {
                // The next datagram asks again.
                outbound.log_forgotten(aim.asked());
                return None;
            }
            let asked = aim.asked().clone();
            let name_of_fake = aim.name_of_fake().cloned();
            let to = aim.to();
            let at = match dispatcher.address(&outbound, &to, &known) {
                Ok(at) => at,
                Err(e) => {
                    // The next datagram asks again.
                    debug!(%to, outbound = outbound.name, "datagrams to nowhere: {e}");
                    return None;
                }
            };
            let to = dispatcher.target(&outbound, to, &known).await.ok()?;
            let to = (to != asked).then_some(to);
            Some(Route {
                outbound,
                to,
                at,
                known,
                name_of_fake,
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::Origin;
    use crate::session::Source;
    use crate::sniffing::Protocol;
    use crate::stats::Traffic;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn silence_is_waited_for_and_no_longer() {
        let (_client, mut link) = pair();
        let since = Instant::now();
        let (aim, first) = stream(&fakes(), &mut session(true), to(), &mut link).await;
        assert_eq!((aim, first), (to().into(), Some(Vec::new())));
        assert_eq!(since.elapsed().as_millis(), WAIT.as_millis());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_found_ends_the_wait_and_nothing_is_lost() {
        let (mut client, mut link) = pair();
        let since = Instant::now();
        let sending = async {
            for part in [&b"GE"[..], b"T / HTTP/1.1\r\nHost: ", b"a.example\r\nA: b"] {
                client.write_all(part).await.unwrap();
                sleep(WAIT / 10).await;
            }
            client.write_all(b"\r\n\r\n").await.unwrap();
        };
        let (mut session, fakes) = (session(true), fakes());
        let ((aim, first), ()) =
            tokio::join!(stream(&fakes, &mut session, to(), &mut link), sending);
        assert!(since.elapsed() < WAIT);
        assert_eq!(session.protocol, Some("http1"));
        assert_eq!(aim.ruled().to_string(), "a.example:80");
        let mut rest = vec![0; 4];
        link.read_exact(&mut rest).await.unwrap();
        let all = [first.unwrap(), rest].concat();
        assert_eq!(all, b"GET / HTTP/1.1\r\nHost: a.example\r\nA: b\r\n\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_beginning_without_end_is_read_up_to_a_bound() {
        let (mut client, mut link) = pair();
        let head = [&b"GET / HTTP/1.1\r\nA: "[..], &[b'a'; 2 * MAX_BEGINNING]].concat();
        client.write_all(&head).await.unwrap();
        let since = Instant::now();
        let (_, first) = stream(&fakes(), &mut session(true), to(), &mut link).await;
        assert_eq!(first.unwrap(), head[..MAX_BEGINNING]);
        assert_eq!(since.elapsed(), Duration::ZERO);
        // The end of what there is ends the wait, too.
        drop(client);
        let mut rest = Vec::new();
        link.read_to_end(&mut rest).await.unwrap();
        assert_eq!(
            stream(&fakes(), &mut session(true), to(), &mut link)
                .await
                .1,
            Some(Vec::new())
        );
        assert_eq!(since.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_inbound_that_does_not_ask_reads_nothing() {
        let (mut client, mut link) = pair();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            .await
            .unwrap();
        let answer = stream(&fakes(), &mut session(false), to(), &mut link).await;
        assert_eq!(answer, (to().into(), None));
        assert_eq!(link.read_u8().await.unwrap(), b'G');
    }

    fn pair() -> (DuplexStream, Link) {
        let (client, link) = duplex(4 * MAX_BEGINNING);
        (client, Link::other(link))
    }

    fn fakes() -> FakePools {
        FakePools::default()
    }

    fn to() -> Destination {
        "192.0.2.1:80".parse().unwrap()
    }

    fn session(enabled: bool) -> Session {
        let sniffing = enabled.then(|| Settings {
            overriding: vec![Protocol::Http],
            ..Settings::default()
        });
        Session {
            limits: None,
            traffic: Traffic::default(),
            share: None,
            presence: None,
            id: 0,
            source: Source::Unix,
            inbound: Origin {
                name: None,
                tag: None,
                from_here: false,
                entry: Default::default(),
                local: Source::Unix,
                vless_route: 0,
                held: None,
                sniffing: sniffing.map(Arc::new),
            },
            user: None,
            protocol: None,
            attributes: None,
            is_own: false,
        }
    }
}
