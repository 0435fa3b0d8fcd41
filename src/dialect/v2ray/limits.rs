//! `limits`, at the top level and in an inbound: ours.

use crate::dialect::v2ray::json::Object;
use crate::limits::Settings;

pub(super) fn read(holder: &Object) -> Settings {
    let Some(object) = holder.object("limits") else {
        return Settings::default();
    };
    let settings = Settings {
        connections: object.read("connections"),
        per_source: object.read("perSource"),
        handshakes: object.read("handshakes"),
    };
    object.finish();
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::{Node, Report};
    use serde_json::{Value, json};

    fn read_of(value: &Value) -> (Settings, Vec<String>) {
        let report = Report::default();
        let root = Node::root(value, &report).object().unwrap();
        let settings = read(&root);
        let said = report.errors().into_iter().chain(report.warnings());
        (settings, said.map(|one| one.to_string()).collect())
    }

    #[test]
    fn each_bound_is_a_number_or_its_default() {
        let value = json!({"limits": {"connections": 1000, "perSource": 0}});
        let settings = Settings {
            connections: Some(1000),
            per_source: Some(0),
            handshakes: None,
        };
        assert_eq!(read_of(&value), (settings, vec![]));
        assert_eq!(read_of(&json!({})).0, Settings::default());
    }

    #[test]
    fn mistakes_have_their_place() {
        let value = json!({"limits": {"connections": -1, "perSource": "few", "handshake": 5}});
        assert_eq!(
            read_of(&value).1,
            [
                "limits.connections: the number -1 is not a whole number from 0 to 4294967295",
                "limits.perSource: the string `few` is not a whole number from 0 to 4294967295",
                "limits.handshake: unknown key, it has no effect, did you mean `handshakes`?",
            ]
        );
    }
}
