//! A client's conversation: what comes in goes out as messages, and what comes back is written.
//!
//! ```text
//! input ─▶ messages ─▶ │        │  at the input's end: a pause, then Close 1000
//! output ◀─ messages ◀─│ server │  until its Close, or its silence
//! ```
//!
//! Replies must not be lost at the end of the input. A server may answer a Close at once and forget what it has not worked
//! off (python's `websockets` does), so the Close waits until nothing has come for a while: a longer one where fewer messages
//! have come back than were sent.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Form, Input, InputError, Opened, shown};
use crate::io::Link;

/// How a conversation is held.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What messages are outside.
    pub form: Form,
    /// The output is a terminal.
    pub on_terminal: bool,
    /// `-w`: it goes on for so long after the input's end.
    pub wait: Option<Duration>,
    /// `--ping`: how often the server is asked for a sign of life.
    pub ping: Option<Duration>,
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Event {
    /// A ping was answered after this time.
    Pong(Duration),
    /// A ping was not, until the next one was due.
    NoPong(Duration),
    /// The server asks for a sign of life.
    Pinged,
    /// The input is over, or enough was waited for: a Close was sent.
    Closing,
}

/// How it ended.
#[derive(Debug)]
pub enum End {
    /// The server's Close, or its answer to ours.
    Closed {
        /// 1005 when it says none.
        code: u16,
        /// What it says.
        reason: String,
        /// Ours was sent before.
        after_ours: bool,
    },
    /// After our Close the connection ended without another one.
    Quiet,
    /// The connection ended without a Close, with what is known of why.
    Broken(String),
    /// What came breaks the protocol, and was answered with this Close code.
    Wrong {
        /// Ours.
        code: u16,
        /// What was wrong.
        why: String,
    },
    /// The input makes no message.
    Input(InputError),
    /// Nobody reads the output any more.
    OutputGone,
    /// The output cannot be written, for this reason.
    Output(String),
    /// It was stopped.
    Stopped,
}

/// How long nothing comes before it counts as the last, when as much has come back as was sent: on a long line so many round
/// trips. And how long replies may come at most.
const PAUSE: Duration = Duration::from_millis(300);
const PAUSE_ROUND_TRIPS: u32 = 4;
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// The same when less has come back than was sent: a program may be working something off.
const OWED: Duration = Duration::from_secs(1);
const MAX_OWED: Duration = Duration::from_secs(10);

/// How long a server may say nothing that has been told the end, and how long it may go on at most.
const GOODBYE: Duration = Duration::from_secs(10);
const MAX_GOODBYE: Duration = Duration::from_secs(60);

/// How long it may take when somebody waits for this program to go, and the end of TLS then.
const HURRY: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_millis(300);

/// So much is gathered before it is written.
const AT_ONCE: usize = 64 * 1024;

type Socket = WebSocketStream<Link>;

/// Holds a conversation until either end closes it, or `stop` is there.
pub async fn talk(
    opened: Opened,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    options: Options,
    tell: impl Fn(Event),
    stop: impl Future<Output = ()>,
) -> End {
    let pause = PAUSE
        .max(opened.answered_in * PAUSE_ROUND_TRIPS)
        .min(MAX_PAUSE);
    let talk = Talk {
        options,
        pause,
        sent: Cell::default(),
        came: Cell::default(),
        last: Cell::new(Instant::now()),
        pings: RefCell::default(),
        closing: Cell::new(None),
        closed: Cell::new(false),
        hurry: Notify::new(),
        is_told: Notify::new(),
        tell,
    };
    let (mut sink, mut stream) = opened.socket.split();
    let end = talk.run(&mut sink, &mut stream, input, output, stop).await;
    if let Ok(socket) = sink.reunite(stream) {
        // TLS has a goodbye of its own.
        let _ = timeout(LAST, socket.into_inner().close()).await;
    }
    end
}

struct Talk<F> {
    options: Options,
    /// So long nothing comes, before it counts as the last.
    pause: Duration,
    /// Messages that went, and that came.
    sent: Cell<u64>,
    came: Cell<u64>,
    /// When a message came or went.
    last: Cell<Instant>,
    /// Those that are not answered yet: number and time.
    pings: RefCell<VecDeque<(u64, Instant)>>,
    /// Since when a Close is under way.
    closing: Cell<Option<Instant>>,
    /// A Close was sent.
    closed: Cell<bool>,
    /// It is to be closed now.
    hurry: Notify,
    /// From now on the server has only so much time.
    is_told: Notify,
    tell: F,
}

/// How many pings may be unanswered; those before are forgotten.
const PINGS: usize = 16;

impl<F: Fn(Event)> Talk<F> {
    async fn run(
        &self,
        sink: &mut SplitSink<Socket, Message>,
        stream: &mut SplitStream<Socket>,
        input: impl AsyncRead + Unpin,
        output: impl AsyncWrite + Unpin,
        stop: impl Future<Output = ()>,
    ) -> End {
        let mut stop = pin!(stop);
        let mut bad_input = None;
        let end = {
            let mut reading = pin!(self.read(stream, output));
            let mut writing = pin!(self.write(sink, input));
            let mut is_writing = true;
            let early = loop {
                tokio::select! {
                    end = &mut reading => break Some(end),
                    written = &mut writing, if is_writing => {
                        is_writing = false;
                        bad_input = written.err();
                    }
                    () = &mut stop => break None,
                }
            };
            match early {
                Some(end @ (End::Wrong { .. } | End::OutputGone | End::Output(_))) => end,
                Some(end) => return bad_input.map_or(end, End::Input),
                None => {
                    self.hurry.notify_one();
                    let closing = async {
                        tokio::select! {
                            _ = &mut reading => {}
                            _ = async {
                                if is_writing {
                                    let _ = writing.await;
                                }
                                std::future::pending::<()>().await;
                            } => {}
                        }
                    };
                    let _ = timeout(HURRY, closing).await;
                    return End::Stopped;
                }
            }
        };
        // The server is told why, and has a moment to read it.
        let code = match &end {
            End::Wrong { code, .. } => CloseCode::from(*code),
            _ => CloseCode::Normal,
        };
        let telling = async {
            if sink.send(close(code)).await.is_ok() {
                while let Some(Ok(_)) = stream.next().await {}
            }
        };
        let _ = timeout(HURRY, telling).await;
        end
    }

    /// Sends what comes in, pings, and at last a Close.
    async fn write(
        &self,
        sink: &mut SplitSink<Socket, Message>,
        input: impl AsyncRead + Unpin,
    ) -> Result<(), InputError> {
        let mut input = Input::new(input, self.options.form);
        let mut pinging = self.options.ping.map(|every| (every, Instant::now()));
        let mut number = 0_u64;
        // Since when the input is over.
        let mut over: Option<Instant> = None;
        let mut failed = Ok(());
        loop {
            let until = over.map(|over| match self.options.wait {
                Some(wait) if failed.is_ok() => over + wait,
                _ => self.rest(over),
            });
            if until.is_some_and(|until| until <= Instant::now()) {
                break;
            }
            let due = pinging.map(|(_, at)| at);
            let message = tokio::select! {
                next = input.next(), if over.is_none() => match next {
                    Ok(Some(message)) => message,
                    Ok(None) => {
                        self.last.set(Instant::now());
                        over = Some(Instant::now());
                        continue;
                    }
                    // What was sent before is answered all the same; it may have waited for this line.
                    Err(error) => {
                        let _ = sink.flush().await;
                        self.last.set(Instant::now());
                        over = Some(Instant::now());
                        failed = Err(error);
                        continue;
                    }
                },
                () = at(due) => {
                    let now = Instant::now();
                    if let Some((every, due)) = &mut pinging {
                        if !self.pings.borrow().is_empty() {
                            (self.tell)(Event::NoPong(*every));
                        }
                        *due = now + *every;
                    }
                    let mut pings = self.pings.borrow_mut();
                    number += 1;
                    pings.push_back((number, now));
                    if pings.len() > PINGS {
                        pings.pop_front();
                    }
                    Message::Ping(number.to_be_bytes().to_vec().into())
                }
                () = at(until) => continue,
                () = self.hurry.notified() => break,
            };
            let is_ping = matches!(message, Message::Ping(_));
            // Lines that are there together go out together.
            let sent = match input.has_line() {
                true => sink.feed(message).await,
                false => sink.send(message).await,
            };
            if sent.is_err() {
                // What comes in says why.
                return Ok(());
            }
            if !is_ping {
                self.sent.set(self.sent.get() + 1);
                self.last.set(Instant::now());
            }
        }
        self.last.set(Instant::now());
        self.closing.set(Some(Instant::now()));
        self.is_told.notify_one();
        let _ = sink.send(close(CloseCode::Normal)).await;
        self.closed.set(true);
        self.last.set(Instant::now());
        (self.tell)(Event::Closing);
        failed
    }

    /// When the last reply has probably come, where the input has been over since then.
    fn rest(&self, over: Instant) -> Instant {
        let (pause, most) = match self.came.get() < self.sent.get() {
            true => (self.pause.max(OWED), MAX_OWED),
            false => (self.pause, MAX_PAUSE),
        };
        (self.last.get() + pause).min(over + most)
    }

    /// Writes what comes, until nothing does.
    async fn read(
        &self,
        stream: &mut SplitStream<Socket>,
        mut output: impl AsyncWrite + Unpin,
    ) -> End {
        let mut unwritten = Vec::new();
        let end = self.receive(stream, &mut output, &mut unwritten).await;
        match self.put_out(&mut output, &mut unwritten).await {
            Ok(()) => end,
            Err(end) => end,
        }
    }

    /// Writes what was gathered; an error is the end of the conversation.
    async fn put_out(
        &self,
        output: &mut (impl AsyncWrite + Unpin),
        bytes: &mut Vec<u8>,
    ) -> Result<(), End> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = async {
            output.write_all(bytes).await?;
            output.flush().await
        };
        let written = written.await;
        bytes.clear();
        self.last.set(Instant::now());
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => End::OutputGone,
            _ => End::Output(crate::cause::reason(&error)),
        })
    }

    /// Reads until nothing comes; messages that are there together are written together.
    async fn receive(
        &self,
        stream: &mut SplitStream<Socket>,
        output: &mut (impl AsyncWrite + Unpin),
        unwritten: &mut Vec<u8>,
    ) -> End {
        loop {
            let here = stream.next().now_or_never();
            if (here.is_none() || unwritten.len() >= AT_ONCE)
                && let Err(end) = self.put_out(output, unwritten).await
            {
                return end;
            }
            if self.is_overdue() {
                return self.silent();
            }
            let next = match here {
                Some(here) => Some(here),
                None => self.next(stream).await,
            };
            let Some(next) = next else {
                return self.silent();
            };
            let message = match next {
                Some(Ok(message)) => message,
                Some(Err(error)) => return self.ended(error),
                None => return self.ended(Error::ConnectionClosed),
            };
            match &message {
                Message::Text(_) | Message::Binary(_) => {
                    self.came.set(self.came.get() + 1);
                    self.last.set(Instant::now());
                    let bytes = shown(&message, self.options.form, self.options.on_terminal);
                    unwritten.extend_from_slice(&bytes);
                }
                Message::Ping(_) => (self.tell)(Event::Pinged),
                Message::Pong(payload) => self.pong(payload),
                Message::Close(frame) => {
                    if let Err(end) = self.put_out(output, unwritten).await {
                        return end;
                    }
                    let after_ours = self.closed.get();
                    // The answer to it is sent by the next look; the server closes the connection then.
                    let _ = timeout(HURRY, async {
                        while let Some(Ok(_)) = stream.next().await {}
                    })
                    .await;
                    return match frame {
                        Some(frame) => End::Closed {
                            code: frame.code.into(),
                            reason: frame.reason.to_string(),
                            after_ours,
                        },
                        None => End::Closed {
                            code: 1005,
                            reason: String::new(),
                            after_ours,
                        },
                    };
                }
                Message::Frame(_) => {}
            }
        }
    }

    /// What comes next; `None` when nothing has come for long after our Close.
    async fn next(
        &self,
        stream: &mut SplitStream<Socket>,
    ) -> Option<Option<Result<Message, Error>>> {
        let mut next = pin!(stream.next());
        loop {
            let until = self.closing.get().map(|_| self.last.get() + GOODBYE);
            tokio::select! {
                next = &mut next => return Some(next),
                () = at(until) => {
                    if self.last.get().elapsed() >= GOODBYE {
                        return None;
                    }
                }
                () = self.is_told.notified() => {}
            }
        }
    }

    /// Whether a server goes on and on that was told the end.
    fn is_overdue(&self) -> bool {
        let closing = self.closing.get();
        closing.is_some_and(|since| since.elapsed() >= MAX_GOODBYE)
    }

    /// The end where a server does not answer our Close, or does not even take it.
    fn silent(&self) -> End {
        match self.closed.get() {
            true => End::Quiet,
            false => End::Broken("the server takes nothing more".to_owned()),
        }
    }

    fn pong(&self, payload: &[u8]) {
        let Ok(number) = payload.try_into().map(u64::from_be_bytes) else {
            return;
        };
        let mut pings = self.pings.borrow_mut();
        if let Some(at) = pings.iter().position(|(one, _)| *one == number) {
            let sent = pings.drain(..=at).next_back();
            drop(pings);
            if let Some((_, sent)) = sent {
                (self.tell)(Event::Pong(sent.elapsed()));
            }
        }
    }

    fn ended(&self, error: Error) -> End {
        let wrong = |code, why: String| End::Wrong { code, why };
        match error {
            Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => wrong(
                1009,
                format!(
                    "a message of {size} bytes, at most {} MiB are taken",
                    max_size >> 20
                ),
            ),
            Error::Utf8(_) => wrong(1007, "a text message that is not UTF-8".to_owned()),
            _ if self.closed.get() => End::Quiet,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
            | Error::ConnectionClosed
            | Error::AlreadyClosed => End::Broken(String::new()),
            Error::Protocol(error) => wrong(1002, error.to_string()),
            Error::Io(error) => End::Broken(crate::cause::reason(&error)),
            other => End::Broken(other.to_string()),
        }
    }
}

fn close(code: CloseCode) -> Message {
    Message::Close(Some(CloseFrame {
        code,
        reason: Default::default(),
    }))
}

/// Waits for a moment; for ever when there is none.
async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "talk_tests.rs"]
mod tests;
