//! `vmess://CARRIER[+tls]:ID-ALTERID@HOST:PORT/?…`, a proposal of 2020 that Qv2ray wrote and NekoBox reads: the password of a URL's
//! user is who connects, and the user how.
//!
//! `type` is what the carrier is disguised as, `host` has several names with `|` between, and of TLS there are `tlsServerName` and
//! `allowInsecure`.

use std::borrow::Cow;

/// The carriers that it has words for, those that are not built included.
const CARRIERS: [&str; 5] = ["tcp", "ws", "http", "kcp", "quic"];

/// The same in the words of the other URLs: who connects, and the query.
pub(super) fn usual<'a>(userinfo: &'a str, query: &str) -> Option<(&'a str, String)> {
    let (carrier, user) = userinfo.split_once(':')?;
    let with_tls = carrier
        .strip_suffix("+tls")
        .or(carrier.strip_suffix("%2Btls"));
    let (carrier, security) = with_tls.map_or((carrier, "none"), |carrier| (carrier, "tls"));
    if !CARRIERS.contains(&carrier) {
        return None;
    }
    let (id, alter_id) = match user.rsplit_once('-') {
        // The dashes of an id are four.
        Some((id, number)) if id.matches('-').count() != 3 => (id, number),
        _ => (user, "0"),
    };
    let mut params = vec![
        Cow::from(format!("type={carrier}")),
        format!("security={security}").into(),
        format!("alterId={alter_id}").into(),
    ];
    let given = query.split('&').filter(|part| !part.is_empty());
    // The carrier has said what there is of TLS.
    let given = given.filter(|part| !part.starts_with("security="));
    params.extend(given.map(|part| {
        match part.split_once('=') {
            Some(("type", disguise)) => format!("headerType={disguise}").into(),
            Some(("tlsServerName", name)) => format!("sni={name}").into(),
            Some(("host", names)) if carrier == "http" => format!(
                "host={}",
                names
                    .replace("%7c", "|")
                    .replace("%7C", "|")
                    .replace('|', ",")
            )
            .into(),
            _ => part.into(),
        }
    }));
    Some((id, params.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

    #[test]
    fn who_connects_stands_behind_how() {
        let of = |userinfo: &str, query| {
            usual(userinfo, query).map(|(id, params)| (id.to_owned(), params))
        };
        let params = |text: &str| Some((ID.to_owned(), text.to_owned()));
        assert_eq!(
            of(
                &format!("ws+tls:{ID}-0"),
                "path=%2Fray&tlsServerName=a.example"
            ),
            params("type=ws&security=tls&alterId=0&path=%2Fray&sni=a.example")
        );
        assert_eq!(
            of(&format!("tcp:{ID}"), "type=http"),
            params("type=tcp&security=none&alterId=0&headerType=http")
        );
        assert_eq!(
            of(&format!("http+tls:{ID}-64"), "host=a|b"),
            params("type=http&security=tls&alterId=64&host=a,b")
        );
        for other in [ID, "auto:x", "ws+xtls:x", "grpc:x"] {
            assert_eq!(of(other, ""), None, "{other}");
        }
    }
}
