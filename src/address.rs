//! Where a stream or a datagram wants to go, and how VMess, Mux.Cool and SOCKS write that down.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;

/// TCP or UDP, as configs and log lines spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    Tcp,
    Udp,
}

/// An IP address or a domain name; a name that the system would read as an address is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Ip(IpAddr),
    Domain(String),
}

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    pub host: Host,
    pub port: u16,
}

/// Ports from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub from: u16,
    pub to: u16,
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        let (from, to) = (port, port);
        Self { from, to }
    }
}

/// The two ways in which the protocols order and number the same three fields.
///
/// ```text
/// PortFirst (VMess, mux): | port 2 | type 1 | 0x01: 4 | 0x02: 1 + n | 0x03: 16 |
/// PortLast  (SOCKS 5):    | type 1 | 0x01: 4 | 0x03: 1 + n | 0x04: 16 | port 2 |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    PortFirst,
    PortLast,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum AddressError {
    #[error("address type {0:#04x} is unknown")]
    UnknownType(u8),
    #[error("the domain name is empty")]
    EmptyDomain,
    #[error("a domain name holds letters, digits, `-`, `.` and `_`, this one does not")]
    BadDomain,
    #[error("a domain name has at most 255 bytes, this one has {0}")]
    LongDomain(usize),
}

impl Host {
    /// Reads an address as people write it: `1.2.3.4`, `::1`, `[::1]` or a domain name.
    ///
    /// `127.1`, `0177.0.0.1`, `0x7f000001` and `2130706433` are IPv4 addresses to the system's resolver, which
    /// asks nobody about them. They are addresses here too, so that a rule sees what is connected to.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(ip) = IpAddr::from_str(bare) {
            return Ok(Self::Ip(ip.to_canonical()));
        }
        if let Some(ip) = old_ipv4(text) {
            return Ok(Self::Ip(ip.into()));
        }
        match text.len() {
            0 => return Err(AddressError::EmptyDomain),
            n if n > 255 => return Err(AddressError::LongDomain(n)),
            _ => {}
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if !text.bytes().all(allowed) {
            return Err(AddressError::BadDomain);
        }
        Ok(Self::Domain(text.to_owned()))
    }
}

/// An IPv4 address in one to four numbers, each decimal, octal (`0177`) or hexadecimal (`0x7f`), the last one
/// for all bytes that are left, as the C library's `inet_aton` reads it. A dot may follow, as in browsers.
fn old_ipv4(text: &str) -> Option<Ipv4Addr> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut numbers = [0_u32; 4];
    let mut len = 0;
    for part in text.split('.') {
        *numbers.get_mut(len)? = old_number(part)?;
        len += 1;
    }
    let (last, bytes) = numbers[..len].split_last()?;
    let mut ip = *last;
    if u64::from(*last) >= 1 << (8 * (4 - bytes.len())) {
        return None;
    }
    for (i, byte) in bytes.iter().enumerate() {
        ip |= u32::from(u8::try_from(*byte).ok()?) << (24 - 8 * i);
    }
    Some(ip.into())
}

/// A number as C programs write it.
fn old_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // `from_str_radix` takes a sign.
    let digits = Some(digits).filter(|digits| !digits.starts_with('+'))?;
    u32::from_str_radix(digits, radix).ok()
}

/// Whether an address is of this machine or of a network of its own, where no stranger is.
pub fn is_nearby(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// The address at which the system looks for a peer at `ip`: without one (`0.0.0.0`, `::`) that is this machine.
pub fn reached(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// The same of an address with its port, and with the scope of a link-local one.
pub fn reached_at(mut addr: SocketAddr) -> SocketAddr {
    let ip = reached(addr.ip());
    if ip != addr.ip() {
        addr.set_ip(ip);
    }
    addr
}

impl PortRange {
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.from..=self.to
    }

    pub fn contains(self, port: u16) -> bool {
        (self.from..=self.to).contains(&port)
    }
}

impl Destination {
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// Takes one address off the front of `buf`; `None` asks for more bytes and takes nothing.
    pub fn decode(buf: &mut BytesMut, form: Form) -> Result<Option<Self>, AddressError> {
        let (type_at, host_at) = match form {
            Form::PortFirst => (2, 3),
            Form::PortLast => (0, 1),
        };
        let Some(&kind) = buf.get(type_at) else {
            return Ok(None);
        };
        let rest = &buf[host_at..];
        let (host, len) = match (form, kind) {
            (_, 0x01) => match rest {
                [a, b, c, d, ..] => (Host::Ip(Ipv4Addr::new(*a, *b, *c, *d).into()), 4),
                _ => return Ok(None),
            },
            (Form::PortFirst, 0x02) | (Form::PortLast, 0x03) => match rest {
                [] => return Ok(None),
                [0, ..] => return Err(AddressError::EmptyDomain),
                [n, name @ ..] if name.len() >= usize::from(*n) => {
                    let name = str::from_utf8(&name[..usize::from(*n)])
                        .map_err(|_| AddressError::BadDomain)?;
                    (Host::parse(name)?, 1 + name.len())
                }
                _ => return Ok(None),
            },
            (Form::PortFirst, 0x03) | (Form::PortLast, 0x04) => match rest.first_chunk::<16>() {
                Some(ip) => (Host::Ip(Ipv6Addr::from(*ip).to_canonical()), 16),
                None => return Ok(None),
            },
            (_, other) => return Err(AddressError::UnknownType(other)),
        };
        let port_at = match form {
            Form::PortFirst => 0,
            Form::PortLast => host_at + len,
        };
        let Some(port) = buf.get(port_at..).and_then(|b| b.first_chunk::<2>()) else {
            return Ok(None);
        };
        let port = u16::from_be_bytes(*port);
        // Both forms take the same bytes: two of port, one of type, and the host.
        buf.advance(3 + len);
        Ok(Some(Self { host, port }))
    }

    /// Appends the address to `out`; only a domain of more than 255 bytes cannot be written.
    pub fn encode(&self, form: Form, out: &mut BytesMut) -> Result<(), AddressError> {
        if let Host::Domain(name) = &self.host
            && name.len() > 255
        {
            return Err(AddressError::LongDomain(name.len()));
        }
        if form == Form::PortFirst {
            out.put_u16(self.port);
        }
        match (&self.host, form) {
            (Host::Ip(IpAddr::V4(ip)), _) => {
                out.put_u8(0x01);
                out.put_slice(&ip.octets());
            }
            (Host::Ip(IpAddr::V6(ip)), form) => {
                out.put_u8(if form == Form::PortFirst { 0x03 } else { 0x04 });
                out.put_slice(&ip.octets());
            }
            (Host::Domain(name), form) => {
                out.put_u8(if form == Form::PortFirst { 0x02 } else { 0x03 });
                out.put_u8(name.len() as u8);
                out.put_slice(name.as_bytes());
            }
        }
        if form == Form::PortLast {
            out.put_u16(self.port);
        }
        Ok(())
    }
}

impl From<SocketAddr> for Destination {
    /// An IPv4 address mapped into IPv6 (`::ffff:1.2.3.4`) becomes the IPv4 address it stands for.
    fn from(addr: SocketAddr) -> Self {
        Self {
            host: Host::Ip(addr.ip().to_canonical()),
            port: addr.port(),
        }
    }
}

impl FromStr for Destination {
    type Err = String;

    /// `host:port` as in `freedom.redirect` or an HTTP `CONNECT`; an IPv6 host stands in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| format!("`{text}` has no port, expected `host:port`"))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(format!("`{text}` is ambiguous, expected `[IPv6]:port`"));
        }
        let host = Host::parse(host).map_err(|e| e.to_string())?;
        let port = port
            .parse()
            .map_err(|_| format!("`{port}` is not a port, expected 0 to 65535"))?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Domain(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;
    use std::net::ToSocketAddrs;

    #[test]
    fn domain_address_written_by_v2ray() {
        let bytes = hex!("01bb 02 0b 6578616d706c652e636f6d");
        assert_eq!(
            decoded(&bytes, Form::PortFirst).to_string(),
            "example.com:443"
        );
    }

    #[test]
    fn every_form_undoes_itself_and_waits_for_the_last_byte() {
        for text in ["1.2.3.4:80", "[2001:db8::1]:443", "a-b_c.example:65535"] {
            let to: Destination = text.parse().unwrap();
            for form in [Form::PortFirst, Form::PortLast] {
                let mut bytes = BytesMut::new();
                to.encode(form, &mut bytes).unwrap();
                for n in 0..bytes.len() {
                    let mut part = BytesMut::from(&bytes[..n]);
                    assert_eq!(Destination::decode(&mut part, form), Ok(None));
                    assert_eq!(part.len(), n, "nothing is taken from a short buffer");
                }
                assert_eq!(decoded(&bytes, form), to);
                assert_eq!(to.to_string(), text);
            }
        }
    }

    #[test]
    fn ip_literal_in_a_domain_becomes_an_ip() {
        let bytes = hex!("0050 02 07 312e312e312e31");
        assert_eq!(
            decoded(&bytes, Form::PortFirst).host,
            Host::Ip([1, 1, 1, 1].into())
        );
    }

    #[test]
    fn an_old_spelling_is_the_address_that_the_system_reads() {
        let spellings = [
            ("127.1", "127.0.0.1"),
            ("127.0.1", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("0X7F.0x1", "127.0.0.1"),
            ("0177.0.0.01", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
            ("0x00000000007f000001", "127.0.0.1"),
            ("127.00.000.0001", "127.0.0.1"),
            ("0", "0.0.0.0"),
            ("4294967295", "255.255.255.255"),
            ("1.2.65535", "1.2.255.255"),
            ("1.2.3.0xff", "1.2.3.255"),
        ];
        for (text, ip) in spellings {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(Host::parse(text), Ok(Host::Ip(ip)), "{text}");
            let by_system = (text, 0).to_socket_addrs().unwrap();
            assert!(by_system.map(|at| at.ip()).eq([ip]), "{text}");
            // A resolver would ask a server for it.
            assert_eq!(Host::parse(&format!("{text}.")), Ok(Host::Ip(ip)));
        }
        let names = [
            "0x",
            "08",
            "1.2.3.256",
            "1.2.65536",
            "256.1",
            "4294967296",
            "1.2.3.4.5",
            "1..2",
            ".1",
            "1.2.3..",
            "0b1",
            "0xg",
            "1e3",
            "-1",
            "127.0.0.1_",
            "18446744073709551617",
            "0x10000000000000001",
            ".",
            "1-2",
        ];
        for name in names {
            assert_eq!(
                Host::parse(name),
                Ok(Host::Domain(name.to_owned())),
                "{name}"
            );
        }
        assert_eq!(Host::parse("+1"), Err(AddressError::BadDomain));
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_itself() {
        let mapped = hex!("0050 03 00000000000000000000ffff7f000001");
        let ip = Host::Ip([127, 0, 0, 1].into());
        assert_eq!(decoded(&mapped, Form::PortFirst).host, ip);
        assert_eq!(Host::parse("[::ffff:7f00:1]"), Ok(ip));
        let other = Host::parse("::127.0.0.1").unwrap();
        assert_eq!(other.to_string(), "[::7f00:1]", "which is elsewhere");
    }

    #[test]
    fn bad_addresses_are_told_apart() {
        let bad = |bytes: &[u8]| {
            Destination::decode(&mut BytesMut::from(bytes), Form::PortFirst).unwrap_err()
        };
        assert_eq!(bad(&hex!("0050 04 00")), AddressError::UnknownType(4));
        assert_eq!(bad(&hex!("0050 02 00")), AddressError::EmptyDomain);
        assert_eq!(bad(&hex!("0050 02 02 610a")), AddressError::BadDomain);
        assert_eq!(bad(&hex!("0050 02 02 ff61")), AddressError::BadDomain);
    }

    fn decoded(bytes: &[u8], form: Form) -> Destination {
        let mut buf = BytesMut::from(bytes);
        let to = Destination::decode(&mut buf, form).unwrap().unwrap();
        assert!(buf.is_empty());
        to
    }
}
