//! The access log: who asked for what, and what became of it.

use std::fmt::Write;

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

/// Nothing was accepted from `source`.
pub fn rejected(source: Source, reason: &str) {
    let Some(writer) = WRITER.get().filter(|w| w.has_access()) else {
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
