//! Early data (RFC 8446, 2.3): what a client writes first goes along with its ClientHello, and the answer comes with the server's.
//!
//! ```text
//! ClientHello, early data  ──▶
//!                          ◀──  ServerHello … Finished, data          one round trip in the place of two
//! Finished, data           ──▶
//! ```
//!
//! It takes a ticket of an earlier connection, and whoever recorded such a flight can send it again. So a server of ours hands out tickets
//! that are good for one time: it keeps what they stand for, takes it out when a ticket comes, and a second flight with it is shaken
//! hands with from the start, its early data unread. What it keeps ends with the process. (Who holds the client's own flight back and
//! sends a copy first has that one read; the client then hears that its early data was not, and says the same again.)

mod client;
mod hello;
mod server;
mod tickets;

pub(super) use client::Early as OfClient;
pub(crate) use hello::announces;
pub(super) use server::{accept, hello};
pub(super) use tickets::Tickets;

/// The most that a client may send before it has heard from the server.
pub(super) const MAX: u32 = 16 * 1024;

/// The most that our client sends, which is less: a server that does not take early data passes over so many bytes as it allows, and
/// counts what seals them as well.
const SENT: usize = 8 * 1024;

/// What a record has besides its text, at the most.
const RECORD: usize = 32;

#[cfg(test)]
mod tests;
