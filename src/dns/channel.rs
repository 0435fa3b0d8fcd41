//! One connection to a server, shared by questions and replies that are told apart by their ids.
//!
//! It is opened for the first question and closed when nothing was asked for a while: opening one may take several
//! handshakes with a proxy's server. It works alike over UDP and, framed, over TCP and TLS.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tracing::trace;

use super::codec::{Question, Reply};
use super::dial::{DialFuture, Dialer, Inside, Via};
use super::framed::Framed;
use super::server::LIMIT;
use crate::address::Destination;
use crate::io::{Packet, Packets};

/// How long a connection stays open without a question.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// How long a server may take to be reached, or to take a question.
const SEND_LIMIT: Duration = Duration::from_secs(8);

/// Questions that may wait for the connection to open.
const MAX_WAITING: usize = 256;

/// Questions without a reply yet; the ids would allow for 65,536.
const MAX_OPEN: usize = 4096;

/// How the messages of a channel travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Udp,
    Tcp,
    Tls,
}

/// One server, over one transport.
pub(super) struct Channel {
    over: Over,
    to: Destination,
    via: Via,
    client: Option<IpAddr>,
    asking: Mutex<Option<mpsc::Sender<Ask>>>,
}

struct Ask {
    question: Question,
    /// With an id that is yet to be chosen.
    message: Vec<u8>,
    since: Instant,
    reply: oneshot::Sender<io::Result<Reply>>,
}

impl Channel {
    pub(super) fn new(over: Over, to: Destination, via: Via, client: Option<IpAddr>) -> Self {
        Self {
            over,
            to,
            via,
            client,
            asking: Mutex::default(),
        }
    }

    /// Asks once. If the connection was open already and turns out to be dead, the question is sent once more over a
    /// new one.
    pub(super) async fn ask(
        &self,
        dialer: &Arc<dyn Dialer>,
        question: &Question,
    ) -> io::Result<Reply> {
        let message = question.encode(0, self.client).map_err(io::Error::other)?;
        loop {
            let (asking, is_new) = self.open(dialer);
            let (reply, answer) = oneshot::channel();
            let ask = Ask {
                question: question.clone(),
                message: message.clone(),
                since: Instant::now(),
                reply,
            };
            let sent = asking.send(ask).await;
            match (sent, answer.await) {
                (Ok(()), Ok(Ok(reply))) => return Ok(reply),
                (_, Ok(Err(e))) if is_new => return Err(e),
                _ if is_new => return Err(closed()),
                _ => self.forget(&asking),
            }
        }
    }

    fn open(&self, dialer: &Arc<dyn Dialer>) -> (mpsc::Sender<Ask>, bool) {
        let mut slot = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asking) = slot.as_ref().filter(|asking| !asking.is_closed()) {
            return (asking.clone(), false);
        }
        let (asking, asks) = mpsc::channel(MAX_WAITING);
        *slot = Some(asking.clone());
        let opening: DialFuture<Box<dyn Packets>> = match self.over {
            Over::Udp => dialer.packets(&self.via, &self.to),
            Over::Tcp | Over::Tls => {
                let (link, to) = (dialer.stream(&self.via, &self.to), self.to.clone());
                let tls = (self.over == Over::Tls).then(|| dialer.clone());
                Box::pin(async move {
                    let mut link = link.await?;
                    if let Some(dialer) = tls {
                        link = dialer.tls(link, &to, Inside::Dns).await?.0;
                    }
                    let framed: Box<dyn Packets> = Box::new(Framed::new(link, to));
                    Ok(framed)
                })
            }
        };
        let exchange = Exchange {
            to: self.to.clone(),
            open: HashMap::new(),
            heard: None,
        };
        crate::io::spawn(exchange.run(opening, asks));
        (asking, true)
    }

    fn forget(&self, asking: &mpsc::Sender<Ask>) {
        let mut slot = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if slot
            .as_ref()
            .is_some_and(|other| other.same_channel(asking))
        {
            *slot = None;
        }
    }
}

/// An open connection and the questions that wait for their replies.
struct Exchange {
    to: Destination,
    open: HashMap<u16, Ask>,
    /// When the last reply came.
    heard: Option<Instant>,
}

impl Exchange {
    async fn run(mut self, opening: DialFuture<Box<dyn Packets>>, mut asks: mpsc::Receiver<Ask>) {
        let ended = self.exchange(opening, &mut asks).await;
        asks.close();
        let error = ended.err().unwrap_or_else(closed);
        while let Ok(ask) = asks.try_recv() {
            let _ = ask.reply.send(Err(again(&error)));
        }
        for (_, ask) in self.open.drain() {
            let _ = ask.reply.send(Err(again(&error)));
        }
    }

    /// Until the server closes (an error if anything waits for it) or nothing is asked any more.
    async fn exchange(
        &mut self,
        opening: DialFuture<Box<dyn Packets>>,
        asks: &mut mpsc::Receiver<Ask>,
    ) -> io::Result<()> {
        let mut packets = in_time(opening).await?;
        loop {
            tokio::select! {
                ask = timeout(IDLE_LIMIT, asks.recv()) => match ask {
                    // `Channel::ask` tries again over a new connection.
                    Ok(Some(_)) if self.is_dead() => return Err(closed()),
                    Ok(Some(ask)) => self.send(&mut packets, ask).await?,
                    Ok(None) => return Ok(()),
                    Err(_) => {
                        self.open.retain(|_, ask| !ask.reply.is_closed());
                        if self.open.is_empty() {
                            return Ok(());
                        }
                    }
                },
                packet = poll_fn(|cx| packets.poll_recv(cx)) => match packet? {
                    Some(packet) => self.take(&packet.data),
                    None => return Err(closed()),
                },
            }
        }
    }

    /// Whether a question waited in vain while nothing at all was heard: a tunnel may be gone without
    /// a word, and would take questions for ever.
    fn is_dead(&self) -> bool {
        let mut open = self.open.values();
        open.any(|ask| {
            let unheard = self.heard.is_none_or(|heard| ask.since > heard);
            unheard && ask.since.elapsed() >= LIMIT
        })
    }

    async fn send(&mut self, packets: &mut Box<dyn Packets>, ask: Ask) -> io::Result<()> {
        if self.open.len() >= MAX_OPEN {
            self.open.retain(|_, ask| !ask.reply.is_closed());
        }
        if self.open.len() >= MAX_OPEN {
            let text = format!("{MAX_OPEN} questions wait for a reply already");
            let _ = ask.reply.send(Err(io::Error::other(text)));
            return Ok(());
        }
        // Ids are by chance, so that nobody who does not see the question can forge its reply.
        let id = loop {
            let id = getrandom::u32()? as u16;
            if !self.open.contains_key(&id) {
                break id;
            }
        };
        let mut message = ask.message.clone();
        message[..2].copy_from_slice(&id.to_be_bytes());
        self.open.insert(id, ask);
        let packet = Packet {
            peer: self.to.clone(),
            data: Bytes::from(message),
        };
        in_time(poll_fn(|cx| packets.poll_send(cx, &packet))).await
    }

    /// Gives a reply to whoever asked; what answers nothing is dropped, it may be forged.
    fn take(&mut self, data: &[u8]) {
        let Some(id) = data.first_chunk::<2>().map(|id| u16::from_be_bytes(*id)) else {
            return;
        };
        let Some(ask) = self.open.get(&id) else {
            return;
        };
        match ask.question.decode(data) {
            Ok(reply) => {
                self.heard = Some(Instant::now());
                if let Some(ask) = self.open.remove(&id) {
                    let _ = ask.reply.send(Ok(reply));
                }
            }
            Err(e) => trace!(server = %self.to, "a reply is dropped: {e}"),
        }
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let text = || format!("it takes nothing for {} s", SEND_LIMIT.as_secs());
    timeout(SEND_LIMIT, work)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, text())))
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")
}

fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
