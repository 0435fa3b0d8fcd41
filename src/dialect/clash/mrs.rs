//! mihomo's binary lists.
//!
//! ```text
//! zstd( "MRS" 1 · what it lists(u8): 0 names, 1 networks · entries(i64) · n(i64), n bytes of nothing yet · the names or networks )
//! ```
//!
//! `+.` in front of a name stands for all below it there, and the name itself is another entry.

use std::collections::HashSet;
use std::io::Read as _;

use ruzstd::decoding::StreamingDecoder;

use crate::dialect::clients::packed::{Budget, MOST, Packed, Unreadable, address, names, networks};

const MAGIC: &[u8; 4] = b"MRS\x01";

/// The lines that the same list has as a text.
pub(super) fn lines(
    bytes: &[u8],
    behavior: &str,
    budget: &Budget,
) -> Result<Vec<String>, Unreadable> {
    let plain = unpacked(bytes)?;
    let mut packed = Packed::new(&plain, budget);
    if packed.take(MAGIC.len())? != MAGIC {
        return Err(Unreadable::Damaged);
    }
    let is_names = match (packed.byte()?, behavior) {
        (0, "domain") => true,
        (1, "ipcidr") => false,
        _ => return Err(Unreadable::Damaged),
    };
    let _entries = packed.length64()?;
    let extra = packed.length64()?;
    packed.take(extra)?;
    match is_names {
        true => Ok(joined(names(&mut packed, Packed::length64)?)),
        false => {
            let networks = networks(&mut packed, |packed| address(packed.take(16)?))?;
            Ok(networks.iter().map(ToString::to_string).collect())
        }
    }
}

fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let decoder = StreamingDecoder::new(bytes).map_err(|_| Unreadable::Damaged)?;
    let mut plain = Vec::new();
    let mut limited = decoder.take(MOST as u64 + 1);
    let read = limited.read_to_end(&mut plain);
    match read {
        Ok(_) if plain.len() > MOST => Err(Unreadable::TooLarge),
        Ok(_) => Ok(plain),
        Err(_) => Err(Unreadable::Damaged),
    }
}

/// A name and all below it as one entry.
fn joined(names: Vec<String>) -> Vec<String> {
    let all: HashSet<&str> = names.iter().map(String::as_str).collect();
    let one = |name: &String| match name.strip_prefix("+.") {
        Some(inner) if !all.contains(inner) => Some(format!(".{inner}")),
        None if all.contains(&*format!("+.{name}")) => None,
        _ => Some(name.clone()),
    };
    names.iter().filter_map(one).collect()
}
