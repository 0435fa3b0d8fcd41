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
//! hands with from the start, its early data unread. What it keeps ends with the process.

mod client;
mod server;

pub(super) use client::Early as OfClient;
pub(super) use server::accept;

/// The most that a client may send before it has heard from the server.
pub(super) const MAX: u32 = 16 * 1024;

/// How many tickets are kept; the oldest give way, and who comes with one of them has a handshake more.
pub(super) const TICKETS: usize = 16 * 1024;

#[cfg(test)]
mod tests;
