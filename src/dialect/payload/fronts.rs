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

use crate::dialect::gost::text;
use crate::dialect::gost::tree::{Node, Value};
use crate::dialect::links::said::Said;
use crate::secret::Secret;

use super::fields::Fields;

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
    let root = text::read(text, &"the file".into())?;
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
    let mut said = Said::of_proxy();
    let fields = Fields::of(node);
    let kind = fields.word("type", &mut said);
    if !matches!(&*kind, "miaospeed" | "websocket" | "") {
        return Ok(None);
    }
    let address = fields.required("address", &mut said);
    let token = match fields.text("public-key", &mut said) {
        Some(token) => Some(token),
        None => fields.required("token", &mut said),
    };
    let path = fields.text("path", &mut said).unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let comment = fields.text("comment", &mut said);
    let switch =
        |names: [&str; 2], said: &mut Said| names.iter().any(|name| fields.switch(name, said));
    let slave = Slave {
        name: comment.unwrap_or(id).to_owned(),
        address: address.unwrap_or_default().to_owned(),
        path: format!("{slash}{}", crate::http::request::encoded(path)),
        token: token.unwrap_or_default().to_owned().into(),
        build_token: fields.text("buildtoken", &mut said).map(str::to_owned),
        invoker: fields.text("invoker", &mut said).map(str::to_owned),
        tls: fields.switch("tls", &mut said),
        insecure: switch(["skip-cert-verify", "skipCertVerify"], &mut said),
    };
    match said.errors.is_empty() {
        true => Ok(Some(slave)),
        false => Err(format!(
            "`{}`: {}",
            id.escape_debug(),
            said.errors.join("; ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_both_fronts_are_read() {
        let fulltclash = "slaveconfig:\n  default-slave:\n  \"slave1\": #first\n    address: 127.0.0.1:8765\n    comment: \"ws后端\"\n    \
                          public-key: \"12345678\"\n    path: \"/don't set a simple path\"\n    type: \"websocket\"\n  \
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
