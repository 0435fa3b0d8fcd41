//! `httpupgradeSettings`.
//!
//! | key | meaning |
//! |---|---|
//! | `path` | a missing `/` is added; `?ed=N` as Xray's links carry it |
//! | `host` | the client's `Host`; what a server insists on |
//! | `headers`, v5 `header` | client: replace or join the defaults; server: joined to the 101, ours |
//! | `maxEarlyData`, `earlyDataHeaderName` | as V2Ray 5: bytes of the first write that travel in this header |
//! | `ed` | as `?ed=N`; the field of Xray's message |
//! | `trustedProxies`, `realIpHeader`, `parseXForwardedFor` | as in `wsSettings` |

use http::header::HOST;

use super::json::{Node, Object};
use super::upgrade;
use crate::http::EarlyDataIn;
use crate::transport::httpupgrade::{ClientSettings, EarlyData, EarlyHeader, ServerSettings};

/// Reads the settings of a server; absent ones are the defaults.
pub(super) fn server(settings: Option<&Node>) -> Option<ServerSettings> {
    let Some(node) = settings else {
        return Some(ServerSettings::default());
    };
    let object = node.object()?;
    let path = upgrade::whole_server_path(object.read_or("path", String::new()));
    let host = upgrade::read_host(&object);
    let settings = ServerSettings {
        early_data: read_early_data(&object).or_else(|| early_data_of_ed(path.early_data())),
        path: path.path,
        host: host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()),
        headers: upgrade::read_server_headers(&object),
        forwarded: upgrade::read_forwarded(&object),
    };
    object.silent(&["ed"]);
    upgrade::finish(object);
    Some(settings)
}

/// Reads the settings of a client; absent ones are the defaults.
pub(super) fn client(settings: Option<&Node>) -> Option<ClientSettings> {
    let Some(node) = settings else {
        return Some(ClientSettings::default());
    };
    let object = node.object()?;
    let (path, ed) = upgrade::client_path(object.read_or("path", String::new()));
    let ahead = ed.is_some() || object.read("ed").is_some_and(|ed: u32| ed > 0);
    let mut headers = upgrade::read_headers(&object);
    let old = headers.remove(HOST);
    let in_header = read_early_data(&object).map(EarlyData::Header);
    let settings = ClientSettings {
        path,
        host: upgrade::read_host(&object).or(old),
        headers,
        early_data: in_header.or_else(|| ahead.then_some(EarlyData::Ahead)),
    };
    upgrade::warn_of_server_keys(&object);
    upgrade::finish(object);
    Some(settings)
}

/// What a path with `?ed=` means to a server: mihomo's clients put any number of bytes into that header.
pub(in crate::dialect) fn early_data_of_ed(carried_in: Option<EarlyDataIn>) -> Option<EarlyHeader> {
    match carried_in? {
        EarlyDataIn::Header(name) => Some(EarlyHeader {
            name,
            max: usize::MAX,
        }),
        EarlyDataIn::Path => None,
    }
}

/// V2Ray's servers and clients fail at every connection where the header has no name.
fn read_early_data(object: &Object) -> Option<EarlyHeader> {
    let max = upgrade::read_max_early_data(object);
    let name = upgrade::read_early_data_header(object)?;
    let max = max?;
    if name.is_none()
        && let Some(node) = object.get("maxEarlyData")
    {
        node.warn("there is no early data without `earlyDataHeaderName`");
    }
    Some(EarlyHeader { name: name?, max })
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, SEC_WEBSOCKET_PROTOCOL};
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::v2ray::json::Report;

    fn read<T>(value: &Value, reader: fn(Option<&Node>) -> Option<T>) -> (T, Vec<String>) {
        let report = Report::default();
        let read = reader(Some(&Node::root(value, &report))).unwrap();
        let problems = report.errors().into_iter().chain(report.warnings());
        (read, problems.map(|problem| problem.to_string()).collect())
    }

    fn header(name: &'static str, max: usize) -> EarlyHeader {
        EarlyHeader {
            name: HeaderName::from_static(name),
            max,
        }
    }

    #[test]
    fn a_client_speaks_the_early_data_that_its_settings_know() {
        let v2ray = json!({"path": "/a", "maxEarlyData": 7, "earlyDataHeaderName": "X-Early"});
        let both = json!({"path": "/a?ed=9", "maxEarlyData": 7, "earlyDataHeaderName": "X-Early"});
        let in_header = Some(EarlyData::Header(header("x-early", 7)));
        for (settings, path, early) in [
            (json!({"path": "a"}), "/a", None),
            (json!({"path": "/a?ed=9"}), "/a", Some(EarlyData::Ahead)),
            (
                json!({"path": "/a?b=1&ed=9&c"}),
                "/a?b=1&c",
                Some(EarlyData::Ahead),
            ),
            (json!({"path": "/a?ed=0"}), "/a", None),
            (json!({"path": "/a", "ed": 9}), "/a", Some(EarlyData::Ahead)),
            (json!({"path": "/a", "ed": 0}), "/a", None),
            (v2ray, "/a", in_header.clone()),
            (both, "/a", in_header),
        ] {
            let (read, problems) = read(&settings, client);
            assert_eq!((&*read.path, read.early_data), (path, early), "{settings}");
            assert_eq!(problems, [""; 0], "{settings}");
        }
        let nameless = json!({"maxEarlyData": 7});
        let (read, problems) = read(&nameless, client);
        assert_eq!(read.early_data, None);
        let said = "maxEarlyData: there is no early data without `earlyDataHeaderName`";
        assert_eq!(problems, [said]);
    }

    #[test]
    fn a_server_s_path_has_nothing_of_a_client_s_in_it() {
        let settings = json!({
            "path": "/a?ed=9", "host": "a.example", "headers": {"Host": "b", "X-A": "1"}, "ed": 9,
            "acceptProxyProtocol": true, "parseXForwardedFor": true,
        });
        let (server, problems) = read(&settings, server);
        assert_eq!(
            (&*server.path, server.host.as_deref()),
            ("/a", Some("a.example"))
        );
        assert_eq!(
            (server.headers.len(), problems.len()),
            (1, 0),
            "{problems:?}"
        );
        let early = server.early_data.unwrap();
        assert_eq!(early.name, SEC_WEBSOCKET_PROTOCOL);
        // The rest is of the path, as it is for Xray's clients.
        let (server, problems) = read(&json!({"path": "a?x=1&ed=9&y"}), super::server);
        assert_eq!((&*server.path, problems.len()), ("/a?x=1&y", 0));
    }

    #[test]
    fn a_client_s_host_stands_where_older_configs_have_it_too() {
        let list = json!([{"key": "Host", "value": "a.example"}, {"key": "X-A", "value": "1"}]);
        for settings in [
            json!({"host": "a.example", "headers": {"Host": "b", "X-A": "1"}}),
            json!({"headers": {"host": "a.example", "X-A": "1"}}),
            json!({"header": list}),
        ] {
            let (client, problems) = read(&settings, client);
            assert_eq!(client.host.unwrap(), "a.example");
            assert_eq!(
                (client.headers.len(), problems.len()),
                (1, 0),
                "{problems:?}"
            );
        }
    }
}
