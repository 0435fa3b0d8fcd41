//! Tunnels that begin with an upgrade.

use std::cmp::Reverse;

use http::{Request, StatusCode};
use tokio::time::Instant;

use super::Open;
use crate::cause::{RequestError, Unfit};
use crate::http::Forwarded;
use crate::http::visit::{Door, Refused, Visit};
use crate::io::{Closing, Link, Step};
use crate::seam::Arrival;
use crate::smux;
use crate::transport::{Accepted, httpupgrade, mws, ws};

/// The inbound of a request, and how it is answered.
pub(super) struct Ways(Vec<Route>);

pub(super) struct Route {
    route: usize,
    open: Open,
    way: Way,
    path_len: usize,
    has_host: bool,
    forwarded: Forwarded,
    /// There where the WebSocket brings many.
    mux: Option<smux::Settings>,
}

enum Way {
    Ws(Box<ws::Inbound>),
    HttpUpgrade(Box<httpupgrade::Inbound>),
}

/// What a granted request makes of its connection.
enum Found {
    Ws(ws::Found),
    HttpUpgrade(Vec<u8>),
}

impl Route {
    pub(super) fn ws(route: usize, open: Open, settings: ws::ServerSettings) -> Self {
        Self {
            route,
            open,
            path_len: settings.path.len(),
            has_host: settings.host.is_some(),
            forwarded: settings.forwarded.clone(),
            mux: None,
            way: Way::Ws(Box::new(ws::Inbound::new(settings))),
        }
    }

    pub(super) fn mws(route: usize, open: Open, settings: mws::ServerSettings) -> Self {
        Self {
            mux: Some(settings.mux),
            ..Self::ws(route, open, settings.ws)
        }
    }

    pub(super) fn http_upgrade(
        route: usize,
        open: Open,
        settings: httpupgrade::ServerSettings,
    ) -> Self {
        Self {
            route,
            open,
            path_len: settings.path.len(),
            has_host: settings.host.is_some(),
            forwarded: settings.forwarded.clone(),
            mux: None,
            way: Way::HttpUpgrade(Box::new(httpupgrade::Inbound::new(settings))),
        }
    }

    fn answer(&self, request: &Request<()>) -> Result<(Vec<u8>, Found), Refused> {
        match &self.way {
            Way::Ws(ws) => {
                let (answer, found) = ws.answer(request)?;
                Ok((answer, Found::Ws(found)))
            }
            Way::HttpUpgrade(upgrade) => {
                let (answer, found) = upgrade.answer(request)?;
                Ok((answer, Found::HttpUpgrade(found)))
            }
        }
    }
}

impl Ways {
    /// Whoever is there for less is asked first: longer paths, those with a host, and a whole WebSocket before an upgrade
    /// that is none.
    pub(super) fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| {
            let is_upgrade = matches!(route.way, Way::HttpUpgrade(_));
            (Reverse(route.path_len), !route.has_host, is_upgrade)
        });
        Self(routes)
    }

    /// Answers the requests of a connection until one of them is somebody's.
    ///
    /// # Errors
    ///
    /// When none is; every request has been answered then.
    pub(super) async fn accept(
        &self,
        arrival: Arrival,
        closing: &Closing,
        door: Door,
    ) -> Result<Accepted, RequestError> {
        let mut step = Step::begin("upgrade");
        let (peer, since) = (arrival.source, arrival.since);
        let first = &self.0[0].forwarded;
        let visit = Visit::new(peer, arrival.link, since).at(door);
        let tunnel = visit.tunnel(first, |request| self.answer(request)).await?;
        let (index, found) = tunnel.found;
        let route = &self.0[index];
        let source = route.forwarded.client(tunnel.request.headers(), peer);
        step.done(format_args!("101 at {}", tunnel.request.uri().path()));
        let (read, link) = (tunnel.read, tunnel.link);
        let link: Link = match (&route.way, found) {
            (Way::Ws(ws), Found::Ws(found)) => ws.link(found, read, link, closing),
            (Way::HttpUpgrade(upgrade), Found::HttpUpgrade(early)) => {
                upgrade.link(early.into(), read, link)
            }
            _ => unreachable!("a route finds its own"),
        };
        let arrival = Arrival {
            link,
            source: source.unwrap_or(peer),
            since: Instant::now(),
            ..arrival
        };
        Ok(match &route.mux {
            None => Accepted::One(route.route, arrival),
            Some(mux) => Accepted::Many(mws::arrivals(arrival, mux.clone(), route.route)),
        })
    }

    /// The first who grants it; else the word of who has its path and host, else that there is no such place.
    fn answer(&self, request: &Request<()>) -> Result<(Vec<u8>, (usize, Found)), Refused> {
        let mut refused = None;
        for (index, route) in self.0.iter().enumerate().filter(|(_, r)| r.open.is_so()) {
            match route.answer(request) {
                Ok((answer, found)) => return Ok((answer, (index, found))),
                Err(next) if is_near(&next) || refused.is_none() => refused = Some(next),
                Err(_) => {}
            }
        }
        Err(refused.unwrap_or(Refused {
            status: StatusCode::NOT_FOUND,
            unfit: Unfit::Plain,
        }))
    }
}

/// Whether somebody asked for the very place.
fn is_near(refused: &Refused) -> bool {
    !matches!(
        refused.unfit,
        Unfit::Path(_) | Unfit::OtherHost(_) | Unfit::EarlyData(_)
    )
}
