//! What comes before the WebSocket: TLS, and HTTP with an ordinary face.
//!
//! | request | answer |
//! |---|---|
//! | from an address that may not come | 403 |
//! | for another path | 404 |
//! | for the path, and no upgrade | 400 with `Sec-WebSocket-Version: 13` |
//! | from a page of another site | 403 |

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::header::{HOST, HeaderValue, ORIGIN};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

use super::guests::Guest;
use super::{Shared, connection, debug_ended};
use crate::http::granting::{self, page};
use crate::seam::Arrival;
use crate::session::Source;

/// How long a head may take to arrive.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may last that opens no WebSocket.
const HTTP_LIMIT: Duration = Duration::from_secs(50);

/// Takes a connection as far as the WebSocket.
pub(super) async fn receive(shared: Arc<Shared>, arrival: Arrival) {
    let Arrival {
        mut link,
        source,
        since,
        ..
    } = arrival;
    let may_come = may_come(&shared, source);
    // Who may not come has 403 to hear, and takes nobody's place until then.
    let guests = match may_come {
        true => &shared.guests,
        false => &shared.outsiders,
    };
    let guest = guests.enter();
    let served = async {
        if let Some(tls) = &shared.tls {
            match tls.accept(link, since).await {
                Ok((sealed, _)) => link = sealed,
                Err(e) => return debug_ended(source, &e),
            }
        }
        let service = service_fn(|mut request| {
            let answer = match may_come {
                true => answer(&shared, &request),
                false => page(StatusCode::FORBIDDEN),
            };
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                let upgraded = hyper::upgrade::on(&mut request);
                let (shared, guest) = (shared.clone(), guest.clone());
                crate::io::spawn(async move {
                    if let Ok(upgraded) = upgraded.await {
                        let io = TokioIo::new(upgraded);
                        connection::serve(shared, io, guest, source).await;
                    }
                });
            }
            async move { Ok::<_, Infallible>(answer) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .max_buf_size(16 * 1024)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(link), service)
            .with_upgrades();
        if let Ok(Err(e)) = timeout(HTTP_LIMIT, serving).await {
            debug_ended(source, &e);
        }
    };
    tokio::select! {
        () = served => {}
        () = turned_out(&guest) => {}
    }
}

/// Never of one who is known by now.
async fn turned_out(guest: &Guest) {
    guest.turned_out().await;
    if guest.is_proven() {
        std::future::pending::<()>().await;
    }
}

/// Whether fronts may come from there.
fn may_come(shared: &Shared, from: Source) -> bool {
    let allow = &shared.settings.allow;
    allow.is_empty()
        || match from {
            Source::Ip(addr) => allow.iter().any(|net| net.contains(addr.ip())),
            Source::Unix => false,
        }
}

fn answer(shared: &Shared, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let settings = &shared.settings;
    let headers = request.headers();
    let asked: Vec<u8> = percent_decode_str(request.uri().path()).collect();
    let path: Vec<u8> = percent_decode_str(&settings.path).collect();
    // It takes as long whatever differs.
    if verify_slices_are_equal(&asked, &path).is_err() {
        return page(StatusCode::NOT_FOUND);
    }
    let Some(key) = granting::key(request) else {
        return granting::not_asked_for(request);
    };
    if is_foreign(headers) {
        return page(StatusCode::FORBIDDEN);
    }
    granting::switch(key, None)
}

/// Whether a page of another site asks, as a browser says.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let host = headers
        .get(HOST)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
    let place = origin.split_once("://").map_or("", |(_, place)| place);
    !place.as_bytes().eq_ignore_ascii_case(host)
}
