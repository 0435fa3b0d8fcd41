//! freedom: straight to the target.

mod config;
mod packets;

use crate::address::{Destination, Host};
use crate::dns::{Lookup, Strategy};
use crate::io::{BindUdp, Packets};

pub struct Outbound {
    strategy: Strategy,
    redirect: Redirect,
    level: u32,
}

/// `redirect`: the parts of every target that are replaced. V2Ray reads `:port` as "same host" and
/// port 0 as "same port".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Redirect {
    host: Option<Host>,
    port: Option<u16>,
}

impl Outbound {
    /// Where a session to `to` really goes (`redirect`).
    pub fn target(&self, to: &Destination) -> Destination {
        self.redirect.apply(to)
    }

    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    pub fn level(&self) -> u32 {
        self.level
    }

    /// Datagrams to anyone.
    pub fn packets(&self, bind: BindUdp, lookup: Lookup) -> Box<dyn Packets> {
        Box::new(packets::Sockets::new(bind, lookup, self.redirect.clone()))
    }
}

/// Datagrams to anyone, as of an outbound without settings.
pub fn packets(bind: BindUdp) -> Box<dyn Packets> {
    let redirect = Redirect::default();
    Box::new(packets::Sockets::new(bind, Lookup::System, redirect))
}

impl Redirect {
    fn apply(&self, to: &Destination) -> Destination {
        Destination {
            host: self.host.as_ref().unwrap_or(&to.host).clone(),
            port: self.port.unwrap_or(to.port),
        }
    }
}
