//! `metrics`: Xray's `tag` and `listen`, and what is ours: `token`, `hosts` and `hide`.

use std::sync::Arc;

use super::api;
use super::read::tag;
use crate::config::{Hidden, Metrics};
use crate::dialect::v2ray::json::{Node, Object, StringList, did_you_mean};
use crate::secret::Secret;

const WORDS: [&str; 7] = [
    "users",
    "sources",
    "targets",
    "inbounds",
    "outbounds",
    "version",
    "process",
];

pub(super) fn read(root: &Object) -> Option<Metrics> {
    let object = root.object("metrics")?;
    let tag = tag(&object);
    let listen = object.get("listen");
    let listening = listen.as_ref().and_then(api::listen);
    let token = object.read::<String>("token");
    let token = token.filter(|token| !token.is_empty());
    let hosts = object.get("hosts").map(|node| hosts(&node));
    let hidden = object.get("hide").map(|node| hidden(&node));
    if tag.is_none() && listen.is_none() {
        object.node.error(
            "there is neither `listen` nor `tag`, so that nobody could ask, expected such as `\"listen\": \"127.0.0.1:9191\"`",
        );
    }
    if let Some(ip) = listening.as_ref().and_then(|place| place.outside())
        && token.is_none()
    {
        let text = format!(
            "whoever reaches {ip} could read who uses this server and how much, expected a `token` beside it, or 127.0.0.1"
        );
        listen.as_ref().unwrap_or(&object.node).error(text);
    }
    let at = (&object.node.path).into();
    object.finish();
    Some(Metrics {
        tag: tag.map(Into::into),
        listen: listening,
        token: token.map(|token| Secret(Arc::from(token))),
        hosts: hosts.unwrap_or_default(),
        hidden: hidden.unwrap_or_default(),
        at,
    })
}

fn hosts(node: &Node) -> Vec<String> {
    let StringList(names) = node.read().unwrap_or_default();
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    for name in &names {
        if name.is_empty() || !name.chars().all(is_name) {
            let text = format!(
                "`{}` is not the name of a host, expected such as `status.example.com`, without scheme and port",
                name.escape_debug()
            );
            node.error(text);
        }
    }
    let names = names.into_iter();
    names.map(|name| name.to_ascii_lowercase()).collect()
}

fn hidden(node: &Node) -> Hidden {
    let mut hidden = Hidden::default();
    let Some(StringList(words)) = node.read() else {
        return hidden;
    };
    for word in words {
        match word.to_ascii_lowercase().as_str() {
            "users" => hidden.users = true,
            "sources" => hidden.sources = true,
            "targets" => hidden.targets = true,
            "inbounds" => hidden.inbounds = true,
            "outbounds" => hidden.outbounds = true,
            "version" => hidden.version = true,
            "process" => hidden.process = true,
            _ => {
                let guess = did_you_mean(&word, WORDS.into_iter());
                let text = format!(
                    "`{}` is nothing to hide, expected `users`, `sources`, `targets`, `inbounds`, `outbounds`, `version` or `process`{guess}",
                    word.escape_debug()
                );
                node.error(text);
            }
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ApiListen;
    use crate::dialect::v2ray::json::Report;
    use serde_json::{Value, json};

    fn read_of(metrics: &Value) -> (Option<Metrics>, Vec<String>) {
        let report = Report::default();
        let value = json!({"metrics": metrics});
        let root = Node::root(&value, &report).object().unwrap();
        let read = read(&root);
        let said = report.errors().into_iter().chain(report.warnings());
        (read, said.map(|one| one.to_string()).collect())
    }

    #[test]
    fn loopback_needs_no_token_and_the_rest_of_the_world_does() {
        for listen in [
            "127.0.0.1:9191",
            "[::1]:9191",
            "/run/metrics.sock",
            "@metrics",
        ] {
            let (read, said) = read_of(&json!({"listen": listen}));
            assert!(said.is_empty(), "{said:?}");
            assert!(read.unwrap().listen.is_some());
        }
        for listen in ["0.0.0.0:9191", ":9191", "192.0.2.1:9191", "[::]:9191"] {
            let said = read_of(&json!({"listen": listen, "token": ""})).1;
            assert!(
                said[0].starts_with("metrics.listen: whoever reaches"),
                "{said:?}"
            );
            let (read, said) = read_of(&json!({"listen": listen, "token": "sesame"}));
            assert!(said.is_empty(), "{said:?}");
            assert!(!format!("{read:?}").contains("sesame"));
        }
    }

    #[test]
    fn xrays_keys_are_enough() {
        let (read, said) = read_of(&json!({"tag": "m", "listen": "127.0.0.1:1"}));
        let read = read.unwrap();
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(read.tag.as_deref(), Some("m"));
        let at = ApiListen::Tcp("127.0.0.1:1".parse().unwrap());
        assert_eq!(read.listen, Some(at));
    }

    #[test]
    fn hosts_are_names_alone() {
        let listen = "127.0.0.1:1";
        let (read, said) = read_of(&json!({"listen": listen, "hosts": "Status.Example.com"}));
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(read.unwrap().hosts, ["status.example.com"]);
        for wrong in ["https://a.example", "a.example:80", "", "a b"] {
            let said = read_of(&json!({"listen": listen, "hosts": [wrong]})).1;
            assert!(
                said[0].starts_with("metrics.hosts: `") && said[0].contains("is not the name"),
                "{said:?}"
            );
        }
    }

    #[test]
    fn mistakes_have_their_place() {
        let said = read_of(&json!({"listen": "here", "hide": ["user", "users"], "tokn": "a"})).1;
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("metrics.listen: `here` is not an address"));
        assert!(said[1].starts_with("metrics.hide: `user` is nothing to hide"));
        assert!(said[2].contains("did you mean `token`?"));
        let said = read_of(&json!({})).1;
        assert!(said[0].contains("neither `listen` nor `tag`"), "{said:?}");
    }
}
