//! Frames of Mux.Cool, and of XUDP, which adds addresses to them.
//!
//! ```text
//! | meta len 2 | sid 2 | status 1 | option 1 | … | data len 2 | data |
//!               `--------- meta, at most 512 --'`- with option 0x01 -'
//! New, TCP:   … network 0x01 | port 2 | type 1 | address |
//! New, UDP:   … network 0x02 | port 2 | type 1 | address | global id 8, XUDP only |
//! Keep, XUDP: … network 0x02 | port 2 | type 1 | address |
//! ```
//! Further bytes of the meta are skipped: later programs append to it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::address::{AddressError, Destination, Form, Network};
use crate::copy;

/// The most that the meta of a frame may take.
pub const MAX_META: usize = 512;

/// The most that a decoder asks for before it gives a frame.
pub const MAX_FRAME: usize = 2 + MAX_META + 2 + u16::MAX as usize;

/// Names a UDP association across connections.
pub type GlobalId = [u8; 8];

/// A frame without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub session_id: u16,
    pub kind: Kind,
    /// The sender has met an error.
    pub error: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A stream begins.
    Stream(Destination),
    /// Datagrams begin, for one place, or with XUDP for any.
    Packets {
        to: Destination,
        global_id: Option<GlobalId>,
    },
    /// More of a session. With XUDP it names where a datagram goes or comes from.
    Keep(Option<Destination>),
    End,
    /// Means nothing; its data neither.
    KeepAlive,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("the head of a mux frame has {0} bytes, expected 4 to {MAX_META}")]
    MetaLen(usize),
    #[error("the head of a mux frame ends within an address")]
    ShortAddress,
    #[error("a mux frame has status {0:#04x}, expected 0x01 to 0x04")]
    UnknownStatus(u8),
    #[error("a mux session is for network {0:#04x}, expected 0x01 or 0x02")]
    UnknownNetwork(u8),
    #[error("a mux frame carries at most 65535 bytes, not {0}")]
    LongData(usize),
    #[error(transparent)]
    Address(#[from] AddressError),
}

const DATA: u8 = 0x01;
const ERROR: u8 = 0x02;

const TCP: u8 = 0x01;
const UDP: u8 = 0x02;

impl Frame {
    pub fn keep(session_id: u16) -> Self {
        Self {
            session_id,
            kind: Kind::Keep(None),
            error: false,
        }
    }

    pub fn end(session_id: u16, error: bool) -> Self {
        Self {
            session_id,
            kind: Kind::End,
            error,
        }
    }

    /// Takes one frame, with the data behind it, off the front of `buf`.
    pub fn decode(buf: &mut BytesMut) -> Result<Option<(Self, Option<Bytes>)>, FrameError> {
        let Some(len) = length_at(buf, 0) else {
            return Ok(None);
        };
        if !(4..=MAX_META).contains(&len) {
            return Err(FrameError::MetaLen(len));
        }
        let data_at = 2 + len;
        let Some([sid_high, sid_low, status, option, rest @ ..]) = buf.get(2..data_at) else {
            return Ok(None);
        };
        let frame = Self {
            session_id: u16::from_be_bytes([*sid_high, *sid_low]),
            kind: Kind::decode(*status, rest)?,
            error: option & ERROR != 0,
        };
        if option & DATA == 0 {
            buf.advance(data_at);
            return Ok(Some((frame, None)));
        }
        let Some(data_len) = length_at(buf, data_at) else {
            return Ok(None);
        };
        if buf.len() < data_at + 2 + data_len {
            return Ok(None);
        }
        buf.advance(data_at + 2);
        Ok(Some((frame, Some(buf.split_to(data_len).freeze()))))
    }

    /// Appends the frame and `data`; on an error nothing is appended.
    pub fn encode(&self, data: Option<&[u8]>, out: &mut BytesMut) -> Result<(), FrameError> {
        let data_len = data.map_or(0, <[u8]>::len);
        let Ok(data_len) = u16::try_from(data_len) else {
            return Err(FrameError::LongData(data_len));
        };
        let start = out.len();
        out.put_u16(0);
        out.put_u16(self.session_id);
        out.put_u8(self.kind.status());
        let carries = if data.is_some() { DATA } else { 0 };
        out.put_u8(carries | if self.error { ERROR } else { 0 });
        if let Err(e) = self.kind.encode(out) {
            out.truncate(start);
            return Err(e.into());
        }
        // At most 4 bytes, 1 + 2 + 1 + 256 of an address, and 8.
        let meta_len = (out.len() - start - 2) as u16;
        out[start..start + 2].copy_from_slice(&meta_len.to_be_bytes());
        if let Some(data) = data {
            out.put_u16(data_len);
            copy::append(data, out);
        }
        Ok(())
    }
}

impl Kind {
    fn decode(status: u8, rest: &[u8]) -> Result<Self, FrameError> {
        Ok(match status {
            0x01 => {
                let [network, rest @ ..] = rest else {
                    return Err(FrameError::ShortAddress);
                };
                let network = match *network {
                    TCP => Network::Tcp,
                    UDP => Network::Udp,
                    other => return Err(FrameError::UnknownNetwork(other)),
                };
                let (to, rest) = address(rest)?;
                match network {
                    Network::Tcp => Self::Stream(to),
                    Network::Udp => Self::Packets {
                        to,
                        global_id: rest.first_chunk().filter(|id| **id != [0; 8]).copied(),
                    },
                }
            }
            0x02 => match rest {
                [UDP, rest @ ..] => Self::Keep(Some(address(rest)?.0)),
                _ => Self::Keep(None),
            },
            0x03 => Self::End,
            0x04 => Self::KeepAlive,
            other => return Err(FrameError::UnknownStatus(other)),
        })
    }

    fn status(&self) -> u8 {
        match self {
            Self::Stream(_) | Self::Packets { .. } => 0x01,
            Self::Keep(_) => 0x02,
            Self::End => 0x03,
            Self::KeepAlive => 0x04,
        }
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), AddressError> {
        match self {
            Self::Stream(to) => {
                out.put_u8(TCP);
                to.encode(Form::PortFirst, out)
            }
            Self::Packets { to, global_id } => {
                out.put_u8(UDP);
                to.encode(Form::PortFirst, out)?;
                out.put_slice(global_id.as_ref().map_or(&[], |id| id));
                Ok(())
            }
            Self::Keep(Some(peer)) => {
                out.put_u8(UDP);
                peer.encode(Form::PortFirst, out)
            }
            Self::Keep(None) | Self::End | Self::KeepAlive => Ok(()),
        }
    }
}

fn length_at(buf: &[u8], at: usize) -> Option<usize> {
    let bytes = buf.get(at..)?.first_chunk()?;
    Some(usize::from(u16::from_be_bytes(*bytes)))
}

/// An address, and what follows it.
fn address(meta: &[u8]) -> Result<(Destination, &[u8]), FrameError> {
    let mut buf = BytesMut::from(meta);
    let to = Destination::decode(&mut buf, Form::PortFirst)?.ok_or(FrameError::ShortAddress)?;
    Ok((to, &meta[meta.len() - buf.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn frames_written_by_v2ray_and_xray() {
        let udp = |to: &str, global_id| Kind::Packets {
            to: to.parse().unwrap(),
            global_id,
        };
        let keep = |to: &str| Kind::Keep(Some(to.parse().unwrap()));
        let tcp = Kind::Stream("example.com:80".parse().unwrap());
        let id = [1, 2, 3, 4, 5, 6, 7, 8];
        type Case = (&'static [u8], u16, Kind, bool, Option<&'static [u8]>);
        #[rustfmt::skip]
        let cases: [Case; 8] = [
            (&hex!("001400010101010050020b6578616d706c652e636f6d00026869"), 1, tcp, false, Some(b"hi")),
            (&hex!("00040001020100046d6f7265"), 1, Kind::Keep(None), false, Some(b"more")),
            (&hex!("000400010300"), 1, Kind::End, false, None),
            (&hex!("000400010302"), 1, Kind::End, true, None),
            (&hex!("000400000400"), 0, Kind::KeepAlive, false, None),
            (&hex!("000c000201010200350101010101000171"), 2, udp("1.1.1.1:53", None), false, Some(b"q")),
            (&hex!("00140000010102003501080808080102030405060708000171"), 0, udp("8.8.8.8:53", Some(id)), false, Some(b"q")),
            (&hex!("000c000002010200350109090909000172"), 0, keep("9.9.9.9:53"), false, Some(b"r")),
        ];
        for (wire, session_id, kind, error, data) in cases {
            let frame = Frame {
                session_id,
                kind,
                error,
            };
            let mut out = BytesMut::new();
            frame.encode(data, &mut out).unwrap();
            assert_eq!(out, wire);
            for n in 0..wire.len() {
                let mut part = BytesMut::from(&wire[..n]);
                assert_eq!(Frame::decode(&mut part), Ok(None));
                assert_eq!(part.len(), n, "nothing is taken from a short buffer");
            }
            let data = data.map(Bytes::copy_from_slice);
            assert_eq!(Frame::decode(&mut out), Ok(Some((frame, data))));
            assert!(out.is_empty());
            crate::testing::mux_frames(wire);
        }
    }

    #[test]
    fn further_bytes_of_the_head_are_skipped() {
        let keep = decoded(&hex!("0007 0003 02 00 aabbcc"));
        assert_eq!(keep.unwrap(), Some(Frame::keep(3)));
        let end = decoded(&hex!("0006 0003 03 00 0201"));
        assert_eq!(end.unwrap(), Some(Frame::end(3, false)));
        let tcp = decoded(&hex!("000f 0001 01 00 01 0050 01 01020304 020202"));
        let to = "1.2.3.4:80".parse().unwrap();
        assert_eq!(tcp.unwrap().unwrap().kind, Kind::Stream(to));
    }

    #[test]
    fn a_global_id_of_zeroes_is_none() {
        let udp = decoded(&hex!(
            "0014 0000 01 00 02 0035 01 08080808 0000000000000000"
        ));
        let kind = udp.unwrap().unwrap().kind;
        assert!(matches!(
            kind,
            Kind::Packets {
                global_id: None,
                ..
            }
        ));
    }

    #[test]
    fn bad_frames_are_told_apart() {
        let bad = |bytes: &[u8]| decoded(bytes).unwrap_err();
        assert_eq!(bad(&hex!("0003")), FrameError::MetaLen(3));
        assert_eq!(bad(&hex!("0201")), FrameError::MetaLen(513));
        assert_eq!(bad(&hex!("0004 0001 05 00")), FrameError::UnknownStatus(5));
        assert_eq!(bad(&hex!("0004 0001 01 00")), FrameError::ShortAddress);
        assert_eq!(
            bad(&hex!("0008 0001 01 00 03 0050 01")),
            FrameError::UnknownNetwork(3)
        );
        assert_eq!(
            bad(&hex!("0009 0001 01 00 01 0050 01 01")),
            FrameError::ShortAddress
        );
        assert_eq!(
            bad(&hex!("0009 0001 02 01 02 0050 09 01")),
            FrameError::Address(AddressError::UnknownType(9))
        );
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let mut out = BytesMut::from(&b"before"[..]);
        let long = Frame::keep(1).encode(Some(&[0; 70_000]), &mut out);
        assert_eq!(long, Err(FrameError::LongData(70_000)));
        let host = crate::address::Host::Domain("a".repeat(256));
        let frame = Frame {
            session_id: 1,
            kind: Kind::Stream(Destination::new(host, 1)),
            error: false,
        };
        assert!(frame.encode(None, &mut out).is_err());
        assert_eq!(&out[..], b"before");
    }

    fn decoded(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        Frame::decode(&mut BytesMut::from(bytes)).map(|found| found.map(|(frame, _)| frame))
    }
}
