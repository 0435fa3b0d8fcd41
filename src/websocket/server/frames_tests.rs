use super::*;
use crate::websocket::server::held::Held;
use tokio::io::duplex;

/// What a client sends: the first byte of a frame, and its payload.
fn client(frames: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (first, payload) in frames {
        let len = payload.len();
        out.push(*first);
        match len {
            0..=125 => out.push(0x80 | len as u8),
            126..=0xffff => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            _ => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&[1, 2, 3, 4]);
        let masked = payload.iter().zip([1, 2, 3, 4].iter().cycle());
        out.extend(masked.map(|(byte, key)| byte ^ key));
    }
    out
}

async fn read(bytes: Vec<u8>, at_once: usize) -> (Vec<Received>, Unread) {
    let (mut near, far) = duplex(at_once);
    let writing = crate::io::spawn(async move {
        let _ = near.write_all(&bytes).await;
    });
    let mut reader = Reader::new(far, Unfinished::new(&Arc::new(Held::default())));
    let mut all = Vec::new();
    let end = loop {
        match reader.next().await {
            Ok(one) => all.push(one),
            Err(end) => break end,
        }
    };
    drop(reader);
    writing.await.unwrap();
    (all, end)
}

#[tokio::test]
async fn messages_are_whole_however_they_are_cut() {
    let long = vec![7; 70_000];
    let frames: [(u8, &[u8]); 8] = [
        (0x81, "一".as_bytes()),
        (0x01, &"消".as_bytes()[..1]),
        (0x89, b"sign of life"),
        (0x00, b""),
        (0x80, &"消".as_bytes()[1..]),
        (0x82, &long),
        (0x8a, b"x"),
        (0x88, b"\x03\xe8bye"),
    ];
    for at_once in [1, 7, 1 << 20] {
        let (all, end) = read(client(&frames), at_once).await;
        let expected = [
            Received::Message(Message::from("一")),
            Received::Ping(Bytes::from_static(b"sign of life")),
            Received::Message(Message::from("消")),
            Received::Message(Message::from(long.clone())),
            Received::Pong,
            Received::Close(1000, "bye".to_owned()),
        ];
        assert_eq!(all, expected, "{at_once}");
        assert!(matches!(end, Unread::Ended));
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_has_its_close_code() {
    let unmasked = vec![0x81, 0x01, b'a'];
    // 17 MiB are announced, and nothing of them comes.
    let mut long = vec![0x82, 0xff];
    long.extend_from_slice(&(17_u64 << 20).to_be_bytes());
    long.extend_from_slice(&[0; 4]);
    let half: Vec<u8> = vec![0; MAX_MESSAGE / 2 + 1];
    for (bytes, code) in [
        (unmasked, 1002),
        (client(&[(0x80, b"a")]), 1002),
        (client(&[(0x01, b"a"), (0x81, b"a")]), 1002),
        (client(&[(0xc1, b"a")]), 1002),
        (client(&[(0x83, b"a")]), 1002),
        (client(&[(0x09, b"a")]), 1002),
        (client(&[(0x89, &[0; 126])]), 1002),
        (client(&[(0x88, b"\x03")]), 1002),
        (client(&[(0x88, b"\x03\xed")]), 1002),
        (client(&[(0x88, b"\x03\xe8\xff")]), 1007),
        (client(&[(0x81, b"\xff")]), 1007),
        (client(&[(0x01, &"消".as_bytes()[..1]), (0x80, b"")]), 1007),
        (long, 1009),
        (client(&[(0x02, &half), (0x80, &half)]), 1009),
    ] {
        let (all, end) = read(bytes.clone(), 1 << 20).await;
        let shown = &bytes[..bytes.len().min(16)];
        assert!(all.is_empty(), "{shown:x?}: {all:?}");
        assert_eq!(end.close_code(), Some(code), "{shown:x?}: {end}");
    }
    let (_, end) = read(client(&[(0x81, b"cut")])[..7].to_vec(), 1024).await;
    assert_eq!(end.close_code(), None);
}

#[tokio::test]
async fn a_reason_is_cut_where_a_letter_ends() {
    let mut out = Vec::new();
    send_close(&mut out, 1008, &"消".repeat(50)).await.unwrap();
    assert_eq!(out[..4], [0x88, 125, 0x03, 0xf0]);
    let reason = str::from_utf8(&out[4..]).unwrap();
    assert_eq!(reason.chars().count(), 41);
    let mut out = Vec::new();
    send_close(&mut out, 1005, "x").await.unwrap();
    assert_eq!(out, [0x88, 0]);
}
