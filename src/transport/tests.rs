//! A carrier whose connections bring many links, to see that the seam holds.
//!
//! A byte on the connection says that there is one more link, and which; its own bytes travel in memory.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pool::{Connection, Pool};
use super::*;
use crate::http::tell::Tell;
use crate::io::Closing;
use crate::policy::Limits;
use crate::seam::Arrival;
use crate::session::Source;

/// Both halves of it, and of its connections.
#[derive(Clone, Default)]
pub(super) struct ManyLinks {
    /// The far ends of links that the server has not seen yet.
    far: Arc<Mutex<HashMap<u8, DuplexStream>>>,
    /// What is written to the connection.
    numbers: Option<mpsc::UnboundedSender<u8>>,
    /// On this connection.
    opened: Arc<AtomicUsize>,
    /// On all of them.
    all: Arc<AtomicU8>,
}

/// Links of one connection.
const AT_MOST: usize = 2;

impl ManyLinks {
    pub(super) fn connect(&self, mut link: Link) -> Self {
        let (numbers, mut due) = mpsc::unbounded_channel();
        crate::io::spawn(async move {
            while let Some(number) = due.recv().await {
                link.write_u8(number).await.unwrap();
            }
        });
        Self {
            far: self.far.clone(),
            numbers: Some(numbers),
            opened: Arc::default(),
            all: self.all.clone(),
        }
    }

    pub(super) fn accept(&self, mut arrival: Arrival) -> Arrivals {
        let (send, links) = mpsc::channel(1);
        let far = self.far.clone();
        let driver = async move {
            while let Ok(number) = arrival.link.read_u8().await {
                let link = far.lock().unwrap().remove(&number).unwrap();
                let one = Arrival {
                    link: Link::other(link),
                    since: Instant::now(),
                    tls: None,
                    ..arrival
                };
                let _ = send.send((0, one)).await;
            }
        };
        Arrivals::new(driver, links)
    }
}

impl Connection for ManyLinks {
    fn open(&self) -> Option<Link> {
        if self.opened.fetch_add(1, Ordering::Relaxed) >= AT_MOST {
            return None;
        }
        let number = self.all.fetch_add(1, Ordering::Relaxed);
        let (near, far) = duplex(64);
        self.far.lock().unwrap().insert(number, far);
        self.numbers.as_ref()?.send(number).ok()?;
        Some(Link::other(near))
    }
}

#[tokio::test]
async fn links_share_a_connection_and_each_is_served_by_itself() {
    let many = ManyLinks::default();
    let server = Inbound::many(many.clone());
    let client = Outbound::many(many, Pool::default());
    let to = "192.0.2.1:1".parse().unwrap();
    let (dialled, closing) = (AtomicUsize::new(0), Closing::default());
    let (connections, mut accepted) = mpsc::unbounded_channel();
    let dial = async || {
        dialled.fetch_add(1, Ordering::Relaxed);
        let (near, far) = duplex(64);
        connections.send(far).unwrap();
        Ok((Link::other(near), Some(Limits::default())))
    };
    let mut links = Vec::new();
    for expected in [1, 1, 2] {
        let (link, limits) = client.open(&to, &closing, dial).await.unwrap();
        assert_eq!(dialled.load(Ordering::Relaxed), expected);
        assert!(limits.is_some(), "those of the connection below");
        links.push(link);
    }
    let first = accepted.recv().await.unwrap();
    let arrival = Arrival {
        link: Link::other(first),
        source: Source::Unix,
        local: Source::Unix,
        original_dst: None,
        tls: None,
        since: Instant::now(),
    };
    let Ok(Accepted::Many(mut arrivals)) = server.accept(arrival, &closing, &Tell::default()).await
    else {
        panic!("it brings many");
    };
    let (_, mut one) = arrivals.next().await.unwrap();
    let (_, mut other) = arrivals.next().await.unwrap();
    links[1].write_all(b"b").await.unwrap();
    links[0].write_all(b"a").await.unwrap();
    assert_eq!(other.link.read_u8().await.unwrap(), b'b');
    assert_eq!(one.link.read_u8().await.unwrap(), b'a');
    drop(client);
    assert!(arrivals.next().await.is_none(), "the connection has ended");
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_tried_again() {
    let client = Outbound::many(ManyLinks::default(), Pool::default());
    let to = "192.0.2.1:1".parse().unwrap();
    let closing = Closing::default();
    let failing = async || Err(io::ErrorKind::ConnectionRefused.into());
    let error = client.open(&to, &closing, failing).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let (near, _far) = duplex(64);
    let dial = async || Ok((Link::other(near), None));
    assert!(client.open(&to, &closing, dial).await.is_ok());
}
