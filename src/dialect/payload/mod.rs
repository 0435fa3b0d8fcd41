//! A proxy in Clash's form by itself, as fronts send it to be tested, and files with a list of them.
//!
//! ```text
//! {"name": "香港", "type": "vmess", "server": "a.example", "port": 443, "uuid": …, "network": "ws", …}   JSON
//! name: 香港                                                                                      YAML
//! {'name': '香港', 'udp': True, …}                                                    Python's `str(dict)`
//! ```
//!
//! Keys are found without regard to case, and `_` is `-` in them. Numbers may be texts, switches numbers or any word that YAML
//! has for them. What is not known is passed over; what would have traffic go another way, or open, is an error.

pub mod fronts;
mod node;
mod python;
#[cfg(test)]
mod tests;
mod text;
mod write;

pub use text::{proxies, proxy};
pub use write::write;

use serde_json::{Map, Value};

use super::links::Read;
use super::tree::Node;

/// A proxy as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy(Node);

impl Proxy {
    /// What it is called; nothing where it has no name.
    pub fn name(&self) -> &str {
        self.text("name")
    }

    /// What it speaks, in small letters.
    pub fn kind(&self) -> String {
        self.text("type").to_ascii_lowercase()
    }

    /// `host:port` of its server, as they were written.
    pub fn address(&self) -> String {
        let (server, port) = (self.text("server"), self.text("port"));
        let port = port.strip_suffix(".0").unwrap_or(port);
        match (server, server.contains(':') && !server.starts_with('[')) {
            ("", _) => String::new(),
            (server, true) => format!("[{server}]:{port}"),
            (server, false) => format!("{server}:{port}"),
        }
    }

    /// The outbound that it means.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, each with its key. None has an id or a password in it.
    pub fn read(&self) -> Result<Read, Vec<String>> {
        node::read(&self.0)
    }

    /// Adds to what [`write()`] made of it the keys that no outbound has: another program may know them.
    pub fn complete(&self, written: &mut Map<String, Value>) {
        // Every outbound carries datagrams; that this one should not is its owner's wish.
        written.remove("udp");
        write::complete(written, &self.0);
    }

    fn text(&self, key: &str) -> &str {
        let text = self.0.get(key).and_then(Node::as_text);
        text.map(str::trim).unwrap_or_default()
    }
}
