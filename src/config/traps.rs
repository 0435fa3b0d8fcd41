//! What runs, and is hardly meant: ids that everybody knows, the port of HTTPS without TLS, UDP beside its transport.

use uuid::{Uuid, uuid};

use super::exposure::outside;
use super::{Inbound, Outbound};
use crate::report::Report;

/// Ids of the documentation and of published examples.
const PUBLISHED: [Uuid; 8] = [
    uuid!("b831381d-6324-4d53-ad4f-8cda48b30811"),
    uuid!("27848739-7e62-4138-9fd3-098a63964b6b"),
    uuid!("23ad6b10-8d1a-40f7-8ad0-e3e35cd38297"),
    uuid!("10354ac4-9ec1-4864-ba3e-f5fd35869ef8"),
    uuid!("5783a3e7-e373-51cd-8642-c83782b807c5"),
    uuid!("66ad4540-b58c-4ad2-9926-ea63445a9b57"),
    uuid!("e55c8d17-2cf3-b21a-bcf1-eeacb011ed79"),
    uuid!("a3482e88-686a-4a58-8126-99c9df64b7bf"),
];

pub(crate) fn warn_of_inbound(inbound: &Inbound, report: &Report) {
    let Some(ids) = inbound.protocol.ids() else {
        return;
    };
    if let Some(id) = ids.iter().find(|id| PUBLISHED.contains(id)) {
        let text = format!(
            "the id `{id}` stands in V2Ray's documentation and everybody knows it: make one with `mobula uuid`"
        );
        report.warn(&inbound.at.key("settings"), text);
    }
    let is_https = inbound
        .ports
        .iter()
        .any(|range| (range.from..=range.to).contains(&443));
    if is_https && inbound.transport.security.is_none() && outside(&inbound.listen).is_some() {
        let text =
            "listens on port 443 without TLS, is `security: tls` missing in `streamSettings`?";
        report.warn(&inbound.at, text);
    }
}

pub(crate) fn warn_of_outbound(outbound: &Outbound, report: &Report) {
    let mut servers = outbound.protocol.tunnel_servers().into_iter();
    if servers.any(|server| server.port == 443) && !outbound.transport.has_tls() {
        let text = "goes to port 443 without TLS, is `security: tls` missing in `streamSettings`?";
        report.warn(&outbound.at, text);
    }
    let is_beside = outbound.protocol.sends_datagrams() && outbound.mux.is_none();
    if is_beside && !outbound.transport.is_bare() {
        let text = "`streamSettings` are for TCP: UDP goes to the same port of the server as datagrams, as in V2Ray; with `mux` it goes inside";
        report.warn(&outbound.at, text);
    }
}
