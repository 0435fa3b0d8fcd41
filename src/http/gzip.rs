//! gzip (RFC 1952), whole and within bounds: what bodies of messages are packed by.
//!
//! ```text
//! | 1f 8b 08 | flags | time 4 | hints 1 | system 1 | extra | name | comment | crc 2 | deflate … | crc32 4 | length 4 |  … the next one
//! ```

use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

/// What is behind one member, and the checks of it.
const TRAILER: usize = 8;

/// Most packers write one. What is cut into more costs work that its length does not show: an empty one has 20 bytes.
const MAX_MEMBERS: usize = 64;

/// Whether a message's body is said to be packed by gzip and nothing else.
pub(crate) fn is_said(headers: &HeaderMap) -> bool {
    let said = headers.get(CONTENT_ENCODING);
    said.is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(b"gzip"))
}

/// Opens what is packed, up to `max` bytes of it.
///
/// # Errors
///
/// When it is larger, in too many parts, or is not gzip from end to end; the text says which.
pub(crate) fn gunzip(mut packed: &[u8], max: usize) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let mut piece = vec![0; PIECE];
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let mut members = 0;
    while !packed.is_empty() {
        members += 1;
        if members > MAX_MEMBERS {
            return Err(format!("it is packed in more than {MAX_MEMBERS} parts"));
        }
        packed = behind_the_head(packed).ok_or(BROKEN)?;
        let begin = plain.len();
        state.reset(DataFormat::Raw);
        loop {
            let done = inflate(&mut state, packed, &mut piece, MZFlush::None);
            packed = &packed[done.bytes_consumed..];
            plain.extend_from_slice(&piece[..done.bytes_written]);
            if plain.len() > max {
                return Err(format!("unpacked it has more than {} MiB", max >> 20));
            }
            match done.status {
                Ok(MZStatus::StreamEnd) => break,
                Ok(_) if done.bytes_consumed + done.bytes_written > 0 => {}
                _ => return Err(BROKEN.to_owned()),
            }
        }
        let (trailer, rest) = packed.split_at_checked(TRAILER).ok_or(BROKEN)?;
        let member = &plain[begin..];
        let sums = [crc32fast::hash(member), member.len() as u32];
        if trailer != sums.map(u32::to_le_bytes).as_flattened() {
            return Err(BROKEN.to_owned());
        }
        packed = rest;
    }
    Ok(plain)
}

/// What follows the head of a member.
fn behind_the_head(packed: &[u8]) -> Option<&[u8]> {
    let [0x1f, 0x8b, 8, flags, _, _, _, _, _, _, rest @ ..] = packed else {
        return None;
    };
    let mut rest = rest;
    if flags & EXTRA != 0 {
        let (len, behind) = rest.split_first_chunk()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    match flags & CRC != 0 {
        true => rest.get(2..),
        false => Some(rest),
    }
}

const CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;

/// So much is unpacked at a time.
const PIECE: usize = 32 * 1024;

const BROKEN: &str = "it is not the gzip that it is said to be";

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// By Go's `compress/gzip`, which writes neither a name nor a time.
    const HELLO: [u8; 35] =
        hex!("1f8b08000000000000ff ca48cdc9c95728cf2fca4901040000ffff 85114a0d0b000000");

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut packed = hex!("1f8b0800000000000003").to_vec();
        packed.extend(miniz_oxide::deflate::compress_to_vec(plain, 6));
        packed.extend(crc32fast::hash(plain).to_le_bytes());
        packed.extend((plain.len() as u32).to_le_bytes());
        packed
    }

    #[test]
    fn what_is_packed_is_opened() {
        assert_eq!(gunzip(&HELLO, 100).unwrap(), b"hello world");
        // With a name, a comment, an extra field and a sum of the head; two in a row are one.
        let mut said = hex!("1f8b081e000000000003 0300 616263 6100 6200 0000").to_vec();
        said.extend(&HELLO[10..]);
        said.extend(&HELLO);
        assert_eq!(gunzip(&said, 100).unwrap(), b"hello worldhello world");
        assert_eq!(gunzip(b"", 100).unwrap(), b"");
        let long: Vec<u8> = (0..300_000u32)
            .map(|n| (n.wrapping_mul(n) / 97) as u8)
            .collect();
        assert!(gunzip(&packed(&long), 1 << 20).unwrap() == long);
    }

    #[test]
    fn a_bomb_is_not_opened() {
        let bomb = packed(&vec![0; 64 << 20]);
        assert!(bomb.len() < 1 << 17, "{}", bomb.len());
        let why = gunzip(&bomb, 4 << 20).unwrap_err();
        assert_eq!(why, "unpacked it has more than 4 MiB");
        assert!(gunzip(&HELLO, 10).is_err());
    }

    /// Nor may it be cut small: a page of 4 MiB would have 200,000 members.
    #[test]
    fn members_are_counted() {
        assert_eq!(
            gunzip(&HELLO.repeat(64), 1024).unwrap(),
            b"hello world".repeat(64)
        );
        let empty = packed(b"");
        assert_eq!(gunzip(&empty.repeat(64), 0).unwrap(), b"");
        let why = gunzip(&empty.repeat(65), 4 << 20).unwrap_err();
        assert_eq!(why, "it is packed in more than 64 parts");
    }

    #[test]
    fn what_is_broken_is_told_and_harms_nobody() {
        let whole = packed(b"hello hello hello world");
        for len in 1..whole.len() {
            assert!(gunzip(&whole[..len], 100).is_err(), "{len}");
        }
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut other = whole.clone();
                other[place] ^= 1 << bit;
                // Times, systems and the like mean nothing to us.
                let opened = gunzip(&other, 100);
                assert!(
                    (4..10).contains(&place) || opened.is_err() || place == 3,
                    "{place}"
                );
            }
        }
        assert!(gunzip(b"<html>", 100).is_err());
        assert!(gunzip(&[&HELLO[..], b"and more"].concat(), 100).is_err());
    }
}
