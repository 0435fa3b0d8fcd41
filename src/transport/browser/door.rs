//! Who comes to where the page is served, and what for.
//!
//! Any page in the browser may make requests to this machine. It is told apart by its Origin, and gets no token, for it
//! may not read our answers. A page whose name leads to this machine all of a sudden may; so a Host that is a name gets
//! nothing at all.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method, Request, StatusCode};
use percent_encoding::percent_decode_str;

use super::codec::Id;
use super::page;
use crate::address::Host;
use crate::cause::Unfit;
use crate::http::request::without_port;
use crate::http::visit::Refused;
use crate::transport::ws::ServerSettings;

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// For the page, which it has been given.
    ForPage,
    /// A page; `false` is one that was served by another process.
    ToControl(bool),
    /// The bytes of a tunnel.
    WithLink(Id),
}

/// The answer to a request, and what it is for; `nonce` is for this answer alone.
pub(super) fn answer(
    request: &Request<()>,
    token: &str,
    nonce: &str,
) -> Result<(Vec<u8>, Came), Refused> {
    let refused = |status, unfit| Err(Refused { status, unfit });
    let headers = request.headers();
    let host = named(headers, &HOST).unwrap_or_default();
    if !is_this_machine(&host) {
        return refused(StatusCode::MISDIRECTED_REQUEST, Unfit::NamedHost(host));
    }
    let path = request.uri().path();
    if path == "/" || path == "/index.html" {
        return match *request.method() {
            Method::GET => Ok((page::answer(token, nonce, true), Came::ForPage)),
            Method::HEAD => Ok((page::answer(token, nonce, false), Came::ForPage)),
            _ => refused(StatusCode::METHOD_NOT_ALLOWED, Unfit::Method),
        };
    }
    let path = match path {
        "/control" | "/link" => path.to_owned(),
        _ => return refused(StatusCode::NOT_FOUND, Unfit::Path("/".to_owned())),
    };
    let origin = named(headers, &ORIGIN).unwrap_or_default();
    if origin != format!("http://{host}") {
        return refused(StatusCode::FORBIDDEN, Unfit::Origin(origin));
    }
    let query = request.uri().query().unwrap_or_default();
    let is_ours = argument(query, "token").is_some_and(|shown| same(&shown, token));
    let came = match &*path {
        "/control" => Came::ToControl(is_ours),
        _ => match argument(query, "id").and_then(|id| id.parse().ok()) {
            Some(id) if is_ours => Came::WithLink(id),
            _ => return refused(StatusCode::FORBIDDEN, Unfit::Origin(origin)),
        },
    };
    let settings = ServerSettings {
        path,
        ..ServerSettings::default()
    };
    let (answer, _) = settings.answer(request)?;
    Ok((answer, came))
}

fn named(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    let mut all = headers.get_all(name).iter();
    let one = all.next().filter(|_| all.next().is_none())?;
    Some(String::from_utf8_lossy(one.as_bytes()).into_owned())
}

/// Whether a Host is an address, or the name that is always this machine's.
fn is_this_machine(host: &str) -> bool {
    let bare = without_port(host);
    if bare.eq_ignore_ascii_case("localhost") {
        return true;
    }
    matches!(
        Host::parse(bare.trim_start_matches('[').trim_end_matches(']')),
        Ok(Host::Ip(_))
    )
}

fn argument(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let value = percent_decode_str(values.next()?).decode_utf8().ok()?;
    Some(value.into_owned())
}

/// In a time that does not tell how far they agree.
fn same(a: &str, b: &str) -> bool {
    let differ = a
        .bytes()
        .zip(b.bytes())
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "5e1ec7ed";

    #[test]
    fn who_asks_and_for_what_decides() {
        let id = Id(7);
        let control = format!("/control?token={TOKEN}");
        let link = format!("/link?token={TOKEN}&id={id}");
        let here = "127.0.0.1:8080";
        let ours = Some("http://127.0.0.1:8080");
        for (target, host, origin, expected) in [
            ("/", here, None, Ok(Came::ForPage)),
            ("/?classic", "localhost:8080", None, Ok(Came::ForPage)),
            ("/", "[::1]:8080", None, Ok(Came::ForPage)),
            ("/", "192.0.2.7", None, Ok(Came::ForPage)),
            ("/", "rebound.example:8080", None, Err(421)),
            ("/", "localhost.example", None, Err(421)),
            ("/", "", None, Err(421)),
            ("/elsewhere", here, None, Err(404)),
            (&control, here, ours, Ok(Came::ToControl(true))),
            ("/control?token=old", here, ours, Ok(Came::ToControl(false))),
            ("/control", here, ours, Ok(Came::ToControl(false))),
            (&control, here, None, Err(403)),
            (&control, here, Some("https://127.0.0.1:8080"), Err(403)),
            (&control, here, Some("http://127.0.0.1:8081"), Err(403)),
            (&control, here, Some("http://evil.example"), Err(403)),
            (&control, here, Some("null"), Err(403)),
            (
                &control,
                "evil.example",
                Some("http://evil.example"),
                Err(421),
            ),
            (&link, here, ours, Ok(Came::WithLink(id))),
            (&link, here, Some("http://evil.example"), Err(403)),
            ("/link?token=5e1ec7ed&id=7", here, ours, Err(403)),
            (
                "/link?id=00000000000000000000000000000007",
                here,
                ours,
                Err(403),
            ),
        ] {
            let mut request = Request::get(target)
                .header(HOST, host)
                .header("upgrade", "websocket")
                .header("connection", "Upgrade")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            let found = answer(&request.body(()).unwrap(), TOKEN, "n");
            let found = found.map(|(_, came)| came);
            let found = found.map_err(|refused| refused.status.as_u16());
            assert_eq!(found, expected, "{target} {host} {origin:?}");
        }
    }
}
