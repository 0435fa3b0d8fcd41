//! Which packet ids of a session have been seen.

/// The newest ids exactly; what is older than all of them is refused.
#[derive(Debug)]
pub struct Window {
    /// One above the highest id that was seen.
    next: u64,
    /// Of the id `n`, bit `n % SIZE`.
    seen: [u64; WORDS],
}

const WORDS: usize = 32;

/// How much later than others a datagram may come.
const SIZE: u64 = 64 * WORDS as u64;

impl Default for Window {
    fn default() -> Self {
        Self {
            next: 0,
            seen: [0; WORDS],
        }
    }
}

impl Window {
    /// Whether `id` could be taken.
    pub fn is_new(&self, id: u64) -> bool {
        if id >= self.next {
            return id < u64::MAX;
        }
        let (word, bit) = place(id);
        self.next - id <= SIZE && self.seen[word] & bit == 0
    }

    /// Takes `id`, if it is new. Only of what has opened: else anybody could move the window.
    pub fn take(&mut self, id: u64) -> bool {
        if !self.is_new(id) {
            return false;
        }
        if id >= self.next {
            if id - self.next >= SIZE {
                self.seen = [0; WORDS];
            } else {
                for passed in self.next..id {
                    let (word, bit) = place(passed);
                    self.seen[word] &= !bit;
                }
            }
            self.next = id + 1;
        }
        let (word, bit) = place(id);
        self.seen[word] |= bit;
        true
    }
}

fn place(id: u64) -> (usize, u64) {
    let at = id % SIZE;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_id_is_taken_once_and_not_when_it_is_too_old() {
        let mut window = Window::default();
        for id in [0, 1, 5, 3, 2, SIZE, SIZE + 5] {
            assert!(window.take(id), "{id}");
            assert!(!window.take(id), "{id} again");
        }
        assert!(!window.take(5), "it is older than the window");
        assert!(window.take(6));
        assert!(window.take(10 * SIZE));
        assert!(!window.take(9 * SIZE));
        assert!(window.take(9 * SIZE + 1));
        assert!(!window.take(u64::MAX), "there would be no next one");
    }

    #[test]
    fn it_is_a_set_of_all_that_was_seen() {
        let mut window = Window::default();
        let mut seen = HashSet::new();
        let (mut at, mut chance, mut newest) = (0_u64, 12345_u64, 0);
        for _ in 0..20_000 {
            chance = chance.wrapping_mul(6364136223846793005).wrapping_add(1);
            at += chance >> 62;
            let id = at.saturating_sub((chance >> 40) % (2 * SIZE));
            let expected = newest < id + SIZE && !seen.contains(&id);
            assert_eq!(window.take(id), expected, "{id} after {newest}");
            if expected {
                seen.insert(id);
                newest = newest.max(id);
            }
        }
    }
}
