//! Sets of names and of addresses, and the files that they come from; rules, sniffing and the built-in DNS ask them.

mod domains;
pub mod geodata;
mod ips;

pub use domains::{Domains, MatchRank, Name, Pattern};
pub(crate) use domains::{check_regex, regex};
pub use geodata::Geodata;
pub use ips::{Cidr, CidrError, Ips, Networks};
