//! Where the bytes of a pipe go.

#[cfg(feature = "app")]
use std::io;
#[cfg(feature = "app")]
use std::task::{Context, Poll};

use tokio::net::TcpStream;

#[cfg(feature = "app")]
use super::splice::Spliced;

/// What takes bytes from a pipe as the next writes of a link.
#[derive(Clone, Copy)]
pub enum Sink<'a> {
    /// The socket on which they would be, byte for byte.
    Socket(&'a TcpStream),
    /// A place among others' frames, from where the task that they have in common takes them to a socket.
    #[cfg(feature = "app")]
    Frames(&'a dyn Pipes),
}

/// Takes whole pipes.
#[cfg(feature = "app")]
pub trait Pipes {
    /// How much a pipe may have in it.
    fn room(&self) -> usize;

    /// Takes what is in `pipe`, and tells how much that was: nothing where it is to be written in the usual way.
    ///
    /// # Errors
    ///
    /// Those of a write.
    fn poll_put(&self, cx: &Context<'_>, pipe: &mut Spliced) -> Poll<io::Result<usize>>;
}

impl<'a> Sink<'a> {
    /// The socket, where bytes go into it without a detour.
    pub fn socket(self) -> Option<&'a TcpStream> {
        match self {
            Self::Socket(socket) => Some(socket),
            #[cfg(feature = "app")]
            Self::Frames(_) => None,
        }
    }

    /// The most that a pipe for it may have in it.
    #[cfg(feature = "app")]
    pub fn room(self) -> usize {
        match self {
            Self::Socket(_) => usize::MAX,
            Self::Frames(frames) => frames.room(),
        }
    }
}
