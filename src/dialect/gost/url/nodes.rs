//! What is taken apart, as the services, hops and nodes that a file would have.

use super::parts::Parts;
use crate::dialect::tree::{Node, Value};

/// Words that a handler or a connector is called by.
const HANDLERS: [&str; 14] = [
    "auto", "http", "socks", "socks4", "socks4a", "socks5", "relay", "forward", "tcp", "udp",
    "rtcp", "rudp", "https", "socks5h",
];

/// Words that a listener or a dialer is called by.
const CARRIERS: [&str; 10] = [
    "tcp", "udp", "tls", "ws", "wss", "mws", "mwss", "rtcp", "rudp", "https",
];

/// What is about choosing one of several.
pub(super) const SELECTOR: [&str; 3] = ["strategy", "maxFails", FAIL_TIMEOUT];
const FAIL_TIMEOUT: &str = "failTimeout";

/// What is a hop's, of a `-F`.
const BYPASS: &str = "bypass";

impl Parts {
    /// Which keys of the query are for `part`, its prefix taken away; those for all come along if `shared` says so.
    fn keys(&self, part: &str, shared: bool) -> Vec<(String, Node)> {
        const PARTS: [&str; 7] = [
            "handler",
            "listener",
            "service",
            "node",
            "connector",
            "dialer",
            "hop",
        ];
        let mut keys: Vec<(String, Node)> = Vec::new();
        for (key, value) in &self.query {
            let lower = key.to_ascii_lowercase();
            let prefix = lower.split_once('.').map(|(prefix, _)| prefix);
            let prefix = prefix.filter(|prefix| PARTS.contains(prefix));
            let name = match prefix {
                Some(prefix) if prefix == part => &key[prefix.len() + 1..],
                None if shared => key,
                _ => continue,
            };
            let node = Node::text(value.clone(), &self.at.key(key));
            match keys
                .iter_mut()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
            {
                // The first one counts; headers are each another one.
                Some((known, old)) if known.eq_ignore_ascii_case("header") => {
                    let mut items = old.items().to_vec();
                    items.push(node);
                    *old = Node::new(Value::List(items), &self.at.key(key));
                }
                Some(_) => {}
                None => keys.push((name.to_owned(), node)),
            }
        }
        keys
    }

    /// A handler, listener, connector or dialer.
    fn part(&self, kind: &str, part: &str) -> Node {
        let at = &self.at;
        let mut node = Node::new(Value::Map(Vec::new()), at);
        node.set("type", Node::text(kind, at));
        if let Some((name, pass)) = &self.user
            && matches!(part, "handler" | "connector")
        {
            let mut auth = Node::new(Value::Map(Vec::new()), at);
            auth.set("username", Node::text(name.clone(), at));
            auth.set("password", Node::text(pass.clone(), at));
            node.set("auth", auth);
        }
        let keys = self.keys(part, false);
        if !keys.is_empty() {
            node.set("metadata", Node::new(Value::Map(keys), at));
        }
        node
    }

    pub(super) fn service(
        &self,
        addr: &str,
        number: usize,
        chain: Option<&str>,
        targets: &[String],
    ) -> Node {
        let at = &self.at;
        let (mut handler, mut listener) = self.words.clone();
        if handler == listener && !CARRIERS.contains(&&*listener) {
            "tcp".clone_into(&mut listener);
        }
        if !HANDLERS.contains(&&*handler) && CARRIERS.contains(&&*handler) {
            "auto".clone_into(&mut handler);
        }
        if !self.targets.is_empty() && handler != "relay" {
            handler = match &*listener {
                "udp" | "rtcp" | "rudp" => listener.clone(),
                "tcp" => "tcp".to_owned(),
                _ => "forward".to_owned(),
            };
        }
        in_words_of_files(&mut handler);
        let mut node = Node::new(Value::Map(Vec::new()), at);
        node.set("name", Node::text(format!("service-{number}"), at));
        node.set("addr", Node::text(addr, at));
        let binds = matches!(&*listener, "rtcp" | "rudp");
        let mut parts = [
            self.part(&handler, "handler"),
            self.part(&listener, "listener"),
        ];
        if let Some(chain) = chain {
            parts[usize::from(binds)].set("chain", Node::text(chain, at));
        }
        let [handler, listener] = parts;
        node.set("handler", handler);
        node.set("listener", listener);
        if !targets.is_empty() {
            let targets = targets.iter().enumerate().map(|(n, target)| {
                let mut node = Node::new(Value::Map(Vec::new()), at);
                node.set("name", Node::text(format!("target-{n}"), at));
                node.set("addr", Node::text(target.clone(), at));
                node
            });
            let nodes = Node::new(Value::List(targets.collect()), at);
            let mut forwarder = Node::new(Value::Map(Vec::new()), at);
            forwarder.set("nodes", nodes);
            if let Some(selector) = self.selector("service") {
                forwarder.set("selector", selector);
            }
            node.set("forwarder", forwarder);
        }
        let mut keys = self.keys("service", true);
        keys.retain(|(key, _)| targets.is_empty() || !SELECTOR.contains(&&**key));
        if !keys.is_empty() {
            node.set("metadata", Node::new(Value::Map(keys), at));
        }
        node
    }

    pub(super) fn hop(&self, number: usize) -> Result<Node, String> {
        if !self.targets.is_empty() {
            return self.fail("a node has no target behind its address, expected `host:port`");
        }
        let at = &self.at;
        let (mut connector, mut dialer) = self.words.clone();
        if connector == dialer && !CARRIERS.contains(&&*dialer) {
            "tcp".clone_into(&mut dialer);
        }
        if !HANDLERS.contains(&&*connector) && CARRIERS.contains(&&*connector) {
            "http".clone_into(&mut connector);
        }
        in_words_of_files(&mut connector);
        let mut hop = Node::new(Value::Map(Vec::new()), at);
        hop.set("name", Node::text(format!("hop-{number}"), at));
        let addresses = self.addresses.split(',').filter(|addr| !addr.is_empty());
        let nodes = addresses.enumerate().map(|(n, addr)| {
            let mut node = Node::new(Value::Map(Vec::new()), at);
            node.set("name", Node::text(format!("node-{n}"), at));
            node.set("addr", Node::text(addr, at));
            node.set("connector", self.part(&connector, "connector"));
            node.set("dialer", self.part(&dialer, "dialer"));
            let keys = self.keys("node", true);
            let of_hop = |key: &str| SELECTOR.contains(&key) || key.eq_ignore_ascii_case(BYPASS);
            let keys: Vec<_> = keys.into_iter().filter(|(key, _)| !of_hop(key)).collect();
            if !keys.is_empty() {
                node.set("metadata", Node::new(Value::Map(keys), at));
            }
            node
        });
        let nodes: Vec<Node> = nodes.collect();
        if nodes.is_empty() {
            return self.fail("there is no address, expected `host:port`");
        }
        hop.set("nodes", Node::new(Value::List(nodes), at));
        let bypass = self.keys("hop", true).into_iter();
        let mut bypass = bypass.filter(|(key, _)| key.eq_ignore_ascii_case(BYPASS));
        if let Some((_, bypass)) = bypass.next() {
            hop.set(BYPASS, bypass);
        }
        if let Some(selector) = self.selector("hop") {
            hop.set("selector", selector);
        }
        Ok(hop)
    }

    /// How one of several is chosen, where the query says something of it.
    fn selector(&self, part: &str) -> Option<Node> {
        let at = &self.at;
        let mut selector = Node::new(Value::Map(Vec::new()), at);
        for (key, value) in self.keys(part, true) {
            if !SELECTOR.contains(&&*key) {
                continue;
            }
            // A number is of seconds here, and of nanoseconds in a file.
            let value = match value.as_text() {
                Some(n) if key == FAIL_TIMEOUT && n.parse::<u32>().is_ok() => {
                    Node::text(format!("{n}s"), &value.at)
                }
                _ => value,
            };
            selector.set(&key, value);
        }
        if selector.entries().is_empty() {
            return None;
        }
        // Of a file it is 10 s.
        if selector.get(FAIL_TIMEOUT).is_none() {
            selector.set(FAIL_TIMEOUT, Node::text("30s", at));
        }
        Some(selector)
    }
}

/// gost's files have no word for one that says the same as another.
fn in_words_of_files(word: &mut String) {
    if word == "socks5h" {
        "socks5".clone_into(word);
    }
}
