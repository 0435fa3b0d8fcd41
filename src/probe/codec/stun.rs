//! STUN, as much of it as tells what kind of NAT datagrams go through (RFC 8489, and CHANGE-REQUEST of RFC 5780).
//!
//! ```text
//! | type 2 | length 2 | 0x2112a442 | transaction 12 |   then attributes: | type 2 | length 2 | value, filled up to 4 |
//! ```

use std::net::{IpAddr, SocketAddr};

/// What kind of NAT there is, in the words of RFC 3489.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatType {
    /// Anybody may answer.
    FullCone,
    /// Any port of an address that was spoken to.
    RestrictedCone,
    /// Who was spoken to alone.
    PortRestrictedCone,
    /// And each sees another port.
    Symmetric,
    /// Nothing came back, or there is nobody to ask.
    Unknown,
}

impl NatType {
    /// As fronts know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::FullCone => "FullCone",
            Self::RestrictedCone => "RestrictedCone",
            Self::PortRestrictedCone => "PortRestrictedCone",
            Self::Symmetric => "Symmetric",
            Self::Unknown => "Unknown",
        }
    }
}

const COOKIE: u32 = 0x2112_a442;
const REQUEST: u16 = 0x0001;
const RESPONSE: u16 = 0x0101;
const MAPPED_ADDRESS: u16 = 0x0001;
const CHANGE_REQUEST: u16 = 0x0003;
const CHANGED_ADDRESS: u16 = 0x0005;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const OTHER_ADDRESS: u16 = 0x802c;

/// A question; the answer may be asked to come from another address, from another port, or both.
pub fn binding_request(transaction: &[u8; 12], other_ip: bool, other_port: bool) -> Vec<u8> {
    let change = u32::from(other_ip) << 2 | u32::from(other_port) << 1;
    let len: u16 = if change == 0 { 0 } else { 8 };
    let mut request = Vec::with_capacity(28);
    request.extend_from_slice(&REQUEST.to_be_bytes());
    request.extend_from_slice(&len.to_be_bytes());
    request.extend_from_slice(&COOKIE.to_be_bytes());
    request.extend_from_slice(transaction);
    if change != 0 {
        request.extend_from_slice(&CHANGE_REQUEST.to_be_bytes());
        request.extend_from_slice(&4_u16.to_be_bytes());
        request.extend_from_slice(&change.to_be_bytes());
    }
    request
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// From where the question came, as the server saw it.
    pub mapped: SocketAddr,
    /// Where else the server answers, if it does.
    pub other: Option<SocketAddr>,
}

impl Binding {
    /// Reads a datagram that answers `transaction`; whatever else comes is none.
    pub fn decode(datagram: &[u8], transaction: &[u8; 12]) -> Option<Self> {
        let (head, attributes) = datagram.split_first_chunk::<20>()?;
        let is_answer = head[..2] == RESPONSE.to_be_bytes() && head[8..] == transaction[..];
        if !is_answer {
            return None;
        }
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let mut rest = attributes.get(..len)?;
        let (mut mapped, mut plain, mut other) = (None, None, None);
        while let Some((head, more)) = rest.split_first_chunk::<4>() {
            let kind = u16::from_be_bytes([head[0], head[1]]);
            let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let value = more.get(..len)?;
            match kind {
                XOR_MAPPED_ADDRESS => mapped = address(value, Some(transaction)),
                MAPPED_ADDRESS => plain = address(value, None),
                CHANGED_ADDRESS | OTHER_ADDRESS => other = address(value, None),
                _ => {}
            }
            rest = more.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        let mapped = mapped.or(plain)?;
        Some(Self { mapped, other })
    }
}

/// `| 0 | family 1 | port 2 | address |`; with a transaction it is hidden from those who would mend it.
fn address(value: &[u8], hidden_by: Option<&[u8; 12]>) -> Option<SocketAddr> {
    let (head, ip) = value.split_first_chunk::<4>()?;
    let mut mask = [0; 16];
    if let Some(transaction) = hidden_by {
        mask[..4].copy_from_slice(&COOKIE.to_be_bytes());
        mask[4..].copy_from_slice(transaction);
    }
    let port = u16::from_be_bytes([head[2] ^ mask[0], head[3] ^ mask[1]]);
    let ip: IpAddr = match head[1] {
        1 => {
            let mut octets: [u8; 4] = ip.try_into().ok()?;
            octets
                .iter_mut()
                .zip(mask)
                .for_each(|(octet, mask)| *octet ^= mask);
            octets.into()
        }
        2 => {
            let mut octets: [u8; 16] = ip.try_into().ok()?;
            octets
                .iter_mut()
                .zip(mask)
                .for_each(|(octet, mask)| *octet ^= mask);
            octets.into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// RFC 5769, sections 2.2 and 2.3.
    #[test]
    fn the_answers_of_the_rfc_are_read() {
        let transaction = hex!("b7e7a701bc34d686fa87dfae");
        let answer = hex!("0101000c 2112a442 b7e7a701bc34d686fa87dfae 00200008 0001a147e112a643");
        let binding = Binding::decode(&answer, &transaction).unwrap();
        assert_eq!(binding.mapped, "192.0.2.1:32853".parse().unwrap());
        let answer = hex!(
            "01010018 2112a442 b7e7a701bc34d686fa87dfae 00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
        );
        let binding = Binding::decode(&answer, &transaction).unwrap();
        assert_eq!(
            binding.mapped,
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
                .parse()
                .unwrap()
        );
        assert_eq!(Binding::decode(&answer, &[0; 12]), None);
        assert_eq!(Binding::decode(&answer[..40], &transaction), None);
    }

    #[test]
    fn a_question_may_ask_for_another_sender() {
        let plain = binding_request(&[7; 12], false, false);
        assert_eq!(plain, hex!("0001 0000 2112a442 070707070707070707070707"));
        let both = binding_request(&[7; 12], true, true);
        assert_eq!(both[20..], hex!("0003 0004 00000006"));
    }
}
