//! Ranges of addresses, as networks.

use std::net::IpAddr;

use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};

use super::{Packed, Unreadable};

/// The networks of a set of ranges; `address` reads one.
pub(in crate::dialect) fn networks(
    packed: &mut Packed<'_>,
    address: impl Fn(&mut Packed<'_>) -> Result<IpAddr, Unreadable>,
) -> Result<Vec<IpNet>, Unreadable> {
    match packed.byte()? {
        1 => {}
        version => return Err(Unreadable::Version(version)),
    }
    let mut all = Vec::new();
    for _ in 0..packed.length64()? {
        let (first, last) = (address(packed)?, address(packed)?);
        let networks = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                IpSubnets::V4(Ipv4Subnets::new(first, last, 0))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                IpSubnets::V6(Ipv6Subnets::new(first, last, 0))
            }
            _ => return Err(Unreadable::Damaged),
        };
        for network in networks {
            packed.spend()?;
            all.push(network);
        }
    }
    Ok(all)
}

/// An address of four or sixteen bytes.
pub(in crate::dialect) fn address(bytes: &[u8]) -> Result<IpAddr, Unreadable> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Ok(four.into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).map_err(|_| Unreadable::Damaged)?;
    Ok(IpAddr::from(sixteen).to_canonical())
}
