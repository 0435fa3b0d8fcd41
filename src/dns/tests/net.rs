//! A network of servers that answer by a script.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use crate::address::Destination;
use crate::dns::codec::{Asked, Family};
use crate::dns::{DialFuture, Dialer, Framed, Inside, Resolver, Server, Settings, Via};
use crate::io::{Link, Packet, Packets};

/// Servers by their address: what they answer, and to whom.
#[derive(Clone)]
pub(super) struct Net(pub(super) Arc<Mutex<Script>>);

#[derive(Default)]
pub(super) struct Script {
    /// By server and name; the empty name is every name.
    answers: HashMap<(String, String), (u16, Vec<std::net::IpAddr>)>,
    asked: HashMap<String, usize>,
    vias: Vec<Via>,
    /// Dropping them closes what is open.
    open: Vec<mpsc::Sender<()>>,
    pub(super) is_h2: bool,
    /// What no server answers.
    pub(super) unheard: Option<Family>,
}

impl Net {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// A resolver that asks these servers.
    pub(super) fn resolver<const N: usize>(&self, servers: [Server; N]) -> Arc<Resolver> {
        self.resolver_of(Settings {
            servers: servers.into(),
            ..Settings::default()
        })
    }

    pub(super) fn resolver_of(&self, settings: Settings) -> Arc<Resolver> {
        let resolver = Resolver::new(settings);
        resolver.set_dialer(Arc::new(self.clone()));
        Arc::new(resolver)
    }

    pub(super) fn answers(&self, server: &str, name: &str, ips: &[&str]) {
        let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        self.set(server, name, (0, ips));
    }

    pub(super) fn code(&self, server: &str, name: &str, code: u16) {
        self.set(server, name, (code, Vec::new()));
    }

    fn set(&self, server: &str, name: &str, answer: (u16, Vec<std::net::IpAddr>)) {
        let key = (server.to_owned(), name.to_owned());
        self.0.lock().unwrap().answers.insert(key, answer);
    }

    pub(super) fn asked(&self, server: &str) -> usize {
        self.0
            .lock()
            .unwrap()
            .asked
            .get(server)
            .copied()
            .unwrap_or(0)
    }

    pub(super) fn opened(&self) -> usize {
        self.vias().len()
    }

    pub(super) fn vias(&self) -> Vec<Via> {
        self.0.lock().unwrap().vias.clone()
    }

    pub(super) fn hang_up(&self) {
        self.0.lock().unwrap().open.clear();
    }

    pub(super) fn open(&self, via: &Via) -> mpsc::Receiver<()> {
        let (open, closed) = mpsc::channel(1);
        let mut script = self.0.lock().unwrap();
        script.vias.push(via.clone());
        script.open.push(open);
        closed
    }

    /// What `server` says to a message; silence where the script has nothing.
    fn reply(&self, server: &str, message: &[u8], datagram: bool) -> Option<Vec<u8>> {
        let asked = Asked::decode(message).expect("we ask for addresses");
        let mut script = self.0.lock().unwrap();
        *script.asked.entry(server.to_owned()).or_default() += 1;
        if script.unheard == Some(asked.question.family) {
            return None;
        }
        let name = asked.question.name.clone();
        let of = |name: &str| script.answers.get(&(server.to_owned(), name.to_owned()));
        let (code, ips) = of(&name).or_else(|| of(""))?;
        let mut bytes = asked.answer(*code, ips, 300, datagram);
        let whole = asked.answer(*code, ips, 300, false);
        if bytes.len() < whole.len() {
            // The flag that says so.
            bytes[2] |= 0b0000_0010;
        }
        Some(bytes)
    }

    async fn serve_framed(
        self,
        link: DuplexStream,
        server: String,
        mut closed: mpsc::Receiver<()>,
    ) {
        let mut framed = Framed::new(Link::other(link), "0.0.0.0:0".parse().unwrap());
        loop {
            tokio::select! {
                query = poll_fn(|cx| framed.poll_recv(cx)) => {
                    let Ok(Some(mut packet)) = query else { return };
                    if let Some(reply) = self.reply(&server, &packet.data, false) {
                        packet.data = reply.into();
                        let _ = poll_fn(|cx| framed.poll_send(cx, &packet)).await;
                    }
                }
                _ = closed.recv() => return,
            }
        }
    }

    async fn serve_http(self, link: DuplexStream, server: String, mut closed: mpsc::Receiver<()>) {
        let is_h2 = self.0.lock().unwrap().is_h2;
        let service =
            hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| {
                let (net, server) = (self.clone(), server.clone());
                async move {
                    let is_found = request.uri().path() == "/dns-query";
                    assert_eq!(request.headers()["content-type"], "application/dns-message");
                    let body = request.into_body().collect().await?.to_bytes();
                    let reply = net.reply(&server, &body, false).filter(|_| is_found);
                    let status = if reply.is_some() { 200 } else { 404 };
                    let body = Full::new(Bytes::from(reply.unwrap_or_default()));
                    let response = http::Response::builder().status(status).body(body);
                    Ok::<_, hyper::Error>(response.expect("it is a response"))
                }
            });
        let io = TokioIo::new(link);
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let serving = async {
            match is_h2 {
                true => http2.serve_connection(io, service).await,
                false => {
                    let http1 = hyper::server::conn::http1::Builder::new();
                    http1.serve_connection(io, service).await
                }
            }
        };
        tokio::select! {
            _ = serving => {}
            _ = closed.recv() => {}
        }
    }
}

impl Dialer for Net {
    fn stream(&self, via: &Via, to: &Destination) -> DialFuture<Link> {
        let server = to.host.to_string();
        if server == "9.9.9.9" {
            return Box::pin(async { Err(io::Error::other("connection refused")) });
        }
        let (ours, theirs) = duplex(64 * 1024);
        let closed = self.open(via);
        match to.port {
            443 => drop(crate::io::spawn(
                self.clone().serve_http(theirs, server, closed),
            )),
            _ => drop(crate::io::spawn(
                self.clone().serve_framed(theirs, server, closed),
            )),
        }
        Box::pin(async { Ok(Link::other(ours)) })
    }

    fn packets(&self, via: &Via, to: &Destination) -> DialFuture<Box<dyn Packets>> {
        let (net, server, mut closed) = (self.clone(), to.host.to_string(), self.open(via));
        let (replies, inbox) = mpsc::unbounded_channel();
        let (outbox, mut queries) = mpsc::unbounded_channel::<Packet>();
        crate::io::spawn(async move {
            loop {
                let mut packet = tokio::select! {
                    packet = queries.recv() => packet.unwrap(),
                    _ = closed.recv() => return,
                };
                if let Some(reply) = net.reply(&server, &packet.data, true) {
                    // A forger who does not see the question must guess its id.
                    let mut forged = reply.clone();
                    forged[0] ^= 0x55;
                    let last = forged.len() - 1;
                    forged[last] ^= 0x55;
                    let peer = packet.peer.clone();
                    let _ = replies.send(Packet {
                        peer,
                        data: forged.into(),
                    });
                    packet.data = reply.into();
                    if replies.send(packet).is_err() {
                        return;
                    }
                }
            }
        });
        Box::pin(async move {
            let packets: Box<dyn Packets> = Box::new(Pipe { inbox, outbox });
            Ok(packets)
        })
    }

    fn tls(&self, link: Link, _server: &Destination, inside: Inside) -> DialFuture<(Link, bool)> {
        let is_h2 = inside == Inside::Http && self.0.lock().unwrap().is_h2;
        Box::pin(async move { Ok((link, is_h2)) })
    }
}

struct Pipe {
    inbox: mpsc::UnboundedReceiver<Packet>,
    outbox: mpsc::UnboundedSender<Packet>,
}

impl Packets for Pipe {
    fn poll_recv(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<Option<Packet>>> {
        self.inbox.poll_recv(cx).map(Ok)
    }

    fn poll_send(
        &mut self,
        _cx: &mut std::task::Context<'_>,
        packet: &Packet,
    ) -> std::task::Poll<io::Result<()>> {
        let _ = self.outbox.send(packet.clone());
        std::task::Poll::Ready(Ok(()))
    }
}
