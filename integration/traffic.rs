//! Applications and targets: what travels through a tunnel, and whether it arrived whole.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::peers::listen;

/// Where a SOCKS proxy is asked to go.
pub enum To {
    Ip(SocketAddr),
    /// A name that the far end resolves.
    Name(&'static str, u16),
}

/// A TCP connection through the SOCKS5 proxy on `proxy`.
pub async fn connect(proxy: u16, to: &To) -> io::Result<TcpStream> {
    let (stream, _) = socks(proxy, 1, to).await?;
    Ok(stream)
}

async fn socks(proxy: u16, command: u8, to: &To) -> io::Result<(TcpStream, SocketAddr)> {
    let talk = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy)).await?;
        stream.write_all(&[5, 1, 0]).await?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await?;
        assert_eq!(chosen, [5, 0], "no authentication is asked for");
        let mut request = vec![5, command, 0];
        put_address(&mut request, to);
        stream.write_all(&request).await?;
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).await?;
        if reply[1] != 0 {
            return Err(io::Error::other(format!("SOCKS says {}", reply[1])));
        }
        assert_eq!(reply[3], 1, "our proxies are bound to IPv4");
        let mut bound = [0; 6];
        stream.read_exact(&mut bound).await?;
        let ip = Ipv4Addr::new(bound[0], bound[1], bound[2], bound[3]);
        let port = u16::from_be_bytes([bound[4], bound[5]]);
        Ok((stream, SocketAddr::from((ip, port))))
    };
    timeout(LIMIT, talk).await?
}

fn put_address(into: &mut Vec<u8>, to: &To) {
    let port = match to {
        To::Ip(SocketAddr::V4(at)) => {
            into.push(1);
            into.extend(at.ip().octets());
            at.port()
        }
        To::Ip(SocketAddr::V6(at)) => {
            into.push(4);
            into.extend(at.ip().octets());
            at.port()
        }
        To::Name(name, port) => {
            into.push(3);
            into.push(name.len().try_into().expect("a short name"));
            into.extend(name.as_bytes());
            *port
        }
    };
    into.extend(port.to_be_bytes());
}

/// Sends everything back; ends when the other side has ended.
pub async fn echo() -> SocketAddr {
    serve(|mut stream| async move {
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await?;
        write.shutdown().await
    })
    .await
}

/// Answers with the digest of all it got, once the other side has ended.
pub async fn digester() -> SocketAddr {
    serve(|mut stream| async move {
        let digest = digest(&mut stream).await?;
        stream.write_all(&digest).await?;
        stream.shutdown().await
    })
    .await
}

/// Says a greeting first, as SMTP and SSH servers do, then echoes.
pub async fn greeter() -> SocketAddr {
    serve(|mut stream| async move {
        stream.write_all(GREETING).await?;
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await?;
        write.shutdown().await
    })
    .await
}

/// Says `tag`, in a line, to everyone.
pub async fn says(tag: &str) -> SocketAddr {
    let line = format!("{tag}\n");
    serve(move |mut stream| {
        let line = line.clone();
        async move {
            stream.write_all(line.as_bytes()).await?;
            // Closing with something unread would reset the connection.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            Ok(())
        }
    })
    .await
}

/// An HTTP server that answers everything with `word`.
pub async fn answers(word: &str) -> SocketAddr {
    let len = word.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{word}");
    let listener = listen();
    let at = listener.local_addr().expect("a listener has an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_one(stream, answer.clone()));
        }
    });
    at
}

/// Answers when it was asked, and not before.
async fn answer_one(mut stream: TcpStream, answer: String) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    stream.write_all(answer.as_bytes()).await?;
    // Closing with something unread would reset the connection.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

pub const GREETING: &[u8] = b"220 here I am\r\n";

async fn serve<F>(each: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = listen();
    let at = listener.local_addr().expect("a listener has an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(stream));
        }
    });
    at
}

/// Sends datagrams back.
pub async fn udp_echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let at = socket.local_addr().expect("a socket has an address");
    tokio::spawn(async move {
        let mut buf = vec![0; 64 * 1024];
        while let Ok((n, from)) = socket.recv_from(&mut buf).await {
            let _ = socket.send_to(&buf[..n], from).await;
        }
    });
    at
}

/// `len` bytes that repeat nowhere.
pub fn bytes(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(len);
    out
}

pub fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

async fn digest(from: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; 32]> {
    Ok(all(from).await?.digest)
}

/// Everything up to the end. The length is there to say more than "it differs".
async fn all(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Whole> {
    let mut hash = Sha256::new();
    let mut len = 0;
    let mut buf = vec![0; 32 * 1024];
    loop {
        let n = from.read(&mut buf).await?;
        if n == 0 {
            let digest = hash.finalize().into();
            return Ok(Whole { len, digest });
        }
        hash.update(&buf[..n]);
        len += n;
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Whole {
    len: usize,
    digest: [u8; 32],
}

impl Whole {
    fn of(data: &[u8]) -> Self {
        Self {
            len: data.len(),
            digest: sha256(data),
        }
    }
}

/// The line that a session to `to` begins with; nothing if there is none.
pub async fn line(proxy: u16, to: &To) -> String {
    let talk = async {
        let stream = connect(proxy, to).await?;
        // V2Ray waits a moment before it passes the end on, so the line must do.
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        Ok::<_, io::Error>(line.trim_end().to_owned())
    };
    let talked = timeout(LIMIT, talk).await;
    talked.expect("an end in time").unwrap_or_default()
}

/// mihomo listens before it carries anything.
pub async fn ready(proxy: u16) {
    let to = To::Ip(says("ready").await);
    for _ in 0..100 {
        if line(proxy, &to).await == "ready" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing is carried");
}

/// A word there, the same word back.
pub async fn word(proxy: u16, to: &To) {
    let mut stream = connect(proxy, to).await.expect("SOCKS connects");
    exchange(&mut stream, b"a word").await;
}

/// Sends `data` over a connection to an echo and expects it back.
pub async fn exchange(stream: &mut TcpStream, data: &[u8]) {
    let mut back = vec![0; data.len()];
    let talk = async {
        stream.write_all(data).await?;
        stream.read_exact(&mut back).await
    };
    let talked = timeout(LIMIT, talk).await.expect("an echo in time");
    talked.expect("the tunnel carries a word");
    assert!(back == data, "the echo differs");
}

/// The server speaks before the application has said anything.
pub async fn server_speaks_first(proxy: u16) {
    let to = To::Ip(greeter().await);
    let mut stream = connect(proxy, &to).await.expect("SOCKS connects");
    let mut greeting = vec![0; GREETING.len()];
    let read = timeout(LIMIT, stream.read_exact(&mut greeting)).await;
    read.expect("a greeting in time").expect("a greeting");
    assert_eq!(greeting, GREETING);
    exchange(&mut stream, b"an answer").await;
}

/// `len` bytes there and back at the same time.
pub async fn both_ways(proxy: u16, len: usize) {
    let mut stream = connect(proxy, &To::Ip(echo().await))
        .await
        .expect("SOCKS connects");
    let data = bytes(len);
    let (mut read, mut write) = stream.split();
    let send = async {
        for piece in data.chunks(50_000) {
            write.write_all(piece).await?;
        }
        Ok(())
    };
    let receive = async {
        let mut back = vec![0; len];
        read.read_exact(&mut back).await?;
        Ok::<_, io::Error>(sha256(&back))
    };
    let done = timeout(LONG_LIMIT, async { tokio::try_join!(send, receive) }).await;
    let ((), back) = done.expect("all in time").expect("all arrives");
    assert_eq!(back, sha256(&data), "{len} bytes came back changed");
}

/// The application ends its direction; the target sees that, and still answers.
pub async fn application_ends_first(proxy: u16) {
    let mut stream = connect(proxy, &To::Ip(digester().await))
        .await
        .expect("SOCKS connects");
    let data = bytes(1024 * 1024);
    let talk = async {
        stream.write_all(&data).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = timeout(LIMIT, talk).await.expect("an answer in time");
    assert_eq!(answer.expect("an answer"), sha256(&data));
}

/// The target answers some time after the application has ended its direction.
pub async fn target_answers_late(proxy: u16) {
    let data = bytes(200_000);
    let sent = data.clone();
    let at = serve(move |mut stream| {
        let sent = sent.clone();
        async move {
            stream.read_exact(&mut [0; 8]).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            stream.write_all(&sent).await?;
            stream.shutdown().await
        }
    })
    .await;
    let mut stream = connect(proxy, &To::Ip(at)).await.expect("SOCKS connects");
    stream
        .write_all(b"question")
        .await
        .expect("our way is open");
    stream.shutdown().await.expect("our way is open");
    let got = timeout(LIMIT, digest(&mut stream)).await;
    let got = got.expect("an answer in time").expect("it arrives");
    assert_eq!(got, sha256(&data));
}

/// The target ends its direction; the application sees that, and still sends; `pause` later it ends too.
pub async fn target_ends_first(proxy: u16, pause: Duration) {
    let listener = listen();
    let at = listener.local_addr().expect("a listener has an address");
    let data = bytes(1024 * 1024);
    let sent = data.clone();
    let target: JoinHandle<io::Result<Whole>> = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        stream.write_all(&sent).await?;
        stream.shutdown().await?;
        all(&mut stream).await
    });
    let mut stream = connect(proxy, &To::Ip(at)).await.expect("SOCKS connects");
    let got = timeout(LIMIT, all(&mut stream)).await;
    let got = got.expect("the target's end in time").expect("it arrives");
    assert_eq!(got, Whole::of(&data));
    stream.write_all(&data).await.expect("our way is open");
    tokio::time::sleep(pause).await;
    stream.shutdown().await.expect("our way is open");
    let seen = timeout(LIMIT, target).await.expect("our end in time");
    let seen = seen.expect("the target runs").expect("it reads");
    assert_eq!(seen, Whole::of(&data));
}

/// `count` connections at the same time, each with some data of its own.
pub async fn many(proxy: u16, count: usize) {
    let to = echo().await;
    let mut all = JoinSet::new();
    for n in 0..count {
        all.spawn(async move {
            let mut stream = connect(proxy, &To::Ip(to)).await.expect("SOCKS connects");
            let data = bytes(1000 + n);
            exchange(&mut stream, &data).await;
            // All are open before the first one goes.
            tokio::time::sleep(Duration::from_millis(500)).await;
            exchange(&mut stream, &data[n..]).await;
        });
    }
    let mut done = 0;
    while let Some(one) = all.join_next().await {
        one.expect("each of them works");
        done += 1;
    }
    assert_eq!(done, count);
}

/// One association, several targets: all see it at the same address, and each answers as itself, even
/// one that was never asked.
pub async fn full_cone(proxy: u16) {
    let (association, relay) = associate(proxy).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let mut buf = vec![0; 2048];
    let mut seen = Vec::new();
    for n in 0..3_u8 {
        let target = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let at = target.local_addr().expect("a socket has an address");
        let mut datagram = vec![0, 0, 0];
        put_address(&mut datagram, &To::Ip(at));
        datagram.push(n);
        let (len, from) = asked(&socket, relay, &datagram, &target, &mut buf).await;
        assert_eq!(buf[..len], [n]);
        seen.push(from);
        target.send_to(&[n, n], from).await.expect("UDP sends");
        let got = timeout(LIMIT, socket.recv(&mut buf)).await;
        let len = got.expect("an answer in time").expect("UDP receives");
        datagram.push(n);
        assert_eq!(buf[..len], datagram, "the answer names who sent it");
    }
    assert!(seen.iter().all(|from| *from == seen[0]), "{seen:?}");
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    stranger
        .send_to(b"hello", seen[0])
        .await
        .expect("UDP sends");
    let got = timeout(LIMIT, socket.recv(&mut buf)).await;
    let len = got
        .expect("a stranger's word in time")
        .expect("UDP receives");
    let mut datagram = vec![0, 0, 0];
    let at = stranger.local_addr().expect("a socket has an address");
    put_address(&mut datagram, &To::Ip(at));
    datagram.extend(b"hello");
    assert_eq!(buf[..len], datagram);
    drop(association);
}

/// A datagram through the relay, as its target gets it.
async fn asked(
    socket: &UdpSocket,
    relay: SocketAddr,
    datagram: &[u8],
    target: &UdpSocket,
    buf: &mut [u8],
) -> (usize, SocketAddr) {
    for _ in 0..5 {
        socket.send_to(datagram, relay).await.expect("UDP sends");
        let wait = Duration::from_secs(3);
        if let Ok(got) = timeout(wait, target.recv_from(buf)).await {
            return got.expect("UDP receives");
        }
    }
    panic!("no datagram arrived");
}

/// A SOCKS5 association: it lasts as long as the connection.
pub async fn associate(proxy: u16) -> (TcpStream, SocketAddr) {
    let anywhere = To::Ip(SocketAddr::from(([0, 0, 0, 0], 0)));
    let (association, mut relay) = socks(proxy, 3, &anywhere).await.expect("an association");
    if relay.ip().is_unspecified() {
        relay.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    (association, relay)
}

/// A datagram of each of `sizes` there and back, over a SOCKS5 association.
pub async fn datagrams(proxy: u16, sizes: &[usize]) {
    let target = udp_echo().await;
    let (association, relay) = associate(proxy).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let mut buf = vec![0; 64 * 1024];
    for size in sizes {
        let data = bytes(*size);
        let datagram = datagram(&To::Ip(target), &data);
        let n = answered(&socket, relay, &datagram, &mut buf).await;
        assert_eq!(n, datagram.len(), "a datagram of {size} bytes came back");
        assert!(buf[10..n] == data, "the echo of {size} bytes differs");
    }
    drop(association);
}

/// A datagram of `size` bytes that may well be lost.
pub async fn one_datagram(proxy: u16, size: usize) {
    let (association, relay) = associate(proxy).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let mut datagram = vec![0, 0, 0];
    put_address(&mut datagram, &To::Ip(udp_echo().await));
    datagram.extend(bytes(size));
    socket.send_to(&datagram, relay).await.expect("UDP sends");
    let wait = Duration::from_millis(500);
    let _ = timeout(wait, socket.recv(&mut vec![0; 64 * 1024])).await;
    drop(association);
}

/// `data` for `to`, as a SOCKS5 association takes it.
pub fn datagram(to: &To, data: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0, 0, 0];
    put_address(&mut datagram, to);
    datagram.extend(data);
    datagram
}

/// Datagrams may be lost, so a few tries are fair.
pub async fn answered(
    socket: &UdpSocket,
    relay: SocketAddr,
    datagram: &[u8],
    buf: &mut [u8],
) -> usize {
    for _ in 0..5 {
        socket.send_to(datagram, relay).await.expect("UDP sends");
        let wait = Duration::from_secs(3);
        if let Ok(got) = timeout(wait, socket.recv_from(buf)).await {
            return got.expect("UDP receives").0;
        }
    }
    panic!("no datagram of {} bytes came back", datagram.len());
}

pub const LIMIT: Duration = Duration::from_secs(20);
const LONG_LIMIT: Duration = Duration::from_secs(60);

/// An application that has sent a file closes its connection, as one that stores by FTP does: the target has all of it, and an end.
pub async fn application_sends_and_closes(proxy: u16) {
    let data = bytes(50_000);
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let at = serve(move |mut stream| {
        let said = said.clone();
        async move {
            let got = all(&mut stream).await;
            let _ = said.send(got.map_err(|e| e.kind()));
            Ok(())
        }
    })
    .await;
    for _ in 0..3 {
        let mut stream = connect(proxy, &To::Ip(at)).await.expect("SOCKS connects");
        stream.write_all(&data).await.expect("our way is open");
        // What is still on its way when a client of V2Ray or sing-box ends is lost by itself.
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(stream);
        let got = timeout(LIMIT, heard.recv()).await.expect("an end in time");
        assert_eq!(got.expect("one for each"), Ok(Whole::of(&data)));
    }
}

/// The target sends all it has and closes; the application gets every byte, then the end.
pub async fn target_sends_and_closes(proxy: u16) {
    let data = bytes(1024 * 1024);
    let sent = data.clone();
    let at = serve(move |mut stream| {
        let sent = sent.clone();
        async move {
            // Closing with something unread would reset the connection.
            stream.read_exact(&mut [0; 2]).await?;
            stream.write_all(&sent).await?;
            stream.shutdown().await?;
            // It stays open, as that of a server that lingers: the end must be told all the same.
            tokio::time::sleep(2 * LIMIT).await;
            Ok(())
        }
    })
    .await;
    let mut stream = connect(proxy, &To::Ip(at)).await.expect("SOCKS connects");
    // sing-box dials when the application has spoken.
    stream.write_all(b"go").await.expect("our way is open");
    let got = timeout(LIMIT, all(&mut stream)).await;
    let got = got.expect("the target's end in time").expect("it arrives");
    assert_eq!(got, Whole::of(&data));
}
