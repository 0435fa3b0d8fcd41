//! The back ends that fronts have in their files.
//!
//! ```yaml
//! slaveconfig:                          slaveConfig:
//!   "slave1":                             slaves:
//!     address: 192.0.2.1:8765               - id: slave1
//!     public-key: TOKEN                       address: 192.0.2.1:8765
//!     path: /path                             token: TOKEN
//!     type: miaospeed                         path: /path
//!     comment: Tokyo                          type: miaospeed
//! ```

use crate::dialect::clash::proxy;
use crate::dialect::tree::keys::{Keys, Notes};
use crate::dialect::tree::text;
use crate::dialect::tree::{At, Node, Value};
use crate::secret::Secret;

use super::node::placed;

/// A back end, as a front knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Slave {
    /// `comment`, or its id.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// Begins with `/`.
    pub path: String,
    /// `public-key`, or `token`.
    pub token: Secret<String>,
    /// `buildtoken`.
    pub build_token: Option<String>,
    /// `invoker`.
    pub invoker: Option<String>,
    /// `tls`.
    pub tls: bool,
    /// `skip-cert-verify`.
    pub insecure: bool,
}

/// Reads FullTclash's or koipy's file.
///
/// # Errors
///
/// When there is no back end in it, or one lacks something.
pub fn read(text: &str) -> Result<Vec<Slave>, String> {
    let root = text::read(text, &"the file".into()).map_err(|message| message.line)?;
    let config = root.get("slaveconfig");
    let config = config
        .ok_or("there is neither `slaveconfig` (FullTclash) nor `slaveConfig` (koipy) in it")?;
    let listed = config.get("slaves");
    let slaves: Vec<(String, &Node)> = match listed.map(|slaves| &slaves.value) {
        Some(Value::List(items)) => items.iter().map(|one| (id(one), one)).collect(),
        _ => config
            .entries()
            .iter()
            .map(|(id, one)| (id.clone(), one))
            .collect(),
    };
    let mut found = Vec::new();
    for (id, node) in slaves {
        if !matches!(node.value, Value::Map(_)) {
            continue;
        }
        if let Some(slave) = slave(&id, node)? {
            found.push(slave);
        }
    }
    match found.is_empty() {
        true => Err("none of its back ends is of `type: miaospeed`".to_owned()),
        false => Ok(found),
    }
}

fn id(node: &Node) -> String {
    let id = node.get("id").and_then(Node::as_text);
    id.unwrap_or_default().to_owned()
}

/// `None` of one that no WebSocket leads to.
fn slave(id: &str, node: &Node) -> Result<Option<Slave>, String> {
    let notes = Notes::default();
    let node = placed(&proxy::plain(node), &At::default());
    let Some(keys) = Keys::of(&node, &notes) else {
        return Ok(None);
    };
    let kind = keys.word("type").unwrap_or_default();
    if !matches!(&*kind, "miaospeed" | "websocket" | "") {
        return Ok(None);
    }
    let text = |key| keys.text(key).map(str::to_owned);
    let address = keys.required("address").unwrap_or_default().to_owned();
    let token = text("public-key").or_else(|| keys.required("token").map(str::to_owned));
    let path = keys.text("path").unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let slave = Slave {
        name: text("comment").unwrap_or_else(|| id.to_owned()),
        address,
        path: format!("{slash}{}", crate::http::request::encoded(path)),
        token: token.unwrap_or_default().into(),
        build_token: text("buildtoken"),
        invoker: text("invoker"),
        tls: keys.switch("tls"),
        insecure: keys.switch("skip-cert-verify") || keys.switch("skipCertVerify"),
    };
    match notes.into_result() {
        Ok(_) => Ok(Some(slave)),
        Err(errors) => Err(format!("`{}`: {}", id.escape_debug(), errors.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_both_fronts_are_read() {
        let fulltclash = "slaveconfig:\n  default-slave:\n  \"slave1\": #first\n    address: 127.0.0.1:8765\n    comment: \"ws后端\"\n    \
                          public_key: \"12345678\"\n    path: \"/don't set a simple path\"\n    type: \"websocket\"\n  \
                          b:\n    type: bot\n";
        let koipy = "slaveConfig:\n  slaves:\n    - type: miaospeed\n      id: slave1\n      comment: ws后端\n      token: 12345678\n      \
                     address: 127.0.0.1:8765\n      path: \"/don't set a simple path\"\n";
        for text in [fulltclash, koipy] {
            let [slave] = &read(text).unwrap()[..] else {
                panic!("{text}");
            };
            assert_eq!(
                (
                    &*slave.name,
                    &*slave.address,
                    &**slave.token,
                    &*slave.path,
                    slave.tls
                ),
                (
                    "ws后端",
                    "127.0.0.1:8765",
                    "12345678",
                    "/don't%20set%20a%20simple%20path",
                    false
                )
            );
        }
        let missing =
            read("slaveconfig:\n  a:\n    type: miaospeed\n    address: a:1\n").unwrap_err();
        assert_eq!(missing, "`a`: token: it is missing");
        assert!(read("bot: {}").is_err());
    }
}
