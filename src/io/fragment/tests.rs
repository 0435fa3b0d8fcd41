use super::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, advance};

const HELLO: [u8; 300] = {
    let mut record = [7; 300];
    [
        record[0], record[1], record[2], record[3], record[4], record[5],
    ] = [22, 3, 1, 1, 39, 1];
    record
};

fn of(from: u32, to: u32) -> Between {
    Between { from, to }
}

fn fragment(cut: Cut, length: Between, interval: u32, max_split: u32) -> Fragment {
    Fragment {
        cut,
        length,
        more_lengths: Vec::new(),
        more_intervals: Vec::new(),
        interval: of(interval, interval),
        max_split: of(max_split, max_split),
        then: None,
    }
}

/// What a target reads of `writes`, and when each part of it came.
async fn sent(fragment: Fragment, writes: &[&[u8]]) -> Vec<(Duration, Vec<u8>)> {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut link = cut(Link::other(near), Some(&fragment));
    let began = Instant::now();
    let target = crate::io::spawn(async move {
        let mut parts = Vec::new();
        loop {
            let mut part = vec![0; 1 << 20];
            let n = far.read(&mut part).await.unwrap();
            if n == 0 {
                return parts;
            }
            part.truncate(n);
            parts.push((began.elapsed(), part));
        }
    });
    for write in writes {
        link.write_all(write).await.unwrap();
        link.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    link.shutdown().await.unwrap();
    drop(link);
    target.await.unwrap()
}

/// The payloads of the TLS records in `bytes`.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let [22, 3, 1, high, low, rest @ ..] = bytes {
        let (payload, next) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        all.push(payload.to_vec());
        bytes = next;
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_client_hello_becomes_records_that_wait_for_each_other() {
    let cut = fragment(Cut::TlsHello, of(100, 100), 10, 0);
    let parts = sent(cut, &[&HELLO, b"behind"]).await;
    let pieces: Vec<_> = parts.iter().map(|(_, part)| records(part)).collect();
    assert_eq!(
        pieces[..3].concat(),
        [&HELLO[5..105], &HELLO[105..205], &HELLO[205..]]
    );
    assert_eq!(parts[3].1, b"behind", "only the first record is cut");
    let at: Vec<_> = parts.iter().map(|(at, _)| at.as_millis()).collect();
    for (n, at) in at.iter().enumerate() {
        let due = 10 * n as u128;
        assert!((due..due + 5).contains(at), "{at} ms, expected {due}");
    }
}

#[tokio::test(start_paused = true)]
async fn records_without_a_wait_go_in_one_write() {
    let cut = fragment(Cut::TlsHello, of(1, 50), 0, 0);
    let both = [&HELLO[..], b"behind"].concat();
    let parts = sent(cut, &[&both]).await;
    let bytes: Vec<u8> = parts.iter().flat_map(|(_, part)| part.clone()).collect();
    let pieces = records(&bytes);
    assert!(pieces.len() >= 6, "{pieces:?}");
    assert!(pieces.iter().all(|piece| piece.len() <= 50));
    assert_eq!(pieces.concat(), HELLO[5..]);
    assert!(bytes.ends_with(b"behind"));
    assert_eq!(
        records(&parts[0].1).concat(),
        HELLO[5..],
        "all in the first write"
    );
}

#[tokio::test(start_paused = true)]
async fn max_split_leaves_the_rest_to_the_last() {
    let cut = fragment(Cut::TlsHello, of(10, 10), 0, 3);
    let bytes = sent(cut, &[&HELLO]).await.remove(0).1;
    let lengths: Vec<_> = records(&bytes).iter().map(Vec::len).collect();
    assert_eq!(lengths, [10, 10, 275]);
    let cut = fragment(Cut::All, of(10, 10), 1, 2);
    let parts = sent(cut, &[&HELLO, &HELLO]).await;
    let lengths: Vec<_> = parts.iter().map(|(_, part)| part.len()).collect();
    assert_eq!(lengths, [10, 290, 10, 290]);
}

/// A hello of two segments is the rule where it has keys of the newer kind.
#[tokio::test(start_paused = true)]
async fn a_hello_that_comes_in_parts_is_cut_as_well() {
    let cut = fragment(Cut::TlsHello, of(100, 100), 0, 0);
    let parts = sent(cut, &[&HELLO[..150], &HELLO[150..], b"behind"]).await;
    let bytes: Vec<u8> = parts.into_iter().flat_map(|(_, part)| part).collect();
    let lengths: Vec<_> = records(&bytes).iter().map(Vec::len).collect();
    assert_eq!(lengths, [100, 45, 100, 50]);
    assert_eq!(records(&bytes).concat(), HELLO[5..]);
    assert!(bytes.ends_with(b"behind"));
}

#[tokio::test(start_paused = true)]
async fn writes_that_are_named_are_cut_and_no_others() {
    let cut = fragment(Cut::Writes { from: 2, to: 3 }, of(4, 4), 1, 0);
    let parts = sent(cut, &[b"111111", b"222222", b"33", b"444444"]).await;
    let parts: Vec<_> = parts.into_iter().map(|(_, part)| part).collect();
    let expected: [&[u8]; 5] = [b"111111", b"2222", b"22", b"33", b"444444"];
    assert_eq!(parts, expected);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_hello_passes_as_it_is() {
    let cut = fragment(Cut::TlsHello, of(1, 1), 5, 0);
    let odd: [&[u8]; 4] = [
        b"GET / HTTP/1.1",
        &[22, 3, 1, 0, 0, 9],
        &[22, 3, 1],
        &HELLO[..5],
    ];
    for first in odd {
        let parts = sent(cut.clone(), &[first, &HELLO]).await;
        let bytes: Vec<u8> = parts.into_iter().flat_map(|(_, part)| part).collect();
        assert_eq!(bytes, [first, &HELLO].concat());
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_target_holds_the_sender_and_loses_nothing() {
    let (near, mut far) = tokio::io::duplex(16);
    let cut = fragment(Cut::All, of(1, 9), 1, 0);
    let mut link = Fragmented::new(Link::other(near), cut);
    let sender = crate::io::spawn(async move {
        for _ in 0..4 {
            link.write_all(&HELLO).await.unwrap();
        }
        link.shutdown().await.unwrap();
    });
    advance(Duration::from_secs(5)).await;
    assert!(!sender.is_finished());
    let mut all = Vec::new();
    far.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, HELLO.repeat(4));
    sender.await.unwrap();
}

/// One connection of 256 by a cipher begins with the first byte of a record.
#[tokio::test(start_paused = true)]
async fn what_only_begins_like_a_hello_passes_as_it_is() {
    let cut = fragment(Cut::TlsHello, of(10, 10), 0, 0);
    let by_chance: [[u8; 40]; 3] = std::array::from_fn(|at| {
        let mut bytes = [0x51; 40];
        bytes[..6].copy_from_slice(&HELLO[..6]);
        bytes[[0, 1, 5][at]] ^= 0x20;
        bytes
    });
    for bytes in by_chance {
        let parts = sent(cut.clone(), &[&bytes, b"behind"]).await;
        let heard: Vec<u8> = parts.into_iter().flat_map(|(_, part)| part).collect();
        assert_eq!(heard, [&bytes[..], b"behind"].concat());
    }
}

/// A tunnel's records go out several at a time again once its hello has.
#[tokio::test(start_paused = true)]
async fn what_passes_goes_out_in_one_write() {
    let (near, _far) = tokio::io::duplex(1 << 20);
    let cut = fragment(Cut::TlsHello, of(100, 100), 0, 0);
    let mut link = Fragmented::new(Link::foreign(near), cut);
    let both = [IoSlice::new(&HELLO), IoSlice::new(b"behind")];
    assert_eq!(link.write_vectored(&both).await.unwrap(), HELLO.len());
    link.flush().await.unwrap();
    let both = [IoSlice::new(b"one"), IoSlice::new(b"another")];
    assert_eq!(link.write_vectored(&both).await.unwrap(), 10);
}

#[tokio::test(start_paused = true)]
async fn pieces_may_have_lengths_and_pauses_of_their_own() {
    let cut = Fragment {
        more_lengths: vec![of(20, 20), of(100, 100)],
        more_intervals: vec![of(0, 0), of(7, 7)],
        ..fragment(Cut::TlsHello, of(10, 10), 3, 0)
    };
    let parts = sent(cut, &[&HELLO]).await;
    let whole: Vec<u8> = parts.iter().flat_map(|(_, part)| part.clone()).collect();
    let lengths: Vec<usize> = records(&whole).iter().map(Vec::len).collect();
    assert_eq!(lengths, [10, 20, 100, 100, 65]);
    // 3 behind the first, none behind the second, 7 behind each that follows.
    assert_eq!(parts.last().map(|(at, _)| at.as_millis()), Some(17));
}

#[tokio::test(start_paused = true)]
async fn pieces_may_be_cut_again() {
    let writes = fragment(Cut::Writes { from: 1, to: 1 }, of(100, 100), 5, 0);
    let twice = Fragment {
        then: Some(Box::new(writes)),
        ..fragment(Cut::TlsHello, of(100, 100), 0, 2)
    };
    let parts = sent(twice, &[&HELLO, b"behind"]).await;
    let whole: Vec<u8> = parts.iter().flat_map(|(_, part)| part.clone()).collect();
    let lengths: Vec<usize> = records(&whole).iter().map(Vec::len).collect();
    assert_eq!(lengths, [100, 195]);
    assert!(whole.ends_with(b"behind"));
    // Both records are one write, of which three pieces wait.
    let last = parts.last().map(|(at, _)| at.as_millis());
    assert_eq!(last, Some(20), "{parts:?}");
}
