//! What tests share: the laws every codec obeys, and one entry function per fuzz target.

/// WebSocket frames: whatever comes and however it is split, the bytes that come out are the same, and
/// a header that was read can be written again.
pub fn ws_frames(data: &[u8]) {
    use crate::transport::ws::codec::{Decoder, Header, MAX_HEADER, Role};

    for peer in [Role::Client, Role::Server] {
        let open = |size: usize| {
            let mut decoder = Decoder::new(peer);
            let (mut plain, mut controls) = (Vec::new(), Vec::new());
            for piece in data.chunks(size) {
                let mut piece = piece.to_vec();
                let (n, result) = decoder.open(&mut piece, |c| controls.push(format!("{c:?}")));
                assert!(n <= piece.len());
                plain.extend_from_slice(&piece[..n]);
                if let Err(error) = result {
                    controls.push(error.to_string());
                    break;
                }
            }
            (plain, controls)
        };
        let whole = open(data.len().max(1));
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(open(size), whole, "in pieces of {size}");
        }
    }
    if let Ok(Some((header, n))) = Header::decode(data) {
        let mut out = [0; MAX_HEADER];
        let written = header.encode(&mut out);
        // A length may be written longer than it needs to be.
        assert!(written <= n);
        assert_eq!(Header::decode(&out[..written]), Ok(Some((header, written))));
    }
}

/// The header of the PROXY protocol: no bytes make it panic, and none past its end are asked for.
pub fn proxy_header(data: &[u8]) {
    crate::transport::proxy_protocol::fuzz(data);
}
