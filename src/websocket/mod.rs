//! WebSocket by itself: messages for people and programs, where [`transport::ws`](crate::transport::ws) carries a tunnel.
//!
//! ```text
//! address ─▶ connect (proxy, TCP, TLS, upgrade) ─▶ talk: lines or bytes in, messages out
//! server: accept ─▶ TLS ─▶ door (HTTP) ─▶ member ─▶ printed, echoed, or told to the others of its room
//! ```
//!
//! A client's frames are tungstenite's, for whole messages are wanted here; a server's are the transport's, for tungstenite keeps
//! the buffers of the longest message. What an opened connection may cost is bounded on
//! either side: messages have a size, queues have one, and so has everything of a server's together.

mod address;
mod close;
mod connect;
mod input;
mod origins;
mod proxy;
pub mod server;
mod talk;

pub use address::{Address, AddressError};
pub use close::meaning;
pub use connect::{ClientSettings, ConnectError, Opened, Step, connect};
pub use input::{Form, Input, InputError, shown};
pub use origins::{Origin, OriginError, Origins};
pub use proxy::{Proxy, ProxyError};
pub use talk::{End, Event, Options, talk};

/// The longest message that a client takes, or sends.
pub const MAX_RECEIVED: usize = 64 << 20;

/// The longest message that a server takes.
pub const MAX_MESSAGE: usize = 16 << 20;
