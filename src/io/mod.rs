//! What the rooms hand to each other: a byte stream in both directions, and where it came from.

mod abort;
mod backlog;
#[cfg(feature = "app")]
pub(crate) mod burst;
mod closing;
#[cfg(feature = "app")]
pub(crate) mod coop;
mod counted;
pub mod ended;
mod foreign;
mod forward;
#[cfg(feature = "app")]
pub mod fragment;
mod goodbye;
pub mod handshakes;
mod linger;
pub(crate) mod low_water;
pub mod open_files;
pub mod own_listeners;
mod packet_stream;
mod packets;
mod peer_clock;
mod pipe;
mod prefixed;
#[cfg(feature = "app")]
pub mod processes;
pub mod random;
pub mod scratch;
mod sink;
#[cfg(feature = "app")]
pub mod splice;
mod step;
mod task;
#[cfg(feature = "app")]
pub(crate) mod turns;
mod unsent;

pub use abort::{Presence, begun};
pub use backlog::Backlog;
pub use closing::{CloseReason, Closing, Holder};
pub use counted::{Counted, Udp};
pub(crate) use forward::forward;
pub use goodbye::{Goodbye, broken_off};
pub use linger::linger;
pub use packet_stream::{PacketForm, PacketStream};
pub use packets::{BindUdp, Packet, Packets};
pub use peer_clock::PeerClock;
pub use pipe::{Pipe, pipe};
pub use prefixed::Prefixed;
#[cfg(feature = "app")]
pub(crate) use sink::Pipes;
pub use sink::Sink;
pub use step::Step;
pub use task::spawn;
pub use unsent::Unsent;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// A byte stream in both directions.
///
/// * `poll_shutdown` ends our direction only (half-close), as far as the layer can say that.
/// * `poll_flush` returns ready when all that `poll_write` took has reached the layer below. A layer
///   that could not hand everything down keeps the rest and takes nothing new until it is gone.
/// * `poll_close` is for the very end, when both directions are over or given up: say goodbye as the
///   layer's protocol asks, and wait for the answer if it has one. Callers bound it in time.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_shutdown(cx)
    }

    /// Whether `poll_shutdown` leaves the other direction open, whoever the peer is.
    fn half_closes(&self) -> bool {
        true
    }

    /// Whether the peer ends the connection behind our last word, which it might lose if we did: it is to have time for that.
    fn is_left_to_peer(&self) -> bool {
        false
    }

    /// Ends our direction of the connection without a goodbye: for peers that take one for the end of both.
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_shutdown(cx)
    }

    /// Whether [`poll_end`](Self::poll_end) ends what the peer says as well: where an answer has begun it may only come when all is over.
    fn end_cuts_off(&self) -> bool {
        false
    }

    /// Says that there will be no more of us, in words that a peer passes over who does not know them.
    fn say_end(&mut self) {}

    /// Whether others wait for whoever reads this link, who share a connection with it. They may have to be told from one who has
    /// stopped by how often he takes something.
    fn holds_up_others(&self) -> bool {
        false
    }

    /// Writes `buf` from [`HEADROOM`] on, as `poll_write` does. A layer that frames what it is given may do so
    /// in place: the room in front and what it takes are its own to change, what it leaves is not.
    fn poll_write_in_place(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write(cx, &buf[HEADROOM..])
    }

    /// What is written next may wait for what follows it, up to the next flush, shutdown or close. It is
    /// only a wish.
    fn cork(&mut self) {}

    /// Why the link will be closed, for layers that can tell their peers; said before `poll_close`.
    fn set_close_reason(&mut self, _reason: CloseReason) {}

    /// What was said when reading came to its end.
    fn goodbye(&self) -> Goodbye {
        Goodbye::HasNone
    }

    /// The socket, where no layer between has a goodbye of its own: its end is then what the peer knows ours by.
    fn tcp(&self) -> Option<&TcpStream> {
        None
    }

    /// The socket beneath all layers, for who wants to know of the connection alone.
    fn socket(&self) -> Option<&TcpStream> {
        self.tcp()
    }

    /// Whether the peer is still there, as far as that is known without reading.
    fn presence(&self) -> Presence {
        Presence::at(self.socket())
    }

    /// The socket of which the next reads of this link would be, byte for byte. Who takes them from there says so with
    /// [`took`](Self::took), and leaves the end of the stream to be read here.
    fn source(&self) -> Option<&TcpStream> {
        None
    }

    /// So many bytes were taken from [`source`](Self::source).
    fn took(&mut self, _bytes: usize) {}

    /// Where the next writes of this link would be, byte for byte behind what [`poll_announce`](Self::poll_announce)
    /// writes. Who writes them there says so with [`gave`](Self::gave).
    fn sink(&self) -> Option<Sink<'_>> {
        None
    }

    /// Begins a write of so many bytes to [`sink`](Self::sink), or goes on with one of which so many are left. Ready when
    /// they come next; nothing else may be written before all of them have been.
    fn poll_announce(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _bytes: usize,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// So many bytes were written to [`sink`](Self::sink).
    fn gave(&mut self, _bytes: usize) {}

    /// The number of the socket's file, where nothing stands between.
    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    /// Ready when a read may find something; only a bare socket can tell before it is read.
    fn poll_readable(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Ready when the peer is known to have gone, and takes nothing more; what it has sent before may still have to be read.
    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// Asks the socket below, if there is one, to be readable only when `bytes` bytes have arrived. It
    /// is only a wish; whoever makes it takes it back before the last bytes wait for it.
    fn set_low_water(&mut self, _bytes: usize) {}

    /// Asks that of what was written so many bytes at most lie in the socket below, if there is one, and are not on their way,
    /// however much room it has: whoever writes then hears each time that the peer takes some.
    fn bound_unsent(&mut self, _bytes: u32) {}
}

/// A socket that is readable with the first byte, whatever anyone wishes.
impl Io for TcpStream {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn source(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn sink(&self) -> Option<Sink<'_>> {
        Some(Sink::Socket(self))
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.as_raw_fd())
    }

    fn bound_unsent(&mut self, bytes: u32) {
        // A system that refuses has whoever writes hear of it less often, no more.
        let _ = SockRef::from(&*self).set_tcp_notsent_lowat(bytes);
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A new socket is taken to be readable until it has been tried.
        self.poll_peek(cx, &mut ReadBuf::new(&mut [0])).map(|_| ())
    }
}

impl Io for UnixStream {
    fn descriptor(&self) -> Option<RawFd> {
        Some(self.as_raw_fd())
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let peek = || SockRef::from(&*self).peek(&mut [MaybeUninit::uninit()]);
        loop {
            if ready!(self.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match self.try_io(Interest::READABLE, peek) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl Io for tokio::io::DuplexStream {}
impl Io for tokio::io::Empty {}

/// Room in front of a payload that is written with [`Io::poll_write_in_place`]: the longest header of a WebSocket
/// frame fits in.
pub const HEADROOM: usize = 16;

/// A bare socket, or anything else that is a byte stream.
pub enum Link {
    Tcp(TcpStream),
    Other(Box<dyn Io>),
}

/// How long a peer gets to answer a goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

/// Whether `addr` is the address of the listener on `door`, be it that this one listens on every address.
/// A transparent inbound that took it for a destination would go round in a circle.
pub fn is_own_listener(addr: SocketAddr, door: SocketAddr) -> bool {
    let (ip, on) = (addr.ip().to_canonical(), door.ip().to_canonical());
    addr.port() == door.port() && (ip == on || (on.is_unspecified() && is_local(ip)))
}

/// Whether the address is one of this machine's: those of others cannot be bound to.
pub fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// What may lie unsent in the socket of a link that several share.
const SHARED_UNSENT: u32 = 256 * 1024;

/// The most that one read of a first flight takes; what lies behind a header in it is copied once.
const FIRST_READ: usize = 16 * 1024;

impl Link {
    pub fn other(io: impl Io + 'static) -> Self {
        Self::Other(Box::new(io))
    }

    /// Appends what one read gives to `buf`: a part of a first flight. 0 at the end.
    pub async fn read_more(&mut self, buf: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut scratch = scratch::take();
            let mut into = ReadBuf::new(&mut scratch[..FIRST_READ]);
            ready!(Pin::new(&mut *self).poll_read(cx, &mut into))?;
            buf.extend_from_slice(into.filled());
            Ok(into.filled().len()).into()
        })
        .await
    }

    /// Several are to share the link: what one of them writes must not wait long behind what another one wrote before.
    pub fn share(&mut self) {
        self.bound_unsent(SHARED_UNSENT);
    }

    /// Ends a link that nothing more can be done with, as its layers' protocols ask.
    pub async fn close(mut self) {
        self.finished();
        let goodbye = poll_fn(|cx| Pin::new(&mut self).poll_close(cx));
        // However it fares, it is over.
        let _ = timeout(GOODBYE_LIMIT, goodbye).await;
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Link::Tcp",
            Self::Other(_) => "Link::Other",
        })
    }
}

macro_rules! delegate {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Link::Tcp(io) => {
                let $io = Pin::new(io);
                $call
            }
            Link::Other(io) => {
                let $io = Pin::new(&mut **io);
                $call
            }
        }
    };
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, io => io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, io => io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Other(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, io => io.poll_shutdown(cx))
    }
}

impl Io for Link {
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Self::Other(io) => Pin::new(&mut **io).poll_close(cx),
        }
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, io => io.poll_end(cx))
    }

    fn end_cuts_off(&self) -> bool {
        match self {
            Self::Tcp(io) => io.end_cuts_off(),
            Self::Other(io) => io.end_cuts_off(),
        }
    }

    fn say_end(&mut self) {
        match self {
            Self::Tcp(io) => io.say_end(),
            Self::Other(io) => io.say_end(),
        }
    }

    fn holds_up_others(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Other(io) => io.holds_up_others(),
        }
    }

    fn is_left_to_peer(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_left_to_peer(),
            Self::Other(io) => io.is_left_to_peer(),
        }
    }

    fn half_closes(&self) -> bool {
        match self {
            Self::Tcp(io) => io.half_closes(),
            Self::Other(io) => io.half_closes(),
        }
    }

    fn poll_write_in_place(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, io => io.poll_write_in_place(cx, buf))
    }

    fn cork(&mut self) {
        if let Self::Other(io) = self {
            io.cork();
        }
    }

    fn set_close_reason(&mut self, reason: CloseReason) {
        if let Self::Other(io) = self {
            io.set_close_reason(reason);
        }
    }

    fn goodbye(&self) -> Goodbye {
        match self {
            Self::Tcp(_) => Goodbye::HasNone,
            Self::Other(io) => io.goodbye(),
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(io) => Some(io),
            Self::Other(io) => io.tcp(),
        }
    }

    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(io) => Some(io),
            Self::Other(io) => io.socket(),
        }
    }

    fn presence(&self) -> Presence {
        match self {
            Self::Tcp(io) => io.presence(),
            Self::Other(io) => io.presence(),
        }
    }

    fn source(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(io) => Some(io),
            Self::Other(io) => io.source(),
        }
    }

    fn took(&mut self, bytes: usize) {
        if let Self::Other(io) = self {
            io.took(bytes);
        }
    }

    fn sink(&self) -> Option<Sink<'_>> {
        match self {
            Self::Tcp(io) => Some(Sink::Socket(io)),
            Self::Other(io) => io.sink(),
        }
    }

    fn poll_announce(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: usize,
    ) -> Poll<io::Result<()>> {
        delegate!(self, io => io.poll_announce(cx, bytes))
    }

    fn gave(&mut self, bytes: usize) {
        if let Self::Other(io) = self {
            io.gave(bytes);
        }
    }

    fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Tcp(io) => io.descriptor(),
            Self::Other(io) => io.descriptor(),
        }
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(io) => io.poll_readable(cx),
            Self::Other(io) => io.poll_readable(cx),
        }
    }

    fn set_low_water(&mut self, bytes: usize) {
        match self {
            Self::Tcp(stream) => low_water::set(stream, bytes),
            Self::Other(io) => io.set_low_water(bytes),
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(stream) => Io::poll_gone(stream, cx),
            Self::Other(io) => io.poll_gone(cx),
        }
    }

    fn bound_unsent(&mut self, bytes: u32) {
        match self {
            Self::Tcp(stream) => stream.bound_unsent(bytes),
            Self::Other(io) => io.bound_unsent(bytes),
        }
    }
}
