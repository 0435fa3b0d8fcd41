//! Messages of DNS (RFC 1035), as far as addresses go; hickory-proto knows their bytes.
//!
//! A question to a server asks for one family of addresses of one name. With a client's address it
//! carries EDNS Client Subnet (RFC 7871), cut to /24 or /96 as V2Ray cuts it. Of a reply only the
//! addresses count; the aliases that led to them are not kept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use thiserror::Error;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

/// The addresses of one family of a name in lower case, without a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub name: String,
    pub family: Family,
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The response code; 0 is success, 3 says that there is no such name.
    pub code: u16,
    pub ips: Vec<IpAddr>,
    /// For how many seconds it holds; at most [`MAX_TTL`].
    pub ttl: u32,
    /// The reply was cut short; the whole can be had over TCP.
    pub truncated: bool,
}

/// A question of somebody else's, which asks for addresses and can be answered by [`Asked::answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub question: Question,
    id: u16,
    query: Query,
    /// The longest answer over UDP that the asker takes.
    limit: usize,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum CodecError {
    #[error("`{0}` cannot be asked for: {1}")]
    Name(String, String),
    #[error("its reply is malformed")]
    Unreadable,
    #[error("it sent a question in place of a reply")]
    NotAReply,
    #[error("its reply is to another question")]
    OtherQuestion,
}

/// Addresses of one reply that are kept: more than anybody tries, and the cache holds many replies.
const MAX_ADDRESSES: usize = 64;

/// V2Ray keeps an answer for at most ten minutes.
pub const MAX_TTL: u32 = 600;

/// How long "there is none" holds when the server does not say so itself.
const NEGATIVE_TTL: u32 = 60;

/// What V2Ray says it takes over UDP when it sends EDNS.
const UDP_PAYLOAD: u16 = 1350;

impl Question {
    /// The message that asks a server for this.
    pub fn encode(&self, id: u16, client: Option<IpAddr>) -> Result<Vec<u8>, CodecError> {
        let wrong = |e: ProtoError| CodecError::Name(self.name.clone(), e.to_string());
        let mut name = Name::from_ascii(&self.name).map_err(wrong)?;
        name.set_fqdn(true);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name, self.family.record_type()));
        if let Some(ip) = client {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_PAYLOAD);
            edns.options_mut()
                .insert(EdnsOption::Subnet(subnet(ip.to_canonical())));
            message.set_edns(edns);
        }
        message.to_vec().map_err(wrong)
    }

    /// What a server's message says to this question.
    pub fn decode(&self, bytes: &[u8]) -> Result<Reply, CodecError> {
        // What hickory has to say of it would show names as the server has them, which have yet to be looked at.
        let message = Message::from_vec(bytes).map_err(|_| CodecError::Unreadable)?;
        if message.metadata.message_type != MessageType::Response {
            return Err(CodecError::NotAReply);
        }
        // Some servers leave the question out when they refuse it.
        if !message.queries.is_empty() && !message.queries.iter().all(|q| self.is(q)) {
            return Err(CodecError::OtherQuestion);
        }
        let ips: Vec<IpAddr> = message
            .answers
            .iter()
            .filter_map(|record| self.family.address(&record.data))
            .take(MAX_ADDRESSES)
            .collect();
        let ttl = if ips.is_empty() {
            negative_ttl(&message)
        } else {
            let ttls = message.answers.iter().map(|record| record.ttl);
            ttls.min().unwrap_or(MAX_TTL)
        };
        Ok(Reply {
            code: message.metadata.response_code.into(),
            ips,
            ttl: ttl.min(MAX_TTL),
            truncated: message.metadata.truncation,
        })
    }

    fn is(&self, query: &Query) -> bool {
        query.query_type == self.family.record_type() && plain(&query.name) == self.name
    }
}

impl Family {
    fn record_type(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }

    fn address(self, data: &RData) -> Option<IpAddr> {
        match (self, data) {
            (Self::V4, RData::A(ip)) => Some(ip.0.into()),
            (Self::V6, RData::AAAA(ip)) => Some(ip.0.into()),
            _ => None,
        }
    }
}

impl Asked {
    /// `None` for anything but one question for addresses: other kinds, other classes, junk.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let message = Message::from_vec(bytes).ok()?;
        let metadata = &message.metadata;
        let [query] = &message.queries[..] else {
            return None;
        };
        let family = match query.query_type {
            RecordType::A => Family::V4,
            RecordType::AAAA => Family::V6,
            _ => return None,
        };
        let name = plain(&query.name);
        let fits = metadata.message_type == MessageType::Query
            && metadata.op_code == OpCode::Query
            && query.query_class == DNSClass::IN
            && is_a_host_name(&name);
        fits.then(|| Self {
            question: Question { name, family },
            id: metadata.id,
            query: query.clone(),
            limit: message.max_payload().max(512).into(),
        })
    }

    /// A reply with these addresses. What a datagram has no room for is left out: any address will do.
    pub fn answer(&self, code: u16, ips: &[IpAddr], ttl: u32, datagram: bool) -> Vec<u8> {
        let mut message = response(self.id, OpCode::Query);
        message.metadata.response_code = ResponseCode::from_low((code & 0x0f) as u8);
        message.add_query(self.query.clone());
        let records = ips.iter().filter_map(|ip| {
            let data = match (ip, self.question.family) {
                (IpAddr::V4(ip), Family::V4) => RData::A((*ip).into()),
                (IpAddr::V6(ip), Family::V6) => RData::AAAA((*ip).into()),
                _ => return None,
            };
            Some(Record::from_rdata(self.query.name.clone(), ttl, data))
        });
        message.answers.extend(records);
        let limit = if datagram { self.limit } else { LONGEST };
        loop {
            let bytes = message.to_vec().unwrap_or_default();
            if bytes.len() <= limit || message.answers.pop().is_none() {
                return bytes;
            }
        }
    }
}

/// What a message of somebody else's asks for, whatever that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The type, 1 for A.
    pub number: u16,
    /// In lower case, without a dot at its end.
    pub name: String,
}

impl Kind {
    /// The one question of a query; `None` where there is none, or another behind which it would pass unseen.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let message = Message::from_vec(bytes).ok()?;
        let [query] = &message.queries[..] else {
            return None;
        };
        let is_query = message.metadata.message_type == MessageType::Query;
        is_query.then(|| Self {
            number: query.query_type.into(),
            name: plain(&query.name),
        })
    }

    /// Whether it is addresses that are asked for.
    pub fn is_of_addresses(&self) -> bool {
        [RecordType::A, RecordType::AAAA]
            .map(u16::from)
            .contains(&self.number)
    }
}

/// The reply to whatever `query` asks that has only this code, of which four bits have room; `None` when it is no query.
pub fn bare_reply(query: &[u8], code: u16) -> Option<Vec<u8>> {
    let asked = Message::from_vec(query).ok()?;
    if asked.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut message = response(asked.metadata.id, asked.metadata.op_code);
    message.metadata.response_code = ResponseCode::from_low((code & 0x0f) as u8);
    message.queries = asked.queries;
    message.to_vec().ok()
}

fn response(id: u16, op_code: OpCode) -> Message {
    let mut message = Message::new(id, MessageType::Response, op_code);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message
}

/// The longest message there can be (RFC 1035, section 4.2.2).
pub const LONGEST: usize = u16::MAX as usize;

/// In lower case, without a dot at the end.
fn plain(name: &Name) -> String {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

fn is_a_host_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !name.is_empty() && name.bytes().all(allowed)
}

/// RFC 2308: the smaller of the SOA's own time and of its last field.
fn negative_ttl(message: &Message) -> u32 {
    let soa = message.authorities.iter().find_map(|r| match &r.data {
        RData::SOA(soa) => Some(soa.minimum.min(r.ttl)),
        _ => None,
    });
    soa.unwrap_or(NEGATIVE_TTL)
}

fn subnet(ip: IpAddr) -> ClientSubnet {
    match ip {
        IpAddr::V4(ip) => {
            let ip = Ipv4Addr::from_bits(ip.to_bits() & !0xff);
            ClientSubnet::new(ip.into(), 24, 0)
        }
        IpAddr::V6(ip) => {
            let ip = Ipv6Addr::from_bits(ip.to_bits() & !0xffff_ffff);
            ClientSubnet::new(ip.into(), 96, 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn a_second_question_leaves_a_message_without_a_kind() {
        let one = hex!("0007 0100 0001 0000 0000 0000 01 61 00 0001 0001");
        let two = hex!("0007 0100 0002 0000 0000 0000 01 61 00 0010 0001 01 62 00 0001 0001");
        assert!(Kind::decode(&one).is_some_and(|kind| kind.is_of_addresses()));
        assert!(Message::from_vec(&two).is_ok());
        assert_eq!(Kind::decode(&two), None);
    }

    #[test]
    fn a_question_has_the_bytes_that_v2ray_sends() {
        let question = ask("a.com", Family::V4);
        assert_eq!(
            question.encode(7, None).unwrap(),
            hex!("0007 0100 0001 0000 0000 0000 01 61 03 636f6d 00 0001 0001")
        );
    }

    #[test]
    fn the_clients_network_is_told_as_v2ray_tells_it() {
        let subnet = |ip: &str| {
            let bytes = ask("a.com", Family::V4).encode(0, Some(ip.parse().unwrap()));
            bytes.unwrap()[12 + 11..].to_vec()
        };
        // V2Ray also asks for signatures (the flag 0x8000), which are not read here.
        assert_eq!(
            subnet("1.2.3.4"),
            hex!("00 0029 0546 00000000 000b 0008 0007 0001 18 00 010203")
        );
        assert_eq!(
            subnet("2001:db8:1:2:3:4:5:6"),
            hex!("00 0029 0546 00000000 0014 0008 0010 0002 60 00 20010db80001000200030004")
        );
    }

    #[test]
    fn addresses_behind_an_alias_are_the_answer() {
        // cn.com is an alias of a.com, which has an address for 30 seconds.
        let bytes = hex!(
            "0007 8180 0001 0002 0000 0000 02 636e 03 636f6d 00 0001 0001
             02 636e 03 636f6d 00 0005 0001 0000003c 0007 01 61 03 636f6d 00
             01 61 03 636f6d 00 0001 0001 0000001e 0004 09090909"
        );
        let reply = ask("cn.com", Family::V4).decode(&bytes).unwrap();
        assert_eq!(reply.ips, [IpAddr::from([9, 9, 9, 9])]);
        assert_eq!((reply.code, reply.ttl), (0, 30));
        assert_eq!(
            ask("other.com", Family::V4).decode(&bytes),
            Err(CodecError::OtherQuestion)
        );
        assert_eq!(
            ask("cn.com", Family::V6).decode(&bytes),
            Err(CodecError::OtherQuestion)
        );
        for n in 0..bytes.len() {
            assert!(
                ask("cn.com", Family::V4).decode(&bytes[..n]).is_err(),
                "{n}"
            );
        }
    }

    #[test]
    fn a_name_that_is_not_there_is_remembered_as_long_as_its_zone_says() {
        let bytes = hex!(
            "0007 8183 0001 0000 0001 0000 01 78 03 636f6d 00 0001 0001
             03 636f6d 00 0006 0001 00000384 0016 00 00 00000001 00000001 00000001 00000001 0000000f"
        );
        let reply = ask("x.com", Family::V4).decode(&bytes).unwrap();
        assert_eq!((reply.code, reply.ttl), (3, 15));
        assert!(reply.ips.is_empty());
    }

    #[test]
    fn a_question_of_somebody_else_is_answered_in_its_own_words() {
        let query = hex!("1234 0100 0001 0000 0000 0000 01 41 03 636f6d 00 0001 0001");
        let asked = Asked::decode(&query).unwrap();
        assert_eq!(asked.question, ask("a.com", Family::V4));
        let ips = ["1.2.3.4".parse().unwrap(), "::1".parse().unwrap()];
        // The bytes of V2Ray's answer to the same question.
        assert_eq!(
            asked.answer(0, &ips, 600, true),
            hex!(
                "1234 8180 0001 0001 0000 0000 01 41 03 636f6d 00 0001 0001
                  c00c 0001 0001 00000258 0004 01020304"
            )
        );
        assert_eq!(
            asked.answer(3, &[], 600, true),
            hex!("1234 8183 0001 0000 0000 0000 01 41 03 636f6d 00 0001 0001")
        );
    }

    #[test]
    fn an_answer_fits_the_datagram_it_travels_in() {
        let query = hex!("1234 0100 0001 0000 0000 0000 01 61 03 636f6d 00 0001 0001");
        let ips: Vec<IpAddr> = (0..100).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let asked = Asked::decode(&query).unwrap();
        let answers = |datagram| {
            let bytes = asked.answer(0, &ips, 1, datagram);
            assert!(!datagram || bytes.len() <= 512);
            asked.question.decode(&bytes).unwrap().ips.len()
        };
        assert_eq!(answers(true), 30);
        // Of more, no more are kept.
        assert_eq!(answers(false), MAX_ADDRESSES);
    }

    #[test]
    fn what_asks_for_anything_else_is_left_to_others() {
        let text = hex!("1234 0100 0001 0000 0000 0000 01 61 03 636f6d 00 0010 0001");
        let chaos = hex!("1234 0100 0001 0000 0000 0000 01 61 03 636f6d 00 0001 0003");
        let reply = hex!("1234 8180 0001 0000 0000 0000 01 61 03 636f6d 00 0001 0001");
        let space = hex!("1234 0100 0001 0000 0000 0000 01 20 03 636f6d 00 0001 0001");
        for bytes in [&text[..], &chaos, &reply, &space, &[], &text[..20]] {
            assert_eq!(Asked::decode(bytes), None, "{bytes:02x?}");
        }
        assert_eq!(
            bare_reply(&text, 5).unwrap(),
            hex!("1234 8185 0001 0000 0000 0000 01 61 03 636f6d 00 0010 0001")
        );
        assert_eq!(bare_reply(&reply, 5), None);
        let kind = Kind::decode(&text).unwrap();
        assert_eq!((kind.number, &*kind.name), (16, "a.com"));
        for bytes in [&reply[..], &[], &text[..20], &[0; 12]] {
            assert_eq!(Kind::decode(bytes), None, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_name_that_no_message_can_hold_is_a_mistake_of_the_asker() {
        for name in ["a..b".to_owned(), "x".repeat(64)] {
            let error = ask(&name, Family::V4).encode(0, None).unwrap_err();
            assert!(matches!(error, CodecError::Name(..)), "{error}");
        }
    }

    fn ask(name: &str, family: Family) -> Question {
        Question {
            name: name.to_owned(),
            family,
        }
    }
}
