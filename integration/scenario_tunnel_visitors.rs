//! `mobula tunnel`: the visitors of a published port, and what one of them may do to the others.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::peers::{free_port, listen};
use crate::scenario_tunnel::{Tunnel, proxy, until_back, visit};
use crate::traffic::{self, LIMIT};

/// What a service sends, more than the buffers of all sockets on its way.
const SENT: usize = 24 * 1024 * 1024;

/// A service that answers each who comes; its port.
fn service<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = listen();
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    port
}

/// The port at which a client of the tunnel's publishes the service of that kind at `local`.
async fn published(tunnel: &mut Tunnel, kind: &str, local: u16) -> u16 {
    let port = free_port();
    let file = tunnel.client_file("", &proxy("service", kind, port, local, ""));
    tunnel.run_client("client", &file, &[]).await;
    let said = format!("published on 127.0.0.1:{port}");
    tunnel.stage.until_file_has("client.log", &said).await;
    port
}

async fn visitor(port: u16) -> TcpStream {
    let visitor = TcpStream::connect(("127.0.0.1", port)).await;
    visitor.expect("it is open")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_visitors_are_there_at_once() {
    let mut tunnel = Tunnel::start("").await;
    let port = published(&mut tunnel, "tcp", traffic::echo().await.port()).await;
    let mut visitors = Vec::new();
    for _ in 0..1000 {
        visitors.push(visitor(port).await);
    }
    for visitor in &mut visitors {
        traffic::exchange(visitor, b"a word").await;
    }
    traffic::exchange(&mut visitors[0], b"the first is still there").await;
}

/// What speaks and hangs up, as many an old protocol does.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ends_is_at_its_end_for_the_visitor_as_well() {
    let mut tunnel = Tunnel::start("").await;
    let finger = service(|mut stream| async move { stream.write_all(b"goodbye").await });
    let port = published(&mut tunnel, "tcp", finger).await;
    let mut visitor = visitor(port).await;
    let mut heard = String::new();
    let reading = timeout(LIMIT, visitor.read_to_string(&mut heard)).await;
    let read = reading.expect("he hears that it has ended");
    read.expect("no reset");
    assert_eq!(heard, "goodbye");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_visitors_are_let_in_than_the_server_wants() {
    let mut tunnel = Tunnel::start("max_visitors = 2").await;
    let port = published(&mut tunnel, "tcp", traffic::echo().await.port()).await;
    let mut there = Vec::new();
    for _ in 0..2 {
        let mut visitor = visitor(port).await;
        traffic::exchange(&mut visitor, b"a word").await;
        there.push(visitor);
    }
    assert!(!visit(port).await, "a third one is let go");
    tunnel
        .stage
        .until_file_has("server.log", "2 visitors")
        .await;
    traffic::exchange(&mut there[0], b"and these are not disturbed").await;
    there.clear();
    until_back(port).await;
}

/// smux 1 has no window for a stream, and whoever asks for much and takes nothing would stop everybody.
#[tokio::test(flavor = "multi_thread")]
async fn visitors_who_take_nothing_hold_up_no_others() {
    let mut tunnel = Tunnel::start("").await;
    let files = service(|mut stream| async move { stream.write_all(&vec![7; SENT]).await });
    let port = published(&mut tunnel, "tcp", files).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(visitor(port).await);
    }
    sleep(Duration::from_secs(1)).await;
    let all = async |mut visitor: TcpStream| {
        let mut all = Vec::with_capacity(SENT);
        let reading = timeout(LIMIT, visitor.read_to_end(&mut all)).await;
        reading.expect("in time").expect("a whole file");
        assert_eq!(all.len(), SENT);
    };
    all(visitor(port).await).await;
    // And they have what they asked for when they want it.
    for visitor in idle {
        all(visitor).await;
    }
}

/// What a visitor sends before it ends its direction is answered, also after a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_that_ends_its_direction_has_its_answer() {
    let mut tunnel = Tunnel::start("").await;
    let slow = service(|mut stream| async move {
        let mut asked = [0; 8];
        stream.read_exact(&mut asked).await?;
        sleep(Duration::from_millis(2500)).await;
        stream.write_all(b"an answer").await?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        Ok(())
    });
    let port = published(&mut tunnel, "tcp", slow).await;
    let mut visitor = visitor(port).await;
    visitor.write_all(b"question").await.expect("a socket");
    visitor.shutdown().await.expect("a socket");
    let mut heard = [0; 9];
    let reading = timeout(LIMIT, visitor.read_exact(&mut heard)).await;
    reading.expect("an answer in time").expect("an answer");
    assert_eq!(&heard, b"an answer");
}

/// A closed tab, or a wire that broke: what a web service does for somebody who has gone is not held for a day.
#[tokio::test(flavor = "multi_thread")]
async fn a_web_service_hears_of_a_visitor_who_has_gone_while_he_was_to_wait() {
    let mut tunnel = Tunnel::start("").await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let slow = service(move |mut stream| {
        let tell = tell.clone();
        async move {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await?;
            if head[..read].starts_with(b"GET /stream ") {
                let begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmore\r\n";
                stream.write_all(begun).await?;
            }
            let _ = tell.send("asked");
            let _ = stream.read(&mut head).await;
            let _ = tell.send("left");
            Ok(())
        }
    });
    let port = published(&mut tunnel, "http/1.1", slow).await;
    for path in ["/report", "/stream"] {
        for is_reset in [true, false] {
            let mut visitor = visitor(port).await;
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            let asked = visitor.write_all(request.as_bytes()).await;
            asked.expect("a socket");
            let hears = timeout(LIMIT, told.recv()).await;
            assert_eq!(hears.expect("it is asked"), Some("asked"));
            if is_reset {
                socket2::SockRef::from(&visitor)
                    .set_linger(Some(Duration::ZERO))
                    .expect("a socket");
            }
            drop(visitor);
            let hears = timeout(LIMIT, told.recv()).await;
            let told = hears.unwrap_or_else(|_| panic!("{path}, reset: {is_reset}"));
            assert_eq!(told, Some("left"));
        }
    }
}
