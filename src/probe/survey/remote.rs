//! A vantage point elsewhere: a back end of MiaoSpeed, asked over WebSocket.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::here::firsts;
use super::{Row, Survey, Vantage};
use crate::address::{Destination, Host};
use crate::dialect::payload;
use crate::dns::Lookup;
use crate::io::Link;
use crate::probe::codec::{
    Answer, Basics, Configs, Matrix, MatrixEntry, Node as Asked, Options, ProxyInfo, Record,
    Request, Tokens,
};
use crate::probe::node::Node;
use crate::transport::{tcp, tls};

/// A back end.
#[derive(Clone, Debug)]
pub struct Remote {
    /// What it is called.
    pub name: String,
    /// `ws://HOST:PORT/PATH`, or `wss://`.
    pub url: String,
    /// What it knows us by.
    pub tokens: Tokens,
    /// The id of the bot that we are for it.
    pub invoker: String,
    /// Whom to believe, where it is `wss://`.
    pub trust: Trust,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Beside those of the system.
    pub authorities: tls::Authorities,
    /// Any certificate is taken.
    pub insecure: bool,
}

/// How long opening the WebSocket may take.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// How often a back end is asked for a sign of life, and how long it may be silent all the same.
const PING: Duration = Duration::from_secs(10);
const LOST: Duration = Duration::from_secs(60);

/// Has a back end measure all nodes; `tell` hears how many are done. It is told when `stop` is there, and no more is done.
pub async fn remote(
    remote: &Remote,
    nodes: &Arc<Vec<Node>>,
    survey: &Survey,
    mut stop: watch::Receiver<bool>,
    tell: impl Fn(usize),
) -> Vantage {
    let began = Instant::now();
    let firsts = firsts(nodes);
    let mut rows: Vec<Option<Row>> = vec![None; nodes.len()];
    let mut sent = Vec::new();
    let mut asked = Vec::new();
    for (i, node) in nodes.iter().enumerate().filter(|(i, _)| firsts[*i] == *i) {
        let written = node.outbound.as_ref().map_err(String::clone);
        let written = written.and_then(|outbound| {
            payload::write(outbound)
                .map_err(|why| format!("it cannot be sent to a back end: {why}"))
        });
        match written {
            Ok(mut map) => {
                map.insert("name".to_owned(), node.info.name.as_str().into());
                asked.push(Asked {
                    name: sent.len().to_string(),
                    payload: Value::Object(map).to_string(),
                });
                sent.push(i);
            }
            Err(why) => rows[i] = Some(Row::dead(node.info.clone(), why)),
        }
    }
    let mut vantage = Vantage {
        name: remote.name.clone(),
        backend: Some(remote.url.clone()),
        ..Vantage::default()
    };
    let task = Task {
        nodes,
        sent: &sent,
        downloads: survey.download.is_some(),
    };
    let request = request(remote, survey, asked);
    let talk = talk(
        remote,
        request,
        &task,
        &mut rows,
        &mut vantage,
        &mut stop,
        tell,
    );
    if let Err(why) = talk.await {
        vantage.error = Some(why);
    }
    for (i, node) in nodes.iter().enumerate() {
        let row = rows[firsts[i]].clone().unwrap_or_else(|| {
            let why = "the back end says nothing of it".to_owned();
            Row::dead(ProxyInfo::default(), why)
        });
        vantage.rows.push(Row {
            info: node.info.clone(),
            bytes: if firsts[i] == i { row.bytes } else { 0 },
            ..row
        });
    }
    vantage.took = began.elapsed();
    vantage
}

/// What was sent, and what the answers are about.
struct Task<'a> {
    nodes: &'a [Node],
    sent: &'a [usize],
    downloads: bool,
}

async fn talk(
    remote: &Remote,
    request: Request,
    task: &Task<'_>,
    rows: &mut [Option<Row>],
    vantage: &mut Vantage,
    stop: &mut watch::Receiver<bool>,
    tell: impl Fn(usize),
) -> Result<(), String> {
    let text = request.to_json();
    drop(request);
    let opening = timeout(OPEN_LIMIT, open(remote));
    let opened = tokio::select! {
        opened = opening => opened,
        _ = stop.changed() => return Err(STOPPED.to_owned()),
    };
    let mut socket =
        opened.map_err(|_| format!("timed out after {} s", OPEN_LIMIT.as_secs()))??;
    let sent = timeout(LOST, socket.send(Message::from(text))).await;
    sent.map_err(|_| format!("nothing was read for {} s", LOST.as_secs()))?
        .map_err(|e| broken(&e))?;
    let (mut heard, mut ping) = (Instant::now(), interval(PING));
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            _ = ping.tick() => {
                if heard.elapsed() > LOST {
                    return Err(format!("nothing was heard for {} s", LOST.as_secs()));
                }
                socket.send(Message::Ping(Default::default())).await.map_err(|e| broken(&e))?;
                continue;
            }
            _ = stop.changed() => {
                let away = CloseFrame { code: CloseCode::Away, reason: Default::default() };
                let _ = timeout(Duration::from_millis(500), socket.close(Some(away))).await;
                return Err(STOPPED.to_owned());
            }
        };
        heard = Instant::now();
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(_))) | None => {
                return Err("the back end closed before it was done".to_owned());
            }
            Some(Ok(_)) => continue,
            Some(Err(e)) => return Err(broken(&e)),
        };
        let answer: Result<Answer, _> = serde_json::from_str(&text);
        let answer =
            answer.map_err(|_| "the back end does not speak as MiaoSpeed does".to_owned())?;
        if !answer.error.is_empty() {
            return Err(answer.error);
        }
        if !answer.miao_speed_version.is_empty() {
            vantage.version = answer.miao_speed_version;
        }
        if let Some(progress) = answer.progress
            && let Some(i) = task.sent.get(progress.index)
            && progress.record.matrices.is_some()
        {
            rows[*i] = Some(row(&task.nodes[*i], &progress.record, task.downloads));
            tell(task.sent.iter().filter(|i| rows[**i].is_some()).count());
        }
        if let Some(done) = answer.result {
            late(task, rows, done.results.unwrap_or_default());
            let _ = timeout(Duration::from_millis(500), socket.close(None)).await;
            return Ok(());
        }
    }
}

/// What no progress has told, the result does, by names.
fn late(task: &Task<'_>, rows: &mut [Option<Row>], results: Vec<Record>) {
    let missing = task.sent.iter().filter(|i| rows[**i].is_none()).copied();
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for i in missing.collect::<Vec<_>>().into_iter().rev() {
        by_name.entry(&task.nodes[i].info.name).or_default().push(i);
    }
    for record in &results {
        let found = by_name.get_mut(&*record.proxy_info.name).and_then(Vec::pop);
        if let Some(i) = found {
            rows[i] = Some(row(&task.nodes[i], record, task.downloads));
        }
    }
}

const STOPPED: &str = "stopped";

fn row(node: &Node, record: &Record, downloads: bool) -> Row {
    let cell = |matrix: Matrix| -> Value {
        let cells = record.matrices.iter().flatten();
        let mut cells = cells.filter(|cell| cell.kind == matrix.name());
        let payload = cells.next().map(|cell| &*cell.payload).unwrap_or_default();
        serde_json::from_str(payload).unwrap_or_default()
    };
    let number = |matrix: Matrix| cell(matrix)["Value"].as_u64();
    let millis = |matrix: Matrix| {
        number(matrix)
            .and_then(|ms| u16::try_from(ms).ok())
            .filter(|ms| *ms > 0)
    };
    let codes = cell(Matrix::HttpCode)["Values"].as_array().cloned();
    let status = codes.as_ref().map(|codes| {
        let mut codes = codes
            .iter()
            .filter_map(Value::as_u64)
            .filter(|code| *code > 0);
        codes.next_back().and_then(|code| u16::try_from(code).ok())
    });
    let mut rtt = millis(Matrix::Rtt);
    let mut error = cell(Matrix::Cause)["Value"].as_str().map(str::to_owned);
    // MiaoSpeed takes a connection that closes for an answer, the fastest of all; it has no status.
    if rtt.is_some() && status == Some(None) {
        rtt = None;
        error = Some("closed without an answer".to_owned());
    }
    if rtt.is_none() && error.is_none() {
        error = Some("it does not answer the back end, which does not say why".to_owned());
    }
    let speeds = cell(Matrix::SpeedPerSecond)["Speeds"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let speeds: Vec<u64> = speeds.iter().filter_map(Value::as_u64).collect();
    Row {
        info: node.info.clone(),
        http: millis(Matrix::Conn).filter(|_| rtt.is_some()),
        loss: match (cell(Matrix::PacketLoss)["Value"].as_f64(), rtt) {
            (_, None) => 1.0,
            (percent, Some(_)) => percent.unwrap_or_default() / 100.0,
        },
        rtt,
        status: status.flatten(),
        error,
        speed: number(Matrix::SpeedAverage).filter(|_| downloads),
        speed_max: number(Matrix::SpeedMax).filter(|_| downloads),
        bytes: speeds.iter().sum(),
        speeds,
    }
}

fn request(remote: &Remote, survey: &Survey, nodes: Vec<Asked>) -> Request {
    let mut matrices = vec![
        Matrix::Rtt,
        Matrix::Conn,
        Matrix::PacketLoss,
        Matrix::HttpCode,
        Matrix::Cause,
    ];
    if survey.download.is_some() {
        matrices.extend([
            Matrix::SpeedAverage,
            Matrix::SpeedMax,
            Matrix::SpeedPerSecond,
        ]);
    }
    let entry = |matrix: Matrix| MatrixEntry {
        kind: matrix.name().to_owned(),
        params: String::new(),
    };
    let configs = Configs {
        download_url: survey.download_url.clone().unwrap_or_default(),
        download_duration: survey.download.as_ref().map_or(3, |one| one.seconds.into()),
        download_threading: survey.download.as_ref().map_or(1, |one| one.threads.into()),
        ping_average_over: survey.pings.count,
        ping_address: survey.url.clone(),
        task_retry: 1,
        dns_servers: Some(Vec::new()),
        task_timeout: u64::try_from(survey.pings.limit.as_millis()).unwrap_or(10_000),
        scripts: Some(Vec::new()),
        ..Configs::default()
    };
    let mut request = Request {
        basics: Basics {
            id: "mobula probe".to_owned(),
            slave: remote.name.clone(),
            slave_name: remote.name.clone(),
            invoker: remote.invoker.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        options: Options {
            filter: String::new(),
            matrices: Some(matrices.into_iter().map(entry).collect()),
        },
        configs,
        vendor: "Clash".to_owned(),
        nodes: Some(nodes),
        // With it, and without `ApiVersion`, every back end understands what is signed.
        random_sequence: "random".to_owned(),
        challenge: String::new(),
    };
    request.challenge = remote.tokens.sign(&request);
    request
}

async fn open(remote: &Remote) -> Result<WebSocketStream<Link>, String> {
    let asked = (&*remote.url).into_client_request();
    let asked = asked.map_err(|_| "this is no URL of a WebSocket".to_owned())?;
    let uri = asked.uri();
    let is_sealed = uri.scheme_str() == Some("wss");
    let host = Host::parse(uri.host().unwrap_or_default()).map_err(|e| e.to_string())?;
    let port = uri.port_u16().unwrap_or(if is_sealed { 443 } else { 80 });
    let to = Destination::new(host, port);
    let connected = tcp::connect(&to, &Lookup::System, &tcp::SockOpt::default()).await;
    let mut link = Link::Tcp(connected.map_err(|e| format!("{e} [{}]", e.code()))?);
    if is_sealed {
        let settings = tls::ClientSettings {
            allow_insecure: remote.trust.insecure,
            authorities: remote.trust.authorities.clone(),
            alpn: vec!["http/1.1".to_owned()],
            ..tls::ClientSettings::default()
        };
        let tls = tls::Outbound::new(&settings).map_err(|e| e.to_string())?;
        let sealed = tls.wrap(link, &to).await;
        link = sealed.map_err(|e| format!("{} [{}]", e.plain(), e.code()))?;
    }
    match pin!(client_async(asked, link)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => Err(match answer.status().as_u16() {
            404 => "404: the back end does not know this path".to_owned(),
            403 => "403: the back end takes nobody from here".to_owned(),
            status => format!("{status}: no WebSocket is opened at this path"),
        }),
        Err(e) => Err(broken(&e)),
    }
}

fn broken(error: &Error) -> String {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_) => {
            "the back end broke the connection off".to_owned()
        }
        other => format!("the connection to the back end: {other}"),
    }
}
