//! All bytes of the reference vectors, and the laws.

use bytes::BytesMut;
use serde_json::Value;

use super::auth_id::CmdKey;
use super::body::{Cipher, Framing, MAX_OVERHEAD, MAX_PLAIN, Opener, Sealer};
use super::header::{self, Command, HeaderError, Padding, Request, option};
use super::response::{self, Keys, ResponseError};
use crate::testing::{self, assert_decodes};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../testdata/vectors/vmess.json")).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

#[test]
fn request_headers_of_the_reference() {
    let vectors = vectors();
    let key = CmdKey(array(&vectors["cmd_key"]));
    for case in vectors["headers"].as_array().unwrap() {
        let (plain, sealed) = (hex(&case["plain"]), hex(&case["sealed"]));
        let request = Request::decode(&plain).unwrap();
        let mut again = BytesMut::new();
        request.encode(&hex(&case["pad"]), &mut again).unwrap();
        assert_eq!(again, plain, "{}", case["name"]);
        let auth_id = sealed[..16].try_into().unwrap();
        let nonce = sealed[34..42].try_into().unwrap();
        assert_eq!(header::seal(&key, &auth_id, &nonce, &plain), sealed);
        assert_decodes(&sealed, &request, |buf| header::open(&key, buf));
        for i in 0..sealed.len() {
            let mut changed = BytesMut::from(&sealed[..]);
            changed[i] ^= 1;
            assert!(header::open(&key, &mut changed).is_err(), "byte {i}");
        }
    }
}

#[test]
fn what_a_known_user_gets_wrong_in_a_header_is_told_apart() {
    let vectors = vectors();
    let plain = hex(&vectors["headers"][0]["plain"]);
    let changed = |at: usize, byte: u8| {
        let mut plain = plain.clone();
        plain[at] = byte;
        let len = plain.len() - 4;
        let sum = super::fnv::fnv1a(&plain[..len]).to_be_bytes();
        plain[len..].copy_from_slice(&sum);
        Request::decode(&plain).unwrap_err()
    };
    assert_eq!(changed(0, 2), HeaderError::Version(2));
    assert_eq!(changed(34, 0x09), HeaderError::PaddingWithoutMask);
    for security in [0, 1, 2, 6, 15] {
        assert_eq!(changed(35, security), HeaderError::Security(security));
    }
    assert_eq!(changed(35, 0xf3), HeaderError::Short);
    assert_eq!(changed(37, 4), HeaderError::Command(4));
    assert!(matches!(changed(40, 9), HeaderError::Address(_)));
    assert_eq!(Request::decode(&plain[1..]), Err(HeaderError::Checksum));
    assert_eq!(Request::decode(&[0; 3]), Err(HeaderError::Short));
}

#[test]
fn response_header_of_the_reference() {
    let vector = &vectors()["response"];
    let request = Keys {
        key: array(&vector["req_key"]),
        iv: array(&vector["req_iv"]),
    };
    let keys = request.response();
    assert_eq!(keys.key, array(&vector["resp_key"]));
    assert_eq!(keys.iv, array(&vector["resp_iv"]));
    let sealed = response::seal(&keys, 0xab, 0);
    assert_eq!(sealed, hex(&vector["out"]));
    assert_decodes(&sealed, &0, |buf| response::open(&keys, 0xab, buf));
    let open = |v, sealed: &[u8]| response::open(&keys, v, &mut BytesMut::from(sealed));
    assert_eq!(open(0xac, &sealed), Err(ResponseError::WrongV));
    assert_eq!(open(0xab, &[0; 38]), Err(ResponseError::Sealed));
}

#[test]
fn a_command_in_a_response_is_read_past_within_its_bounds() {
    let keys = Keys {
        key: [1; 16],
        iv: [2; 16],
    };
    let open = |plain: &[u8]| {
        let sealed = response::seal_plain(&keys, plain);
        response::open(&keys, 7, &mut BytesMut::from(&sealed[..]))
    };
    assert_eq!(open(&[7, 5, 1, 3, 1, 2, 3]), Ok(Some(5)));
    assert_eq!(
        open(&[7, 0, 1, 4, 1, 2, 3]),
        Err(ResponseError::Short(7, 8))
    );
    assert_eq!(open(&[7, 0, 1]), Err(ResponseError::Length(3)));
    assert_eq!(open(&[7; 260]), Err(ResponseError::Length(260)));
}

fn framing(case: &Value) -> (Framing, Keys, Keys) {
    let framing = Framing {
        cipher: Cipher::from_wire(case["sec"].as_u64().unwrap() as u8).unwrap(),
        options: case["opt"].as_u64().unwrap() as u8,
        packets: case["label"].as_str().unwrap().contains("packet"),
    };
    let own = Keys {
        key: array(&case["key"]),
        iv: array(&case["iv"]),
    };
    let vector = &vectors()["response"];
    let request = Keys {
        key: array(&vector["req_key"]),
        iv: array(&vector["req_iv"]),
    };
    (framing, request, own)
}

#[test]
fn bodies_of_the_reference_in_both_directions() {
    for case in vectors()["body"].as_array().unwrap() {
        let (framing, request, own) = framing(case);
        if framing.is_raw() {
            continue;
        }
        let mut chunks: Vec<Vec<u8>> = case["chunks"].as_array().unwrap().iter().map(hex).collect();
        let mut wire = hex(&case["wire"]);
        if !case["end_marker"].is_null() {
            chunks.push(Vec::new());
            wire.extend(hex(&case["end_marker"]));
        }
        let (mut sealer, mut sealed) = (Sealer::new(framing, &request, &own), Vec::new());
        for chunk in &chunks {
            let mut out = vec![0; chunk.len() + MAX_OVERHEAD];
            let len = sealer.seal(chunk, &mut out, &mut |padding| padding.fill(0));
            sealed.extend_from_slice(&out[..len]);
        }
        assert_eq!(sealed, wire, "{}", case["label"]);

        // One byte more at a time: every answer comes exactly when its chunk is whole.
        let (mut opener, mut at) = (Opener::new(framing, &request, &own), 0);
        let mut opened = Vec::new();
        for end in 0..=wire.len() {
            while let Some(chunk) = opener.chunk(&wire[at..end]).unwrap() {
                let mut plain = vec![0; chunk.plain];
                opener.open(chunk, &wire[at..end], &mut plain).unwrap();
                at += chunk.len;
                opened.push(plain);
                if at == end {
                    break;
                }
            }
        }
        assert_eq!((opened, at), (chunks, wire.len()), "{}", case["label"]);
    }
}

#[test]
fn the_counter_wraps_and_both_ends_agree() {
    let keys = Keys {
        key: [1; 16],
        iv: [2; 16],
    };
    let framing = Framing {
        cipher: Cipher::Aes128Gcm,
        options: 0x1d,
        packets: false,
    };
    let mut sealer = Sealer::new(framing, &keys, &keys);
    let mut opener = Opener::new(framing, &keys, &keys);
    let mut out = [0; 1 + MAX_OVERHEAD];
    for i in 0..65_540_u32 {
        let len = sealer.seal(&[i as u8], &mut out, &mut |_| {});
        let chunk = opener.chunk(&out[..len]).unwrap().unwrap();
        let mut plain = [0];
        opener.open(chunk, &out[..len], &mut plain).unwrap();
        assert_eq!(plain, [i as u8]);
    }
}

#[test]
fn a_chunk_of_ours_stays_within_sixteen_kibibytes_and_one_of_any_size_is_read() {
    let keys = Keys {
        key: [1; 16],
        iv: [2; 16],
    };
    for (options, most) in [(0x01, 0xffff - 16), (0x1d, 0xffff - 63)] {
        let framing = Framing {
            cipher: Cipher::Aes128Gcm,
            options,
            packets: false,
        };
        for len in [MAX_PLAIN, most] {
            let plain = vec![5; len];
            let mut out = vec![0; len + MAX_OVERHEAD];
            let len = Sealer::new(framing, &keys, &keys).seal(&plain, &mut out, &mut |_| {});
            assert!(plain.len() > MAX_PLAIN || len <= 16 * 1024);
            let mut opener = Opener::new(framing, &keys, &keys);
            let chunk = opener.chunk(&out[..len]).unwrap().unwrap();
            let mut opened = vec![0; chunk.plain];
            opener.open(chunk, &out[..len], &mut opened).unwrap();
            assert!(opened == plain);
        }
    }
}

#[test]
fn no_input_panics() {
    let mut state = 1_u32;
    for round in 0..3000 {
        let data: Vec<u8> = (0..round % 90)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8 & if round % 2 == 0 { 0xff } else { 0x07 }
            })
            .collect();
        testing::address(&data);
        testing::vmess_request(&data);
        testing::vmess_response(&data);
        testing::vmess_chunks(&data);
    }
    let mut with_plain = hex(&vectors()["headers"][1]["plain"]);
    testing::vmess_request(&with_plain);
    with_plain.truncate(50);
    testing::vmess_request(&with_plain);
}

#[test]
fn padding_tells_who_has_made_a_header() {
    let of = |padding: &[u8]| {
        let request = Request {
            iv: [0; 16],
            key: [0; 16],
            v: 0,
            options: option::CHUNKS,
            cipher: Cipher::Aes128Gcm,
            marks_ends: false,
            padding: Padding::Unknown,
            command: Command::Stream("a.test:1".parse().unwrap()),
        };
        let mut plain = BytesMut::new();
        request.encode(padding, &mut plain).unwrap();
        Request::decode(&plain).unwrap().padding
    };
    assert_eq!(of(&[]), Padding::Unknown);
    assert_eq!(of(&[0; 3]), Padding::Unknown);
    assert_eq!(of(&[0; 4]), Padding::Zeros);
    assert_eq!(of(&[7]), Padding::Random);
    assert_eq!(of(&[0, 0, 0, 0, 9]), Padding::Random);
}
