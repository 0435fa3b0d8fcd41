//! The client: a header in front of the first bytes, a body behind it.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;

use super::codec::auth_id::{CmdKey, Writer as AuthIdWriter};
use super::codec::body::Cipher;
use super::codec::header::{self, Command, Request, option};
use super::codec::response::Keys;
use super::inbound::now;
use super::packets::VmessPackets;
use super::peer::Known;
use super::reader::Reader;
use super::stream::{Role, VmessStream};
use super::writer::Writer;
use crate::address::{Destination, Host};
use crate::io::{Link, Packets};
use crate::json::Path;
use crate::protocol::NextHop;

pub struct Outbound {
    pub(super) servers: Vec<Server>,
    pub(super) accounts: Vec<Account>,
    /// Whose payload is not sealed: where the config says so, and the server.
    pub(super) unsealed: Vec<(Path, Security, Destination)>,
    /// Counts sessions: servers, and the users of each, take turns.
    pub(super) turn: AtomicUsize,
}

pub(super) struct Server {
    pub(super) to: Destination,
    /// Where its users are in `accounts`; never empty.
    pub(super) accounts: Range<usize>,
}

pub(super) struct Account {
    key: CmdKey,
    auth_ids: AuthIdWriter,
    security: Security,
    authenticated_length: bool,
    no_end_mark: bool,
    server: Arc<Known>,
    /// Index into `policy.levels`.
    pub(super) level: u32,
}

/// `security` of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Auto,
    Aes128Gcm,
    ChaCha20Poly1305,
    /// Chunks without a seal.
    None,
    /// No chunks either.
    Zero,
}

impl Outbound {
    pub(in crate::protocol) fn unsealed(&self) -> impl Iterator<Item = (&Path, &str, &Host)> {
        let all = self.unsealed.iter();
        all.map(|(path, security, to)| (path, security.name(), &to.host))
    }
}

impl Security {
    pub(super) fn is_unsealed(self) -> bool {
        matches!(self, Self::None | Self::Zero)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Aes128Gcm => "aes-128-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::None => "none",
            Self::Zero => "zero",
        }
    }
}

impl Account {
    pub(super) fn new(
        key: &CmdKey,
        security: Security,
        authenticated_length: bool,
        no_end_mark: bool,
    ) -> Self {
        Self {
            key: *key,
            auth_ids: AuthIdWriter::new(key),
            security,
            authenticated_length,
            no_end_mark,
            server: Arc::default(),
            level: 0,
        }
    }

    /// Cipher and options on the wire: V2Ray's choice for each `security`.
    fn form(&self, packets: bool) -> (Cipher, u8) {
        let cipher = match self.security {
            Security::Auto if has_aes() => Cipher::Aes128Gcm,
            Security::Auto | Security::ChaCha20Poly1305 => Cipher::ChaCha20Poly1305,
            Security::Aes128Gcm => Cipher::Aes128Gcm,
            Security::None | Security::Zero => Cipher::None,
        };
        let options = match self.security {
            Security::None => option::CHUNKS | option::MASKING,
            // Datagrams need bounds.
            Security::Zero if packets => option::CHUNKS,
            Security::Zero => 0,
            _ if self.authenticated_length => {
                option::CHUNKS | option::MASKING | option::PADDING | option::AUTH_LENGTH
            }
            _ => option::CHUNKS | option::MASKING | option::PADDING,
        };
        (cipher, options)
    }

    /// Both halves of a connection, the sealed request waiting in the writer.
    fn open(&self, command: Command) -> io::Result<(Reader, Writer)> {
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
            marks_ends: !self.no_end_mark,
            zero_padding: false,
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
        Ok((
            Reader::of_response(framing, &keys, request.v, stream, self.server.marks()),
            Writer::new(sealed.to_vec(), framing, &keys, &keys, request.marks_ends),
        ))
    }
}

impl Outbound {
    pub fn hop(&self) -> NextHop {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let server = &self.servers[turn % self.servers.len()];
        let user = (turn / self.servers.len()) % server.accounts.len();
        NextHop::Server {
            to: server.to.clone(),
            account: server.accounts.start + user,
        }
    }

    /// The level of an account.
    pub fn level(&self, account: usize) -> u32 {
        self.accounts
            .get(account)
            .map_or(0, |account| account.level)
    }

    /// A stream to `to`. Nothing is sent before the first write or flush.
    pub fn wrap(&self, link: Link, to: &Destination, account: usize) -> io::Result<Link> {
        let account = self.account(account)?;
        let (reader, writer) = account.open(Command::Stream(to.clone()))?;
        let stream = VmessStream::new(link, reader, writer, Role::Client);
        Ok(Link::other(stream.with_server(account.server.clone())))
    }

    /// A link for the frames of mux.
    pub fn wrap_mux(&self, link: Link, account: usize) -> io::Result<Link> {
        let (reader, writer) = self.account(account)?.open(Command::Mux)?;
        Ok(Link::other(VmessStream::new(
            link,
            reader,
            writer,
            Role::Client,
        )))
    }

    /// Datagrams to `to`.
    pub fn packets(
        &self,
        link: Link,
        to: &Destination,
        account: usize,
    ) -> io::Result<Box<dyn Packets>> {
        let (reader, writer) = self.account(account)?.open(Command::Packets(to.clone()))?;
        Ok(Box::new(VmessPackets::new(
            link,
            reader,
            writer,
            to.clone(),
        )))
    }

    fn account(&self, index: usize) -> io::Result<&Account> {
        self.accounts
            .get(index)
            .ok_or_else(|| io::Error::other(format!("there is no account {index}")))
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
