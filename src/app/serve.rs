//! From an accepted connection to a session, and what becomes of those that are none.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info};

use super::listen::Place;
use super::pace::Pace;
use crate::config::Inbound;
use crate::dispatch::{Dispatcher, Origin};
use crate::io::{Arrival, BindUdp, Counted, Link, Refusal, Udp, own, scratch};
use crate::log;
use crate::protocol::Terms;
use crate::session::Source;
use crate::transport::tcp;

/// Pause after an error of `accept` that may pass, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves one listening socket until it is dropped.
pub(super) async fn serve(inbound: Arc<Inbound>, place: Place, dispatcher: Arc<Dispatcher>) {
    let shown = place
        .address()
        .map(|a| a.to_string())
        .unwrap_or_else(|| "a unix socket".to_owned());
    info!("{} listens on {shown}", inbound.path);
    let terms = dispatcher.terms(inbound.tag.as_deref());
    match place {
        Place::Streams(listener) => streams(&inbound, &listener, &dispatcher, terms).await,
        Place::Datagrams(socket) => {
            let sockopt = inbound.transport.sockopt.clone();
            let bind: BindUdp =
                Arc::new(move |from| tcp::udp_answer(from, &sockopt).map(Udp::from));
            let Some(mut sources) = inbound.protocol.datagrams(socket, bind) else {
                return;
            };
            while let Some(datagrams) = sources.recv().await {
                let user = inbound.protocol.datagram_user();
                let session = dispatcher.session(datagrams.source, inbound.origin(), user);
                let packets = Counted::packets(datagrams.packets, terms.meter.clone());
                dispatcher.packets(session, packets);
            }
        }
    }
}

async fn streams(
    inbound: &Arc<Inbound>,
    listener: &tcp::Listener,
    dispatcher: &Arc<Dispatcher>,
    terms: Terms,
) {
    let served = Arc::new((inbound.clone(), dispatcher.clone(), terms));
    let pace = Pace::default();
    loop {
        match listener.accept().await {
            Ok(arrival) => {
                pace.keep();
                // As the system says it: a PROXY protocol header may say something else.
                let from_here = own::is_own(arrival.source);
                // Boxed, for a task is moved several times on its way to the heap, and on its way off.
                tokio::spawn(Box::pin(connection(served.clone(), arrival, from_here)));
            }
            Err(e) => {
                log::repeated(&format!(
                    "{}: cannot accept a connection: {e}",
                    inbound.path
                ));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    served: Arc<(Arc<Inbound>, Arc<Dispatcher>, Terms)>,
    arrival: Arrival,
    from_here: bool,
) {
    let (inbound, dispatcher, terms) = &*served;
    let level = inbound.protocol.handshake_level();
    let limit = terms.policy.level(level).handshake;
    let mut arrival = match inbound.transport.accept(arrival).await {
        Ok(arrival) => arrival,
        Err((source, refusal)) => {
            return refuse(inbound, source, refusal, Instant::now() + limit).await;
        }
    };
    let source = arrival.source;
    let until = Instant::now() + limit;
    arrival.link = Counted::link(arrival.link, terms.meter.clone());
    match inbound.protocol.accept(arrival, terms).await {
        Ok(accepted) => {
            let dispatcher = dispatcher.clone();
            let origin = Origin {
                from_here,
                ..inbound.origin()
            };
            dispatcher.carry(source, origin, accepted).await;
        }
        Err(refusal) => refuse(inbound, source, refusal, until).await,
    }
}

/// Writes down why nothing was accepted; a peer that must not learn it is read until it goes, or
/// until the time is up that an unfinished first flight would have had.
async fn refuse(inbound: &Inbound, source: Source, refusal: Refusal, until: Instant) {
    let (user, refusal) = match refusal {
        Refusal::Known(user, refusal) => (Some(user), *refusal),
        other => (None, other),
    };
    let (reason, link) = match refusal {
        Refusal::Done(reason) => (reason, None),
        Refusal::Silent(reason, link) => (reason, Some(link)),
        Refusal::Known(..) => return,
    };
    if reason.is_empty() {
        debug!(%source, inbound = inbound.path, "left without a request");
    } else {
        log::rejected(&inbound.path, source, user.as_deref(), &reason);
    }
    if let Some(link) = link {
        drain(link, until).await;
    }
}

/// Reads and forgets until the peer has gone or the time is up, and closes then, in the same way.
async fn drain(mut link: Link, until: Instant) {
    let reading = async { while read_and_forget(&mut link).await.is_ok_and(|n| n > 0) {} };
    let _ = timeout_at(until, reading).await;
    link.close().await;
}

async fn read_and_forget(link: &mut Link) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut scratch = scratch::take();
        let mut buf = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut *link).poll_read(cx, &mut buf))?;
        Ok(buf.filled().len()).into()
    })
    .await
}
