//! Bytes that wait for their reader, in pieces.
//!
//! What grows at one end and is taken from the other would be moved, and take two to three times the place of what is in it,
//! if it were one buffer. Of pieces, those that are read are given back.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::copy;

/// The largest piece.
const PIECE: usize = 64 * 1024;

/// Pieces of that size that a thread keeps: a fast stream would have the system clear new pages for each.
const KEPT: usize = 8;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Default)]
pub struct Backlog {
    pieces: VecDeque<Piece>,
    len: usize,
}

struct Piece {
    bytes: Vec<u8>,
    taken: usize,
}

impl Backlog {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `bytes` behind what is there.
    pub fn put(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        if let Some(last) = self.pieces.back_mut() {
            bytes = last.fill(bytes);
        }
        while !bytes.is_empty() {
            // Very small ones would take more place than what is in them; what is little has no need of a large one.
            let mut piece = Piece::of(self.len.min(PIECE));
            bytes = piece.fill(bytes);
            self.pieces.push_back(piece);
        }
    }

    /// Takes at most `most` bytes, and gives them to `out` in their order; tells how many.
    pub fn take(&mut self, most: usize, mut out: impl FnMut(&[u8])) -> usize {
        let mut n = 0;
        while let Some(first) = self.pieces.front_mut() {
            let waiting = &first.bytes[first.taken..];
            let taken = waiting.len().min(most - n);
            out(&waiting[..taken]);
            first.taken += taken;
            n += taken;
            if first.taken < first.bytes.len() {
                break;
            }
            self.pieces.pop_front();
        }
        self.len -= n;
        if self.is_empty() {
            // Who has nothing to read holds no buffer.
            self.pieces = VecDeque::new();
        }
        n
    }
}

impl Piece {
    fn of(size: usize) -> Self {
        let kept = match size {
            PIECE => FREE.with_borrow_mut(Vec::pop),
            _ => None,
        };
        Self {
            bytes: kept.unwrap_or_else(|| Vec::with_capacity(size)),
            taken: 0,
        }
    }

    /// Takes as many bytes as there is room for; gives back the others.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let room = self.bytes.capacity() - self.bytes.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        copy::append(first, &mut self.bytes);
        rest
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if self.bytes.capacity() != PIECE {
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // The thread may be ending, and its list gone; then the piece is freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(backlog: &mut Backlog, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let n = backlog.take(most, |bytes| out.extend_from_slice(bytes));
        assert_eq!(n, out.len());
        out
    }

    fn place(backlog: &Backlog) -> usize {
        let pieces = backlog.pieces.iter();
        pieces
            .map(|piece| piece.bytes.capacity() + size_of::<Piece>())
            .sum()
    }

    #[test]
    fn what_was_put_is_taken_in_order_whatever_the_pieces() {
        let bytes: Vec<u8> = (0..300_000).map(|n| (n % 251) as u8).collect();
        for (put, most) in [
            (1000, 700),
            (7, 100_000),
            (100_000, 33_333),
            (300_000, 300_000),
        ] {
            let mut backlog = Backlog::default();
            let (mut out, mut held) = (Vec::new(), 0);
            for bytes in bytes.chunks(put) {
                backlog.put(bytes);
                held += bytes.len();
                assert_eq!(backlog.len(), held);
                if held >= most {
                    let taken = taken(&mut backlog, most);
                    assert_eq!(taken.len(), most);
                    held -= most;
                    out.extend(taken);
                }
            }
            out.extend(taken(&mut backlog, usize::MAX));
            assert!(backlog.is_empty());
            assert!(out == bytes, "{put} {most}");
        }
    }

    #[test]
    fn it_takes_little_more_place_than_what_is_in_it() {
        let mut backlog = Backlog::default();
        assert_eq!(place(&backlog), 0);
        backlog.put(b"a few");
        assert!(place(&backlog) < 100);
        // In equilibrium, as where a reader is slow.
        for _ in 0..100_000 {
            backlog.put(&[7; 100]);
            if backlog.len() > 1 << 20 {
                taken(&mut backlog, 100);
            }
        }
        assert!(place(&backlog) < backlog.len() + 2 * PIECE + backlog.len() / 100);
        taken(&mut backlog, usize::MAX);
        assert_eq!(place(&backlog), 0);
        // One byte at a time.
        for _ in 0..100_000 {
            backlog.put(&[7]);
        }
        assert!(place(&backlog) < 2 * backlog.len(), "{}", place(&backlog));
    }
}
