//! What tests share: the laws every codec obeys, and one entry function per fuzz target.

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
