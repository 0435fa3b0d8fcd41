//! Several inbounds on one place: whose a request is, its path, its host and its transport say.
//!
//! ```text
//!                   ┌── HTTP/1 ──▶ `ws`, `httpupgrade` ──┐
//! PROXY ▸ TLS ──────┤                                    ├──▶ a link, and which inbound it is for
//!                   └── HTTP/2 ──▶ `grpc`, `http` ───────┘
//!                   (what is nobody's goes to the site, if there is one)
//! ```
//!
//! What stands in front of the requests is one for all: the listener, TLS with the certificates of all, the site.

mod asked;
mod http1;
mod http2;
mod merge;

pub use asked::Asked;
pub(super) use merge::merge;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;

use super::inbound::{visit_by_http1, visit_by_http2};
use super::{Accepted, ServerCarrier, site};
use crate::cause::{AcceptError, RequestError};
use crate::http::Forwarded;
use crate::http::tell::Tell;
use crate::http::visit::{Door, Neighbour};
use crate::io::{Closing, Prefixed};
use crate::seam::Arrival;
use crate::session::Source;

/// The carriers of several inbounds.
pub(super) struct Front {
    open: Vec<Open>,
    forwarded: Vec<Forwarded>,
    http1: Option<http1::Ways>,
    http2: Option<super::http2::Inbound<http2::Ways>>,
}

/// Whether an inbound is still there.
#[derive(Clone, Debug)]
struct Open(Arc<AtomicBool>);

impl Open {
    fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Front {
    /// One for each of these carriers, which are its routes in this order.
    pub(super) fn new(carriers: Vec<ServerCarrier>) -> Self {
        let new = || Open(Arc::new(AtomicBool::new(true)));
        let open: Vec<Open> = carriers.iter().map(|_| new()).collect();
        let forwarded = carriers.iter().filter_map(|one| one.forwarded().cloned());
        let forwarded = forwarded.collect();
        let (mut http1, mut http2) = (Vec::new(), Vec::new());
        for (route, carrier) in carriers.into_iter().enumerate() {
            let open = open[route].clone();
            match carrier {
                ServerCarrier::Ws(ws) => http1.push(http1::Route::ws(route, open, ws)),
                ServerCarrier::Mws(mws) => http1.push(http1::Route::mws(route, open, mws)),
                ServerCarrier::HttpUpgrade(upgrade) => {
                    http1.push(http1::Route::http_upgrade(route, open, upgrade));
                }
                ServerCarrier::Grpc(grpc) => http2.push(http2::Route::grpc(route, open, grpc)),
                ServerCarrier::H2(h2) => http2.push(http2::Route::h2(route, open, h2)),
                // They begin with no request; no config has them beside others.
                ServerCarrier::Raw | ServerCarrier::HttpHeader(_) => {}
            }
        }
        Self {
            open,
            forwarded,
            http1: (!http1.is_empty()).then(|| http1::Ways::new(http1)),
            http2: (!http2.is_empty()).then(|| super::http2::Inbound::new(http2::Ways::new(http2))),
        }
    }

    /// Requests are no longer for this one.
    pub(super) fn close(&self, route: usize) {
        if let Some(open) = self.open.get(route) {
            open.0.store(false, Ordering::Relaxed);
        }
    }

    pub(super) fn is_open(&self, route: usize) -> bool {
        self.open.get(route).is_some_and(Open::is_so)
    }

    /// Whether a request from `source` may name somebody else as its source, and be believed, by one of them at least.
    pub(super) fn may_speak_for_others(&self, source: Source) -> bool {
        self.forwarded.iter().any(|one| one.may_believe(source))
    }

    /// The links of a connection, each with its route.
    ///
    /// # Errors
    ///
    /// When it brings none; it has been answered.
    pub(super) async fn accept(
        &self,
        site: Option<&Arc<site::Site>>,
        mut arrival: Arrival,
        closing: &Closing,
        tell: &Tell,
    ) -> Result<Accepted, AcceptError> {
        let guest = site.map(|site| site.guest(&arrival, tell));
        let may_be_either = guest.is_some() || (self.http1.is_some() && self.http2.is_some());
        let (mut read, mut is_http2) = (BytesMut::new(), self.http2.is_some());
        if may_be_either {
            let front = site::preface::look(arrival.link, arrival.since).await?;
            (arrival.link, read, is_http2) = (front.link, front.read, front.is_http2);
        }
        match (is_http2, &self.http2, &self.http1, guest) {
            (true, Some(ways), _, guest) | (false, Some(ways), None, guest @ None) => {
                arrival.link = Prefixed::link(read.freeze(), arrival.link);
                Ok(Accepted::Many(ways.accept(arrival, tell, guest).await?))
            }
            (true, None, _, Some(guest)) => {
                let arrivals = visit_by_http2(arrival, read, tell, guest).await?;
                Ok(Accepted::Many(arrivals))
            }
            (_, _, Some(ways), guest) => {
                let door = Door {
                    tell: tell.clone(),
                    neighbour: guest.map(|guest| guest as Arc<dyn Neighbour>),
                    read,
                };
                Ok(ways.accept(arrival, closing, door).await?)
            }
            (false, _, None, Some(guest)) => Err(visit_by_http1(arrival, read, &guest).await),
            // A front without routes.
            (_, None, None, None) => Err(RequestError::Closed.into()),
        }
    }
}
