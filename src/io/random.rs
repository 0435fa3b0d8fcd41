//! Bytes that must look like chance and are no secret: mask keys and padding, which stand on the wire as
//! they are. The system is asked once for many of them.

use std::cell::RefCell;

/// Bytes a thread draws at once.
const POOL: usize = 1024;

thread_local! {
    /// The bytes, and how many of them are left, at the front.
    static DRAWN: RefCell<([u8; POOL], usize)> = const { RefCell::new(([0; POOL], 0)) };
}

/// Fills `out`, each time with other bytes.
pub fn fill(out: &mut [u8]) {
    DRAWN.with_borrow_mut(|(pool, left)| {
        for part in out.chunks_mut(POOL) {
            if *left < part.len() {
                getrandom::fill(pool).expect("the system has random bytes");
                *left = POOL;
            }
            *left -= part.len();
            part.copy_from_slice(&pool[*left..*left + part.len()]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn nothing_is_given_twice() {
        let drawn: HashSet<[u8; 8]> = (0..10_000)
            .map(|_| {
                let mut bytes = [0; 8];
                fill(&mut bytes);
                bytes
            })
            .collect();
        assert_eq!(drawn.len(), 10_000);
        let mut large = [0; 3 * POOL + 7];
        fill(&mut large);
        let words: HashSet<&[u8]> = large.chunks_exact(8).collect();
        assert_eq!(words.len(), large.len() / 8);
    }
}
