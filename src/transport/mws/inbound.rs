//! The server's side.

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ServerSettings;
use crate::cause::RequestError;
use crate::http::visit::Door;
use crate::io::{Closing, Link};
use crate::seam::Arrival;
use crate::session::Source;
use crate::smux;
use crate::transport::arrivals::Fault;
use crate::transport::{Arrivals, ws};

/// The server side.
#[derive(Debug)]
pub struct Inbound {
    ws: ws::Inbound,
    mux: smux::Settings,
}

impl Inbound {
    /// A server of these settings.
    pub fn new(settings: ServerSettings) -> Self {
        Self {
            ws: ws::Inbound::new(settings.ws),
            mux: settings.mux,
        }
    }

    /// Answers the requests of a connection up to the WebSocket, whose streams come from what is given back.
    ///
    /// # Errors
    ///
    /// When there is none; every request has been answered then.
    pub async fn accept(
        &self,
        arrival: Arrival,
        closing: &Closing,
        door: Door,
    ) -> Result<Arrivals, RequestError> {
        let arrival = self.ws.accept(arrival, closing, door).await?;
        Ok(arrivals(arrival, self.mux.clone(), 0))
    }

    /// Whether a request from `source` may name somebody else as its source, and be believed.
    pub fn may_speak_for_others(&self, source: Source) -> bool {
        self.ws.may_speak_for_others(source)
    }

    /// Whether many people may come from `source`, so that it must not be counted as one of them.
    pub fn is_shared(&self, source: Source) -> bool {
        self.ws.is_shared(source)
    }
}

/// The streams of a WebSocket, for the inbound of this route.
pub(in crate::transport) fn arrivals(
    arrival: Arrival,
    mux: smux::Settings,
    route: usize,
) -> Arrivals {
    // One read may open thousands, and a place that nobody takes costs nothing.
    let (streams, arrivals) = mpsc::channel(smux::MAX_STREAMS);
    let (source, local, tls) = (arrival.source, arrival.local, arrival.tls);
    let original_dst = arrival.original_dst;
    let door = move |link: Link| {
        let arrival = Arrival {
            link,
            source,
            local,
            original_dst,
            tls: tls.clone(),
            since: Instant::now(),
        };
        streams.try_send((route, arrival)).is_ok()
    };
    let (carrying, know) = smux::server_of_strangers(arrival.link, mux, door);
    let carrying = Box::pin(carrying);
    let told = async move {
        let broken = carrying.await?;
        Some(Fault {
            route,
            source,
            error: RequestError::Frames(broken.to_string()),
        })
    };
    Arrivals::told(told, arrivals).of_strangers(know)
}
