//! One page, whole.

use tokio::io::AsyncReadExt;

use super::super::lab::Mounted;
use super::exchange::{Exchange, Progress, request};
use crate::observatory::Url;

/// How many other places it may be at.
const MAX_REDIRECTS: usize = 5;

/// Reads a page of up to `max` bytes.
///
/// # Errors
///
/// When it does not come, or is larger; the text says why.
pub async fn page(node: &Mounted, url: &Url, max: usize) -> Result<Vec<u8>, String> {
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let mut exchange = Exchange::open(node, &url, &Progress::default()).await?;
        let answer = exchange.ask(&request(&url, "close")).await?;
        if let Some(other) = answer.leads_to(&url) {
            exchange.close();
            let other = other?;
            if url.is_https() && !other.is_https() {
                return Err(
                    "it leads from `https` to `http`, where everybody could read it".to_owned(),
                );
            }
            url = other;
            continue;
        }
        if !answer.status.is_success() {
            return Err(format!("it is answered with {}", answer.status.as_u16()));
        }
        let length = answer.length();
        let (read, link) = exchange.into_parts();
        let mut body = read.to_vec();
        let left = match length {
            Some(length) => length.saturating_sub(body.len() as u64),
            None => u64::MAX,
        };
        let limit = left.min((max + 1).saturating_sub(body.len()) as u64);
        let whole = link.take(limit).read_to_end(&mut body).await;
        whole.map_err(|e| super::told(&e))?;
        if body.len() > max {
            return Err(format!("it has more than {} MiB", max >> 20));
        }
        return match answer.is_chunked() {
            true => dechunked(&body),
            false => Ok(body),
        };
    }
    Err("it leads from one place to the next".to_owned())
}

/// RFC 9112, section 7.1, of a body that is here.
fn dechunked(mut rest: &[u8]) -> Result<Vec<u8>, String> {
    let broken = || "it breaks off".to_owned();
    let mut body = Vec::with_capacity(rest.len());
    loop {
        let Ok(httparse::Status::Complete((at, len))) = httparse::parse_chunk_size(rest) else {
            return Err(broken());
        };
        if len == 0 {
            return Ok(body);
        }
        let len = usize::try_from(len).map_err(|_| broken())?;
        let (chunk, behind) = rest[at..].split_at_checked(len).ok_or_else(broken)?;
        body.extend_from_slice(chunk);
        rest = behind.strip_prefix(b"\r\n").ok_or_else(broken)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together() {
        assert_eq!(
            dechunked(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"),
            Ok(b"abcde".to_vec())
        );
        for broken in [&b"3\r\nab"[..], b"x", b"ffffffffffffffff\r\na", b""] {
            assert!(dechunked(broken).is_err());
        }
    }
}
