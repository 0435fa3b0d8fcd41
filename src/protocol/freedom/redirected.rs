//! Datagrams where `redirect` says to whom they go instead.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use super::Redirect;
use crate::address::{Destination, Host};
use crate::io::{Packet, Packets};

/// Each datagram goes where the redirect has it, and answers come from whom the client has asked: it knows nobody else.
pub(super) struct Redirected {
    inner: Box<dyn Packets>,
    redirect: Redirect,
    /// Who was asked, the last one first: where that went, and whom the client meant.
    asked: VecDeque<(Destination, Destination)>,
}

/// Of whom it is known: more than answer at a time.
const MOST: usize = 64;

impl Redirected {
    pub(super) fn new(inner: Box<dyn Packets>, redirect: Redirect) -> Self {
        Self {
            inner,
            redirect,
            asked: VecDeque::new(),
        }
    }

    fn remember(&mut self, to: &Destination, meant: &Destination) {
        if self.asked.front().is_some_and(|(_, last)| last == meant) {
            return;
        }
        self.asked.retain(|(_, other)| other != meant);
        self.asked.truncate(MOST - 1);
        self.asked.push_front((to.clone(), meant.clone()));
    }

    /// Whom the client meant that `from` answers for; a name may have this address.
    fn meant(&self, from: &Destination) -> Option<&Destination> {
        let is_named = |to: &Destination| {
            to.port == from.port && matches!(to.host, Host::Domain(_)) && to != from
        };
        let mut asked = self.asked.iter();
        let same = asked.find(|(to, _)| to == from);
        let found = same.or_else(|| self.asked.iter().find(|(to, _)| is_named(to)));
        found.map(|(_, meant)| meant)
    }
}

impl Packets for Redirected {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        let received = self.inner.poll_recv(cx);
        received.map_ok(|packet| {
            packet.map(|packet| match self.meant(&packet.peer) {
                Some(meant) => Packet {
                    peer: meant.clone(),
                    ..packet
                },
                None => packet,
            })
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let to = self.redirect.apply(&packet.peer);
        self.remember(&to, &packet.peer);
        let packet = Packet {
            peer: to,
            data: packet.data.clone(),
        };
        self.inner.poll_send(cx, &packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::future::poll_fn;

    /// Answers each datagram as whom it was sent to, but names have an address.
    struct Echo(VecDeque<Packet>);

    impl Packets for Echo {
        fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
            Poll::Ready(Ok(self.0.pop_front()))
        }

        fn poll_send(&mut self, _: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
            let host = match packet.peer.host {
                Host::Domain(_) => Host::Ip([192, 0, 2, 9].into()),
                Host::Ip(ip) => Host::Ip(ip),
            };
            let peer = Destination::new(host, packet.peer.port);
            let data = packet.peer.to_string().into();
            self.0.push_back(Packet { peer, data });
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn answers_come_from_whom_the_client_asked() {
        for (host, port, cases) in [
            (
                Some("192.0.2.1"),
                Some(53),
                [
                    ("8.8.8.8:53", "192.0.2.1:53"),
                    ("a.test:5353", "192.0.2.1:53"),
                ],
            ),
            (
                Some("dns.test"),
                None,
                [("8.8.8.8:53", "dns.test:53"), ("a.test:54", "dns.test:54")],
            ),
            (
                None,
                Some(53),
                [("8.8.8.8:1", "8.8.8.8:53"), ("a.test:2", "a.test:53")],
            ),
        ] {
            let redirect = Redirect {
                host: host.map(|host| Host::parse(host).unwrap()),
                port,
            };
            let mut packets = Redirected::new(Box::new(Echo(VecDeque::new())), redirect);
            for (asked, went) in cases {
                let packet = Packet {
                    peer: asked.parse().unwrap(),
                    data: Bytes::new(),
                };
                poll_fn(|cx| packets.poll_send(cx, &packet)).await.unwrap();
                let answer = poll_fn(|cx| packets.poll_recv(cx)).await.unwrap().unwrap();
                assert_eq!(
                    (&*answer.data, &answer.peer),
                    (went.as_bytes(), &packet.peer)
                );
            }
        }
    }

    #[test]
    fn not_more_is_known_than_answers_at_a_time() {
        let mut packets = Redirected::new(Box::new(Echo(VecDeque::new())), Redirect::default());
        for n in 0..1000 {
            let to: Destination = format!("192.0.2.1:{}", n + 1).parse().unwrap();
            packets.remember(&to, &to);
        }
        assert_eq!(packets.asked.len(), MOST);
    }
}
