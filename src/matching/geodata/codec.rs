//! The bytes of `geoip.dat` and `geosite.dat`; `proto/geodata.proto` has the messages.
//!
//! ```text
//! message = field*
//! field   = varint (number << 3 | type) ‖ | 0: varint | 1: 8 bytes | 2: varint n, n bytes | 5: 4 bytes |
//! ```
//! A file is a list of categories, each a field of its own with the name in front, so those that are
//! not asked for are stepped over.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

use crate::matching::{Pattern, network};

/// The bytes are no list of categories.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("this is not geodata in V2Ray's format")]
pub struct Malformed;

/// One category of a file, not yet looked into.
#[derive(Clone, Copy, Debug)]
pub struct Category<'a> {
    /// In capitals.
    pub name: &'a str,
    body: &'a [u8],
}

/// The categories of a file.
pub fn categories(file: &[u8]) -> impl Iterator<Item = Result<Category<'_>, Malformed>> {
    Fields(file).filter_map(|field| match field {
        Ok((1, Value::Bytes(body))) => Some(name(body).map(|name| Category { name, body })),
        Ok(_) => None,
        Err(e) => Some(Err(e)),
    })
}

fn name(body: &[u8]) -> Result<&str, Malformed> {
    for field in Fields(body) {
        if let (1, Value::Bytes(name)) = field? {
            return str::from_utf8(name).map_err(|_| Malformed);
        }
    }
    // An empty text is not written at all.
    Ok("")
}

impl<'a> Category<'a> {
    /// Of a `geoip.dat`.
    pub fn networks(&self) -> Result<Vec<IpNet>, Malformed> {
        self.entries(2).map(|entry| network_of(entry?)).collect()
    }

    /// Of a `geosite.dat`: the patterns that have all of `marks`.
    pub fn patterns(&self, marks: &[&str]) -> Result<Vec<Pattern>, Malformed> {
        self.entries(2)
            .filter_map(|entry| entry.and_then(|e| pattern(e, marks)).transpose())
            .collect()
    }

    fn entries(&self, number: u64) -> impl Iterator<Item = Result<&'a [u8], Malformed>> {
        Fields(self.body).filter_map(move |field| match field {
            Ok((n, Value::Bytes(bytes))) if n == number => Some(Ok(bytes)),
            Ok(_) => None,
            Err(e) => Some(Err(e)),
        })
    }
}

fn network_of(bytes: &[u8]) -> Result<IpNet, Malformed> {
    let (mut ip, mut len) = (None, 0);
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(octets)) => {
                let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
                let v6 = <[u8; 16]>::try_from(octets).map(IpAddr::from);
                ip = Some(v4.or(v6).map_err(|_| Malformed)?);
            }
            (2, Value::Number(n)) => len = n,
            _ => {}
        }
    }
    let len = u8::try_from(len).map_err(|_| Malformed)?;
    network(ip.ok_or(Malformed)?, len).ok_or(Malformed)
}

fn pattern(bytes: &[u8], marks: &[&str]) -> Result<Option<Pattern>, Malformed> {
    let (mut kind, mut value) = (0, "");
    let mut missing = marks.to_vec();
    for field in Fields(bytes) {
        match field? {
            (1, Value::Number(n)) => kind = n,
            (2, Value::Bytes(text)) => value = str::from_utf8(text).map_err(|_| Malformed)?,
            (3, Value::Bytes(mark)) => {
                let key = name(mark)?;
                missing.retain(|m| !m.eq_ignore_ascii_case(key));
            }
            _ => {}
        }
    }
    if !missing.is_empty() {
        return Ok(None);
    }
    let make = match kind {
        0 => Pattern::Keyword,
        1 => Pattern::Regex,
        2 => Pattern::Domain,
        3 => Pattern::Full,
        _ => return Err(Malformed),
    };
    Ok(Some(make(value.to_owned())))
}

/// The fields of a message, in their order.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Eight or four bytes, which no message of ours has.
    Fixed,
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let n = self.varint()?;
                Value::Bytes(self.take(usize::try_from(n).ok()?)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            // What cannot be read is not read on.
            self.0 = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::parse_network;
    use hex_literal::hex;

    /// `CN`: 1.0.1.0/24 and 2001:250::/35; `US`: nothing.
    const IPS: &[u8] = &hex!(
        "0a 24 0a02434e 1208 0a0401000100 1018 1214 0a10 20010250000000000000000000000000 1023"
        "0a 04 0a025553"
    );

    #[test]
    fn networks_are_read_as_v2ray_writes_them() {
        let all: Vec<Category> = categories(IPS).map(Result::unwrap).collect();
        assert_eq!(all.iter().map(|c| c.name).collect::<Vec<_>>(), ["CN", "US"]);
        assert_eq!(
            all[0].networks().unwrap(),
            ["1.0.1.0/24", "2001:250::/35"].map(|t| parse_network(t).unwrap())
        );
        assert_eq!(all[1].networks().unwrap(), []);
    }

    #[test]
    fn patterns_are_read_with_their_marks() {
        // `A`: keyword x; regex y; domain a.cn @cn @ads; full b.cn @ads.
        let file = hex!(
            "0a 3d 0a0141"
            "12 03 120178"
            "12 05 0801 120179"
            "12 19 0802 1204612e636e 1a06 0a02636e1001 1a07 0a036164731001"
            "12 11 0803 1204622e636e 1a07 0a036164731001"
        );
        let all: Vec<Category> = categories(&file).map(Result::unwrap).collect();
        let patterns = |marks: &[&str]| all[0].patterns(marks).unwrap();
        let domain = Pattern::Domain("a.cn".into());
        let full = Pattern::Full("b.cn".into());
        assert_eq!(
            patterns(&[]),
            [
                Pattern::Keyword("x".into()),
                Pattern::Regex("y".into()),
                domain.clone(),
                full.clone()
            ]
        );
        assert_eq!(patterns(&["ads"]), [domain.clone(), full]);
        assert_eq!(patterns(&["ads", "CN"]), [domain]);
        assert_eq!(patterns(&["none"]), []);
    }

    #[test]
    fn a_file_that_is_cut_off_or_something_else_is_told() {
        for n in 1..IPS.len() {
            let whole = categories(&IPS[..n]).all(|c| c.is_ok());
            assert_eq!(whole, n == 38, "{n}");
        }
        assert!(categories(b"<!DOCTYPE html>").any(|c| c.is_err()));
    }
}
