//! `network` of an inbound: what its ports are listened on for.

use crate::dialect::v2ray::json::{Object, StringList, did_you_mean, either};

/// Whether TCP and UDP are listened for; V2Ray's default is TCP alone.
pub(super) fn read(settings: &Object) -> (bool, bool) {
    let Some(node) = settings.first(&["network", "networks", "allowedNetwork"]) else {
        return (true, false);
    };
    let Some(StringList(names)) = node.read() else {
        return (true, false);
    };
    let (mut tcp, mut udp) = (false, false);
    for name in &names {
        match name.to_ascii_lowercase().as_str() {
            "tcp" => tcp = true,
            "udp" => udp = true,
            _ => node.warn(format!(
                "`{}` is unknown and passed over, expected {}{}",
                name.escape_debug(),
                either(&["tcp", "udp", "tcp,udp"]),
                did_you_mean(name, ["tcp", "udp"].into_iter())
            )),
        }
    }
    if !tcp && !udp {
        node.dead("no network is named, expected `tcp`, `udp` or `tcp,udp`");
    }
    (tcp, udp)
}
