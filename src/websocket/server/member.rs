//! An open WebSocket of a server's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf, split};
use tokio::time::{Instant, interval, timeout};

use super::frames::{self, Reader, Received, Unread};
use super::held::{Kept, Unfinished};
use super::outbox::{Due, Outbox, Put};
use super::rooms::{ALL, Place};
use super::{Event, Mode, Shared};
use crate::session::Source;
use crate::transport::ws::codec::Opcode;

/// One that takes nothing for so long is slow.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// After so long a silence a member is asked for a sign of life, and after so long it is gone.
const SILENCE: Duration = Duration::from_secs(30);
const LOST: Duration = Duration::from_secs(90);

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long a Close may take to be sent, and then the peer to end what it is sending.
const GOODBYE: Duration = Duration::from_secs(1);
const DRAIN: Duration = Duration::from_secs(5);

/// How it ended.
enum Ended {
    /// With the peer's Close.
    Closed(u16, String),
    /// With a Close of ours.
    Told(u16, String),
    /// Without one.
    Broken(String),
    /// It took nothing.
    Slow,
}

/// Serves a member until it goes. `name` is its path.
pub(super) async fn serve(
    shared: &Shared,
    io: impl AsyncRead + AsyncWrite + Unpin,
    source: Source,
    name: &str,
) {
    (shared.tell)(Event::Joined(source, name));
    let outbox = Arc::new(Outbox::default());
    let place = match shared.settings.mode {
        Mode::Echo => None,
        Mode::Hub => Some(shared.rooms.enter(name, &outbox)),
        Mode::Print => Some(shared.rooms.enter(ALL, &outbox)),
    };
    let (from, mut to) = split(io);
    let mut reader = Reader::new(from, Unfinished::new(&shared.held));
    let ended = talk(shared, &mut reader, &mut to, &outbox, place.as_ref()).await;
    drop(place);
    outbox.give_up();
    let (code, reason) = match ended {
        Ended::Slow => {
            (shared.tell)(Event::Slow(source, name));
            return;
        }
        Ended::Broken(why) => (1006, why),
        Ended::Closed(code, reason) | Ended::Told(code, reason) => {
            let ending = async {
                if to.shutdown().await.is_ok() {
                    // What is still coming would have the system take back the Close.
                    reader.drain().await;
                }
            };
            let _ = timeout(DRAIN, ending).await;
            (code, reason)
        }
    };
    (shared.tell)(Event::Left(source, code, &reason));
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    reader: &mut Reader<tokio::io::ReadHalf<S>>,
    to: &mut WriteHalf<S>,
    outbox: &Outbox,
    place: Option<&Place>,
) -> Ended {
    let heard = reader.heard();
    // What it says waits for others meanwhile: that it is not read is no silence of its own.
    let is_busy = AtomicBool::new(false);
    let reading = async {
        loop {
            let received = reader.next().await;
            match received {
                Ok(Received::Message(message)) => {
                    is_busy.store(true, Ordering::Relaxed);
                    let kept = shared.held.hold(message).await;
                    reader.is_kept();
                    hear(shared, kept, outbox, place).await;
                    is_busy.store(false, Ordering::Relaxed);
                }
                Ok(Received::Ping(payload)) => outbox.pong(payload),
                Ok(Received::Pong) => {}
                Ok(Received::Close(code, reason)) => {
                    outbox.answer_close(code);
                    return Ended::Closed(code, reason);
                }
                Err(error) => {
                    let why = error.to_string();
                    return match error.close_code() {
                        Some(code) => {
                            outbox.close(code, &why);
                            Ended::Told(code, why)
                        }
                        None if matches!(error, Unread::Ended) => Ended::Broken(String::new()),
                        None => Ended::Broken(why),
                    };
                }
            }
        }
    };
    let mut stopping = shared.stopping.clone();
    let watching = async {
        let (mut look, mut pinged) = (interval(LOOK), Instant::now());
        loop {
            tokio::select! {
                _ = look.tick() => {}
                _ = stopping.changed() => {
                    outbox.close(1001, "");
                    return Ended::Told(1001, String::new());
                }
            }
            if is_busy.load(Ordering::Relaxed) {
                heard.now();
            }
            let silence = heard.elapsed();
            if silence > LOST {
                return Ended::Broken(format!("nothing was heard for {} s", LOST.as_secs()));
            }
            if outbox.is_slow(WRITE_LIMIT) {
                return Ended::Slow;
            }
            if silence > SILENCE && pinged.elapsed() > SILENCE {
                pinged = Instant::now();
                outbox.ping();
            }
        }
    };
    let writing = write(to, outbox);
    tokio::pin!(writing);
    let ended = tokio::select! {
        ended = reading => ended,
        ended = watching => ended,
        ended = &mut writing => return ended,
        () = outbox.overrun() => return Ended::Slow,
    };
    // The Close is the last thing that is sent.
    if matches!(ended, Ended::Closed(..) | Ended::Told(..)) {
        let _ = timeout(GOODBYE, writing).await;
    }
    ended
}

/// What becomes of a message.
async fn hear(shared: &Shared, kept: Kept, outbox: &Outbox, place: Option<&Place>) {
    if shared.settings.mode == Mode::Print {
        let _ = shared.heard.send(kept).await;
        return;
    }
    match place {
        None => {
            if outbox.put(&kept) == Put::FarBehind {
                outbox.room().await;
            }
        }
        Some(place) => {
            if place.say(&kept) {
                // Those who would take it have a turn.
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), outbox: &Outbox) -> Ended {
    loop {
        let due = outbox.next().await;
        let sent = match &due {
            // How long it may take depends on what is taken of it.
            Due::Message(kept) => frames::send(to, &kept.message, || outbox.taken()).await,
            Due::Close(code, reason) => frames::send_close(to, *code, reason).await,
            Due::Pong(payload) => frames::send_control(to, Opcode::Pong, payload).await,
            Due::Ping => frames::send_control(to, Opcode::Ping, b"").await,
        };
        if let Err(error) = sent {
            return Ended::Broken(crate::cause::reason(&error));
        }
        match due {
            Due::Message(_) => outbox.sent(),
            Due::Close(code, reason) => return Ended::Told(code, reason),
            Due::Pong(_) | Due::Ping => {}
        }
    }
}
