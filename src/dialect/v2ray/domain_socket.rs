//! `dsSettings` of V2Ray's `domainsocket`: TCP's place is taken by a unix socket. An inbound listens there and nowhere else,
//! an outbound connects to it, whatever the address of its server.

use super::json::{Node, Object};
use crate::config::Listen;
use crate::transport::tcp::{UnixSocket, without_mode};

/// The socket of an inbound whose `streamSettings` these are; `None` where its place is its `listen`.
pub(super) fn of_inbound(settings: Option<&Node>) -> Option<Option<Listen>> {
    let Some(object) = settings.filter(|node| node.value.is_object()) else {
        return Some(None);
    };
    let object = object.object()?;
    let network = object.first(&["network", "method", "transport"]);
    let word = network.as_ref().and_then(|node| node.value.as_str());
    let is_ours = |word: &str| {
        ["domainsocket", "ds"]
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name))
    };
    if !word.is_some_and(is_ours) {
        return Some(None);
    }
    Some(Some(place(read(&object)?)))
}

/// Reads them out of `streamSettings`.
pub(super) fn read(stream: &Object) -> Option<UnixSocket> {
    let settings = stream.first(&["dsSettings", "transportSettings"]);
    let Some(settings) = settings else {
        stream.node.error(
            "`dsSettings` is missing, expected the `path` of a unix socket in it: V2Ray would not start either",
        );
        return None;
    };
    let object = settings.object()?;
    let path: Option<String> = object.require("path");
    let is_abstract = object.read_or("abstract", false);
    let is_padded = object.read_or("padding", false);
    object.finish();
    let socket = socket(&path?, is_abstract, is_padded);
    socket.map_err(|text| settings.error(text)).ok()
}

/// The socket that a path stands for, or why there is none.
pub(in crate::dialect) fn socket(
    path: &str,
    is_abstract: bool,
    is_padded: bool,
) -> Result<UnixSocket, &'static str> {
    // As V2Ray 4 has it, the mark of an abstract name may be written in front of it, whether or not one is asked for.
    let name = path.strip_prefix('@');
    if name.unwrap_or(path).is_empty() {
        return Err("`path` is empty, expected that of a unix socket");
    }
    // The kernel has 108 bytes, one of which is the zero of either kind.
    let name = name.or(is_abstract.then_some(path));
    if name.unwrap_or(path).len() > 107 {
        return Err("the path of a unix socket has at most 107 bytes");
    }
    Ok(match name {
        None => UnixSocket::Path(path.into()),
        Some(name) if is_abstract && is_padded => {
            UnixSocket::Abstract(format!("@{name}").into_bytes())
        }
        Some(name) => UnixSocket::Abstract(name.as_bytes().to_vec()),
    })
}

/// The place of an inbound that listens on it. The path is one as it stands, as it is to an outbound: it has no mode.
pub(in crate::dialect) fn place(socket: UnixSocket) -> Listen {
    match socket {
        UnixSocket::Path(path) => Listen::Unix(without_mode(path)),
        UnixSocket::Abstract(name) => Listen::Abstract(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;
    use crate::transport::tcp::listen_unix;
    use serde_json::json;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_path_or_a_name_says_where_the_socket_is() {
        for (ds, expected) in [
            (json!({"path": "/run/v.sock"}), "/run/v.sock"),
            (json!({"path": "v.sock", "padding": true}), "v.sock"),
            (json!({"path": "name", "abstract": true}), "@name"),
            (json!({"path": "@name", "abstract": true}), "@name"),
            (json!({"path": "@name"}), "@name"),
            (
                json!({"path": "name", "abstract": true, "padding": true}),
                "@@name",
            ),
        ] {
            let stream = json!({"dsSettings": ds});
            let (socket, said) = settings::read(&stream, read);
            assert_eq!(socket.unwrap().to_string(), expected);
            assert!(said.is_empty(), "{said:?}");
        }
    }

    #[tokio::test]
    async fn a_comma_in_a_path_is_one_at_both_ends() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.sock,0666", "b.sock"] {
            let path = dir.path().join(name);
            let socket = socket(path.to_str().unwrap(), false, false).unwrap();
            let Listen::Unix(place) = place(socket.clone()) else {
                panic!("{socket}");
            };
            let _listener = listen_unix(&place).unwrap();
            socket.connect().await.unwrap();
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        let long = "x".repeat(108);
        for (stream, text) in [
            (
                json!({}),
                "config: `dsSettings` is missing, expected the `path` of a unix socket in it: V2Ray would not start either",
            ),
            (json!({"dsSettings": {}}), "dsSettings: `path` is missing"),
            (
                json!({"dsSettings": {"path": ""}}),
                "dsSettings: `path` is empty, expected that of a unix socket",
            ),
            (
                json!({"dsSettings": {"path": "@"}}),
                "dsSettings: `path` is empty, expected that of a unix socket",
            ),
            (
                json!({"dsSettings": {"path": long}}),
                "dsSettings: the path of a unix socket has at most 107 bytes",
            ),
        ] {
            assert_eq!(settings::read(&stream, read).1, [text]);
        }
    }
}
