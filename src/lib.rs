//! mobula runs a V2Ray `config.json`: VMess over WebSocket, server and client.
//!
//! Bytes travel through rooms that know nothing of each other. A [`transport`] makes a
//! [`io::Link`] (TCP, TLS, WebSocket). A [`protocol`] dresses a link: inbound it says what was asked
//! for, outbound it wraps what is sent. Only [`dispatch`] knows both; [`relay`] copies between two
//! links. [`config`] reads the JSON with the words of [`json`], and [`app`] turns it into sockets.
//!
//! `docs/architecture.md` has the picture and the rules about who may import whom.

pub mod address;
pub mod api;
pub mod app;
pub mod cause;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod dispatch;
pub mod dns;
pub mod http;
pub mod io;
pub mod log;
pub mod matching;
pub mod mux;
pub mod observatory;
pub mod policy;
pub mod protocol;
pub mod relay;
pub mod report;
pub mod routing;
pub mod seam;
pub mod secret;
pub mod session;
pub mod sniffing;
pub mod stats;
#[doc(hidden)]
pub mod testing;
pub mod transport;
pub mod wire;
