//! A client and a server joined by pipes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{ClientSettings, ServerSettings};
use crate::http::tell::Tell;
use crate::io::{Closing, Link};
use crate::seam::Arrival;
use crate::session::Source;
use crate::smux;
use crate::transport::{Accepted, ClientCarrier, Inbound, Outbound, ServerCarrier, ws};

/// A server that answers on each stream with its first byte and one more, and counts its connections.
struct Server {
    connections: mpsc::UnboundedSender<DuplexStream>,
    served: Arc<AtomicUsize>,
}

impl Server {
    fn new(settings: ServerSettings) -> Self {
        let inbound = Inbound::new(crate::transport::ServerSettings {
            carrier: ServerCarrier::Mws(settings),
            ..crate::transport::ServerSettings::default()
        });
        let inbound = Arc::new(inbound.unwrap());
        let (connections, mut accepted) = mpsc::unbounded_channel();
        let served = Arc::<AtomicUsize>::default();
        let count = served.clone();
        crate::io::spawn(async move {
            while let Some(link) = accepted.recv().await {
                count.fetch_add(1, Ordering::Relaxed);
                crate::io::spawn(serve(inbound.clone(), Link::other(link)));
            }
        });
        Self {
            connections,
            served,
        }
    }

    async fn open(&self, client: &Outbound) -> std::io::Result<Link> {
        let dial = async || {
            let (near, far) = duplex(64 * 1024);
            self.connections.send(far).unwrap();
            Ok((Link::other(near), None))
        };
        let to = "192.0.2.1:80".parse().unwrap();
        let opened = client.open(&to, &Closing::default(), dial).await;
        opened.map(|(link, _)| link)
    }
}

async fn serve(inbound: Arc<Inbound>, link: Link) {
    let arrival = Arrival {
        link,
        source: Source::Unix,
        local: Source::Unix,
        original_dst: None,
        tls: None,
        since: Instant::now(),
    };
    let (closing, tell) = (Closing::default(), Tell::default());
    let accepted = inbound.accept(arrival, &closing, &tell).await;
    let Ok(Accepted::Many(mut arrivals)) = accepted else {
        return;
    };
    let (go, mut going) = mpsc::unbounded_channel();
    loop {
        let arrival = tokio::select! {
            arrival = arrivals.next() => arrival,
            _ = going.recv() => return,
        };
        let Some((_, mut arrival)) = arrival else {
            return;
        };
        // Beside the others: while nobody waits for the next one, the session stands still.
        let go = go.clone();
        crate::io::spawn(async move {
            match arrival.link.read_u8().await {
                Ok(b'!') => go.send(()).unwrap(),
                Ok(byte) => arrival.link.write_all(&[byte, b'.']).await.unwrap(),
                Err(_) => {}
            }
        });
    }
}

fn client(settings: ClientSettings) -> Outbound {
    Outbound::new(crate::transport::ClientSettings {
        carrier: ClientCarrier::Mws(settings),
        ..crate::transport::ClientSettings::default()
    })
    .unwrap()
}

async fn ask(link: &mut Link, byte: u8) -> std::io::Result<[u8; 2]> {
    link.write_all(&[byte]).await?;
    let mut answer = [0; 2];
    link.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn tunnels_share_a_connection_and_a_lost_one_is_replaced_at_the_first_use() {
    for version in [smux::Version::One, smux::Version::Two] {
        let server = Server::new(ServerSettings::default());
        let mux = smux::Settings {
            version,
            ..smux::Settings::default()
        };
        let client = client(ClientSettings {
            mux,
            ..ClientSettings::default()
        });
        let mut kept = Vec::new();
        for byte in *b"abc" {
            let mut link = server.open(&client).await.unwrap();
            assert_eq!(ask(&mut link, byte).await.unwrap(), [byte, b'.']);
            kept.push(link);
        }
        assert_eq!(server.served.load(Ordering::Relaxed), 1);
        let mut last = server.open(&client).await.unwrap();
        assert!(ask(&mut last, b'!').await.is_err());
        assert!(
            kept[0].read_u8().await.is_err(),
            "it went with its connection"
        );
        let mut link = server.open(&client).await.unwrap();
        assert_eq!(ask(&mut link, b'd').await.unwrap(), *b"d.");
        assert_eq!(server.served.load(Ordering::Relaxed), 2);
    }
}

#[tokio::test]
async fn another_path_is_no_place() {
    let server = Server::new(ServerSettings::default());
    let client = client(ClientSettings {
        ws: ws::ClientSettings {
            path: "/elsewhere".to_owned(),
            ..ClientSettings::default().ws
        },
        ..ClientSettings::default()
    });
    let error = server.open(&client).await.unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
}

#[tokio::test]
async fn thousands_of_tunnels_that_come_at_once_are_all_served() {
    let server = Server::new(ServerSettings::default());
    let client = client(ClientSettings::default());
    let mut links = Vec::new();
    for _ in 0..5000 {
        let mut link = server.open(&client).await.unwrap();
        link.write_all(b"a").await.unwrap();
        links.push(link);
    }
    for link in &mut links {
        let mut answer = [0; 2];
        link.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"a.");
    }
    assert_eq!(server.served.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_session_that_is_full_is_followed_by_another() {
    let server = Server::new(ServerSettings::default());
    let client = client(ClientSettings::default());
    let mut links = Vec::new();
    for _ in 0..smux::MAX_STREAMS {
        links.push(server.open(&client).await.unwrap());
    }
    assert_eq!(server.served.load(Ordering::Relaxed), 1);
    let mut one_more = server.open(&client).await.unwrap();
    assert_eq!(ask(&mut one_more, b'b').await.unwrap(), *b"b.");
    assert_eq!(server.served.load(Ordering::Relaxed), 2);
    assert_eq!(ask(&mut links[0], b'a').await.unwrap(), *b"a.");
}
