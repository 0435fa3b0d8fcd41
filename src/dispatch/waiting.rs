//! Datagrams that wait for a route, or for a flow to open or to take them.

use std::collections::VecDeque;
use std::collections::vec_deque::IntoIter;

use crate::io::Packet;

/// UDP may lose what comes beyond.
const MAX_PACKETS: usize = 64;

/// The same in bytes; a queue of less takes one more.
const MAX_BYTES: usize = 128 * 1024;

#[derive(Default)]
pub(super) struct Waiting {
    packets: VecDeque<Packet>,
    bytes: usize,
}

impl Waiting {
    /// Puts a datagram at the end, or loses it.
    pub(super) fn push(&mut self, packet: Packet) {
        if self.packets.len() < MAX_PACKETS && self.bytes < MAX_BYTES {
            self.bytes += packet.data.len();
            self.packets.push_back(packet);
        }
    }

    pub(super) fn front(&self) -> Option<&Packet> {
        self.packets.front()
    }

    pub(super) fn pop(&mut self) {
        if let Some(packet) = self.packets.pop_front() {
            self.bytes -= packet.data.len();
        }
    }
}

impl IntoIterator for Waiting {
    type Item = Packet;
    type IntoIter = IntoIter<Packet>;

    fn into_iter(self) -> IntoIter<Packet> {
        self.packets.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_bounded_in_datagrams_and_in_bytes() {
        let filled = |len: usize| {
            let mut waiting = Waiting::default();
            for _ in 0..1000 {
                waiting.push(Packet {
                    peer: "192.0.2.1:53".parse().unwrap(),
                    data: vec![0; len].into(),
                });
            }
            waiting
        };
        assert_eq!(filled(10).into_iter().count(), MAX_PACKETS);
        let mut long = filled(60_000);
        assert_eq!(long.bytes, 180_000);
        long.pop();
        assert_eq!(long.bytes, 120_000);
        long.push(long.front().unwrap().clone());
        assert_eq!(long.into_iter().count(), 3);
    }
}
