//! `-L URL` and `-F URL` into what a file would say.
//!
//! ```text
//! [scheme://][user:pass@]host:port[,host2:port2][/target[,target2]][?key=value&…]
//! ```
//! A scheme is `handler+listener`, or `connector+dialer`; one word is both. Keys without a prefix are for all parts of a
//! service or a node, those with one (`handler.`, `dialer.`, …) for that part.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;

use crate::dialect::tree::{At, Node, Value};

/// What becomes of a URL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `-L`
    Service,
    /// `-F`
    Hop,
}

/// A URL, taken apart.
struct Parts {
    at: At,
    words: (String, String),
    user: Option<(String, String)>,
    addresses: String,
    targets: Vec<String>,
    query: Vec<(String, String)>,
}

/// Words that a handler or a connector is called by.
pub(super) const HANDLERS: [&str; 14] = [
    "auto", "http", "socks", "socks4", "socks4a", "socks5", "relay", "forward", "tcp", "udp",
    "rtcp", "rudp", "https", "socks5h",
];

/// Words that a listener or a dialer is called by.
pub(super) const CARRIERS: [&str; 10] = [
    "tcp", "udp", "tls", "ws", "wss", "mws", "mwss", "rtcp", "rudp", "https",
];

/// The services that a URL is: one for each port of a range, counted from `first`. The second value is the chain's name,
/// where there is one.
///
/// # Errors
///
/// When it is no URL of this kind.
pub(super) fn services(url: &str, first: usize, chain: Option<&str>) -> Result<Vec<Node>, String> {
    let parts = Parts::read(url, Role::Service)?;
    let addresses = range(&parts.addresses).or_else(|text| parts.fail(&text))?;
    let (count, targets) = (addresses.len(), &parts.targets);
    if count > 1 && targets.len() > 1 && targets.len() < count {
        return parts.fail(&format!(
            "there are {count} ports and {} targets, expected one for each port, or one for all",
            targets.len()
        ));
    }
    let nodes = addresses.into_iter().enumerate();
    let node = |(n, addr): (usize, String)| {
        // Of several ports each has the target in its own place.
        let own = match count > 1 && targets.len() > 1 {
            true => targets.get(n..=n).unwrap_or_default(),
            false => targets,
        };
        parts.service(&addr, first + n, chain, own)
    };
    Ok(nodes.map(node).collect())
}

/// The addresses of a range of ports, else the one that there is.
fn range(address: &str) -> Result<Vec<String>, String> {
    let (host, port) = address.rsplit_once(':').unwrap_or(("", address));
    let Some((from, to)) = port.split_once('-') else {
        return Ok(vec![address.to_owned()]);
    };
    match (from.parse::<u16>(), to.parse::<u16>()) {
        (Ok(from), Ok(to)) if from <= to && usize::from(to - from) < MAX_SERVICES => {
            Ok((from..=to).map(|port| format!("{host}:{port}")).collect())
        }
        (Ok(from), Ok(to)) if from <= to => {
            let many = usize::from(to - from) + 1;
            Err(format!(
                "`{port}` are {many} ports, each by itself, expected at most {MAX_SERVICES}"
            ))
        }
        _ => Err(format!("`{}` is no range of ports", port.escape_debug())),
    }
}

/// The hop that a URL is.
///
/// # Errors
///
/// When it is no URL of this kind.
pub(super) fn hop(url: &str, number: usize) -> Result<Node, String> {
    Parts::read(url, Role::Hop)?.hop(number)
}

impl Parts {
    fn read(url: &str, role: Role) -> Result<Self, String> {
        let option = match role {
            Role::Service => "-L",
            Role::Hop => "-F",
        };
        let at = At {
            source: Arc::from(format!("{option} {}", without_password(url))),
            ..At::default()
        };
        let fail = |text: String| Err(format!("{at}: {text}"));
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => match role {
                Role::Service => ("auto".to_owned(), url),
                Role::Hop => ("http".to_owned(), url),
            },
        };
        let words = match scheme.split_once('+') {
            Some((_, two)) if two.contains('+') => {
                return fail(format!(
                    "`{scheme}` has more than two words, expected `handler+listener`"
                ));
            }
            Some((one, two)) => (one.to_owned(), two.to_owned()),
            None if scheme == "https" => ("http".to_owned(), "tls".to_owned()),
            None => (scheme.clone(), scheme.clone()),
        };
        let (front, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match front.rfind('@') {
            // A password may have a `/` in it.
            Some(sign) => match front[sign..].find('/') {
                Some(slash) => (&front[..sign + slash], &front[sign + slash + 1..]),
                None => (front, ""),
            },
            None => front.split_once('/').unwrap_or((front, "")),
        };
        let (user, addresses) = match authority.rsplit_once('@') {
            Some((user, addresses)) => {
                let (name, pass) = user.split_once(':').unwrap_or((user, ""));
                (Some((decoded(name), decoded(pass))), addresses)
            }
            None => (None, authority),
        };
        let query = query.split('&').filter(|pair| !pair.is_empty());
        let query = query.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (spelt(decoded(key)), decoded(&value.replace('+', " ")))
        });
        let mut query: Vec<(String, String)> = query.collect();
        let mut user = user;
        if let Some(n) = query
            .iter()
            .position(|(key, _)| key.eq_ignore_ascii_case("auth"))
        {
            let (_, text) = query.remove(n);
            match account(&text) {
                Some(account) => user = user.or(Some(account)),
                None => return fail("`auth` is not `user:password` in base64".to_owned()),
            }
        }
        let mut targets = Vec::new();
        for target in decoded(path).trim_matches('/').split(',') {
            match range(target) {
                Ok(found) if target.is_empty() => drop(found),
                Ok(found) => targets.extend(found),
                Err(text) => return fail(text),
            }
            if targets.len() > MAX_TARGETS {
                return fail(format!("there are more than {MAX_TARGETS} targets"));
            }
        }
        Ok(Self {
            words,
            user,
            addresses: addresses.to_owned(),
            targets,
            query,
            at,
        })
    }

    fn fail<T>(&self, text: &str) -> Result<T, String> {
        Err(format!("{}: {text}", self.at))
    }

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
                // The last one counts; headers are each another one.
                Some((known, old)) if known.eq_ignore_ascii_case("header") => {
                    let mut items = old.items().to_vec();
                    items.push(node);
                    *old = Node::new(Value::List(items), &self.at.key(key));
                }
                Some((_, old)) => *old = node,
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

    fn service(&self, addr: &str, number: usize, chain: Option<&str>, targets: &[String]) -> Node {
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

    fn hop(&self, number: usize) -> Result<Node, String> {
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

/// Services that URLs may be, all together.
pub(super) const MAX_SERVICES: usize = 1000;

/// Targets that a URL may have, those of its ranges among them.
const MAX_TARGETS: usize = 1000;

/// What is about choosing one of several.
const SELECTOR: [&str; 3] = ["strategy", "maxFails", FAIL_TIMEOUT];
const FAIL_TIMEOUT: &str = "failTimeout";

/// What is a hop's, of a `-F`.
const BYPASS: &str = "bypass";

/// The key as a file has it, where a URL may have it otherwise.
fn spelt(key: String) -> String {
    let bare = key.replace('_', "");
    let known = SELECTOR.iter().find(|own| own.eq_ignore_ascii_case(&bare));
    known.map_or(key, |own| (*own).to_owned())
}

/// What messages show of a URL.
fn without_password(url: &str) -> String {
    // Whatever may stand in a password, it ends before the last of these signs.
    let url = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        _ => url.to_owned(),
    };
    let (shown, query) = url.split_once('?').unwrap_or((&url, ""));
    let keys = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let key = pair.split('=').next().unwrap_or_default();
            match key.to_ascii_lowercase().contains("auth") {
                true => format!("{key}=…"),
                false => pair.to_owned(),
            }
        });
    let keys: Vec<String> = keys.collect();
    let shown = match keys.is_empty() {
        true => shown.to_owned(),
        false => format!("{shown}?{}", keys.join("&")),
    };
    shown.escape_debug().to_string()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn account(text: &str) -> Option<(String, String)> {
    let engines = [&URL_SAFE_NO_PAD, &URL_SAFE, &STANDARD, &STANDARD_NO_PAD];
    // What was a `+` before it was taken for a blank.
    let text = text.replace(' ', "+");
    let bytes = engines
        .iter()
        .find_map(|engine| engine.decode(&text).ok())?;
    let text = String::from_utf8(bytes).ok()?;
    let (name, pass) = text.split_once(':').unwrap_or((&text, ""));
    Some((name.to_owned(), pass.to_owned()))
}
