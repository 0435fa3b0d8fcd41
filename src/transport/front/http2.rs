//! Tunnels that are streams of HTTP/2.

use std::cmp::Reverse;

use ::h2::RecvStream;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::Open;
use crate::cause::{StreamError, Unfit};
use crate::http::Forwarded;
use crate::transport::grpc::{self, Messages};
use crate::transport::h2;
use crate::transport::http2::server::{Answer, Service};
use crate::transport::http2::stream::{Framing, Step};
use crate::transport::http2::{Pings, Plain};

/// The inbound of a request, and how it is answered.
pub(in crate::transport) struct Ways {
    routes: Vec<Route>,
    nobody: Forwarded,
}

pub(super) struct Route {
    route: usize,
    open: Open,
    way: Way,
}

enum Way {
    Grpc(grpc::ServerSettings),
    H2(h2::ServerSettings),
}

/// That of either carrier.
pub(in crate::transport) enum Either {
    Messages(Messages),
    Plain(Plain),
}

impl Route {
    pub(super) fn grpc(route: usize, open: Open, settings: grpc::ServerSettings) -> Self {
        let way = Way::Grpc(settings);
        Self { route, open, way }
    }

    pub(super) fn h2(route: usize, open: Open, settings: h2::ServerSettings) -> Self {
        let way = Way::H2(settings);
        Self { route, open, way }
    }

    fn answer(&self, request: &Request<RecvStream>) -> Answer<Either> {
        match &self.way {
            Way::Grpc(grpc) => grpc.answer(request).map(Either::Messages),
            Way::H2(h2) => h2.answer(request).map(Either::Plain),
        }
    }

    fn forwarded(&self) -> &Forwarded {
        match &self.way {
            Way::Grpc(grpc) => &grpc.forwarded,
            Way::H2(h2) => &h2.forwarded,
        }
    }
}

impl Ways {
    /// A call of gRPC has one path; of the others, whose paths are beginnings, the longer are asked first, and those with
    /// hosts.
    pub(super) fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| match &route.way {
            Way::Grpc(_) => (false, Reverse(0), false),
            Way::H2(h2) => (true, Reverse(h2.path.len()), h2.hosts.is_empty()),
        });
        let nobody = Forwarded::default();
        Self { routes, nobody }
    }

    fn of(&self, route: usize) -> Option<&Route> {
        self.routes.iter().find(|one| one.route == route)
    }
}

impl Service for Ways {
    type Framing = Either;

    fn answer(&self, request: &Request<RecvStream>) -> Answer<Either> {
        let mut refused = None;
        for one in self.routes.iter().filter(|one| one.open.is_so()) {
            match one.answer(request) {
                Answer::Granted { head, framing, .. } => {
                    let route = one.route;
                    return Answer::Granted {
                        head,
                        framing,
                        route,
                    };
                }
                other => refused = refused.or(Some(other)),
            }
        }
        refused.unwrap_or_else(|| {
            let mut head = Response::new(());
            *head.status_mut() = StatusCode::NOT_FOUND;
            let unfit = Unfit::Plain;
            Answer::Refused { head, unfit }
        })
    }

    fn forwarded(&self, route: Option<usize>) -> &Forwarded {
        let one = match route {
            Some(route) => self.of(route),
            None => self.routes.first(),
        };
        one.map_or(&self.nobody, Route::forwarded)
    }

    fn pings(&self) -> Option<Pings> {
        self.routes.iter().find_map(|route| match &route.way {
            Way::Grpc(grpc) => grpc.pings,
            Way::H2(_) => None,
        })
    }

    fn is_tunnels(&self, method: &Method, route: usize) -> bool {
        match self.of(route).map(|route| &route.way) {
            Some(Way::H2(h2)) => *method == h2.method,
            _ => true,
        }
    }
}

impl Framing for Either {
    fn encode(&self, payload: &[u8]) -> Bytes {
        match self {
            Self::Messages(messages) => messages.encode(payload),
            Self::Plain(plain) => plain.encode(payload),
        }
    }

    fn decode(&mut self, sealed: &[u8], room: usize) -> Result<Step, StreamError> {
        match self {
            Self::Messages(messages) => messages.decode(sealed, room),
            Self::Plain(plain) => plain.decode(sealed, room),
        }
    }

    fn trailers(&self) -> Option<HeaderMap> {
        match self {
            Self::Messages(messages) => messages.trailers(),
            Self::Plain(plain) => plain.trailers(),
        }
    }
}
