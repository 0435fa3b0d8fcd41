use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{Instant, timeout};

use super::codec::Id;
use super::dialer::Wanted;
use super::stream::{Piped, WINDOW};
use super::*;
use crate::cause::BrowserError;
use crate::io::{CloseReason, Closing, Goodbye, Io, Link};
use crate::seam::Arrival;
use crate::session::Source;
use crate::transport::ws::{self, ClientSettings, Server, WsStream};

/// Our end of the dialer, and what a page would do.
struct Page {
    dialer: Dialer,
    control: WsStream<Link>,
    token: String,
}

fn dialer() -> Dialer {
    Dialer::new(Settings {
        name: "browserForwarder".to_owned(),
        at: Default::default(),
        listen: "127.0.0.1:8080".parse().unwrap(),
        takes: Takes::Asked,
    })
}

fn wanted(is_early: bool) -> Wanted {
    Wanted {
        url: "wss://a.example/ray".to_owned(),
        host: "wss://a.example".to_owned(),
        protocol: is_early.then(|| "AP8Q-w".to_owned()),
        is_early,
        closing: Closing::default(),
    }
}

async fn connect(dialer: &Dialer, path: String) -> WsStream<Link> {
    let (near, far) = duplex(64 * 1024);
    dialer.take(
        Arrival {
            link: Link::other(far),
            source: Source::Unix,
            local: Source::Unix,
            original_dst: None,
            tls: None,
            since: Instant::now(),
        },
        (),
    );
    let at = Server {
        address: "127.0.0.1:8080".parse().unwrap(),
        over_tls: false,
    };
    let settings = ClientSettings {
        path,
        ..ClientSettings::default()
    };
    ws::connect(near, &at, &settings).await.unwrap()
}

impl Page {
    async fn open() -> Self {
        Self::of(dialer()).await
    }

    async fn of(dialer: Dialer) -> Self {
        let token = dialer.token().to_owned();
        let control = connect(&dialer, format!("/control?token={token}")).await;
        let mut page = Self {
            dialer,
            control,
            token,
        };
        page.say("{\"ready\":1}").await;
        page
    }

    async fn say(&mut self, line: &str) {
        self.control.write_all(line.as_bytes()).await.unwrap();
        self.control.write_all(b"\n").await.unwrap();
        self.control.flush().await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            line.push(self.control.read_u8().await.unwrap());
        }
        serde_json::from_slice(&line).unwrap()
    }

    fn dial(&self, is_early: bool) -> tokio::task::JoinHandle<Result<Piped, BrowserError>> {
        let dialer = self.dialer.clone();
        crate::io::spawn(async move { dialer.dial(&wanted(is_early)).await })
    }

    async fn link(&self, id: &str) -> WsStream<Link> {
        connect(&self.dialer, format!("/link?token={}&id={id}", self.token)).await
    }

    /// A tunnel, and the page's end of it.
    async fn tunnel(&mut self) -> (Piped, WsStream<Link>, String) {
        let dialled = self.dial(false);
        let order = self.hear().await;
        let id = order["dial"].as_str().unwrap().to_owned();
        let far = self.link(&id).await;
        (dialled.await.unwrap().unwrap(), far, id)
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_page_a_session_waits_for_a_bounded_time() {
    let error = dialer().dial(&wanted(false)).await.unwrap_err();
    assert_eq!(error.code(), "browser-none");
    assert_eq!(
        error.to_string(),
        "no browser page is open at http://127.0.0.1:8080/ and none came within 10 s: \
         open it in a browser of this machine, and leave it open"
    );
}

#[tokio::test]
async fn a_page_that_comes_is_asked_by_those_who_wait() {
    let dialer = dialer();
    let waiting = dialer.clone();
    let dialled = crate::io::spawn(async move { waiting.dial(&wanted(true)).await });
    let mut page = Page::of(dialer).await;
    let order = page.hear().await;
    assert_eq!(order["url"], "wss://a.example/ray");
    assert_eq!(order["protocol"], "AP8Q-w");
    let id = order["dial"].as_str().unwrap();
    let failed = format!("{{\"failed\":\"{id}\",\"why\":\"no\"}}");
    page.say(&failed).await;
    let error = dialled.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "browser-failed");
    let text = error.to_string();
    assert!(
        text.contains("wss://a.example: no") && text.contains("Sec-WebSocket-Protocol"),
        "{text}"
    );
}

#[tokio::test]
async fn bytes_go_both_ways_and_no_further_ahead_than_the_page_hands_on() {
    let mut page = Page::open().await;
    let (mut near, mut far, id) = page.tunnel().await;
    far.write_all(b"hello").await.unwrap();
    far.flush().await.unwrap();
    let mut got = [0; 5];
    near.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello");

    let sender = crate::io::spawn(async move {
        let all = vec![7; WINDOW as usize + 1000];
        near.write_all(&all).await.unwrap();
        near.flush().await.unwrap();
        near
    });
    let mut window = vec![0; WINDOW as usize];
    far.read_exact(&mut window).await.unwrap();
    let more = timeout(Duration::from_millis(200), far.read(&mut got)).await;
    assert!(more.is_err(), "more than the window came");
    page.say(&format!("{{\"took\":\"{id}\",\"bytes\":131072}}"))
        .await;
    let mut rest = [0; 1000];
    far.read_exact(&mut rest).await.unwrap();
    assert_eq!(rest, [7; 1000]);
    sender.await.unwrap();
}

#[tokio::test]
async fn the_codes_of_a_page_are_those_of_its_peer() {
    let mut page = Page::open().await;
    for (code, clean, goodbye) in [
        (1000, true, Goodbye::Said),
        (3006, true, Goodbye::OwedByV2ray),
        (3011, false, Goodbye::Said),
        (3001, false, Goodbye::Said),
        (4999, false, Goodbye::Said),
    ] {
        let (mut near, far, _) = page.tunnel().await;
        let closing = crate::io::spawn(far.close(CloseReason::Private(code)));
        let end = near.read(&mut [0; 1]).await;
        assert_eq!(end.is_ok(), clean, "{code}: {end:?}");
        assert_eq!(near.goodbye(), goodbye, "{code}");
        drop(near);
        let _ = closing.await;
    }
}

#[tokio::test]
async fn when_the_page_goes_so_does_what_it_was_asked_for() {
    let mut page = Page::open().await;
    let (mut near, far, _) = page.tunnel().await;
    let dialled = page.dial(true);
    page.hear().await;
    drop(far);
    drop(page.control);
    assert_eq!(dialled.await.unwrap().unwrap_err().code(), "browser-gone");
    assert!(near.read(&mut [0; 1]).await.is_err());
    // Nothing was sent yet, so the next page is asked.
    let again = crate::io::spawn({
        let dialer = page.dialer.clone();
        async move { dialer.dial(&wanted(false)).await }
    });
    let mut page = Page::of(page.dialer).await;
    let id = page.hear().await["dial"].as_str().unwrap().to_owned();
    let _far = page.link(&id).await;
    again.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_no_longer_waits_is_told_to_the_page_and_a_strange_id_gets_nothing() {
    let mut page = Page::open().await;
    let dialled = page.dial(false);
    let order = page.hear().await;
    dialled.abort();
    assert_eq!(
        page.hear().await,
        serde_json::json!({"drop": order["dial"]})
    );
    let mut far = page.link(&Id(5).to_string()).await;
    assert!(!matches!(far.read(&mut [0; 1]).await, Ok(n) if n > 0));
}

#[tokio::test]
async fn a_page_of_another_process_is_told_to_load_again() {
    let dialer = dialer();
    let mut control = connect(&dialer, "/control?token=old".to_owned()).await;
    let end = control.read(&mut [0; 1]).await.unwrap_err();
    assert!(end.to_string().contains("4900"), "{end}");
}
