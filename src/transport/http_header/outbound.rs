//! The client's side.

use std::sync::Arc;

use super::Settings;
use super::stream::Headed;
use crate::io::{Link, random};

/// The client side.
#[derive(Clone, Debug)]
pub struct Outbound(Arc<Settings>);

impl Outbound {
    /// A client of these settings.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(settings))
    }

    /// The link on which the tunnel's first bytes have a head in front.
    pub fn wrap(&self, link: Link) -> Link {
        let head = self.0.request.head(&mut pick);
        Link::other(Headed::client(link, head, self.0.clone()))
    }
}

/// By chance.
pub(super) fn pick(below: usize) -> usize {
    let mut bytes = [0; 4];
    random::fill(&mut bytes);
    u32::from_le_bytes(bytes) as usize % below.max(1)
}
