//! What tests share: the laws every codec obeys, and one entry function per fuzz target.
//!
//! The laws: (1) what is encoded decodes to itself; (2) the answer does not depend on where the bytes
//! were split; (3) `None` leaves the buffer as it was; (4) no input panics; (5) memory is bounded by a
//! named constant. Fuzz targets call the entry functions below, which hold laws 2 to 5 against
//! whatever they are given.

use std::fmt::Debug;

use bytes::BytesMut;

use crate::address::{Destination, Form};
use crate::protocol::vmess::codec::auth_id::CmdKey;
use crate::protocol::vmess::codec::body::{Cipher, Framing, MAX_CHUNK, Opener};
use crate::protocol::vmess::codec::response::Keys;
use crate::protocol::vmess::codec::{header, response};

/// Laws 1 to 3: `bytes` decode to `value`, all of them are taken, and every shorter beginning asks
/// for more and is left alone.
pub fn assert_decodes<T: Debug + PartialEq, E: Debug + PartialEq>(
    bytes: &[u8],
    value: &T,
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, E>,
) {
    for n in 0..bytes.len() {
        let mut part = BytesMut::from(&bytes[..n]);
        assert_eq!(decode(&mut part), Ok(None), "{n} of {} bytes", bytes.len());
        assert_eq!(part, bytes[..n], "nothing is taken from a short buffer");
    }
    let mut whole = BytesMut::from(bytes);
    let decoded = decode(&mut whole).expect("the bytes are right");
    assert_eq!(decoded.as_ref(), Some(value));
    assert!(whole.is_empty(), "{} bytes are left", whole.len());
}

/// Laws 2 and 3 for any bytes: once a beginning decodes or is refused, more bytes behind it change
/// nothing; until then nothing is taken.
pub fn assert_split_agrees<T: Debug + PartialEq, E: Debug + PartialEq>(
    bytes: &[u8],
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, E>,
) {
    let mut whole = BytesMut::from(bytes);
    let expected = decode(&mut whole);
    let used = bytes.len() - whole.len();
    for n in 0..bytes.len() {
        let mut part = BytesMut::from(&bytes[..n]);
        match decode(&mut part) {
            Ok(None) => assert_eq!(part, bytes[..n], "nothing is taken from a short buffer"),
            early => {
                assert_eq!(early, expected, "{n} of {} bytes", bytes.len());
                assert!(early.is_err() || n - part.len() == used);
            }
        }
    }
}

/// An address in either form.
pub fn address(data: &[u8]) {
    let data = &data[..data.len().min(300)];
    for form in [Form::PortFirst, Form::PortLast] {
        assert_split_agrees(data, |buf| Destination::decode(buf, form));
    }
}

/// A sealed request under a known key, and the plain header behind the seal.
pub fn vmess_request(data: &[u8]) {
    let data = &data[..data.len().min(header::MAX_HEADER)];
    let key = CmdKey([7; 16]);
    let _ = header::open(&key, &mut BytesMut::from(data));
    if let Ok(request) = header::Request::decode(data) {
        let mut plain = BytesMut::new();
        request
            .encode(&[], &mut plain)
            .expect("a decoded address can be written");
        assert!(header::Request::decode(&plain) == Ok(request));
    }
    let sealed = header::seal(&key, &[1; 16], &[2; 8], data);
    let mut buf = sealed.clone();
    if header::open(&key, &mut buf) == Ok(None) {
        panic!("a whole header does not ask for more");
    }
}

/// A response header from a server that may say anything under the right key.
pub fn vmess_response(data: &[u8]) {
    let keys = Keys {
        key: [7; 16],
        iv: [9; 16],
    };
    let _ = response::open(&keys, 1, &mut BytesMut::from(data));
    let data = &data[..data.len().min(300)];
    let sealed = response::seal_plain(&keys, data);
    assert_ne!(
        response::open(&keys, 1, &mut BytesMut::from(&sealed[..])),
        Ok(None)
    );
}

/// A body of any form, in two pieces: the first byte says the form, the second where to split.
pub fn vmess_chunks(data: &[u8]) {
    let [form, split, data @ ..] = data else {
        return;
    };
    let keys = Keys {
        key: [7; 16],
        iv: [9; 16],
    };
    let framing = Framing {
        cipher: [Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305, Cipher::None]
            [usize::from(form >> 6) % 3],
        options: form & 0x1d,
        packets: form & 0x20 != 0,
    };
    if framing.is_raw() {
        return;
    }
    let read = |first: usize| {
        let mut opener = Opener::new(framing, &keys, &keys);
        let (mut at, mut out) = (0, Vec::new());
        for end in [first.min(data.len()), data.len()] {
            loop {
                match opener.chunk(&data[at..end]) {
                    Ok(Some(chunk)) => {
                        assert!(chunk.len <= MAX_CHUNK && chunk.plain <= chunk.len);
                        let mut plain = vec![0; chunk.plain];
                        if opener.open(chunk, &data[at..end], &mut plain).is_err() {
                            return out;
                        }
                        at += chunk.len;
                        out.push(plain);
                    }
                    Ok(None) => break,
                    Err(_) => return out,
                }
            }
        }
        out
    };
    assert_eq!(read(usize::from(*split)), read(data.len()));
}
