//! What fronts and back ends of MiaoSpeed say to each other: one JSON value in each message of a WebSocket.
//!
//! ```text
//! front                                        back end
//! {"Basics","Options","Configs","Vendor",
//!  "Nodes","RandomSequence","Challenge"} ────▶
//!                                        ◀──── {"ID","MiaoSpeedVersion","Error","Result":null,"Progress":{"Index","Record","Queuing"}}
//!                                        ◀──── {…,"Result":{"Request","Results":[slot, …]},"Progress":null}
//! ```

mod answer;
mod matrix;
mod place;
mod request;
mod scripted;
mod sign;
mod stun;
mod text;

pub use answer::{Answer, ProxyInfo, Record, Said, Slot, error, progress, result};
pub use matrix::{Cell, Macro, Matrix, Measured, Pinged, Speed};
pub use place::{Ends, Location, Stacks};
pub use request::{Basics, Configs, MatrixEntry, Node, Options, Request, Script};
pub use scripted::Scripted;
pub use sign::{BUILD_TOKEN, Tokens, Unsigned};
pub use stun::{Binding, NatType, binding_request};

/// The version of MiaoSpeed whose messages these are.
pub const VERSION: &str = "4.5.8";
