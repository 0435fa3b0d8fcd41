//! `fragment`, `noises` and `proxyProtocol` of a `freedom` outbound.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::io::fragment::{Between, Cut, Fragment};
use crate::protocol::freedom::{Content, Family, Noise, OutboundSettings};
use crate::seam::ProxyVersion;

/// Adds them to the outbound's `settings`, where there are any.
pub(super) fn add(settings: &OutboundSettings, outbound: &mut Value) {
    if let Some(fragment) = &settings.fragment {
        let is_plain = fragment.more_lengths.is_empty()
            && fragment.more_intervals.is_empty()
            && fragment.then.is_none();
        match is_plain {
            true => outbound["settings"]["fragment"] = of_fragment(fragment),
            // Lists of them stand there alone.
            false => outbound["streamSettings"]["finalmask"] = of_mask(fragment),
        }
    }
    if let Some(version) = settings.proxy_header {
        outbound["settings"]["proxyProtocol"] = match version {
            ProxyVersion::One => 1.into(),
            ProxyVersion::Two => 2.into(),
        };
    }
    if !settings.noises.is_empty() {
        outbound["settings"]["noises"] = settings.noises.iter().map(of_noise).collect();
    }
}

/// `finalmask` of `streamSettings`.
pub(in crate::dialect) fn of_mask(fragment: &Fragment) -> Value {
    let all = std::iter::successors(Some(fragment), |one| one.then.as_deref());
    json!({"tcp": all.map(one_of_mask).collect::<Vec<_>>()})
}

fn one_of_mask(fragment: &Fragment) -> Value {
    let ranges = |first: Between, more: &[Between]| -> Value {
        let all = std::iter::once(&first).chain(more);
        all.map(|numbers| range(*numbers)).collect()
    };
    let mut settings = json!({"packets": packets(fragment.cut)});
    settings["length"] = range(fragment.length).into();
    settings["delay"] = range(fragment.interval).into();
    if !fragment.more_lengths.is_empty() {
        settings["lengths"] = ranges(fragment.length, &fragment.more_lengths);
    }
    if !fragment.more_intervals.is_empty() {
        settings["delays"] = ranges(fragment.interval, &fragment.more_intervals);
    }
    if fragment.max_split != Between::default() {
        settings["maxSplit"] = range(fragment.max_split).into();
    }
    json!({"type": "fragment", "settings": settings})
}

fn packets(cut: Cut) -> String {
    match cut {
        Cut::TlsHello => "tlshello".to_owned(),
        Cut::All => String::new(),
        Cut::Writes { from, to } => format!("{from}-{to}"),
    }
}

fn of_fragment(fragment: &Fragment) -> Value {
    let mut value = json!({
        "packets": packets(fragment.cut),
        "length": range(fragment.length),
        "interval": range(fragment.interval),
    });
    if fragment.max_split != Between::default() {
        value["maxSplit"] = range(fragment.max_split).into();
    }
    value
}

fn of_noise(noise: &Noise) -> Value {
    let (kind, packet) = match &noise.packet {
        Content::Random(length) => ("rand", range(*length)),
        Content::Given(bytes) => ("base64", STANDARD.encode(bytes)),
    };
    let to = match noise.to {
        Family::Any => "ip",
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    json!({"type": kind, "packet": packet, "delay": range(noise.delay), "applyTo": to})
}

fn range(numbers: Between) -> String {
    format!("{}-{}", numbers.from, numbers.to)
}
