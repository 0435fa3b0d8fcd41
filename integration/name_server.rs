//! DNS servers of a test's own, and what a client of theirs says and hears.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::server::TlsStream;

use crate::configs::Certificate;
use crate::peers::listen;

const A: RecordType = RecordType::A;
const AAAA: RecordType = RecordType::AAAA;

/// The id of every [`question`].
const ID: u16 = 7;

/// A DNS server: what it says, and what it was asked.
#[derive(Clone)]
pub struct NameServer {
    pub name: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    addresses: HashMap<String, Vec<IpAddr>>,
    /// For each question the next one, the last one for all that follow, and none of them is for keeping.
    changing: HashMap<String, Vec<Ipv4Addr>>,
    /// Codes in place of addresses; `None` is silence.
    codes: HashMap<String, Option<ResponseCode>>,
    asked: Vec<String>,
}

impl NameServer {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            state: Arc::default(),
        }
    }

    pub fn has(&self, name: &str, ips: &[&str]) {
        let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        self.state
            .lock()
            .unwrap()
            .addresses
            .insert(name.to_owned(), ips);
    }

    /// Another address for every question, so that whoever asks twice is told different things.
    pub fn changes(&self, name: &str, ips: &[Ipv4Addr]) {
        let mut state = self.state.lock().unwrap();
        state.changing.insert(name.to_owned(), ips.to_vec());
    }

    pub fn says(&self, name: &str, code: Option<ResponseCode>) {
        self.state
            .lock()
            .unwrap()
            .codes
            .insert(name.to_owned(), code);
    }

    /// How many questions came since this was asked last.
    pub fn forget_questions(&self) -> usize {
        std::mem::take(&mut self.state.lock().unwrap().asked).len()
    }

    pub fn was_asked(&self, name: &str) -> bool {
        let state = self.state.lock().unwrap();
        state.asked.iter().any(|asked| asked == name)
    }

    /// Its own name in a text record, the addresses that it has, or that there is no such name.
    fn reply(&self, query: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let question = query.queries.first()?.clone();
        let name = question.name.to_ascii();
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let mut state = self.state.lock().unwrap();
        state.asked.push(name.clone());
        let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        reply.add_query(question.clone());
        if let Some(ips) = state.changing.get_mut(&name) {
            if question.query_type == A {
                let ip = match ips.len() {
                    1 => ips[0],
                    _ => ips.remove(0),
                };
                let record = Record::from_rdata(question.name.clone(), 0, RData::A(ip.into()));
                reply.answers.push(record);
            }
            return reply.to_vec().ok();
        }
        let mut add = |data| {
            let record = Record::from_rdata(question.name.clone(), 300, data);
            reply.answers.push(record);
        };
        match (question.query_type, state.addresses.get(&name)) {
            (RecordType::TXT, _) => add(RData::TXT(TXT::new(vec![self.name.to_owned()]))),
            (A | AAAA, Some(ips)) => {
                for ip in ips {
                    match (ip, question.query_type) {
                        (IpAddr::V4(ip), A) => add(RData::A((*ip).into())),
                        (IpAddr::V6(ip), AAAA) => add(RData::AAAA((*ip).into())),
                        _ => {}
                    }
                }
            }
            (_, Some(_)) => {}
            (_, None) => reply.metadata.response_code = ResponseCode::NXDomain,
        }
        if let Some(code) = state.codes.get(&name) {
            reply.metadata.response_code = (*code)?;
        }
        reply.to_vec().ok()
    }

    /// Answers over UDP and TCP on the same port.
    pub async fn run(&self) -> SocketAddr {
        let (listener, socket) = loop {
            let listener = listen();
            // The same number may be taken for UDP.
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                break (listener, socket);
            }
        };
        let at = listener.local_addr().unwrap();
        self.serve(listener, socket);
        at
    }

    /// The same on an address of the test's own.
    pub async fn run_at(&self, at: SocketAddr) {
        let listener = TcpListener::bind(at).await.unwrap();
        self.serve(listener, UdpSocket::bind(at).await.unwrap());
    }

    fn serve(&self, listener: TcpListener, socket: UdpSocket) {
        let server = self.clone();
        tokio::spawn(async move {
            let mut buf = [0; 4096];
            while let Ok((n, from)) = socket.recv_from(&mut buf).await {
                if let Some(reply) = server.reply(&buf[..n]) {
                    let _ = socket.send_to(&reply, from).await;
                }
            }
        });
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().framed(stream));
            }
        });
    }

    async fn framed(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        while let Ok(len) = stream.read_u16().await {
            let mut query = vec![0; len.into()];
            stream.read_exact(&mut query).await?;
            if let Some(reply) = self.reply(&query) {
                stream.write_u16(reply.len() as u16).await?;
                stream.write_all(&reply).await?;
                stream.flush().await?;
            }
        }
        Ok(())
    }

    /// Answers over TLS to whoever speaks no other protocol inside.
    pub async fn run_tls(&self, certificate: &Certificate) -> SocketAddr {
        self.accept(certificate, "dot", |server, stream| async move {
            let _ = server.framed(stream).await;
        })
    }

    /// Serves whoever comes by TLS so, with this protocol inside.
    fn accept<S: Future<Output = ()> + Send + 'static>(
        &self,
        certificate: &Certificate,
        protocol: &str,
        serve: fn(Self, TlsStream<TcpStream>) -> S,
    ) -> SocketAddr {
        let acceptor = certificate.acceptor(&[protocol]);
        let listener = listen();
        let at = listener.local_addr().unwrap();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(server, stream).await;
                    }
                });
            }
        });
        at
    }

    /// Answers over HTTPS at `/dns-query`, in one version of HTTP.
    pub async fn run_https(&self, certificate: &Certificate, protocol: &'static str) -> SocketAddr {
        self.accept(certificate, protocol, |server, stream| async move {
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = hyper::service::service_fn(move |request| server.clone().http(request));
            let io = TokioIo::new(stream);
            let _ = match is_h2 {
                true => {
                    let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    http2.serve_connection(io, service).await
                }
                false => {
                    let http1 = hyper::server::conn::http1::Builder::new();
                    http1.serve_connection(io, service).await
                }
            };
        })
    }

    async fn http(
        self,
        request: http::Request<hyper::body::Incoming>,
    ) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
        assert_eq!(request.uri().path(), "/dns-query");
        assert_eq!(request.method(), "POST");
        assert_eq!(request.headers()["content-type"], "application/dns-message");
        let query = request.into_body().collect().await?.to_bytes();
        let reply = self.reply(&query).unwrap_or_default();
        let response = http::Response::builder()
            .header("content-type", "application/dns-message")
            .body(Full::new(Bytes::from(reply)));
        Ok(response.expect("a response"))
    }
}

pub fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(ID, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{name}.")).unwrap();
    message.add_query(Query::query(name, kind));
    message.to_vec().unwrap()
}

/// The code and the records of an answer.
pub fn shown(bytes: &[u8]) -> String {
    let message = Message::from_vec(bytes).expect("an answer that can be read");
    assert_eq!(message.metadata.id, ID);
    assert_eq!(message.metadata.message_type, MessageType::Response);
    let mut text = format!("{:?}", message.metadata.response_code);
    for record in &message.answers {
        text.push(' ');
        text.push_str(record.data.to_string().trim_matches('"'));
    }
    text
}

/// The first IPv4 address of an answer.
pub fn address_in(answer: &[u8]) -> Option<Ipv4Addr> {
    let message = Message::from_vec(answer).ok()?;
    message
        .answers
        .iter()
        .find_map(|record| match &record.data {
            RData::A(ip) => Some(ip.0),
            _ => None,
        })
}
