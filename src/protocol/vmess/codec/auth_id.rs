//! The first 16 bytes of a connection: who it is and when, for the eyes of the server alone.
//!
//! ```text
//! AES-128-ECB( | unix seconds 8 | random 4 | CRC-32 of the 12 before 4 | )
//! ```
//! under a key that is derived from the user's.

use std::fmt;

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128Dec, Aes128Enc};
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

/// Reads the auth ids of one user.
pub struct Reader(Aes128Dec);

impl Reader {
    pub fn new(key: &CmdKey) -> Self {
        Self(Aes128Dec::new(&kdf::AUTH_ID.derive::<16>(&key.0).into()))
    }

    /// The time in `auth_id` if it is this user's.
    pub fn open(&self, auth_id: &[u8; 16]) -> Option<i64> {
        let mut plain = (*auth_id).into();
        self.0.decrypt_block(&mut plain);
        // A time of more than five bytes lies 34,000 years ahead. This spares the checksum for all
        // users but the right one, as this runs once a user.
        let [0, 0, 0, time @ .., _, _, _, _, _, _, _, _] = &plain[..] else {
            return None;
        };
        let time = time.iter().fold(0, |time, b| time << 8 | i64::from(*b));
        (crc32fast::hash(&plain[..12]).to_be_bytes() == plain[12..]).then_some(time)
    }
}

/// Writes the auth ids of one account.
pub struct Writer(Aes128Enc);

impl Writer {
    pub fn new(key: &CmdKey) -> Self {
        Self(Aes128Enc::new(&kdf::AUTH_ID.derive::<16>(&key.0).into()))
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
        assert_eq!(Reader::new(&key).open(&sealed), Some(1_700_000_000));
    }

    #[test]
    fn another_user_s_or_a_changed_auth_id_does_not_open() {
        let key = CmdKey([1; 16]);
        let mut sealed = Writer::new(&key).seal(1_700_000_000, [9; 4]);
        assert_eq!(Reader::new(&CmdKey([2; 16])).open(&sealed), None);
        sealed[15] ^= 1;
        assert_eq!(Reader::new(&key).open(&sealed), None);
    }

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", CmdKey([7; 16])), "<redacted>");
    }
}
