//! dokodemo-door: every connection goes to one fixed place, or to where it was meant to go before a
//! packet filter brought it here (`followRedirect`). Of several ports each may have a place of its own.

mod answers;
mod datagrams;
mod settings;

pub use settings::{InboundSettings, Mapped, PortMapError};

use std::sync::Arc;

use tokio::net::UdpSocket;

use crate::cause::ProtocolError;
use crate::io::BindUdp;
use crate::mux;
use crate::protocol::accounts::anonymous;
use crate::protocol::udp_port::Sources;
use crate::protocol::{Accepted, InboundContext, bare};
use crate::seam::{Arrival, Refusal};
use crate::session::{Source, User};

pub struct Inbound {
    settings: InboundSettings,
    /// Has a level and no name.
    user: Option<Arc<User>>,
}

impl Inbound {
    pub fn new(settings: InboundSettings) -> Self {
        Self {
            user: anonymous(settings.level),
            settings,
        }
    }

    fn user(&self) -> Option<Arc<User>> {
        self.user.clone()
    }

    pub async fn accept(&self, arrival: Arrival) -> Result<Accepted, Refusal> {
        let original_dst = arrival
            .original_dst
            .filter(|_| self.settings.follow_redirect);
        let local = match arrival.local {
            Source::Ip(at) => Some(at),
            Source::Unix => None,
        };
        match original_dst
            .map(Into::into)
            .or_else(|| self.settings.at(local))
        {
            Some(to) => {
                // Sessions of a mux say themselves where they end.
                let link = match mux::is_meant(&to) || self.settings.prompt_end {
                    true => arrival.link,
                    false => bare::headless_server(arrival.link),
                };
                Ok(Accepted::Stream {
                    user: self.user(),
                    to,
                    link,
                    reply: None,
                })
            }
            None => Err(Refusal::done(ProtocolError::Nowhere)),
        }
    }

    /// The sources of the datagrams that come to `socket`; `bind` makes sockets that send as somebody else.
    pub fn sources(
        &self,
        socket: Arc<UdpSocket>,
        bind: BindUdp,
        context: &InboundContext,
    ) -> Sources {
        datagrams::sources(socket, self, bind, context)
    }
}
