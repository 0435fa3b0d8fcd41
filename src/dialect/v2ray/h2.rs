//! `httpSettings`, those of `network: "http"` or `"h2"`.
//!
//! | key | meaning |
//! |---|---|
//! | `host` | a list, or names between commas: client: what requests are for, one of them by chance; server: what they may be for |
//! | `path` | client: as it is; server: what paths begin with |
//! | `method` | `PUT`; a server looks at it where a site is on the same port |
//! | `headers` | client: joined to the request; server: to the answer; V2Ray 5: `header`, a list of `name` and `value` |
//! | `read_idle_timeout`, `health_check_timeout` | client, Xray's: seconds between two pings, and for their answers |
//! | `trustedProxies`, `realIpHeader`, `parseXForwardedFor` | as in `wsSettings` |

use http::header::{HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde_json::Value;

use super::json::{Node, Object, StringList, found};
use super::{grpc, upgrade};
use crate::http::request::with_slash;
use crate::transport::h2::{ClientSettings, ServerSettings};

/// Reads the settings of a server; absent ones are the defaults.
pub(super) fn server(settings: Option<&Node>) -> Option<ServerSettings> {
    let Some(node) = settings else {
        return Some(ServerSettings::default());
    };
    let object = node.object()?;
    let settings = ServerSettings {
        hosts: read_hosts(&object),
        path: with_slash(object.read_or("path", String::new())),
        method: read_method(&object),
        headers: read_headers(&object),
        forwarded: upgrade::read_forwarded(&object),
    };
    object.silent(&["read_idle_timeout", "idle_timeout"]);
    object.silent(&["health_check_timeout", "permit_without_stream"]);
    upgrade::finish(object);
    Some(settings)
}

/// Reads the settings of a client; absent ones are the defaults.
pub(super) fn client(settings: Option<&Node>) -> Option<ClientSettings> {
    let Some(node) = settings else {
        return Some(ClientSettings::default());
    };
    let object = node.object()?;
    let settings = ClientSettings {
        hosts: read_hosts(&object),
        path: with_slash(object.read_or("path", String::new())),
        method: read_method(&object),
        headers: read_headers(&object),
        pings: grpc::read_pings(&object),
    };
    upgrade::warn_of_server_keys(&object);
    upgrade::finish(object);
    Some(settings)
}

fn read_method(object: &Object) -> Method {
    let method = object.get("method").and_then(|node| {
        let text: String = node.read()?;
        let method = Method::from_bytes(text.trim().to_ascii_uppercase().as_bytes());
        if method.is_err() && !text.is_empty() {
            node.error(format!("{} is no method of HTTP", found(node.value)));
        }
        method.ok()
    });
    method.unwrap_or(Method::PUT)
}

fn read_hosts(object: &Object) -> Vec<String> {
    let Some(node) = object.get("host") else {
        return Vec::new();
    };
    let StringList(list) = node.read().unwrap_or_default();
    let hosts = list.into_iter().filter(|host| !host.trim().is_empty());
    let hosts: Vec<String> = hosts.map(|host| host.trim().to_owned()).collect();
    for host in &hosts {
        if host.parse::<http::uri::Authority>().is_err() {
            let host = host.escape_debug();
            node.error(format!("`{host}` is no name of a server"));
        }
    }
    hosts
}

/// A map of names and their values, one or a list.
fn read_headers(object: &Object) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut named = Vec::new();
    if let Some(node) = object.get("headers")
        && let (Some(map), Value::Object(names)) = (node.object(), node.value)
    {
        named.extend(names.iter().map(|(name, value)| {
            let at = map.node.path.key(name);
            (name.clone(), Node::at(at, value, node.report()))
        }));
    }
    for header in object.array("header") {
        let Some(header) = header.object() else {
            continue;
        };
        let (name, value) = (
            header.require::<String>("name"),
            header.require_node("value"),
        );
        header.finish();
        named.extend(name.zip(value));
    }
    for (name, value) in named {
        let name = match upgrade::header_name(&name) {
            Ok(name) if is_of_http2(&name) => name,
            Ok(name) => {
                value.warn(format!(
                    "`{name}` has no place in HTTP/2, the header is left out"
                ));
                continue;
            }
            Err(text) => {
                value.warn(format!("{text}, the header is left out"));
                continue;
            }
        };
        let texts: Vec<String> = match value.value {
            Value::String(text) => vec![text.clone()],
            _ => value
                .read::<StringList>()
                .map(|list| list.0)
                .unwrap_or_default(),
        };
        for text in texts {
            match HeaderValue::try_from(&text) {
                Ok(text) => drop(headers.append(name.clone(), text)),
                Err(_) => {
                    value.dead(format!("{} cannot stand in a header", found(value.value)));
                }
            }
        }
    }
    headers
}

/// Whether a header is one that requests may have beside `:authority`.
fn is_of_http2(name: &HeaderName) -> bool {
    *name != HOST && !["keep-alive", "proxy-connection", "te"].contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::v2ray::json::Report;

    fn read<T>(value: &Value, reader: fn(Option<&Node>) -> Option<T>) -> (T, Vec<String>) {
        let report = Report::default();
        let read = reader(Some(&Node::root(value, &report))).unwrap();
        let problems = report.errors().into_iter().chain(report.warnings());
        (read, problems.map(|problem| problem.to_string()).collect())
    }

    #[test]
    fn hosts_are_a_list_or_stand_between_commas() {
        for host in [
            json!(["a.example", "b.example"]),
            json!("a.example, b.example"),
        ] {
            let settings = json!({"host": host, "path": "ray", "method": "get"});
            let (client, problems) = read(&settings, client);
            assert_eq!(problems, [""; 0]);
            assert_eq!(client.hosts, ["a.example", "b.example"]);
            assert_eq!((&*client.path, client.method), ("/ray", Method::GET));
            let (server, problems) = read(&settings, server);
            assert_eq!((server.hosts.len(), problems.len()), (2, 0));
        }
    }

    #[test]
    fn headers_have_one_value_or_many() {
        let settings = json!({"headers": {"X-A": ["1", "2"], "X-B": "3", "Host": ["c"]}});
        let (client, problems) = read(&settings, client);
        assert_eq!(client.headers.get_all("x-a").iter().count(), 2);
        assert_eq!(client.headers["x-b"], "3");
        assert_eq!(problems.len(), 1, "{problems:?}");
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        let (_, problems) = read(&json!({"host": ["a b"], "method": "a b"}), client);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
