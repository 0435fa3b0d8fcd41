use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, compress_to_output, create_comp_flags_from_zip_params,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::transport::ws::WsStream;
use crate::transport::ws::codec::{Role, encode_control};

fn answer(lines: &[&str]) -> Result<bool, String> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, line.parse().unwrap());
    }
    agreed(&headers)
}

#[test]
fn only_an_answer_to_the_offer_is_taken() {
    assert_eq!(answer(&[]), Ok(false));
    assert_eq!(answer(&[""]), Ok(false));
    assert_eq!(answer(&["permessage-deflate"]), Ok(true));
    for line in [
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate;server_no_context_takeover;server_max_window_bits=12;client_max_window_bits=\"8\"",
    ] {
        assert_eq!(answer(&[line]), Ok(true), "{line}");
    }
    for lines in [
        &["x-webkit-deflate-frame"][..],
        &["permessage-deflate, permessage-deflate"],
        &["permessage-deflate", "permessage-bzip2"],
        &["permessage-deflate", "permessage-deflate"],
        &["permessage-deflate; nonsense"],
        &["permessage-deflate; server_max_window_bits"],
        &["permessage-deflate; client_max_window_bits"],
        &["permessage-deflate; server_max_window_bits=7"],
        &["permessage-deflate; server_max_window_bits=16"],
        &["permessage-deflate; server_max_window_bits=010"],
        &["permessage-deflate; server_no_context_takeover=1"],
        &["permessage-deflate; server_no_context_takeover; server_no_context_takeover"],
        &["; permessage-deflate"],
        &["permessage-deflate="],
    ] {
        assert!(answer(lines).is_err(), "{lines:?}");
    }
}

/// A server that compresses.
struct Server {
    compressor: Box<CompressorOxide>,
    frames: Vec<u8>,
}

impl Server {
    fn new() -> Self {
        let flags = create_comp_flags_from_zip_params(6, -15, 0);
        Self {
            compressor: Box::new(CompressorOxide::new(flags)),
            frames: Vec::new(),
        }
    }

    fn packed(&mut self, plain: &[u8], flush: TDEFLFlush) -> Vec<u8> {
        let mut packed = Vec::new();
        compress_to_output(&mut self.compressor, plain, flush, |out| {
            packed.extend_from_slice(out);
            true
        });
        packed
    }

    /// One message in frames of `len` bytes.
    fn message(&mut self, plain: &[u8], len: usize) {
        let mut packed = self.packed(plain, TDEFLFlush::Sync);
        assert!(packed.ends_with(&TAIL));
        packed.truncate(packed.len() - TAIL.len());
        self.frames_of(&packed, len);
    }

    fn frames_of(&mut self, packed: &[u8], len: usize) {
        let mut first = 0x42;
        let mut parts = packed.chunks(len).peekable();
        while let Some(part) = parts.next() {
            let fin = if parts.peek().is_none() { 0x80 } else { 0 };
            self.frames.push(first | fin);
            self.frames.extend([127, 0, 0, 0, 0]);
            self.frames.extend((part.len() as u32).to_be_bytes());
            self.frames.extend(part);
            encode_control(Opcode::Ping, b"in between", None, &mut self.frames);
            first = 0;
        }
    }
}

fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * i / 97) as u8 & 0x1f).collect()
}

/// What a client reads of `frames`, in reads of `size` bytes.
async fn opened(frames: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let (ours, mut theirs) = duplex(1000);
    let sent = frames.to_vec();
    let sending = crate::io::spawn(async move {
        let _ = theirs.write_all(&sent).await;
        let _ = theirs.shutdown().await;
        let mut rest = Vec::new();
        let _ = theirs.read_to_end(&mut rest).await;
    });
    let link = Inflating::new(Link::other(ours), BytesMut::new());
    let mut stream = WsStream::new(link, Role::Client, None);
    let (mut got, mut buf) = (Vec::new(), vec![0; size]);
    let end = loop {
        match stream.read(&mut buf).await {
            Ok(0) => break Ok(got),
            Ok(n) => got.extend_from_slice(&buf[..n]),
            Err(e) => break Err(e),
        }
    };
    drop(stream);
    sending.await.unwrap();
    end
}

#[tokio::test]
async fn compressed_messages_are_read_in_whatever_pieces() {
    let plain = sample(200_000);
    for (len, size) in [(70_000, 300_000), (100, 5000), (1, 70_000), (3000, 1)] {
        let mut server = Server::new();
        let mut expected = Vec::new();
        for part in [&plain[..50_000], &plain[..1], &plain[..50_000], &plain[..7]] {
            server.message(part, len);
            expected.extend_from_slice(part);
            // One that is not compressed, as a server may choose for each.
            server.frames.extend(b"\x82\x05plain");
            expected.extend_from_slice(b"plain");
        }
        let got = opened(&server.frames, size).await.unwrap();
        assert!(got == expected, "{len} {size}");
    }
}

#[tokio::test]
async fn a_server_may_forget_what_it_has_sent() {
    let mut frames = Vec::new();
    let mut expected = Vec::new();
    for n in [1000, 10, 50_000] {
        let mut server = Server::new();
        server.message(&sample(n), 900);
        frames.extend(server.frames);
        expected.extend(sample(n));
    }
    assert!(opened(&frames, 4000).await.unwrap() == expected);
}

/// RFC 7692, section 7.2.3: its examples, and a block that says it is the last one.
#[tokio::test]
async fn the_examples_of_the_rfc_are_read() {
    let frames: &[&[u8]] = &[
        b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00",
        b"\x41\x03\xf2\x48\xcd",
        b"\x80\x04\xc9\xc9\x07\x00",
        b"\xc1\x05\xf2\x00\x11\x00\x00",
        b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        b"\xc1\x01\x00",
    ];
    let got = opened(&frames.concat(), 100).await.unwrap();
    assert_eq!(String::from_utf8(got).unwrap(), "Hello".repeat(6));
}

#[tokio::test]
async fn what_is_no_compressed_message_ends_the_tunnel() {
    for (frames, text) in [
        (&b"\xc2\x04\xff\xff\xff\xff"[..], "cannot be inflated"),
        (b"\xc2\x07\xf2\x48\xcd", "inside a compressed message"),
        (b"\x42\x03\xf2\x48\xcd", "inside a compressed message"),
        (b"\xa2\x01a", "reserved bits"),
        (b"\xc9\x00", "reserved bits"),
        (b"\x82\x01a\xc0\x00", "reserved bits"),
        (b"\x42\x03\xf2\x48\xcd\xc2\x00", "reserved bits"),
        (b"\x42\x03\xf2\x48\xcd\x82\x00", "begins inside another"),
        (b"\x82\x81\0\0\0\0a", "masked"),
    ] {
        let error = opened(frames, 100).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}, expected {text}");
    }
}

/// 64 MiB of zeros in 64 kB: what is held does not grow with what comes out.
#[tokio::test]
async fn a_bomb_goes_off_in_small_pieces() {
    let mut server = Server::new();
    server.message(&vec![0; 64 * 1024 * 1024], 1 << 20);
    assert!(server.frames.len() < 100_000);
    let (ours, mut theirs) = duplex(200_000);
    theirs.write_all(&server.frames).await.unwrap();
    let mut link = Inflating::new(Link::other(ours), BytesMut::new());
    let mut buf = vec![0; 8000];
    let mut got = 0;
    while got < 64 * 1024 * 1024 {
        got += link.read(&mut buf).await.unwrap();
        assert!(link.read.capacity() + link.made.capacity() <= 8 * READ);
    }
    drop(theirs);
}
