//! Plain TCP, unix sockets, and the options of a socket.
//!
//! [`mod@connect`] races the addresses of a name, [`listen()`], [`listen_unix`] and [`listen_abstract`]
//! make a [`Listener`]. Every socket gets `TCP_NODELAY`, and keep-alive as Go programs have it.

mod connect;
pub mod handed;
mod listen;
mod local;
mod options;
mod place;
mod settings;
mod transparent;
mod unix;

pub use connect::connect;
pub use listen::{
    Bind, Listener, listen, listen_as, share_place, udp_listen, udp_listen_as, udp_socket,
};
pub use local::connect_behind;
pub use place::Listen;
pub use settings::{FastOpen, KeepAlive, Race, SockOpt, TcpOptions, Tproxy};
pub use transparent::udp_answer;
pub use unix::{
    UnixSocket, connect_abstract, connect_unix, join_mode, listen_abstract, listen_unix,
    split_mode, without_mode,
};
