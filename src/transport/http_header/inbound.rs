//! The server's side.

use std::sync::Arc;
use std::time::SystemTime;

use http::{Request, StatusCode};

use super::Settings;
use super::outbound::pick;
use super::stream::Headed;
use crate::cause::{RequestError, Unfit};
use crate::http::tell::Tell;
use crate::http::visit::{Refused, Visit};
use crate::http::{Forwarded, Trusted};
use crate::io::{Link, Prefixed, Step};
use crate::seam::Arrival;

/// The server side.
#[derive(Debug)]
pub struct Inbound {
    settings: Arc<Settings>,
    /// Nobody's word counts: what is in the headers is made up.
    forwarded: Forwarded,
}

impl Inbound {
    /// A server of these settings.
    pub fn new(settings: Settings) -> Self {
        let forwarded = Forwarded {
            trusted: Trusted::Listed(Vec::new()),
            ..Forwarded::default()
        };
        Self {
            settings: Arc::new(settings),
            forwarded,
        }
    }

    /// Answers the HTTP requests of one connection up to one for a path of ours, whose answer goes out with the tunnel's
    /// first bytes.
    ///
    /// # Errors
    ///
    /// When there is none; every request has been answered then. Of those before the last, `tell` is told.
    pub async fn accept(&self, arrival: Arrival, tell: &Tell) -> Result<Arrival, RequestError> {
        let (peer, since) = (arrival.source, arrival.since);
        let mut step = Step::begin("request");
        let visit = Visit::new(peer, arrival.link, since).telling(tell.clone());
        let granted = |request: &Request<()>| self.answer(request).map(|()| (Vec::new(), ()));
        let tunnel = visit.tunnel(&self.forwarded, granted).await?;
        step.done(format_args!("for {}", tunnel.request.uri().path()));
        let link = Prefixed::link(tunnel.read, tunnel.link);
        let date = httpdate::fmt_http_date(SystemTime::now());
        let head = self.settings.response.head(&date, &mut pick);
        Ok(Arrival {
            link: Link::other(Headed::server(link, head)),
            ..arrival
        })
    }

    fn answer(&self, request: &Request<()>) -> Result<(), Refused> {
        let (own, uri) = (&self.settings.request, request.uri());
        match own.is_for(uri.path(), uri.query()) {
            true => Ok(()),
            false => Err(Refused {
                status: StatusCode::NOT_FOUND,
                unfit: Unfit::Path(own.paths.join(", ")),
            }),
        }
    }
}
