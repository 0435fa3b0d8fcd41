//! Bytes through a pair of links.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::io::Link;

/// Bytes of which no run is like another.
pub(crate) fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 7919) >> 3) as u8).collect()
}

/// Asserts that `data` comes out of `to` as it went into `from`, read `piece` bytes at a time.
pub(crate) async fn send(from: &mut Link, to: &mut Link, data: &[u8], piece: usize) {
    let write = async {
        from.write_all(data).await.unwrap();
        from.flush().await.unwrap();
    };
    let read = async {
        let mut got = Vec::new();
        let mut buf = vec![0; piece];
        while got.len() < data.len() {
            let n = to.read(&mut buf).await.unwrap();
            assert!(n > 0, "the stream ended after {} bytes", got.len());
            got.extend_from_slice(&buf[..n]);
        }
        assert!(got == data);
    };
    tokio::join!(write, read);
}
