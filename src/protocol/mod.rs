//! What dresses a link: VMess, VLESS, Trojan, Shadowsocks, SOCKS, HTTP and the rest. The table of protocols.
//!
//! A new protocol is a folder with the same doors (`settings`, `codec`, `inbound`, `outbound`), a variant in
//! [`Inbound`], [`Proxy`] and their settings, and a reader in each dialect; the compiler points at every other place.

pub mod accounts;
mod awaited;
mod bare;
pub mod blackhole;
pub mod dns;
pub mod dokodemo;
pub mod fallbacks;
mod first_flight;
pub mod freedom;
mod grant;
pub mod http;
pub mod in_process;
mod inbound;
pub mod length_prefixed;
pub mod loopback;
mod outbound;
mod proxy;
pub mod relay;
mod replay;
pub mod servers;
pub mod shadowsocks;
pub mod socks;
pub mod trojan;
mod udp_port;
mod untold;
pub(crate) mod user_table;
pub mod users;
pub mod vless;
pub mod vmess;

pub use fallbacks::FallbackSettings;
pub use grant::Grant;
pub use inbound::{Inbound, InboundSettings, InboundTraits};
pub use outbound::{Endpoint, Outbound, OutboundSettings, Unsealed};
pub use proxy::{FirstPayload, NextHop, PacketWay, Proxy, ProxyTraits, no_packets};
pub use replay::ReplayMemory;
pub use udp_port::Sources;
pub use users::{AnyUser, UserError, UserSettings};

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::cause::ProtocolError;
use crate::policy::Policy;
use crate::seam::Refusal;
use crate::stats::Meter;

pub use crate::seam::{Accepted, Datagrams};

/// What every connection to an inbound is served under.
#[derive(Clone, Debug, Default)]
pub struct InboundContext {
    pub policy: Arc<Policy>,
    /// The inbound's counters, for what does not travel in the link.
    pub meter: Meter,
    pub state: Arc<ProtocolState>,
}

/// What protocols remember for longer than a connection.
#[derive(Debug, Default)]
pub struct ProtocolState {
    /// What VMess and Shadowsocks of 2022 must not answer again.
    pub(crate) replays: ReplayMemory,
    /// What Shadowsocks of 2017 must not answer again.
    pub(crate) salts: shadowsocks::SaltMemory,
}

impl ProtocolState {
    /// With a folder, the next process remembers it too.
    pub fn open(folder: Option<&Path>) -> Self {
        Self {
            replays: ReplayMemory::open(folder),
            salts: shadowsocks::SaltMemory::default(),
        }
    }
}

/// A user, `who` in the log, asks for a multiplex that is another program's.
fn other_mux(who: &dyn fmt::Display, text: &'static str) -> Refusal {
    let user = who.to_string();
    let cause = ProtocolError::OtherMux { user, text };
    Refusal::done(cause).of(Some(who.to_string()))
}
