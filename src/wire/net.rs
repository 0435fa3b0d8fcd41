//! IP addresses as bytes: 4 or 16 in network order.

use std::net::IpAddr;

/// `None` for any other number of bytes.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|ip| IpAddr::from(ip).to_canonical()))
        .ok()
}

/// As [`address`] reads them.
pub fn bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn an_address_has_4_or_16_bytes() {
        assert_eq!(address(&[127, 0, 0, 1]), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(address(&[0; 5]), None);
    }
}
