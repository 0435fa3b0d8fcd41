//! From an outbound to a proxy of Clash by itself.

use serde_json::{Map, Value, json};

use crate::config::Outbound;
use crate::dialect::clash::proxy;
use crate::dialect::links::default_alpn;
use crate::dialect::links::said::Said;
use crate::dialect::tree::{Node, Value as Given};
use crate::transport::tls;

/// Writes the first server of an outbound, with its first account.
///
/// # Errors
///
/// When Clash has no word for something without which it would not work.
pub fn write(outbound: &Outbound) -> Result<Map<String, Value>, String> {
    let servers = outbound.protocol.servers();
    let to = servers.first().ok_or("it has no server")?;
    if outbound.through.is_some() {
        return Err("it goes through another outbound".to_owned());
    }
    if let Some(tls) = &outbound.transport.security {
        known(tls)?;
    }
    let mut said = Said::of_proxy();
    let written = proxy::write(outbound, &mut said);
    if !said.errors.is_empty() {
        return Err(said.errors.join("; "));
    }
    let Some(Value::Object(mut map)) = written.into_iter().next() else {
        return Err("it has no account".to_owned());
    };
    if outbound.tag.is_none() {
        map.insert("name".to_owned(), to.to_string().into());
    }
    // Where it says no more than its absence does.
    if map.get("alpn") == Some(&json!(default_alpn(&outbound.transport.carrier))) {
        map.remove("alpn");
    }
    Ok(map)
}

/// Whom it believes must be what Clash can say, or a stranger would be believed.
fn known(tls: &tls::ClientSettings) -> Result<(), String> {
    let is_said = tls.pins.is_empty()
        && tls.verify_names.is_empty()
        && tls.certificate_pins.len() < 2
        && tls.certificate.is_none()
        && !tls.disable_system_root
        && tls.authorities.0.is_empty();
    match is_said {
        true => Ok(()),
        false => Err("Clash has no word for whose certificates it believes".to_owned()),
    }
}

/// Puts the entries of `given` where `map` has none of their names.
pub(super) fn complete(map: &mut Map<String, Value>, given: &Node) {
    let plain = |key: &str| key.to_ascii_lowercase().replace('_', "-");
    for (key, node) in given.entries() {
        let there = map
            .iter_mut()
            .find(|(known, _)| plain(known) == plain(key))
            .map(|(_, value)| value);
        match there {
            Some(Value::Object(inner)) => complete(inner, node),
            Some(_) => {}
            None => {
                map.insert(key.clone(), as_given(node));
            }
        }
    }
}

/// Numbers and switches become what they were: whoever wrote a text that looks like one meant the same.
fn as_given(node: &Node) -> Value {
    match &node.value {
        Given::Null => Value::Null,
        Given::Text(text) => match &**text {
            "true" => true.into(),
            "false" => false.into(),
            text => match text.parse::<u64>() {
                Ok(number) if number.to_string() == text => number.into(),
                _ => text.into(),
            },
        },
        Given::List(items) => items.iter().map(as_given).collect(),
        Given::Map(entries) => {
            let entries = entries.iter();
            Value::Object(
                entries
                    .map(|(key, node)| (key.clone(), as_given(node)))
                    .collect(),
            )
        }
    }
}
