//! PROXY protocol v1 and v2, as a server reads it (`acceptProxyProtocol`), and as it tells a fallback (`xver`).
//!
//! ```text
//! v1: PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n             at most 107 bytes
//! v2: 0d0a0d0a000d0a515549540a | 0x2 command | family, protocol | length 2 | addresses | TLVs
//! ```
//!
//! From the specification of HAProxy. The header's end is found here and exactly that much is read,
//! so that what follows stays in the socket; the proxy-protocol crate reads what it says. A
//! connection that does not begin with a whole header is closed without an answer.

use std::net::{SocketAddr, SocketAddrV6};
use std::time::Duration;

use proxy_protocol::{ProxyHeader, version1, version2};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::cause::ProxyHeaderError;
use crate::io::linger;
use crate::seam::{Arrival, ProxyVersion};
use crate::session::Source;

/// For the whole header.
pub(super) const LIMIT: Duration = Duration::from_secs(4);

/// The longest line of v1, with its end.
const MAX_V1: usize = 107;

/// Addresses and TLVs of v2: some proxies put a certificate's names there.
const MAX_V2: usize = 4 * 1024;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const V2_FRONT: usize = 16;

/// Source and destination that a header names; `None` for a proxy's own connection (health checks).
type Addresses = Option<(Source, Source)>;

/// Takes the PROXY header off the front of a connection and the addresses from it.
///
/// # Errors
///
/// When there is none; the connection is over then.
pub async fn accept(mut arrival: Arrival) -> Result<Arrival, ProxyHeaderError> {
    let header = tokio::time::timeout_at(arrival.since + LIMIT, read(&mut arrival.link)).await;
    let error = match header {
        Ok(Ok(None)) => return Ok(arrival),
        Ok(Ok(Some((source, local)))) => {
            arrival.source = source;
            arrival.local = local;
            return Ok(arrival);
        }
        Ok(Err(error)) => error,
        Err(_) => ProxyHeaderError::Slow(LIMIT),
    };
    linger(arrival.link).await;
    Err(error)
}

/// The header that tells who comes from `source`, and to which address of ours; where there are no addresses it says so.
pub fn header(version: ProxyVersion, source: Source, local: Source) -> Vec<u8> {
    let addresses = match (source, local) {
        (Source::Ip(source), Source::Ip(local)) => {
            let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
            Some((canonical(source), canonical(local)))
        }
        _ => None,
    };
    // One of IPv4 beside one of IPv6 is written as the latter.
    let as_v6 = |at: SocketAddr| match at {
        SocketAddr::V4(at) => SocketAddrV6::new(at.ip().to_ipv6_mapped(), at.port(), 0, 0),
        SocketAddr::V6(at) => at,
    };
    let header = match version {
        ProxyVersion::One => ProxyHeader::Version1 {
            addresses: match addresses {
                None => version1::ProxyAddresses::Unknown,
                Some((SocketAddr::V4(source), SocketAddr::V4(destination))) => {
                    version1::ProxyAddresses::Ipv4 {
                        source,
                        destination,
                    }
                }
                Some((source, destination)) => version1::ProxyAddresses::Ipv6 {
                    source: as_v6(source),
                    destination: as_v6(destination),
                },
            },
        },
        ProxyVersion::Two => ProxyHeader::Version2 {
            command: match addresses {
                None => version2::ProxyCommand::Local,
                Some(_) => version2::ProxyCommand::Proxy,
            },
            transport_protocol: match addresses {
                None => version2::ProxyTransportProtocol::Unspec,
                Some(_) => version2::ProxyTransportProtocol::Stream,
            },
            addresses: match addresses {
                None => version2::ProxyAddresses::Unspec,
                Some((SocketAddr::V4(source), SocketAddr::V4(destination))) => {
                    version2::ProxyAddresses::Ipv4 {
                        source,
                        destination,
                    }
                }
                Some((source, destination)) => version2::ProxyAddresses::Ipv6 {
                    source: as_v6(source),
                    destination: as_v6(destination),
                },
            },
        },
    };
    let header = proxy_protocol::encode(header).expect("memory has room for it");
    header.to_vec()
}

/// Reads as far as the header is sure to go, until it is whole.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Addresses, ProxyHeaderError> {
    let mut header = Vec::with_capacity(V2_FRONT);
    loop {
        let missing = match missing(&header)? {
            0 => return parse(&header),
            missing => missing,
        };
        let at = header.len();
        header.resize(at + missing, 0);
        match from.read(&mut header[at..]).await {
            Ok(0) => return Err(ProxyHeaderError::Unfinished),
            Ok(n) => header.truncate(at + n),
            Err(e) => return Err(ProxyHeaderError::Broken(e)),
        }
    }
}

/// How many bytes the header that begins with `bytes` still has at least; 0 when it is whole.
fn missing(bytes: &[u8]) -> Result<usize, ProxyHeaderError> {
    const LINE: &[u8] = b"PROXY ";
    let begins_like = |front: &[u8]| {
        let n = bytes.len().min(front.len());
        bytes[..n] == front[..n]
    };
    if begins_like(LINE) {
        let end = match bytes {
            [.., b'\r', b'\n'] => return Ok(0),
            [.., b'\r'] => 1,
            _ => 2,
        };
        // The shortest header of all is `PROXY UNKNOWN\r\n`.
        let left = b"PROXY UNKNOWN\r\n"
            .len()
            .saturating_sub(bytes.len())
            .max(end);
        if bytes.len() + left > MAX_V1 {
            return Err(ProxyHeaderError::LongLine(MAX_V1));
        }
        return Ok(if bytes.is_empty() { LINE.len() } else { left });
    }
    if !begins_like(&SIGNATURE) {
        return Err(ProxyHeaderError::Missing);
    }
    let Some(front) = bytes.first_chunk::<V2_FRONT>() else {
        return Ok(V2_FRONT - bytes.len());
    };
    let len = usize::from(u16::from_be_bytes([front[14], front[15]]));
    if len > MAX_V2 {
        return Err(ProxyHeaderError::LongHeader { len, max: MAX_V2 });
    }
    Ok((V2_FRONT + len).saturating_sub(bytes.len()))
}

/// Reads a whole header.
fn parse(header: &[u8]) -> Result<Addresses, ProxyHeaderError> {
    if header.starts_with(b"PROXY") {
        check_line(header)?;
    } else if let [.., 0x20, _, _, _] = header[..V2_FRONT.min(header.len())] {
        // LOCAL: the rest of the header says nothing, whatever its family is.
        return Ok(None);
    }
    let parsed = proxy_protocol::parse(&mut &header[..])
        .map_err(|error| ProxyHeaderError::Malformed(error.to_string()))?;
    let pair = |source: SocketAddr, local: SocketAddr| Some((source.into(), local.into()));
    Ok(match parsed {
        ProxyHeader::Version1 { addresses, .. } => match addresses {
            version1::ProxyAddresses::Unknown => None,
            version1::ProxyAddresses::Ipv4 {
                source,
                destination,
            } => pair(source.into(), destination.into()),
            version1::ProxyAddresses::Ipv6 {
                source,
                destination,
            } => pair(source.into(), destination.into()),
        },
        ProxyHeader::Version2 { addresses, .. } => match addresses {
            version2::ProxyAddresses::Unspec => None,
            version2::ProxyAddresses::Unix { .. } => Some((Source::Unix, Source::Unix)),
            version2::ProxyAddresses::Ipv4 {
                source,
                destination,
            } => pair(source.into(), destination.into()),
            version2::ProxyAddresses::Ipv6 {
                source,
                destination,
            } => pair(source.into(), destination.into()),
        },
        other => return Err(ProxyHeaderError::Malformed(format!("{other:?} is unknown"))),
    })
}

/// The crate counts bytes of a v1 line without looking whether they are there, and panics when they
/// are not; it also takes any byte for a space. So a line's shape is checked first.
fn check_line(line: &[u8]) -> Result<(), ProxyHeaderError> {
    let text = line
        .strip_suffix(b"\r\n")
        .and_then(|t| str::from_utf8(t).ok());
    let fields: Vec<&str> = text.unwrap_or_default().split(' ').collect();
    match fields[..] {
        ["PROXY", "UNKNOWN", ..] => Ok(()),
        ["PROXY", "TCP4" | "TCP6", _, _, _, _] => Ok(()),
        _ => {
            let text = "expected `PROXY TCP4|TCP6|UNKNOWN source destination port port`";
            Err(ProxyHeaderError::Malformed(text.to_owned()))
        }
    }
}

/// Any bytes, as a fuzzer throws them: no panic, and nothing past the header is asked for.
pub(crate) fn fuzz(data: &[u8]) {
    let mut at = 0;
    loop {
        match missing(&data[..at]) {
            Ok(0) => {
                let _ = parse(&data[..at]);
                return;
            }
            Ok(more) if at + more <= data.len() => at += more,
            _ => return,
        }
    }
}

#[cfg(test)]
#[path = "proxy_protocol_tests.rs"]
mod tests;
