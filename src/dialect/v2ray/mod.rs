//! V2Ray's and Xray's `config.json`, in the spelling of V2Ray 4 and of V2Ray 5.
//!
//! [`mod@load`] reads the files and merges them ([`mod@merge`]), `read` goes through the top level with the words of
//! [`json`], and each file beside it reads the settings of one room.

mod api;
mod browser;
mod dns;
pub(in crate::dialect) mod domain_socket;
mod finalmask;
mod five;
pub(in crate::dialect) mod foreign;
mod four;
mod global;
pub(in crate::dialect) mod grpc;
mod h2;
pub(in crate::dialect) mod httpupgrade;
mod inbound;
pub mod json;
pub mod languages;
mod limits;
mod load;
mod log;
mod merge;
mod message;
mod metrics;
mod mux;
mod mws;
mod observatory;
mod outbound;
pub mod part;
mod policy;
pub(in crate::dialect) mod protocols;
mod read;
mod reverse;
mod routing;
pub(in crate::dialect) mod site;
pub(in crate::dialect) mod sniffing;
mod sockopt;
mod stream_settings;
mod tcp;
pub(in crate::dialect) mod tls;
pub(in crate::dialect) mod upgrade;
mod write;
pub(in crate::dialect) mod ws;

pub(in crate::dialect) use dns::alone as read_dns;
pub(in crate::dialect) use finalmask::alone as read_mask;
pub(in crate::dialect) use five::write as write_five;
pub(in crate::dialect) use four::write as write_four;
pub(in crate::dialect) use load::is_text_of_five;
pub use load::{Format, Input, Loaded, Options, load, merge};
pub(in crate::dialect) use routing::one as read_rule;
pub(in crate::dialect) use write::balancers as write_balancers;
pub(in crate::dialect) use write::config as write_config;
pub(in crate::dialect) use write::mask as write_mask;
pub use write::{outbound as write_outbound, plugin as write_plugin};
