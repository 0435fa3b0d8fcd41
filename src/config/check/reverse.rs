//! Bridges and portals: their tags, and whether rules lead to them.

use std::sync::Arc;

use crate::config::{Draft, Inbound, Outbound};
use crate::protocol::OutboundSettings;
use crate::report::Report;
use crate::reverse::Settings;
use crate::routing::{self, Target};

/// As in V2Ray a portal takes a tag from an outbound or another portal that has it.
pub(crate) fn portals_take_tags(
    settings: &Settings,
    outbounds: &mut [Draft<Outbound>],
    report: &Report,
) {
    for (i, portal) in settings.portals.iter().enumerate() {
        let tag = &portal.tag;
        for other in outbounds.iter_mut().filter(|o| o.tag.as_ref() == Some(tag)) {
            other.tag = None;
            let text = format!(
                "`{tag}` is the tag of {} as well, rules mean the portal, as in V2Ray",
                *other.at
            );
            report.warn(&portal.at.key("tag"), text);
        }
        for before in &settings.portals[..i] {
            if before.tag == *tag {
                let text = format!(
                    "`{tag}` is the tag of {} as well, the last one counts, as in V2Ray",
                    *before.at
                );
                report.warn(&portal.at.key("tag"), text);
            }
        }
    }
}

/// What one end says about others, and what rules say about it.
pub(crate) fn reverse(
    settings: &Settings,
    inbounds: &[Draft<Inbound>],
    outbounds: &[Draft<Outbound>],
    api: Option<&Arc<str>>,
    routing: &routing::Settings,
    report: &Report,
) {
    published(settings, outbounds, report);
    let has_outbounds = !outbounds.is_empty();
    for (i, portal) in settings.portals.iter().enumerate() {
        let tag = &portal.tag;
        if api == Some(tag) {
            let text = format!("`{tag}` is the tag of the API, expected another one");
            report.error(&portal.at.key("tag"), text);
        }
        let twin = settings.portals[..i].iter().find(|before| {
            before.tag != *tag && before.domain.eq_ignore_ascii_case(&portal.domain)
        });
        if let Some(before) = twin {
            let text = format!(
                "{} has this domain, too: rules by domain lead all bridges to one of them",
                *before.at
            );
            report.warn(&portal.at.key("domain"), text);
        }
        let goes_through = outbounds.iter().any(|outbound| {
            let through = outbound.through.as_ref();
            through.is_some_and(|through| through.tag == *tag)
        });
        // Without any outbound the first portal carries everything.
        if !leads_to(routing, tag) && !goes_through && (has_outbounds || i > 0) {
            let text = format!(
                "no rule leads to `{tag}`, neither bridges nor sessions come here: expected one with `outboundTag`"
            );
            report.warn(&portal.at, text);
        }
    }
    for (i, bridge) in settings.bridges.iter().enumerate() {
        let tag = &bridge.tag;
        let others = inbounds.iter().map(|inbound| (&inbound.tag, &inbound.at));
        let others = others.filter_map(|(tag, at)| Some((tag.as_ref()?, at)));
        let before = settings.bridges[..i].iter().map(|b| (&b.tag, &b.at));
        if let Some((_, at)) = others.chain(before).find(|(other, _)| *other == tag) {
            let text = format!("`{tag}` is the tag of {} already, rules mean both", **at);
            report.warn(&bridge.at.key("tag"), text);
        }
        let is_named = routing.rules.iter().any(|rule| {
            let named = &rule.conditions.inbounds;
            named.is_empty() || named.iter().any(|name| **name == **tag)
        });
        if !is_named {
            let text = format!(
                "no rule has `{tag}` as `inboundTag`, its connection to the portal and all that comes out of it go by the first outbound"
            );
            report.warn(&bridge.at, text);
        }
    }
}

/// What a config that was written by hand must not say.
pub(crate) fn mistakes(settings: &Settings, outbounds: &[Draft<Outbound>], report: &Report) {
    for (i, portal) in settings.portals.iter().enumerate() {
        let others = outbounds.iter().filter_map(|o| o.tag.as_ref());
        let before = settings.portals[..i].iter().map(|p| &p.tag);
        if others.chain(before).any(|tag| *tag == portal.tag) {
            let text = format!("`{}` is the tag of another outbound already", portal.tag);
            report.error(&portal.at.key("tag"), text);
        }
    }
    published(settings, outbounds, report);
}

/// What published ports say about outbounds.
fn published(settings: &Settings, outbounds: &[Draft<Outbound>], report: &Report) {
    for (i, one) in settings.publish.iter().enumerate() {
        for tag in &one.outbounds {
            let found = outbounds.iter().find(|o| o.tag.as_ref() == Some(tag));
            let text = match found.map(|outbound| outbound.part.as_ref()) {
                None => format!("no outbound is tagged `{tag}`"),
                Some(Some(outbound))
                    if !matches!(outbound.protocol, OutboundSettings::Relay(_)) =>
                {
                    format!("`{tag}` is no `relay` outbound, and only its servers open ports")
                }
                Some(_) => continue,
            };
            report.error(&one.at.key("outboundTag"), text);
        }
        let twin = settings.publish[..i].iter().find(|before| {
            before.listen == one.listen
                && before.network == one.network
                && before.outbounds == one.outbounds
                && one.listen.port != 0
        });
        if let Some(before) = twin {
            let text = format!("{} has this port already", *before.at);
            report.error(&one.at.key("listen"), text);
        }
    }
}

fn leads_to(routing: &routing::Settings, tag: &str) -> bool {
    let by_rule = routing.rules.iter().any(|rule| match &*rule.target {
        Target::Outbound(to) => **to == *tag,
        Target::Balancer(_) => false,
    });
    by_rule
        || routing.balancers.iter().any(|balancer| {
            let falls_back = balancer.fallback.as_ref().is_some_and(|to| ***to == *tag);
            balancer.selects(tag) || falls_back
        })
}
