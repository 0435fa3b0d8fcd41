//! Big buffers that live with the thread, not with the tunnel.
//!
//! A buffer is taken when there is something to read and given back before the poll ends, so that an
//! idle tunnel holds none in any layer. Nested layers get one each.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Bytes in one buffer: the most that is written at once.
pub const LEN: usize = 256 * 1024;

/// The most that is read at once. Sealed and framed it still fits into one buffer, and goes out in one
/// write.
pub const READ: usize = LEN - 4 * 1024;

/// Buffers a thread keeps for the next taker: as many as layers nest in the usual configs.
const KEPT: usize = 6;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A borrowed buffer of [`LEN`] bytes with unspecified content. Do not hold it across a `Pending`.
pub struct Scratch(Option<Box<[u8]>>);

pub fn take() -> Scratch {
    let free = FREE.with_borrow_mut(Vec::pop);
    Scratch(Some(
        free.unwrap_or_else(|| vec![0; LEN].into_boxed_slice()),
    ))
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(buf) = self.0.take() else { return };
        // The thread may be ending, and its list gone; then the buffer is freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(buf);
            }
        });
    }
}
