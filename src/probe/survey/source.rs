//! Where nodes come from: a config, a link, a subscription, Clash's YAML.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cause::system_words;
use crate::config::{Config, Outbound};
use crate::dialect::v2ray::json::Text;
use crate::dialect::v2ray::{self, Format, Input, Options};
use crate::dialect::{contents, encoding, links, payload};
use crate::observatory::Url;
use crate::probe::lab::Lab;
use crate::probe::measure;
use crate::probe::node::Node;

/// The most that a subscription may have.
const MAX_LEN: usize = 16 << 20;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nodes, and what some of them go through.
#[derive(Debug, Default)]
pub struct Source {
    /// In their order.
    pub nodes: Vec<Node>,
    /// The outbounds, rules and names of a whole config; nothing of anything else.
    pub config: Config,
}

impl Source {
    /// Without what leads to sockets of this machine, for somebody else wrote it.
    fn written_elsewhere(mut self) -> Self {
        let (nodes, stays_here) = (&mut self.nodes, |one: &Outbound| one.transport.stays_here());
        for node in nodes {
            if node.outbound.as_ref().is_ok_and(stays_here) {
                let text = "what was fetched may name no socket of this machine";
                node.outbound = Err(text.to_owned());
            }
        }
        self.config.outbounds.retain(|one| !stays_here(one));
        self
    }
}

/// Reads what `-c` names.
///
/// # Errors
///
/// When there are no nodes in it; the text says why.
pub async fn read(given: &str) -> Result<Source, String> {
    let shown = given.escape_debug();
    if let Some((scheme, _)) = given.trim().split_once("://") {
        let scheme = scheme.to_ascii_lowercase();
        if matches!(&*scheme, "http" | "https") {
            let text = subscription(given.trim()).await;
            return text
                .and_then(|text| of_text(&text))
                .map(Source::written_elsewhere)
                .map_err(|e| format!("the subscription: {e}"));
        }
        return Ok(Source {
            nodes: vec![Node::of_link("1", given)],
            ..Source::default()
        });
    }
    let path = given.to_owned();
    // A terminal or a pipe may never end, and a signal is heard meanwhile.
    let reading = tokio::task::spawn_blocking(move || match &*path {
        "-" | "stdin:" => contents::of_stdin(),
        path => contents::of_file(path.as_ref()),
    });
    let read = reading.await.map_err(std::io::Error::from);
    let bytes = read.flatten().map_err(|e| system_words(&e));
    let text = bytes.and_then(encoding::whole).map_err(|why| {
        format!("{shown}: {why}, expected a config, a link, a subscription or Clash's YAML")
    })?;
    of_text(&text).map_err(|e| format!("{shown}: {e}"))
}

fn of_text(text: &str) -> Result<Source, String> {
    let text = text.trim_start_matches('\u{feff}');
    let begins = text.trim_start();
    let is_object = begins.starts_with('{') || begins.starts_with("//") || begins.starts_with("/*");
    if is_object && text.contains("\"outbounds\"") {
        return of_config(text);
    }
    let as_clash = payload::proxies(text);
    if let Ok(proxies) = &as_clash
        && !proxies.is_empty()
    {
        let nodes = proxies.iter().enumerate();
        let nodes = nodes.map(|(i, proxy)| Node::of_proxy(&format!("{}", i + 1), proxy));
        return Ok(Source {
            nodes: nodes.collect(),
            ..Source::default()
        });
    }
    let found = links::links_in(text);
    if !found.iter().any(|link| link.contains("://")) {
        return Err(match as_clash {
            Err(why) if text.contains("proxies:") || text.contains("payload:") || is_object => why,
            _ => "there is no node in it".to_owned(),
        });
    }
    let nodes = found.iter().enumerate();
    let nodes = nodes.map(|(i, link)| Node::of_link(&format!("{}", i + 1), link));
    Ok(Source {
        nodes: nodes.collect(),
        ..Source::default()
    })
}

/// The outbounds of a whole config that lead to servers, or would if they could be read.
fn of_config(text: &str) -> Result<Source, String> {
    let parsed = Text::new(text.to_owned()).parse();
    let (value, _) = parsed.map_err(|e| e.to_string())?;
    let whole = load(text.to_owned());
    // One mistake need not keep the others from being tested.
    let config = whole.unwrap_or_default();
    let mut nodes = Vec::new();
    let written = value["outbounds"].as_array();
    for (i, one) in written.into_iter().flatten().enumerate() {
        let name = format!("outbounds[{i}]");
        let found = config.outbounds.iter().find(|other| other.name == name);
        if let Some(outbound) = found {
            if !outbound.protocol.servers().is_empty() {
                nodes.push(Node::of_outbound(&name, outbound.clone()));
            }
            continue;
        }
        let alone = load(json!({"outbounds": [one]}).to_string());
        match alone.map(|alone| alone.outbounds.into_iter().next()) {
            Ok(Some(outbound)) if outbound.protocol.servers().is_empty() => {}
            Ok(Some(outbound)) => nodes.push(Node::of_outbound(&name, outbound)),
            Ok(None) => {
                let protocol = one["protocol"].as_str().unwrap_or_default().escape_debug();
                let why = format!("`{protocol}` is not built");
                nodes.push(Node::unread(tag(one, &name), why));
            }
            Err(why) => nodes.push(Node::unread(tag(one, &name), why)),
        }
    }
    match nodes.is_empty() {
        true => Err("none of its outbounds leads to a server".to_owned()),
        false => Ok(Source { nodes, config }),
    }
}

fn tag<'a>(outbound: &'a Value, name: &'a str) -> &'a str {
    outbound["tag"]
        .as_str()
        .filter(|tag| !tag.is_empty())
        .unwrap_or(name)
}

/// A config, without what is not built; else all its mistakes.
fn load(text: String) -> Result<Config, String> {
    let input = Input::Text {
        name: "config".to_owned(),
        text,
    };
    let options = Options {
        language: None,
        format: Format::default(),
        skip_unbuilt: true,
        strict: false,
    };
    let loaded = v2ray::load(&[input], options);
    loaded.config.ok_or_else(|| {
        let errors: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        errors.join("; ")
    })
}

async fn subscription(url: &str) -> Result<String, String> {
    let url = Url::parse(url).map_err(|e| e.to_string())?;
    let lab = Lab::new(Config::default()).await?;
    let here = lab.mount(&Node::of_this_machine(""))?;
    let fetched = timeout(PATIENCE, measure::page(&here, &url, MAX_LEN)).await;
    let bytes = fetched.map_err(|_| "it does not come in time".to_owned())??;
    String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    const LINKS: &str = "trojan://p@a.example:443#%E9%A6%99%E6%B8%AF\nss://nonsense\n";

    #[test]
    fn what_somebody_else_wrote_leads_to_no_socket_of_this_machine() {
        let server = json!({"servers": [{"address": "192.0.2.1", "port": 443, "password": "p"}]});
        let stream = json!({"network": "domainsocket", "dsSettings": {"path": "/run/some.sock"}});
        let config = json!({"outbounds": [
            {"tag": "a", "protocol": "trojan", "settings": server, "streamSettings": stream},
            {"tag": "b", "protocol": "trojan", "settings": server},
        ]});
        let source = of_text(&config.to_string()).unwrap();
        assert!(source.nodes.iter().all(|node| node.outbound.is_ok()));
        let source = source.written_elsewhere();
        let usable = source.nodes.iter().map(|node| node.outbound.is_ok());
        assert_eq!(usable.collect::<Vec<_>>(), [false, true]);
        assert_eq!(source.config.outbounds.len(), 1);
    }

    #[test]
    fn links_and_clash_and_configs_are_told_apart() {
        let names = |text: &str| -> Vec<(String, bool)> {
            let source = of_text(text).unwrap();
            let nodes = source.nodes.into_iter();
            nodes
                .map(|node| (node.info.name, node.outbound.is_ok()))
                .collect()
        };
        let two = [("香港".to_owned(), true), ("2".to_owned(), false)];
        assert_eq!(names(LINKS), two);
        assert_eq!(names(&STANDARD.encode(LINKS)), two);
        let yaml =
            "port: 7890\nproxies:\n  - {name: a, type: socks5, server: 127.0.0.1, port: 1}\n";
        assert_eq!(names(yaml), [("a".to_owned(), true)]);
        let provider = yaml.replace("proxies", "payload");
        assert_eq!(names(&provider), [("a".to_owned(), true)]);
        let config = r#"// mine
            {"inbounds": [], "outbounds": [{"protocol": "freedom"},
             {"tag": "b", "protocol": "socks", "settings": {"servers": [{"address": "127.0.0.1", "port": 1}]}}]}"#;
        assert_eq!(names(config), [("b".to_owned(), true)]);
        let broken = config.replace(
            "\"port\": 1}]}}",
            "\"port\": 1}]}}, {\"tag\": \"c\", \"protocol\": \"vmess\"}",
        );
        let two = [("b".to_owned(), true), ("c".to_owned(), false)];
        assert_eq!(names(&broken), two);
        for nothing in ["", "proxies: []", "{\"outbounds\": []}", "hello"] {
            assert!(of_text(nothing).is_err(), "{nothing}");
        }
    }
}
