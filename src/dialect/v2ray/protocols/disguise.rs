//! `fragment` and `noises` of a `freedom` outbound.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use crate::dialect::v2ray::json::{Node, Object, Setting, found, one_of};
use crate::io::fragment::{Between, Cut, Fragment, LONGEST_PAUSE_MS};
use crate::protocol::freedom::{Content, Family, LARGEST_DATAGRAM, MOST_NOISES, Noise};

pub(super) fn fragment(node: &Node) -> Option<Fragment> {
    let object = node.object()?;
    let cut = match object.get("packets") {
        None => Some(Cut::All),
        Some(node) => packets(&node),
    };
    let length = object.require_node("length");
    let length = length.and_then(|node| length_of(&node, u32::MAX));
    let interval = object.require_node("interval");
    let interval = interval.and_then(|node| pause(&node));
    let max_split = object.read_or("maxSplit", Between::default());
    object.finish();
    Some(Fragment {
        cut: cut?,
        length: length?,
        more_lengths: Vec::new(),
        interval: interval?,
        more_intervals: Vec::new(),
        max_split,
        then: None,
    })
}

/// The same with `finalmask`'s words: pieces may have lengths and pauses of their own.
pub(in crate::dialect::v2ray) fn of_mask(node: &Node) -> Option<Fragment> {
    let object = node.object()?;
    let cut = match object.get("packets") {
        None => Some(Cut::All),
        Some(node) => packets(&node),
    };
    let lengths = each(&object, ["lengths", "length"]);
    let pauses = each(&object, ["delays", "delay"]);
    let max_split = object.read_or("maxSplit", Between::default());
    let whole = object.node.clone();
    object.finish();
    for (node, pause) in &pauses {
        at_most(node, *pause, LONGEST_PAUSE_MS, "milliseconds")?;
    }
    let Some((node, last)) = lengths.last() else {
        whole.error("`length` is missing");
        return None;
    };
    if last.from == 0 {
        node.error("the last length begins at 0, expected at least one byte");
        return None;
    }
    let numbers = |all: Vec<(Node, Between)>| -> Vec<Between> {
        all.into_iter().map(|(_, numbers)| numbers).collect()
    };
    let (lengths, pauses) = (numbers(lengths), numbers(pauses));
    let (length, more_lengths) = lengths.split_first()?;
    let (interval, more_intervals) = match pauses.split_first() {
        Some((interval, more)) => (*interval, more.to_vec()),
        None => (Between::default(), Vec::new()),
    };
    Some(Fragment {
        cut: cut?,
        length: *length,
        more_lengths: more_lengths.to_vec(),
        interval,
        more_intervals,
        max_split,
        then: None,
    })
}

/// What the list says, if anything is in it, or the single one.
fn each<'a>(object: &Object<'a>, [list, one]: [&'static str; 2]) -> Vec<(Node<'a>, Between)> {
    let one = object.get(one);
    let mut nodes = object.array(list);
    if nodes.is_empty() {
        nodes.extend(one);
    }
    let read = |node: Node<'a>| node.read().map(|numbers| (node, numbers));
    nodes.into_iter().filter_map(read).collect()
}

/// `tlshello`, nothing for every write, or which of them.
fn packets(node: &Node) -> Option<Cut> {
    let text: String = node.read()?;
    match text.to_ascii_lowercase().as_str() {
        "tlshello" => return Some(Cut::TlsHello),
        "" => return Some(Cut::All),
        _ => {}
    }
    let Some((from, to)) = range(&text) else {
        node.error(format!(
            "{} is neither `tlshello` nor a number of writes, expected something like `1-3`",
            found(node.value)
        ));
        return None;
    };
    if from == 0 {
        node.error("writes are counted from 1");
        return None;
    }
    if from > to {
        node.error(format!(
            "the range `{text}` ends before it begins, and nothing would be cut"
        ));
        return None;
    }
    Some(Cut::Writes { from, to })
}

pub(super) fn noises(settings: &Object) -> Arc<[Noise]> {
    let nodes = settings.array("noises");
    if let Some(node) = nodes.get(MOST_NOISES) {
        node.error(format!(
            "at most {MOST_NOISES} are sent in front of a datagram"
        ));
        return Arc::default();
    }
    let each = nodes.iter().filter_map(|node| {
        let object = node.object()?;
        let noise = noise(&object);
        object.finish();
        noise
    });
    each.collect()
}

fn noise(object: &Object) -> Option<Noise> {
    let kinds = [
        ("rand", Kind::Rand),
        ("str", Kind::Str),
        ("hex", Kind::Hex),
        ("base64", Kind::Base64),
    ];
    let kind = object.require_node("type");
    let kind = kind.and_then(|node| one_of(&node, &kinds));
    let node = object.require_node("packet");
    let packet = node.and_then(|node| content(&node, kind?));
    let delay = match object.get("delay") {
        None => Some(Between::default()),
        Some(node) => pause(&node),
    };
    let families = [
        ("", Family::Any),
        ("ip", Family::Any),
        ("all", Family::Any),
        ("ipv4", Family::V4),
        ("ipv6", Family::V6),
    ];
    let to = match object.get("applyTo") {
        None => Some(Family::Any),
        Some(node) => one_of(&node, &families),
    };
    Some(Noise {
        packet: packet?,
        delay: delay?,
        to: to?,
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Rand,
    Str,
    Hex,
    Base64,
}

fn content(node: &Node, kind: Kind) -> Option<Content> {
    if let Kind::Rand = kind {
        return length_of(node, LARGEST_DATAGRAM).map(Content::Random);
    }
    let text: String = node.read()?;
    let text = text.trim();
    let (bytes, form) = match kind {
        Kind::Hex => (from_hex(text), "hexadecimal digits, two for each byte"),
        Kind::Base64 => (from_base64(text), "base64"),
        Kind::Rand | Kind::Str => (Some(text.as_bytes().to_vec()), "text"),
    };
    let Some(bytes) = bytes else {
        node.error(format!(
            "{} is not what `type` says, expected {form}",
            found(node.value)
        ));
        return None;
    };
    if bytes.len() > LARGEST_DATAGRAM as usize {
        let len = bytes.len();
        node.error(format!(
            "{len} bytes, a datagram has room for {LARGEST_DATAGRAM}"
        ));
        return None;
    }
    Some(Content::Given(bytes.into()))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| Some(c.to_digit(16)? as u8)).collect();
    let digits = digits?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// In either alphabet, with or without padding, as Xray.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.replace('-', "+").replace('_', "/").replace('=', "");
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&STANDARD, config).decode(text).ok()
}

/// A length, which is never 0.
fn length_of(node: &Node, most: u32) -> Option<Between> {
    let length: Between = node.read()?;
    if length.from == 0 {
        node.error(format!(
            "{} begins at 0, expected at least one byte",
            found(node.value)
        ));
        return None;
    }
    at_most(node, length, most, "bytes")
}

fn pause(node: &Node) -> Option<Between> {
    let pause: Between = node.read()?;
    at_most(node, pause, LONGEST_PAUSE_MS, "milliseconds")
}

fn at_most(node: &Node, numbers: Between, most: u32, unit: &str) -> Option<Between> {
    if numbers.to > most {
        node.error(format!("{} is more than {most} {unit}", found(node.value)));
        return None;
    }
    Some(numbers)
}

/// `5` or `"1-5"`; the larger one may come first, and nothing is 0, as in Xray.
impl Setting for Between {
    fn parse(value: &Value) -> Result<Self, String> {
        let numbers = match value {
            Value::Number(number) => {
                let number = number.as_u64().and_then(|n| n.try_into().ok());
                number.map(|n: u32| (n, n))
            }
            Value::String(text) if text.is_empty() => Some((0, 0)),
            Value::String(text) => range(text),
            _ => None,
        };
        let numbers = numbers.filter(|(a, b)| (*a).max(*b) <= i32::MAX.unsigned_abs());
        let Some((a, b)) = numbers else {
            let found = found(value);
            return Err(format!(
                "{found} is no range, expected a number or something like `10-20`"
            ));
        };
        Ok(Self {
            from: a.min(b),
            to: a.max(b),
        })
    }
}

fn range(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| {
        let is_plain = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| is_plain)
    };
    match text.split_once('-') {
        None => number(text).map(|n| (n, n)),
        Some((a, b)) => Some((number(a)?, number(b)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::freedom::outbound;
    use super::*;
    use crate::testing::settings;
    use serde_json::json;

    #[test]
    fn a_fragment_is_read_as_xray_reads_it() {
        let read = |value: Value| {
            let (outbound, said) = settings::read(&json!({"fragment": value}), outbound);
            assert_eq!(said, [""; 0], "{value}");
            outbound.unwrap().fragment.unwrap()
        };
        let usual = json!({"packets": "TLSHello", "length": "100-200", "interval": "10-20", "maxSplit": "3-5"});
        let expected = Fragment {
            cut: Cut::TlsHello,
            length: Between { from: 100, to: 200 },
            more_lengths: Vec::new(),
            more_intervals: Vec::new(),
            interval: Between { from: 10, to: 20 },
            max_split: Between { from: 3, to: 5 },
            then: None,
        };
        assert_eq!(read(usual), expected);
        let turned = read(json!({"packets": "1-3", "length": "9-2", "interval": 0}));
        assert_eq!(turned.cut, Cut::Writes { from: 1, to: 3 });
        assert_eq!(turned.length, Between { from: 2, to: 9 });
        assert_eq!(turned.interval, Between::default());
        let all = read(json!({"length": 5, "interval": ""}));
        assert_eq!(all.cut, Cut::All);
        let second = read(json!({"packets": "2", "length": 5, "interval": 1}));
        assert_eq!(second.cut, Cut::Writes { from: 2, to: 2 });
    }

    #[test]
    fn noises_are_read_in_every_form() {
        let noises = json!([
            {"type": "rand", "packet": "10-20", "delay": "5-9", "applyTo": "ipv4"},
            {"type": "str", "packet": " hello "},
            {"type": "hex", "packet": "00fF", "applyTo": "all"},
            {"type": "base64", "packet": "_-8="},
        ]);
        let (outbound, said) = settings::read(&json!({"noises": noises}), outbound);
        assert_eq!(said, [""; 0]);
        let noises = outbound.unwrap().noises;
        assert_eq!(
            noises[0].packet,
            Content::Random(Between { from: 10, to: 20 })
        );
        assert_eq!(noises[0].delay, Between { from: 5, to: 9 });
        let families: Vec<_> = noises.iter().map(|noise| noise.to).collect();
        assert_eq!(
            families,
            [Family::V4, Family::Any, Family::Any, Family::Any]
        );
        let given: [&[u8]; 3] = [b"hello", &[0, 255], &[255, 239]];
        for (noise, bytes) in noises[1..].iter().zip(given) {
            assert_eq!(noise.packet, Content::Given(bytes.into()));
        }
    }

    #[test]
    fn mistakes_have_their_place() {
        let fragment = |key: &str, value: Value| {
            let mut fragment = json!({"packets": "tlshello", "length": "1-2", "interval": 0});
            fragment[key] = value;
            json!({ "fragment": fragment })
        };
        let noise = |value: Value| json!({ "noises": [value] });
        for (value, expected) in [
            (
                fragment("packets", json!("hello")),
                "fragment.packets: `hello` is neither `tlshello` nor a number of writes",
            ),
            (
                fragment("packets", json!("0-3")),
                "fragment.packets: writes are counted from 1",
            ),
            (
                fragment("packets", json!("3-1")),
                "fragment.packets: the range `3-1` ends before it begins",
            ),
            (
                fragment("length", json!(0)),
                "fragment.length: the number 0 begins at 0",
            ),
            (
                fragment("length", json!("5-0")),
                "fragment.length: `5-0` begins at 0",
            ),
            (
                fragment("length", json!("-5")),
                "fragment.length: `-5` is no range",
            ),
            (
                fragment("length", json!([1])),
                "fragment.length: an array is no range",
            ),
            (fragment("length", Value::Null), "`length` is missing"),
            (
                fragment("interval", json!("1-60001")),
                "fragment.interval: `1-60001` is more than 60000 milliseconds",
            ),
            (
                fragment("maxSplit", json!("a")),
                "fragment.maxSplit: `a` is no range",
            ),
            (fragment("max", json!(1)), "fragment.max"),
            (
                noise(json!({"type": "rnd", "packet": "1"})),
                "noises[0].type: `rnd`",
            ),
            (
                noise(json!({"type": "rand", "packet": "0"})),
                "noises[0].packet: `0` begins at 0",
            ),
            (
                noise(json!({"type": "rand", "packet": "70000"})),
                "more than 65507 bytes",
            ),
            (
                noise(json!({"type": "hex", "packet": "abc"})),
                "expected hexadecimal digits",
            ),
            (
                noise(json!({"type": "base64", "packet": "!"})),
                "expected base64",
            ),
            (noise(json!({"type": "str"})), "`packet` is missing"),
            (
                noise(json!({"type": "str", "packet": "a", "applyTo": "v4"})),
                "noises[0].applyTo: `v4`",
            ),
            (json!({"noise": {"type": "rand"}}), "write `noises`"),
        ] {
            let (_, said) = settings::read(&value, outbound);
            assert!(
                said.iter().any(|text| text.contains(expected)),
                "{value}: {said:?}"
            );
        }
    }
}
