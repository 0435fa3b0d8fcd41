//! dokodemo-door: every connection goes to one fixed place, or to where it was meant to go before a
//! packet filter brought it here (`followRedirect`).

mod answers;
mod datagrams;
mod receive;
mod settings;

pub use settings::InboundSettings;

use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::io::{Arrival, BindUdp, Refusal};
use crate::protocol::accounts::anonymous;
use crate::protocol::{Accepted, Datagrams};
use crate::session::User;

pub struct Inbound {
    settings: InboundSettings,
    /// Has a level and no name.
    user: Option<Arc<User>>,
}

/// What is meant for a transparent door itself would come back to it for ever.
const NOWHERE: &str = "meant for the transparent inbound itself, and `address` names no other place: \
    nothing was redirected, or not as `sockopt.tproxy` says";

impl Inbound {
    pub fn new(settings: InboundSettings) -> Self {
        Self {
            user: anonymous(settings.level),
            settings,
        }
    }

    pub fn user(&self) -> Option<Arc<User>> {
        self.user.clone()
    }

    pub async fn accept(&self, arrival: Arrival) -> Result<Accepted, Refusal> {
        let original_dst = arrival
            .original_dst
            .filter(|_| self.settings.follow_redirect);
        match original_dst
            .map(Into::into)
            .or_else(|| self.settings.to.clone())
        {
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
