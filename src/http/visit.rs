//! A connection to a port that speaks HTTP/1: requests one after another, until one of them is what the port is for.
//!
//! A visitor sees a web server. What is refused is answered as one answers, and another request may follow on the same
//! connection. Until a request has been answered its head is still there, so that somebody else may serve it:
//! [`Visit::into_unread`] gives the connection back with all that was read of it. Where a site is behind the same door
//! ([`Neighbour`]), it serves whatever is no tunnel's, and hands the connection back if it comes to one.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, StatusCode, Version};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::head::{self, Unread};
use super::responses::{self, Then};
use super::tell::{Tell, shown, tell_of_passed, telling_later};
use super::upgrade::warn_of_http_10;
use super::{Forwarded, body, malformed};
use crate::cause::{RequestError, Unfit};
use crate::io::{Link, linger};
use crate::session::Source;

/// For a whole request header, and for the silence before it.
pub const HEADER_LIMIT: Duration = Duration::from_secs(4);

/// For all requests of a connection that never becomes a tunnel.
const VISIT_LIMIT: Duration = Duration::from_secs(300);

/// Request line and header, early data included.
const MAX_HEADER: usize = 32 * 1024;

/// A connection, as far as its requests have been read.
pub struct Visit {
    peer: Source,
    link: Link,
    read: BytesMut,
    /// How long the head of the request in hand is, at the front of what was read.
    head: usize,
    since: Instant,
    /// When the next request must be there.
    until: Instant,
    /// How the last request was refused.
    said: Option<RequestError>,
    tell: Tell,
    neighbour: Option<Arc<dyn Neighbour>>,
}

/// What a connection meets besides a tunnel.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// Is told of refused requests.
    pub tell: Tell,
    /// Who serves what is no tunnel's; without one it is refused.
    pub neighbour: Option<Arc<dyn Neighbour>>,
    /// What was read from the connection before.
    pub read: BytesMut,
}

/// Serves requests that are no tunnel's, from a connection of their own.
pub trait Neighbour: fmt::Debug + Send + Sync {
    /// Answers the requests on `link`, with `read` in front, until the connection ends or a request `is_tunnel`.
    fn serve<'a>(
        &'a self,
        link: Link,
        read: Bytes,
        is_tunnel: &'a (dyn Fn(&Request<()>) -> bool + Send + Sync),
    ) -> Pin<Box<dyn Future<Output = Option<Handed>> + Send + 'a>>;
}

/// A connection on which everything is answered but one request.
#[derive(Debug)]
pub struct Handed {
    /// The one.
    pub request: Request<()>,
    /// The connection.
    pub link: Link,
    /// What was read from it behind the request.
    pub read: Bytes,
}

/// What a request made of a connection.
pub struct Tunnel<T> {
    /// The request.
    pub request: Request<()>,
    /// For whom the peer came, if it is one to say so.
    pub client: Option<Source>,
    /// The connection, which is no longer one of HTTP.
    pub link: Link,
    /// What was read from it behind the request.
    pub read: Bytes,
    /// What was found in the request.
    pub found: T,
}

/// How a request is answered, and why.
pub struct Refused {
    /// The answer.
    pub status: StatusCode,
    /// For the log.
    pub unfit: Unfit,
}

impl Visit {
    /// `peer` came at `since`.
    pub fn new(peer: Source, link: Link, since: Instant) -> Self {
        Self {
            peer,
            link,
            read: BytesMut::new(),
            head: 0,
            since,
            until: since + HEADER_LIMIT,
            said: None,
            tell: Tell::default(),
            neighbour: None,
        }
    }

    /// With somebody who is told of every refusal.
    #[must_use]
    pub fn telling(self, tell: Tell) -> Self {
        Self { tell, ..self }
    }

    /// With what else is behind the door.
    #[must_use]
    pub fn at(self, door: Door) -> Self {
        let Door {
            tell,
            neighbour,
            read,
        } = door;
        Self {
            tell,
            neighbour,
            read,
            ..self
        }
    }

    /// Who came.
    pub fn peer(&self) -> Source {
        self.peer
    }

    /// The head of the next request. Who sends something else is answered and let go.
    ///
    /// # Errors
    ///
    /// When no request comes; the connection is over then.
    pub async fn request(mut self) -> Result<(Request<()>, Self), RequestError> {
        let reading = head::read(&mut self.link, &mut self.read, MAX_HEADER, head::request);
        match timeout_at(self.until, reading).await {
            Ok(Ok((request, len))) => {
                self.head = len;
                if let Some(said) = self.said.take() {
                    self.tell.tell(said);
                }
                Ok((request, self))
            }
            Ok(Err(unread)) => {
                if let Some(status) = unread.status() {
                    let page = responses::error(status, Then::Close, true);
                    let _ = self.write(&page).await;
                }
                linger(self.link).await;
                Err(why(unread, &self.read, self.said))
            }
            Err(_) => {
                linger(self.link).await;
                // A visitor who was refused and left the connection open has said nothing else.
                Err(match self.said {
                    Some(said) if self.read.is_empty() => said,
                    _ => RequestError::Slow(HEADER_LIMIT),
                })
            }
        }
    }

    /// Answers `request`, which is the one in hand, with an error page; another may follow. It was `client`'s, if the
    /// peer is one to say so.
    ///
    /// # Errors
    ///
    /// When none can follow; the connection is over then.
    pub async fn refuse(
        mut self,
        request: &Request<()>,
        refused: Refused,
        client: Option<Source>,
    ) -> Result<Self, RequestError> {
        let Refused { status, unfit } = refused;
        let said = RequestError::Refused {
            method: request.method().to_string(),
            path: shown(request.uri().path()),
            status: status.as_u16(),
            unfit,
            client: client.unwrap_or(self.peer),
        };
        debug!(peer = %self.peer, "{said}");
        self.read.advance(std::mem::take(&mut self.head));
        let body = body::to_skip(request);
        let then = match body {
            Some(_) => Then::KeepAlive,
            None => Then::Close,
        };
        let page = responses::error(status, then, request.method() != Method::HEAD);
        let answered = self.write(&page).await.is_ok();
        match body {
            Some(body) if answered && body::skip(&mut self.link, &mut self.read, body).await => {
                self.until = Instant::now() + HEADER_LIMIT;
                self.said = Some(said);
                Ok(self)
            }
            _ => {
                linger(self.link).await;
                Err(said)
            }
        }
    }

    /// Answers requests, or has a neighbour answer them, until one of them is `granted`, with that answer and what was
    /// found in the request; `forwarded` tells whose they are.
    ///
    /// # Errors
    ///
    /// When none is; every request has been answered then.
    pub async fn tunnel<T>(
        self,
        forwarded: &Forwarded,
        granted: impl Fn(&Request<()>) -> Result<(Vec<u8>, T), Refused> + Send + Sync,
    ) -> Result<Tunnel<T>, RequestError> {
        if let Some(neighbour) = self.neighbour.clone() {
            return self.beside(&*neighbour, forwarded, granted).await;
        }
        let until = self.since + VISIT_LIMIT;
        let visited = timeout_at(until, self.alone(forwarded, granted)).await;
        visited.unwrap_or(Err(RequestError::NoUpgrade(VISIT_LIMIT)))
    }

    async fn alone<T>(
        mut self,
        forwarded: &Forwarded,
        granted: impl Fn(&Request<()>) -> Result<(Vec<u8>, T), Refused>,
    ) -> Result<Tunnel<T>, RequestError> {
        loop {
            let (request, here) = self.request().await?;
            let client = forwarded.client(request.headers(), here.peer());
            match granted(&request) {
                Ok((answer, found)) => {
                    warn_of_http_10(&request);
                    let here = here.admitted(client).await?;
                    let (link, read) = here.switch(&answer).await?;
                    return Ok(Tunnel {
                        request,
                        client,
                        link,
                        read,
                        found,
                    });
                }
                Err(refused) => self = here.refuse(&request, refused, client).await?,
            }
        }
    }

    /// A request that opens no tunnel is not told from one for any other path: all go to the neighbour, and so does
    /// what is no request.
    async fn beside<T>(
        mut self,
        neighbour: &dyn Neighbour,
        forwarded: &Forwarded,
        granted: impl Fn(&Request<()>) -> Result<(Vec<u8>, T), Refused> + Send + Sync,
    ) -> Result<Tunnel<T>, RequestError> {
        let (peer, since, tell) = (self.peer, self.since, self.tell.clone());
        let granted = |request: &Request<()>| match granted(request) {
            // A web server does not upgrade it.
            Ok(_) if request.version() == Version::HTTP_10 => Err(Unfit::OldHttp),
            Ok(granted) => Ok(granted),
            Err(Refused { unfit, .. }) => Err(unfit),
        };
        let reading = head::read(&mut self.link, &mut self.read, MAX_HEADER, head::request);
        match timeout_at(self.until, reading).await {
            Ok(Ok((request, len))) => {
                let client = forwarded.client(request.headers(), peer);
                if let Ok((answer, found)) = granted(&request)
                    && tell.admit(client.unwrap_or(peer)).is_ok()
                {
                    self.head = len;
                    let (link, read) = self.switch(&answer).await?;
                    return Ok(Tunnel {
                        request,
                        client,
                        link,
                        read,
                        found,
                    });
                }
            }
            Ok(Err(Unread::TooLarge | Unread::Malformed(_))) => {}
            Ok(Err(unread)) => {
                linger(self.link).await;
                return Err(why(unread, &self.read, None));
            }
            Err(_) => {
                linger(self.link).await;
                return Err(RequestError::Slow(HEADER_LIMIT));
            }
        }
        let untold = Mutex::new(Vec::new());
        let is_tunnel = |request: &Request<()>| {
            let client = forwarded.client(request.headers(), peer);
            let client = client.unwrap_or(peer);
            match granted(request) {
                // Where enough come from there, the neighbour says so, as it does of any other request.
                Ok(_) => tell.admit(client).is_ok(),
                Err(unfit) => {
                    // Else that is told, and nothing goes to the site.
                    if tell.admit(client).is_ok() {
                        locked(&untold).push(RequestError::ToSite {
                            method: request.method().to_string(),
                            path: shown(request.uri().path()),
                            unfit,
                            client,
                        });
                    }
                    false
                }
            }
        };
        let (link, read) = self.into_unread();
        let serving = neighbour.serve(link, read, &is_tunnel);
        let handed = telling_later(serving, || {
            for passed in std::mem::take(&mut *locked(&untold)) {
                tell_of_passed(&tell, passed);
            }
        });
        let handed = handed.await;
        let Handed {
            request,
            link,
            read,
        } = handed.ok_or(RequestError::Visited)?;
        let (answer, found) = granted(&request).map_err(|_| RequestError::Visited)?;
        let client = forwarded.client(request.headers(), peer);
        let mut here = Self::new(peer, link, since);
        here.read = BytesMut::from(&read[..]);
        let (link, read) = here.switch(&answer).await?;
        Ok(Tunnel {
            client,
            request,
            link,
            read,
            found,
        })
    }

    /// Closes the connection without an answer where enough come from there.
    async fn admitted(self, client: Option<Source>) -> Result<Self, RequestError> {
        match self.tell.admit(client.unwrap_or(self.peer)) {
            Ok(_) => Ok(self),
            Err(full) => {
                self.link.close().await;
                Err(full)
            }
        }
    }

    /// Answers the request in hand with what makes the connection a tunnel: the connection, and what was read from it
    /// behind the request.
    ///
    /// # Errors
    ///
    /// When nobody is there to be answered.
    pub async fn switch(mut self, answer: &[u8]) -> Result<(Link, Bytes), RequestError> {
        self.write(answer).await.map_err(RequestError::Unanswered)?;
        self.read.advance(self.head);
        Ok((self.link, self.read.freeze()))
    }

    /// The connection, and all that was read from it since the last answer: for somebody else who serves the request in
    /// hand.
    pub fn into_unread(self) -> (Link, Bytes) {
        (self.link, self.read.freeze())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.link.write_all(bytes).await?;
        self.link.flush().await
    }
}

impl Unread {
    /// How a web server answers; it has nothing to say to who is gone.
    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Ended | Self::Broken(_) => None,
            Self::TooLarge => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::Malformed(_) => Some(StatusCode::BAD_REQUEST),
        }
    }
}

fn locked<T>(all: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why no request was read; `said` is why the last one was refused.
fn why(unread: Unread, read: &[u8], said: Option<RequestError>) -> RequestError {
    let told = match (unread, said) {
        (Unread::Ended, Some(said)) if read.is_empty() => return said,
        (Unread::Ended, _) if read.is_empty() => return RequestError::Closed,
        (Unread::Ended, _) => return RequestError::Unfinished,
        (Unread::Broken(e), _) => return RequestError::Broken(e),
        (Unread::TooLarge, _) => "its header is too large".to_owned(),
        (Unread::Malformed(told), _) => told,
    };
    RequestError::Malformed(malformed::describe(read, MAX_HEADER).unwrap_or(told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, duplex};

    #[tokio::test]
    async fn a_request_that_another_serves_is_whole_again() {
        let (mut theirs, ours) = duplex(1024);
        let first = b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
        let second = b"POST /site HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
        theirs.write_all(first).await.unwrap();
        theirs.write_all(second).await.unwrap();
        let visit = Visit::new(Source::Unix, Link::other(ours), Instant::now());
        let (request, visit) = visit.request().await.unwrap();
        let refused = Refused {
            status: StatusCode::NOT_FOUND,
            unfit: Unfit::Path("/ray".to_owned()),
        };
        let visit = visit.refuse(&request, refused, None).await.unwrap();
        let (request, visit) = visit.request().await.unwrap();
        assert_eq!(request.uri().path(), "/site");
        let (mut link, read) = visit.into_unread();
        let mut whole = read.to_vec();
        while whole.len() < second.len() {
            link.read_buf(&mut whole).await.unwrap();
        }
        assert_eq!(whole, second);
    }
}
