//! `settings` of the `socks` inbound and outbound.

use super::accounts;
use super::servers::servers;
use crate::address::Host;
use crate::dialect::v2ray::json::{Object, did_you_mean, one_of, one_of_or};
use crate::protocol::socks::{InboundSettings, OutboundSettings, Version};

pub(super) fn inbound(settings: &Object) -> Option<InboundSettings> {
    let level = settings.read_or("userLevel", 0);
    let accounts = accounts::of_inbound(settings);
    let words = [("noauth", false), ("password", true)];
    // V2Ray takes an empty word for `noauth`.
    let auth = settings.get("auth").filter(|node| node.value != "");
    // So it takes any other; but who has accounts, or writes nearly `password`, does not mean an open proxy.
    let password = auth.as_ref().and_then(|node| match node.value.as_str() {
        Some(word)
            if accounts.is_empty() && did_you_mean(word, ["password"].into_iter()).is_empty() =>
        {
            one_of_or(node, &words, "noauth")
        }
        _ => one_of(node, &words),
    });
    if let Some(auth) = auth
        && password == Some(true)
        && accounts.is_empty()
    {
        auth.warn("`password` without `accounts` lets nobody in");
    }
    // V2Ray 5 says `udpEnabled` and `address`.
    let udp = settings.first(&["udp", "udpEnabled"]);
    let udp_ip = settings
        .first(&["ip", "address"])
        .filter(|node| node.value != "")
        .and_then(|node| {
            let text: String = node.read()?;
            let parsed = Host::parse(text.trim());
            if let Err(e) = &parsed {
                let text = text.escape_debug();
                node.warn(format!(
                    "`{text}` is not an address and is passed over: {e}"
                ));
            }
            parsed.ok()
        });
    let transparent = settings.read_or("allowTransparent", false);
    let wait: Option<bool> = settings.read("waitForConnect");
    settings.silent(&["timeout"]);
    settings.no_effect(&["packetEncoding", "deferLastReply"]);
    Some(InboundSettings {
        accounts: (password == Some(true)).then_some(accounts),
        level,
        udp: udp.and_then(|node| node.read()).unwrap_or(false),
        udp_tunnel: settings.read_or("udpTunnel", false),
        udp_ip,
        transparent,
        grant: wait.map(Into::into).unwrap_or_default(),
        ..InboundSettings::default()
    })
}

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    let version = settings.get("version").and_then(|node| {
        let words = [
            ("5", Version::Five),
            ("4a", Version::FourA),
            ("4", Version::Four),
        ];
        one_of(&node, &words)
    });
    settings.refuse(
        "uot",
        "UDP in TCP is not built, and datagrams would go beside the tunnel, to be read by everybody",
    );
    settings.no_effect(&["delayAuthWrite"]);
    Some(OutboundSettings {
        servers: servers(settings)?,
        version: version.unwrap_or_default(),
        udp_tunnel: settings.read_or("udpTunnel", false),
        ..OutboundSettings::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;
    use serde_json::{Value, json};

    #[test]
    fn v2ray_settings_are_read_whole() {
        let (inbound, said) = read(&json!({
            "auth": "password", "accounts": [{"user": "a", "pass": "b"}],
            "udp": true, "ip": "127.0.0.1", "userLevel": 1, "timeout": 0,
        }));
        let inbound = inbound.unwrap();
        assert!(said.is_empty(), "{said:?}");
        assert!(inbound.udp && inbound.accounts.is_some());
        let open = read(&json!({"accounts": [{"user": "a"}]})).0.unwrap();
        assert!(
            open.accounts.is_none(),
            "accounts mean nothing without `auth`"
        );
    }

    #[test]
    fn what_cannot_work_is_an_error() {
        for (settings, text) in [
            (
                json!({"auth": "pasword"}),
                "auth: `pasword` is unknown, expected `noauth` or `password`, did you mean `password`?",
            ),
            (
                json!({"auth": "password"}),
                "auth: `password` without `accounts` lets nobody in",
            ),
            (
                json!({"udp": "yes"}),
                "udp: the string `yes` is not `true` or `false`",
            ),
        ] {
            assert_eq!(read(&settings).1, [text]);
        }
    }

    fn read(value: &Value) -> (Option<InboundSettings>, Vec<String>) {
        settings::read(value, inbound)
    }
}
