//! A link inside a Trojan connection.

use crate::protocol::bare::{BareStream, Payload};

pub(super) type TrojanStream = BareStream<Payload>;
