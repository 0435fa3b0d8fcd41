//! The old top-level `transport`: settings for every inbound and outbound that has none of its own.

use serde_json::{Map, Value};

/// Copies `transport.tcpSettings`, `transport.wsSettings` and `transport.dsSettings` into each `streamSettings` without them.
pub(super) fn spread(root: &mut Map<String, Value>) {
    let Some(global) = take(root, "transport") else {
        return;
    };
    if global.is_object() {
        for list in ["inbounds", "outbounds", "inboundDetour", "outboundDetour"] {
            if let Some(Value::Array(items)) = find(root, list) {
                items.iter_mut().for_each(|item| fill(item, &global));
            }
        }
        for single in ["inbound", "outbound"] {
            if let Some(item) = find(root, single) {
                fill(item, &global);
            }
        }
    }
    root.insert("transport".to_owned(), global);
}

fn fill(item: &mut Value, global: &Value) {
    let Value::Object(item) = item else { return };
    let Some(Value::Object(stream)) = find(item, "streamSettings") else {
        return;
    };
    let network = ["network", "method", "transport"]
        .into_iter()
        .find_map(|key| {
            let name = find(stream, key)?.as_str()?;
            Some(name.to_ascii_lowercase())
        });
    // Those of the transport that is not in use would only be wondered about.
    let key = match network.as_deref() {
        Some("ws" | "websocket") => "wsSettings",
        Some("ds" | "domainsocket") => "dsSettings",
        _ => "tcpSettings",
    };
    if let Some(settings) = global.get(key)
        && find(stream, key).is_none_or(|own| own.is_null())
    {
        stream.insert(key.to_owned(), settings.clone());
    }
}

fn find<'m>(map: &'m mut Map<String, Value>, key: &str) -> Option<&'m mut Value> {
    map.iter_mut()
        .find(|(k, _)| k.eq_ignore_ascii_case(key))
        .map(|(_, value)| value)
}

fn take(map: &mut Map<String, Value>, key: &str) -> Option<Value> {
    let written = map.keys().find(|k| k.eq_ignore_ascii_case(key))?.clone();
    map.remove(&written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn own_settings_win_over_the_global_ones() {
        let mut root = json!({
            "transport": {"wsSettings": {"path": "/all"}},
            "inbounds": [
                {"streamSettings": {"network": "ws"}},
                {"streamSettings": {"network": "ws", "wsSettings": {"path": "/own"}}},
                {}
            ]
        });
        spread(root.as_object_mut().unwrap());
        let path = |i: usize| root["inbounds"][i]["streamSettings"]["wsSettings"]["path"].clone();
        assert_eq!(path(0), "/all");
        assert_eq!(path(1), "/own");
        assert_eq!(root["inbounds"][2], json!({}));
    }
}
