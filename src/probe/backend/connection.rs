//! A front's WebSocket: requests in, progress and results out, any number of tasks at once.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::guests::{Counted, Guest};
use super::{Shared, WRITE_LIMIT, scripts, task};
use crate::probe::codec::{self, Request};
use crate::session::Source;

/// The longest message. A thousand nodes are half a megabyte.
const MAX_MESSAGE: usize = 8 << 20;

/// Objects in the first message of a front; a node has a few.
const MAX_PARTS: usize = 200_000;

/// Messages that a slow front may be behind.
const WAITING: usize = 64;

/// How long a front may be silent for which nothing is done.
const IDLE: Duration = Duration::from_secs(45);

/// How long one may be silent that is asked for a sign of life.
const LOST: Duration = Duration::from_secs(90);

/// How often it is looked at, and after how many looks a front is asked for a sign of life.
const LOOK: Duration = Duration::from_secs(5);
const LOOKS_PER_PING: u32 = 3;

/// The end of a connection that has been refused may take so long.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a connection ends from this side.
struct Goodbye {
    /// The last message, if there is one.
    error: Option<String>,
    code: CloseCode,
}

/// Serves a front until it goes.
pub(super) async fn serve(
    shared: Arc<Shared>,
    io: TokioIo<Upgraded>,
    guest: Arc<Guest>,
    from: Source,
) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let io = Counted {
        inner: io,
        guest: guest.clone(),
    };
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let (mut sink, mut stream) = socket.split();
    let (say, mut said) = mpsc::channel::<Message>(WAITING);
    let mut writing = pin!(async {
        while let Some(message) = said.recv().await {
            if !matches!(timeout(WRITE_LIMIT, sink.send(message)).await, Ok(Ok(()))) {
                return;
            }
        }
        let _ = sink.flush().await;
    });
    // They end with this function, however it ends.
    let mut tasks = JoinSet::new();
    let mut stopping = shared.stopping.clone();
    let (mut heard, mut idle_since) = (Instant::now(), Instant::now());
    let (mut look, mut looks) = (interval(LOOK), 0_u32);
    let goodbye = loop {
        tokio::select! {
            () = &mut writing => return,
            message = stream.next() => {
                heard = Instant::now();
                let message = match message {
                    Some(Ok(message)) => message,
                    Some(Err(Error::Capacity(_))) => {
                        let text = format!("the request is too large, at most {} MiB are read", MAX_MESSAGE >> 20);
                        break Goodbye { error: Some(text), code: CloseCode::Size };
                    }
                    Some(Err(_)) | None => return,
                };
                let bytes = match &message {
                    Message::Text(text) => text.as_bytes(),
                    Message::Binary(bytes) => bytes,
                    // What answers them is written by the next look for a message.
                    _ => continue,
                };
                idle_since = Instant::now();
                let request = read(&shared, &guest, bytes).await;
                drop(message);
                match request {
                    Ok(request) => {
                        guest.prove();
                        tasks.spawn(task::run(shared.clone(), request, say.clone(), from));
                    }
                    Err(text) => break Goodbye { error: Some(text), code: CloseCode::Policy },
                }
            }
            Some(_) = tasks.join_next() => idle_since = Instant::now(),
            () = guest.turned_out(), if !guest.is_proven() => return,
            _ = stopping.changed() => break Goodbye { error: None, code: CloseCode::Away },
            _ = look.tick() => {
                looks += 1;
                if tasks.is_empty() && idle_since.elapsed() > IDLE {
                    break Goodbye { error: None, code: CloseCode::Normal };
                }
                if heard.elapsed() > LOST {
                    return;
                }
                if !tasks.is_empty() && looks.is_multiple_of(LOOKS_PER_PING) {
                    let _ = say.try_send(Message::Ping(Default::default()));
                }
            }
        }
    };
    drop(tasks);
    let error = goodbye.error.map(|text| Message::from(codec::error(&text)));
    let close = Message::Close(Some(CloseFrame {
        code: goodbye.code,
        reason: Default::default(),
    }));
    let ending = async {
        for message in error.into_iter().chain([close]) {
            let _ = say.send(message).await;
        }
        drop(say);
        // Until the front has said its own goodbye.
        while let Some(Ok(_)) = stream.next().await {}
    };
    let _ = timeout(GOODBYE, async { tokio::join!(writing, ending) }).await;
}

/// Reads a request that may be served.
async fn read(shared: &Shared, guest: &Guest, message: &[u8]) -> Result<Request, String> {
    // What strangers say is read one after the other: so it is never more than a message's values that are there.
    let _turn = match guest.is_proven() {
        true => None,
        false => Some(shared.reading.lock().await),
    };
    // Each part of it takes ten times its bytes, and nobody knows yet who asks.
    let parts = message.iter().filter(|byte| **byte == b'{').count();
    if !guest.is_proven() && parts > MAX_PARTS {
        return Err("the request has too many parts".to_owned());
    }
    let request = Request::read(message);
    let settings = &shared.settings;
    let request = request?;
    if !settings.tokens.verify(&request, settings.unsigned) {
        return Err("cannot verify the request, please check your token".to_owned());
    }
    let invoker = &request.basics.invoker;
    if !settings.invokers.is_empty() && !settings.invokers.contains(invoker) {
        return Err("the bot id is not in the whitelist".to_owned());
    }
    if settings.no_speed && task::asks_for_speed(&request) {
        return Err("speedtest is disabled on backend".to_owned());
    }
    if let Some(why) = scripts::refused(&request) {
        return Err(why);
    }
    Ok(request)
}
