//! The first 16 bytes of a connection: who it is and when, for the eyes of the server alone.
//!
//! ```text
//! AES-128-ECB( | unix seconds 8 | random 4 | CRC-32 of the 12 before 4 | )
//! ```
//! under a key that is derived from the user's.

use std::fmt;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::hazmat::{Block8, cipher_round, equiv_inv_cipher_round_par, inv_mix_columns, mix_columns};
use aes::{Aes128Enc, Block};
use md5::{Digest, Md5};
use uuid::Uuid;

use super::kdf;

/// A user's secret, from which all keys outside the body derive.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CmdKey(pub [u8; 16]);

impl CmdKey {
    pub fn new(id: &Uuid) -> Self {
        let mut md5 = Md5::new();
        md5.update(id.as_bytes());
        md5.update(b"c48619fe-8f02-49e0-b9e9-edf763e17e21");
        Self(md5.finalize().into())
    }
}

impl fmt::Debug for CmdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Reads the auth ids of up to eight users.
///
/// An auth id names nobody, so a server tries every user's key: eight at a time, as a CPU works on
/// eight blocks in nearly the time of one. `aes` does that for eight blocks under one key only, hence
/// the single rounds here, with eight keys side by side.
pub struct AuthIdMatcher([Block8; 11]);

impl AuthIdMatcher {
    pub const USERS: usize = 8;

    pub fn new(keys: &[CmdKey]) -> Self {
        let mut rounds = [Block8::default(); 11];
        for lane in 0..Self::USERS {
            // The lanes behind the last user repeat it: any other filling would be a user too.
            let Some(key) = keys.get(lane).or(keys.last()) else {
                break;
            };
            let key = kdf::AUTH_ID.derive(&key.0);
            for (round, key) in rounds.iter_mut().zip(inverse_round_keys(key)) {
                round[lane] = key;
            }
        }
        Self(rounds)
    }

    /// Whose `auth_id` this is, as an index of the keys, and its time.
    pub fn open(&self, auth_id: &[u8; 16]) -> Option<(usize, i64)> {
        let [first, rounds @ ..] = &self.0;
        let mut blocks = *first;
        for block in &mut blocks {
            *block = xor(block, auth_id);
        }
        for keys in rounds {
            equiv_inv_cipher_round_par(&mut blocks, keys);
        }
        // AES has no InvMixColumns in its last round, these rounds all do: `mix_columns` takes it
        // back. It maps columns to columns and zero to zero, and the first four bytes of a time are
        // zero until 2106. So hardly any lane but the right one comes as far as the checksum.
        let candidates = blocks.iter().enumerate();
        candidates
            .filter(|(_, block)| block[..4] == [0; 4])
            .find_map(|(lane, block)| {
                let mut plain = *block;
                mix_columns(&mut plain);
                let [0, 0, 0, 0, time @ .., _, _, _, _, _, _, _, _] = plain.0 else {
                    return None;
                };
                let crc = crc32fast::hash(&plain[..12]).to_be_bytes();
                (crc == plain[12..]).then(|| (lane, u32::from_be_bytes(time).into()))
            })
    }
}

/// The round keys of AES-128 in the order of decryption, behind InvMixColumns all but the first.
fn inverse_round_keys(key: [u8; 16]) -> [Block; 11] {
    let mut keys = [Block::from(key); 11];
    let mut constant = 0x01;
    for i in 1..keys.len() {
        let before = keys[i - 1];
        let mut word = substitute([before[13], before[14], before[15], before[12]]);
        word[0] ^= constant;
        for (column, before) in keys[i].chunks_mut(4).zip(before.chunks(4)) {
            for (byte, before) in word.iter_mut().zip(before) {
                *byte ^= before;
            }
            column.copy_from_slice(&word);
        }
        constant = if constant < 0x80 { constant << 1 } else { 0x1b };
    }
    keys.reverse();
    keys[1..].iter_mut().for_each(inv_mix_columns);
    keys
}

/// SubWord of FIPS 197: in a block of four equal columns ShiftRows moves nothing, and with MixColumns
/// taken back SubBytes is all that is left of a round.
fn substitute(word: [u8; 4]) -> [u8; 4] {
    let mut block = Block::from_fn(|i| word[i % 4]);
    cipher_round(&mut block, &Block::default());
    inv_mix_columns(&mut block);
    [block[0], block[1], block[2], block[3]]
}

fn xor(a: &Block, b: &[u8; 16]) -> Block {
    (u128::from_ne_bytes(a.0) ^ u128::from_ne_bytes(*b))
        .to_ne_bytes()
        .into()
}

/// Writes the auth ids of one account.
pub struct Writer(Aes128Enc);

impl Writer {
    pub fn new(key: &CmdKey) -> Self {
        Self(Aes128Enc::new(&kdf::AUTH_ID.derive(&key.0).into()))
    }

    pub fn seal(&self, time: i64, random: [u8; 4]) -> [u8; 16] {
        let mut block = [0; 16];
        block[..8].copy_from_slice(&time.to_be_bytes());
        block[8..12].copy_from_slice(&random);
        let crc = crc32fast::hash(&block[..12]);
        block[12..].copy_from_slice(&crc.to_be_bytes());
        let mut block = block.into();
        self.0.encrypt_block(&mut block);
        block.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn auth_id_of_the_reference() {
        let id = Uuid::parse_str("b831381d-6324-4d53-ad4f-8cda48b30811").unwrap();
        let key = CmdKey::new(&id);
        assert_eq!(key.0, hex!("b50d916ac0cec067981af8e5f38a758f"));
        let sealed = Writer::new(&key).seal(1_700_000_000, [1, 2, 3, 4]);
        assert_eq!(sealed, hex!("4774fe5cc901ea4f81f2159909767a36"));
        assert_eq!(
            AuthIdMatcher::new(&[key]).open(&sealed),
            Some((0, 1_700_000_000))
        );
    }

    #[test]
    fn each_of_eight_users_is_found_and_nobody_beside_them() {
        for n in 1..=AuthIdMatcher::USERS {
            let keys: Vec<CmdKey> = (0..n as u8).map(|i| CmdKey([i + 1; 16])).collect();
            let readers = AuthIdMatcher::new(&keys);
            for (i, key) in keys.iter().enumerate() {
                for time in [0, 1_700_000_000, i64::from(u32::MAX)] {
                    let sealed = Writer::new(key).seal(time, [i as u8; 4]);
                    assert_eq!(readers.open(&sealed), Some((i, time)));
                }
            }
            let sealed = Writer::new(&CmdKey([0; 16])).seal(1_700_000_000, [9; 4]);
            assert_eq!(readers.open(&sealed), None);
        }
        let nobody = Aes128Enc::new(&[0; 16].into());
        let mut sealed = [0; 16].into();
        nobody.encrypt_block(&mut sealed);
        assert_eq!(AuthIdMatcher::new(&[CmdKey([1; 16])]).open(&sealed.0), None);
    }

    #[test]
    fn a_changed_auth_id_does_not_open() {
        let key = CmdKey([1; 16]);
        let sealed = Writer::new(&key).seal(1_700_000_000, [9; 4]);
        for i in 0..16 {
            let mut changed = sealed;
            changed[i] ^= 1;
            assert_eq!(AuthIdMatcher::new(&[key]).open(&changed), None);
        }
    }

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", CmdKey([7; 16])), "<redacted>");
    }
}
