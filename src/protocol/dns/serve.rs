//! One session: questions in, answers out.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, trace};

use super::{Act, Rule};
use crate::address::{Destination, Network};
use crate::dns::codec::{Asked, Kind, bare_reply};
use crate::dns::{Dialer, Framed, Resolver, Via, asker, asking};
use crate::io::{Packet, Packets};

/// Questions of one session that are looked up at a time; the next ones wait. A session may be the resolver of
/// a whole house, whose dead names are not to stop the others.
const MAX_LOOKUPS: usize = 256;

/// Messages on their way to or from the server for other questions.
const MAX_FORWARDED: usize = 64;

/// How long that server may take to be reached, or to answer a client that has no more questions.
const SERVER_LIMIT: Duration = Duration::from_secs(8);

/// `SERVFAIL`.
const FAILED: u16 = 2;

pub(super) struct Session {
    pub(super) resolver: Arc<Resolver>,
    pub(super) rules: Arc<[Rule]>,
    pub(super) others: Act,
    pub(super) ttl: Option<u32>,
    pub(super) is_datagram: bool,
    /// Whom the client believes to ask.
    pub(super) to: Destination,
    /// Who answers other questions.
    pub(super) over: Network,
    pub(super) server: Destination,
    pub(super) dial: Arc<dyn Dialer>,
}

/// What comes back to the session's task.
enum Event {
    Answer(Vec<u8>),
    Forwarded(Bytes),
}

/// What becomes of one question.
enum Next {
    Answer(Box<Asked>),
    Drop,
    Reply(u16),
    Forward,
}

impl Session {
    pub(super) async fn run(self, client: Box<dyn Packets>) {
        let to = self.to.clone();
        if let Err(e) = self.answer(client).await {
            debug!(%to, "questions ended: {e}");
        }
    }

    async fn answer(self, mut client: Box<dyn Packets>) -> io::Result<()> {
        let (events, mut found) = mpsc::channel(MAX_FORWARDED);
        let mut forward: Option<mpsc::Sender<Bytes>> = None;
        let (mut lookups, mut forwarded) = (0, 0_usize);
        let mut is_done = false;
        loop {
            if is_done && lookups == 0 && forwarded == 0 {
                return Ok(());
            }
            tokio::select! {
                query = poll_fn(|cx| client.poll_recv(cx)), if !is_done && lookups < MAX_LOOKUPS => {
                    let Some(query) = query? else {
                        is_done = true;
                        continue;
                    };
                    match self.next(&query.data) {
                        Next::Answer(asked) => {
                            lookups += 1;
                            self.look_up(asked, events.clone());
                        }
                        Next::Drop => trace!(to = %self.to, "dropped: such questions get no answer"),
                        Next::Reply(code) => if let Some(answer) = bare_reply(&query.data, code) {
                            self.send(&mut client, answer.into()).await?;
                        }
                        Next::Forward => {
                            forwarded += usize::from(self.forward(&mut forward, query.data, &events));
                        }
                    }
                },
                Some(event) = found.recv() => {
                    let data = match event {
                        Event::Answer(answer) => {
                            lookups -= 1;
                            answer.into()
                        }
                        Event::Forwarded(reply) => {
                            forwarded = forwarded.saturating_sub(1);
                            reply
                        }
                    };
                    self.send(&mut client, data).await?;
                },
                () = sleep(SERVER_LIMIT), if is_done => return Ok(()),
            }
        }
    }

    fn next(&self, query: &[u8]) -> Next {
        let asked = Asked::decode(query);
        let kind = match asked.is_some() && self.rules.is_empty() {
            true => None,
            false => Kind::decode(query),
        };
        let usual = match &kind {
            _ if asked.is_some() => Act::Answer(0),
            // Of another class, or of what is no host's name: it fails here, and goes nowhere else, as in Xray.
            Some(kind) if kind.is_of_addresses() => Act::Answer(FAILED),
            _ => self.others,
        };
        let act = match (&self.rules[..], kind) {
            ([], _) => usual,
            // No rule can be asked about it, and none may be passed by.
            (_, None) => Act::Drop,
            (rules, Some(kind)) => {
                let rule = rules.iter().find(|rule| rule.fits(&kind));
                rule.map_or(usual, |rule| rule.act)
            }
        };
        match (act, asked) {
            (Act::Answer(_), Some(asked)) => Next::Answer(asked.into()),
            (Act::Answer(code), None) | (Act::Reply(code), _) => Next::Reply(code),
            (Act::Drop, _) => Next::Drop,
            (Act::Forward, _) => Next::Forward,
        }
    }

    async fn send(&self, client: &mut Box<dyn Packets>, data: Bytes) -> io::Result<()> {
        let peer = self.to.clone();
        let packet = Packet { peer, data };
        poll_fn(|cx| client.poll_send(cx, &packet)).await
    }

    fn look_up(&self, asked: Box<Asked>, events: mpsc::Sender<Event>) {
        let resolver = self.resolver.clone();
        let (ttl, is_datagram) = (self.ttl, self.is_datagram);
        let looking = async move {
            let question = &asked.question;
            let reply = resolver
                .answer(&question.name, question.family.into())
                .await;
            let answer = match reply {
                Ok(reply) => {
                    let ttl = ttl.unwrap_or(reply.ttl);
                    asked.answer(reply.code, &reply.ips, ttl, is_datagram)
                }
                Err(e) => {
                    debug!("{e}");
                    asked.answer(FAILED, &[], 0, is_datagram)
                }
            };
            let _ = events.send(Event::Answer(answer)).await;
        };
        crate::io::spawn(asking(asker(), looking));
    }

    /// Hands a question to the task that talks to the server, and makes one if there is none. Whether a
    /// reply may come.
    fn forward(
        &self,
        forward: &mut Option<mpsc::Sender<Bytes>>,
        query: Bytes,
        events: &mpsc::Sender<Event>,
    ) -> bool {
        let open = forward.take().filter(|open| !open.is_closed());
        let open = open.unwrap_or_else(|| {
            let (open, queries) = mpsc::channel(MAX_FORWARDED);
            let (over, server) = (self.over, self.server.clone());
            let talk = talk(self.dial.clone(), over, server, queries, events.clone());
            // Whoever asks may have chosen the name of the server.
            crate::io::spawn(asking(asker(), talk));
            open
        });
        let sent = open.try_send(query).is_ok();
        *forward = Some(open);
        sent
    }
}

/// Carries other questions to their server, and its replies back.
async fn talk(
    dial: Arc<dyn Dialer>,
    over: Network,
    server: Destination,
    mut queries: mpsc::Receiver<Bytes>,
    events: mpsc::Sender<Event>,
) {
    let talking = async {
        let open = async || {
            let opening = async {
                Ok::<_, io::Error>(match over {
                    Network::Udp => dial.packets(&Via::Direct, &server).await?,
                    Network::Tcp => {
                        let link = dial.stream(&Via::Direct, &server).await?;
                        Box::new(Framed::new(link, server.clone()))
                    }
                })
            };
            timeout(SERVER_LIMIT, opening).await?
        };
        let mut packets = open().await?;
        // Since when a query waits for any reply.
        let mut waits: Option<Instant> = None;
        loop {
            tokio::select! {
                query = queries.recv() => {
                    let Some(data) = query else { return Ok(()) };
                    // A way through a tunnel may have gone without a word.
                    if waits.is_some_and(|since| since.elapsed() >= SERVER_LIMIT) {
                        packets = open().await?;
                        waits = None;
                    }
                    waits.get_or_insert_with(Instant::now);
                    let packet = Packet { peer: server.clone(), data };
                    timeout(SERVER_LIMIT, poll_fn(|cx| packets.poll_send(cx, &packet))).await??;
                },
                reply = poll_fn(|cx| packets.poll_recv(cx)) => {
                    let Some(reply) = reply? else { return Ok(()) };
                    waits = None;
                    if events.send(Event::Forwarded(reply.data)).await.is_err() {
                        return Ok(());
                    }
                },
            }
        }
    };
    let ended: io::Result<()> = talking.await;
    if let Err(e) = ended {
        debug!(%server, "dns: no way for other questions: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{DialFuture, Inside};
    use crate::io::Link;
    use crate::protocol::dns::pipe;
    use hex_literal::hex;
    use std::sync::Mutex;

    /// `a.` for its text.
    const QUESTION: &[u8] = &hex!("0007 0100 0001 0000 0000 0000 01 61 00 0010 0001");

    #[tokio::test(start_paused = true)]
    async fn a_way_on_which_nothing_comes_back_is_made_anew() {
        let (ways, mut made) = mpsc::unbounded_channel();
        let to: Destination = "192.0.2.1:53".parse().unwrap();
        let session = session(ways);
        let (mut client, inside) = pipe::pair();
        crate::io::spawn(session.run(Box::new(inside)));
        let question = Packet {
            peer: to,
            data: Bytes::from_static(QUESTION),
        };
        let ask = async |client: &mut pipe::End| {
            poll_fn(|cx| client.poll_send(cx, &question)).await.unwrap();
        };
        ask(&mut client).await;
        let mut first = made.recv().await.unwrap();
        for _ in 0..2 {
            let asked = poll_fn(|cx| first.poll_recv(cx)).await.unwrap().unwrap();
            assert_eq!(asked.data, QUESTION);
            sleep(SERVER_LIMIT / 2).await;
            ask(&mut client).await;
        }
        let mut second = made.recv().await.unwrap();
        let asked = poll_fn(|cx| second.poll_recv(cx)).await.unwrap().unwrap();
        poll_fn(|cx| second.poll_send(cx, &asked)).await.unwrap();
        let answer = poll_fn(|cx| client.poll_recv(cx)).await.unwrap().unwrap();
        assert_eq!(answer.data, QUESTION, "the echo of the second way");
    }

    #[test]
    fn what_asks_for_addresses_never_takes_the_way_of_other_kinds() {
        let (ways, _made) = mpsc::unbounded_channel();
        let mut session = session(ways);
        let [chaos, odd, both, other] = [
            &hex!("0007 0100 0001 0000 0000 0000 01 61 00 0001 0003")[..],
            &hex!("0007 0100 0001 0000 0000 0000 03 612062 00 001c 0001"),
            &hex!("0007 0100 0002 0000 0000 0000 01 61 00 0010 0001 01 62 00 0001 0001"),
            QUESTION,
        ];
        for query in [chaos, odd] {
            assert!(matches!(session.next(query), Next::Reply(FAILED)));
        }
        assert!(matches!(session.next(other), Next::Forward));
        session.rules = Arc::new([Rule {
            kinds: vec![16..=16],
            names: None,
            act: Act::Forward,
        }]);
        assert!(matches!(session.next(other), Next::Forward));
        assert!(
            matches!(session.next(both), Next::Drop),
            "one rule, two questions"
        );
        assert!(matches!(session.next(chaos), Next::Reply(FAILED)));
    }

    fn session(ways: mpsc::UnboundedSender<pipe::End>) -> Session {
        let to: Destination = "192.0.2.1:53".parse().unwrap();
        Session {
            resolver: Arc::default(),
            rules: Arc::default(),
            others: Act::Forward,
            ttl: None,
            is_datagram: true,
            to: to.clone(),
            over: Network::Udp,
            server: to,
            dial: Arc::new(Ways(Mutex::new(ways))),
        }
    }

    /// Gives the other end of every way to the test.
    struct Ways(Mutex<mpsc::UnboundedSender<pipe::End>>);

    impl Dialer for Ways {
        fn stream(&self, _way: &Via, _to: &Destination) -> DialFuture<Link> {
            panic!("nothing goes by TCP here")
        }

        fn packets(&self, _way: &Via, _to: &Destination) -> DialFuture<Box<dyn Packets>> {
            let (ours, theirs) = pipe::pair();
            self.0.lock().unwrap().send(theirs).unwrap();
            let ours: Box<dyn Packets> = Box::new(ours);
            Box::pin(async { Ok(ours) })
        }

        fn tls(&self, _: Link, _: &Destination, _: Inside) -> DialFuture<(Link, bool)> {
            panic!("nor by TLS")
        }
    }
}
