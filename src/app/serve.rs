//! From an accepted connection to a session, and what becomes of those that are none.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::ready;
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::field::display;
use tracing::{Instrument, Span, debug, debug_span};

use super::Inbound;
use super::listen::{BoundSocket, Socket};
use super::timer_tick::TimerTick;
use crate::cause::AcceptError;
use crate::dispatch::{Dispatcher, Origin, Stranger};
use crate::http::tell::Tell;
use crate::io::handshakes::{self, Unfinished};
use crate::io::{BindUdp, Counted, Io, Link, Step, Udp, open_files, own_listeners, scratch};
use crate::limits::{Full, Gates, Held};
use crate::log;
use crate::protocol::{Datagrams, InboundContext, Sources};
use crate::seam::{Admission, Arrival, Refusal, Unanswered};
use crate::session::Source;
use crate::transport::{Accepted, Arrivals, Know, tcp};

/// Pause after an error of `accept` that may pass, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket, and what its protocol makes of it. Ready to be served: from then on its protocol tells clients
/// where UDP is to be sent, so all sockets of an inbound are before any of them is served.
pub(super) enum Prepared {
    Streams(Arc<tcp::Listener>),
    Datagrams {
        sources: Box<Sources>,
        local: Source,
    },
}

/// Prepares a socket; `None` when nothing is done with it.
pub(super) fn prepare(
    inbound: &Inbound,
    place: BoundSocket,
    context: &InboundContext,
) -> Option<Prepared> {
    match place.socket {
        Socket::Streams(listener) => Some(Prepared::Streams(listener)),
        Socket::Datagrams(socket) => {
            let sockopt = inbound.transport.sockopt.clone();
            let bind: BindUdp =
                Arc::new(move |from| tcp::udp_answer(from, &sockopt).map(Udp::from));
            let local = socket.local_addr().map_or(Source::Unix, Source::from);
            let sources = inbound.protocol.sources(socket, bind, context)?;
            let sources = Box::new(sources);
            Some(Prepared::Datagrams { sources, local })
        }
    }
}

/// Serves one listening socket until it is dropped.
pub(super) async fn serve(
    inbound: Arc<Inbound>,
    prepared: Prepared,
    dispatcher: Arc<Dispatcher>,
    context: InboundContext,
) {
    match prepared {
        Prepared::Streams(listener) => {
            if let (Some(door), Some(tag)) = (listener.door(), &inbound.tag) {
                dispatcher.doors.open(tag.clone(), door);
            }
            streams(&inbound, &listener, &dispatcher, context).await;
        }
        Prepared::Datagrams { mut sources, local } => {
            while let Some(datagrams) = sources.next().await {
                let Datagrams {
                    source,
                    user,
                    packets,
                } = datagrams;
                let origin = Origin {
                    local,
                    ..inbound.origin()
                };
                let session = dispatcher.session(source, origin, user);
                dispatcher.packets(session, packets);
            }
        }
    }
}

async fn streams(
    inbound: &Arc<Inbound>,
    listener: &tcp::Listener,
    dispatcher: &Arc<Dispatcher>,
    context: InboundContext,
) {
    let refused = inbound.clone();
    let tell = Tell::new(move |e| {
        let source = e.client().unwrap_or(Source::Unix);
        log_refused(&refused, source, None, &e.into());
    });
    let one = |inbound: &Arc<Inbound>, context| {
        Arc::new((inbound.clone(), dispatcher.clone(), context, tell.clone()))
    };
    let beside = inbound.beside.iter().map(|other| {
        let context = dispatcher.inbound_context(other.tag.as_deref());
        one(other, context)
    });
    let served: Arc<[Served]> = std::iter::once(one(inbound, context))
        .chain(beside)
        .collect();
    let gates = Gates::new(dispatcher.gate.clone(), inbound.gate.clone());
    let timer_tick = TimerTick::default();
    loop {
        match listener.accept().await {
            Ok(arrival) => {
                timer_tick.keep();
                let held = match enter(inbound, &gates, &arrival) {
                    Ok(held) => held,
                    Err(full) => {
                        log_refused(inbound, arrival.source, None, &full.into());
                        continue;
                    }
                };
                // As the system says it: a PROXY protocol header may say something else.
                let from_here = own_listeners::is_own(arrival.source);
                if let Some(file) = arrival.link.descriptor() {
                    handshakes::give_way_to(file);
                }
                let served = served.clone();
                let span = debug_span!(
                    "connection",
                    %inbound,
                    source = %arrival.source,
                    connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed)
                );
                handshakes::begin(|unfinished| {
                    connection(served, arrival, held, from_here, unfinished).instrument(span)
                });
            }
            Err(e) if open_files::are_exhausted(&e) && handshakes::make_room().await => {}
            Err(e) => {
                log::repeated(&format!("{inbound}: cannot accept a connection: {e}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Takes the places of a connection, if there are any, before anything else is done for it.
fn enter(inbound: &Inbound, gates: &Arc<Gates>, arrival: &Arrival) -> Result<Held, Full> {
    let held = gates.enter()?;
    let transport = &inbound.transport;
    if !transport.is_introduced() && !transport.may_speak_for_others(arrival.source) {
        come_from(inbound, &held, arrival.source)?;
    }
    Ok(held)
}

/// Counts a connection for whom it comes from. A proxy or CDN that did not say for whom it comes is nobody; whether this
/// machine is, its own bound says.
fn come_from(inbound: &Inbound, held: &Held, source: Source) -> Result<(), Full> {
    let is_here = matches!(source, Source::Ip(addr) if addr.ip().is_loopback());
    match inbound.transport.is_shared(source) && !is_here {
        true => Ok(()),
        false => held.come_from(source),
    }
}

/// Counted where somebody debugs: several connections may come for one source.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// What the connections of a listener have in common; where several inbounds share it, one for each of its routes.
type Served = Arc<(Arc<Inbound>, Arc<Dispatcher>, InboundContext, Tell)>;

/// From the first byte of a connection to a session. Nothing is set up before that byte.
async fn connection(
    served: Arc<[Served]>,
    mut arrival: Arrival,
    held: Held,
    from_here: bool,
    unfinished: Unfinished,
) {
    let (inbound, dispatcher, context, tell) = &*served[0];
    let held = Arc::new(held);
    let patience = inbound.transport.patience().or_else(|| {
        let waits = inbound.traits.handshake_level.is_some();
        waits.then(|| handshake_limit(inbound, context))
    });
    if let Some(patience) = patience {
        let first = poll_fn(|cx| arrival.link.poll_readable(cx));
        // When the time is up, the layer whose limit it is finds so and says it.
        let _ = timeout_at(arrival.since + patience, first).await;
    }
    // The futures of the stages are large. Each has an allocation of its own, which is given back when it is over.
    let accepting = async {
        let arrival = inbound.transport.introduce(arrival).await?;
        let source = arrival.source;
        if inbound.transport.is_introduced() && !inbound.transport.may_speak_for_others(source) {
            come_from(inbound, &held, source).map_err(|full| (source, full.into()))?;
        }
        let transport = &inbound.transport;
        let tell = match transport.may_speak_for_others(source) {
            true => {
                let (served, held) = (served.clone(), held.clone());
                let admit = move |source| {
                    let place = Held::link(&held);
                    come_from(&served[0].0, &place, source).map(|()| place)
                };
                &tell.clone().admitting(admit)
            }
            false => tell,
        };
        transport
            .accept_introduced(arrival, &dispatcher.closing, tell)
            .await
    };
    match Box::pin(accepting).await {
        Ok(Accepted::One(route, arrival)) => {
            let finish = || drop(unfinished);
            link(&served[route], arrival, held, from_here, finish, None).await;
        }
        Ok(Accepted::Many(arrivals)) => {
            Box::pin(links(served.clone(), arrivals, held, from_here, unfinished)).await;
        }
        Err((source, e)) => {
            log_refused(inbound, source, None, &e);
        }
    }
}

/// Serves the links that a connection brings, each by a task of its own, until the connection ends. It is unfinished as
/// long as nothing was accepted from any of them.
async fn links(
    served: Arc<[Served]>,
    mut arrivals: Arrivals,
    held: Arc<Held>,
    from_here: bool,
    unfinished: Unfinished,
) {
    let unfinished = Arc::new(Mutex::new(Some(unfinished)));
    let know = arrivals.know();
    while let Some((route, arrival)) = arrivals.next().await {
        let (served, unfinished, know) = (served[route].clone(), unfinished.clone(), know.clone());
        let held = Arc::new(Held::link(&held));
        handshakes::begin_link(|of_link| async move {
            let finish = || {
                drop(of_link);
                let mut unfinished = unfinished.lock().unwrap_or_else(PoisonError::into_inner);
                drop(unfinished.take());
            };
            link(&served, arrival, held, from_here, finish, know).await;
        });
    }
    // Of what had been a session before, the ends of its streams tell.
    if let Some(fault) = arrivals.fault() {
        let unfinished = unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        if unfinished.is_some() {
            log_refused(
                &served[fault.route].0,
                fault.source,
                None,
                &fault.error.into(),
            );
        }
    }
}

/// From a link to a session; `finish` is called when it is one, or goes elsewhere, and `know` when somebody has logged in.
async fn link(
    served: &Served,
    mut arrival: Arrival,
    held: Arc<Held>,
    from_here: bool,
    finish: impl FnOnce(),
    know: Option<Know>,
) {
    let (inbound, dispatcher, context, _) = &**served;
    let finish = || {
        held.shook_hands();
        finish();
    };
    let until = arrival.since + handshake_limit(inbound, context);
    let (source, local) = (arrival.source, arrival.local);
    // A proxy in front may have named somebody else than the connection's other end.
    Span::current().record("source", display(source));
    if let Err(full) = come_from(inbound, &held, source) {
        log_refused(inbound, source, None, &full.into());
        return arrival.link.close().await;
    }
    arrival.link = Counted::link(arrival.link, context.meter.clone());
    let mut step = Step::begin(inbound.protocol.step());
    match Box::pin(inbound.protocol.accept(arrival, context)).await {
        Ok(Admission {
            accepted,
            vless_route,
        }) => {
            finish();
            if let Some(know) = know {
                know();
            }
            step.done(&accepted);
            if let Some(numbers) = inbound.numbers.get() {
                numbers.accepted(held.age());
            }
            let dispatcher = dispatcher.clone();
            let origin = Origin {
                from_here,
                local,
                vless_route,
                held: Some(held),
                ..inbound.origin()
            };
            dispatcher.dispatch(source, origin, accepted).await;
        }
        Err(refusal) => {
            let Refusal {
                cause,
                user,
                unanswered,
            } = refusal;
            let Some(unanswered) = unanswered else {
                return log_refused(inbound, source, user.as_deref(), &cause.into());
            };
            let Unanswered {
                link,
                read,
                fallback,
            } = unanswered;
            let cause = cause.or_other(&read);
            let Some(fallback) = fallback else {
                log_refused(inbound, source, user.as_deref(), &cause.into());
                return Box::pin(drain(link, until)).await;
            };
            if let Some(numbers) = inbound.numbers.get() {
                numbers.handed_on();
            }
            // Most of them are visitors, and no mistakes.
            debug!(to = %fallback.to, "goes to the fallback: {cause} [{}]", cause.code());
            let stranger = Stranger {
                inbound,
                source,
                local,
            };
            let falling = dispatcher.fall_back(&stranger, &fallback, link, &read, finish);
            Box::pin(falling).await;
        }
    }
}

fn handshake_limit(inbound: &Inbound, context: &InboundContext) -> Duration {
    let level = inbound.traits.handshake_level.unwrap_or_default();
    context.policy.level(level).handshake
}

/// Writes down why nothing was accepted.
fn log_refused(inbound: &Inbound, source: Source, user: Option<&str>, cause: &AcceptError) {
    let (numbers, is_nothing) = (inbound.numbers.get(), cause.is_nothing());
    match numbers {
        Some(numbers) if is_nothing => numbers.left(),
        Some(numbers) => numbers.refused(cause.code()),
        None => {}
    }
    if is_nothing {
        return debug!("left: {cause}");
    }
    log::rejected(log::Rejected {
        inbound: &inbound.to_string(),
        source,
        user,
        reason: &cause.to_string(),
        code: cause.code(),
    });
}

/// Reads and forgets, so that the peer learns nothing, until it has gone or the time is up that an unfinished first
/// flight would have had; closes then, in the same way.
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
