//! The floor: a relay with 64 KiB buffers that seals what passes once, which is the least that a proxy
//! with a cipher can do; and one with 256 KiB that passes it on as it is, for a proxy without. It is a process of its own, so
//! that its CPU is measured as the others' is.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::Result;

/// What makes this program the relay.
pub(crate) const ARGUMENT: &str = "--as-floor";

const BUFFER: usize = 64 * 1024;

const PLAIN_BUFFER: usize = 256 * 1024;

/// Bytes under one seal, as in a tunnel.
const CHUNK: usize = 16 * 1024;

/// What goes up first must be understood by the sink, and so goes as it is.
const COMMAND: usize = 9;

/// `what` is `[listen, to, seals]`.
pub(crate) fn run(what: &str) -> Result<()> {
    let (listen, to, seals): (u16, u16, bool) = serde_json::from_str(what)?;
    for near in TcpListener::bind(("127.0.0.1", listen))?.incoming() {
        let near = near?;
        let far = TcpStream::connect(("127.0.0.1", to))?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let up = (near.try_clone()?, far.try_clone()?, COMMAND);
        let down = (far, near, 0);
        for (from, to, plain) in [up, down] {
            thread::spawn(move || {
                let _ = match seals {
                    true => carry(from, to, plain),
                    false => pass_on(from, to),
                };
                // With a thread that ends, its time goes out of `/proc/PID/task`.
                loop {
                    thread::park();
                }
            });
        }
    }
    Ok(())
}

/// Passes on what comes, all but the first `plain` bytes under a seal.
fn carry(mut from: TcpStream, mut to: TcpStream, plain: usize) -> Result<()> {
    let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_| "the key has 16 bytes")?;
    let key = LessSafeKey::new(key);
    let mut buf = vec![0; BUFFER];
    from.read_exact(&mut buf[..plain])?;
    to.write_all(&buf[..plain])?;
    let mut count = 0_u64;
    loop {
        let n = from.read(&mut buf)?;
        if n == 0 {
            break;
        }
        for chunk in buf[..n].chunks_mut(CHUNK) {
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&count.to_be_bytes());
            count += 1;
            let _tag = key
                .seal_in_place_separate_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::empty(),
                    chunk,
                )
                .map_err(|_| "a chunk is not too long to be sealed")?;
        }
        to.write_all(&buf[..n])?;
    }
    to.shutdown(Shutdown::Write)?;
    Ok(())
}

/// Passes on what comes as it is.
fn pass_on(mut from: TcpStream, mut to: TcpStream) -> Result<()> {
    let mut buf = vec![0; PLAIN_BUFFER];
    loop {
        match from.read(&mut buf)? {
            0 => break,
            n => to.write_all(&buf[..n])?,
        }
    }
    to.shutdown(Shutdown::Write)?;
    Ok(())
}
