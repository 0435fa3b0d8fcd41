//! Parts of a config by themselves, as `mobula api` hands them to a server that runs: nothing is asked about the rest.

use super::load::{Input, Source};
use super::merge::Origins;
use super::{global, inbound, message, outbound, read, routing};
use crate::config::{Inbound, Outbound};
use crate::dialect::v2ray::json::{Node, Object, Report};
use crate::report::Message;
use crate::wire::xray::app::router;

use serde_json::Value;

/// What was read, and what there is to say about it.
pub type Part<T> = Result<(T, Vec<Message>), Vec<Message>>;

/// The inbounds of a file.
///
/// # Errors
///
/// When one of them could not run.
pub fn inbounds(input: &Input) -> Part<Vec<Inbound>> {
    part(input, |root| {
        let nodes = read::elements(root, ["inbound", "inboundDetour", "inbounds"]);
        let each = nodes.iter().map(|node| inbound::read(node.object()?, None));
        each.collect()
    })
}

/// The same for the sake of their users: the port may be left out.
///
/// # Errors
///
/// As [`inbounds`].
pub fn users(input: &Input) -> Part<Vec<Inbound>> {
    part(input, |root| {
        let nodes = read::elements(root, ["inbound", "inboundDetour", "inbounds"]);
        let any = Value::from(1);
        let any = Node::at(root.node.path.key("port"), &any, root.node.report());
        let each = nodes
            .iter()
            .map(|node| inbound::read(node.object()?, Some(&any)));
        each.collect()
    })
}

/// The outbounds of a file.
///
/// # Errors
///
/// When one of them could not run.
pub fn outbounds(input: &Input) -> Part<Vec<Outbound>> {
    part(input, |root| {
        let nodes = read::elements(root, ["outbound", "outboundDetour", "outbounds"]);
        let each = nodes.iter().map(|node| {
            let through = outbound::through(node);
            let read = outbound::read(node.object()?)?;
            Some(Outbound { through, ..read })
        });
        each.collect()
    })
}

/// The rules and balancers of a file in Xray's form; names of geodata are left for the server to look up.
///
/// # Errors
///
/// When there is no `routing`, or one of them cannot be said in that form.
pub fn rules(input: &Input) -> Part<router::Config> {
    part(input, |root| match root.object("routing") {
        Some(object) => routing::message::read(&object),
        None => {
            root.node.error("`routing` is missing");
            None
        }
    })
}

fn part<T>(input: &Input, read: impl FnOnce(&Object) -> Option<T>) -> Part<T> {
    let found = Source::read(input, None).map_err(|message| vec![*message])?;
    let (source, mut map, mut warnings) = found;
    global::spread(&mut map);
    let report = Report::default();
    let value = Value::Object(map);
    let made = Node::root(&value, &report)
        .object()
        .and_then(|root| read(&root));
    let sources = [source];
    let placed = |problems| message::placed(problems, &sources, &Origins::default());
    match made {
        Some(made) if !report.has_errors() => {
            warnings.extend(placed(report.warnings()));
            Ok((made, warnings))
        }
        _ => Err(placed(report.errors())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_without_the_rest() {
        let file = text(
            r#"{"inbounds": [{"tag": "a", "port": 1, "protocol": "socks", "listen": "127.0.0.1"}], "outbounds": 5,
                "routing": {"rules": [{"outboundTag": "nobody", "port": 53}]}}"#,
        );
        let (inbounds, warnings) = inbounds(&file).unwrap();
        assert_eq!(inbounds[0].tag.as_deref(), Some("a"));
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(rules(&file).unwrap().0.rule.len(), 1);
        assert!(outbounds(&file).is_err());
    }

    #[test]
    fn a_mistake_has_its_place() {
        let file = text(r#"{"inbounds": [{"protocol": "socks"}]}"#);
        let errors = inbounds(&file).unwrap_err();
        let text = errors[0].to_string();
        assert!(text.starts_with("inbounds[0]: `port` is missing"), "{text}");
        let errors = rules(&file).unwrap_err();
        assert!(errors[0].to_string().contains("`routing` is missing"));
    }

    fn text(text: &str) -> Input {
        Input::Text {
            name: "a.json".to_owned(),
            text: text.to_owned(),
        }
    }
}
