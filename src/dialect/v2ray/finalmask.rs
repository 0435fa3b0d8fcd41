//! Xray's `finalmask`: how what goes over the wire is disguised. What a client alone does, and any server understands, is built:
//! `fragment`, which cuts its writes into pieces. Of everything else the other end has to know.

use serde_json::{Value, json};

use super::json::{NO_EFFECT, Node, Object, Problem, Report};
use super::protocols::disguise;
use crate::io::fragment::Fragment;

const BOTH_ENDS: &str = "disguises of the wire are not built, and a peer that has them understands nothing else: take it out on both ends";

/// Reads `finalmask` of an outbound.
pub(super) fn client(settings: &Object) -> Option<Fragment> {
    let found = fragments(settings);
    let mut all = None;
    // What comes of one is cut by the next.
    for (n, (node, fragment)) in found.iter().enumerate().rev() {
        if n >= MOST_FRAGMENTS {
            node.unbuilt(format!("expected at most {MOST_FRAGMENTS} of them"));
            continue;
        }
        let one = disguise::of_mask(fragment);
        all = one.map(|one| Fragment {
            then: all.map(Box::new),
            ..one
        });
    }
    all
}

/// Each is a layer of its own, and nobody needs more.
const MOST_FRAGMENTS: usize = 4;

/// Reads one that stands alone, as in a link; and what of it has no effect.
///
/// # Errors
///
/// All that is wrong with it, or not built.
pub(in crate::dialect) fn alone(
    mask: &Value,
) -> Result<(Option<Fragment>, Vec<String>), Vec<String>> {
    let settings = json!({ "finalmask": mask });
    let report = Report::default();
    let node = Node::root(&settings, &report);
    let fragment = node.object().and_then(|object| {
        let fragment = client(&object);
        object.finish();
        fragment
    });
    let texts = |problems: Vec<Problem>| problems.into_iter().map(|one| one.text).collect();
    match report.errors() {
        problems if problems.is_empty() => Ok((fragment, texts(report.warnings()))),
        problems => Err(texts(problems)),
    }
}

/// Reads `finalmask` of an inbound, whose answers go as they are.
pub(super) fn server(settings: &Object) {
    for (node, _) in fragments(settings) {
        node.warn(NO_EFFECT);
    }
}

/// The entries that are of type `fragment`, with their settings; the others are told of.
fn fragments<'a>(settings: &Object<'a>) -> Vec<(Node<'a>, Node<'a>)> {
    let Some(mask) = settings.get("finalmask").and_then(|node| node.object()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for node in mask.array("tcp") {
        let Some(entry) = node.object() else { continue };
        match kind(&entry).as_deref() {
            Some("fragment") => {
                let own = entry.require_node("settings");
                found.extend(own.map(|own| (node.clone(), own)));
            }
            _ => {
                entry.silent(&["settings"]);
                node.unbuilt(BOTH_ENDS);
            }
        }
        entry.finish();
    }
    for node in mask.array("udp") {
        let Some(entry) = node.object() else { continue };
        entry.silent(&["settings"]);
        match kind(&entry).as_deref() {
            // It goes in front of datagrams, and nothing of this program's is carried by these.
            Some("noise") => {}
            _ => node.unbuilt(BOTH_ENDS),
        }
        entry.finish();
    }
    // Of QUIC.
    mask.silent(&["quicParams"]);
    mask.finish();
    found
}

fn kind(entry: &Object) -> Option<String> {
    let kind = entry.require_node("type")?.read::<String>()?;
    Some(kind.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::write_mask;

    #[test]
    fn fragments_cut_one_after_another() {
        let one = |length: &str| {
            let settings = json!({"packets": "1-1", "length": length, "delay": "1"});
            json!({"type": "fragment", "settings": settings})
        };
        let mask = json!({"tcp": [one("5"), one("43"), one("7")]});
        let (fragment, said) = alone(&mask).expect("it is sound");
        assert_eq!(said, [""; 0]);
        let fragment = fragment.expect("there is one");
        assert_eq!(fragment.length.from, 5);
        let (again, _) = alone(&write_mask(&fragment)).expect("it is sound");
        assert_eq!(again, Some(fragment));
        let many = json!({"tcp": vec![one("5"); MOST_FRAGMENTS + 1]});
        assert_eq!(alone(&many).unwrap_err(), ["expected at most 4 of them"]);
    }
}
