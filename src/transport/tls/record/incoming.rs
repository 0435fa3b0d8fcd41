//! Where records begin and end in what was read.

use std::ops::Range;

use crate::copy;
use tokio::io::ReadBuf;
use tokio_rustls::rustls::{ContentType, Error, InvalidMessage, ProtocolVersion};

/// Bytes in front of what is sealed.
pub(super) const HEADER: usize = 5;

/// The most that a record seals, its tag and (of TLS 1.2) its nonce included.
const MAX_SEALED: usize = 16 * 1024 + 2048;

/// The longest record.
pub(crate) const MAX_RECORD: usize = HEADER + MAX_SEALED;

/// How much of the bytes that were read is done with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// What is open, and was not handed out yet.
    pub(super) text: Range<usize>,
    /// Where the records begin that are still sealed.
    pub(crate) sealed: usize,
}

impl Progress {
    /// Hands out what is open, as far as there is room.
    pub(super) fn hand_out(&mut self, bytes: &[u8], buf: &mut ReadBuf<'_>) {
        let len = self.text.len().min(buf.remaining());
        let end = self.text.start + len;
        copy::put(&bytes[self.text.start..end], buf);
        self.text.start = end;
    }

    /// Whether nothing is left of the bytes.
    pub(super) fn is_done(&self, bytes: &[u8]) -> bool {
        self.text.is_empty() && self.sealed == bytes.len()
    }

    /// What is not done with. It begins with what is open.
    pub(super) fn rest(&self, bytes: &[u8]) -> (Vec<u8>, Self) {
        let text = &bytes[self.text.clone()];
        let rest = [text, &bytes[self.sealed..]].concat();
        let progress = Self {
            text: 0..text.len(),
            sealed: text.len(),
        };
        (rest, progress)
    }

    /// The next record, once all of it is there.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Option<Record>, Error> {
        let Some(header) = bytes[self.sealed..].first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [typ, major, minor, len @ ..] = *header;
        let typ = ContentType::from(typ);
        if matches!(typ, ContentType::Unknown(_)) {
            return Err(InvalidMessage::InvalidContentType.into());
        }
        let version = ProtocolVersion::from(u16::from_be_bytes([major, minor]));
        if version != ProtocolVersion::TLSv1_2 {
            return Err(InvalidMessage::UnknownProtocolVersion.into());
        }
        let len = usize::from(u16::from_be_bytes(len));
        if len > MAX_SEALED {
            return Err(InvalidMessage::MessageTooLarge.into());
        }
        let start = self.sealed + HEADER;
        let sealed = start..start + len;
        if sealed.end > bytes.len() {
            return Ok(None);
        }
        self.sealed = sealed.end;
        Ok(Some(Record {
            typ,
            version,
            sealed,
        }))
    }
}

/// A record that is all there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(super) typ: ContentType,
    pub(super) version: ProtocolVersion,
    /// Where it lies.
    pub(crate) sealed: Range<usize>,
}
