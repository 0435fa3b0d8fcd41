//! A stream that breaks off at one end must not look whole at the other one: a reset stays a reset.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::configs::Vmess;
use crate::peers::Peer::{Mobula, V2ray434, V2ray445};
use crate::peers::{Stage, free_port, listen};
use crate::traffic::{self, LIMIT, To};
use crate::tunnel::Tunnel;

const MIB: usize = 1024 * 1024;

/// A connection of an application through the SOCKS port, and the target's end of it; both have heard a word
/// of the other, so that all is set up.
pub async fn connected(socks: u16) -> (TcpStream, TcpStream) {
    let listener = listen();
    let to = To::Ip(listener.local_addr().unwrap());
    let mut application = traffic::connect(socks, &to).await.unwrap();
    application.write_all(b"word").await.unwrap();
    let (mut target, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let mut word = [0; 4];
    target.read_exact(&mut word).await.unwrap();
    target.write_all(&word).await.unwrap();
    application.read_exact(&mut word).await.unwrap();
    (application, target)
}

/// Ends with a reset, which a peer meets behind what was sent before.
async fn reset(stream: TcpStream) {
    // What has not arrived by then would be lost here already.
    sleep(Duration::from_millis(300)).await;
    stream.set_zero_linger().unwrap();
}

/// Everything that comes, and whether it ended in order.
pub async fn rest(stream: &mut TcpStream) -> (usize, Result<(), ErrorKind>) {
    let mut got = 0;
    let mut buf = vec![0; 64 * 1024];
    loop {
        let read = timeout(LIMIT, stream.read(&mut buf)).await;
        match read.expect("the end comes in time") {
            Ok(0) => return (got, Ok(())),
            Ok(n) => got += n,
            Err(e) => return (got, Err(e.kind())),
        }
    }
}

fn all_transports(stage: &Stage) -> [Vmess; 2] {
    [Vmess::ws(), Vmess::wss(stage)]
}

#[tokio::test]
async fn an_application_sees_the_reset_of_its_target_behind_all_that_was_sent() {
    let stage = Stage::new();
    for vmess in all_transports(&stage) {
        let tunnel = Tunnel::start(Mobula, Mobula, &vmess).await;
        let (mut application, mut target) = connected(tunnel.socks).await;
        target.write_all(&traffic::bytes(MIB)).await.unwrap();
        reset(target).await;
        // Nothing was read so far: it waits in sockets and must not be thrown away.
        sleep(Duration::from_millis(500)).await;
        let (got, end) = rest(&mut application).await;
        assert_eq!((got, end), (MIB, Err(ErrorKind::ConnectionReset)));
    }
}

#[tokio::test]
async fn a_target_sees_the_reset_of_its_application() {
    let stage = Stage::new();
    for vmess in all_transports(&stage) {
        let tunnel = Tunnel::start(Mobula, Mobula, &vmess).await;
        let (mut application, mut target) = connected(tunnel.socks).await;
        application.write_all(&traffic::bytes(1000)).await.unwrap();
        reset(application).await;
        let (got, end) = rest(&mut target).await;
        assert_eq!((got, end), (1000, Err(ErrorKind::ConnectionReset)));
    }
}

/// V2Ray knows a broken end from a whole one by nothing, but it must end.
#[tokio::test]
async fn behind_v2ray_a_broken_stream_ends_too() {
    for vmess in [Vmess::ws(), Vmess::tcp()] {
        for client in [V2ray434, V2ray445] {
            let tunnel = Tunnel::start(client, Mobula, &vmess).await;
            let (mut application, mut target) = connected(tunnel.socks).await;
            target.write_all(&traffic::bytes(100_000)).await.unwrap();
            reset(target).await;
            assert_eq!(rest(&mut application).await.0, 100_000);
            let (application, mut target) = connected(tunnel.socks).await;
            reset(application).await;
            let _ = rest(&mut target).await;
        }
    }
}

/// One bit changes between client and server, in the middle of an upload and of a download.
#[tokio::test]
async fn a_chunk_that_was_tampered_with_resets_whoever_waits_for_it() {
    for upload in [true, false] {
        let mut stage = Stage::new();
        let (server, middle, socks) = (free_port(), free_port(), free_port());
        let vmess = Vmess::tcp();
        let config = vmess.server(Mobula, server);
        stage.run(Mobula, "server", &config, &[server]).await;
        let tamper = tampering(middle, server, upload).await;
        let config = vmess.client(Mobula, socks, middle);
        stage.run(Mobula, "client", &config, &[socks]).await;
        let (mut application, mut target) = connected(socks).await;
        tamper.notify_one();
        let (from, to) = match upload {
            true => (&mut application, &mut target),
            false => (&mut target, &mut application),
        };
        from.write_all(b"an important word").await.unwrap();
        let (got, end) = rest(to).await;
        assert_eq!(
            (got, end),
            (0, Err(ErrorKind::ConnectionReset)),
            "upload: {upload}"
        );
    }
}

/// A man in the middle who, when told so, changes one bit of what passes in one direction.
async fn tampering(port: u16, server: u16, upload: bool) -> std::sync::Arc<tokio::sync::Notify> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    let told = std::sync::Arc::new(tokio::sync::Notify::new());
    let now = told.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
            let ((near_read, near_write), (far_read, far_write)) =
                (near.into_split(), far.into_split());
            let (up, down) = (upload.then(|| now.clone()), (!upload).then(|| now.clone()));
            tokio::spawn(pass(near_read, far_write, up));
            tokio::spawn(pass(far_read, near_write, down));
        }
        Ok::<_, std::io::Error>(())
    });
    told
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    tamper: Option<std::sync::Arc<tokio::sync::Notify>>,
) -> std::io::Result<()> {
    let mut buf = vec![0; 64 * 1024];
    loop {
        let n = from.read(&mut buf).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        if let Some(told) = &tamper {
            let now = timeout(Duration::ZERO, told.notified()).await.is_ok();
            if now {
                // Behind the length, and before the padding.
                buf[4] ^= 1;
            }
        }
        to.write_all(&buf[..n]).await?;
    }
}
