//! The server's side: messages are printed, returned, or told to the others of a room.
//!
//! ```text
//! accept ─▶ TLS ─▶ door ─┬─ upgrade ─▶ member ─▶ audience: print ║ echo ║ room
//!                        └─ POST ────▶ call ───▶ room ─▶ the first message that comes back
//! ```
//!
//! A member's messages wait in its own outbox. One that takes none for too long is dropped, so that nobody waits for
//! anybody; what all of them may have this process keep is bounded together.

mod door;
mod frames;
mod held;
mod member;
mod outbox;
mod rooms;
mod settings;

pub use settings::{Mode, Settings};

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::io::AsyncRead;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tracing::debug;

use super::{Input, InputError};
use crate::session::Source;
use crate::transport::{tcp, tls};
use held::{Held, Kept};
use rooms::Rooms;

/// So many connections may there be at one time.
const MAX_CONNECTIONS: usize = 4096;

/// Messages that wait to be printed.
const UNPRINTED: usize = 64;

/// How long members may take to hear that this goes away.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a server tells whoever runs it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A request came: method, target and headers.
    Asked(Source, &'a str, &'a HeaderMap),
    /// It was answered so.
    Answered(Source, u16, &'a HeaderMap),
    /// A WebSocket is open at this path.
    Joined(Source, &'a str),
    /// It is closed, with this code and reason.
    Left(Source, u16, &'a str),
    /// A page of this origin came, and its origin is not taken.
    Foreign(Source, &'a str),
    /// A member took nothing for too long, and was dropped.
    Slow(Source, &'a str),
    /// Nothing more of the input is said.
    Input(&'a InputError),
    /// There are too many connections.
    Full,
}

/// All that connections share.
struct Shared {
    settings: Settings,
    tls: Option<tls::Inbound>,
    /// The rooms; without the mode `Hub` there is one.
    rooms: Rooms,
    held: Arc<Held>,
    /// Bodies of calls that are read at one time.
    bodies: Semaphore,
    stopping: watch::Receiver<bool>,
    heard: mpsc::Sender<Kept>,
    tell: Box<dyn Fn(Event<'_>) + Send + Sync>,
}

/// A server that listens.
pub struct Server {
    listener: tcp::Listener,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    heard: mpsc::Receiver<Kept>,
}

impl Server {
    /// Listens. `tell` hears what happens.
    ///
    /// # Errors
    ///
    /// When it cannot be listened there, or the certificate cannot be used.
    pub fn bind(
        settings: Settings,
        tell: impl Fn(Event<'_>) + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let tls = settings.tls.as_ref().map(tls::Inbound::new).transpose();
        let tls = tls.map_err(|e| e.to_string())?;
        let listener = settings.listen.bind().map_err(|e| {
            let why = crate::cause::system_words(&e);
            format!("cannot listen on {}: {why}", settings.listen)
        })?;
        let (stop, stopping) = watch::channel(false);
        let (heard, hear) = mpsc::channel(UNPRINTED);
        let shared = Shared {
            settings,
            tls,
            rooms: Rooms::default(),
            held: Arc::new(Held::default()),
            bodies: Semaphore::new(door::BODIES),
            stopping,
            heard,
            tell: Box::new(tell),
        };
        Ok(Self {
            listener,
            shared: Arc::new(shared),
            stop,
            heard: hear,
        })
    }

    /// Where it listens, with the port that the system chose.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `end` is over; members are told that this goes away then. In the mode `Print`, messages go to `print`
    /// and what comes from `input` goes to all: not before somebody is there, and not faster than they take it.
    pub async fn serve(
        self,
        input: Input<impl AsyncRead + Unpin>,
        mut print: impl AsyncFnMut(Message),
        end: impl Future<Output = ()>,
    ) {
        let Self {
            listener,
            shared,
            stop,
            mut heard,
        } = self;
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let accepting = async {
            loop {
                match listener.accept().await {
                    Ok(arrival) => match places.clone().try_acquire_owned() {
                        Ok(place) => {
                            crate::io::spawn(door::receive(shared.clone(), arrival, place.into()));
                        }
                        Err(_) => (shared.tell)(Event::Full),
                    },
                    Err(e) => {
                        debug!("cannot accept a connection: {e}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        let printing = async {
            while let Some(kept) = heard.recv().await {
                print(kept.message.clone()).await;
            }
        };
        let mut printing = std::pin::pin!(printing);
        tokio::select! {
            () = accepting => {}
            () = &mut printing => {}
            () = say(&shared, input) => {}
            () = end => {}
        }
        let _ = stop.send(true);
        // They have a moment to say goodbye, and what they have said to be printed; each holds what is shared.
        drop(shared);
        let goodbye = async { tokio::join!(stop.closed(), printing) };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }
}

/// Says what comes in to all who are there.
async fn say(shared: &Shared, mut input: Input<impl AsyncRead + Unpin>) {
    if shared.settings.mode != Mode::Print {
        return std::future::pending().await;
    }
    let place = shared.rooms.room(rooms::ALL);
    let room = &place.room;
    loop {
        room.somebody().await;
        match input.next().await {
            Ok(Some(message)) => {
                let message = shared.held.hold(message).await;
                // All may have left meanwhile.
                room.somebody().await;
                room.say_in_time(&message).await;
            }
            Ok(None) => return std::future::pending().await,
            Err(error) => {
                (shared.tell)(Event::Input(&error));
                return std::future::pending().await;
            }
        }
    }
}

/// So that a caller can tell why it does not listen.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}
