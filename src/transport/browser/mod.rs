//! The browser dialer: WebSockets to servers are opened by a page in a browser, so that they are a browser's.
//!
//! mobula serves the page on an address of this machine (V2Ray's `browserForwarder`, Xray's `XRAY_BROWSER_DIALER`); a
//! person opens it and leaves it open. The protocol between the two is ours alone, and serves both ways of switching it
//! on:
//!
//! ```text
//! GET /                      the page, with a token of this process in it
//! GET /control?token=…       a WebSocket of lines, each a JSON object (codec)
//!     page ──▶  {"ready": 1}
//!          ◀──  {"dial": "ID", "url": "wss://…", "protocol": "…"}      the page opens it
//!     page ──▶  {"failed": "ID", "why": "…"}
//!     page ──▶  {"took": "ID", "bytes": 131072}                         there is room for as many more
//!          ◀──  {"drop": "ID"}                                          nobody waits for it
//! GET /link?token=…&id=ID    a WebSocket of the tunnel's bytes, when the one to the server is open
//! ```
//!
//! The bytes are those that the WebSocket to the server would carry, so what is below changes and nothing above. A
//! browser cannot send every close code: those below 3000 are moved up by 2000 on both ways (`ws/stream/ending.rs`).
//!
//! Neither side keeps more than a bounded amount for a reader that is slow. Towards the server mobula sends no more than
//! [`stream::WINDOW`] ahead of what the page has handed on; towards mobula a page cannot
//! make the server wait, and ends a tunnel that is 64 MiB behind.
//!
//! Whoever reaches the page may carry our tunnels, and sees what a server on the way sees. So another site's page comes
//! no further than its Origin, a name that somebody has pointed to this machine no further than the Host ([`door`]), and
//! the token is in nobody's hands but our page's.

mod codec;
mod dialer;
mod door;
mod fit;
mod outbound;
mod page;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

pub use codec::Word;
pub use dialer::Dialer;
pub use fit::{Objection, objections};
pub use outbound::Outbound;
pub use settings::{Naming, Settings, Takes};
