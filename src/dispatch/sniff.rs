//! Reads what sniffing looks at, and no more: it reaches the target first, in its order.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep, timeout};

use super::datagrams::MAX_WAITING;
use super::{Dispatcher, Session, Shared, first};
use crate::address::{Destination, Network};
use crate::io::{Link, Packet};
use crate::sniffing::codec::{self, Quic, Sniffed};
use crate::sniffing::{Aim, Sniffing};

/// How long V2Ray, and so we, wait for something to look at: the target may be the one to speak first.
const WAIT: Duration = Duration::from_millis(200);

/// The beginning of a stream that is looked into. V2Ray's 2 KiB are fewer than a browser's ClientHello
/// has today; this is as much as one chunk of VMess carries.
const MAX_BEGINNING: usize = 16 * 1024;

/// Finds out what `link` carries, if its inbound wants to know; then what was read is given back, be it
/// nothing, and nobody needs to wait for a first payload again.
pub(super) async fn stream(
    session: &mut Session,
    asked: Destination,
    link: &mut Link,
) -> (Aim, Option<Vec<u8>>) {
    let Some(sniffing) = session.inbound.sniffing.clone() else {
        return (asked.into(), None);
    };
    let mut beginning = Vec::new();
    let looking = async {
        loop {
            let room = MAX_BEGINNING - beginning.len();
            let n = first::read(link, room, &mut beginning).await;
            match codec::stream(&beginning) {
                Sniffed::NeedMore if n > 0 && beginning.len() < MAX_BEGINNING => {}
                answer => return answer,
            }
        }
    };
    let answer = timeout(WAIT, looking).await.unwrap_or(Sniffed::No);
    let aim = aim(&sniffing, answer, session, asked);
    (aim, Some(beginning))
}

fn aim(sniffing: &Sniffing, answer: Sniffed, session: &mut Session, asked: Destination) -> Aim {
    let Sniffed::Found(found) = answer else {
        return asked.into();
    };
    session.protocol = Some(found.protocol);
    sniffing.aim(&found, asked)
}

/// Datagrams to one destination, until it is known where they go.
pub(super) struct Asking {
    asked: Destination,
    stage: Stage,
    pub(super) waiting: Vec<Packet>,
}

enum Stage {
    /// More datagrams could tell what they are, up to a moment.
    Looking(Box<Quic>, Pin<Box<Sleep>>),
    Routing(Pin<Box<dyn Future<Output = Option<Route>> + Send>>),
}

/// How datagrams to one destination travel.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) by: Shared,
    pub(super) aim: Aim,
}

impl Asking {
    pub(super) fn new(dispatcher: &Arc<Dispatcher>, session: &Session, asked: Destination) -> Self {
        let stage = match session.inbound.sniffing {
            Some(_) => Stage::Looking(Box::default(), Box::pin(sleep(WAIT))),
            None => Stage::routing(dispatcher, session.clone(), asked.clone().into()),
        };
        Self {
            asked,
            stage,
            waiting: Vec::new(),
        }
    }

    /// One more; UDP may lose what comes beyond the bound.
    pub(super) fn push(&mut self, dispatcher: &Arc<Dispatcher>, session: &Session, packet: Packet) {
        if self.waiting.len() >= MAX_WAITING {
            return;
        }
        if let Stage::Looking(quic, _) = &mut self.stage {
            match codec::datagram(quic, &packet.data) {
                Sniffed::NeedMore => {}
                answer => self.route(dispatcher, session, answer),
            }
        }
        self.waiting.push(packet);
    }

    /// Ready when the route is known; `None` when nothing carries them.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        dispatcher: &Arc<Dispatcher>,
        session: &Session,
    ) -> Poll<Option<Route>> {
        if let Stage::Looking(_, until) = &mut self.stage {
            match until.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.route(dispatcher, session, Sniffed::No),
            }
        }
        match &mut self.stage {
            Stage::Routing(route) => route.as_mut().poll(cx),
            Stage::Looking(..) => Poll::Pending,
        }
    }

    fn route(&mut self, dispatcher: &Arc<Dispatcher>, session: &Session, answer: Sniffed) {
        let mut session = session.clone();
        let asked = self.asked.clone();
        let aim = match session.inbound.sniffing.clone() {
            Some(sniffing) => aim(&sniffing, answer, &mut session, asked),
            None => asked.into(),
        };
        self.stage = Stage::routing(dispatcher, session, aim);
    }
}

impl Stage {
    fn routing(dispatcher: &Arc<Dispatcher>, session: Session, aim: Aim) -> Self {
        let dispatcher = dispatcher.clone();
        Self::Routing(Box::pin(async move {
            let by = dispatcher
                .route(&session, Network::Udp, aim.ruled())
                .await?;
            dispatcher.note(&session, &by, Network::Udp, &aim);
            Some(Route { by, aim })
        }))
    }
}
