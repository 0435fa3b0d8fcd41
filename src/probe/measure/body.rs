//! The body of an answer, whole.

use bytes::{Buf, BytesMut};
use http::StatusCode;

use super::exchange::{Answer, Exchange};
use super::told;

/// The longest line in front of a chunk.
const MAX_CHUNK_HEAD: usize = 4 * 1024;

impl Exchange {
    /// Reads the body of an answer to a request that was not HEAD: up to `max` bytes.
    ///
    /// # Errors
    ///
    /// When it is larger, or breaks off; the text says why.
    pub(super) async fn body(&mut self, answer: &Answer, max: usize) -> Result<Vec<u8>, String> {
        if matches!(
            answer.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        ) {
            return Ok(Vec::new());
        }
        let chunked = answer.is_chunked();
        let length = answer.length();
        let mut body = Vec::new();
        let mut chunk = Chunk::default();
        loop {
            let is_whole = match (chunked, length) {
                (true, _) => chunk.take(&mut self.read, &mut body)?,
                (false, length) => {
                    let left = length.map_or(u64::MAX, |length| length - body.len() as u64);
                    let here = (self.read.len() as u64).min(left) as usize;
                    body.extend_from_slice(&self.read.split_to(here));
                    length == Some(body.len() as u64)
                }
            };
            if body.len() > max || length.is_some_and(|length| length > max as u64) {
                return Err(format!("it has more than {} MiB", max >> 20));
            }
            if is_whole {
                return Ok(body);
            }
            match self.link.read_more(&mut self.read).await {
                Ok(0) if !chunked && length.is_none() => return Ok(body),
                Ok(0) => return Err(BROKEN.to_owned()),
                Ok(_) => {}
                Err(e) => return Err(told(&e)),
            }
        }
    }
}

const BROKEN: &str = "it breaks off";

/// The chunk that is being read: RFC 9112, section 7.1.
#[derive(Debug, Default)]
struct Chunk {
    left: u64,
    /// Whether the end of the line behind its bytes is still to come.
    has_end: bool,
}

impl Chunk {
    /// Moves what has come of chunks into the body; whether that was all.
    fn take(&mut self, read: &mut BytesMut, body: &mut Vec<u8>) -> Result<bool, String> {
        let broken = || BROKEN.to_owned();
        loop {
            let here = (read.len() as u64).min(self.left) as usize;
            body.extend_from_slice(&read.split_to(here));
            self.left -= here as u64;
            if self.left > 0 {
                return Ok(false);
            }
            if self.has_end {
                match &read[..] {
                    [b'\r', b'\n', ..] => read.advance(2),
                    [] | [b'\r'] => return Ok(false),
                    _ => return Err(broken()),
                }
                self.has_end = false;
            }
            match httparse::parse_chunk_size(read) {
                Ok(httparse::Status::Complete((_, 0))) => return Ok(true),
                Ok(httparse::Status::Complete((at, len))) => {
                    read.advance(at);
                    (self.left, self.has_end) = (len, true);
                }
                Ok(httparse::Status::Partial) if read.len() < MAX_CHUNK_HEAD => return Ok(false),
                _ => return Err(broken()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By so many bytes at a time.
    fn dechunked(bytes: &[u8], step: usize) -> Result<Option<Vec<u8>>, String> {
        let (mut read, mut body) = (BytesMut::new(), Vec::new());
        let mut chunk = Chunk::default();
        for piece in bytes.chunks(step) {
            read.extend_from_slice(piece);
            if chunk.take(&mut read, &mut body)? {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_are_put_together() {
        for step in 1..30 {
            assert_eq!(
                dechunked(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", step),
                Ok(Some(b"abcde".to_vec()))
            );
            for short in [&b"3\r\nab"[..], b"ffffffffffffff\r\na", b""] {
                assert_eq!(dechunked(short, step), Ok(None));
            }
            for broken in [&b"x\r\n"[..], b"1\r\nabc"] {
                assert!(dechunked(broken, step).is_err());
            }
        }
        assert!(dechunked(&vec![b'1'; MAX_CHUNK_HEAD], MAX_CHUNK_HEAD).is_err());
    }
}
