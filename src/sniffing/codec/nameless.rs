//! Protocols that say nothing of a target, and are known by a few bytes.
//!
//! ```text
//! SSH    "SSH-2.0-" | ... (RFC 4253, section 4.2)
//! RDP    0x03 0x00 | length 2 | rest 1 | connection request 0xe0 | ... (MS-RDPBCGR, section 2.2.1.1)
//! STUN   two bits 0 | type 14 bits | length 2, without this header | cookie 2112a442 | id 12 | ... (RFC 8489, section 5)
//! DTLS   content type 1 | version 2: feff or fefd | epoch 2 | number 6 | length 2 | ... (RFC 6347, section 4.1)
//! NTP    leap 2 bits | version 3 bits | mode 3 bits: 3 | 47 more (RFC 5905, section 7.3)
//! ```

use super::{Found, Sniffed, begins};

const SSH: &[u8] = b"SSH-2.0-";

const STUN_HEADER: usize = 20;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

const DTLS_HEADER: usize = 13;

/// Without extensions and a digest.
const NTP_PACKET: usize = 48;

pub(super) fn sniff(data: &[u8]) -> Sniffed {
    match begins(data, SSH) {
        Ok(()) if data.starts_with(SSH) => found("ssh"),
        Err(Sniffed::NeedMore) => Sniffed::NeedMore,
        _ => rdp(data),
    }
}

fn rdp(data: &[u8]) -> Sniffed {
    match begins(data, &[3, 0]) {
        Ok(()) => {}
        Err(answer) => return answer,
    }
    let Some(head) = data.first_chunk::<6>() else {
        return Sniffed::NeedMore;
    };
    let [_, _, high, low, rest, kind] = *head;
    let len = u16::from_be_bytes([high, low]);
    match kind == 0xe0 && len == u16::from(rest) + 5 {
        true => found("rdp"),
        false => Sniffed::No,
    }
}

pub(super) fn sniff_datagram(datagram: &[u8]) -> Sniffed {
    if is_stun(datagram) {
        found("stun")
    } else if is_dtls(datagram) {
        found("dtls")
    } else if is_ntp(datagram) {
        found("ntp")
    } else {
        Sniffed::No
    }
}

fn is_stun(datagram: &[u8]) -> bool {
    let Some(header) = datagram.first_chunk::<STUN_HEADER>() else {
        return false;
    };
    let len = u16::from_be_bytes([header[2], header[3]]);
    header[0] < 0x40
        && header[4..8] == STUN_COOKIE
        && datagram.len() >= STUN_HEADER + usize::from(len)
}

fn is_dtls(datagram: &[u8]) -> bool {
    let Some(header) = datagram.first_chunk::<DTLS_HEADER>() else {
        return false;
    };
    matches!(header[..3], [20..=23 | 25, 0xfe, 0xff | 0xfd])
}

fn is_ntp(datagram: &[u8]) -> bool {
    let [first, ..] = *datagram else { return false };
    let (version, mode) = (first >> 3 & 7, first & 7);
    datagram.len() == NTP_PACKET && matches!(version, 3 | 4) && mode == 3
}

fn found(protocol: &'static str) -> Sniffed {
    let host = None;
    Sniffed::Found(Found { protocol, host })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_sniffs;
    use hex_literal::hex;

    #[test]
    fn streams_are_known_by_their_first_bytes() {
        let ssh = b"SSH-2.0-OpenSSH_9.2\r\n";
        assert_eq!(assert_sniffs(ssh, sniff), found("ssh"));
        // With a cookie in it, and without one.
        let plain = hex!("0300 0013 0e e0 0000 0000 00 01 00 0800 0300 0000");
        assert_eq!(assert_sniffs(&plain, sniff), found("rdp"));
        let cookie = [&hex!("0300 002b 26 e0 0000 0000 00")[..], &[b'a'; 32]].concat();
        assert_eq!(assert_sniffs(&cookie, sniff), found("rdp"));
        for other in [
            &b"ssh-2.0-x"[..],
            b"SSL",
            &hex!("0300 0013 0f e0"),
            &hex!("0300 0013 0e d0"),
            b"GET /",
        ] {
            assert_eq!(sniff(other), Sniffed::No, "{other:02x?}");
        }
        assert_eq!(sniff(b"SSH"), Sniffed::NeedMore);
    }

    #[test]
    fn datagrams_are_known_by_their_headers() {
        let stun = hex!("0001 0000 2112a442 000102030405060708090a0b");
        let hello = hex!("16 feff 0000 000000000000 0001 01");
        let mut ntp = [0; NTP_PACKET];
        ntp[0] = 0x23;
        for (datagram, protocol) in [(&stun[..], "stun"), (&hello, "dtls"), (&ntp, "ntp")] {
            assert_eq!(sniff_datagram(datagram), found(protocol));
            let short = &datagram[..datagram.len().min(12)];
            assert_eq!(sniff_datagram(short), Sniffed::No, "{protocol}");
        }
        let answer = [&[0x24][..], &ntp[1..]].concat();
        // A DNS query, too.
        let query = hex!("1234 0100 0001 0000 0000 0000 03 777777 00 0001 0001");
        for other in [&answer[..], &query] {
            assert_eq!(sniff_datagram(other), Sniffed::No, "{other:02x?}");
        }
    }
}
