//! dokodemo-door: every connection goes to one fixed place, or to where it was meant to go before a
//! packet filter brought it here (`followRedirect`).

mod answers;
mod config;
mod datagrams;
mod receive;

use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::address::Destination;
use crate::io::{Arrival, BindUdp, Refusal};
use crate::protocol::{Accepted, Datagrams};
use crate::session::User;

pub struct Inbound {
    /// Where all goes; with `follow`, what was meant for the door itself.
    to: Option<Destination>,
    /// Goes to where it was meant to go.
    follow: bool,
    tcp: bool,
    udp: bool,
    /// Has a level and no name.
    user: Option<Arc<User>>,
}

/// What is meant for a transparent door itself would come back to it for ever.
const NOWHERE: &str = "meant for the transparent inbound itself, and `address` names no other place: \
    nothing was redirected, or not as `sockopt.tproxy` says";

impl Inbound {
    /// Whether there is no port to go to. V2Ray's API inbound is written so: what it leads to dials nothing.
    pub fn lacks_port(&self) -> bool {
        !self.follow && self.to.as_ref().is_some_and(|to| to.port == 0)
    }

    pub fn takes_streams(&self) -> bool {
        self.tcp
    }

    pub fn takes_datagrams(&self) -> bool {
        self.udp
    }

    pub fn user(&self) -> Option<Arc<User>> {
        self.user.clone()
    }

    /// Whether the listener has to be a transparent one.
    pub fn follows_redirect(&self) -> bool {
        self.follow
    }

    pub async fn accept(&self, arrival: Arrival) -> Result<Accepted, Refusal> {
        let original_dst = arrival.original_dst.filter(|_| self.follow);
        match original_dst.map(Into::into).or_else(|| self.to.clone()) {
            Some(to) => Ok(Accepted::Stream {
                user: self.user(),
                to,
                link: arrival.link,
            }),
            None => Err(Refusal::Done(NOWHERE.to_owned())),
        }
    }

    /// Sorts the datagrams of `socket` by their source, for as long as the receiver lives; `bind` makes
    /// sockets that send as somebody else.
    pub fn datagrams(&self, socket: UdpSocket, bind: BindUdp) -> mpsc::Receiver<Datagrams> {
        datagrams::sort(socket, self, bind)
    }
}
