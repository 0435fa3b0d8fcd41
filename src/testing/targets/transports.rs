//! What carries tunnels, and what is inside of them: HTTP, WebSocket, gRPC, multiplexers.

/// What the page of the browser dialer says.
pub fn browser_words(data: &[u8]) {
    use crate::testing::assert_split_agrees;
    use crate::transport::browser::Word;
    use bytes::BytesMut;

    assert_split_agrees(&data[..data.len().min(1024)], Word::decode);
    let mut buf = BytesMut::from(data);
    while let Ok(Some(_)) = Word::decode(&mut buf) {}
}

/// Heads of HTTP messages, as both ends of a WebSocket handshake read them.
pub fn http_heads(data: &[u8]) {
    use crate::http::head::{Decoded, request, response};
    use crate::testing::assert_split_agrees;
    use bytes::{Buf, BytesMut};
    use std::fmt::Debug;

    let data = &data[..data.len().min(1024)];
    assert_split_agrees(data, |buf| taken(buf, request));
    assert_split_agrees(data, |buf| taken(buf, response));

    fn taken<T: Debug>(
        buf: &mut BytesMut,
        decode: impl Fn(&[u8]) -> Decoded<T>,
    ) -> Result<Option<String>, ()> {
        let Some((head, len)) = decode(buf).map_err(|_| ())? else {
            return Ok(None);
        };
        buf.advance(len);
        Ok(Some(format!("{head:?}")))
    }
}

/// Heads that stand in front of what a server sends over plain TCP.
pub fn http_header(data: &[u8]) {
    use crate::testing::assert_split_agrees;
    use crate::transport::http_header::answer;
    use bytes::{Buf, BytesMut};

    let data = &data[..data.len().min(1024)];
    assert_split_agrees(data, |buf: &mut BytesMut| {
        let found = answer(buf)?;
        buf.advance(found.map_or(0, |(len, _)| len));
        Ok::<_, crate::transport::http_header::NotHttp>(found)
    });
}

/// The messages of a tunnel over gRPC.
pub fn grpc_messages(data: &[u8]) {
    crate::transport::grpc::fuzz(&data[..data.len().min(4096)]);
}

/// Requests to an HTTP proxy, as they are handed on to hyper.
pub fn http_proxy_heads(data: &[u8]) {
    use crate::protocol::http::lenient::LenientHeads;
    use crate::testing::pieces::{in_pieces, read_all};

    const MOST: usize = 4 * 1024 * 1024;
    let tidied = |size| {
        read_all(
            LenientHeads::new(in_pieces(data, size), Default::default()),
            MOST,
        )
    };
    let whole = tidied(data.len().max(1));
    for size in [1, 2, 7, 64] {
        assert_eq!(tidied(size), whole, "in pieces of {size}");
    }
}

/// Frames of a server that compresses.
pub fn ws_deflate(data: &[u8]) {
    use crate::testing::pieces::{in_pieces, read_all};
    use crate::transport::ws::codec::{Decoder, Role};
    use crate::transport::ws::deflate::Inflating;
    use bytes::BytesMut;

    const MOST: usize = 64 * 1024;
    let opened = |size| {
        let inflating = Inflating::new(in_pieces(data, size), BytesMut::new());
        let (mut frames, in_order) = read_all(inflating, MOST);
        // How much comes out in front of a mistake depends on the pieces.
        let is_cut = frames.len() >= MOST || !in_order;
        let mut decoder = Decoder::new(Role::Server);
        let (n, _) = decoder.open(&mut frames, |_| {});
        frames.truncate(n);
        (frames, is_cut)
    };
    let (whole, is_cut) = opened(data.len().max(1));
    for size in [1, 3, 64] {
        let (plain, was_cut) = opened(size);
        let n = plain.len().min(whole.len());
        assert_eq!(plain[..n], whole[..n], "in pieces of {size}");
        assert!(plain.len() == whole.len() || is_cut || was_cut);
    }
}

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

/// Frames of Mux.Cool: however the bytes are split, the same frames come out, none takes more than its
/// bound, and what was read can be written again.
pub fn mux_frames(data: &[u8]) {
    use crate::mux::codec::{Frame, MAX_FRAME};
    use bytes::BytesMut;

    let open = |size: usize| {
        let mut buf = BytesMut::new();
        let mut frames = Vec::new();
        for piece in data.chunks(size) {
            buf.extend_from_slice(piece);
            loop {
                let before = buf.len();
                match Frame::decode(&mut buf) {
                    Ok(Some(frame)) => frames.push(Ok(frame)),
                    Ok(None) => {
                        assert_eq!(buf.len(), before, "a decoder that wants more takes nothing");
                        assert!(before < MAX_FRAME);
                        break;
                    }
                    Err(error) => {
                        frames.push(Err(error));
                        return frames;
                    }
                }
            }
        }
        frames
    };
    let whole = open(data.len().max(1));
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(open(size), whole, "in pieces of {size}");
    }
    for (frame, payload) in whole.into_iter().flatten() {
        let mut again = BytesMut::new();
        frame
            .encode(payload.as_deref(), &mut again)
            .expect("what was read can be written");
        assert_eq!(Frame::decode(&mut again), Ok(Some((frame, payload))));
    }
}

/// Frames of smux, in whatever pieces they come.
pub fn smux_frames(data: &[u8]) {
    use crate::smux::codec::{Decoder, Event};

    let read = |size: usize| {
        let mut decoder = Decoder::new(None);
        let (mut told, mut payload) = (Vec::new(), Vec::new());
        for mut piece in data.chunks(size) {
            loop {
                match decoder.next(&mut piece) {
                    Ok(Some(Event::Data(id, data))) => {
                        payload.extend(data.iter().map(|byte| (id, *byte)));
                    }
                    Ok(Some(event)) => told.push((format!("{event:?}"), payload.len())),
                    Ok(None) => break,
                    Err(e) => return (told, payload, Some(e)),
                }
            }
            assert!(piece.is_empty(), "a decoder that wants more has taken all");
        }
        (told, payload, None)
    };
    let whole = read(data.len().max(1));
    for size in [1, 3, 8, 13] {
        assert_eq!(read(size), whole, "in pieces of {size}");
    }
}

/// What a portal says of a bridge's link.
pub fn reverse_control(data: &[u8]) {
    use crate::reverse::codec::{decode, encode};

    if let Ok(state) = decode(data) {
        let random = &data[..data.len().min(63)];
        assert_eq!(decode(&encode(state, random)), Ok(state));
    }
}

/// packetaddr's datagrams, alone and in a stream.
pub fn packet_addr(data: &[u8]) {
    use crate::mux::packet_addr::{decode, encode};
    use bytes::Bytes;

    if let Some(packet) = decode(Bytes::copy_from_slice(data)) {
        // An IPv4 address that was written as an IPv6 one is written as what it is.
        let again = encode(&packet).expect("what was read can be written");
        assert!(again.len() <= data.len());
        assert_eq!(decode(again), Some(packet));
    }
    packet_stream(data);
}

/// The stream of packetaddr's datagrams.
pub(crate) fn packet_stream(data: &[u8]) {
    use crate::mux::packet_stream::{MAX_SEGMENT, decode, encode};
    use bytes::BytesMut;

    crate::testing::assert_split_agrees(data, decode);
    let mut buf = BytesMut::from(data);
    loop {
        let before = buf.clone();
        match decode(&mut buf) {
            Ok(Some(packet)) => {
                let mut again = BytesMut::new();
                encode(&packet, &mut again);
                assert!(again.len() <= before.len() - buf.len());
                assert_eq!(decode(&mut again), Ok(Some(packet)));
                assert!(again.is_empty());
            }
            Ok(None) => return assert!(buf.len() < MAX_SEGMENT),
            Err(_) => return,
        }
    }
}

/// The header of the PROXY protocol: no bytes make it panic, and none past its end are asked for.
pub fn proxy_header(data: &[u8]) {
    crate::transport::proxy_protocol::fuzz(data);
}

/// Records of TLS, what comes between data, and what a ClientHello says of early data.
pub fn tls_records(data: &[u8]) {
    use crate::transport::tls::early::announces;
    use crate::transport::tls::record::{MAX_RECORD, Messages, Progress};

    let _ = announces(data);
    let cut = |size: usize| {
        let (mut bytes, mut progress) = (Vec::new(), Progress::default());
        let mut records = Vec::new();
        for piece in data.chunks(size) {
            bytes.extend_from_slice(piece);
            loop {
                match progress.next(&bytes) {
                    Ok(Some(record)) => records.push(Ok(record)),
                    Ok(None) => break,
                    Err(e) => {
                        records.push(Err(format!("{e}")));
                        return records;
                    }
                }
            }
            assert!(bytes.len() - progress.sealed < MAX_RECORD + piece.len());
        }
        records
    };
    let whole = cut(data.len().max(1));
    for size in [1, 4, 5, 600] {
        assert_eq!(cut(size), whole, "in pieces of {size}");
    }
    // The first byte says whose messages these are.
    let Some((side, text)) = data.split_first() else {
        return;
    };
    let hear = |size: usize| {
        let mut messages = Messages::new(side & 1 == 1, side & 2 == 2);
        let (mut asked, mut tickets) = (Vec::new(), 0);
        for part in text.chunks(size) {
            let heard = messages.message(part, |ticket| {
                tickets += ticket.len();
                Ok(())
            });
            match heard {
                Ok(heard) => asked.extend(heard),
                Err(_) => return None,
            }
        }
        Some((asked, tickets))
    };
    // New keys may not stand in the middle of a record, so pieces are not told apart from the whole by more than that.
    if let Some(whole) = hear(text.len().max(1)) {
        for size in [1, 3, 8] {
            assert_eq!(hear(size).map(|(_, tickets)| tickets), Some(whole.1));
        }
    }
    for alert in text.chunks(2) {
        let _ = Messages::new(side & 1 == 1, side & 2 == 2).alert(alert);
    }
}
