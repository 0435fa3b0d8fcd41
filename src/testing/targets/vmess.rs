//! VMess: its requests, responses and chunks.

/// VMess request headers: as they come off the wire, and past the seal, which no fuzzer opens.
pub fn vmess_request(data: &[u8]) {
    use crate::protocol::vmess::codec::auth_id::CmdKey;
    use crate::protocol::vmess::codec::fnv::fnv1a;
    use crate::protocol::vmess::codec::header::{Request, open, seal};
    use bytes::BytesMut;

    let key = CmdKey([7; 16]);
    let mut buf = BytesMut::from(data);
    if let Ok(None) = open(&key, &mut buf) {
        assert_eq!(buf, data, "a decoder that wants more takes nothing");
    }

    let plain = [data, &fnv1a(data).to_be_bytes()].concat();
    let Ok(request) = Request::decode(&plain) else {
        return;
    };
    let mut again = BytesMut::new();
    request
        .encode(&[], &mut again)
        .expect("what was read can be written");
    // What padding a client chose is looked at, and not written again.
    let request = Request {
        padding: Default::default(),
        ..request
    };
    assert!(Request::decode(&again).is_ok_and(|read| read == request));
    let mut sealed = seal(&key, &[1; 16], &[2; 8], &again);
    assert!(open(&key, &mut sealed).is_ok_and(|read| read == Some(request)));
}

/// VMess bodies. The first two bytes choose cipher and options; what follows is opened as it is, and
/// sealed and opened again.
pub fn vmess_chunks(data: &[u8]) {
    use crate::protocol::vmess::codec::body::{Cipher, Framing, MAX_OVERHEAD, Opener, Sealer};
    use crate::protocol::vmess::codec::response::Keys;

    let [cipher, options, data @ ..] = data else {
        return;
    };
    let ciphers = [Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305, Cipher::None];
    let framing = Framing {
        cipher: ciphers[usize::from(cipher % 3)],
        options: options | 0x01,
        packets: cipher & 0x80 != 0,
    };
    let keys = Keys {
        key: [3; 16],
        iv: [4; 16],
    };
    let mut opener = Opener::new(framing, &keys, &keys);
    let mut sealed = data;
    while let Ok(Some(chunk)) = opener.chunk(sealed) {
        let mut plain = vec![0; chunk.plain];
        if opener.open(chunk, sealed, &mut plain).is_err() || plain.is_empty() {
            break;
        }
        sealed = &sealed[chunk.len..];
    }

    let mut sealer = Sealer::new(framing, &keys, &keys);
    let mut opener = Opener::new(framing, &keys, &keys);
    for piece in data.chunks(usize::from(*options) + 1) {
        let mut out = vec![0; piece.len() + MAX_OVERHEAD];
        let len = sealer.seal(piece, &mut out, &mut |padding| padding.fill(5));
        assert_eq!(
            opener.chunk(&out[..len - 1]),
            Ok(None),
            "a byte is missing, and found missing"
        );
        let chunk = opener.chunk(&out[..len]).expect("our own chunk");
        let chunk = chunk.expect("a whole chunk");
        assert_eq!(chunk.len, len);
        let mut plain = vec![0; chunk.plain];
        opener.open(chunk, &out, &mut plain).expect("our own chunk");
        assert_eq!(plain, piece);
    }
}

/// VMess response headers.
pub fn vmess_response(data: &[u8]) {
    use crate::protocol::vmess::codec::response::{Keys, open, seal};
    use bytes::BytesMut;

    let keys = Keys {
        key: [3; 16],
        iv: [4; 16],
    };
    let mut buf = BytesMut::from(data);
    if let Ok(None) = open(&keys, 1, &mut buf) {
        assert_eq!(buf, data, "a decoder that wants more takes nothing");
    }
    // What follows a header stays.
    let mut buf = BytesMut::from(&seal(&keys, 1, 2)[..]);
    buf.extend_from_slice(data);
    assert_eq!(open(&keys, 1, &mut buf), Ok(Some(2)));
    assert_eq!(buf, data);
}
