//! Tests proxies: which of them answer, how fast, and why the others do not. From here, or from elsewhere.
//!
//! A *front* sends nodes to *back ends* over WebSocket and shows what comes back, as MiaoSpeed's do: FullTclash and koipy
//! are fronts. [`backend`] is the other end. Either measures with [`Lab`], which makes nodes into outbounds of this program.

pub mod backend;
pub mod codec;
mod lab;
mod measure;
mod node;
pub mod script;
pub mod survey;

pub use lab::{Lab, Mounted};
pub use measure::{Downloads, Pings, Plan, download, nat, page, pings};
pub use node::Node;
