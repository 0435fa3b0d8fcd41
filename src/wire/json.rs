//! A message as JSON, in the form in which Xray's `api` commands print it.
//!
//! Names are protobuf's JSON names, keys are sorted, what has its default is left out. A message whose type its sender
//! names is opened, and its type stands beside its fields under `_TypedMessage_`; addresses and lists of ports are texts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use prost::encoding::{WireType, decode_key, decode_varint};
use prost::{DecodeError, Message};
use serde_json::{Map, Value, json};

use super::common::net::{IpOrDomain, ip_or_domain::Address};
use super::common::serial::TypedMessage;
use super::descriptors::{self, FieldDescription, MessageDescription, REPEATED};
use super::net;
use super::typed;
use super::xray::common::net::PortList;

/// The message of the full name `name` that `bytes` are.
///
/// # Errors
///
/// When they are no such message, or nothing is known of it.
pub fn message(name: &str, bytes: &[u8]) -> Result<Value, DecodeError> {
    value(name, bytes, MAX_DEPTH)
}

/// Messages in messages; of those that are known none comes near.
const MAX_DEPTH: usize = 32;

fn value(name: &str, bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    match typed::short(name) {
        "common.net.IPOrDomain" => return IpOrDomain::decode(bytes).map(|m| address(&m)),
        "common.net.PortList" => return PortList::decode(bytes).map(|m| ports(&m)),
        "common.serial.TypedMessage" => return opened(&TypedMessage::decode(bytes)?, depth),
        _ => {}
    }
    let described = described(name).ok_or_else(|| wrong("a message of an unknown type"))?;
    let depth = depth.checked_sub(1).ok_or_else(|| wrong("too deep"))?;
    let mut fields = BTreeMap::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, wire) = decode_key(&mut rest)?;
        let raw = Raw::read(wire, &mut rest)?;
        let field = described.field.iter().find(|f| f.number == number as i32);
        if let Some(field) = field {
            put(&mut fields, described, field, raw, depth)?;
        }
    }
    if SHOW_ZEROS.contains(&typed::short(name)) {
        let missing = described.field.iter().filter(|field| field.kind == INT64);
        for field in missing {
            fields.entry(json_name(&field.name)).or_insert(json!(0));
        }
    }
    Ok(Value::Object(Map::from_iter(fields)))
}

/// Those whose number is what was asked for, also when it is 0.
const SHOW_ZEROS: [&str; 2] = [
    "app.stats.command.Stat",
    "app.proxyman.command.GetInboundUsersCountResponse",
];

/// Messages that look alike in both programs may be described once.
fn described(name: &str) -> Option<&'static MessageDescription> {
    let short = typed::short(name);
    let alike = ["xray.", "v2ray.core.", "xray.core."].into_iter();
    let named = descriptors::message(name.rsplit('/').next().unwrap_or(name));
    named.or_else(|| {
        alike
            .map(|family| format!("{family}{short}"))
            .find_map(|name| descriptors::message(&name))
    })
}

fn put(
    fields: &mut BTreeMap<String, Value>,
    message: &MessageDescription,
    field: &FieldDescription,
    raw: Raw<'_>,
    depth: usize,
) -> Result<(), DecodeError> {
    if let Some(choice) = field.oneof_index {
        let choice = usize::try_from(choice).ok();
        let choice = choice.and_then(|index| message.oneof_decl.get(index));
        let choice = choice.map_or("", |choice| choice.name.as_str());
        // As Go prints what has no name in JSON.
        let name = match json_name(&field.name) {
            name if name == field.name => go_name(&name),
            name => name,
        };
        let value = scalar(field, &raw, depth)?.unwrap_or(Value::Null);
        fields.insert(go_name(choice), json!({name: value}));
        return Ok(());
    }
    let name = json_name(&field.name);
    if field.label != REPEATED {
        if let Some(value) = scalar(field, &raw, depth)? {
            fields.insert(name, value);
        }
        return Ok(());
    }
    let entry = Some(field).filter(|field| field.kind == MESSAGE);
    let entry = entry.and_then(|field| described(field.type_name.trim_start_matches('.')));
    if let (Some(entry), Raw::Bytes(bytes)) = (entry.filter(|e| e.is_map_entry()), &raw) {
        let mut pair = BTreeMap::new();
        let mut rest = *bytes;
        while !rest.is_empty() {
            let (number, wire) = decode_key(&mut rest)?;
            let raw = Raw::read(wire, &mut rest)?;
            if let Some(field) = entry.field.iter().find(|f| f.number == number as i32) {
                let value = scalar(field, &raw, depth)?;
                pair.insert(number, value.unwrap_or_else(|| zero(field)));
            }
        }
        let of = |number: u32| {
            let field = entry.field.iter().find(|f| f.number == number as i32);
            field.map_or(Value::Null, zero)
        };
        let key = pair.remove(&1).unwrap_or_else(|| of(1));
        let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        let value = pair.remove(&2).unwrap_or_else(|| of(2));
        let map = fields.entry(name).or_insert_with(|| json!({}));
        if let Value::Object(map) = map {
            map.insert(key, value);
        }
        return Ok(());
    }
    let mut more = Vec::new();
    match raw {
        // Several numbers in one piece.
        Raw::Bytes(mut packed) if packed_as(field.kind).is_some() => {
            while !packed.is_empty() {
                let wire = packed_as(field.kind).unwrap_or(WireType::Varint);
                let raw = Raw::read(wire, &mut packed)?;
                more.push(scalar(field, &raw, depth)?.unwrap_or_else(|| zero(field)));
            }
        }
        raw => more.push(scalar(field, &raw, depth)?.unwrap_or_else(|| zero(field))),
    }
    let list = fields.entry(name).or_insert_with(|| json!([]));
    if let Value::Array(list) = list {
        list.extend(more);
    }
    Ok(())
}

/// One value; `None` for the default.
fn scalar(
    field: &FieldDescription,
    raw: &Raw<'_>,
    depth: usize,
) -> Result<Option<Value>, DecodeError> {
    let type_name = field.type_name.trim_start_matches('.');
    let read = match (field.kind, raw) {
        (DOUBLE, Raw::Fixed64(bits)) => json!(f64::from_bits(*bits)),
        // The shortest text of a float is not that of the same number in 64 bits.
        (FLOAT, Raw::Fixed32(bits)) => {
            let text = f32::from_bits(*bits).to_string();
            text.parse::<f64>()
                .map_or(Value::Null, |number| json!(number))
        }
        (INT64, Raw::Varint(n)) => json!(*n as i64),
        (INT32, Raw::Varint(n)) => json!(*n as i32),
        (UINT64 | UINT32, Raw::Varint(n)) => json!(*n),
        (BOOL, Raw::Varint(n)) => json!(*n != 0),
        (SINT32 | SINT64, Raw::Varint(n)) => json!(((n >> 1) as i64) ^ -((n & 1) as i64)),
        (FIXED64, Raw::Fixed64(n)) => json!(*n),
        (SFIXED64, Raw::Fixed64(n)) => json!(*n as i64),
        (FIXED32, Raw::Fixed32(n)) => json!(*n),
        (SFIXED32, Raw::Fixed32(n)) => json!(*n as i32),
        (ENUM, Raw::Varint(n)) => {
            let known = descriptors::enumeration(type_name).or_else(|| alike(type_name));
            let known = known.and_then(|e| e.value.iter().find(|v| v.number == *n as i32));
            match known {
                _ if *n == 0 && field.label != REPEATED => return Ok(None),
                Some(word) => json!(word.name),
                None => json!(*n as i32),
            }
        }
        (STRING, Raw::Bytes(bytes)) => json!(String::from_utf8_lossy(bytes)),
        // Go prints numbers.
        (BYTES, Raw::Bytes(bytes)) => json!(bytes),
        (MESSAGE, Raw::Bytes(bytes)) => return value(type_name, bytes, depth).map(Some),
        _ => return Err(wrong("a field of another kind than is known")),
    };
    let is_default = read == json!("") || read == json!([]) || read == json!(false);
    let is_default = is_default || read.as_f64() == Some(0.0);
    let is_one = field.label != REPEATED && field.oneof_index.is_none();
    Ok(Some(read).filter(|_| !(is_default && is_one)))
}

fn alike(name: &str) -> Option<&'static descriptors::EnumDescription> {
    let short = typed::short(name);
    descriptors::enumeration(&format!("v2ray.core.{short}"))
}

fn zero(field: &FieldDescription) -> Value {
    match field.kind {
        STRING => json!(""),
        BOOL => json!(false),
        MESSAGE => json!({}),
        BYTES => json!([]),
        _ => json!(0),
    }
}

/// A message inside, with the name of its type.
fn opened(message: &TypedMessage, depth: usize) -> Result<Value, DecodeError> {
    let kind = json!(message.r#type);
    if described(&message.r#type).is_none() {
        // Nothing is known of it but its name.
        return Ok(json!({"_TypedMessage_": kind}));
    }
    let mut opened = value(&message.r#type, &message.value, depth)?;
    if let Value::Object(fields) = &mut opened {
        fields.insert("_TypedMessage_".to_owned(), kind);
    }
    Ok(opened)
}

fn address(message: &IpOrDomain) -> Value {
    match &message.address {
        Some(Address::Ip(bytes)) => match net::address(bytes) {
            Some(IpAddr::V6(ip)) => json!(format!("[{ip}]")),
            Some(ip) => json!(ip.to_string()),
            None => Value::Null,
        },
        Some(Address::Domain(name)) => json!(name),
        None => Value::Null,
    }
}

fn ports(message: &PortList) -> Value {
    match &message.range[..] {
        [one] if one.from == one.to => json!(one.from),
        ranges => {
            let texts = ranges.iter().map(|range| match range.from == range.to {
                true => range.from.to_string(),
                false => format!("{}-{}", range.from, range.to),
            });
            json!(texts.collect::<Vec<_>>().join(","))
        }
    }
}

/// `receiver_settings` is `receiverSettings`.
fn json_name(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + &go_name(part))
}

/// `target_tag` is `TargetTag`.
fn go_name(name: &str) -> String {
    let parts = name.split('_').map(|part| {
        let mut letters = part.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    parts.collect()
}

/// A value before its kind is known.
enum Raw<'b> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'b [u8]),
}

impl<'b> Raw<'b> {
    fn read(wire: WireType, rest: &mut &'b [u8]) -> Result<Self, DecodeError> {
        let mut take = |len: usize| {
            let (taken, left) = rest
                .split_at_checked(len)
                .ok_or_else(|| wrong("it is short"))?;
            *rest = left;
            Ok::<&'b [u8], DecodeError>(taken)
        };
        Ok(match wire {
            WireType::Varint => Self::Varint(decode_varint(rest)?),
            WireType::SixtyFourBit => {
                let bytes = take(8)?.try_into();
                Self::Fixed64(u64::from_le_bytes(bytes.map_err(|_| wrong("it is short"))?))
            }
            WireType::ThirtyTwoBit => {
                let bytes = take(4)?.try_into();
                Self::Fixed32(u32::from_le_bytes(bytes.map_err(|_| wrong("it is short"))?))
            }
            WireType::LengthDelimited => {
                let len = decode_varint(rest)?;
                let len = usize::try_from(len).map_err(|_| wrong("it is short"))?;
                let (taken, left) = rest
                    .split_at_checked(len)
                    .ok_or_else(|| wrong("it is short"))?;
                *rest = left;
                Self::Bytes(taken)
            }
            WireType::StartGroup | WireType::EndGroup => return Err(wrong("a group")),
        })
    }
}

/// How numbers stand in one piece; `None` for what is never packed.
fn packed_as(kind: i32) -> Option<WireType> {
    match kind {
        DOUBLE | FIXED64 | SFIXED64 => Some(WireType::SixtyFourBit),
        FLOAT | FIXED32 | SFIXED32 => Some(WireType::ThirtyTwoBit),
        STRING | BYTES | MESSAGE => None,
        _ => Some(WireType::Varint),
    }
}

fn wrong(text: &'static str) -> DecodeError {
    #[expect(deprecated, reason = "there is no other way to say what is wrong")]
    DecodeError::new(text)
}

// `FieldDescriptorProto.Type` of protobuf.
const DOUBLE: i32 = 1;
const FLOAT: i32 = 2;
const INT64: i32 = 3;
const UINT64: i32 = 4;
const INT32: i32 = 5;
const FIXED64: i32 = 6;
const FIXED32: i32 = 7;
const BOOL: i32 = 8;
const STRING: i32 = 9;
const MESSAGE: i32 = 11;
const BYTES: i32 = 12;
const UINT32: i32 = 13;
const ENUM: i32 = 14;
const SFIXED32: i32 = 15;
const SFIXED64: i32 = 16;
const SINT32: i32 = 17;
const SINT64: i32 = 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::app::stats::command::{GetStatsResponse, Stat};
    use crate::wire::common::net::{Network, PortRange};
    use crate::wire::common::protocol::User;
    use crate::wire::proxy::vmess::Account;
    use crate::wire::xray::app::router::{Config, RoutingRule, routing_rule::TargetTag};
    use crate::wire::xray::app::stats::command::GetStatsOnlineIpListResponse;
    use crate::wire::xray::common::geodata::{Cidr, CidrRule, IpRule, ip_rule};

    #[test]
    fn what_has_its_default_is_left_out_unless_it_was_asked_for() {
        let answer = GetStatsResponse {
            stat: Some(Stat {
                name: "a".to_owned(),
                value: 0,
            }),
        };
        let shown = message(
            "xray.app.stats.command.GetStatsResponse",
            &answer.encode_to_vec(),
        );
        assert_eq!(shown.unwrap(), json!({"stat": {"name": "a", "value": 0}}));
        let user = User::default().encode_to_vec();
        assert_eq!(
            message("xray.common.protocol.User", &user).unwrap(),
            json!({})
        );
    }

    #[test]
    fn a_message_inside_has_its_type_beside_it() {
        let account = Account {
            id: "an id".to_owned(),
            ..Account::default()
        };
        let account = typed::seal_xray("proxy.vmess.Account", &account);
        let user = |account| User {
            level: 1,
            email: "a@b.c".to_owned(),
            account: Some(account),
        };
        let shown = |account| {
            let bytes = user(account).encode_to_vec();
            message("xray.common.protocol.User", &bytes).unwrap()
        };
        assert_eq!(
            shown(account),
            json!({
                "level": 1, "email": "a@b.c",
                "account": {"_TypedMessage_": "xray.proxy.vmess.Account", "id": "an id"},
            })
        );
        let unknown = typed::seal_xray("proxy.nobody.Account", &());
        assert_eq!(
            shown(unknown)["account"],
            json!({"_TypedMessage_": "xray.proxy.nobody.Account"})
        );
    }

    #[test]
    fn ports_choices_and_words_are_as_go_prints_them() {
        let range = |from, to| PortRange { from, to };
        let cidr = Cidr {
            ip: vec![10, 0, 0, 0],
            prefix: 8,
        };
        let rule = RoutingRule {
            networks: vec![Network::Tcp.into(), Network::Udp.into()],
            port_list: Some(PortList {
                range: vec![range(53, 53), range(1000, 2000)],
            }),
            ip: vec![IpRule {
                value: Some(ip_rule::Value::Custom(CidrRule {
                    cidr: Some(cidr),
                    reverse_match: true,
                })),
            }],
            target_tag: Some(TargetTag::BalancingTag("all".to_owned())),
            ..RoutingRule::default()
        };
        let config = Config {
            rule: vec![rule],
            ..Config::default()
        };
        let shown = message("xray.app.router.Config", &config.encode_to_vec()).unwrap();
        assert_eq!(
            shown,
            json!({"rule": [{
                "networks": ["TCP", "UDP"],
                "portList": "53,1000-2000",
                "ip": [{"Value": {"Custom": {"cidr": {"ip": [10, 0, 0, 0], "prefix": 8}, "reverseMatch": true}}}],
                "TargetTag": {"balancingTag": "all"},
            }]})
        );
    }

    #[test]
    fn a_map_has_its_keys() {
        let answer = GetStatsOnlineIpListResponse {
            name: "a".to_owned(),
            ips: [("10.0.0.1".to_owned(), 7), ("[::1]".to_owned(), 0)].into(),
        };
        let name = "xray.app.stats.command.GetStatsOnlineIpListResponse";
        let shown = message(name, &answer.encode_to_vec()).unwrap();
        assert_eq!(
            shown,
            json!({"name": "a", "ips": {"10.0.0.1": 7, "[::1]": 0}})
        );
        assert!(message(name, &[0x0a, 5]).is_err());
        assert!(message("xray.nobody", &[]).is_err());
    }
}
