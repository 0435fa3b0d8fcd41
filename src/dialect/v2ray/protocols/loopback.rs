//! `settings` of a `loopback` outbound.

use std::sync::Arc;

use crate::dialect::v2ray::json::Object;
use crate::protocol::loopback::OutboundSettings;

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    let tag = settings.read("inboundTag");
    let inbound = tag.filter(|tag: &String| !tag.is_empty()).map(Arc::from);
    settings.refuse(
        "sniffing",
        "sniffing once more is not built: sniff in the inbound that the sessions come from",
    );
    if inbound.is_none() {
        settings.node.warn(
            "`inboundTag` is missing, sessions go through the rules once more without an inbound",
        );
    }
    Some(OutboundSettings { inbound })
}
