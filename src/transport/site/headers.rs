//! Headers on their way to an upstream and back (RFC 9110, section 7.6).

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Version};

use super::Guest;
use crate::http::head::{has_token, items};
use crate::session::Source;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is meant for the next hop alone, besides what `Connection` names.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whether a request asks for a WebSocket. Nothing else is switched to: `h2c` would hide what follows from whoever looks
/// at requests.
pub(super) fn wants_websocket(parts: &Parts) -> bool {
    let (version, headers) = (parts.version, &parts.headers);
    let only = items(headers, &UPGRADE).all(|item| item.eq_ignore_ascii_case(b"websocket"));
    version == Version::HTTP_11
        && has_token(headers, &CONNECTION, "upgrade")
        && headers.contains_key(UPGRADE)
        && only
}

/// The headers of a request as the upstream gets them. `host` stands in place of the visitor's, `default` where there
/// is none at all; `body_len` is how long the body is, if that is known.
pub(super) fn forward(
    parts: &Parts,
    guest: &Guest,
    host: Option<&HeaderValue>,
    default: &str,
    body_len: Option<u64>,
) -> HeaderMap {
    let theirs = &parts.headers;
    let is_believed = guest.named(theirs).is_some();
    let asked = asked_host(parts);
    let mut headers = HeaderMap::with_capacity(theirs.len() + 4);
    let host = host.or(asked.as_ref()).cloned();
    let host = host.or_else(|| HeaderValue::try_from(default).ok());
    headers.extend(host.map(|host| (HOST, host)));
    let ours = [HOST, CONTENT_LENGTH, EXPECT, X_FORWARDED_FOR, COOKIE];
    let is_claimed = |name| !is_believed && is_word_of_proxies(name);
    for (name, value) in end_to_end(theirs) {
        if !ours.contains(name) && !is_claimed(name) {
            headers.append(name, value.clone());
        }
    }
    // Of HTTP/2 it comes in pieces (RFC 9113, section 8.2.3).
    headers.extend(joined(theirs, &COOKIE, b"; ").map(|cookie| (COOKIE, cookie)));
    if let Some(len) = body_len.filter(|len| *len > 0 || theirs.contains_key(CONTENT_LENGTH)) {
        headers.insert(CONTENT_LENGTH, len.into());
    }
    let before = joined(theirs, &X_FORWARDED_FOR, b", ").filter(|_| is_believed);
    let peer = match guest.peer {
        Source::Ip(addr) => Some(addr.ip().to_canonical().to_string()),
        Source::Unix => None,
    };
    let mut all = before
        .map(|list| list.as_bytes().to_vec())
        .unwrap_or_default();
    if let Some(peer) = peer {
        all.extend_from_slice(if all.is_empty() { b"" } else { b", " });
        all.extend_from_slice(peer.as_bytes());
    }
    if let Ok(all) = HeaderValue::from_bytes(&all)
        && !all.is_empty()
    {
        headers.insert(X_FORWARDED_FOR, all);
    }
    if let Some(asked) = asked {
        headers.entry(X_FORWARDED_HOST).or_insert(asked);
    }
    let proto = if guest.over_tls { "https" } else { "http" };
    let proto = HeaderValue::from_static(proto);
    headers.entry(X_FORWARDED_PROTO).or_insert(proto);
    headers
}

/// Whether a header says for whom a proxy comes, or is one that an upstream may take for such: many have `_` for `-`.
fn is_word_of_proxies(name: &HeaderName) -> bool {
    let name = name.as_str().replace('_', "-");
    name.starts_with("x-forwarded-") || ["forwarded", "x-real-ip"].contains(&&*name)
}

/// The headers of an answer as the visitor gets them, in their order.
pub(super) fn back(headers: &HeaderMap) -> HeaderMap {
    let mut back = HeaderMap::with_capacity(headers.len() + 1);
    for (name, value) in end_to_end(headers) {
        back.append(name, value.clone());
    }
    // Beside chunks it says nothing (RFC 9112, section 6.3).
    if headers.contains_key(TRANSFER_ENCODING) {
        back.remove(CONTENT_LENGTH);
    }
    back
}

fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let is_named = |name: &HeaderName| {
        let mut named = items(headers, &CONNECTION);
        named.any(|token| token.eq_ignore_ascii_case(name.as_str().as_bytes()))
    };
    headers
        .iter()
        .filter(move |(name, _)| !HOP_BY_HOP.contains(name) && !is_named(name))
}

/// The host that a request names.
pub(super) fn asked_host(parts: &Parts) -> Option<HeaderValue> {
    // An absolute URI counts more (RFC 9112, section 3.2.2), and HTTP/2 has nothing else.
    let in_uri = parts.uri.authority().map(|authority| authority.as_str());
    let in_uri = in_uri.and_then(|host| HeaderValue::from_str(host).ok());
    in_uri.or_else(|| parts.headers.get(HOST).cloned())
}

/// Whether what a request asks for is a path, or all of the server (RFC 9112, section 3.2).
pub(super) fn is_target(request: &Parts) -> bool {
    let uri = &request.uri;
    let is_ours = uri
        .scheme_str()
        .is_none_or(|scheme| ["http", "https"].contains(&scheme));
    let is_whole = request.method == Method::OPTIONS && uri.path() == "*";
    is_ours && (is_whole || uri.path().starts_with('/'))
}

/// Whether each host that it names may be one, as nginx has it: an upstream would find anything in it.
pub(super) fn are_hosts(request: &Parts) -> bool {
    let is_host = |host: &[u8]| {
        let is_odd = |byte: &u8| *byte <= b' ' || matches!(*byte, b'/' | b'\\' | 0x7f);
        !host.is_empty() && !host.iter().any(is_odd) && !host.windows(2).any(|two| two == b"..")
    };
    let named = request.headers.get_all(HOST).iter();
    let in_uri = request.uri.authority().map(|one| one.as_str());
    named.map(HeaderValue::as_bytes).all(is_host) && !in_uri.is_some_and(|one| one.contains('@'))
}

/// The values of a header in one line.
fn joined(headers: &HeaderMap, name: &HeaderName, between: &[u8]) -> Option<HeaderValue> {
    let values: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let joined = HeaderValue::from_bytes(&values.join(between)).ok();
    joined.filter(|joined| !joined.is_empty())
}
