//! The access log: who asked for what, and what became of it.

use std::fmt::Write;
use std::net::IpAddr;

use super::format::{cut, now};
use super::{WRITER, warn_limited};
use crate::address::{Destination, Network};
use crate::session::{Source, User};

/// The most of a reason that is written down: a stranger has a say in it.
const REASON_LEN: usize = 1024;

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

/// Nothing was accepted from `source`; `user` is who it is known to be, by a name of theirs.
///
/// Without an access log the reason is a warning, without the address: whoever sets up a tunnel must not stand before
/// an empty log. Either way further lines of the kind are counted. What users are told does not depend on strangers,
/// and what comes in by one inbound does not on another.
pub fn rejected(inbound: &str, source: Source, user: Option<&str>, reason: &str) {
    let reason = one_line(cut(reason, REASON_LEN));
    let Some(writer) = WRITER.get().filter(|w| w.has_access()) else {
        let text = format!("{inbound}: a connection was refused: {reason}");
        return warn_limited(&text, |limits, line| match user {
            Some(user) => limits.user(&format!("{inbound} {user}"), &reason, line),
            None => limits.stranger(inbound, "", &reason, line),
        });
    };
    // The two spaces stand where an accepted session names its target, as V2Ray writes it.
    let line = format!("{source} rejected  {reason}");
    let allowed = writer.access_allows(|limits| match user {
        Some(user) => limits.user(&format!("{inbound} {user}"), &reason, &line),
        None => limits.stranger(inbound, &network(source), &reason, &line),
    });
    if allowed {
        writer.access(format!("{} {line}", now()));
    }
}

/// Whom an address belongs to: a network of IPv6 has more addresses than can be told apart.
fn network(source: Source) -> String {
    match source {
        Source::Unix => "unix".to_owned(),
        Source::Ip(addr) => match addr.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("{:x?}", &ip.segments()[..4]),
        },
    }
}

/// Text from outside must not begin a line of its own.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let of = |addr: &str| network(Source::Ip(addr.parse().unwrap()));
        assert_eq!(of("[2001:db8:1:2::9]:1"), of("[2001:db8:1:2:ffff::]:2"));
        assert_ne!(of("[2001:db8:1:2::9]:1"), of("[2001:db8:1:3::9]:1"));
        assert_ne!(of("192.0.2.1:1"), of("192.0.2.2:1"));
    }
}
