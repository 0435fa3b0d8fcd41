//! Both carriers, a client of ours with a server of ours; other programs are in the integration tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::Pings;
use crate::cause::{AcceptError, StreamError};
use crate::http::tell::Tell;
use crate::io::{Closing, Io, Link};
use crate::seam::Arrival;
use crate::session::Source;
use crate::transport::{
    Accepted, ClientCarrier, ClientSettings, Inbound, Outbound, ServerCarrier, ServerSettings,
    grpc, h2,
};

/// A link, or what the log is told.
type Brought = Result<Arrival, AcceptError>;

/// A client and what its server gets, over pipes in memory.
struct Pair {
    client: Outbound,
    dialled: Arc<AtomicUsize>,
    connections: mpsc::UnboundedSender<Link>,
    arrivals: mpsc::UnboundedReceiver<Brought>,
}

impl Pair {
    fn new(server: ServerCarrier, client: ClientCarrier) -> Self {
        let server = Inbound::new(ServerSettings {
            carrier: server,
            ..ServerSettings::default()
        });
        let client = Outbound::new(ClientSettings {
            carrier: client,
            ..ClientSettings::default()
        });
        let (connections, mut accepted) = mpsc::unbounded_channel();
        let (brought, arrivals) = mpsc::unbounded_channel();
        let server = Arc::new(server.unwrap());
        crate::io::spawn(async move {
            while let Some(link) = accepted.recv().await {
                let arrival = Arrival {
                    link,
                    source: Source::Unix,
                    local: Source::Unix,
                    original_dst: None,
                    tls: None,
                    since: Instant::now(),
                };
                let (server, brought) = (server.clone(), brought.clone());
                crate::io::spawn(async move {
                    let refused = brought.clone();
                    let tell = Tell::new(move |e| drop(refused.send(Err(e.into()))));
                    match server.accept(arrival, &Closing::default(), &tell).await {
                        Ok(Accepted::Many(mut arrivals)) => {
                            while let Some((_, one)) = arrivals.next().await {
                                let _ = brought.send(Ok(one));
                            }
                        }
                        Ok(Accepted::One(..)) => panic!("it brings many"),
                        Err((_, e)) => drop(brought.send(Err(e))),
                    }
                });
            }
        });
        Self {
            client: client.unwrap(),
            dialled: Arc::default(),
            connections,
            arrivals,
        }
    }

    fn grpc() -> Self {
        let paths = grpc::Paths::new("tunnel");
        let server = grpc::ServerSettings {
            paths: paths.clone(),
            ..grpc::ServerSettings::default()
        };
        let client = grpc::ClientSettings {
            paths,
            ..grpc::ClientSettings::default()
        };
        Self::new(ServerCarrier::Grpc(server), ClientCarrier::Grpc(client))
    }

    fn h2() -> Self {
        let hosts = vec!["a.example".to_owned()];
        let server = h2::ServerSettings {
            hosts: hosts.clone(),
            path: "/ray".to_owned(),
            ..h2::ServerSettings::default()
        };
        let client = h2::ClientSettings {
            hosts,
            path: "/ray".to_owned(),
            ..h2::ClientSettings::default()
        };
        Self::new(ServerCarrier::H2(server), ClientCarrier::H2(client))
    }

    async fn open(&self) -> Link {
        let (near, far) = duplex(256 * 1024);
        let dial = async || {
            self.dialled.fetch_add(1, Ordering::Relaxed);
            self.connections.send(Link::other(far)).unwrap();
            Ok((Link::other(near), None))
        };
        let server = "192.0.2.1:443".parse().unwrap();
        let opened = self.client.open(&server, &Closing::default(), dial).await;
        opened.unwrap().0
    }

    async fn next(&mut self) -> Brought {
        let next = timeout(Duration::from_secs(5), self.arrivals.recv()).await;
        next.expect("in time").expect("the server runs")
    }

    async fn links(&mut self) -> (Link, Link) {
        let near = self.open().await;
        (near, self.next().await.unwrap().link)
    }
}

#[tokio::test]
async fn bytes_pass_both_ways_and_each_end_is_heard() {
    for mut pair in [Pair::grpc(), Pair::h2()] {
        let (mut near, mut far) = pair.links().await;
        // The server may be the first to speak.
        far.write_all(b"hello").await.unwrap();
        let mut got = [0; 5];
        near.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let sending = async {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
            let mut back = Vec::new();
            near.read_to_end(&mut back).await.unwrap();
            back
        };
        let echoing = async {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            far.write_all(&got).await.unwrap();
            far.shutdown().await.unwrap();
            got
        };
        let (back, got) = tokio::join!(sending, echoing);
        assert!(got == expected && back == expected);
    }
}

#[tokio::test]
async fn links_share_a_connection_and_one_that_is_not_read_stops_no_other() {
    for mut pair in [Pair::grpc(), Pair::h2()] {
        let mut unread = Vec::new();
        for _ in 0..8 {
            let (mut near, far) = pair.links().await;
            // Until its window is full.
            let chunk = vec![7; 64 * 1024];
            let mut sent = 0;
            while timeout(Duration::from_millis(200), near.write_all(&chunk))
                .await
                .is_ok()
            {
                sent += chunk.len();
            }
            assert!(
                (900_000..2_000_000).contains(&sent),
                "{sent} bytes are kept"
            );
            unread.push((near, far));
        }
        let (mut near, mut far) = pair.links().await;
        assert_eq!(pair.dialled.load(Ordering::Relaxed), 1);
        let sending = async { near.write_all(&vec![1; 4_000_000]).await.unwrap() };
        let mut got = vec![0; 4_000_000];
        let both = async { tokio::join!(sending, far.read_exact(&mut got)) };
        timeout(Duration::from_secs(20), both)
            .await
            .unwrap()
            .1
            .unwrap();
    }
}

#[tokio::test]
async fn a_link_that_is_dropped_is_no_clean_end() {
    for mut pair in [Pair::grpc(), Pair::h2()] {
        for near_drops in [true, false] {
            let (mut near, mut far) = pair.links().await;
            near.write_all(b"begun").await.unwrap();
            far.read_exact(&mut [0; 5]).await.unwrap();
            let mut other = if near_drops {
                drop(near);
                far
            } else {
                drop(far);
                near
            };
            let read = timeout(Duration::from_secs(5), other.read(&mut [0; 9])).await;
            assert!(read.unwrap().is_err());
        }
        let (near, mut far) = pair.links().await;
        near.close().await;
        assert_eq!(far.read(&mut [0; 9]).await.unwrap(), 0, "a clean one is");
    }
}

/// Of V2Ray, sing-box and mihomo each link ends so, be all said or not.
#[tokio::test]
async fn a_client_that_cancels_has_said_all() {
    for (answers, closes) in [(false, false), (true, false), (false, true)] {
        let mut pair = Pair::h2();
        let (near, far) = duplex(256 * 1024);
        pair.connections.send(Link::other(far)).unwrap();
        let (mut requests, connection) = ::h2::client::handshake(near).await.unwrap();
        let connection = crate::io::spawn(connection);
        let request = http::Request::put("https://a.example/ray").body(());
        let (_answer, mut sent) = requests.send_request(request.unwrap(), false).unwrap();
        let mut far = pair.next().await.unwrap().link;
        sent.send_data(vec![7; 50_000].into(), false).unwrap();
        far.read_exact(&mut [0; 1]).await.unwrap();
        // What is said comes first.
        tokio::time::sleep(Duration::from_millis(50)).await;
        match closes {
            true => connection.abort(),
            false => sent.send_reset(::h2::Reason::CANCEL),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        if answers {
            far.write_all(&[1; 10_000]).await.unwrap();
        }
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), 49_999);
        // Whoever waits for something to write hears that nobody listens.
        std::future::poll_fn(|cx| far.poll_gone(cx)).await;
        far.shutdown().await.unwrap();
    }
}

/// What was to be said is thrown away with the link, and its end would come all the same.
#[tokio::test]
async fn a_link_that_is_dropped_behind_its_end_is_no_clean_end() {
    for mut pair in [Pair::grpc(), Pair::h2()] {
        let (mut near, mut far) = pair.links().await;
        // More than is read at once, and than the line holds.
        let written = timeout(Duration::from_millis(200), near.write_all(&[7; 3_000_000])).await;
        assert!(written.is_err(), "nobody reads");
        near.shutdown().await.unwrap();
        drop(near);
        let read = timeout(Duration::from_secs(5), far.read_to_end(&mut Vec::new())).await;
        assert!(read.unwrap().is_err());
    }
}

/// One that reads nothing more does not keep a target that never ends.
#[tokio::test]
async fn a_client_that_cancels_is_not_written_to_for_ever() {
    let mut pair = Pair::h2();
    let (near, far) = duplex(256 * 1024);
    pair.connections.send(Link::other(far)).unwrap();
    let (mut requests, connection) = ::h2::client::handshake(near).await.unwrap();
    crate::io::spawn(connection);
    let request = http::Request::put("https://a.example/ray").body(());
    let (_answer, mut sent) = requests.send_request(request.unwrap(), false).unwrap();
    let mut far = pair.next().await.unwrap().link;
    sent.send_reset(::h2::Reason::CANCEL);
    let writing = async {
        let mut written = 0;
        while far.write_all(&[1; 10_000]).await.is_ok() {
            written += 10_000;
        }
        written
    };
    let written = timeout(Duration::from_secs(5), writing).await.unwrap();
    assert!((1_000_000..2_000_000).contains(&written), "{written}");
}

#[tokio::test]
async fn who_asks_for_something_else_is_told_so_and_so_is_the_log() {
    let client = |name| grpc::ClientSettings {
        paths: grpc::Paths::new(name),
        ..grpc::ClientSettings::default()
    };
    let server = grpc::ServerSettings {
        paths: grpc::Paths::new("tunnel"),
        ..grpc::ServerSettings::default()
    };
    let mut pair = Pair::new(
        ServerCarrier::Grpc(server),
        ClientCarrier::Grpc(client("other")),
    );
    let mut near = pair.open().await;
    let error = near.read(&mut [0; 9]).await.unwrap_err();
    let cause = StreamError::of(&error).unwrap();
    assert_eq!(cause.code(), "grpc-12");
    assert!(
        error.to_string().contains("unknown service other"),
        "{error}"
    );
    let refused = pair.next().await.err().unwrap();
    let said = refused.to_string();
    assert_eq!(
        said,
        "POST /other/Tun: 200, the path is not \"/tunnel/Tun\""
    );

    let server = ServerCarrier::H2(h2::ServerSettings {
        hosts: vec!["a.example".to_owned()],
        ..h2::ServerSettings::default()
    });
    let asks = |host: &str| {
        ClientCarrier::H2(h2::ClientSettings {
            hosts: vec![host.to_owned()],
            ..h2::ClientSettings::default()
        })
    };
    let mut pair = Pair::new(server.clone(), asks("b.example"));
    let mut near = pair.open().await;
    let error = near.read(&mut [0; 9]).await.unwrap_err();
    assert_eq!(StreamError::of(&error).unwrap().code(), "h2-404");
    assert!(pair.next().await.is_err());
    // The port of the address is no part of the name.
    let mut pair = Pair::new(server, asks("A.example:8443"));
    let _near = pair.open().await;
    assert!(pair.next().await.is_ok());
}

#[tokio::test]
async fn what_is_no_http2_is_let_go() {
    let mut pair = Pair::grpc();
    let (mut near, far) = duplex(1024);
    pair.connections.send(Link::other(far)).unwrap();
    near.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let error = pair.next().await.err().unwrap();
    assert!(matches!(error, AcceptError::Request(_)), "{error}");
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(5), near.read_to_end(&mut rest)).await;
    assert!(!rest.starts_with(b"HTTP/1"));
}

#[tokio::test]
async fn a_connection_that_has_ended_is_made_anew() {
    let mut pair = Pair::grpc();
    let (near, far) = pair.links().await;
    drop((near, far));
    let (mut near, mut far) = pair.links().await;
    assert_eq!(pair.dialled.load(Ordering::Relaxed), 1);
    near.write_all(b"a").await.unwrap();
    far.read_exact(&mut [0; 1]).await.unwrap();
    // All streams of a client that goes away end, and so does the connection.
    drop(std::mem::replace(&mut pair.client, Pair::grpc().client));
    drop(near);
    assert!(far.read(&mut [0; 1]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_ping_is_given_up() {
    let pings = Pings {
        period: Duration::from_secs(10),
        limit: Duration::from_secs(20),
        without_stream: false,
    };
    let client = Outbound::new(ClientSettings {
        carrier: ClientCarrier::Grpc(grpc::ClientSettings {
            pings: Some(pings),
            ..grpc::ClientSettings::default()
        }),
        ..ClientSettings::default()
    });
    let (near, _silent) = duplex(64 * 1024);
    let dial = async || Ok((Link::other(near), None));
    let server = "192.0.2.1:443".parse().unwrap();
    let opened = client
        .unwrap()
        .open(&server, &Closing::default(), dial)
        .await;
    let begin = Instant::now();
    let mut link = opened.unwrap().0;
    assert!(link.read(&mut [0; 1]).await.is_err());
    assert!(
        begin.elapsed() <= Duration::from_secs(31),
        "{:?}",
        begin.elapsed()
    );
}

/// One that answers no ping would keep a farewell from its end.
#[tokio::test(start_paused = true)]
async fn a_connection_without_streams_is_let_go_whatever_its_client_does() {
    let pair = Pair::grpc();
    let (mut near, far) = duplex(64 * 1024);
    pair.connections.send(Link::other(far)).unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    near.write_all(preface).await.unwrap();
    let begin = Instant::now();
    let ending = async {
        let mut buf = vec![0; 1024];
        let mut next = begin;
        loop {
            next += Duration::from_secs(15);
            tokio::select! {
                read = near.read(&mut buf) => if read.map_or(true, |n| n == 0) { return },
                () = tokio::time::sleep_until(next) => {
                    let _ = near.write_all(b"\0\0\x08\x06\0\0\0\0\0abcdefgh").await;
                }
            }
        }
    };
    timeout(Duration::from_secs(430), ending).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(300));
}

/// A server may have said all, and still listen.
#[tokio::test]
async fn a_server_that_has_ended_still_hears_its_client() {
    for mut pair in [Pair::grpc(), Pair::h2()] {
        let mut near = pair.open().await;
        // Before it has heard anything of the server.
        near.write_all(b"a").await.unwrap();
        let mut far = pair.next().await.unwrap().link;
        far.read_exact(&mut [0; 1]).await.unwrap();
        far.write_all(b"all").await.unwrap();
        far.shutdown().await.unwrap();
        let mut got = Vec::new();
        near.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"all");
        let sending = async {
            near.write_all(&vec![1; 3_000_000]).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let both = async { tokio::join!(sending, far.read_to_end(&mut got)) };
        timeout(Duration::from_secs(5), both)
            .await
            .unwrap()
            .1
            .unwrap();
        assert_eq!(got.len(), 3_000_000);
    }
}

/// The writer may be the first to notice that a request was refused.
#[tokio::test]
async fn who_writes_hears_of_a_refusal_as_well() {
    let server = ServerCarrier::Grpc(grpc::ServerSettings {
        paths: grpc::Paths::new("tunnel"),
        ..grpc::ServerSettings::default()
    });
    let client = ClientCarrier::Grpc(grpc::ClientSettings {
        paths: grpc::Paths::new("other"),
        ..grpc::ClientSettings::default()
    });
    let mut pair = Pair::new(server, client);
    let mut near = pair.open().await;
    assert!(pair.next().await.is_err());
    let writing = async {
        loop {
            if let Err(error) = near.write_all(&[1; 1000]).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    let error = timeout(Duration::from_secs(5), writing).await.unwrap();
    assert_eq!(StreamError::of(&error).unwrap().code(), "grpc-12");
}

/// A web server in front says what time it is.
#[tokio::test]
async fn the_date_of_an_answer_is_heard() {
    let mut headers = http::HeaderMap::new();
    headers.insert("date", "Thu, 26 Nov 2026 00:00:00 GMT".parse().unwrap());
    let server = h2::ServerSettings {
        headers,
        ..h2::ServerSettings::default()
    };
    let client = ClientCarrier::H2(h2::ClientSettings::default());
    let mut pair = Pair::new(ServerCarrier::H2(server), client);
    let clock = pair.client.clock().unwrap();
    let (mut near, mut far) = pair.links().await;
    assert_eq!(clock.ahead(), None);
    far.write_all(b"a").await.unwrap();
    near.read_exact(&mut [0; 1]).await.unwrap();
    assert!(clock.ahead().is_some());
}
