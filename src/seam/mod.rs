//! What the rooms hand to each other.

mod accepted;
mod arrival;
mod far_end;
mod refusal;
mod reply;

pub use accepted::{Accepted, Datagrams};
pub use arrival::Arrival;
pub use far_end::FarEnd;
pub use refusal::{Refusal, Unanswered};
pub use reply::Reply;
