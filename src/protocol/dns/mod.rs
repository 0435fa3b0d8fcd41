//! dns: answers the questions in a session itself, by the built-in DNS.
//!
//! A session is a stream of framed messages or a run of datagrams. Questions for A and AAAA are
//! answered from [`Resolver`], several at a time and in the order in which the answers are found;
//! all others go to the server that the session was meant for, or to the one that the settings name. Rules may
//! say otherwise by the type and the name that are asked for.

mod pipe;
mod serve;
mod settings;

pub use settings::{Act, OutboundSettings, Rule};

use std::sync::Arc;

use tokio::io::duplex;

use crate::address::{Destination, Network};
use crate::dns::{self, Dialer, Framed, Resolver};
use crate::io::{Link, Packets};

pub struct Outbound(OutboundSettings);

impl From<OutboundSettings> for Outbound {
    fn from(settings: OutboundSettings) -> Self {
        Self(settings)
    }
}

/// What a client may write ahead of us.
const PIPE: usize = 4 * 1024;

impl Outbound {
    /// Answers a stream that was meant for `to`; `upstream` reaches the server for other questions.
    pub fn stream(
        &self,
        resolver: Arc<Resolver>,
        upstream: Arc<dyn Dialer>,
        to: &Destination,
    ) -> Link {
        let (ours, theirs) = duplex(PIPE);
        let client = Framed::new(Link::other(theirs), to.clone());
        self.serve(Box::new(client), Network::Tcp, resolver, upstream, to);
        Link::other(ours)
    }

    /// As [`Outbound::stream`], for datagrams.
    pub fn datagrams(
        &self,
        resolver: Arc<Resolver>,
        upstream: Arc<dyn Dialer>,
        to: &Destination,
    ) -> Box<dyn Packets> {
        let (ours, theirs) = pipe::pair();
        self.serve(Box::new(theirs), Network::Udp, resolver, upstream, to);
        Box::new(ours)
    }

    /// Where other questions go that are sent to `to` by `network`.
    pub fn server(&self, network: Network, to: &Destination) -> (Network, Destination) {
        self.0.server(network, to)
    }

    fn serve(
        &self,
        client: Box<dyn Packets>,
        network: Network,
        resolver: Arc<Resolver>,
        upstream: Arc<dyn Dialer>,
        to: &Destination,
    ) {
        let (over, server) = self.server(network, to);
        let session = serve::Session {
            resolver,
            rules: self.0.rules.clone(),
            others: self.0.others,
            ttl: self.0.ttl,
            is_datagram: network == Network::Udp,
            to: to.clone(),
            over,
            server,
            dial: upstream,
        };
        crate::io::spawn(dns::asking(dns::asker(), session.run(client)));
    }
}
