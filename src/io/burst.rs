//! Fewer wake-ups while much is coming.
//!
//! A proxy that is faster than its peer is woken for every arrival, each a small part of what its buffer
//! holds. While a direction brings [`LOW_WATER`] and more within [`PATIENCE`], its socket is asked to wake us for as much
//! only (`SO_RCVLOWAT`, socket(7)), at most for [`HIGH_WATER`]. What is less than that, the end of a burst for one, waits for
//! a timer: for [`PATIENCE`], and the millisecond or so that timers take. An end of the stream and an error wake us at once, and
//! so does a receive buffer that is nearly full (Linux, `tcp_epollin_ready`).
//!
//! Who speaks by turns would wait for the timer with the end of each turn. So a wait must have brought [`WORTH_WAITING`]
//! before the timer ended it; the next one comes soon then, and otherwise after twice as many bytes as this one.

use std::time::Duration;

use tokio::time::Instant;

use super::{Io, Link};

/// What a direction carries before it may count as a burst; as those of its relatives, this is a power of two.
const BURST_START: u32 = 1024 * 1024;

/// What makes a wait worth the delay at its end.
const WORTH_WAITING: u32 = 2 * BURST_START;

/// What a direction carries before it waits again, if that was worth it. A peer that shares its core with us
/// pauses for longer than [`PATIENCE`] every few megabytes.
const RESTART_AFTER: u32 = BURST_START / 8;

/// Waits in vain put off the next one no further than this.
const MAX_BACKOFF: u32 = BURST_START * 256;

const LOW_WATER: usize = 192 * 1024;

/// Beyond some reads at once nothing is won, and the system has the receive buffer grow to twice as much.
const HIGH_WATER: usize = 4 * LOW_WATER;

/// How long bytes below the mark may wait.
const PATIENCE: Duration = Duration::from_millis(2);

/// What one direction has read lately. Flat, for every tunnel holds two.
pub(crate) struct Burst {
    /// When counting began; while the socket waits for many bytes, the last read.
    at: Option<Instant>,
    bytes: u32,
    /// No more are counted than there is room for; their mean is then less than any mark.
    reads: u16,
    waits: bool,
    /// How many bytes count as a burst: two to the power of this.
    enough: u8,
}

impl Default for Burst {
    fn default() -> Self {
        Self::counted_to(power(BURST_START))
    }
}

/// Which power of two it is.
fn power(bytes: u32) -> u8 {
    bytes.ilog2() as u8
}

impl Burst {
    fn counted_to(enough: u8) -> Self {
        Self {
            at: None,
            bytes: 0,
            reads: 0,
            waits: false,
            enough,
        }
    }

    /// `n` bytes were read from `from`.
    pub(crate) fn read(&mut self, n: usize, from: &mut Link) {
        self.bytes = self.bytes.saturating_add(n as u32);
        if self.waits {
            self.at = Some(Instant::now());
            return;
        }
        let began = *self.at.get_or_insert_with(Instant::now);
        self.reads = self.reads.saturating_add(1);
        if self.bytes < 1 << self.enough {
            return;
        }
        let now = Instant::now();
        let rate = f64::from(self.bytes) / (now - began).as_secs_f64();
        let mark = ((rate * PATIENCE.as_secs_f64()) as usize).min(HIGH_WATER);
        // Reads that are large anyway have nothing to win.
        let small = self.bytes / u32::from(self.reads) < LOW_WATER as u32;
        *self = Self::counted_to(self.enough);
        if mark >= LOW_WATER && small {
            from.set_low_water(mark);
            (self.at, self.waits) = (Some(now), true);
        }
    }

    /// When the socket must be let go of, if nothing comes before.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.at.filter(|_| self.waits).map(|last| last + PATIENCE)
    }

    /// Lets go of the socket if it is time. What it holds already wakes us then.
    pub(crate) fn release(&mut self, now: Instant, from: &mut Link) {
        if self.due().is_some_and(|due| due <= now) {
            self.end(from);
        }
    }

    /// Has the socket wake us for every byte again: what a layer still reads, such as a goodbye, is short.
    pub(crate) fn end(&mut self, from: &mut Link) {
        if self.waits {
            from.set_low_water(1);
            self.enough = match self.bytes >= WORTH_WAITING {
                true => power(RESTART_AFTER),
                false => (self.enough + 1).min(power(MAX_BACKOFF)),
            };
        }
        *self = Self::counted_to(self.enough);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::low_water;
    use crate::relay::{Allowance, Relay};
    use crate::testing::tcp_pair as pair;
    use crate::transport::ws::{WsStream, codec::Role};
    use socket2::Socket;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    /// Small enough to be no full read, and large enough for a burst.
    const PIECE: usize = 16 * 1024;

    #[tokio::test]
    async fn the_end_of_a_burst_waits_for_a_moment_only() {
        let (mut client, socket, mut target) = tunnel().await;
        let mut waits = Vec::new();
        for _ in 0..4 {
            burst(&mut client, &socket, &mut target).await;
            let begin = Instant::now();
            client.write_all(b"the end").await.unwrap();
            receive(&mut target, 7).await;
            waits.push(begin.elapsed());
            assert_eq!(low_water::get(&socket), 1);
        }
        waits.sort_unstable();
        let median = waits[waits.len() / 2];
        assert!(median < 10 * PATIENCE, "{waits:?}");
    }

    #[tokio::test]
    async fn the_end_of_the_stream_does_not_wait() {
        let (mut client, socket, mut target) = tunnel().await;
        burst(&mut client, &socket, &mut target).await;
        client.write_all(b"the end").await.unwrap();
        client.shutdown().await.unwrap();
        receive(&mut target, 7).await;
        assert_eq!(target.read(&mut [0]).await.unwrap(), 0);
        // A goodbye would be shorter than the mark.
        assert_eq!(low_water::get(&socket), 1);
    }

    #[tokio::test]
    async fn who_speaks_by_turns_is_soon_left_alone() {
        let (ours, _theirs) = pair().await;
        let mut link = Link::Tcp(ours);
        let mut burst = Burst::default();
        let mut waits = 0;
        for _ in 0..64 * BURST_START / PIECE as u32 {
            burst.read(PIECE, &mut link);
            if let Some(due) = burst.due() {
                burst.release(due, &mut link);
                waits += 1;
            }
        }
        // After 1, 3, 7, 15, 31 and 63 MiB.
        assert_eq!(waits, 6);
    }

    #[tokio::test]
    async fn a_pause_puts_off_what_is_worth_it_for_a_moment() {
        let (ours, _theirs) = pair().await;
        let mut link = Link::Tcp(ours);
        let mut burst = Burst::default();
        let mut until_it_waits = |burst: &mut Burst| {
            let reads = (0..).take_while(|_| {
                burst.read(PIECE, &mut link);
                burst.due().is_none()
            });
            let bytes = (reads.count() + 1) * PIECE;
            for _ in 0..(WORTH_WAITING as usize).div_ceil(LOW_WATER) {
                burst.read(LOW_WATER, &mut link);
            }
            burst.release(burst.due().unwrap(), &mut link);
            bytes as u32
        };
        assert_eq!(until_it_waits(&mut burst), BURST_START);
        assert_eq!(until_it_waits(&mut burst), RESTART_AFTER);
        assert_eq!(until_it_waits(&mut burst), RESTART_AFTER);
    }

    #[tokio::test]
    async fn a_slow_stream_is_no_burst() {
        let (ours, _theirs) = pair().await;
        let mut link = Link::Tcp(ours);
        let mut burst = Burst::default();
        for i in 0..2 * BURST_START / PIECE as u32 {
            if i % 32 == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            burst.read(PIECE, &mut link);
            assert_eq!(burst.due(), None);
        }
    }

    #[tokio::test]
    async fn the_wish_passes_through_a_websocket() {
        let (ours, _theirs) = pair().await;
        let socket = duplicate(&ours);
        let mut link = Link::other(WsStream::new(Link::Tcp(ours), Role::Server, None));
        link.set_low_water(LOW_WATER);
        assert_eq!(low_water::get(&socket), LOW_WATER);
    }

    /// Sends until the relay has noticed.
    async fn burst(client: &mut TcpStream, socket: &Socket, target: &mut TcpStream) {
        for _ in 0..16 * BURST_START / PIECE as u32 {
            if low_water::get(socket) >= LOW_WATER {
                return;
            }
            send(client, PIECE, target).await;
        }
        panic!("this is no burst");
    }

    /// In pieces, each of which has arrived before the next one goes out.
    async fn send(client: &mut TcpStream, len: usize, target: &mut TcpStream) {
        for _ in 0..len / PIECE {
            client.write_all(&[7; PIECE]).await.unwrap();
            receive(target, PIECE).await;
        }
    }

    async fn receive(target: &mut TcpStream, len: usize) {
        let mut bytes = vec![0; len];
        let read = timeout(Duration::from_secs(5), target.read_exact(&mut bytes));
        read.await.expect("the bytes do not come").unwrap();
    }

    /// The client, the socket that the relay reads it from, and the target.
    async fn tunnel() -> (TcpStream, Socket, TcpStream) {
        let (from, client) = pair().await;
        let (to, target) = pair().await;
        let socket = duplicate(&from);
        let (from, to) = (Link::Tcp(from), Link::Tcp(to));
        crate::io::spawn(Relay::new(from, to, Vec::new(), Allowance::default()));
        (client, socket, target)
    }

    fn duplicate(stream: &TcpStream) -> Socket {
        socket2::SockRef::from(stream).try_clone().unwrap()
    }
}
