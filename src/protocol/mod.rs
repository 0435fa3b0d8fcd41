//! What dresses a link: VMess, SOCKS, HTTP and the rest. The table of protocols.
//!
//! A new protocol is a folder with the same doors, a variant in [`Inbound`] or [`Outbound`] and its
//! name in its `read`; the compiler points at every other place.

pub mod accounts;
pub mod blackhole;
pub mod dns;
pub mod dokodemo;
pub mod freedom;
pub mod http;
pub mod in_process;
mod inbound;
pub mod loopback;
mod outbound;
pub mod servers;
pub mod socks;
pub mod vmess;

pub use inbound::Inbound;
pub use outbound::{NextHop, Outbound};

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::address::{Destination, Host};
use crate::io::{Link, Packets};
use crate::json::{Node, did_you_mean, either};
use crate::policy::Policy;
use crate::session::{Attributes, Source, User};
use crate::stats::Meter;

/// What every connection to an inbound is served under.
#[derive(Clone, Debug, Default)]
pub struct InboundContext {
    pub policy: Arc<Policy>,
    /// The inbound's counters, for what does not travel in the link.
    pub meter: Meter,
    /// What VMess must not answer again.
    pub replays: Arc<vmess::ReplayMemory>,
}

/// What an inbound found in a link.
pub enum Accepted {
    /// One stream to one place.
    Stream {
        user: Option<Arc<User>>,
        to: Destination,
        link: Link,
    },
    /// One plain HTTP request, by a stream of its own, and what its head says.
    Request {
        user: Option<Arc<User>>,
        to: Destination,
        link: Link,
        attributes: Attributes,
    },
    /// Datagrams; each names its own peer.
    Packets {
        user: Option<Arc<User>>,
        packets: Box<dyn Packets>,
    },
    /// Several sessions inside one link (plain HTTP requests on a kept-alive connection): each
    /// arrives here when its request does, and the link ends when the sender is dropped.
    Sessions(mpsc::Receiver<Self>),
}

/// Datagrams of one source on a UDP listener.
pub struct Datagrams {
    pub source: Source,
    pub packets: Box<dyn Packets>,
}

/// The value of an `address` key; a mistake is reported. Like V2Ray, it forgives space around.
fn read_host(node: Node) -> Option<Host> {
    let text: String = node.read()?;
    Host::parse(text.trim())
        .map_err(|e| node.error(format!("`{}` is not an address: {e}", text.escape_debug())))
        .ok()
}

fn unknown(node: &Node, name: &str, side: &str, names: &[&str]) {
    const OTHERS: [&str; 6] = [
        "shadowsocks",
        "trojan",
        "vless",
        "wireguard",
        "hysteria2",
        "mtproto",
    ];
    if OTHERS.iter().any(|o| o.eq_ignore_ascii_case(name)) {
        node.error(format!(
            "the {side} protocol `{name}` is not built, expected {}",
            either(names)
        ));
    } else {
        node.error(format!(
            "no {side} protocol is called `{}`, expected {}{}",
            name.escape_debug(),
            either(names),
            did_you_mean(name, names.iter().copied())
        ));
    }
}
