//! Both ends in one process, connected by pipes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{
    BridgeHost, BridgeSettings, DialFuture, NoWay, Portal, PortalSettings, codec, run_bridge,
};
use crate::address::Destination;
use crate::cause::code_of;
use crate::io::Link;
use crate::mux;
use crate::seam::Accepted;

const DOMAIN: &str = "portal.test";

/// Where the bridge of a test stands.
struct Host {
    /// The far ends of its connections.
    dialled: mpsc::UnboundedSender<DuplexStream>,
    /// What has come out of it.
    carried: mpsc::UnboundedSender<Accepted>,
    refuses: Arc<AtomicBool>,
}

impl BridgeHost for Host {
    fn dial(&self, bridge: &BridgeSettings) -> DialFuture {
        assert_eq!(bridge.destination().to_string(), "portal.test:0");
        let (near, far) = duplex(64 * 1024);
        let refuses = self.refuses.load(Ordering::Relaxed);
        self.dialled.send(far).unwrap();
        Box::pin(async move {
            match refuses {
                true => Err(NoWay::from(io::Error::from(
                    io::ErrorKind::ConnectionRefused,
                ))),
                false => Ok((Link::other(near), Duration::from_secs(300))),
            }
        })
    }

    fn carry(
        &self,
        _bridge: &BridgeSettings,
        mut sessions: mpsc::Receiver<Accepted>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let carried = self.carried.clone();
        Box::pin(async move {
            while let Some(accepted) = sessions.recv().await {
                let _ = carried.send(accepted);
            }
        })
    }
}

/// A bridge that runs, what comes of it, and whether its attempts fail.
struct Bridge {
    dialled: mpsc::UnboundedReceiver<DuplexStream>,
    carried: Mutex<mpsc::UnboundedReceiver<Accepted>>,
    refuses: Arc<AtomicBool>,
}

fn bridge(refuses: bool) -> Bridge {
    let (dialled, far) = mpsc::unbounded_channel();
    let (carried, out) = mpsc::unbounded_channel();
    let refuses = Arc::new(AtomicBool::new(refuses));
    let host = Arc::new(Host {
        dialled,
        carried,
        refuses: refuses.clone(),
    });
    let settings = BridgeSettings {
        at: Default::default(),
        tag: "bridge".into(),
        domain: DOMAIN.to_owned(),
    };
    crate::io::spawn(run_bridge(settings, host));
    Bridge {
        dialled: far,
        carried: Mutex::new(out),
        refuses,
    }
}

fn portal() -> Arc<Portal> {
    Arc::new(Portal::new(PortalSettings {
        at: Default::default(),
        tag: "portal".into(),
        domain: DOMAIN.to_owned(),
    }))
}

impl Bridge {
    async fn dials(&mut self) -> DuplexStream {
        let limit = Duration::from_secs(100);
        let dialled = timeout(limit, self.dialled.recv()).await;
        dialled.expect("in time").expect("the bridge runs")
    }

    /// Its next connection becomes one of the portal's.
    async fn connects_to(&mut self, portal: &Arc<Portal>) -> JoinHandle<()> {
        let (link, portal) = (Link::other(self.dials().await), portal.clone());
        let serving = crate::io::spawn(async move {
            portal.serve(link, Duration::from_secs(300), "here").await;
        });
        // The first beat.
        sleep(Duration::from_millis(1)).await;
        serving
    }

    /// The next stream that comes out.
    async fn gives(&self) -> (Destination, Link) {
        match self.carried.lock().await.recv().await {
            Some(Accepted::Stream { to, link, .. }) => (to, link),
            other => panic!("{}", other.map_or("nothing".to_owned(), |o| o.to_string())),
        }
    }

    /// A stream by `portal`, with both of its ends.
    async fn open(&self, portal: &Portal) -> (Link, Link) {
        let to = "192.0.2.1:80".parse().unwrap();
        let mut near = portal.stream(&to).expect("a bridge is connected");
        near.write_all(b"a word").await.unwrap();
        let (asked, mut far) = self.gives().await;
        assert_eq!(asked, to);
        far.read_exact(&mut [0; 6]).await.unwrap();
        (near, far)
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_into_the_portal_comes_out_of_the_bridge() {
    let (portal, mut bridge) = (portal(), bridge(false));
    let refused = portal.stream(&"a.test:1".parse().unwrap());
    let error = refused.expect_err("nobody is connected");
    assert_eq!(code_of(&error).as_deref(), Some("no-bridge"));
    assert!(
        !error.to_string().contains(DOMAIN),
        "who knows it may pass for a bridge: {error}"
    );
    assert!(portal.is_for_bridges(&"Portal.test:0".parse().unwrap()));
    bridge.connects_to(&portal).await;
    let (mut near, mut far) = bridge.open(&portal).await;
    near.shutdown().await.unwrap();
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.unwrap();
    far.write_all(b"an answer after the end").await.unwrap();
    far.shutdown().await.unwrap();
    near.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"an answer after the end");
    let mut datagrams = portal.packets(&"192.0.2.1:53".parse().unwrap()).unwrap();
    let packet = crate::io::Packet {
        peer: "192.0.2.1:53".parse().unwrap(),
        data: (&b"a question"[..]).into(),
    };
    std::future::poll_fn(|cx| datagrams.poll_send(cx, &packet))
        .await
        .unwrap();
    let carried = bridge.carried.lock().await.recv().await;
    let Some(Accepted::Packets { mut packets, .. }) = carried else {
        panic!("datagrams come out, and not the portal's own");
    };
    let got = std::future::poll_fn(|cx| packets.poll_recv(cx)).await;
    assert_eq!(got.unwrap(), Some(packet));
}

#[tokio::test(start_paused = true)]
async fn a_busy_bridge_has_more_connections_and_they_share_the_sessions() {
    let (portal, mut bridge) = (portal(), bridge(false));
    bridge.connects_to(&portal).await;
    let mut open = Vec::new();
    // The portal's own is the first of 17.
    for _ in 0..15 {
        open.push(bridge.open(&portal).await);
    }
    sleep(Duration::from_secs(10)).await;
    assert!(bridge.dialled.try_recv().is_err(), "16 are enough for one");
    open.push(bridge.open(&portal).await);
    bridge.connects_to(&portal).await;
    for _ in 0..14 {
        open.push(bridge.open(&portal).await);
    }
    sleep(Duration::from_secs(10)).await;
    assert!(
        bridge.dialled.try_recv().is_err(),
        "the new one has taken them"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_had_its_sessions_gives_way_to_another() {
    let (portal, mut bridge) = (portal(), bridge(false));
    bridge.connects_to(&portal).await;
    let (mut near, mut far) = bridge.open(&portal).await;
    for _ in 0..255 {
        bridge.open(&portal).await;
    }
    bridge.connects_to(&portal).await;
    near.write_all(b"x").await.unwrap();
    far.read_exact(&mut [0]).await.unwrap();
    // All further ones are on the new connection: it lives when the old one is gone.
    let (mut later, mut later_far) = bridge.open(&portal).await;
    drop((near, far));
    sleep(Duration::from_secs(40)).await;
    later.write_all(b"x").await.unwrap();
    later_far.read_exact(&mut [0]).await.unwrap();
    assert!(bridge.dialled.try_recv().is_err(), "one is enough");
}

#[tokio::test(start_paused = true)]
async fn a_bridge_comes_back_in_ever_longer_steps() {
    let mut bridge = bridge(true);
    let mut at = Vec::new();
    let begin = Instant::now();
    for _ in 0..6 {
        drop(bridge.dials().await);
        at.push(begin.elapsed().as_secs());
    }
    assert_eq!(at, [0, 2, 6, 14, 24, 34]);
    bridge.refuses.store(false, Ordering::Relaxed);
    let portal = portal();
    let serving = bridge.connects_to(&portal).await;
    bridge.open(&portal).await;
    // It had been connected: the first step is short again.
    bridge.refuses.store(true, Ordering::Relaxed);
    let begin = Instant::now();
    serving.abort();
    drop(bridge.dials().await);
    drop(bridge.dials().await);
    let steps = begin.elapsed().as_secs();
    assert!((2..=5).contains(&steps), "{steps} s");
}

/// A link whose far end says nothing more, though nobody has closed it.
#[tokio::test(start_paused = true)]
async fn a_portal_that_is_silent_is_gone() {
    let mut bridge = bridge(false);
    let link = Link::other(bridge.dials().await);
    let (worker, carried) = mux::Worker::new(link, Duration::from_secs(1000));
    let carrying = crate::io::spawn(carried);
    let mut control = worker.packets(&codec::destination()).unwrap();
    let beat = crate::io::Packet {
        peer: codec::destination(),
        data: codec::encode(codec::State::Active, b"x"),
    };
    for _ in 0..5 {
        std::future::poll_fn(|cx| control.poll_send(cx, &beat))
            .await
            .unwrap();
        sleep(Duration::from_secs(20)).await;
        assert!(bridge.dialled.try_recv().is_err(), "it speaks");
    }
    let begin = Instant::now();
    let _mute = bridge.dials().await;
    let silent = begin.elapsed().as_secs();
    assert!((10..=20).contains(&silent), "{silent} s");
    carrying.await.unwrap();
    // The next one has never said anything.
    let begin = Instant::now();
    bridge.dials().await;
    let silent = begin.elapsed().as_secs();
    assert!((30..=40).contains(&silent), "{silent} s");
}
