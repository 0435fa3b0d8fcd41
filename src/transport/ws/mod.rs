//! WebSocket transport (`network: "ws"`, RFC 6455).
//!
//! ```text
//! GET /ray HTTP/1.1 … Upgrade: websocket   ──▶
//!                                          ◀──   101 Switching Protocols
//! frames, each a piece of the tunnel's bytes ◀─▶
//! ```
//!
//! The HTTP of the handshake is that of [`http`](crate::http) on both sides; [`WsStream`] takes over behind it. The
//! compression that a browser offers and a server may accept is in `deflate`.
//!
//! # By itself
//!
//! Both halves work over any byte stream: a connection, a stream of TLS, a pipe in memory. A server that sends
//! everything back, and a client:
//!
//! ```
//! use mobula::io::CloseReason;
//! use mobula::transport::ws::{self, ClientSettings, Server, ServerSettings};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, duplex, split};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (near, far) = duplex(64 * 1024);
//!
//! let server = tokio::spawn(async move {
//!     let settings = ServerSettings {
//!         path: "/echo".to_owned(),
//!         ..ServerSettings::default()
//!     };
//!     let accepted = ws::accept(far, &settings).await.expect("a WebSocket");
//!     let (mut from, mut to) = split(accepted.stream);
//!     copy(&mut from, &mut to).await.expect("the client says when it ends");
//! });
//!
//! let settings = ClientSettings {
//!     path: "/echo".to_owned(),
//!     ..ClientSettings::default()
//! };
//! let at = Server {
//!     address: "example.com:80".parse()?,
//!     over_tls: false,
//! };
//! let mut stream = ws::connect(near, &at, &settings).await?;
//! stream.write_all(b"hello").await?;
//! stream.flush().await?;
//! let mut answer = [0; 5];
//! stream.read_exact(&mut answer).await?;
//! assert_eq!(&answer, b"hello");
//! stream.close(CloseReason::Done).await?;
//! # server.await?;
//! # Ok(())
//! # }
//! ```
//!
//! What does not come to a WebSocket says why, and what is said of it has a code that stays:
//!
//! ```
//! use mobula::transport::ws::{self, AcceptError, ClientSettings, ConnectError, Server, ServerSettings};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (near, far) = tokio::io::duplex(64 * 1024);
//! let server = tokio::spawn(async move { ws::accept(far, &ServerSettings::default()).await });
//! let settings = ClientSettings {
//!     path: "/elsewhere".to_owned(),
//!     ..ClientSettings::default()
//! };
//! let at = Server {
//!     address: "example.com:80".parse()?,
//!     over_tls: false,
//! };
//! let error = ws::connect(near, &at, &settings).await.unwrap_err();
//! assert!(matches!(&error, ConnectError::Refused(refused) if refused.status == 404));
//! assert_eq!(error.code(), "ws-404");
//! assert_eq!(error.to_string(), "404: the server does not know path /elsewhere");
//!
//! let error = server.await?.unwrap_err();
//! assert!(matches!(error, AcceptError::Refused { status: 404, .. }));
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

pub mod codec;
pub(crate) mod deflate;
mod expected_close;
mod inbound;
mod keepalive;
mod outbound;
mod request;
mod settings;
mod standalone;
mod stream;

pub use crate::http::{EarlyData, EarlyDataIn, Forwarded, Net, Trusted};
#[cfg(feature = "app")]
pub(super) use inbound::Found;
pub use inbound::Inbound;
pub use outbound::Outbound;
pub use settings::{ClientSettings, HEARTBEAT, ServerSettings};
pub use standalone::{Accepted, Server, accept, connect, connect_with_early_data};
pub use stream::WsStream;

pub use crate::cause::{RequestError as AcceptError, UpgradeError as ConnectError};
