//! One inbound or outbound that joins a running config.
//!
//! It is read as it would be in a file, so the same checks hold; all its mistakes are the error.

use serde_json::Value;
use tracing::warn;

use super::{inbound, outbound, protocols};
use crate::config::{Inbound, Outbound};
use crate::json::{Node, Object, Report};
use crate::protocol::UserSettings;

pub fn one_inbound(value: &Value) -> Result<Inbound, String> {
    let path = name("inbound", value);
    let inbound = read_one(value, &path, |object| inbound::read(object, None))?;
    let name = path;
    Ok(Inbound { name, ..inbound })
}

/// `through` of the outbound says what `proxySettings.tag` or `dialerProxy` does; that the tag is there is for
/// the caller to see.
pub fn one_outbound(value: &Value) -> Result<Outbound, String> {
    let path = name("outbound", value);
    let mut outbound = read_one(value, &path, |object| {
        let through = outbound::through(&object.node);
        Some(Outbound {
            through,
            ..outbound::read(object)?
        })
    })?;
    outbound.name = path;
    Ok(outbound)
}

/// A user of the protocol that the account's keys are of, as `clients` has one.
pub fn one_user(value: &Value) -> Result<UserSettings, String> {
    read_one(value, "a user of the API", |object| {
        protocols::user(&object)
    })
}

fn name(what: &str, value: &Value) -> String {
    let tag = value.get("tag").and_then(Value::as_str);
    format!("{what} `{}` of the API", tag.unwrap_or_default())
}

fn read_one<T>(
    value: &Value,
    what: &str,
    read: impl FnOnce(Object) -> Option<T>,
) -> Result<T, String> {
    let report = Report::default();
    let part = Node::root(value, &report).object().and_then(read);
    let errors: Vec<String> = report.errors().iter().map(ToString::to_string).collect();
    for warning in report.warnings() {
        warn!("{what}: {warning}");
    }
    match part {
        Some(part) if errors.is_empty() => Ok(part),
        _ => Err(errors.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_part_is_checked_as_in_a_file() {
        let wrong = json!({"tag": "a", "port": 70000, "protocol": "vmes"});
        let errors = one_inbound(&wrong).err().unwrap();
        assert!(
            errors.contains("port: ") && errors.contains("did you mean `vmess`?"),
            "{errors}"
        );
        let right = json!({"tag": "a", "protocol": "freedom", "proxySettings": {"tag": "b"}});
        let outbound = one_outbound(&right).unwrap();
        assert_eq!(&*outbound.through.unwrap().tag, "b");
        assert_eq!(outbound.name, "outbound `a` of the API");
    }
}
