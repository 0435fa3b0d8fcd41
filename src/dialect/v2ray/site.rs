//! `streamSettings.fallback`, ours: a site on the port of a tunnel.
//!
//! | key | meaning |
//! |---|---|
//! | (a string) | as `to` alone |
//! | `to` | a folder, `http://HOST:PORT`, or `unix:/path` and `unix:@name` of a socket |
//! | `xver` | 1 or 2: a PROXY header of this version in front of each connection to the upstream |
//! | `host` | the host that the upstream is asked for; without it, the visitor's |

use std::path::PathBuf;

use http::HeaderValue;
use serde_json::Value;

use super::protocols::fallbacks;
use crate::address::{Destination, Host};
use crate::cause::system_words;
use crate::dialect::v2ray::json::{Node, Object, found};
use crate::seam::FallbackTarget;
use crate::transport::site::{Settings, UpstreamSettings};

/// What is said of `https://`.
const HTTPS: &str =
    "an upstream is asked by HTTP without TLS, expected `http://` and a server on this machine";

/// What may stand there.
const EXPECTED: &str = "expected a folder, `http://HOST:PORT` or `unix:/path/of/socket`";

pub(super) fn read(node: &Node) -> Option<Settings> {
    match node.value {
        Value::String(_) => to(node),
        Value::Object(_) => read_object(node.object()?),
        other => {
            node.error(format!("{} leads nowhere, {EXPECTED}", found(other)));
            None
        }
    }
}

fn read_object(object: Object) -> Option<Settings> {
    let site = object.require_node("to").and_then(|node| to(&node));
    let proxy_header = fallbacks::xver(&object);
    let host = match object.get("host") {
        Some(node) => host(&node).map(Some),
        None => Some(None),
    };
    if let Some(Settings::Folder(_)) = site {
        for key in ["xver", "host"] {
            if let Some(node) = object.get(key) {
                node.warn("is for an upstream, it has no effect on a folder");
            }
        }
    }
    object.finish();
    Some(match site? {
        other @ (Settings::Folder(_) | Settings::Hosts(_)) => other,
        Settings::Upstream(upstream) => Settings::Upstream(UpstreamSettings {
            proxy_header: proxy_header?,
            host: host?,
            ..upstream
        }),
    })
}

fn host(node: &Node) -> Option<HeaderValue> {
    let text: String = node.read()?;
    let is_host = text.parse::<http::uri::Authority>().is_ok();
    let value = HeaderValue::try_from(&text).ok().filter(|_| is_host);
    if value.is_none() {
        node.error(format!("`{}` is no name of a host", text.escape_debug()));
    }
    value
}

/// Where a site is.
fn to(node: &Node) -> Option<Settings> {
    let text: String = node.read()?;
    if text.starts_with("https://") {
        node.unbuilt(HTTPS);
        return None;
    }
    of_text(&text).map_err(|text| node.error(text)).ok()
}

/// What the text says that tells where a site is.
///
/// # Errors
///
/// When it is no such place.
pub(in crate::dialect) fn of_text(text: &str) -> Result<Settings, String> {
    let upstream = |to: FallbackTarget| {
        Settings::Upstream(UpstreamSettings {
            to,
            proxy_header: None,
            host: None,
        })
    };
    if let Some(rest) = text.strip_prefix("http://") {
        server(rest).map(upstream)
    } else if let Some(rest) = text.strip_prefix("unix:") {
        fallbacks::target("unix", rest).map(upstream)
    } else if text.starts_with("https://") {
        Err(HTTPS.to_owned())
    } else {
        folder(text).map(Settings::Folder)
    }
}

/// What follows `http://`.
fn server(text: &str) -> Result<FallbackTarget, String> {
    let shown = text.escape_debug();
    let at = text.strip_suffix('/').unwrap_or(text);
    if at.contains(['/', '?', '#']) {
        return Err(format!(
            "`http://{shown}` has a path, which cannot be put in front of another, expected `http://HOST:PORT`"
        ));
    }
    let wrong = || format!("`http://{shown}` leads nowhere, expected `http://HOST:PORT`");
    let has_port = at
        .rsplit_once(':')
        .is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let (host, port) = match has_port {
        true => at.rsplit_once(':').ok_or_else(wrong)?,
        false => (at, "80"),
    };
    let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
    let host = Host::parse(host).ok().filter(|_| !is_bare_ipv6);
    let port = port.parse::<u16>().ok().filter(|port| *port != 0);
    let to = Destination::new(host.ok_or_else(wrong)?, port.ok_or_else(wrong)?);
    Ok(FallbackTarget::Tcp(to))
}

fn folder(text: &str) -> Result<PathBuf, String> {
    let folder = PathBuf::from(text);
    let why = match std::fs::read_dir(&folder) {
        Ok(_) => return Ok(folder),
        Err(e) => system_words(&e),
    };
    Err(format!(
        "`{}` is no folder that can be read: {why}; {EXPECTED}",
        text.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Report;
    use crate::seam::ProxyVersion;
    use serde_json::json;

    fn read_value(value: &Value) -> (Option<Settings>, Vec<String>) {
        let report = Report::default();
        let read = read(&Node::root(value, &report));
        let problems = report.errors().into_iter().chain(report.warnings());
        (read, problems.map(|problem| problem.to_string()).collect())
    }

    #[test]
    fn every_place_is_read() {
        for (text, shown) in [
            ("/", "/"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://site.example/", "http://site.example:80"),
            ("http://[::1]:81", "http://[::1]:81"),
            ("http://[::1]", "http://[::1]:80"),
            ("unix:/run/site.sock", "unix:/run/site.sock"),
            ("unix:@site", "unix:@site"),
        ] {
            let (site, said) = read_value(&json!(text));
            assert_eq!(said, [""; 0], "{text}");
            assert_eq!(site.unwrap().to_string(), shown);
        }
        let object = json!({"to": "http://127.0.0.1:8080", "xver": 2, "host": "site.example"});
        let (Some(Settings::Upstream(upstream)), said) = read_value(&object) else {
            panic!("it is an upstream");
        };
        assert_eq!(said, [""; 0]);
        assert_eq!(upstream.proxy_header, Some(ProxyVersion::Two));
        assert_eq!(upstream.host.unwrap(), "site.example");
    }

    #[test]
    fn what_leads_nowhere_is_said() {
        for (value, told) in [
            (json!("/no/such/folder"), "is no folder that can be read"),
            (
                json!("127.0.0.1:8080"),
                "expected a folder, `http://HOST:PORT`",
            ),
            (json!(8080), "leads nowhere, expected a folder"),
            (
                json!("http://"),
                "leads nowhere, expected `http://HOST:PORT`",
            ),
            (json!("http://a:0"), "leads nowhere"),
            (json!("http://::1:80"), "leads nowhere"),
            (json!("http://a/b"), "has a path"),
            (json!("https://a"), "without TLS"),
            (json!("unix:run"), "unix"),
            (json!({}), "`to` is missing"),
            (json!({"to": "http://a", "xver": 3}), "expected 0, 1 or 2"),
            (
                json!({"to": "http://a", "host": "a b"}),
                "is no name of a host",
            ),
            (json!({"to": "http://a", "hosts": "b"}), "hosts"),
            (json!({"to": "/", "xver": 1}), "has no effect on a folder"),
        ] {
            let (_, said) = read_value(&value);
            assert!(
                said.len() == 1 && said[0].contains(told),
                "{value}: {said:?}"
            );
        }
    }
}
