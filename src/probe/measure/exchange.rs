//! A request for a URL through a node, and the head of its answer.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, LOCATION, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use tokio::io::AsyncWriteExt;

use super::super::lab::Mounted;
use super::{CLOSED, TLS, told};
use crate::cause::{Fault, TlsError, code_of};
use crate::http::head;
use crate::io::Link;
use crate::observatory::Url;

/// The most that a head may have.
const MAX_HEAD: usize = 64 * 1024;

/// What of an answer is read so that another one may follow it.
const MAX_SKIPPED: u64 = 64 * 1024;

/// How far an exchange came.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU8);

const OPENING: u8 = 0;
const SEALING: u8 = 1;
const ASKING: u8 = 2;

impl Progress {
    /// What has not come in time.
    pub(super) fn told(&self) -> &'static str {
        match self.0.load(Ordering::Relaxed) {
            OPENING => "no tunnel is open by then, the server does not answer",
            SEALING => "the tunnel is open, and the target's TLS does not come through it",
            _ => {
                "the tunnel is open and nothing comes back: a wrong id, password or path, or a slow target"
            }
        }
    }

    fn is(&self, stage: u8) {
        self.0.store(stage, Ordering::Relaxed);
    }
}

/// A connection to a target through a node.
pub(super) struct Exchange {
    pub(super) link: Link,
    /// What has come and is not looked at.
    pub(super) read: BytesMut,
}

/// The head of an answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) first_byte: Instant,
}

impl Exchange {
    /// Opens one; when the target's own handshake was over comes with it.
    pub(super) async fn open(
        node: &Mounted,
        url: &Url,
        progress: &Progress,
    ) -> Result<Self, String> {
        progress.is(OPENING);
        let mut link = node.open(url.to()).await.map_err(|e| told(&e))?;
        if url.is_https() {
            progress.is(SEALING);
            link = TLS.wrap(link, url.to()).await.map_err(in_tls)?;
        }
        progress.is(ASKING);
        let read = BytesMut::new();
        Ok(Self { link, read })
    }

    /// Sends a request and reads the head of its answer.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<Answer, String> {
        let sent = async {
            self.link.write_all(request).await?;
            self.link.flush().await
        };
        sent.await.map_err(|e: io::Error| told(&e))?;
        let mut first_byte = None;
        loop {
            if first_byte.is_none() || !self.read.is_empty() {
                match head::response(&self.read) {
                    Ok(Some((answer, len))) => {
                        self.read.advance(len);
                        let first_byte = *first_byte.get_or_insert_with(Instant::now);
                        if answer.status().is_informational() {
                            continue;
                        }
                        let (parts, ()) = answer.into_parts();
                        return Ok(Answer {
                            status: parts.status,
                            headers: parts.headers,
                            first_byte,
                        });
                    }
                    Ok(None) if self.read.len() < MAX_HEAD => {}
                    _ => {
                        let code = Fault::TargetNotHttp.code();
                        return Err(format!("the answer is not HTTP [{code}]"));
                    }
                }
            }
            match self.link.read_more(&mut self.read).await {
                Ok(0) => return Err(CLOSED.to_owned()),
                Ok(_) => {
                    first_byte.get_or_insert_with(Instant::now);
                }
                Err(e) => return Err(told(&e)),
            }
        }
    }

    /// Reads past the body of an answer; whether another request may follow.
    pub(super) async fn skip(&mut self, answer: &Answer) -> bool {
        if head::has_token(&answer.headers, &CONNECTION, "close") {
            return false;
        }
        let has_body = !matches!(
            answer.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        let Some(mut left) = answer.length().or((!has_body).then_some(0)) else {
            return false;
        };
        if left > MAX_SKIPPED {
            return false;
        }
        loop {
            let here = self.read.len().min(left as usize);
            self.read.advance(here);
            left -= here as u64;
            if left == 0 {
                return true;
            }
            if !matches!(self.link.read_more(&mut self.read).await, Ok(1..)) {
                return false;
            }
        }
    }

    /// What was read behind the head, and the connection.
    pub(super) fn into_parts(self) -> (BytesMut, Link) {
        (self.read, self.link)
    }

    /// Ends it, without anybody waiting for that.
    pub(super) fn close(self) {
        crate::io::spawn(self.link.close());
    }
}

impl Answer {
    /// How long its body is, where that is said.
    pub(super) fn length(&self) -> Option<u64> {
        if self.headers.contains_key(TRANSFER_ENCODING) {
            return None;
        }
        let length = self.headers.get(CONTENT_LENGTH)?.to_str().ok()?;
        length.trim().parse().ok()
    }

    /// Whether its body is in chunks.
    pub(super) fn is_chunked(&self) -> bool {
        head::has_token(&self.headers, &TRANSFER_ENCODING, "chunked")
    }

    /// Where it leads, if it leads elsewhere.
    pub(super) fn leads_to(&self, from: &Url) -> Option<Result<Url, String>> {
        if !self.status.is_redirection() || self.status == StatusCode::NOT_MODIFIED {
            return None;
        }
        let to = self.headers.get(LOCATION)?;
        let whole = resolved(&String::from_utf8_lossy(to.as_bytes()), from);
        Some(Url::parse(&whole).map_err(|e| e.to_string()))
    }
}

/// The request for a URL.
pub(super) fn request(url: &Url, then: &str) -> Vec<u8> {
    let host = String::from_utf8_lossy(url.host().as_bytes());
    let target = url.target();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: mobula/{version}\r\nAccept: */*\r\n\
         Accept-Encoding: identity\r\nConnection: {then}\r\n\r\n"
    )
    .into_bytes()
}

/// A reference as a page at `from` means it; what cannot be read is as it was.
fn resolved(to: &str, from: &Url) -> String {
    let scheme = if from.is_https() { "https" } else { "http" };
    let host = String::from_utf8_lossy(from.host().as_bytes());
    let base = url::Url::parse(&format!("{scheme}://{host}{}", from.target()));
    match base.and_then(|base| base.join(to)) {
        Ok(mut whole) => {
            whole.set_fragment(None);
            whole.into()
        }
        Err(_) => to.to_owned(),
    }
}

/// What the target's TLS says, unless it is the tunnel below.
fn in_tls(error: TlsError) -> String {
    match error {
        TlsError::Broken(e) => told(&e),
        TlsError::Failed(e) if code_of(&e).is_some() => told(&e),
        TlsError::Closed => CLOSED.to_owned(),
        other => format!(
            "the target: {} [{}]",
            other.plain(),
            Fault::TargetTls.code()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_leads_where_its_own_place_says() {
        let from = Url::parse("https://example.com:8443/a/b/c?d=e").unwrap();
        for (to, place) in [
            ("http://other.example/x", "http://other.example/x"),
            ("//other.example/x", "https://other.example/x"),
            ("/x?y=http://z/", "https://example.com:8443/x?y=http://z/"),
            (
                "x?y=http://z/",
                "https://example.com:8443/a/b/x?y=http://z/",
            ),
            ("?x", "https://example.com:8443/a/b/c?x"),
            ("../x/./y#z", "https://example.com:8443/a/x/y"),
            ("../../../..", "https://example.com:8443/"),
            ("", "https://example.com:8443/a/b/c?d=e"),
        ] {
            assert_eq!(resolved(to, &from), place, "{to}");
            assert!(Url::parse(place).is_ok());
        }
        assert!(Url::parse(&resolved("mailto:a@b", &from)).is_err());
    }
}
