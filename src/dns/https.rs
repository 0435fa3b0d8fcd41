//! DNS over HTTPS (RFC 8484): each message is the body of a POST.
//!
//! HTTP/2 where the server speaks it (some servers speak nothing else): one connection carries all
//! questions. Over HTTP/1.1 each open question has a connection, and those that are free are kept.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::codec::{LONGEST, Question, Reply};
use super::dial::{Dialer, Inside, Via};
use super::server::LIMIT;
use crate::address::Destination;
use crate::http::client::reason;

const MESSAGE: &str = "application/dns-message";

/// Connections of HTTP/1.1 that are kept for the next question.
const MAX_IDLE: usize = 8;

/// A connection that was not used for this long may be dead without our knowing, and is not used again.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// One server.
pub(super) struct Https {
    url: Uri,
    to: Destination,
    via: Via,
    client: Option<IpAddr>,
    connections: Mutex<Connections>,
    /// Held by whoever connects, so that two questions at a time make one connection.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Connections {
    shared: Option<Shared>,
    idle: Vec<(http1::SendRequest<Full<Bytes>>, Instant)>,
}

struct Shared {
    connection: http2::SendRequest<Full<Bytes>>,
    used: Instant,
    /// Since when something waits for a reply and nothing was heard.
    waiting: Option<Instant>,
}

enum Connection {
    Shared(http2::SendRequest<Full<Bytes>>),
    Own(http1::SendRequest<Full<Bytes>>),
}

impl Https {
    /// `url` begins with `https://` or, without TLS, with `http://`, and a host.
    pub(super) fn new(url: Uri, to: Destination, via: Via, client: Option<IpAddr>) -> Self {
        Self {
            url,
            to,
            via,
            client,
            connections: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    pub(super) async fn ask(
        &self,
        dialer: &Arc<dyn Dialer>,
        question: &Question,
    ) -> io::Result<Reply> {
        // The id is 0, so that the answers of caches on the way are alike (RFC 8484, section 4.1).
        let body = question
            .encode(0, self.client)
            .map(Bytes::from)
            .map_err(io::Error::other)?;
        // The server may close a connection that we take for open: then a new one is made, once.
        if let Some(connection) = self.kept()
            && let Ok(bytes) = self.exchange(connection, body.clone()).await
        {
            return question.decode(&bytes).map_err(io::Error::other);
        }
        let connection = {
            let _turn = self.connecting.lock().await;
            match self.kept() {
                Some(made) => made,
                None => self.connect(dialer).await?,
            }
        };
        let bytes = self.exchange(connection, body).await?;
        question.decode(&bytes).map_err(io::Error::other)
    }

    /// A connection that is open, as far as we know.
    fn kept(&self) -> Option<Connection> {
        let mut all = self.lock();
        let now = Instant::now();
        let fresh = |used: &Instant| now.duration_since(*used) < IDLE_LIMIT;
        if let Some(shared) = &mut all.shared {
            // Silence for as long as any question waits: it may be gone without a word.
            let is_dead = shared.waiting.is_some_and(|since| since.elapsed() >= LIMIT);
            if !is_dead && !shared.connection.is_closed() && fresh(&shared.used) {
                shared.used = now;
                return Some(Connection::Shared(shared.connection.clone()));
            }
            all.shared = None;
        }
        all.idle
            .retain(|(own, used)| !own.is_closed() && fresh(used));
        all.idle.pop().map(|(own, _)| Connection::Own(own))
    }

    async fn connect(&self, dialer: &Arc<dyn Dialer>) -> io::Result<Connection> {
        let link = dialer.stream(&self.via, &self.to).await?;
        // Without TLS there is nobody to agree with: both know that it is HTTP/2.
        let (link, is_h2) = match self.url.scheme_str() {
            Some("http") => (link, true),
            _ => dialer.tls(link, &self.to, Inside::Http).await?,
        };
        let io = TokioIo::new(link);
        if is_h2 {
            let (shared, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(explain)?;
            // How it ends is told to whoever waits for a reply.
            crate::io::spawn(connection);
            self.lock().shared = Some(Shared {
                connection: shared.clone(),
                used: Instant::now(),
                waiting: None,
            });
            return Ok(Connection::Shared(shared));
        }
        let (own, connection) = http1::handshake(io).await.map_err(explain)?;
        crate::io::spawn(connection);
        Ok(Connection::Own(own))
    }

    async fn exchange(&self, connection: Connection, body: Bytes) -> io::Result<Bytes> {
        let request = self.request(&connection, body)?;
        match connection {
            Connection::Shared(mut shared) => {
                self.waits(true);
                let response = shared.send_request(request).await.map_err(explain)?;
                self.waits(false);
                whole(response).await
            }
            Connection::Own(mut own) => {
                own.ready().await.map_err(explain)?;
                let response = own.send_request(request).await.map_err(explain)?;
                let bytes = whole(response).await?;
                let mut all = self.lock();
                if all.idle.len() < MAX_IDLE {
                    all.idle.push((own, Instant::now()));
                }
                Ok(bytes)
            }
        }
    }

    fn waits(&self, waits: bool) {
        if let Some(shared) = &mut self.lock().shared {
            shared.waiting = if waits {
                shared.waiting.or_else(|| Some(Instant::now()))
            } else {
                None
            };
        }
    }

    fn request(&self, connection: &Connection, body: Bytes) -> io::Result<Request<Full<Bytes>>> {
        let request = Request::builder()
            .method(Method::POST)
            .header(ACCEPT, MESSAGE)
            .header(CONTENT_TYPE, MESSAGE);
        let request = match connection {
            Connection::Shared(_) => request.uri(&self.url),
            Connection::Own(_) => {
                let path = self.url.path_and_query().map_or("/", |path| path.as_str());
                let host = self.url.authority().map_or("", |host| host.as_str());
                request.uri(path).header(HOST, host)
            }
        };
        request.body(Full::new(body)).map_err(io::Error::other)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn whole(response: Response<Incoming>) -> io::Result<Bytes> {
    if response.status() != StatusCode::OK {
        let text = format!("it answers with HTTP status {}", response.status());
        return Err(io::Error::other(text));
    }
    let body = Limited::new(response.into_body(), LONGEST);
    let body = body.collect().await.map_err(io::Error::other)?;
    Ok(body.to_bytes())
}

fn explain(e: hyper::Error) -> io::Error {
    io::Error::other(format!("HTTP: {}", reason(&e)))
}
