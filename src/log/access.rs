//! The access log: who asked for what, and what became of it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::{WRITER, format::now};
use crate::address::{Destination, Network};
use crate::session::{Source, User};

/// A session is on its way to `to` by the outbound tagged `outbound`.
pub fn accepted(
    source: Source,
    network: Network,
    to: &Destination,
    outbound: Option<&str>,
    user: Option<&User>,
) {
    let Some(writer) = WRITER.get().filter(|w| w.has_access()) else {
        return;
    };
    let mut line = format!("{} {source} accepted {network}:{to}", now());
    if let Some(tag) = outbound {
        let _ = write!(line, " [{}]", one_line(tag));
    }
    if let Some(email) = user.and_then(|u| u.email.as_deref()) {
        let _ = write!(line, " email: {}", one_line(email));
    }
    writer.access(line);
}

/// Nothing was accepted from `source`. Without an access log the reason is a warning, once a second at
/// most and without the address: whoever sets up a tunnel must not stand before an empty log.
pub fn rejected(inbound: &str, source: Source, reason: &str) {
    let Some(writer) = WRITER.get().filter(|w| w.has_access()) else {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let second = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        if LAST.swap(second, Ordering::Relaxed) != second {
            warn!("{inbound}: a connection was refused: {}", one_line(reason));
        }
        return;
    };
    // The two spaces stand where an accepted session names its target, as V2Ray writes it.
    writer.access(format!("{} {source} rejected  {}", now(), one_line(reason)));
}

/// Text from outside must not begin a line of its own.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
