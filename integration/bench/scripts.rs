//! Scripts of a front, which `mobula backend` runs for a node: how many in a second, and in what memory.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use mobula::probe::codec::{BUILD_TOKEN, Request, Tokens};

use super::program::Peer;
use super::{Result, proc};

/// The most that a task may have.
const MOST: usize = 128;

/// What was measured.
pub(crate) struct Scripts {
    pub(crate) a_second: f64,
    /// Of the back end and all processes that it has started at one time.
    pub(crate) peak: u64,
    /// Of one of those.
    pub(crate) of_one: u64,
}

/// Runs up to `count` scripts for `node`, each of which asks for the page at `url` through it.
pub(crate) async fn run(
    back_end: &Peer,
    port: u16,
    token: &str,
    node: &Value,
    url: &str,
    count: usize,
) -> Result<Scripts> {
    let count = count.min(MOST);
    let content = format!("function handler() {{ return fetch('{url}').statusCode + '' }}");
    let ids = (0..count).map(|n| n.to_string());
    let scripts = ids
        .clone()
        .map(|id| json!({"ID": id, "Type": "media", "Content": content, "TimeoutMillis": 10_000}));
    let asked = ids.map(|id| json!({"Type": "TEST_SCRIPT", "Params": id}));
    let mut request = json!({
        "Basics": {"ID": "scripts"},
        "Options": {"Matrices": asked.collect::<Vec<_>>()},
        "Configs": {"Scripts": scripts.collect::<Vec<_>>()},
        "Vendor": "Clash",
        "Nodes": [{"Name": "0", "Payload": node.to_string()}],
        "RandomSequence": "random",
    });
    let tokens = Tokens {
        token: token.to_owned().into(),
        build: BUILD_TOKEN.to_owned(),
    };
    let read = Request::read(request.to_string().as_bytes())?;
    request["Challenge"] = tokens.sign(&read).into();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut socket, _) = client_async(format!("ws://127.0.0.1:{port}/"), stream).await?;
    let began = Instant::now();
    socket.send(Message::from(request.to_string())).await?;
    let (mut peak, mut of_one) = (0, 0);
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let said = loop {
        tokio::select! {
            message = socket.next() => {
                let text = message.ok_or("the back end closes")??.into_text()?;
                let answer: Value = serde_json::from_str(&text)?;
                if !answer["Result"].is_null() {
                    break answer;
                }
            }
            _ = looks.tick() => {
                // A process may end while it is looked at.
                let Ok(family) = proc::Family::of(back_end.pid()) else { continue };
                let Ok(each) = family.each_rss() else { continue };
                peak = peak.max(each.iter().sum());
                of_one = each.into_iter().skip(1).max().unwrap_or_default().max(of_one);
            }
        }
    };
    let took = began.elapsed();
    let cells = said["Result"]["Results"][0]["Matrices"].as_array();
    let well = cells.into_iter().flatten();
    let well = well.filter(|cell| {
        cell["Payload"]
            .as_str()
            .is_some_and(|said| said.contains("\"204\""))
    });
    match well.count() {
        all if all == count => Ok(Scripts {
            a_second: count as f64 / took.as_secs_f64(),
            peak,
            of_one,
        }),
        other => Err(format!("{other} of {count} scripts had their page").into()),
    }
}
