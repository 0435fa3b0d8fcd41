//! The ids of users.

use uuid::Uuid;

use crate::dialect::v2ray::json::{Node, Object};

/// The id of a user, under one of the keys that it has; that it is missing is an error.
pub(super) fn of<'a>(object: &Object<'a>) -> Option<Node<'a>> {
    let id = object.first(&["id", "uuid"]);
    if id.is_none() {
        object.node.error("`id` is missing");
    }
    id
}

/// A UUID, or Xray's short form of one.
pub(super) fn read(node: &Node) -> Option<Uuid> {
    let text: String = node.read()?;
    let id = parse(&text).map_err(|text| node.error(text)).ok()?;
    if text.chars().filter(|c| *c != '-').count() > 32 {
        node.warn("what stands behind 32 hex digits is passed over, as in V2Ray (Xray refuses it)");
    }
    if is_short(&text) {
        node.warn("this is not a UUID, it is taken as Xray does: the id is made from the text");
    }
    Some(id)
}

/// Any text of up to 30 bytes stands for the UUIDv5 of itself, as in Xray. A text of nothing but hex digits and dashes
/// is meant to be a UUID, and must be whole.
pub(in crate::dialect) fn parse(text: &str) -> Result<Uuid, String> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let odd = digits.chars().find(|c| !c.is_ascii_hexdigit());
    // V2Ray looks no further.
    let first = digits
        .get(..32)
        .and_then(|first| Uuid::parse_str(first).ok());
    if let Some(id) = first {
        return Ok(id);
    }
    match odd {
        _ if text.is_empty() => Err("the id is empty, expected a UUID".to_owned()),
        None => Err(format!(
            "`{text}` is not a UUID, it has {} of 32 hex digits",
            digits.len()
        )),
        Some(_) if is_short(text) => Ok(Uuid::new_v5(&Uuid::nil(), text.as_bytes())),
        Some(odd) => Err(format!(
            "`{}` is not a UUID, `{}` is not a hex digit",
            text.escape_debug(),
            odd.escape_debug()
        )),
    }
}

/// What is wrong with a text that [`parse`] does not take, without anything of it.
pub(in crate::dialect) fn lack(text: &str) -> String {
    match text.chars().filter(char::is_ascii_hexdigit).count() {
        digits @ ..32 => format!("it is not a UUID, it has {digits} of 32 hex digits"),
        _ => "it is not a UUID, other characters stand before or between its hex digits".to_owned(),
    }
}

fn is_short(text: &str) -> bool {
    let is_digit = |c: char| c == '-' || c.is_ascii_hexdigit();
    (1..=30).contains(&text.len()) && !text.chars().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Report;
    use serde_json::json;

    #[test]
    fn what_stands_behind_a_whole_id_is_passed_over() {
        let id = "c2485913-4e9e-41eb-8cc5-b2e7db8d3bc7";
        for (behind, warnings) in [("", 0), (" ", 1), ("\n", 1), ("ff", 1), (",\"", 1)] {
            let (value, report) = (json!(format!("{id}{behind}")), Report::default());
            let read = read(&Node::root(&value, &report)).unwrap();
            assert_eq!(
                (read.to_string().as_str(), report.warnings().len()),
                (id, warnings)
            );
        }
        for wrong in [
            " c2485913-4e9e-41eb-8cc5-b2e7db8d3bc7",
            "c2485913-4e9e-41eb-8cc5-b2e7db8d3bc g7",
        ] {
            assert!(parse(wrong).unwrap_err().contains("is not a UUID"));
            assert!(lack(wrong).contains("other characters"));
        }
    }

    #[test]
    fn a_short_name_is_the_id_that_xray_makes_of_it() {
        let (value, report) = (json!("example"), Report::default());
        let id = read(&Node::root(&value, &report)).unwrap();
        assert_eq!(id.to_string(), "feb54431-301b-52bb-a6dd-e1e93e81bb9e");
        assert_eq!(report.warnings().len(), 1);
    }
}
