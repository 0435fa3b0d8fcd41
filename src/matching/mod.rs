//! Sets of names and of addresses, and the files that they come from; rules, sniffing and the built-in DNS ask them.
//!
//! A set is a value: it is built once, where settings are read, and copies of it share what it holds.

mod domains;
pub mod geodata;
mod go_regex;
mod ips;
mod names;
mod patterns;

pub use domains::{Domains, MatchRank, Name};
pub use geodata::Geodata;
pub use ips::{Ips, NetworkError, Networks, network, parse_network};
pub use patterns::{Pattern, PatternError, Regex};
