//! The form that most links have: `scheme://userinfo@host:port/path?query#name`.
//!
//! It is read more loosely than RFC 3986 would: base64 with `/` and `=` stands in front of the `@` of many links.

use std::borrow::Cow;
use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::said::Said;
use crate::address::{Destination, Host};

/// What `encodeURIComponent` leaves alone, without `!*'()`, which not every reader does.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The parts of a link, as they were written.
pub(super) struct Uri<'a> {
    pub(super) userinfo: Option<&'a str>,
    /// Host and port.
    pub(super) place: &'a str,
    pub(super) query: &'a str,
    name: Option<&'a str>,
}

impl<'a> Uri<'a> {
    /// Of what stands behind `://`.
    pub(super) fn split(rest: &'a str) -> Self {
        let (rest, name) = cut(rest, '#');
        let (rest, query) = cut(rest, '?');
        let (userinfo, place) = match rest.rsplit_once('@') {
            Some((userinfo, place)) => (Some(userinfo), place),
            None => (None, rest),
        };
        // Where there is no user, base64 may stand, and that may have a slash in it.
        let place = match userinfo {
            Some(_) => cut(place, '/').0,
            None => place,
        };
        Self {
            userinfo,
            place,
            query: query.unwrap_or_default(),
            name,
        }
    }

    /// The same of another user.
    pub(super) fn of_user(&self, userinfo: &'a str) -> Self {
        Self {
            userinfo: Some(userinfo),
            ..*self
        }
    }

    /// What the link is called.
    pub(super) fn name(&self) -> Option<String> {
        let name = percent_decode_str(self.name?).decode_utf8_lossy();
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// Who connects, decoded.
    pub(super) fn user(&self, part: &str, said: &mut Said) -> Option<Cow<'a, str>> {
        let userinfo = self.userinfo.filter(|userinfo| !userinfo.is_empty());
        let Some(userinfo) = userinfo else {
            said.error(part, "it is missing, expected it in front of `@`");
            return None;
        };
        let user = percent_decode_str(userinfo).decode_utf8();
        user.map_err(|_| said.error(part, "it is not UTF-8 text, percent-encoded"))
            .ok()
    }

    /// Where the server is.
    pub(super) fn server(&self, said: &mut Said) -> Option<Destination> {
        server(self.place, said)
    }
}

/// Reads `host:port`.
pub(super) fn server(place: &str, said: &mut Said) -> Option<Destination> {
    let end_of_ipv6 = place.starts_with('[').then(|| place.find(']')).flatten();
    let (host, port) = match end_of_ipv6 {
        Some(end) => (&place[..=end], place[end + 1..].strip_prefix(':')),
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let bare = !host.starts_with('[') && host.contains(':');
    let host = match bare {
        true => {
            let text = "an IPv6 address stands in brackets, such as `[2001:db8::1]`";
            said.error("address", text);
            None
        }
        false => address(host, said),
    };
    let port = match port {
        Some(text) => self::port(text, said),
        None => {
            said.error("port", "it is missing, expected 1 to 65535");
            None
        }
    };
    Some(Destination::new(host?, port?))
}

/// The address of a server.
pub(super) fn address(text: &str, said: &mut Said) -> Option<Host> {
    let host = Host::parse(text.trim());
    let said_of = |e| match text.is_ascii() {
        // What has no dot may be base64, with a secret inside.
        true if !text.contains('.') => format!("this is neither an address nor a name: {e}"),
        true => format!("found `{}`: {e}", text.escape_debug()),
        false => format!(
            "found `{}`, expected ASCII: other names are written in punycode (`xn--…`)",
            text.escape_debug()
        ),
    };
    host.map_err(|e| said.error("address", said_of(e))).ok()
}

/// The port of a server.
pub(super) fn port(text: &str, said: &mut Said) -> Option<u16> {
    let port = text.trim().parse().ok().filter(|port| *port != 0);
    if port.is_none() {
        let text = text.escape_debug();
        said.error("port", format_args!("found `{text}`, expected 1 to 65535"));
    }
    port
}

/// Makes a link; what stands for the user is encoded already.
pub(super) fn written(
    scheme: &str,
    user: &str,
    to: &Destination,
    params: &[(&str, String)],
    name: &str,
) -> String {
    let mut link = format!("{scheme}://{user}@{to}");
    for (i, (key, value)) in params.iter().enumerate() {
        let mark = if i == 0 { '?' } else { '&' };
        let _ = write!(link, "{mark}{key}={}", encoded(value));
    }
    if !name.is_empty() {
        let _ = write!(link, "#{}", encoded(name));
    }
    link
}

/// As `encodeURIComponent` does it.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}
