//! dokodemo-door: every connection goes to one fixed place.

mod config;
mod datagrams;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::address::Destination;
use crate::io::{Arrival, Refusal};
use crate::protocol::{Accepted, Datagrams};

pub struct Inbound {
    to: Destination,
    tcp: bool,
    udp: bool,
}

impl Inbound {
    /// Whether there is no port to go to. V2Ray's API inbound is written so: what it leads to dials nothing.
    pub fn lacks_port(&self) -> bool {
        self.to.port == 0
    }

    pub fn takes_streams(&self) -> bool {
        self.tcp
    }

    pub fn takes_datagrams(&self) -> bool {
        self.udp
    }

    pub async fn accept(&self, arrival: Arrival) -> Result<Accepted, Refusal> {
        Ok(Accepted::Stream {
            user: None,
            to: self.to.clone(),
            link: arrival.link,
        })
    }

    /// Sorts the datagrams of `socket` by their source, for as long as the receiver lives.
    pub fn datagrams(&self, socket: UdpSocket) -> mpsc::Receiver<Datagrams> {
        datagrams::sort(socket, self.to.clone())
    }
}
