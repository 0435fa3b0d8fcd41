//! dokodemo-door: every connection goes to one fixed place.

mod config;
mod datagrams;

use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::address::Destination;
use crate::io::{Arrival, Refusal};
use crate::protocol::{Accepted, Datagrams};
use crate::session::User;

pub struct Inbound {
    to: Destination,
    tcp: bool,
    udp: bool,
    /// Has a level and no name.
    user: Option<Arc<User>>,
}

impl Inbound {
    pub fn takes_streams(&self) -> bool {
        self.tcp
    }

    pub fn takes_datagrams(&self) -> bool {
        self.udp
    }

    pub fn user(&self) -> Option<Arc<User>> {
        self.user.clone()
    }

    pub async fn accept(&self, arrival: Arrival) -> Result<Accepted, Refusal> {
        Ok(Accepted::Stream {
            user: self.user(),
            to: self.to.clone(),
            link: arrival.link,
        })
    }

    /// Sorts the datagrams of `socket` by their source, for as long as the receiver lives.
    pub fn datagrams(&self, socket: UdpSocket) -> mpsc::Receiver<Datagrams> {
        datagrams::sort(socket, self.to.clone())
    }
}
