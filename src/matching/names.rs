//! A sorted table of names in compact text, in which one bisection finds a name, or the one above it.

use std::cmp::Ordering;

/// The name backwards, in lower case, its dots the smallest of bytes: names below another one then
/// follow it at once in order.
pub(super) fn key(name: &[u8]) -> Vec<u8> {
    name.iter()
        .rev()
        .map(|b| {
            if *b == b'.' {
                0
            } else {
                b.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Both as keys.
pub(super) fn is_at_or_below(name: &[u8], above: &[u8]) -> bool {
    name.strip_prefix(above)
        .is_some_and(|rest| matches!(rest, [] | [0, ..]))
}

/// Keys in order, one behind the other.
#[derive(PartialEq)]
pub(super) struct Names {
    text: Box<[u8]>,
    /// Where each key ends.
    ends: Box<[u32]>,
}

impl Names {
    pub(super) fn new(keys: &[Vec<u8>]) -> Self {
        let mut text = Vec::with_capacity(keys.iter().map(Vec::len).sum());
        let ends = keys.iter().map(|key| {
            text.extend_from_slice(key);
            // A file of names is far from 4 GiB.
            text.len() as u32
        });
        Self {
            ends: ends.collect(),
            text: text.into(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn get(&self, index: usize) -> &[u8] {
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[from as usize..self.ends[index] as usize]
    }

    /// The greatest key that is not greater than `key`.
    pub(super) fn at_or_before(&self, key: &[u8]) -> Option<&[u8]> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).cmp(key) {
                Ordering::Greater => high = middle,
                Ordering::Less | Ordering::Equal => low = middle + 1,
            }
        }
        low.checked_sub(1).map(|index| self.get(index))
    }
}
