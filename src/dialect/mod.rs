//! The languages that a config may be written in: text in, [`Config`](crate::config::Config) out.
//!
//! Only this room knows keys. A dialect has a reader for each room's settings, and the messages of its mistakes.

mod clash;
mod clients;
pub mod contents;
pub mod encoding;
pub mod form;
pub mod gost;
pub mod links;
pub mod messages;
pub mod names;
pub mod payload;
pub mod plugin;
mod singbox;
mod surrogates;
mod tree;
pub mod tunnel;
pub mod v2ray;
