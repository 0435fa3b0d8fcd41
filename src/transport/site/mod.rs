//! A web site on the port of a tunnel (`streamSettings.fallback`).
//!
//! ```text
//!                         ┌── the tunnel's request ──▶ carrier
//! TLS ▸ HTTP/1 or HTTP/2 ─┤
//!                         └── any other ──▶ a folder, or an upstream by HTTP/1.1
//! ```
//!
//! A [`Site`] answers requests; a [`Guest`] is a connection whose requests it answers, [`http1`] or [`http2`]. A request
//! for the tunnel's own place that opens no tunnel takes the same way as one for any other, so that nobody can tell the
//! two apart. tower-http serves the files ([`folder`]), hyper carries requests on ([`upstream`]).

mod beneath;
mod body;
mod folder;
mod headers;
mod http1;
pub(super) mod http2;
mod patient;
pub(super) mod preface;
mod settings;
mod upstream;

pub use settings::{Settings, Upstream as UpstreamSettings};

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, DATE, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::timeout;

use crate::cause::Behind;
use crate::http::head::items;
use crate::http::tell::Tell;
use crate::http::{Forwarded, responses};
use crate::policy::Limits;
use crate::seam::Arrival;
use crate::session::Source;

pub(super) use body::Body;
pub(super) use patient::Patient;

/// How long a visitor and an upstream may let each other wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For an answer, or for the next bytes of a body.
    pub silence: Duration,
    /// Once they speak another protocol.
    pub carried: Limits,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(60),
            carried: Limits::default(),
        }
    }
}

/// The most of a body that is read for nothing, and for how long.
const MAX_UNWANTED: usize = 64 * 1024;
const HEAR_LIMIT: Duration = Duration::from_millis(200);

/// A running site.
#[derive(Debug)]
pub struct Site {
    place: Place,
    /// Who may say for whom it comes.
    forwarded: Forwarded,
    patience: Patience,
}

#[derive(Debug)]
enum Place {
    Folder(folder::Folder),
    Upstream(upstream::Upstream),
    Hosts(Vec<(Vec<String>, upstream::Upstream)>),
}

/// A connection of somebody who visits the site.
pub struct Guest {
    site: Arc<Site>,
    peer: Source,
    local: Source,
    over_tls: bool,
    /// Whether there is room for whom a proxy names.
    tell: Tell,
    /// The body of the last request that an upstream has not answered to the end.
    asking: Arc<Mutex<Option<body::Pulse>>>,
}

impl Site {
    /// A site of these settings.
    pub fn new(settings: Settings, forwarded: Forwarded) -> Self {
        Self {
            place: match settings {
                Settings::Folder(folder) => Place::Folder(folder::Folder::new(folder)),
                Settings::Upstream(upstream) => {
                    Place::Upstream(upstream::Upstream::new(upstream, Behind::Fallback))
                }
                Settings::Hosts(all) => {
                    let one = |(hosts, settings)| {
                        (hosts, upstream::Upstream::new(settings, Behind::Service))
                    };
                    Place::Hosts(all.into_iter().map(one).collect())
                }
            },
            forwarded,
            patience: Patience::default(),
        }
    }

    /// The same with another patience.
    pub fn patient(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The visitor whom a connection brings.
    pub fn guest(self: &Arc<Self>, arrival: &Arrival, tell: &Tell) -> Arc<Guest> {
        Arc::new(Guest {
            site: self.clone(),
            peer: arrival.source,
            local: arrival.local,
            over_tls: arrival.tls.is_some(),
            tell: tell.clone(),
            asking: Arc::default(),
        })
    }
}

impl Guest {
    /// How long a visitor may let an answer wait.
    pub(super) fn silence(&self) -> Duration {
        self.site.patience.silence
    }

    /// The answer to a request, whatever it asks for. As long as it lasts it has a place among those of its source.
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let visitor = self.named(request.headers()).unwrap_or(self.peer);
        match self.tell.admit(visitor) {
            Ok(None) => self.answer_admitted(request).await,
            Ok(Some(place)) => {
                let response = self.answer_admitted(request).await;
                response.map(|body| body::keeping(body, place))
            }
            Err(full) => {
                self.tell.tell(full);
                let (parts, body) = request.into_parts();
                hear_out(&parts, body).await;
                page(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }

    async fn answer_admitted(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let mut response = match (refusal(&parts), &self.site.place) {
            (Some(status), _) => {
                hear_out(&parts, body).await;
                page(status)
            }
            (None, Place::Folder(folder)) => {
                hear_out(&parts, body).await;
                folder.answer(&parts).await
            }
            (None, Place::Upstream(upstream)) => {
                let request = Request::from_parts(parts, body);
                upstream.answer(request, self).await
            }
            (None, Place::Hosts(all)) => match of_host(all, &parts) {
                Some(upstream) => {
                    let request = Request::from_parts(parts, body);
                    upstream.answer(request, self).await
                }
                None => {
                    hear_out(&parts, body).await;
                    page(StatusCode::NOT_FOUND)
                }
            },
        };
        let headers = response.headers_mut();
        if !headers.contains_key(DATE) {
            headers.insert(DATE, now());
        }
        response
    }

    /// Whether an upstream has heard all of a request, and has not answered to the end.
    fn awaits_upstream(&self) -> bool {
        let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.as_ref().is_some_and(body::Pulse::is_over)
    }

    /// Whether the peer is a proxy whose word about the visitor counts, and whom it names.
    fn named(&self, headers: &HeaderMap) -> Option<Source> {
        self.site.forwarded.client(headers, self.peer)
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Who answers for the host that a request asks for.
fn of_host<'a>(
    all: &'a [(Vec<String>, upstream::Upstream)],
    parts: &Parts,
) -> Option<&'a upstream::Upstream> {
    let asked = headers::asked_host(parts);
    let asked = asked.as_ref().and_then(|host| host.to_str().ok());
    let asked = asked.unwrap_or_default().to_ascii_lowercase();
    let name = match asked.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => &asked,
    };
    let named = all
        .iter()
        .find(|(hosts, _)| hosts.iter().any(|host| host == name));
    let found = named.or_else(|| all.iter().find(|(hosts, _)| hosts.is_empty()));
    found.map(|(_, upstream)| upstream)
}

/// How any web server answers a request that no site could.
fn refusal(request: &Parts) -> Option<StatusCode> {
    let hosts = request.headers.get_all(HOST).iter().count();
    let is_known = hosts == 1 || request.uri.authority().is_some();
    if hosts > 1 || (!is_known && request.version == Version::HTTP_11) {
        return Some(StatusCode::BAD_REQUEST);
    }
    if [Method::CONNECT, Method::TRACE].contains(&request.method) {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    if !headers::is_target(request) || !headers::are_hosts(request) {
        return Some(StatusCode::BAD_REQUEST);
    }
    // It would be taken off, and what is inside stay as it is.
    let is_coded = items(&request.headers, &TRANSFER_ENCODING)
        .any(|coding| !coding.eq_ignore_ascii_case(b"chunked"));
    let codings = items(&request.headers, &TRANSFER_ENCODING).count();
    (is_coded || codings > 1).then_some(StatusCode::NOT_IMPLEMENTED)
}

/// Reads a body that nobody wants, as far as it is short and comes at once, so that another request may follow. Who asks first
/// whether it is wanted is not told to send it.
async fn hear_out(parts: &Parts, mut body: Body) {
    if parts.headers.contains_key(EXPECT) {
        return;
    }
    let hearing = async {
        let mut len = 0;
        while let Some(Ok(frame)) = body.frame().await
            && len <= MAX_UNWANTED
        {
            len += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    let _ = timeout(HEAR_LIMIT, hearing).await;
}

/// The page of a status, as the port without a site has it.
fn page(status: StatusCode) -> Response<Body> {
    let page = responses::page(status);
    let mut response = Response::new(());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(DATE, now());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(CONTENT_LENGTH, page.len().into());
    response.map(|()| full(page))
}

fn full(text: String) -> Body {
    let body = Full::new(Bytes::from(text));
    body.map_err(|never| match never {}).boxed_unsync()
}

fn empty() -> Body {
    let body = Empty::new();
    body.map_err(|never| match never {}).boxed_unsync()
}

fn now() -> HeaderValue {
    let date = httpdate::fmt_http_date(SystemTime::now());
    HeaderValue::try_from(date).expect("a date is plain text")
}
