use std::sync::LazyLock;

use serde_json::Value;

use super::*;
use crate::address::Host;

static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../../testdata/vectors/quic.json")).unwrap()
});

#[test]
fn the_packets_of_the_specifications_are_opened() {
    for version in ["v1", "v2", "draft29"] {
        let packet = vector(version);
        assert_eq!(packet.len(), 1200);
        assert_eq!(Quic::default().sniff(&packet), found(), "{version}");
        for cut in [0, 1, 5, 14, 19, 30, 1199] {
            assert_eq!(Quic::default().sniff(&packet[..cut]), Sniffed::No, "{cut}");
        }
        for flipped in [0, 4, 6, 18, 600, 1199] {
            let mut packet = packet.clone();
            packet[flipped] ^= 0x40;
            assert_eq!(Quic::default().sniff(&packet), Sniffed::No, "{flipped}");
        }
    }
}

#[test]
fn a_hello_may_be_spread_over_datagrams_in_any_order() {
    let hello = hello();
    let pieces: Vec<(usize, &[u8])> = hello
        .chunks(50)
        .enumerate()
        .map(|(i, c)| (50 * i, c))
        .collect();
    let mut late = pieces.clone();
    late.rotate_left(2);
    for order in [pieces, late] {
        let mut quic = Quic::default();
        let (last, first) = order.split_last().unwrap();
        for (number, piece) in (0..).zip(first) {
            let answer = quic.sniff(&packet(number, &[*piece]));
            if answer == found() {
                return;
            }
            assert_eq!(answer, Sniffed::NeedMore);
        }
        assert_eq!(quic.sniff(&packet(99, &[*last])), found());
    }
}

#[test]
fn two_datagrams_sealed_by_another_implementation_are_opened() {
    for order in [[0, 1], [1, 0]] {
        let mut quic = Quic::default();
        let answers = order.map(|i| quic.sniff(&bytes(&VECTORS["split"][i])));
        assert_eq!(answers, [Sniffed::NeedMore, found()]);
    }
}

#[test]
fn packets_of_one_datagram_are_read_in_their_order() {
    let hello = hello();
    let (a, b) = hello.split_at(60);
    let both = [packet(0, &[(60, b)]), packet(1, &[(0, a)])].concat();
    assert_eq!(Quic::default().sniff(&both), found());
    // What follows may be another kind of packet, or nothing at all.
    let padded = [packet(0, &[(60, b), (0, a)]), vec![0; 100]].concat();
    assert_eq!(Quic::default().sniff(&padded), found());
}

#[test]
fn a_datagram_of_another_kind_between_them_is_passed_over() {
    let hello = hello();
    let (a, b) = hello.split_at(60);
    let mut quic = Quic::default();
    assert_eq!(quic.sniff(&packet(0, &[(60, b)])), Sniffed::NeedMore);
    assert_eq!(quic.sniff(b"\x40 1-RTT, or noise"), Sniffed::NeedMore);
    assert_eq!(quic.sniff(&packet(2, &[(0, a)])), found());
}

#[test]
fn what_is_not_quic_is_told_apart_at_once() {
    let mut unknown = vector("v1");
    unknown[4] = 7;
    for other in [&b""[..], b"\x12\x34\x01\x00\x00\x01", &[0xc0; 30], &unknown] {
        assert_eq!(Quic::default().sniff(other), Sniffed::No);
    }
}

fn found() -> Sniffed {
    Sniffed::Found(Found {
        protocol: "quic",
        host: Some(Host::Domain("example.com".to_owned())),
    })
}

fn vector(version: &str) -> Vec<u8> {
    bytes(&VECTORS[version])
}

fn bytes(hex: &Value) -> Vec<u8> {
    let text = hex.as_str().unwrap();
    let digits = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// The ClientHello of the specifications.
fn hello() -> Vec<u8> {
    let packet = vector("v1");
    let frames = keys().open(18, &packet).unwrap();
    assert_eq!(frames[..4], [0x06, 0x00, 0x40, 0xf1]);
    frames[4..4 + 0xf1].to_vec()
}

fn keys() -> Keys {
    Keys::new(Version::V1, ID).unwrap()
}

const ID: &[u8] = b"\x83\x94\xc8\xf0\x3e\x51\x57\x08";

/// An Initial packet with pieces of a hello at their places.
fn packet(number: u8, pieces: &[(usize, &[u8])]) -> Vec<u8> {
    let mut frames = vec![0x01];
    for (at, piece) in pieces {
        let [at, len] =
            [*at, piece.len()].map(|n| (0x4000 | u16::try_from(n).unwrap()).to_be_bytes());
        frames.extend([&[0x06], &at[..], &len, piece].concat());
        frames.extend([0; 7]);
    }
    let len = (0x4000 | u16::try_from(1 + frames.len() + 16).unwrap()).to_be_bytes();
    let mut header = [&[0xc0, 0, 0, 0, 1, 8], ID, &[0, 0], &len].concat();
    let at = header.len();
    header.push(number);
    keys().seal(at, &header, &frames)
}
