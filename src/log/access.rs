//! The access log: who asked for what, and what became of it.

use std::net::IpAddr;

use super::line::{ARROW, Kind, Line, Value};
use super::{WRITER, recent, warn_limited};
use crate::address::{Destination, Network};
use crate::session::{Source, User};

/// The most of a reason that is written down: a stranger has a say in it.
const REASON_LEN: usize = 1024;

/// A session on its way.
#[derive(Clone, Copy)]
pub struct Accepted<'a> {
    /// Its number.
    pub session: u32,
    /// What messages call the inbound.
    pub inbound: Option<&'a str>,
    /// That is its tag.
    pub inbound_is_tagged: bool,
    /// A rule led it to the outbound.
    pub by_rule: bool,
    /// Where it came from.
    pub source: Source,
    /// What kind of session it is.
    pub network: Network,
    /// Where it is to go.
    pub to: &'a Destination,
    /// What messages call the outbound, and its tag.
    pub outbound: (&'a str, Option<&'a str>),
    /// Who asks.
    pub user: Option<&'a User>,
}

/// A connection that nothing was accepted from.
#[derive(Clone, Copy)]
pub struct Rejected<'a> {
    /// What messages call the inbound.
    pub inbound: &'a str,
    /// Where it came from, as far as that is known.
    pub source: Source,
    /// Who has shown who they are, by a name of theirs.
    pub user: Option<&'a str>,
    /// Why.
    pub reason: &'a str,
    /// What stays when the reason's sentence gets better.
    pub code: &'static str,
}

/// A session is on its way.
pub fn accepted(session: Accepted<'_>) {
    let Some(writer) = WRITER.get().filter(|w| w.has_access()) else {
        return;
    };
    let (name, tag) = session.outbound;
    let mut line = Line::new(Kind::Accepted, String::new())
        .with("source", Value::Text(session.source.to_string()))
        .with("network", Value::Text(session.network.to_string()))
        .with("to", Value::Text(session.to.to_string()))
        .with("outbound", Value::Text(one_line(tag.unwrap_or(name))))
        .with("id", Value::Number(session.session.into()));
    if let Some(inbound) = session.inbound {
        line = line.with("inbound", Value::Text(one_line(inbound)));
    }
    if session.inbound_is_tagged {
        let arrow = if session.by_rule { "->" } else { ">>" };
        line = line.with(ARROW, Value::Text(arrow.to_owned()));
    }
    if let Some(tag) = tag {
        line = line.with("tag", Value::Text(one_line(tag)));
    }
    if let Some(email) = session.user.and_then(|u| u.email.as_deref()) {
        line = line.with("email", Value::Text(one_line(email)));
    }
    writer.access(&line);
}

/// Nothing was accepted from a connection.
///
/// Without an access log the reason is a warning: whoever sets up a tunnel must not stand before an empty log. Either
/// way further lines of the kind are counted. What users are told does not depend on strangers, and what comes in by one
/// inbound, or for one reason, does not on another.
pub fn rejected(rejected: Rejected<'_>) {
    let Rejected {
        inbound,
        source,
        user,
        reason,
        code,
    } = rejected;
    recent::refused(inbound, source, user, reason, code);
    let reason = one_line(cut(reason, REASON_LEN));
    let about = |kind, message| {
        let mut line = Line::new(kind, message)
            .with("inbound", Value::Text(one_line(inbound)))
            .with("source", Value::Text(source.to_string()));
        line.code = Some(code.to_owned());
        line
    };
    let network = network(source);
    let Some(writer) = WRITER.get().filter(|w| w.has_access()) else {
        let text = format!("{inbound}: a connection of {source} was refused: {reason}");
        let line = about(Kind::Warning, text);
        return warn_limited(&line, |limits, line| {
            limits.refusal(user, inbound, &network, code, line)
        });
    };
    let line = about(Kind::Rejected, reason);
    if writer.access_allows(|limits| limits.refusal(user, inbound, &network, code, &line)) {
        writer.access(&line);
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

/// The first `len` bytes of a text, or fewer where a letter would be cut.
pub(super) fn cut(text: &str, len: usize) -> &str {
    let mut len = len.min(text.len());
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text[..len]
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
