//! Who gets a link that speaks another protocol than its inbound: `fallbacks` of VLESS and Trojan.
//!
//! An entry is chosen by the name that a TLS client asked for, then by the protocol that was agreed on, then by the path
//! of an HTTP request. An entry that leaves one of the three open is for those for whom there is no other.

mod request_line;
mod settings;

pub use request_line::fuzz;
pub use settings::FallbackSettings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout, timeout_at};

use crate::cause::{FlightError, ProtocolError};
use crate::io::Link;
use crate::seam::{Fallback, Refusal, TlsFacts};
use request_line::RequestLine;

/// How long the next piece of what is not whole may take: of a header before its sender is taken for a stranger, whom a
/// web server would have answered, and of a request line before its path is given up.
const PAUSE: Duration = Duration::from_secs(2);

/// Entries by name, protocol and path; `""` stands for any.
#[derive(Default)]
pub(super) struct Fallbacks(HashMap<String, ByAlpn>);

type ByAlpn = HashMap<String, ByPath>;
type ByPath = HashMap<String, Arc<Fallback>>;

/// What a stranger has said so far.
pub(super) struct Stranger {
    pub(super) link: Link,
    pub(super) read: BytesMut,
    pub(super) tls: Option<Arc<TlsFacts>>,
    /// When their time for a request is up.
    pub(super) until: Instant,
}

impl Fallbacks {
    /// Of two entries that say the same the last one counts, as in V2Ray.
    pub(super) fn new(settings: Vec<FallbackSettings>) -> Self {
        let mut all: HashMap<String, ByAlpn> = HashMap::new();
        for entry in settings {
            let by_alpn = all.entry(entry.name.to_ascii_lowercase()).or_default();
            let by_path = by_alpn.entry(entry.alpn.to_ascii_lowercase()).or_default();
            by_path.insert(entry.path, Arc::new(entry.fallback));
        }
        inherit(&mut all);
        Self(all)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more read of a first flight whose sender is not known yet; 0 at the end. Where somebody stands behind the
    /// protocol, a flight that stops in the middle is theirs.
    pub(super) async fn read_more(
        &self,
        link: &mut Link,
        buf: &mut BytesMut,
    ) -> Result<usize, FlightError> {
        let len = buf.len();
        let read = match self.is_empty() || len == 0 {
            true => link.read_more(buf).await,
            false => match timeout(PAUSE, link.read_more(buf)).await {
                Ok(read) => read,
                Err(_) => return Err(FlightError::Slow { len, limit: PAUSE }),
            },
        };
        read.map_err(FlightError::Broken)
    }

    /// Refuses a stranger: in silence, or with somebody to go on to.
    pub(super) async fn refuse(
        &self,
        cause: impl Into<ProtocolError>,
        mut stranger: Stranger,
    ) -> Refusal {
        let fallback = match self.is_empty() {
            true => None,
            false => self.choose(&mut stranger).await,
        };
        Refusal::silent(cause, stranger.link, stranger.read).hand_to(fallback)
    }

    async fn choose(&self, stranger: &mut Stranger) -> Option<Arc<Fallback>> {
        let by_path = self.by_path(stranger.tls.as_deref())?;
        // Where all paths are one, nobody is kept waiting for theirs.
        let is_one = by_path.len() == 1 && by_path.contains_key("");
        while !is_one && RequestLine::of(&stranger.read) == RequestLine::Unfinished {
            let until = stranger.until.min(Instant::now() + PAUSE);
            let more = stranger.link.read_more(&mut stranger.read);
            if !matches!(timeout_at(until, more).await, Ok(Ok(1..))) {
                break;
            }
        }
        let target = match RequestLine::of(&stranger.read) {
            RequestLine::Target(target) => target,
            RequestLine::Unfinished | RequestLine::Other => "",
        };
        // V2Ray looks the whole of it up, Xray what stands in front of the query.
        let path = target.split('?').next().unwrap_or_default();
        let mut found = [target, path, ""].into_iter();
        found.find_map(|path| by_path.get(path)).cloned()
    }

    fn by_path(&self, tls: Option<&TlsFacts>) -> Option<&ByPath> {
        let asked = tls.and_then(|tls| tls.server_name.as_deref());
        let asked = asked.unwrap_or_default();
        let by_alpn = self.0.get(asked).or_else(|| {
            // As Xray does: any part of the name will do, and the longest one is best.
            let parts = self.0.iter().filter(|(part, _)| asked.contains(&***part));
            let longest = parts.max_by_key(|(part, _)| part.len());
            longest.map(|(_, by_alpn)| by_alpn)
        })?;
        let alpn = tls.and_then(|tls| tls.alpn.as_deref()).unwrap_or_default();
        let by_path = by_alpn.get(&alpn.to_ascii_lowercase());
        by_path.or_else(|| by_alpn.get(""))
    }
}

/// What is said for any name, protocol or path is said for each one that has entries of its own and not this one.
fn inherit(all: &mut HashMap<String, ByAlpn>) {
    let default = all.get("").cloned().unwrap_or_default();
    for by_alpn in all.values_mut() {
        for alpn in default.keys() {
            by_alpn.entry(alpn.clone()).or_default();
        }
        let any = by_alpn.get("").cloned().unwrap_or_default();
        for (alpn, by_path) in by_alpn.iter_mut() {
            take_over(by_path, &any);
            // What the default name says for this protocol, and for any.
            for alpn in [&**alpn, ""] {
                if let Some(others) = default.get(alpn) {
                    take_over(by_path, others);
                }
            }
        }
    }
}

fn take_over(into: &mut ByPath, from: &ByPath) {
    for (path, fallback) in from {
        into.entry(path.clone()).or_insert_with(|| fallback.clone());
    }
}

#[cfg(test)]
mod tests;
