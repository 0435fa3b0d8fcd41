//! The records of a connection whose handshake is done (RFC 8446, 5; RFC 5246, 6.2).
//!
//! ```text
//! record      type u8 | 0x0303 | length u16 | sealed text and its tag; of TLS 1.2 with AES the nonce in front
//! ```
//!
//! rustls shakes hands, and hands over the keys then (its face for TLS in the kernel, [`rustls::kernel`]): it derives the next ones and
//! keeps the tickets of servers, and its ciphers seal and open. What is here cuts the stream into records, and answers what may still
//! come between them. The reason is what a connection costs. rustls' own stream holds 4 KiB for what comes next and as much again in
//! queues and spans, for as long as a tunnel is idle; it reads 4 KiB at a time, and copies a text twice before it is handed out. Here a
//! read takes several records, they are opened where they lie, in a buffer of the thread's, and an idle connection holds none.

mod incoming;
mod keys;
mod messages;
mod session;
mod stream;

#[cfg(feature = "app")]
pub(crate) use incoming::{MAX_RECORD, Progress};
#[cfg(feature = "app")]
pub(crate) use messages::Messages;
pub(super) use session::{of_client, of_server};

use std::io;

use tokio_rustls::rustls;

/// As rustls' streams tell it.
fn invalid(e: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

#[cfg(test)]
mod tests;
