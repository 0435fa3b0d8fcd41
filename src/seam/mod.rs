//! What the rooms hand to each other.

mod accepted;

pub use accepted::{Accepted, Datagrams};
