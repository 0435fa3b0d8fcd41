//! The bytes of Shadowsocks.

pub mod chunks;
mod counted;
pub mod head;
pub mod identity;
pub mod keys;
pub mod method;
pub mod packet;
pub mod packet_2022;
#[cfg(test)]
mod tests;
pub mod window;

/// What every sealed piece has behind it.
pub use crate::aead::TAG;

/// How far the clock of the other end may be off, by SIP022.
pub const MAX_SKEW: u64 = 30;

/// The longest address: type, length, name and port.
pub const MAX_ADDRESS: usize = 1 + 1 + 255 + 2;

/// Seconds between two clocks, and whether `theirs` is the late one.
pub fn skew(theirs: u64, ours: u64) -> (u64, bool) {
    (theirs.abs_diff(ours), theirs < ours)
}
