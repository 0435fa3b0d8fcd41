//! A visitor by HTTP/1. hyper reads the requests; one that opens a tunnel, or is switched to another protocol by the
//! upstream, takes the connection out of its hands.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::sleep;
use tracing::debug;

use super::body::Timed;
use super::upstream::Carried;
use super::{Body, Guest, Patient, empty};
use crate::http::client::reason;
use crate::http::visit::{Handed, Neighbour};
use crate::io::{Link, Prefixed, linger};
use crate::policy::Limits;
use crate::relay::{Allowance, Relay};

/// For the head of a request, and for the silence before it: as nginx keeps connections.
const HEAD_LIMIT: Duration = Duration::from_secs(75);

/// How often it is looked whether who waits for an upstream's answer, or more of it, is still there.
const LOOK: Duration = Duration::from_secs(1);

/// The most that the head of a request may have.
const MAX_HEAD: usize = 64 * 1024;

/// What takes the connection from the site.
enum Next {
    Tunnel(Box<Request<()>>),
    /// It is joined with one to the upstream; the answer's body goes on as long.
    Carry(Option<Link>, Body),
}

type Taken = Arc<Mutex<Option<Next>>>;
type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send + 'a>>;

impl Neighbour for Guest {
    fn serve<'a>(
        &'a self,
        link: Link,
        read: Bytes,
        is_tunnel: &'a (dyn Fn(&Request<()>) -> bool + Send + Sync),
    ) -> Pin<Box<dyn Future<Output = Option<Handed>> + Send + 'a>> {
        Box::pin(self.serve_http1(link, read, is_tunnel))
    }
}

impl Guest {
    async fn serve_http1(
        &self,
        link: Link,
        read: Bytes,
        is_tunnel: &(dyn Fn(&Request<()>) -> bool + Send + Sync),
    ) -> Option<Handed> {
        let taken = Taken::default();
        let service = service_fn(|request| self.respond(request, is_tunnel, &taken));
        // An answer may have no other end than the connection's.
        link.begun();
        let io = Patient::new(Prefixed::link(read, link), self.silence());
        let watch = io.watch();
        let mut connection = Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .max_buf_size(MAX_HEAD)
            .preserve_header_case(true)
            .title_case_headers(true)
            .half_close(true)
            .serve_connection(TokioIo::new(io), service);
        let mut look = None;
        let end = poll_fn(|cx| {
            loop {
                match connection.poll_without_shutdown(cx) {
                    // All answers before it are on their way.
                    Poll::Pending if is_handed(&taken) && watch.is_flushed() => {
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Pending => {}
                    end => return end,
                }
                if !self.awaits_upstream() {
                    look = None;
                    return Poll::Pending;
                }
                // The library reads nothing meanwhile, and would hear of nobody's going.
                let pause = look.get_or_insert_with(|| Box::pin(sleep(LOOK)));
                ready!(pause.as_mut().poll(cx));
                look = None;
                watch.look();
            }
        });
        let end = end.await;
        let parts = connection.into_parts();
        let (link, read) = (parts.io.into_inner().into_inner(), parts.read_buf);
        let next = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (end, next) {
            (Ok(()), Some(Next::Tunnel(request))) => {
                return Some(Handed {
                    request: *request,
                    link,
                    read,
                });
            }
            (Ok(()), Some(Next::Carry(Some(upstream), _lasting))) => {
                let limits = self.site.patience.carried;
                carry(link, read, upstream, limits).await;
            }
            (Ok(()), _) => {
                link.finished();
                linger(link).await;
            }
            (Err(e), _) => {
                debug!("the visitor's connection ended: {}", reason(&e));
                match e.is_user() || e.is_body_write_aborted() || is_gone(&e) {
                    // The answer broke off, and nobody shall take it for the whole.
                    true => link.abort().await,
                    false => {
                        link.finished();
                        linger(link).await;
                    }
                }
            }
        }
        None
    }

    fn respond<'a>(
        &'a self,
        request: Request<Incoming>,
        is_tunnel: &'a (dyn Fn(&Request<()>) -> bool + Send + Sync),
        taken: &'a Taken,
    ) -> Answering<'a> {
        let set = |next| *taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
        let (parts, body) = request.into_parts();
        let head = Request::from_parts(parts, ());
        if is_tunnel(&head) {
            set(Next::Tunnel(Box::new(head)));
            return Box::pin(pending());
        }
        let request = head.map(|()| Timed::new(body, self.silence()).boxed_unsync());
        Box::pin(async move {
            let mut response = self.answer(request).await;
            if let Some(carried) = response.extensions_mut().remove::<Carried>() {
                let body = std::mem::replace(response.body_mut(), empty());
                set(Next::Carry(carried.take(), body));
            }
            Ok(response)
        })
    }
}

/// Whether the visitor was found to have gone.
fn is_gone(error: &hyper::Error) -> bool {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::NotConnected)
}

fn is_handed(taken: &Taken) -> bool {
    let next = taken.lock().unwrap_or_else(PoisonError::into_inner);
    matches!(*next, Some(Next::Tunnel(_)))
}

/// Joins a visitor with the upstream.
async fn carry(visitor: Link, read: Bytes, upstream: Link, limits: Limits) {
    let allowance = Allowance {
        limits,
        ..Allowance::default()
    };
    let mut relay = Relay::new(visitor, upstream, read.to_vec(), allowance);
    let over = (&mut relay).await;
    debug!(
        up = over.up,
        down = over.down,
        "a visitor's own tunnel ended"
    );
    if let Some(failure) = over.error {
        relay.finish(failure).await;
    }
}
