//! BitTorrent: the handshake of a TCP connection (BEP 3), and the packet that opens one over UDP, uTP
//! (BEP 29).
//!
//! ```text
//! | 0x13 | "BitTorrent protocol" | ...
//! | type 4 ‖ version 1: 0x41 | extension 1 | id 2 | timestamp 4 | difference 4: 0 | window 4 | seq 2 | ack 2: 0 |
//! extension: | next 1 | length 1 | ... |
//! ```

use super::{Found, Sniffed, begins};

const HANDSHAKE: &[u8] = b"\x13BitTorrent protocol";

/// `ST_SYN` of version 1.
const SYN: u8 = 0x41;

const UTP_HEADER: usize = 20;

pub(super) fn sniff(data: &[u8]) -> Sniffed {
    // Its letters have a case, the test for a prefix does not look at it.
    match begins(data, HANDSHAKE) {
        Ok(()) if data.starts_with(HANDSHAKE) => found(),
        Ok(()) => Sniffed::No,
        Err(answer) => answer,
    }
}

/// V2Ray takes any packet of uTP, but for a comparison of clocks that never comes out true, so that it
/// finds none. Only the packet that opens a connection cannot be mistaken for a DNS query or a call.
pub(super) fn sniff_utp(datagram: &[u8]) -> Sniffed {
    let Some(header) = datagram.first_chunk::<UTP_HEADER>() else {
        return Sniffed::No;
    };
    let opens = header[0] == SYN && header[8..12] == [0; 4] && header[18..20] == [0; 2];
    let mut extension = header[1];
    let mut rest = &datagram[UTP_HEADER..];
    while opens && extension != 0 {
        let [next, len, after @ ..] = rest else {
            return Sniffed::No;
        };
        let Some(after) = after.get(usize::from(*len)..) else {
            return Sniffed::No;
        };
        (extension, rest) = (*next, after);
    }
    // It carries no data.
    if opens && rest.is_empty() {
        found()
    } else {
        Sniffed::No
    }
}

fn found() -> Sniffed {
    Sniffed::Found(Found {
        protocol: "bittorrent",
        host: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_sniffs;
    use hex_literal::hex;

    #[test]
    fn a_handshake_is_known_by_its_first_words() {
        let handshake = [HANDSHAKE, &[0; 48]].concat();
        assert_eq!(assert_sniffs(&handshake, sniff), found());
        assert_eq!(sniff(b"\x13BITTORRENT PROTOCOL"), Sniffed::No);
        assert_eq!(sniff(b"\x13Bit"), Sniffed::NeedMore);
        assert_eq!(sniff(b"\x14BitTorrent protocol"), Sniffed::No);
    }

    #[test]
    fn the_packet_that_opens_utp_is_known_and_no_other() {
        let plain = hex!("41 00 7a3c 0a0b0c0d 00000000 00100000 0001 0000");
        // libutp's has eight bytes of extension bits.
        let extended =
            hex!("41 02 7a3c 0a0b0c0d 00000000 00100000 0001 0000 00 08 0000000000000000");
        for packet in [&plain[..], &extended] {
            assert_eq!(sniff_utp(packet), found());
        }
        let others = [
            &plain[..19],
            &extended[..29],
            // A DNS query with the id 0x4100.
            &hex!("4100 0100 0001 0000 0000 0000 03 777777 00 0001 0001"),
            // Data of a connection that is open.
            &hex!("01 00 7a3c 0a0b0c0d 00000123 00100000 0002 0001 616263"),
        ];
        for packet in others {
            assert_eq!(sniff_utp(packet), Sniffed::No, "{packet:02x?}");
        }
    }
}
