//! Whether a peer that ends a WebSocket says so, by the way it shakes hands.
//!
//! V2Ray and sing-box send a close frame whenever they end; a connection of theirs that is over without one broke
//! off. mihomo and shoes just end the connection, and their bytes inside are much like the others'. What tells
//! them apart is the order of the headers, which nginx keeps and a CDN may not:
//!
//! ```text
//! client    V2Ray     user-agent, sec-websocket-key, sec-websocket-version
//!           mihomo    the same
//!           sing-box  sec-websocket-version, sec-websocket-key, user-agent
//! server    V2Ray     upgrade, sec-websocket-accept, no date
//!           sing-box  the same
//!           mihomo    sec-websocket-accept, upgrade, date
//!           shoes     host
//! ```
//! All three clients call themselves `Go-http-client/1.1`; who calls itself something else is not known. V2Ray is
//! told from mihomo by what its VMess looks like, so that the protocol has the last word.

use http::HeaderMap;
use http::header::{
    DATE, HOST, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SERVER,
    UPGRADE, USER_AGENT, VIA,
};

use crate::io::Goodbye;

/// What it means if a client with this request ends without a close frame.
pub(super) fn of_client(request: &HeaderMap) -> Goodbye {
    let agent = request.get(USER_AGENT).map_or(&b""[..], |v| v.as_bytes());
    if !agent.starts_with(b"Go-http-client/") {
        return Goodbye::Unknown;
    }
    let far = [VIA, HeaderName::from_static("cdn-loop")];
    let in_order = !far.iter().any(|name| request.contains_key(name));
    let sing_box = stands_before(request, &SEC_WEBSOCKET_VERSION, &SEC_WEBSOCKET_KEY)
        && stands_before(request, &SEC_WEBSOCKET_KEY, &USER_AGENT);
    match in_order && sing_box {
        true => Goodbye::Owed,
        false => Goodbye::OwedByV2ray,
    }
}

/// What it means if a server with this answer ends without a close frame.
pub(super) fn of_server(answer: &HeaderMap) -> Goodbye {
    if answer.contains_key(HOST) {
        return Goodbye::Unknown;
    }
    let server = answer.get(SERVER).map_or(&b""[..], |v| v.as_bytes());
    let in_order = server.starts_with(b"nginx") || !answer.contains_key(DATE);
    match in_order && stands_before(answer, &UPGRADE, &SEC_WEBSOCKET_ACCEPT) {
        true => Goodbye::Owed,
        false => Goodbye::OwedByV2ray,
    }
}

/// A map is walked in the order in which its headers came.
fn stands_before(headers: &HeaderMap, first: &HeaderName, second: &HeaderName) -> bool {
    let place = |name| headers.keys().position(|key| key == name);
    matches!((place(first), place(second)), (Some(first), Some(second)) if first < second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderValue;

    const V2RAY: &str =
        "host user-agent connection sec-websocket-key sec-websocket-version upgrade";
    const SING_BOX: &str =
        "host upgrade connection sec-websocket-version sec-websocket-key user-agent";

    #[test]
    fn sing_box_is_told_from_mihomo_behind_nginx_too() {
        assert_eq!(of_client(&request(SING_BOX)), Goodbye::Owed);
        assert_eq!(of_client(&request(V2RAY)), Goodbye::OwedByV2ray);
        let behind = "upgrade connection host x-forwarded-for";
        let sing_box = format!("{behind} sec-websocket-version sec-websocket-key user-agent");
        assert_eq!(of_client(&request(&sing_box)), Goodbye::Owed);
        let mihomo = format!("{behind} user-agent sec-websocket-key sec-websocket-version");
        assert_eq!(of_client(&request(&mihomo)), Goodbye::OwedByV2ray);
        let cdn = format!("{SING_BOX} cdn-loop");
        assert_eq!(of_client(&request(&cdn)), Goodbye::OwedByV2ray);
    }

    #[test]
    fn of_other_clients_nothing_is_known() {
        let mut browser = request(SING_BOX);
        browser.insert(USER_AGENT, HeaderValue::from_static("Mozilla/5.0"));
        assert_eq!(of_client(&browser), Goodbye::Unknown);
        browser.remove(USER_AGENT);
        assert_eq!(of_client(&browser), Goodbye::Unknown);
    }

    #[test]
    fn servers_are_known_by_their_answer() {
        let nginx = |rest: &str| {
            let mut answer = headers(&format!("server date connection {rest}"));
            answer.insert(SERVER, HeaderValue::from_static("nginx/1.22.1"));
            answer
        };
        let cdn = headers("server date connection upgrade sec-websocket-accept");
        for (answer, goodbye) in [
            (
                headers("upgrade connection sec-websocket-accept"),
                Goodbye::Owed,
            ),
            (nginx("upgrade sec-websocket-accept"), Goodbye::Owed),
            (
                headers("connection sec-websocket-accept upgrade date"),
                Goodbye::OwedByV2ray,
            ),
            (nginx("sec-websocket-accept upgrade"), Goodbye::OwedByV2ray),
            (cdn, Goodbye::OwedByV2ray),
            (
                headers("upgrade connection sec-websocket-accept host"),
                Goodbye::Unknown,
            ),
        ] {
            assert_eq!(of_server(&answer), goodbye, "{answer:?}");
        }
    }

    fn request(names: &str) -> HeaderMap {
        let mut request = headers(names);
        if let Some(agent) = request.get_mut(USER_AGENT) {
            *agent = HeaderValue::from_static("Go-http-client/1.1");
        }
        request
    }

    fn headers(names: &str) -> HeaderMap {
        let names = names.split(' ');
        let header = |name: &str| (name.parse().unwrap(), HeaderValue::from_static("x"));
        names.map(header).collect::<HeaderMap>()
    }
}
