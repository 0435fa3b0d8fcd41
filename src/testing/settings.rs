//! Reads settings as the tests of a room want them.

use serde_json::Value;

use crate::dialect::v2ray::json::{Node, Object, Report};

/// What `read` makes of an object, and all that it has to say: the errors, then the warnings.
pub(crate) fn read<T>(value: &Value, read: impl FnOnce(&Object) -> T) -> (T, Vec<String>) {
    let report = Report::default().with_protobuf_names(value.get("services").is_some());
    let object = Node::root(value, &report).object().expect("an object");
    let made = read(&object);
    object.finish();
    let problems = [report.errors(), report.warnings()].concat();
    (made, problems.iter().map(ToString::to_string).collect())
}
