//! Protocols of proxies.

/// Destinations, in either order of their fields.
pub fn address(data: &[u8]) {
    use crate::address::{Destination, Form};
    use bytes::BytesMut;

    for form in [Form::PortFirst, Form::PortLast] {
        let mut buf = BytesMut::from(data);
        match Destination::decode(&mut buf, form) {
            Ok(Some(to)) => {
                let mut again = BytesMut::new();
                to.encode(form, &mut again)
                    .expect("what was read can be written");
                assert_eq!(Destination::decode(&mut again, form), Ok(Some(to)));
            }
            Ok(None) => assert_eq!(buf, data, "a decoder that wants more takes nothing"),
            Err(_) => {}
        }
    }
}

/// All SOCKS handshake messages, in both directions.
pub fn socks_request(data: &[u8]) {
    use crate::protocol::socks::codec::{Greeting, Login, Reply, Request, decode_pair};
    use bytes::BytesMut;

    fn shake<T, E>(data: &[u8], decode: impl Fn(&mut BytesMut) -> Result<Option<T>, E>) {
        let mut buf = BytesMut::from(data);
        if let Ok(None) = decode(&mut buf) {
            assert_eq!(buf, data, "a decoder that wants more takes nothing");
        }
    }
    shake(data, Greeting::decode);
    shake(data, Login::decode);
    shake(data, Request::decode_4);
    shake(data, Reply::decode);
    shake(data, |buf| decode_pair(buf, 0x05));

    let mut buf = BytesMut::from(data);
    let Ok(Some(request)) = Request::decode(&mut buf) else {
        return;
    };
    let mut again = BytesMut::new();
    request
        .encode(&mut again)
        .expect("what was read can be written");
    assert_eq!(Request::decode(&mut again), Ok(Some(request)));
}

/// Datagrams with a SOCKS header.
pub fn socks_udp(data: &[u8]) {
    use crate::protocol::socks::codec::{decode_datagram, encode_datagram};
    use bytes::BytesMut;

    let Some((peer, payload)) = decode_datagram(BytesMut::from(data)) else {
        return;
    };
    let mut again = BytesMut::new();
    encode_datagram(&peer, &payload, &mut again).expect("what was read can be written");
    assert_eq!(decode_datagram(again), Some((peer, payload)));
}

/// Relay: requests, answers and datagrams.
pub fn relay(data: &[u8]) {
    use crate::protocol::length_prefixed::{decode_packet, encode_packet};
    use crate::protocol::relay::codec::{
        Answer, MAX_REQUEST, Request, Response, decode_addressed, encode_addressed,
    };
    use bytes::BytesMut;

    // Every beginning is looked into, so a long one would take its square of time.
    let short = &data[..data.len().min(1000)];
    crate::testing::assert_split_agrees(short, Request::decode);
    crate::testing::assert_split_agrees(short, Response::decode);
    crate::testing::assert_split_agrees(short, decode_addressed);
    let mut buf = BytesMut::from(data);
    match Request::decode(&mut buf) {
        Ok(Some(request)) => {
            let mut again = BytesMut::new();
            let written = request.encode(&mut again);
            written.expect("what was read can be written");
            assert_eq!(Request::decode(&mut again), Ok(Some(request)));
        }
        Ok(None) => {
            assert_eq!(buf, data, "a decoder that wants more takes nothing");
            assert!(data.len() < MAX_REQUEST);
        }
        Err(_) => assert_eq!(buf, data, "what is refused is given back whole"),
    }
    let mut buf = BytesMut::from(data);
    let whole = Response::decode(&mut buf);
    let mut answer = Answer::default();
    if let (Ok(Some(response)), Ok(taken)) = (whole, answer.take(data)) {
        assert_eq!((response.status, answer), (0, Answer::Whole));
        assert_eq!(taken, data.len() - buf.len(), "both find the same end");
    }
    let mut buf = BytesMut::from(data);
    while let Some(packet) = decode_packet(&mut buf) {
        let mut again = BytesMut::new();
        encode_packet(&packet, &mut again);
        assert_eq!(decode_packet(&mut again), Some(packet));
    }
    let mut buf = BytesMut::from(data);
    while let Ok(Some((peer, packet))) = decode_addressed(&mut buf) {
        let mut again = BytesMut::new();
        encode_addressed(&peer, &packet, &mut again);
        let read = decode_addressed(&mut again);
        assert_eq!(read, Ok((!packet.is_empty()).then_some((peer, packet))));
    }
}

/// Trojan: requests and datagrams, and whose a request is that is none.
pub fn trojan(data: &[u8]) {
    use crate::protocol::trojan::codec::{
        MAX_PACKET, MAX_REQUEST, Request, decode_packet, encode_packet,
    };
    use bytes::BytesMut;

    crate::testing::assert_split_agrees(&data[..data.len().min(MAX_REQUEST)], Request::decode);
    let mut buf = BytesMut::from(data);
    match Request::decode(&mut buf) {
        Ok(Some(request)) => {
            let mut again = BytesMut::new();
            let written = request.encode(&mut again);
            written.expect("what was read can be written");
            // An address that was spelled as a name is written as an address.
            assert!(again.len() <= data.len() - buf.len() + 16);
            assert_eq!(Request::decode(&mut again), Ok(Some(request)));
        }
        Ok(None) => {
            assert_eq!(buf, data, "a decoder that wants more takes nothing");
            assert!(data.len() < MAX_REQUEST);
        }
        Err(_) => assert_eq!(buf, data, "what is refused is given back whole"),
    }

    crate::protocol::fallbacks::fuzz(&data[..data.len().min(MAX_REQUEST)]);

    crate::testing::assert_split_agrees(&data[..data.len().min(MAX_REQUEST)], decode_packet);
    let mut buf = BytesMut::from(data);
    loop {
        let before = buf.clone();
        let (peer, packet) = match decode_packet(&mut buf) {
            Ok(Some(packet)) => packet,
            Ok(None) => {
                assert_eq!(buf, before, "a decoder that wants more takes nothing");
                return assert!(buf.len() < MAX_PACKET);
            }
            Err(_) => return assert_eq!(buf, before, "what is refused is given back whole"),
        };
        let mut again = BytesMut::new();
        encode_packet(&peer, &packet, &mut again);
        assert_eq!(decode_packet(&mut again), Ok(Some((peer, packet))));
    }
}

/// VLESS: requests, responses and datagrams.
pub fn vless(data: &[u8]) {
    use crate::protocol::length_prefixed::{decode_packet, encode_packet};
    use crate::protocol::vless::codec::{MAX_PACKET, MAX_REQUEST, Request, Response};
    use bytes::BytesMut;

    crate::testing::assert_split_agrees(&data[..data.len().min(MAX_REQUEST)], Request::decode);
    let mut buf = BytesMut::from(data);
    match Request::decode(&mut buf) {
        Ok(Some(request)) => {
            let mut again = BytesMut::new();
            let written = request.encode(&mut again);
            written.expect("what was read can be written");
            // An address that was spelled as a name is written as an address.
            assert!(again.len() <= data.len() - buf.len() + 16);
            assert_eq!(Request::decode(&mut again), Ok(Some(request)));
        }
        Ok(None) => {
            assert_eq!(buf, data, "a decoder that wants more takes nothing");
            assert!(data.len() < MAX_REQUEST);
        }
        Err(_) => assert_eq!(buf, data, "what is refused is given back whole"),
    }

    let take = |size: usize| {
        let (mut response, mut plain) = (Response::default(), Vec::new());
        for piece in data.chunks(size) {
            let n = response.take(piece)?;
            plain.extend_from_slice(&piece[n..]);
        }
        Ok::<_, crate::protocol::vless::codec::ResponseError>((response, plain))
    };
    let whole = take(data.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(take(size), whole, "in pieces of {size}");
    }

    let mut buf = BytesMut::from(data);
    loop {
        let before = buf.clone();
        let Some(packet) = decode_packet(&mut buf) else {
            assert_eq!(buf, before, "a decoder that wants more takes nothing");
            return assert!(buf.len() < MAX_PACKET);
        };
        let mut again = BytesMut::new();
        encode_packet(&packet, &mut again);
        assert_eq!(again, before[..before.len() - buf.len()]);
    }
}

/// Shadowsocks, past its seals, which no fuzzer opens: what stands in a request and in datagrams. Sealed again it is
/// the same, wherever it is cut.
pub fn shadowsocks(data: &[u8]) {
    use crate::protocol::shadowsocks::codec::chunks::{Edition, MAX_CHUNK, Opener, Sealer};
    use crate::protocol::shadowsocks::codec::head::take_variable;
    use crate::protocol::shadowsocks::codec::packet;
    use crate::protocol::shadowsocks::codec::packet_2022::{Front, Message, Session, open_chacha};
    use crate::protocol::shadowsocks::{Cipher, Key};
    use bytes::BytesMut;

    let mut variable = BytesMut::from(data);
    if take_variable(&mut variable).is_ok() {
        assert!(variable.len() < data.len());
    }
    if let Some((to, rest)) = packet::split(BytesMut::from(data)) {
        let mut again = BytesMut::new();
        packet::join(&to, &rest, &mut again).expect("what was read can be written");
        // An address that was spelled as a name is written as an address.
        assert!(again.len() <= data.len() + 16);
        assert_eq!(packet::split(again), Some((to, rest)));
    }
    for is_response in [false, true] {
        if let Some(message) = Message::decode(BytesMut::from(data), is_response) {
            let mut again = BytesMut::new();
            message
                .encode(&mut again)
                .expect("what was read can be written");
            assert!(again.len() <= data.len() + 16);
            assert_eq!(Message::decode(again, is_response), Some(message));
        }
    }
    for cipher in [Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305] {
        let key = Key::new(cipher, &[7; 32][..cipher.key_len()]).expect("it has the length");
        let mut opener = Opener::new(Edition::Blake3, cipher, &key, data);
        assert!(opener.chunk(data).is_err() || data.len() < MAX_CHUNK);
        assert_eq!(packet::open(cipher, &key, data), None);
        match Front::of_server(cipher, &key).open_ids(data) {
            Some((ids, rest)) => {
                assert_eq!(
                    Session::new(cipher, &key, ids.session).open(ids, rest),
                    None
                );
            }
            None => assert_eq!(open_chacha(&key, data), None),
        }

        let plain = &data[..data.len().min(2000)];
        let mut sealer = Sealer::new(Edition::Aead, cipher, &key, b"salt");
        let mut wire = vec![0; MAX_CHUNK];
        let len = sealer.seal(plain, &mut wire);
        let mut opener = Opener::new(Edition::Aead, cipher, &key, b"salt");
        for n in (0..len).step_by(7) {
            assert_eq!(opener.chunk(&wire[..n]), Ok(None));
        }
        let chunk = opener.chunk(&wire[..len]);
        let chunk = chunk.expect("it opens").expect("it is whole");
        let mut opened = vec![0; chunk.plain];
        let result = opener.open(chunk, &wire[..len], &mut opened);
        result.expect("it opens");
        assert_eq!(opened, plain);
    }
}
