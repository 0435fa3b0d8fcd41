//! The client: a header in front of the first bytes, a body behind it.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;

use super::codec::auth_id::{CmdKey, Writer as AuthIdWriter};
use super::codec::body::Cipher;
use super::codec::header::{self, Command, Padding, Request, option};
use super::codec::response::Keys;
use super::packets::VmessPackets;
use super::peer::Known;
use super::reader::Reader;
use super::settings::{AccountSettings, OutboundSettings, Security};
use super::stream::{Role, VmessStream};
use super::writer::Writer;
use crate::address::Destination;
use crate::cause::Credentials;
use crate::io::{Link, Packets};
use crate::protocol::awaited::{Answered, Awaited};
use crate::protocol::replay::{MAX_SKEW, now};
use crate::protocol::servers::Servers;
use crate::protocol::{FirstPayload, PacketWay, ProxyTraits};
use crate::seam::FarEnd;

pub struct Outbound(Servers<Account>);

/// Who we are at one server.
pub struct Account {
    key: CmdKey,
    auth_ids: AuthIdWriter,
    settings: AccountSettings,
    /// What is known of the server.
    server: Arc<Known>,
    /// Whether the server answers it.
    answered: Arc<Answered>,
}

impl From<OutboundSettings> for Outbound {
    fn from(settings: OutboundSettings) -> Self {
        Self(Servers::new(settings.servers, Account::new))
    }
}

impl Outbound {
    pub const TRAITS: ProxyTraits = ProxyTraits {
        first_payload: FirstPayload::Together,
        packets: Some(PacketWay::Link),
        packets_have_one_peer: true,
    };

    /// Whose turn it is.
    pub fn next_hop(&self) -> Option<(&Destination, &Account)> {
        let (server, account) = self.0.next()?;
        Some((server, account?))
    }
}

impl Account {
    fn new(settings: AccountSettings) -> Self {
        let key = CmdKey::new(&settings.id);
        Self {
            auth_ids: AuthIdWriter::new(&key),
            key,
            settings,
            server: Arc::default(),
            answered: Arc::default(),
        }
    }

    pub fn level(&self) -> u32 {
        self.settings.level
    }

    /// A stream to `to`. Nothing is sent before the first write or flush.
    pub fn stream(&self, link: Link, to: &Destination, far: FarEnd) -> io::Result<Link> {
        let (reader, writer) = self.open(Command::Stream(to.clone()), far)?;
        let stream = VmessStream::new(link, reader, writer, Role::Client);
        Ok(Link::other(stream.with_server(self.server.clone())))
    }

    /// A link for the frames of Mux.Cool.
    pub fn multiplexed(&self, link: Link, far: FarEnd) -> io::Result<Link> {
        let (reader, writer) = self.open(Command::Mux, far)?;
        let stream = VmessStream::new(link, reader, writer, Role::Client);
        Ok(Link::other(stream))
    }

    /// Datagrams to `to`.
    pub fn packets(
        &self,
        link: Link,
        to: &Destination,
        far: FarEnd,
    ) -> io::Result<Box<dyn Packets>> {
        let (reader, writer) = self.open(Command::Packets(to.clone()), far)?;
        let packets = VmessPackets::new(link, reader, writer, to.clone());
        Ok(Box::new(packets))
    }

    /// Cipher and options on the wire: V2Ray's choice for each `security`.
    fn form(&self, packets: bool) -> (Cipher, u8) {
        let cipher = match self.settings.security {
            Security::Auto if has_aes() => Cipher::Aes128Gcm,
            Security::Auto | Security::ChaCha20Poly1305 => Cipher::ChaCha20Poly1305,
            Security::Aes128Gcm => Cipher::Aes128Gcm,
            Security::None | Security::Zero => Cipher::None,
        };
        let options = match self.settings.security {
            Security::None => option::CHUNKS | option::MASKING,
            // Datagrams need bounds.
            Security::Zero if packets => option::CHUNKS,
            Security::Zero => 0,
            _ if self.settings.authenticated_length => {
                option::CHUNKS | option::MASKING | option::PADDING | option::AUTH_LENGTH
            }
            _ => option::CHUNKS | option::MASKING | option::PADDING,
        };
        (cipher, options)
    }

    /// Both halves of a connection, the sealed request waiting in the writer.
    fn open(&self, command: Command, far: FarEnd) -> io::Result<(Reader, Writer)> {
        let mut chance = [0; 16 + 16 + 1 + 4 + 8 + 1 + 15];
        random(&mut chance)?;
        let mut chance = chance.into_iter();
        let packets = matches!(command, Command::Packets(_));
        let (cipher, options) = self.form(packets);
        let request = Request {
            iv: draw(&mut chance),
            key: draw(&mut chance),
            v: draw::<1>(&mut chance)[0],
            options,
            cipher,
            marks_ends: !self.settings.no_end_mark,
            padding: Padding::Unknown,
            command,
        };
        let auth_id = self.auth_ids.seal(now(), draw(&mut chance));
        let nonce = draw(&mut chance);
        let padding_len = usize::from(draw::<1>(&mut chance)[0] % 16);
        let padding: [u8; 15] = draw(&mut chance);
        let mut plain = BytesMut::new();
        request
            .encode(&padding[..padding_len], &mut plain)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let sealed = header::seal(&self.key, &auth_id, &nonce, &plain);
        let keys = Keys {
            key: request.key,
            iv: request.iv,
        };
        let framing = request.framing();
        let stream = matches!(request.command, Command::Stream(_));
        let credentials = Credentials::Vmess {
            most: MAX_SKEW.unsigned_abs(),
            bare: matches!(self.settings.security, Security::None | Security::Zero),
        };
        let awaited = Awaited::new(far, credentials, self.answered.clone());
        let marks = self.server.marks();
        Ok((
            Reader::of_response(framing, &keys, request.v, stream, marks, awaited),
            Writer::new(sealed.to_vec(), framing, &keys, &keys, request.marks_ends),
        ))
    }
}

/// Fills `out` from the library's generator, which asks the system only now and then.
pub(super) fn random(out: &mut [u8]) -> io::Result<()> {
    aws_lc_rs::rand::fill(out).map_err(|_| io::Error::other("the random source does not answer"))
}

fn draw<const N: usize>(chance: &mut impl Iterator<Item = u8>) -> [u8; N] {
    std::array::from_fn(|_| chance.next().expect("enough was drawn for all fields"))
}

/// Whether AES runs in hardware; where it does not, ChaCha20-Poly1305 is faster and safer.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
