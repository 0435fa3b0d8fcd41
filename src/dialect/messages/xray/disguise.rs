//! `fragment` and `noises` of `freedom`.

use std::sync::Arc;

use super::At;
use crate::io::fragment::{Between, Cut, Fragment, LONGEST_PAUSE_MS};
use crate::protocol::freedom::{Content, Family, LARGEST_DATAGRAM, MOST_NOISES, Noise};
use crate::wire::xray::proxy::freedom as wire;

pub(super) fn fragment(told: &wire::Fragment, at: &At) -> Option<Fragment> {
    let cut = match (told.packets_from, told.packets_to) {
        (0, 0) => Cut::All,
        (0, 1) => Cut::TlsHello,
        (0, _) => return at.key("packets_from").error("writes are counted from 1"),
        (from, to) => {
            let Between { from, to } = between(from, to, u32::MAX, &at.key("packets_from"))?;
            Cut::Writes { from, to }
        }
    };
    let (splits_min, splits_max) = (told.max_split_min, told.max_split_max);
    Some(Fragment {
        cut,
        length: length(told.length_min, told.length_max, u32::MAX, at)?,
        interval: between(
            told.interval_min,
            told.interval_max,
            LONGEST_PAUSE_MS,
            &at.key("interval_max"),
        )?,
        more_lengths: Vec::new(),
        more_intervals: Vec::new(),
        max_split: between(splits_min, splits_max, u32::MAX, &at.key("max_split_max"))?,
        then: None,
    })
}

pub(super) fn noises(told: &[wire::Noise], at: &At) -> Option<Arc<[Noise]>> {
    if told.len() > MOST_NOISES {
        let text = format!("at most {MOST_NOISES} are sent in front of a datagram");
        return at.error(text);
    }
    let each = told.iter().enumerate();
    each.map(|(i, told)| noise(told, &at.index(i))).collect()
}

fn noise(told: &wire::Noise, at: &At) -> Option<Noise> {
    let packet = match (told.packet.len(), told.length_max) {
        // Neither a length nor bytes: an empty datagram.
        (0, 1..) => Content::Random(length(
            told.length_min,
            told.length_max,
            LARGEST_DATAGRAM,
            at,
        )?),
        (len, _) if len > LARGEST_DATAGRAM as usize => {
            let text = format!("{len} bytes, a datagram has room for {LARGEST_DATAGRAM}");
            return at.key("packet").error(text);
        }
        _ => Content::Given(told.packet.clone().into()),
    };
    let to = match &*told.apply_to {
        "" | "ip" => Family::Any,
        "ipv4" => Family::V4,
        "ipv6" => Family::V6,
        other => {
            let other = other.escape_debug();
            let text = format!("`{other}` is unknown, expected `ip`, `ipv4` or `ipv6`");
            return at.key("apply_to").error(text);
        }
    };
    let (min, max) = (told.delay_min, told.delay_max);
    let delay = between(min, max, LONGEST_PAUSE_MS, &at.key("delay_max"))?;
    Some(Noise { packet, delay, to })
}

fn length(min: u64, max: u64, most: u32, at: &At) -> Option<Between> {
    if min == 0 {
        return at.key("length_min").error("expected at least one byte");
    }
    between(min, max, most, &at.key("length_max"))
}

fn between(min: u64, max: u64, most: u32, at: &At) -> Option<Between> {
    match (u32::try_from(min), u32::try_from(max)) {
        (Ok(from), Ok(to)) if from <= to && to <= most => Some(Between { from, to }),
        _ => at.error(format!(
            "{min} to {max} is no range, expected one that ends at {most} at most"
        )),
    }
}
