//! The frames of an Initial packet, and the stream that its CRYPTO frames are pieces of.

use super::{number, take};

/// Hands each piece of the handshake to `put`, with its place. `None` when a frame is none that may
/// stand in an Initial packet (RFC 9000, 17.2.2), or `put` refuses.
pub(super) fn crypto(
    mut frames: &[u8],
    mut put: impl FnMut(usize, &[u8]) -> Option<()>,
) -> Option<()> {
    while let Some((kind, rest)) = frames.split_first() {
        frames = rest;
        match kind {
            // PADDING, PING
            0x00 | 0x01 => {}
            // ACK: largest, delay, count, first range, ranges; with ECN three counts.
            0x02 | 0x03 => {
                let mut numbers = |n: usize| (0..n).try_for_each(|_| number(&mut frames).map(drop));
                numbers(2)?;
                let ranges = number(&mut frames)?;
                let ecn = if *kind == 0x03 { 3 } else { 0 };
                // Each number takes a byte at least, so that the end of the packet ends this.
                let n = ranges.checked_mul(2)?.checked_add(1 + ecn)?;
                (0..n).try_for_each(|_| number(&mut frames).map(drop))?;
            }
            // CRYPTO: place, length, data.
            0x06 => {
                let at = number(&mut frames)?;
                let len = number(&mut frames)?;
                put(at, take(&mut frames, len)?)?;
            }
            // CONNECTION_CLOSE: error, frame type, length, reason.
            0x1c => {
                number(&mut frames)?;
                number(&mut frames)?;
                let len = number(&mut frames)?;
                take(&mut frames, len)?;
            }
            _ => return None,
        }
    }
    Some(())
}

/// The beginning of a stream whose pieces come in any order.
#[derive(Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Which of them have come, in order, none touching the next.
    ranges: Vec<(usize, usize)>,
}

/// A hello that is longer is not looked into.
const MAX_HELLO: usize = 16 * 1024;

/// Gaps that are kept at a time; Chromium makes a dozen pieces.
const MAX_RANGES: usize = 64;

impl Pieces {
    /// `None` for what is too far away, or in too many pieces.
    pub(super) fn put(&mut self, at: usize, data: &[u8]) -> Option<()> {
        let end = at.checked_add(data.len()).filter(|end| *end <= MAX_HELLO)?;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(data);
        let (mut from, mut to) = (at, end);
        self.ranges.retain(|(a, b)| {
            let apart = *b < from || to < *a;
            if !apart {
                (from, to) = (from.min(*a), to.max(*b));
            }
            apart
        });
        let place = self.ranges.partition_point(|(a, _)| *a < from);
        self.ranges.insert(place, (from, to));
        (self.ranges.len() <= MAX_RANGES).then_some(())
    }

    /// What has come without a gap.
    pub(super) fn beginning(&self) -> &[u8] {
        match self.ranges.first() {
            Some((0, end)) => &self.bytes[..*end],
            _ => &[],
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_any_order() {
        let text = b"0123456789abcdef";
        // (from, to): gaps, overlaps and what was there before.
        let mut pieces = Pieces::default();
        for (from, to, known) in [
            (4, 6, 0),
            (8, 12, 0),
            (0, 2, 2),
            (5, 9, 2),
            (1, 5, 12),
            (12, 16, 16),
            (0, 3, 16),
        ] {
            assert_eq!(pieces.put(from, &text[from..to]), Some(()));
            assert_eq!(pieces.beginning(), &text[..known], "after {from} to {to}");
        }
        assert_eq!(pieces.ranges, [(0, 16)]);
    }

    #[test]
    fn no_more_than_a_bound_is_kept() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.put(MAX_HELLO - 1, b"x"), Some(()));
        assert_eq!(pieces.put(MAX_HELLO, b"x"), None);
        assert_eq!(pieces.put(usize::MAX, b"x"), None);
        let mut pieces = Pieces::default();
        let kept = (0..).take_while(|i| pieces.put(2 * i, b"x").is_some());
        assert_eq!(kept.count(), MAX_RANGES);
    }

    #[test]
    fn only_frames_of_an_initial_packet_are_understood() {
        let pieces = |frames: &[u8]| {
            let mut found = Vec::new();
            crypto(frames, |at, data| {
                found.push((at, data.to_vec()));
                Some(())
            })
            .map(|()| found)
        };
        // ACK with one more range, the same with ECN, CONNECTION_CLOSE, and CRYPTO between PADDING.
        let all = b"\x02\x05\x00\x01\x00\x01\x01\x03\x05\x00\x00\x00\x01\x02\x03\x1c\x0a\x06\x02no\x00\x06\x40\x09\x02hi\x01\x00";
        assert_eq!(pieces(all), Some(vec![(9, b"hi".to_vec())]));
        for bad in [
            &b"\x08\x00"[..],
            b"\x06\x00\x05hi",
            b"\x02\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00",
        ] {
            assert_eq!(pieces(bad), None, "{bad:02x?}");
        }
    }
}
