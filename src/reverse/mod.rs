//! Reverse tunnels: sessions go in where only connections from the inside come out.
//!
//! ```text
//!      people ──▶ portal ═══ Mux.Cool ═══▷ bridge ──▶ a service
//!                 (an outbound)   ◀── dials ──  (like an inbound)
//! ```
//! The **bridge** dials: a session for a name that stands for the portal, which its rules lead to some outbound. The
//! **portal** takes what comes for that name as a link of Mux.Cool in which *it* is the client, so sessions are opened
//! towards the one who has dialled. In one of them the portal says every two seconds that the link is in use, or once
//! that it will take no further session (`codec`); the bridge has another one ready then.

mod bridge;
pub mod codec;
mod portal;
mod settings;
#[cfg(test)]
mod tests;

pub use bridge::{BridgeHost, DialFuture, NoWay, run_bridge};
pub use portal::Portal;
pub use settings::{
    BridgeSettings, PortalSettings, PublishSettings, PublishTarget, Settings, WebTarget,
};

use crate::address::{Destination, Host};

impl BridgeSettings {
    /// What its connections are for.
    pub fn destination(&self) -> Destination {
        Destination::new(Host::Domain(self.domain.clone()), 0)
    }
}
