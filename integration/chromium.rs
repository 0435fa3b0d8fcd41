//! A real Chromium, driven by its DevTools protocol: what a page shows, what it asks for, and pictures of it.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::peers::{Stage, system};

/// Nothing but the page: no first-run pages, no calls home.
const FLAGS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1280,800",
    "--remote-debugging-port=0",
];

/// A browser starts slowly where much else runs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A page in a browser.
pub struct Page {
    socket: WebSocketStream<TcpStream>,
    calls: u64,
    /// Every URL that was asked for.
    pub requests: Vec<String>,
    /// What the console has: mistakes of scripts, and what a policy forbids.
    pub complaints: Vec<String>,
}

impl Page {
    /// Opens `url` in a browser of its own.
    pub async fn open(stage: &mut Stage, name: &str, url: &str) -> Self {
        let mut chromium = system("chromium");
        let profile = stage.path(&format!("profile-{name}"));
        chromium.args(FLAGS).env("HOME", stage.path(""));
        chromium.arg(format!("--user-data-dir={}", profile.display()));
        chromium.arg("about:blank");
        stage.start(name, &mut chromium, &[]).await;
        let port = stage
            .until_line_has(&format!("{name}.log"), &["DevTools listening on ws://"])
            .await;
        let (_, port) = port.split_once("ws://127.0.0.1:").expect("its port");
        let port: u16 = port
            .split('/')
            .next()
            .and_then(|port| port.parse().ok())
            .expect("a port");
        let mut page = Self {
            socket: target(port).await,
            calls: 0,
            requests: Vec::new(),
            complaints: Vec::new(),
        };
        for domain in ["Page", "Network", "Log", "Runtime"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        page.call("Page.navigate", json!({"url": url})).await;
        page
    }

    /// Calls a method of the protocol.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let call = json!({"id": id, "method": method, "params": params});
        let sent = self.socket.send(Message::text(call.to_string())).await;
        sent.expect("the browser is there");
        let answered = timeout(PATIENCE, async {
            loop {
                let message = self.socket.next().await.expect("the browser is there");
                let Message::Text(text) = message.expect("a message") else {
                    continue;
                };
                let said: Value = serde_json::from_str(&text).expect("JSON");
                if said["id"] == id {
                    return said;
                }
                self.note(&said);
            }
        });
        let said = answered
            .await
            .unwrap_or_else(|_| panic!("no answer to {method}"));
        assert!(said["error"].is_null(), "{method}: {said}");
        said["result"].clone()
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                self.requests.push(url.to_owned());
            }
            // A status such as 401 is an entry, too.
            Some("Log.entryAdded") if params["entry"]["source"] != "network" => {
                self.complaints.push(params["entry"]["text"].to_string());
            }
            Some("Runtime.exceptionThrown") => self.complaints.push(params.to_string()),
            _ => {}
        }
    }

    /// What an expression is on the page.
    pub async fn value(&mut self, expression: &str) -> Value {
        let found = self.try_value(expression).await;
        found.unwrap_or_else(|thrown| panic!("{expression}: {thrown}"))
    }

    async fn try_value(&mut self, expression: &str) -> Result<Value, Value> {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", params).await;
        match &answer["exceptionDetails"] {
            Value::Null => Ok(answer["result"]["value"].clone()),
            thrown => Err(thrown.clone()),
        }
    }

    /// Waits until an expression is true; a page that is not there yet throws.
    pub async fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.try_value(expression).await != Ok(Value::Bool(true)) {
            if Instant::now() > deadline {
                let text = self.value("document.body.innerText").await;
                panic!(
                    "{expression} was never true on\n{text}\n{:?}",
                    self.complaints
                );
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The text that is seen in an element.
    pub async fn text(&mut self, element: &str) -> String {
        let expression = format!("document.getElementById('{element}').innerText");
        let text = self.value(&expression).await;
        text.as_str().expect("it is there").to_owned()
    }

    /// Waits until an element shows all of `texts`.
    pub async fn until_shown(&mut self, element: &str, texts: &[&str]) {
        let texts = json!(texts);
        let expression = format!(
            "{texts}.every(text => document.getElementById('{element}').innerText.includes(text))"
        );
        self.until(&expression).await;
    }

    /// As a screen of this size shows it.
    pub async fn resize(&mut self, width: u32, height: u32, scheme: &str) {
        let phone = width < 600;
        let scale = if phone { 1.25 } else { 1.0 };
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone});
        self.call("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// A picture of what is seen, as PNG.
    pub async fn picture(&mut self, file: &Path) {
        let answer = self
            .call("Page.captureScreenshot", json!({"format": "png"}))
            .await;
        let data = answer["data"].as_str().expect("a picture");
        let data = STANDARD.decode(data).expect("base64");
        std::fs::write(file, data).expect("it can be written");
    }
}

/// The protocol of the browser's first page.
async fn target(port: u16) -> WebSocketStream<TcpStream> {
    let at = format!("127.0.0.1:{port}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let list = http_get(&at, "/json/list").await;
        let list: Value = serde_json::from_str(&list).unwrap_or_default();
        let pages = list.as_array().into_iter().flatten();
        let page = pages.into_iter().find(|one| one["type"] == "page");
        if let Some(url) = page.and_then(|page| page["webSocketDebuggerUrl"].as_str()) {
            let stream = TcpStream::connect(&at).await.expect("the browser listens");
            // A picture is one message.
            let config = WebSocketConfig::default()
                .max_message_size(Some(64 << 20))
                .max_frame_size(Some(64 << 20));
            let opened = client_async_with_config(url, stream, Some(config)).await;
            return opened.expect("a WebSocket").0;
        }
        assert!(Instant::now() < deadline, "the browser has no page");
        sleep(Duration::from_millis(100)).await;
    }
}

/// The body of an answer. The browser does not close the connection behind it.
async fn http_get(at: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(at).await.expect("the browser listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let len = head.split("content-length:").nth(1);
            let len = len.and_then(|rest| rest.lines().next()?.trim().parse().ok());
            if body.len() >= len.unwrap_or(0) {
                return body.to_owned();
            }
        }
        let reading = timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        if !matches!(reading, Ok(Ok(1..))) {
            return String::new();
        }
    }
}
