//! What a proxy reads in the head of a request, and changes before it sends the head on.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::request::Parts;
use http::response::Parts as ResponseParts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use percent_encoding::percent_decode_str;

use crate::address::{Destination, Host};
use crate::http::head::items;
use crate::protocol::accounts::{Account, Accounts};
use crate::session::{Attributes, User};

/// The user whose credentials stand in `Proxy-Authorization: Basic …`.
pub(super) fn user(accounts: &Accounts, headers: &HeaderMap) -> Option<Arc<User>> {
    let value = headers.get(PROXY_AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|b| *b == b':')?;
    accounts.find(&decoded[..colon], &decoded[colon + 1..])
}

/// The value of `Proxy-Authorization` for `account`.
pub(super) fn credentials(account: &Account) -> String {
    let pair = format!("{}:{}", account.user, *account.pass);
    format!("Basic {}", STANDARD.encode(pair))
}

/// Where `authority` points to.
pub(super) fn destination(authority: &Authority, default_port: u16) -> Result<Destination, String> {
    let host = Host::parse(authority.host()).map_err(|e| e.to_string())?;
    // `Authority` has no port where it is none, and knows of no number that is too large.
    let behind = authority.as_str().rsplit_once(authority.host());
    let port = match behind.and_then(|(_, rest)| rest.strip_prefix(':')) {
        None | Some("") => default_port,
        Some(port) => port
            .parse()
            .map_err(|_| format!("`{port}` is not a port"))?,
    };
    Ok(Destination::new(host, port))
}

/// Where a plain request goes. A request that names only a path is meant for a web server;
/// `transparent` takes its Host header for the target.
///
/// As in V2Ray the scheme only chooses the port: whoever asks a proxy for `https://` gets it in the clear.
pub(super) fn target(head: &Parts, transparent: bool) -> Result<Destination, String> {
    match (head.uri.scheme_str(), head.uri.authority()) {
        (Some("https"), Some(authority)) => destination(authority, 443),
        (Some(_), Some(authority)) => destination(authority, 80),
        _ if transparent => {
            let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
            let authority = host.and_then(|host| host.parse::<Authority>().ok());
            destination(&authority.ok_or("the request has no Host")?, 80)
        }
        _ => Err("the request is for a web server, not for a proxy".to_owned()),
    }
}

/// Makes the head of a request to a proxy one to the server itself; `length` is that of its body, where it has one of
/// its own.
pub(super) fn forward_request(head: &mut Parts, length: Option<u64>) {
    let host = head.uri.authority().map(without_user);
    let host = host.and_then(|host| HeaderValue::from_str(host).ok());
    let path = head.uri.path_and_query().cloned();
    let path = path.filter(|path| !path.as_str().is_empty());
    head.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    head.version = Version::HTTP_11;
    strip(&mut head.headers);
    if let Some(host) = host {
        head.headers.insert(HOST, host);
    }
    let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(&head.method);
    match length {
        // hyper sends chunks only where a method is meant to have a body, or where they are announced.
        None => {
            let chunked = HeaderValue::from_static("chunked");
            head.headers.insert(TRANSFER_ENCODING, chunked);
            head.headers.remove(CONTENT_LENGTH);
        }
        Some(0) if !has_body => {}
        Some(len) => set_length(&mut head.headers, len),
    }
    // One connection carries one request, as with V2Ray, so the server need not wait for another.
    if !head.headers.contains_key(UPGRADE) {
        let close = HeaderValue::from_static("close");
        head.headers.insert(CONNECTION, close);
    }
}

/// Makes the head of a server's response one of ours. `length` is that of the body that follows, `None` where only its
/// end tells; a response to HEAD, 204 and 304 have none, whatever their headers say.
pub(super) fn forward_response(head: &mut ResponseParts, length: Option<u64>, is_head: bool) {
    let in_chunks = head.headers.contains_key(TRANSFER_ENCODING);
    strip(&mut head.headers);
    head.version = Version::HTTP_11;
    if is_head || head.status == StatusCode::NOT_MODIFIED {
        // What a response to GET would have: chunks count, and several equal lengths are one.
        let len = head.headers.get(CONTENT_LENGTH).and_then(one_length);
        match len.filter(|_| !in_chunks) {
            Some(len) => set_length(&mut head.headers, len),
            None => {
                head.headers.remove(CONTENT_LENGTH);
            }
        }
        return;
    }
    match length {
        Some(0) if head.status == StatusCode::NO_CONTENT => {
            head.headers.remove(CONTENT_LENGTH);
        }
        Some(len) => set_length(&mut head.headers, len),
        None => {
            head.headers.remove(CONTENT_LENGTH);
        }
    }
}

/// The number in a list of equal ones.
fn one_length(value: &HeaderValue) -> Option<u64> {
    let mut all = value.to_str().ok()?.split(',').map(|n| n.trim().parse());
    let first = all.next()?.ok()?;
    all.all(|n| n == Ok(first)).then_some(first)
}

/// In its place, if it had one.
fn set_length(headers: &mut HeaderMap, len: u64) {
    headers.insert(CONTENT_LENGTH, len.into());
}

/// Whether a body's coding, if it has one, is that of chunks and no other on top.
pub(super) fn is_in_chunks_alone(headers: &HeaderMap) -> bool {
    let codings = items(headers, &TRANSFER_ENCODING);
    let mut codings = codings.filter(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    codings
        .next()
        .is_none_or(|coding| coding.eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

/// What rules may ask about a request that is sent on, named as V2Ray names it.
pub(super) fn attributes<B>(request: &Request<B>) -> Attributes {
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    let mut attributes = Attributes::from([
        (
            ":method".to_owned(),
            request.method().as_str().to_uppercase(),
        ),
        (":path".to_owned(), path.into_owned()),
        // Where the client names none, V2Ray's is empty.
        (USER_AGENT.to_string(), String::new()),
    ]);
    for name in request.headers().keys() {
        if let Some(value) = request.headers().get(name)
            && ![HOST, CONNECTION, UPGRADE].contains(name)
        {
            let value = String::from_utf8_lossy(value.as_bytes());
            attributes.insert(name.to_string(), value.into_owned());
        }
    }
    attributes
}

/// Removes what concerns one connection only. An upgrade (`ws://` through a proxy) is kept: both
/// connections make the change together.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let upgrade = if named.contains(&UPGRADE) {
        headers.get(UPGRADE).cloned()
    } else {
        None
    };
    let hop_by_hop = [
        CONNECTION,
        UPGRADE,
        TE,
        TRANSFER_ENCODING,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    // Rebuilt rather than removed from, which would change the order of the others.
    let mut last = None;
    for (name, value) in std::mem::take(headers) {
        last = name.or(last);
        if let Some(name) = &last
            && !named.contains(name)
            && !hop_by_hop.contains(name)
        {
            headers.append(name, value);
        }
    }
    if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
}

/// An authority without `user:password@`, which is nobody's business on the way.
fn without_user(authority: &Authority) -> &str {
    let text = authority.as_str();
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_one_connection_is_not_sent_on() {
        let head = forwarded(&[
            ("Proxy-Connection", "keep-alive"),
            ("Connection", "close, X-Named"),
            ("X-Named", "1"),
            ("Keep-Alive", "5"),
            ("Proxy-Authorization", "Basic xyz"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("Accept", "*/*"),
            ("Host", "other.example"),
        ]);
        let mut names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "connection", "host"]);
        assert_eq!(head.headers[HOST], "example.com:8080");
        assert_eq!(head.headers[CONNECTION], "close");
        assert_eq!(head.uri, "/a?b");
    }

    #[test]
    fn an_upgrade_is_sent_on() {
        let head = forwarded(&[
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "websocket"),
        ]);
        assert_eq!(head.headers[UPGRADE], "websocket");
        assert_eq!(head.headers[CONNECTION], "Upgrade");
    }

    #[test]
    fn targets_have_a_default_port() {
        for (uri, expected) in [
            ("http://example.com/", Ok("example.com:80")),
            ("http://[::1]:8080/", Ok("[::1]:8080")),
            ("ws://user:pw@example.com/", Ok("example.com:80")),
            ("https://example.com/", Ok("example.com:443")),
            (
                "/path",
                Err("the request is for a web server, not for a proxy"),
            ),
        ] {
            let (head, ()) = Request::get(uri).body(()).unwrap().into_parts();
            let found = target(&head, false).map(|to| to.to_string());
            assert_eq!(found.as_deref().map_err(|e| &**e), expected);
        }
        let request = Request::get("/path").header("Host", "example.com:81");
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(target(&head, true).unwrap().to_string(), "example.com:81");
    }

    fn forwarded(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get("http://user@example.com:8080/a?b");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        forward_request(&mut head, Some(0));
        head
    }
}
