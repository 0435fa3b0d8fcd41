//! mobula runs a V2Ray `config.json`: VMess over WebSocket, server and client.
//!
//! Bytes travel through rooms that know nothing of each other. A [`transport`] makes a
//! [`io::Link`] (TCP, TLS, WebSocket). A [`protocol`] dresses a link: inbound it says what was asked
//! for, outbound it wraps what is sent. Only [`dispatch`] knows both; [`relay`] copies between two
//! links. [`config`] reads the JSON with the words of [`json`], and [`app`] turns it into sockets.
//!
//! Without the feature `app` only the WebSocket transport is built ([`transport::ws`]), for programs of other people;
//! `tls` adds TLS to it.
//!
//! `docs/architecture.md` has the picture and the rules about who may import whom.

pub mod address;
#[cfg(feature = "app")]
pub mod api;
#[cfg(feature = "app")]
pub mod app;
pub mod cause;
#[cfg(feature = "app")]
pub mod cli;
#[cfg(feature = "app")]
pub mod config;
#[cfg(feature = "app")]
pub mod dialect;
#[cfg(feature = "app")]
pub mod dispatch;
#[cfg(feature = "app")]
pub mod dns;
pub mod http;
pub mod io;
#[cfg(feature = "app")]
pub mod log;
#[cfg(feature = "app")]
pub mod matching;
#[cfg(feature = "app")]
pub mod mux;
#[cfg(feature = "app")]
pub mod observatory;
#[cfg(feature = "app")]
pub mod policy;
#[cfg(feature = "app")]
pub mod protocol;
#[cfg(feature = "app")]
pub mod relay;
#[cfg(feature = "app")]
pub mod report;
#[cfg(feature = "app")]
pub mod routing;
pub mod seam;
pub mod secret;
pub mod session;
#[cfg(feature = "app")]
pub mod sniffing;
pub mod stats;
#[doc(hidden)]
#[cfg(feature = "app")]
pub mod testing;
pub mod transport;
#[cfg(feature = "app")]
pub mod wire;
