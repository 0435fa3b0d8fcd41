//! A datagram of 2022.
//!
//! ```text
//! AES:    | AES(session id 8, packet id 8) | identity headers | sealed message |   nonce: the last 12 of the 16 in plain
//! ChaCha: | nonce 24 | sealed session id 8, packet id 8, message |
//! message, of a client: type 0, time 8, n 2, padding n, address, data
//! message, of a server: type 1, time 8, the client's session id 8, n 2, padding n, address, data
//! ```
//! Either end has a session id of its own. An identity header is XORed with the ids in plain, so that it differs from
//! datagram to datagram.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chacha20::{R20, hchacha};

use super::TAG;
use super::identity::{self, Block};
use super::keys::Key;
use super::method::Cipher;
use crate::address::{Destination, Form};
use crate::aead::Key as Aead;

/// Session id and packet id.
pub const IDS: usize = 16;

const NONCE: usize = 24;

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;

/// Whose datagram it is, and the how manieth of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub session: u64,
    pub packet: u64,
}

impl Ids {
    pub fn to_bytes(self) -> [u8; IDS] {
        let mut bytes = [0; IDS];
        bytes[..8].copy_from_slice(&self.session.to_be_bytes());
        bytes[8..].copy_from_slice(&self.packet.to_be_bytes());
        bytes
    }

    pub fn of_bytes(bytes: &[u8; IDS]) -> Self {
        let [session, packet] = [0, 8].map(|at| {
            let half = std::array::from_fn(|i| bytes[at + i]);
            u64::from_be_bytes(half)
        });
        Self { session, packet }
    }
}

/// What a datagram says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub time: u64,
    /// Of a server: whose question it answers.
    pub client: Option<u64>,
    pub address: Destination,
    pub data: Bytes,
}

impl Message {
    /// Reads what was sealed; `None` where it makes no sense, or its type is another than expected.
    pub fn decode(mut plain: BytesMut, is_response: bool) -> Option<Self> {
        let expected = if is_response { RESPONSE } else { REQUEST };
        if plain.try_get_u8().ok()? != expected {
            return None;
        }
        let time = plain.try_get_u64().ok()?;
        let client = match is_response {
            true => Some(plain.try_get_u64().ok()?),
            false => None,
        };
        let padding = usize::from(plain.try_get_u16().ok()?);
        if plain.len() < padding {
            return None;
        }
        plain.advance(padding);
        let address = Destination::decode(&mut plain, Form::PortLast).ok()??;
        Some(Self {
            time,
            client,
            address,
            data: plain.freeze(),
        })
    }

    /// Appends it without padding; `None` where its name is too long to be written.
    pub fn encode(&self, out: &mut BytesMut) -> Option<()> {
        out.put_u8(if self.client.is_some() {
            RESPONSE
        } else {
            REQUEST
        });
        out.put_u64(self.time);
        if let Some(client) = self.client {
            out.put_u64(client);
        }
        out.put_u16(0);
        self.address.encode(Form::PortLast, out).ok()?;
        out.extend_from_slice(&self.data);
        Some(())
    }
}

/// What seals or opens the messages of one session.
pub struct Session(Kind);

enum Kind {
    Aes(Aead),
    ChaCha(Key),
}

impl Session {
    /// Of the session `id` with the user's `key`.
    pub fn new(cipher: Cipher, key: &Key, id: u64) -> Self {
        Self(match cipher.is_aes() {
            true => Kind::Aes(key.blake3_session(cipher, &id.to_be_bytes())),
            false => Kind::ChaCha(*key),
        })
    }

    /// Seals `message`, with everything in front of it. `identities` are in plain, XORed and sealed here, each by its
    /// block; `ids_block` seals the ids. Neither is for ChaCha, which draws a nonce of `random`.
    pub fn seal(
        &self,
        ids: Ids,
        front: &Front,
        message: &[u8],
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut BytesMut,
    ) {
        out.clear();
        let ids = ids.to_bytes();
        match &self.0 {
            Kind::Aes(aead) => {
                let mut sealed = ids;
                front.seal_ids(&mut sealed);
                out.extend_from_slice(&sealed);
                for (block, hash) in &front.identities {
                    let mut header = std::array::from_fn(|i| hash[i] ^ ids[i]);
                    block.encrypt(&mut header);
                    out.extend_from_slice(&header);
                }
                let at = out.len();
                out.resize(at + message.len() + TAG, 0);
                aead.seal(nonce(&ids), message, &mut out[at..]);
            }
            Kind::ChaCha(key) => {
                let mut nonce = [0; NONCE];
                random(&mut nonce);
                out.extend_from_slice(&nonce);
                let (key, nonce) = xchacha(key, &nonce);
                let plain = [&ids[..], message].concat();
                out.resize(NONCE + plain.len() + TAG, 0);
                key.seal(nonce, &plain, &mut out[NONCE..]);
            }
        }
    }

    /// Opens the message of an AES datagram, whose `ids` are known; `sealed` begins behind all headers.
    pub fn open(&self, ids: Ids, sealed: &[u8]) -> Option<BytesMut> {
        let Kind::Aes(aead) = &self.0 else {
            return None;
        };
        let mut plain = BytesMut::zeroed(sealed.len().checked_sub(TAG)?);
        aead.open(nonce(&ids.to_bytes()), sealed, &mut plain)?;
        Some(plain)
    }
}

/// How an end seals what stands in front of its messages.
#[derive(Clone, Default)]
pub struct Front {
    ids: Option<Block>,
    /// The key that each is sealed by, and the hash that it is.
    identities: Vec<(Block, [u8; identity::LEN])>,
}

impl Front {
    /// Of a client; `keys` are those of the servers on the way, and `user` is its own.
    pub fn of_client(cipher: Cipher, keys: &[Key], user: &Key) -> Self {
        let first = keys.first().unwrap_or(user);
        let next = keys.iter().skip(1).chain([user]);
        let each = keys.iter().zip(next);
        let identities =
            each.filter_map(|(key, next)| Some((Block::new(cipher, key)?, next.hash())));
        Self {
            ids: Block::new(cipher, first),
            identities: identities.collect(),
        }
    }

    /// Of a server, towards a user.
    pub fn of_server(cipher: Cipher, user: &Key) -> Self {
        Self::of_client(cipher, &[], user)
    }

    fn seal_ids(&self, ids: &mut [u8; IDS]) {
        if let Some(block) = &self.ids {
            block.encrypt(ids);
        }
    }

    /// The ids of an AES datagram, and what stands behind them.
    pub fn open_ids<'a>(&self, datagram: &'a [u8]) -> Option<(Ids, &'a [u8])> {
        let (ids, rest) = datagram.split_first_chunk()?;
        let mut ids = *ids;
        self.ids.as_ref()?.decrypt(&mut ids);
        Some((Ids::of_bytes(&ids), rest))
    }

    /// The hash in the identity header in front of `rest`, and what stands behind it: of a server that has users.
    pub fn open_identity<'a>(
        &self,
        ids: Ids,
        rest: &'a [u8],
    ) -> Option<([u8; identity::LEN], &'a [u8])> {
        let (header, rest) = rest.split_first_chunk()?;
        let mut hash: [u8; identity::LEN] = *header;
        self.ids.as_ref()?.decrypt(&mut hash);
        let ids = ids.to_bytes();
        Some((std::array::from_fn(|i| hash[i] ^ ids[i]), rest))
    }
}

/// Opens a whole ChaCha datagram.
pub fn open_chacha(key: &Key, datagram: &[u8]) -> Option<(Ids, BytesMut)> {
    let (nonce, sealed) = datagram.split_first_chunk()?;
    let (key, nonce) = xchacha(key, nonce);
    let mut plain = BytesMut::zeroed(sealed.len().checked_sub(TAG)?);
    key.open(nonce, sealed, &mut plain)?;
    let ids = Ids::of_bytes(plain.first_chunk()?);
    plain.advance(IDS);
    Some((ids, plain))
}

/// The last 12 of the ids.
fn nonce(ids: &[u8; IDS]) -> [u8; 12] {
    std::array::from_fn(|i| ids[4 + i])
}

/// XChaCha20-Poly1305 is ChaCha20-Poly1305 with a key that is made of the first 16 bytes of the nonce.
fn xchacha(key: &Key, nonce: &[u8; NONCE]) -> (Aead, [u8; 12]) {
    let long: [u8; 32] = std::array::from_fn(|i| key.as_slice()[i]);
    let first: [u8; 16] = std::array::from_fn(|i| nonce[i]);
    let key = hchacha::<R20>(&long.into(), &first.into());
    let mut rest = [0; 12];
    rest[4..].copy_from_slice(&nonce[16..]);
    (Aead::new(Cipher::ChaCha20Poly1305, &key), rest)
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
