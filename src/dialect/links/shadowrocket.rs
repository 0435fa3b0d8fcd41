//! Shadowrocket's own form of `vmess://`.
//!
//! ```text
//! vmess://BASE64(METHOD:ID@HOST:PORT)?remarks=NAME&obfs=websocket&obfsParam=HOST&path=/ray&tls=1&peer=SNI&alterId=0
//! ```
//!
//! As its users' links have it; there is no description of it.

use serde_json::Value;

use super::params::Params;
use super::said::Said;

/// What stands in the base64: the method, and `ID@HOST:PORT`.
pub(super) fn taken_apart(text: &str) -> Option<(&str, &str)> {
    let (method, rest) = text.trim().split_once(':')?;
    // An object of v2rayN's may have both signs as well.
    let is_word = method
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    (is_word && rest.contains('@')).then_some((method, rest))
}

/// The keys of the query by the names of a URL, and what the link is called.
pub(super) fn params(method: &str, query: &str, said: &mut Said) -> (Params, Option<String>) {
    let mut given = Params::of_query(query, said);
    let name = given.text("remarks");
    let mut params = Params::default();
    params.push("encryption", "method", method, said);
    let obfs = given.text("obfs").unwrap_or_default().to_ascii_lowercase();
    let kind = match &*obfs {
        "" | "none" => "tcp",
        "websocket" => "ws",
        "h2" => "http",
        "http" => {
            params.push("headerType", "obfs", "http", said);
            "tcp"
        }
        other => other,
    };
    params.push("type", "obfs", kind, said);
    let is_grpc = kind == "grpc";
    for (from, to) in [
        ("path", if is_grpc { "serviceName" } else { "path" }),
        ("obfsParam", if is_grpc { "authority" } else { "host" }),
        ("peer", "sni"),
        ("sni", "sni"),
        ("alterId", "alterId"),
        ("aid", "alterId"),
    ] {
        if let Some(text) = given.text(from) {
            let text = match from {
                "obfsParam" => host(&text),
                _ => text,
            };
            params.push(to, from, &text, said);
        }
    }
    if let Some(tls) = given.take("tls")
        && tls.switch(said)
    {
        params.push("security", "tls", "tls", said);
    }
    given.rest_into(&mut params);
    (params, name)
}

/// A name, or an object of headers.
fn host(text: &str) -> String {
    let headers: Option<Value> = serde_json::from_str(text).ok();
    let named = headers.as_ref().and_then(|all| all.get("Host"));
    let named = named.and_then(Value::as_str);
    named.unwrap_or(text).to_owned()
}
