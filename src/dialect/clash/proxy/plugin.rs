//! `plugin` and `plugin-opts` of Shadowsocks: what `v2ray-plugin` would be told, and what it has no words for.

use crate::dialect::clients::nodes::{self, headers};
use crate::dialect::links::{Plugin, escaped};
use crate::dialect::tree::keys::Keys;
use crate::transport::{ClientCarrier, ClientSettings};

/// What a plugin stands for.
pub(super) fn read(keys: &Keys) -> Option<Plugin> {
    let Some(name) = keys.word("plugin") else {
        return Some((ClientSettings::default(), None));
    };
    let Some(map) = keys.map("plugin-opts") else {
        return nodes::plugin(keys, &name, "");
    };
    let mode = map.text("mode").unwrap_or("websocket");
    // What is not said is another default than the plugin's.
    let mux = u8::from(map.switched("mux") != Some(false));
    let host = map.text("host").unwrap_or("bing.com");
    let mut options = format!("mode={};mux={mux};host={}", escaped(mode), escaped(host));
    if map.switch("tls") {
        options += ";tls";
    }
    if let Some(path) = map.text("path") {
        options += &format!(";path={}", escaped(path));
    }
    let is_insecure = map.switch("skip-cert-verify");
    let (host, headers) = headers(&map);
    map.refuse(
        &[
            "fingerprint",
            "ech-opts",
            "v2ray-http-upgrade",
            "certificate",
        ],
        "there is no word for it in `v2ray-plugin`",
    );
    map.silent(&["v2ray-http-upgrade-fast-open"]);
    map.finish();
    let (mut transport, mux) = nodes::plugin(keys, &name, &options)?;
    if let Some(tls) = &mut transport.security {
        tls.allow_insecure = is_insecure;
    }
    if let ClientCarrier::Ws(ws) = &mut transport.carrier {
        ws.headers = headers;
        ws.host = host.or_else(|| ws.host.take());
    }
    Some((transport, mux))
}
