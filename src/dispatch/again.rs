//! What a `loopback` outbound is given to carry: the rules say what does.
//!
//! Sessions of inbounds are led round by [`Dispatcher::route`]. What comes here is a connection of our own: to a server, where an
//! outbound goes through a `loopback` (so a balancer chooses among those that it goes through), or for whoever names one by its tag.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::Instrument;

use super::Dispatcher;
use super::open::Opened;
use super::route::{Asked, Chosen, origin};
use crate::address::{Destination, Network};
use crate::dns;
use crate::io::{Link, Packets};
use crate::log;
use crate::protocol::loopback;
use crate::session::{Comer, Entry, Source};
use crate::transport;

/// How many ways through a `loopback` may be inside each other.
const MAX_DEPTH: usize = 3;

tokio::task_local! {
    /// How many times this connection has come here on its way.
    static ROUNDS: usize;
}

impl Dispatcher {
    /// A stream to `to` by what the rules say.
    pub(super) async fn stream_again(
        self: &Arc<Self>,
        loopback: &loopback::Outbound,
        to: &Destination,
        comer: Comer,
    ) -> io::Result<Opened<Link>> {
        let round = next_round()?;
        let Chosen {
            outbound, known, ..
        } = self.carrier(loopback, to, Network::Tcp).await?;
        let (dispatcher, to) = (self.clone(), to.clone());
        let opening = async move {
            let opened = dispatcher.open(&outbound, &to, &known, comer).await;
            dispatcher.note(&outbound, &opened);
            opened
        };
        apart(round, Box::pin(opening)).await
    }

    /// Datagrams of session `id` to `to` by what the rules say.
    pub(super) fn packets_again<'a>(
        self: &'a Arc<Self>,
        loopback: &'a loopback::Outbound,
        to: &'a Destination,
        id: u32,
        entry: Entry,
    ) -> Opening<'a, Opened<Box<dyn Packets>>> {
        Box::pin(async move {
            let round = next_round()?;
            let Chosen {
                outbound, known, ..
            } = self.carrier(loopback, to, Network::Udp).await?;
            let (dispatcher, to) = (self.clone(), to.clone());
            let opening = async move {
                dispatcher
                    .open_packets(&outbound, &to, &known, id, entry)
                    .await
            };
            apart(round, Box::pin(opening)).await
        })
    }

    async fn carrier(
        &self,
        loopback: &loopback::Outbound,
        to: &Destination,
        network: Network,
    ) -> io::Result<Chosen> {
        let session = self.session(Source::Unix, origin(loopback, true, Entry::Local), None);
        let aim = to.clone().into();
        let found = self.route(&session, Asked::new(network, &aim)).await;
        found.ok_or_else(|| io::Error::other("the rules lead nowhere"))
    }
}

type Opening<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Runs what opens a way in a task of its own, which ends with whoever waits for it: on one stack each round would take as much room
/// as all that was before it.
async fn apart<T: Send + 'static>(round: usize, opening: Opening<'static, T>) -> io::Result<T> {
    let opening = transport::on_this_way(ROUNDS.scope(round, opening));
    let opening = dns::asking(dns::asker(), opening).in_current_span();
    let mut task = JoinSet::new();
    match dns::is_on_its_way() {
        true => task.spawn(dns::on_its_way(opening)),
        false => task.spawn(opening),
    };
    match task.join_next().await {
        Some(Ok(opened)) => opened,
        Some(Err(e)) => Err(io::Error::other(e)),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// What another task does for a connection counts its rounds on.
pub(super) fn counted_on<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let round = ROUNDS.try_with(|round| *round).unwrap_or(0);
    transport::on_this_way(ROUNDS.scope(round, future))
}

/// What is dialled goes through an outbound that is dialled the same way: V2Ray would go round for ever.
fn next_round() -> io::Result<usize> {
    let round = ROUNDS.try_with(|round| *round).unwrap_or(0) + 1;
    if round > MAX_DEPTH {
        let text = "the rules lead a connection through the outbound that it is for, round in a circle of `loopback` outbounds";
        log::repeated(text);
        return Err(io::Error::other(text));
    }
    Ok(round)
}
