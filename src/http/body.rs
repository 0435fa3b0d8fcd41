//! The body of a request that only its length is wanted of.

use bytes::{Buf, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Version};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::head::has_token;
use super::visit::HEADER_LIMIT;
use crate::io::Link;

/// The longest body of a refused request that is read so that another request may follow.
const MAX_BODY: u64 = 64 * 1024;

/// How long a request's body is; `None` for one that goes in chunks, or whose length is no number.
pub(crate) fn len(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let mut len = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let value = value.as_bytes();
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let this = std::str::from_utf8(value).ok()?.parse().ok()?;
        if !is_number || len.is_some_and(|len| len != this) {
            return None;
        }
        len = Some(this);
    }
    Some(len.unwrap_or(0))
}

/// What of the connection belongs to a refused request still; `None` when no other may follow it.
pub(super) fn to_skip(request: &Request<()>) -> Option<u64> {
    let headers = request.headers();
    let keeps = match request.version() {
        Version::HTTP_11 => !has_token(headers, &CONNECTION, "close"),
        _ => has_token(headers, &CONNECTION, "keep-alive"),
    };
    len(headers).filter(|len| keeps && *len <= MAX_BODY)
}

/// Reads and forgets a body. `false` when it does not come.
pub(super) async fn skip(link: &mut Link, read: &mut BytesMut, mut left: u64) -> bool {
    let skipping = async {
        loop {
            let here = usize::try_from(left).map_or(read.len(), |left| left.min(read.len()));
            read.advance(here);
            left -= here as u64;
            if left == 0 {
                return true;
            }
            read.reserve(1024);
            if !link.read_buf(read).await.is_ok_and(|n| n > 0) {
                return false;
            }
        }
    };
    timeout(HEADER_LIMIT, skipping).await.unwrap_or(false)
}
