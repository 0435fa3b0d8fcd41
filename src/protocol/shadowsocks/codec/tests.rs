//! All bytes of the reference vectors.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::chunks::{ChunkError, Edition, LENGTH, MAX_CHUNK, Opener, Sealer};
use super::counted::Counted;
use super::head::{
    Awaited, FIXED, Fixed, Head, MAX_HEAD, RequestError, ResponseError, take_variable,
};
use super::identity;
use super::keys::{IDENTITY, Key, KeyError, SESSION};
use super::method::{Cipher, Method};
use super::packet;
use super::packet_2022::{Front, Ids, Message, Session, open_chacha};
use crate::address::{Destination, Form};

fn vectors() -> Value {
    serde_json::from_str(include_str!(
        "../../../../testdata/vectors/shadowsocks.json"
    ))
    .unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn cases(of: &Value) -> Vec<Value> {
    of["cases"].as_array().unwrap().clone()
}

fn cipher_for(len: usize) -> Cipher {
    match len {
        16 => Cipher::Aes128Gcm,
        _ => Cipher::Aes256Gcm,
    }
}

fn to(text: &str) -> Destination {
    text.parse().unwrap()
}

/// What a recorded conversation was sealed with.
struct Conversation {
    name: String,
    cipher: Cipher,
    edition: Edition,
    /// Those of servers, and the user's.
    identities: Vec<Key>,
    key: Key,
    case: Value,
}

fn conversations() -> Vec<Conversation> {
    let all = cases(&vectors()["conversations"]);
    assert_eq!(all.len(), 24);
    let read = all.into_iter().map(|case| {
        let method = case["method"].as_str().unwrap();
        let password = case["password_text"].as_str().unwrap();
        let name = format!("{} {method}", case["by"][1]);
        let (edition, cipher, mut keys) = match Method::named(method).unwrap() {
            Method::None => panic!("nothing is sealed"),
            Method::Aead(cipher) => {
                let key = Key::from_password(cipher, password);
                (Edition::Aead, cipher, vec![key])
            }
            Method::Blake3(cipher) => {
                let keys = password.split(':');
                let keys = keys.map(|text| Key::from_base64(cipher, text).unwrap());
                (Edition::Blake3, cipher, keys.collect())
            }
        };
        let key = keys.pop().unwrap();
        Conversation {
            name,
            cipher,
            edition,
            identities: keys,
            key,
            case,
        }
    });
    read.collect()
}

#[test]
fn keys_of_the_reference() {
    let vectors = vectors();
    for case in cases(&vectors["password_key"]) {
        let expected = hex(&case["key"]);
        let password = case["password_text"].as_str().unwrap();
        let key = Key::from_password(cipher_for(expected.len()), password);
        assert_eq!(key.as_slice(), expected);
    }
    for case in cases(&vectors["derive_key"]) {
        let (material, expected) = (hex(&case["material"]), hex(&case["out"]));
        let (key, salt) = material.split_at(expected.len());
        let key = Key::new(cipher_for(key.len()), key).unwrap();
        let context = match case["context_text"].as_str().unwrap() {
            "shadowsocks 2022 session subkey" => &SESSION,
            _ => &IDENTITY,
        };
        assert_eq!(key.derive(context, salt).as_slice(), expected);
    }
    for case in cases(&vectors["identity_hash"]) {
        let psk = hex(&case["psk"]);
        let key = Key::new(cipher_for(psk.len()), &psk).unwrap();
        assert_eq!(key.hash()[..], hex(&case["hash16"]));
    }
    for case in cases(&vectors["hkdf_sha1"]) {
        let (key, salt) = (hex(&case["key"]), hex(&case["salt"]));
        let cipher = cipher_for(key.len());
        let ours = Key::new(cipher, &key).unwrap().aead_session(cipher, &salt);
        let theirs = crate::aead::Key::new(cipher, &hex(&case["subkey"]));
        let (mut one, mut other) = ([0; 20], [0; 20]);
        ours.seal([0; 12], b"word", &mut one);
        theirs.seal([0; 12], b"word", &mut other);
        assert_eq!(one, other, "both keys seal alike");
    }
}

#[test]
fn a_key_that_is_none_is_told_how_long_it_should_be() {
    let error = Key::from_base64(Cipher::Aes128Gcm, "c2hvcnQ=");
    let length = KeyError::Length {
        found: 5,
        wanted: 16,
    };
    assert_eq!(error, Err(length));
    let error = Key::from_base64(Cipher::Aes128Gcm, "a word");
    assert_eq!(error, Err(KeyError::NotBase64));
    let key = Key::from_base64(Cipher::Aes128Gcm, "bCPY1dHSOODxnklfEDPYLA==").unwrap();
    assert_eq!(format!("{key:?}"), "***");
}

/// Each is read as a server does, and written anew as its client wrote it.
#[test]
fn streams_of_other_clients() {
    for conversation in conversations() {
        let Conversation {
            name,
            cipher,
            edition,
            identities,
            key,
            case,
        } = conversation;
        let wire = hex(&case["tcp"]);
        let (salt, rest) = wire.split_at(cipher.key_len());
        let mut opener = Opener::new(edition, cipher, &key, salt);
        let mut sealer = Sealer::new(edition, cipher, &key, salt);
        let mut again = salt.to_vec();
        let headers = identity::headers(cipher, &identities, &key, salt);
        let (given, mut rest) = rest.split_at(headers.len());
        assert_eq!(given, headers, "{name}");
        again.extend(&headers);
        if let [server] = &identities[..] {
            let found = identity::open(cipher, server, salt, given.try_into().unwrap());
            assert_eq!(found, Some(key.hash()), "{name}");
        }
        let mut plain = BytesMut::new();
        let mut out = [0; 4096];
        if edition == Edition::Blake3 {
            let (fixed, behind) = rest.split_first_chunk::<FIXED>().unwrap();
            let time = Fixed::open(&mut opener, fixed).unwrap().time;
            let written = hex(&case["fixed_header"]);
            assert_eq!(time.to_be_bytes(), written[1..9]);
            let n = sealer.piece(&written, &mut out);
            again.extend(&out[..n]);
            let n = sealer.piece(&hex(&case["variable_header"]), &mut out);
            again.extend(&out[..n]);
            rest = behind;
        }
        for piece in case["chunks"].as_array().unwrap() {
            let n = sealer.seal(&hex(piece), &mut out);
            again.extend(&out[..n]);
        }
        assert_eq!(again, wire, "{name}");
        while let Some(chunk) = opener.chunk(rest).unwrap() {
            let mut opened = vec![0; chunk.plain];
            opener.open(chunk, rest, &mut opened).unwrap();
            plain.extend_from_slice(&opened);
            rest = &rest[chunk.whole()..];
        }
        assert_eq!(rest, b"", "{name}");
        let asked = match edition {
            Edition::Blake3 => take_variable(&mut plain).unwrap(),
            Edition::Aead => Destination::decode(&mut plain, Form::PortLast)
                .unwrap()
                .unwrap(),
        };
        assert_eq!(asked, to("127.0.0.1:4321"), "{name}");
        assert!(plain.starts_with(b"hello from "), "{name}: {plain:?}");
    }
}

#[test]
fn datagrams_of_other_clients() {
    for conversation in conversations() {
        let Conversation {
            name,
            cipher,
            edition,
            identities,
            key,
            case,
        } = conversation;
        for (n, datagram) in case["udp"].as_array().unwrap().iter().enumerate() {
            let (wire, expected) = (hex(&datagram["packet"]), hex(&datagram["plain"]));
            let mut out = BytesMut::new();
            if edition == Edition::Aead {
                let plain = packet::open(cipher, &key, &wire).unwrap();
                assert_eq!(plain, expected, "{name}");
                let salt = Key::new(cipher, &wire[..cipher.key_len()]).unwrap();
                packet::seal(cipher, &key, &salt, &plain, &mut out);
                assert_eq!(out, wire, "{name}");
                let (asked, data) = packet::split(plain).unwrap();
                assert_eq!(asked, to("127.0.0.1:4322"));
                assert_eq!(data, format!("datagram {n}"));
                continue;
            }
            let front = Front::of_client(cipher, &identities, &key);
            let (ids, plain, nonce) = match cipher.is_aes() {
                true => {
                    let server = identities.first().unwrap_or(&key);
                    let opening = Front::of_server(cipher, server);
                    let (ids, mut rest) = opening.open_ids(&wire).unwrap();
                    if !identities.is_empty() {
                        let (hash, behind) = opening.open_identity(ids, rest).unwrap();
                        assert_eq!(hash, key.hash(), "{name}");
                        rest = behind;
                    }
                    let session = Session::new(cipher, &key, ids.session);
                    let separate = hex(&datagram["separate_header"]);
                    assert_eq!(ids.to_bytes()[..], separate);
                    (ids, session.open(ids, rest).unwrap(), Vec::new())
                }
                false => {
                    let (ids, plain) = open_chacha(&key, &wire).unwrap();
                    assert_eq!(ids.to_bytes(), expected[..16]);
                    (ids, plain, hex(&datagram["nonce"]))
                }
            };
            assert_eq!(ids.packet, n as u64, "{name}");
            assert!(expected.ends_with(&plain), "{name}");
            let session = Session::new(cipher, &key, ids.session);
            let mut chance = |bytes: &mut [u8]| bytes.copy_from_slice(&nonce);
            session.seal(ids, &front, &plain, &mut chance, &mut out);
            assert_eq!(out, wire, "{name}");
            let message = Message::decode(plain.clone(), false).unwrap();
            assert_eq!(message.address, to("127.0.0.1:4322"));
            assert_eq!(message.data, format!("datagram {n}"));
            let mut again = BytesMut::new();
            message.encode(&mut again).unwrap();
            assert_eq!(again, plain, "{name}");
            assert_eq!(Message::decode(plain, true), None, "it is no answer");
            for i in 0..wire.len() {
                let mut changed = wire.clone();
                changed[i] ^= 1;
                assert!(!opens(cipher, &identities, &key, &changed), "{name}: {i}");
            }
        }
    }
}

/// As a server with one user finds out.
fn opens(cipher: Cipher, identities: &[Key], key: &Key, wire: &[u8]) -> bool {
    if !cipher.is_aes() {
        return open_chacha(key, wire).is_some();
    }
    let opening = Front::of_server(cipher, identities.first().unwrap_or(key));
    let (ids, mut rest) = opening.open_ids(wire).unwrap();
    if !identities.is_empty() {
        let (hash, behind) = opening.open_identity(ids, rest).unwrap();
        rest = behind;
        if hash != key.hash() {
            return false;
        }
    }
    let session = Session::new(cipher, key, ids.session);
    session.open(ids, rest).is_some()
}

fn key(cipher: Cipher, byte: u8) -> Key {
    Key::new(cipher, &[byte; 32][..cipher.key_len()]).unwrap()
}

const CIPHERS: [Cipher; 3] = [
    Cipher::Aes128Gcm,
    Cipher::Aes256Gcm,
    Cipher::ChaCha20Poly1305,
];

const NOW: u64 = 1_800_000_000;

fn chance(bytes: &mut [u8]) {
    bytes.fill(3);
}

/// A request that was sealed by us, with what stands in front of its fixed part.
fn request(cipher: Cipher, payload: &[u8]) -> (Vec<u8>, usize) {
    let (user, salt) = (key(cipher, 1), key(cipher, 2));
    let mut address = BytesMut::new();
    to("a.example:80")
        .encode(Form::PortLast, &mut address)
        .unwrap();
    let head = Head::Request {
        salt,
        identities: Vec::new(),
        address: address.freeze(),
    };
    let mut sealer = Sealer::new(Edition::Blake3, cipher, &user, salt.as_slice());
    let mut out = vec![0; MAX_HEAD + payload.len()];
    let written = head.seal(&mut sealer, payload, NOW, &mut chance, &mut out);
    out.truncate(written.len);
    (out, written.payload)
}

#[test]
fn a_request_has_padding_unless_it_has_much_payload() {
    for cipher in CIPHERS {
        for len in [0, 1, 899, 900, 0xffff, 100_000] {
            let payload = vec![7; len];
            let (wire, taken) = request(cipher, &payload);
            let (salt, rest) = wire.split_at(cipher.key_len());
            let user = key(cipher, 1);
            let mut opener = Opener::new(Edition::Blake3, cipher, &user, salt);
            let (fixed, rest) = rest.split_first_chunk::<FIXED>().unwrap();
            let fixed = Fixed::open(&mut opener, fixed).unwrap();
            assert_eq!(fixed.time, NOW);
            let chunk = opener.chunk(rest).unwrap().unwrap();
            assert_eq!(chunk.whole(), rest.len());
            let mut plain = BytesMut::zeroed(chunk.plain);
            opener.open(chunk, rest, &mut plain).unwrap();
            let before = plain.len();
            assert_eq!(take_variable(&mut plain), Ok(to("a.example:80")));
            assert_eq!(plain, payload[..taken]);
            let padding = before - taken - 15;
            assert_eq!(padding > 0, len < 900, "{len}");
            assert!(taken == len || taken > 65_000);
        }
    }
}

#[test]
fn a_variable_part_that_ends_early_or_hides_nothing_is_refused() {
    let take = |bytes: &[u8]| take_variable(&mut BytesMut::from(bytes));
    let address = hex_literal::hex!("01 7f000001 0050");
    let with = |rest: &[u8]| [&address[..], rest].concat();
    assert_eq!(take(&with(&[0, 0])), Err(RequestError::Bare));
    assert_eq!(take(&with(&[0, 2, 0])), Err(RequestError::Short));
    assert_eq!(take(&with(&[0])), Err(RequestError::Short));
    assert_eq!(take(&address[..6]), Err(RequestError::Short));
    assert_eq!(take(&with(&[0, 1, 0])), Ok(to("127.0.0.1:80")));
    assert!(matches!(take(&[9, 0, 0]), Err(RequestError::Address(_))));
}

/// A response to the request with salt 2, sealed at [`NOW`].
fn response(edition: Edition, cipher: Cipher, payload: &[u8]) -> Vec<u8> {
    let (user, salt) = (key(cipher, 1), key(cipher, 9));
    let request = key(cipher, 2);
    let head = match edition {
        Edition::Aead => Head::Aead {
            salt,
            address: Bytes::new(),
        },
        Edition::Blake3 => Head::Response { salt, request },
    };
    let mut sealer = Sealer::new(edition, cipher, &user, salt.as_slice());
    let mut out = vec![0; MAX_HEAD + MAX_CHUNK];
    let head = head.seal(&mut sealer, payload, NOW, &mut chance, &mut out);
    let rest = &payload[head.payload..];
    let len = match rest.is_empty() {
        true => head.len,
        false => head.len + sealer.seal(rest, &mut out[head.len..]),
    };
    out.truncate(len);
    out
}

#[test]
fn a_response_is_the_one_to_our_request_at_our_time() {
    for cipher in CIPHERS {
        for edition in [Edition::Aead, Edition::Blake3] {
            let wire = response(edition, cipher, b"payload");
            let mut awaited = Awaited {
                edition,
                cipher,
                key: key(cipher, 1),
                salt: key(cipher, 2),
            };
            let (mut opener, used) = awaited.open(&wire, NOW + 30).unwrap().unwrap();
            assert!(awaited.open(&wire[..used - 1], NOW).unwrap().is_none());
            let chunk = opener.chunk(&wire[used..]).unwrap().unwrap();
            let mut plain = vec![0; chunk.plain];
            opener.open(chunk, &wire[used..], &mut plain).unwrap();
            assert_eq!(plain, b"payload");
            if edition == Edition::Aead {
                continue;
            }
            let late = awaited.open(&wire, NOW + 31).map(|_| ());
            let clock = ResponseError::Clock {
                skew: 31,
                behind: true,
            };
            assert_eq!(late, Err(clock));
            awaited.salt = key(cipher, 3);
            let other = awaited.open(&wire, NOW).map(|_| ());
            assert_eq!(other, Err(ResponseError::OtherRequest));
            awaited.key = key(cipher, 3);
            let other = awaited.open(&wire, NOW).map(|_| ());
            assert_eq!(other, Err(ResponseError::Sealed));
            awaited.key = key(cipher, 1);
            let (request, _) = request(cipher, &[7; 2000]);
            let own = awaited.open(&request, NOW).map(|_| ());
            assert_eq!(own, Err(ResponseError::Sealed));
        }
    }
}

#[test]
fn a_chunk_is_opened_once_it_is_whole_and_never_when_it_was_changed() {
    for cipher in CIPHERS {
        let (user, salt) = (key(cipher, 1), key(cipher, 2));
        let fresh = || Opener::new(Edition::Aead, cipher, &user, salt.as_slice());
        let mut sealer = Sealer::new(Edition::Aead, cipher, &user, salt.as_slice());
        let mut wire = [0; 100];
        let len = sealer.seal(b"a few bytes", &mut wire);
        let wire = &wire[..len];
        let mut opener = fresh();
        for n in 0..len {
            assert_eq!(opener.chunk(&wire[..n]), Ok(None));
        }
        assert!(opener.chunk(wire).unwrap().is_some());
        for i in 0..len {
            let mut changed = wire.to_vec();
            changed[i] ^= 1;
            let mut opener = fresh();
            let opened = opener.chunk(&changed).and_then(|chunk| {
                let chunk = chunk.expect("all of it is there");
                opener.open(chunk, &changed, &mut vec![0; chunk.plain])
            });
            let error = match i < LENGTH {
                true => ChunkError::Length,
                false => ChunkError::Payload,
            };
            assert_eq!(opened, Err(error));
        }
    }
}

#[test]
fn the_nonce_counts_in_little_endian() {
    let mut counted = Counted::new(key(Cipher::Aes128Gcm, 1).aead_session(Cipher::Aes128Gcm, b""));
    let plain = key(Cipher::Aes128Gcm, 1).aead_session(Cipher::Aes128Gcm, b"");
    let (mut one, mut other) = ([0; 17], [0; 17]);
    for n in 0..300_u16 {
        counted.seal(b"x", &mut one);
        let mut nonce = [0; 12];
        nonce[..2].copy_from_slice(&n.to_le_bytes());
        plain.seal(nonce, b"x", &mut other);
        assert_eq!(one, other, "{n}");
    }
}

#[test]
fn a_datagram_answers_the_session_that_asked() {
    for cipher in CIPHERS {
        let user = key(cipher, 1);
        let ids = Ids {
            session: 5,
            packet: 8,
        };
        let message = Message {
            time: NOW,
            client: Some(77),
            address: to("[2001:db8::1]:53"),
            data: Bytes::from_static(b"answer"),
        };
        let (mut plain, mut wire) = (BytesMut::new(), BytesMut::new());
        message.encode(&mut plain).unwrap();
        let front = Front::of_server(cipher, &user);
        let session = Session::new(cipher, &user, ids.session);
        session.seal(ids, &front, &plain, &mut chance, &mut wire);
        let (found, opened) = match cipher.is_aes() {
            true => {
                let (ids, rest) = front.open_ids(&wire).unwrap();
                (ids, session.open(ids, rest).unwrap())
            }
            false => open_chacha(&user, &wire).unwrap(),
        };
        assert_eq!(found, ids);
        assert_eq!(Message::decode(opened, true), Some(message));
    }
}
