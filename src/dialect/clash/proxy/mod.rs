//! One proxy in Clash's form, as its files have it and fronts send it: from a map to an outbound, and back.

mod plugin;
mod read;
mod stream;
mod write;

pub(in crate::dialect) use read::{plain, read};
pub(in crate::dialect) use write::write;
