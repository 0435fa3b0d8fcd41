//! What the rooms hand to each other.

mod accepted;
mod arrival;
mod fallback;
mod far_end;
mod refusal;
mod reply;

pub use accepted::{Accepted, Admission, Datagrams};
pub use arrival::{Arrival, TlsFacts};
pub use fallback::{Fallback, FallbackTarget, ProxyVersion};
pub use far_end::FarEnd;
pub use refusal::{Refusal, Unanswered};
pub use reply::Reply;
