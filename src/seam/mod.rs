//! What the rooms hand to each other.

mod accepted;
mod arrival;
mod refusal;
mod reply;

pub use accepted::{Accepted, Datagrams};
pub use arrival::Arrival;
pub use refusal::{Refusal, Unanswered};
pub use reply::Reply;
