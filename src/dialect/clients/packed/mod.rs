//! What the binary lists of other clients have in common. Numbers stand with their first byte in front.
//!
//! ```text
//! names:     version(u8) n, n words: which nodes end a name · n, n words: the shape · n, n bytes: a label for each node but the first
//! networks:  version(u8) n(u64), n times the first and the last address of a range
//! ```
//!
//! The names are a tree of their letters from the end to the front, its nodes in order of their depth. The shape has a 0 for each
//! child of a node, and then a 1. How the lengths `n` are written is each client's own.

mod names;
mod networks;

pub(in crate::dialect) use names::names;
pub(in crate::dialect) use networks::{address, networks};

use std::cell::Cell;

use thiserror::Error;

/// The most that a list may unpack to.
pub(in crate::dialect) const MOST: usize = 64 << 20;

/// The most names, networks and other parts of all lists that a file names: each takes about a kilobyte.
const MOST_ENTRIES: usize = 500_000;

/// What is left of these.
#[derive(Debug)]
pub(in crate::dialect) struct Budget(Cell<usize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(MOST_ENTRIES))
    }
}

/// Why a list cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub(in crate::dialect) enum Unreadable {
    #[error("it is no such list, or damaged")]
    Damaged,
    #[error("it breaks off")]
    Short,
    #[error("it is of version {0}, which is not known here")]
    Version(u8),
    #[error("it unpacks to more than {} MiB", MOST >> 20)]
    TooLarge,
    #[error("with it all lists have more than {MOST_ENTRIES} entries")]
    TooMany,
    #[error("it holds {0}, which is not built")]
    Unbuilt(String),
}

/// What is left of a list.
#[derive(Clone, Copy, Debug)]
pub(in crate::dialect) struct Packed<'b> {
    bytes: &'b [u8],
    budget: &'b Budget,
}

impl<'b> Packed<'b> {
    pub(in crate::dialect) fn new(bytes: &'b [u8], budget: &'b Budget) -> Self {
        Self { bytes, budget }
    }

    /// All that is left.
    pub(in crate::dialect) fn rest(self) -> &'b [u8] {
        self.bytes
    }

    /// One more part is made of it.
    pub(in crate::dialect) fn spend(&self) -> Result<(), Unreadable> {
        let Budget(left) = self.budget;
        left.set(left.get().checked_sub(1).ok_or(Unreadable::TooMany)?);
        Ok(())
    }

    pub(in crate::dialect) fn take(&mut self, len: usize) -> Result<&'b [u8], Unreadable> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Unreadable::Short)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(in crate::dialect) fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("it has this length"))
    }

    pub(in crate::dialect) fn byte(&mut self) -> Result<u8, Unreadable> {
        Ok(self.array::<1>()?[0])
    }

    /// Eight bytes, the first one in front.
    pub(in crate::dialect) fn length64(&mut self) -> Result<usize, Unreadable> {
        let length = u64::from_be_bytes(self.array()?);
        usize::try_from(length).map_err(|_| Unreadable::Damaged)
    }

    /// Seven bits a byte, the last ones in front, as protobuf has them.
    pub(in crate::dialect) fn varint(&mut self) -> Result<usize, Unreadable> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).map_err(|_| Unreadable::Damaged);
            }
        }
        Err(Unreadable::Damaged)
    }

    fn words(&mut self, len: usize) -> Result<Vec<u64>, Unreadable> {
        let bytes = self.take(len.checked_mul(8).ok_or(Unreadable::Short)?)?;
        let (words, _) = bytes.as_chunks::<8>();
        Ok(words.iter().map(|word| u64::from_be_bytes(*word)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a` and, below it, `ba`: three nodes.
    fn set(ends: u64, shape: u64, labels: &[u8]) -> Vec<u8> {
        let lengths = |n: u8| [n].into_iter();
        let bytes = lengths(0).chain(lengths(1)).chain(ends.to_be_bytes());
        let bytes = bytes.chain(lengths(1)).chain(shape.to_be_bytes());
        let bytes = bytes.chain(lengths(labels.len() as u8));
        bytes.chain(labels.iter().copied()).collect()
    }

    fn read(bytes: &[u8]) -> Result<Vec<String>, Unreadable> {
        let budget = Budget::default();
        names(&mut Packed::new(bytes, &budget), Packed::varint)
    }

    #[test]
    fn names_are_the_ways_through_a_tree() {
        let good = set(0b110, 0b11010, b"ab");
        assert_eq!(read(&good), Ok(vec!["a".to_owned(), "ba".to_owned()]));
        for n in 0..good.len() {
            assert_eq!(read(&good[..n]), Err(Unreadable::Short), "{n} bytes");
        }
        for (bad, why) in [
            (set(0b110, 0b11010, b"abc"), "a label of no node"),
            (set(0b110, 0b11010, b"a"), "a node without a label"),
            (set(0b110, 0b01010, b"ab"), "a node that does not end"),
            (set(0b110, 0b11010, b"\xffb"), "no letter"),
        ] {
            assert_eq!(read(&bad), Err(Unreadable::Damaged), "{why}");
        }
    }

    #[test]
    fn a_name_has_an_end() {
        // Each node has one child, and only the last one is a name.
        let len = 300;
        let shape = (0..2 * len + 1).map(|n| n % 2 == 1 || n == 2 * len);
        let mut bits = [0_u64; 10];
        for (n, bit) in shape.enumerate() {
            bits[n / 64] |= u64::from(bit) << (n % 64);
        }
        let words = |words: [u64; 10]| words.map(u64::to_be_bytes).concat();
        let bytes = [
            vec![0, 10],
            words([u64::MAX; 10]),
            vec![10],
            words(bits),
            vec![0xac, 0x02],
            vec![b'a'; len],
        ];
        assert_eq!(read(&bytes.concat()), Err(Unreadable::Damaged));
    }

    #[test]
    fn ranges_are_networks() {
        let four = |packed: &mut Packed<'_>| address(packed.take(4)?);
        let range = |first: [u8; 4], last: [u8; 4]| {
            let bytes = [&[1][..], &1_u64.to_be_bytes(), &first, &last].concat();
            networks(&mut Packed::new(&bytes, &Budget::default()), four)
        };
        let shown = range([192, 0, 2, 1], [192, 0, 2, 4]).unwrap();
        let shown: Vec<String> = shown.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/32"]);
        assert_eq!(range([0; 4], [255; 4]).unwrap().len(), 1);
        assert_eq!(
            range([192, 0, 2, 4], [192, 0, 2, 1]),
            Err(Unreadable::Damaged)
        );
        let many = [&[1][..], &u64::MAX.to_be_bytes()].concat();
        let budget = Budget::default();
        let read = |bytes: &[u8]| networks(&mut Packed::new(bytes, &budget), four);
        assert_eq!(read(&many), Err(Unreadable::Short));
        assert_eq!(read(&[2]), Err(Unreadable::Version(2)));
    }

    /// A range of a few bytes may be hundreds of networks.
    #[test]
    fn all_lists_together_have_a_bound() {
        let six = |packed: &mut Packed<'_>| address(packed.take(16)?);
        let (first, last) = (1_u128.to_be_bytes(), (u128::MAX - 1).to_be_bytes());
        let ranges = [&first[..], &last].concat().repeat(1000);
        let bytes = [&[1][..], &1000_u64.to_be_bytes(), &ranges].concat();
        let budget = Budget::default();
        let read = || networks(&mut Packed::new(&bytes, &budget), six);
        assert_eq!(read().map(|all| all.len()), Ok(254_000));
        assert_eq!(read(), Err(Unreadable::TooMany));
    }

    #[test]
    fn numbers_are_bounded() {
        let budget = Budget::default();
        let read = |bytes: &[u8]| Packed::new(bytes, &budget).varint();
        assert_eq!(read(&[0xac, 0x02]), Ok(300));
        assert_eq!(read(&[0xac]), Err(Unreadable::Short));
        assert_eq!(read(&[0xff; 11]), Err(Unreadable::Damaged));
    }
}
