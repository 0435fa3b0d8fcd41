//! A link that is read message by message.

use std::fmt::Display;
use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::io::{Link, Prefixed};

/// A link during the handshake, and what was read ahead from it.
pub(super) struct Messages {
    pub(super) link: Link,
    buf: BytesMut,
}

/// Bytes read at once; more than the longest message. A decoder asks for more only when its message
/// is unfinished, so the buffer never holds two such reads.
const READ: usize = 1024;

impl Messages {
    /// What has come and is not taken.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buf
    }

    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            buf: BytesMut::new(),
        }
    }

    /// The next message that `decode` finds.
    pub(super) async fn next<T, E: Display>(
        &mut self,
        decode: impl Fn(&mut BytesMut) -> Result<Option<T>, E>,
    ) -> io::Result<T> {
        loop {
            let found = decode(&mut self.buf)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
            if let Some(message) = found {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// The first byte of the next message, which stays where it is.
    pub(super) async fn peek(&mut self) -> io::Result<u8> {
        while self.buf.is_empty() {
            self.fill().await?;
        }
        Ok(self.buf[0])
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.link.write_all(bytes).await?;
        self.link.flush().await
    }

    /// The link as it is after the handshake.
    pub(super) fn into_link(self) -> Link {
        Prefixed::link(self.buf.freeze(), self.link)
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buf.reserve(READ);
        let mut part = (&mut self.link).take(READ as u64);
        if part.read_buf(&mut self.buf).await? == 0 {
            let text = match self.buf.len() {
                0 => "closed where a message was expected".to_owned(),
                n => format!("closed after {n} bytes of a message"),
            };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        Ok(())
    }
}
