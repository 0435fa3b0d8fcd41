//! `browserForwarder` (V2Ray 5 also has it as `browser` among its `services`), and Xray's `XRAY_BROWSER_DIALER`.
//!
//! | key | meaning |
//! |---|---|
//! | `listenAddr`, `listen_addr` | where the page is served; 127.0.0.1 by default |
//! | `listenPort`, `listen_port` | its port |

use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::json::{Node, Object};
use crate::address::Host;
use crate::report::{Path, Report};
use crate::transport::browser::{Settings, Takes};

/// What the config says, or the environment.
pub(super) fn read(root: &Object) -> Option<Settings> {
    let report = root.node.report();
    let own = forwarder(root);
    let Some((name, text)) = variable() else {
        return own;
    };
    let from_env = of_environment(&name, &text, report)?;
    match own {
        Some(own) if own.listen != from_env.listen => {
            report.error(&own.at, format!(
                "the page is to be served here at {}, and at {} by the variable {name}: expected one of the two",
                own.listen, from_env.listen
            ));
            None
        }
        Some(own) => Some(Settings {
            takes: Takes::All,
            ..own
        }),
        None => Some(from_env),
    }
}

fn forwarder(root: &Object) -> Option<Settings> {
    let node = root.get("browserForwarder").or_else(|| {
        let services = root.get("services")?;
        services.object()?.get("browser")
    })?;
    if node.value.is_null() {
        return None;
    }
    let object = node.object()?;
    let addr = object.first(&["listenAddr", "listen_addr"]);
    let port = object.first(&["listenPort", "listen_port"]);
    let ip = match &addr {
        Some(addr) => address(addr),
        None => Some(Ipv4Addr::LOCALHOST.into()),
    };
    let port: Option<u16> = match &port {
        Some(port) => port.read(),
        None => {
            node.error("`listenPort` is missing, expected the port of the page, such as 8080");
            None
        }
    };
    let settings = Settings {
        name: node.path.to_string(),
        at: (&node.path).into(),
        listen: SocketAddr::new(ip?, port?),
        takes: Takes::Asked,
    };
    object.finish();
    Some(settings)
}

fn address(node: &Node) -> Option<IpAddr> {
    let text: String = node.read()?;
    match ip(&text) {
        Some(ip) => Some(ip),
        None => {
            let text = text.escape_debug();
            node.error(format!("`{text}` is not an IP address, expected 127.0.0.1"));
            None
        }
    }
}

/// Empty is this machine.
fn ip(text: &str) -> Option<IpAddr> {
    if text.is_empty() || text.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    match Host::parse(text) {
        Ok(Host::Ip(ip)) => Some(ip),
        _ => None,
    }
}

/// The variable that is set, as Xray looks for its own, and what it says.
fn variable() -> Option<(String, String)> {
    let dotted = "xray.browser.dialer".to_owned();
    let shouted = dotted.to_uppercase().replace('.', "_");
    let value = |name: String| Some((name.clone(), env::var(name).ok()?));
    let found = value(dotted).or_else(|| value(shouted))?;
    Some(found).filter(|(_, text)| !text.trim().is_empty())
}

/// `host:port`; without a host it is every address, as in Go.
fn of_environment(name: &str, text: &str, report: &Report) -> Option<Settings> {
    let place = text.trim();
    let (host, port) = place.rsplit_once(':').unwrap_or(("?", ""));
    let ip = match host {
        "" => Some(Ipv4Addr::UNSPECIFIED.into()),
        host => ip(host),
    };
    let port = port.parse().ok();
    if let (Some(ip), Some(port)) = (ip, port) {
        return Some(Settings {
            name: name.to_owned(),
            at: Path::default().key(name).into(),
            listen: SocketAddr::new(ip, port),
            takes: Takes::All,
        });
    }
    let shown = text.escape_debug();
    report.error(
        &Path::default().key(name),
        format!(
            "the variable says `{shown}`, expected an address and a port such as `127.0.0.1:8080`"
        ),
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn said(value: &Value) -> (Option<Settings>, Vec<String>) {
        let report = Report::default();
        let root = Node::root(value, &report).object().unwrap();
        let settings = forwarder(&root);
        let errors = report.errors().iter().map(ToString::to_string).collect();
        (settings, errors)
    }

    #[test]
    fn v2ray_4_and_5_say_where_the_page_is() {
        for value in [
            json!({"browserForwarder": {"listenAddr": "127.0.0.1", "listenPort": 8080}}),
            json!({"browserForwarder": {"listenPort": 8080}}),
            json!({"services": {"browser": {"listen_addr": "127.0.0.1", "listen_port": 8080}}}),
        ] {
            let (settings, errors) = said(&value);
            let settings = settings.unwrap();
            assert_eq!(settings.listen, "127.0.0.1:8080".parse().unwrap());
            assert_eq!((settings.takes, errors), (Takes::Asked, vec![]));
        }
        let (_, errors) = said(&json!({"browserForwarder": {"listenAddr": "a.example"}}));
        assert_eq!(
            errors,
            [
                "browserForwarder.listenAddr: `a.example` is not an IP address, expected 127.0.0.1",
                "browserForwarder: `listenPort` is missing, expected the port of the page, such as 8080",
            ]
        );
    }

    #[test]
    fn xrays_variable_is_an_address_and_a_port() {
        for (text, listen) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("[::1]:8080", "[::1]:8080"),
            (":8080", "0.0.0.0:8080"),
        ] {
            let settings = of_environment("XRAY_BROWSER_DIALER", text, &Report::default());
            let settings = settings.unwrap();
            assert_eq!(settings.listen, listen.parse().unwrap());
            assert_eq!(settings.takes, Takes::All);
        }
        let report = Report::default();
        assert_eq!(of_environment("XRAY_BROWSER_DIALER", "8080", &report), None);
        assert_eq!(
            report.errors()[0].to_string(),
            "XRAY_BROWSER_DIALER: the variable says `8080`, expected an address and a port such as `127.0.0.1:8080`"
        );
    }
}
