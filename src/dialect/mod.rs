//! The languages that a config may be written in: text in, [`Config`](crate::config::Config) out.
//!
//! Only this room knows keys. A dialect has a reader for each room's settings, and the messages of its mistakes.

mod clash;
pub mod form;
pub mod gost;
mod groups;
mod keys;
pub mod links;
mod lost;
pub mod messages;
pub mod names;
mod nodes;
pub mod payload;
pub mod plugin;
mod rules;
mod said;
mod singbox;
mod text;
mod tree;
pub mod tunnel;
pub mod v2ray;
