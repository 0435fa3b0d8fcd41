//! The keys of a client's Initial packets (RFC 9001, 5; RFC 9369 for version 2).

use aws_lc_rs::aead::quic::{AES_128 as MASK, HeaderProtectionKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use crate::aead::{Cipher, Key, NONCE};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Draft29,
    V1,
    V2,
}

impl Version {
    pub(super) fn of(number: u32) -> Option<Self> {
        match number {
            0xff00_001d => Some(Self::Draft29),
            0x0000_0001 => Some(Self::V1),
            0x6b33_43cf => Some(Self::V2),
            _ => None,
        }
    }

    /// The two bits that mark an Initial packet.
    pub(super) fn initial(self) -> u8 {
        match self {
            Self::Draft29 | Self::V1 => 0b00,
            Self::V2 => 0b01,
        }
    }

    fn salt(self) -> [u8; 20] {
        match self {
            Self::Draft29 => {
                *b"\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99"
            }
            Self::V1 => {
                *b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a"
            }
            Self::V2 => {
                *b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9"
            }
        }
    }

    /// Labels of the key, the nonce and the header's mask.
    fn labels(self) -> [&'static str; 3] {
        match self {
            Self::Draft29 | Self::V1 => ["quic key", "quic iv", "quic hp"],
            Self::V2 => ["quicv2 key", "quicv2 iv", "quicv2 hp"],
        }
    }
}

pub(super) struct Keys {
    seal: Key,
    iv: [u8; NONCE],
    mask: HeaderProtectionKey,
}

impl Keys {
    /// Made of the connection id that the client chose for the server.
    pub(super) fn new(version: Version, id: &[u8]) -> Option<Self> {
        let first = Salt::new(HKDF_SHA256, &version.salt()).extract(id);
        let secret: [u8; 32] = expand(&first, "client in")?;
        let secret = Prk::new_less_safe(HKDF_SHA256, &secret);
        let [key, iv, mask] = version.labels();
        let key: [u8; 16] = expand(&secret, key)?;
        let mask: [u8; 16] = expand(&secret, mask)?;
        Some(Self {
            seal: Key::new(Cipher::Aes128Gcm, &key),
            iv: expand(&secret, iv)?,
            mask: HeaderProtectionKey::new(&MASK, &mask).ok()?,
        })
    }

    /// The frames of a packet whose number stands at `at`; `None` when it is not sealed with these.
    pub(super) fn open(&self, at: usize, packet: &[u8]) -> Option<Vec<u8>> {
        // The sample is taken as if the number had four bytes.
        let sample = packet.get(at + 4..at + 4 + 16)?;
        let mask = self.mask.new_mask(sample).ok()?;
        let first = packet[0] ^ (mask[0] & 0x0f);
        let number_len = usize::from(first & 0b11) + 1;
        let (header, sealed) = packet.split_at(at + number_len);
        let mut header = header.to_vec();
        header[0] = first;
        let mut nonce = self.iv;
        for (i, byte) in header[at..].iter_mut().enumerate() {
            *byte ^= mask[1 + i];
            nonce[NONCE - number_len + i] ^= *byte;
        }
        let mut frames = sealed.to_vec();
        self.seal.open_in_place(nonce, &header, &mut frames)?;
        Some(frames)
    }

    /// What `open` undoes, for a packet whose header ends with its number.
    #[cfg(test)]
    pub(super) fn seal(&self, at: usize, header: &[u8], frames: &[u8]) -> Vec<u8> {
        let number = &header[at..];
        let mut nonce = self.iv;
        for (n, byte) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *n ^= byte;
        }
        let mut sealed = frames.to_vec();
        self.seal.seal_in_place(nonce, header, &mut sealed).unwrap();
        let mut packet = [header, &sealed].concat();
        let mask = self.mask.new_mask(&packet[at + 4..at + 20]).unwrap();
        packet[0] ^= mask[0] & 0x0f;
        for (byte, mask) in packet[at..header.len()].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
        packet
    }
}

/// HKDF-Expand-Label without a context (RFC 8446, 7.1).
fn expand<const N: usize>(secret: &Prk, label: &str) -> Option<[u8; N]> {
    let len = u16::try_from(N).ok()?.to_be_bytes();
    let label_len = [u8::try_from("tls13 ".len() + label.len()).ok()?];
    let info = [&len[..], &label_len, b"tls13 ", label.as_bytes(), &[0]];
    let mut out = [0; N];
    secret.expand(&info, Length(N)).ok()?.fill(&mut out).ok()?;
    Some(out)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
