//! How much may be there at once: connections, handshakes, what one source has of them, and what one user takes.
//!
//! A [`Gate`] counts and has bounds that may be exchanged while it counts; there is one for the process and one for each
//! inbound. Whoever comes [`enters`](Gates::enter) both or neither, and holds its places until it is gone. Counting takes
//! no more than an addition, and for a source one look into a table; nothing is held while somebody waits.

#[cfg(feature = "app")]
mod bucket;
mod full;
mod gate;
mod held;
mod settings;
mod sources;
#[cfg(feature = "app")]
mod users;

#[cfg(feature = "app")]
pub use bucket::{Bucket, Turn};
pub use full::{Full, Limit, Scope};
pub use gate::Gate;
pub use held::{Gates, Held};
pub use settings::Settings;
#[cfg(feature = "app")]
pub use users::{Pace, Share, UserSlot, Users};
