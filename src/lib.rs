//! mobula runs a V2Ray or Xray `config.json`: VMess, VLESS and others over WebSocket or plain TCP, server and client.
//!
//! The program is a thin face of this library, which has two others:
//!
//! * [`Server`]: a whole service inside another program, made of a [`config::Config`] (plain values) or of a text that
//!   [`dialect::v2ray`] reads. It has threads of its own and ends with them.
//! * [`transport::ws`]: the WebSocket transport alone, client and server, over any `AsyncRead + AsyncWrite`. Without
//!   default features it is all there is, and brings neither clap nor tonic nor hickory nor rcgen;
//!   [`cause`] has its typed errors, and the feature `tls` adds [`transport::tls`].
//!
//! These, their settings and their errors are documented and may be relied on, as far as a version 0 may. All other
//! modules are open for the tests and benchmarks of this package, and change as they must.
//!
//! Bytes travel through rooms that know nothing of each other. A [`transport`] makes an [`io::Link`] (TCP, TLS,
//! WebSocket). A [`protocol`] reads from a link what is asked for, or wraps one for what is sent. Only [`dispatch`] knows
//! both; [`relay`] copies between two links. A dialect reads settings, [`config`] holds them, [`app`] makes them run.
//! `docs/architecture.md` has the picture and the rules about who may import whom.

pub mod address;
#[cfg(feature = "tls")]
pub mod aead;
#[cfg(feature = "app")]
pub mod api;
#[cfg(feature = "app")]
pub mod app;
pub mod cause;
#[cfg(feature = "app")]
pub mod cli;
#[cfg(feature = "app")]
pub mod config;
pub mod copy;
#[cfg(feature = "app")]
pub mod dialect;
#[cfg(feature = "app")]
pub mod dispatch;
#[cfg(feature = "app")]
pub mod dns;
#[cfg(feature = "app")]
pub mod doctor;
#[cfg(feature = "app")]
pub mod exporter;
pub mod http;
pub mod io;
pub mod limits;
#[cfg(feature = "app")]
pub mod log;
#[cfg(feature = "app")]
pub mod matching;
#[cfg(feature = "app")]
pub mod metrics;
#[cfg(feature = "app")]
pub mod mux;
#[cfg(feature = "app")]
pub mod observatory;
#[cfg(feature = "app")]
pub mod policy;
#[cfg(feature = "app")]
pub mod probe;
#[cfg(feature = "app")]
pub mod protocol;
#[cfg(feature = "app")]
pub mod relay;
#[cfg(feature = "app")]
pub mod report;
#[cfg(feature = "app")]
pub mod reverse;
#[cfg(feature = "app")]
pub mod routing;
pub mod seam;
pub mod secret;
#[cfg(feature = "app")]
mod server;
pub mod session;
#[cfg(feature = "app")]
pub mod smux;
#[cfg(feature = "app")]
pub mod sniffing;
pub mod stats;
#[doc(hidden)]
#[cfg(feature = "app")]
pub mod testing;
pub mod transport;
#[cfg(feature = "app")]
pub mod websocket;
#[cfg(feature = "app")]
pub mod wire;

#[cfg(feature = "app")]
pub use server::{Server, StartError};
