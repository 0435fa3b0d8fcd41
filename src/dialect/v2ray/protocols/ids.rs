//! The ids of users.

use uuid::Uuid;

use crate::json::{Node, Object};

/// The id of a user, under one of the keys that it has; that it is missing is an error.
pub(super) fn of<'a>(object: &Object<'a>) -> Option<Node<'a>> {
    let id = object.first(&["id", "uuid"]);
    if id.is_none() {
        object.node.error("`id` is missing");
    }
    id
}

/// A UUID, or Xray's short form of one: any text of up to 30 bytes stands for the UUIDv5 of itself.
///
/// A text of nothing but hex digits and dashes is meant to be a UUID, and must be whole.
pub(super) fn read(node: &Node) -> Option<Uuid> {
    let text: String = node.read()?;
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    match (hex, text.len()) {
        (_, 0) => node.error("the id is empty, expected a UUID"),
        (true, _) if digits.len() == 32 => return Uuid::parse_str(&digits).ok(),
        (true, _) => node.error(format!(
            "`{text}` is not a UUID, it has {} of 32 hex digits",
            digits.len()
        )),
        (false, 1..=30) => {
            node.warn("this is not a UUID, it is taken as Xray does: the id is made from the text");
            return Some(Uuid::new_v5(&Uuid::nil(), text.as_bytes()));
        }
        (false, _) => {
            let odd = digits
                .chars()
                .find(|c| !c.is_ascii_hexdigit())
                .unwrap_or('?');
            node.error(format!(
                "`{}` is not a UUID, `{}` is not a hex digit",
                text.escape_debug(),
                odd.escape_debug()
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Report;
    use serde_json::json;

    #[test]
    fn a_short_name_is_the_id_that_xray_makes_of_it() {
        let (value, report) = (json!("example"), Report::default());
        let id = read(&Node::root(&value, &report)).unwrap();
        assert_eq!(id.to_string(), "feb54431-301b-52bb-a6dd-e1e93e81bb9e");
        assert_eq!(report.warnings().len(), 1);
    }
}
