use hex_literal::hex;

use super::*;
use crate::testing::ws_frames;

/// Payload, controls and mistake of what `peer` sends.
fn opened(peer: Role, bytes: &[u8]) -> (Vec<u8>, Vec<String>, Option<FrameError>) {
    ws_frames(bytes);
    let mut buf = bytes.to_vec();
    let mut controls = Vec::new();
    let (n, result) = Decoder::new(peer).open(&mut buf, |c| controls.push(format!("{c:?}")));
    buf.truncate(n);
    (buf, controls, result.err())
}

fn mistake(peer: Role, bytes: &[u8]) -> Option<FrameError> {
    opened(peer, bytes).2
}

#[test]
fn frames_written_by_other_implementations() {
    let (plain, ..) = opened(Role::Client, &hex!("8282 01020304 696b"));
    assert_eq!(plain, b"hi");
    let (plain, ..) = opened(Role::Server, &hex!("8202 6869"));
    assert_eq!(plain, b"hi");
    let (_, controls, _) = opened(Role::Server, &hex!("8802 03e8"));
    assert_eq!(controls, ["Close(Some(1000), [])"]);
    let (_, controls, _) = opened(Role::Client, &hex!("8981 01020304 71"));
    assert_eq!(controls, ["Ping([112])"]);
}

#[test]
fn a_header_undoes_its_own_encoding() {
    for len in [0, 1, 125, 126, 127, 0xffff, 0x10000, u64::MAX >> 1] {
        for mask in [None, Some([1, 2, 3, 4])] {
            let header = Header {
                fin: len % 2 == 0,
                opcode: Opcode::Binary,
                mask,
                len,
            };
            let mut out = [0; MAX_HEADER];
            let n = header.encode(&mut out);
            assert_eq!(Header::decode(&out[..n]), Ok(Some((header, n))));
            for short in 0..n {
                assert_eq!(Header::decode(&out[..short]), Ok(None));
            }
        }
    }
}

#[test]
fn fragments_text_and_empty_frames_are_one_stream() {
    let bytes = hex!("0101 61 0000 8900 0001 62 8001 63 8200 8101 64");
    let (plain, controls, error) = opened(Role::Server, &bytes);
    assert_eq!((plain.as_slice(), error), (&b"abcd"[..], None));
    assert_eq!(controls, ["Ping([])"]);
}

#[test]
fn each_breach_of_the_protocol_is_named() {
    use FrameError::*;
    for (bytes, error) in [
        (&hex!("c280 00000000")[..], ReservedBits(4)),
        (&hex!("9280 00000000"), ReservedBits(1)),
        (&hex!("8380 00000000"), ReservedOpcode(3)),
        (&hex!("8b80 00000000"), ReservedOpcode(0xb)),
        (&hex!("0980 00000000"), FragmentedControl),
        (&hex!("89fe 007e 00000000"), LongControl(126)),
        (&hex!("82ff 8000000000000000 00000000"), Length),
        (&hex!("8201 61"), Unmasked),
        (&hex!("8080 00000000"), StrayContinuation),
        (&hex!("0280 00000000 8280 00000000"), Interleaved),
        (&hex!("8881 00000000 03"), CloseLength),
        (&hex!("8882 00000000 03ed"), CloseCode(1005)),
        (&hex!("8882 00000000 0000"), CloseCode(0)),
    ] {
        assert_eq!(mistake(Role::Client, bytes), Some(error));
    }
    assert_eq!(mistake(Role::Server, &hex!("8280 00000000")), Some(Masked));
}

#[test]
fn what_stands_before_a_mistake_is_delivered() {
    let (plain, _, error) = opened(Role::Server, &hex!("8202 6869 c200"));
    assert_eq!(
        (plain.as_slice(), error),
        (&b"hi"[..], Some(FrameError::ReservedBits(4)))
    );
}

#[test]
fn nothing_after_a_close_frame_is_looked_at() {
    let (plain, controls, error) = opened(Role::Server, &hex!("8804 03e9 6f6b 8202 6869 ffff"));
    assert_eq!((plain.len(), error), (0, None));
    assert_eq!(controls, ["Close(Some(1001), [111, 107])"]);
}

#[test]
fn masking_goes_on_where_it_stopped() {
    let plain: Vec<u8> = (0..200).collect();
    let mut whole = plain.clone();
    mask(&mut whole, &mut [1, 2, 3, 4]);
    for (i, byte) in whole.iter().enumerate() {
        assert_eq!(byte ^ plain[i], [1, 2, 3, 4][i % 4]);
    }
    for split in 0..plain.len() {
        let mut pieces = plain.clone();
        let mut key = [1, 2, 3, 4];
        let (front, back) = pieces.split_at_mut(split);
        mask(front, &mut key);
        mask(back, &mut key);
        assert_eq!(pieces, whole);
    }
}

#[test]
fn random_bytes_do_no_harm() {
    let mut bytes = [0; 256];
    for _ in 0..20_000 {
        getrandom::fill(&mut bytes).unwrap();
        // Bytes that get past the first header now and then.
        bytes[0] &= 0x8f;
        let n = usize::from(bytes[255]);
        ws_frames(&bytes[..n]);
    }
}

#[test]
fn a_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 160, "{}", size_of::<Decoder>());
}
