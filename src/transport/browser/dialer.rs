//! The pages that are open, and the WebSockets that they are asked for.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::codec::{Id, Order, Word};
use super::door::{self, Came};
use super::stream::{Piped, Window};
use super::{Settings, Takes};
use crate::cause::BrowserError;
use crate::http::Forwarded;
use crate::http::tell::Tell;
use crate::http::visit::Visit;
use crate::io::own_listeners::Listening;
use crate::io::{CloseReason, Closing, Link, Prefixed, linger};
use crate::log::{self, NOTICE};
use crate::seam::Arrival;
use crate::transport::tcp;
use crate::transport::ws::codec::Role;
use crate::transport::ws::{HEARTBEAT, WsStream};

/// How long a session waits for somebody to open the page.
const PAGE_LIMIT: Duration = Duration::from_secs(10);

/// How long the page has for a WebSocket: a browser looks the name up, connects, and shakes hands twice.
const DIAL_LIMIT: Duration = Duration::from_secs(20);

/// Connections that have not said what they come for.
const STRANGERS: usize = 64;

/// The page was served by another process and is to be loaded again.
const STALE: u16 = 4900;

/// Where WebSockets through a browser come from.
#[derive(Clone, Debug)]
pub struct Dialer(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    settings: Settings,
    /// Where the page is, for people; the port may be the system's choice.
    at: OnceLock<String>,
    /// What our page knows and no other.
    token: String,
    state: Mutex<State>,
    /// A page has come.
    came: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    /// In the order in which they came: the newest one is asked.
    pages: Vec<Page>,
    /// WebSockets that were asked for.
    waiting: HashMap<Id, Waiting>,
    /// Tunnels, and by which page they go.
    tunnels: HashMap<Id, (u64, Arc<Window>)>,
}

#[derive(Debug)]
struct Page {
    number: u64,
    orders: mpsc::UnboundedSender<String>,
}

#[derive(Debug)]
struct Waiting {
    page: u64,
    closing: Closing,
    answer: oneshot::Sender<Result<Piped, Failed>>,
}

/// What became of an order.
#[derive(Debug)]
enum Failed {
    /// The page's words.
    Told(String),
    Gone,
}

/// A WebSocket that somebody waits for; when nobody does any more, the page is told.
struct Ticket<'a> {
    shared: &'a Shared,
    id: Id,
}

/// A page that is open.
struct Open {
    shared: Arc<Shared>,
    number: u64,
}

/// A WebSocket that a page is asked for.
pub(super) struct Wanted {
    pub(super) url: String,
    /// Whom the URL names, for messages.
    pub(super) host: String,
    /// Early data as a subprotocol.
    pub(super) protocol: Option<String>,
    /// Whether asking twice may bring the server the same bytes twice.
    pub(super) is_early: bool,
    /// Why the tunnel is dropped, if it is.
    pub(super) closing: Closing,
}

impl Dialer {
    /// Nothing is served yet.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Shared {
            settings,
            at: OnceLock::new(),
            token: secret(),
            state: Mutex::default(),
            came: Notify::new(),
        }))
    }

    /// Whether all WebSockets go through the browser, or those that ask for it.
    pub fn takes(&self) -> Takes {
        self.0.settings.takes
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.0.settings.name
    }

    /// Where the page is to be.
    pub fn listen(&self) -> SocketAddr {
        self.0.settings.listen
    }

    /// Listens where the page is to be.
    ///
    /// # Errors
    ///
    /// When the place cannot be listened on.
    pub fn bind(&self) -> io::Result<Bound> {
        let listen = self.0.settings.listen;
        // Before anybody can connect to it.
        let mut doors = vec![Listening::control(listen, WHAT)];
        let listener = tcp::listen(listen, &tcp::SockOpt::default())?;
        let bound = listener.local_addr().unwrap_or(listen);
        doors.push(Listening::control(bound, WHAT));
        let _ = self.0.at.set(self.0.settings.url(bound.port()));
        Ok(Bound { listener, doors })
    }

    /// Says where the page is.
    pub fn announce(&self) {
        let (name, at) = (&self.0.settings.name, self.0.at());
        info!(target: NOTICE, "{name}: open {at} in a browser of this machine and leave the page open, WebSockets go through it");
    }

    /// Serves the page until it is dropped.
    pub async fn serve(self, bound: Bound) {
        let Bound { listener, doors } = bound;
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        loop {
            let Ok(permit) = strangers.clone().acquire_owned().await else {
                return drop(doors);
            };
            match listener.accept().await {
                Ok(arrival) => self.take(arrival, permit),
                Err(e) => {
                    debug!("the browser page: cannot accept a connection: {e}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Serves a connection; `stranger` is held until it is known what it is for.
    pub(super) fn take(&self, arrival: Arrival, stranger: impl Send + 'static) {
        let shared = self.0.clone();
        crate::io::spawn(async move {
            let came = shared.visit(arrival).await;
            drop(stranger);
            if let Some((came, link)) = came {
                shared.serve(came, link).await;
            }
        });
    }

    #[cfg(test)]
    pub(super) fn token(&self) -> &str {
        &self.0.token
    }

    /// Has a page open a WebSocket.
    pub(super) async fn dial(&self, wanted: &Wanted) -> Result<Piped, BrowserError> {
        let shared = &self.0;
        let until = Instant::now() + PAGE_LIMIT;
        loop {
            let page = timeout_at(until, shared.page()).await;
            let (number, orders) = page.map_err(|_| BrowserError::NoPage {
                at: shared.at(),
                limit: PAGE_LIMIT,
            })?;
            match shared.ask(number, &orders, wanted).await {
                // The page was loaded again, and nothing has been sent.
                Err(BrowserError::Gone(_)) if !wanted.is_early => {}
                done => return done,
            }
        }
    }
}

/// What no session may go to.
const WHAT: &str = "the page of the browser dialer";

/// Where the page is to be, and nobody is answered yet.
#[derive(Debug)]
pub struct Bound {
    listener: tcp::Listener,
    doors: Vec<Listening>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self) -> String {
        let at = self.at.get().cloned();
        at.unwrap_or_else(|| self.settings.url(self.settings.listen.port()))
    }

    /// The page that came last, or the next one.
    async fn page(&self) -> (u64, mpsc::UnboundedSender<String>) {
        loop {
            let came = self.came.notified();
            tokio::pin!(came);
            came.as_mut().enable();
            if let Some(page) = self.lock().pages.last() {
                return (page.number, page.orders.clone());
            }
            came.await;
        }
    }

    async fn ask(
        &self,
        page: u64,
        orders: &mpsc::UnboundedSender<String>,
        wanted: &Wanted,
    ) -> Result<Piped, BrowserError> {
        let gone = || BrowserError::Gone(self.at());
        let id = Id(u128::from_be_bytes(random()));
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.pages.iter().all(|other| other.number != page) {
                return Err(gone());
            }
            let closing = wanted.closing.clone();
            let waiting = Waiting {
                page,
                closing,
                answer,
            };
            state.waiting.insert(id, waiting);
        }
        let _ticket = Ticket { shared: self, id };
        let order = Order::Dial {
            id,
            url: &wanted.url,
            protocol: wanted.protocol.as_deref(),
        };
        orders.send(order.encode()).map_err(|_| gone())?;
        match timeout(DIAL_LIMIT, answered).await {
            Ok(Ok(Ok(piped))) => Ok(piped),
            Ok(Ok(Err(Failed::Told(why)))) => Err(BrowserError::Failed {
                host: wanted.host.clone(),
                why,
                offered: wanted.protocol.is_some(),
            }),
            Ok(Ok(Err(Failed::Gone)) | Err(_)) => Err(gone()),
            Err(_) => Err(BrowserError::Slow {
                at: self.at(),
                host: wanted.host.clone(),
                limit: DIAL_LIMIT,
            }),
        }
    }

    /// A tunnel is over.
    pub(super) fn forget(&self, id: Id) {
        self.lock().tunnels.remove(&id);
    }

    /// Answers the requests of a connection; what it comes for, if it becomes a WebSocket.
    async fn visit(&self, arrival: Arrival) -> Option<(Came, WsStream<Link>)> {
        let Arrival {
            link,
            source,
            since,
            ..
        } = arrival;
        let tell = Tell::new(|refused| warn_of(&refused));
        let visit = Visit::new(source, link, since).telling(tell);
        let nonce = secret();
        let nobody = Forwarded::default();
        let granted = |request: &http::Request<()>| door::answer(request, &self.token, &nonce);
        let visited = visit.tunnel(&nobody, granted).await;
        let tunnel = visited.map_err(|refused| warn_of(&refused)).ok()?;
        if tunnel.found == Came::ForPage {
            linger(tunnel.link).await;
            return None;
        }
        let link = Prefixed::link(tunnel.read, tunnel.link);
        let stream = WsStream::new(link, Role::Server, Some(HEARTBEAT));
        Some((tunnel.found, stream.of_page()))
    }

    async fn serve(self: &Arc<Self>, came: Came, stream: WsStream<Link>) {
        match came {
            Came::ForPage => {}
            Came::ToControl(true) => self.control(stream).await,
            Came::ToControl(false) => {
                let _ = stream.close(CloseReason::Private(STALE)).await;
            }
            Came::WithLink(id) => self.arrived(id, stream),
        }
    }

    /// The other half of a WebSocket that was asked for.
    fn arrived(self: &Arc<Self>, id: Id, stream: WsStream<Link>) {
        let window = Arc::new(Window::default());
        let waiting = {
            let mut state = self.lock();
            let Some(waiting) = state.waiting.remove(&id) else {
                return;
            };
            state.tunnels.insert(id, (waiting.page, window.clone()));
            waiting
        };
        let stream = stream.with_closing(waiting.closing.clone());
        let piped = Piped::new(stream, window, self.clone(), id);
        let _ = waiting.answer.send(Ok(piped));
    }

    /// Talks with a page until it is gone.
    async fn control(self: &Arc<Self>, stream: WsStream<Link>) {
        let (mut from, mut to) = split(stream);
        let (orders, mut wanted) = mpsc::unbounded_channel::<String>();
        let mut buf = BytesMut::new();
        let mut page = None;
        loop {
            tokio::select! {
                read = from.read_buf(&mut buf) => {
                    if !matches!(read, Ok(n) if n > 0) {
                        break;
                    }
                    loop {
                        match Word::decode(&mut buf) {
                            Ok(Some(Word::Ready)) if page.is_none() => {
                                page = Some(self.open(orders.clone()));
                            }
                            Ok(Some(word)) => {
                                if let Some(Open { number, .. }) = &page {
                                    self.hear(*number, word);
                                }
                            }
                            Ok(None) => break,
                            Err(e) => {
                                debug!("the browser page says {e}");
                                return;
                            }
                        }
                    }
                }
                Some(order) = wanted.recv() => {
                    let sent = async {
                        to.write_all(order.as_bytes()).await?;
                        to.flush().await
                    };
                    if sent.await.is_err() {
                        break;
                    }
                }
            }
        }
    }

    fn open(self: &Arc<Self>, orders: mpsc::UnboundedSender<String>) -> Open {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.pages.push(Page { number, orders });
        drop(state);
        info!(target: NOTICE, "{}: a page is open", self.settings.name);
        self.came.notify_waiters();
        Open {
            shared: self.clone(),
            number,
        }
    }

    fn hear(&self, page: u64, word: Word) {
        let mut state = self.lock();
        match word {
            Word::Ready => {}
            Word::Failed { id, why } => {
                if state.waiting.get(&id).is_some_and(|w| w.page == page)
                    && let Some(waiting) = state.waiting.remove(&id)
                {
                    let _ = waiting.answer.send(Err(Failed::Told(why)));
                }
            }
            Word::Took { id, bytes } => {
                if let Some((_, window)) = state.tunnels.get(&id).filter(|(of, _)| *of == page) {
                    window.took(bytes);
                }
            }
        }
    }
}

/// Of what came by mistake nobody needs to hear; of what another page tried, somebody does.
fn warn_of(refused: &crate::cause::RequestError) {
    match refused.code() {
        code @ "browser-stranger" => {
            let text = format!("the browser page: {refused}");
            log::repeated_cause(code, &text, Some(code));
        }
        code => debug!(cause_code = code, "the browser page: {refused}"),
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(waiting) = state.waiting.remove(&self.id)
            && let Some(page) = state.pages.iter().find(|page| page.number == waiting.page)
        {
            let _ = page.orders.send(Order::Drop(self.id).encode());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.pages.retain(|page| page.number != self.number);
        let left: Vec<Id> = state
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.page == self.number)
            .map(|(id, _)| *id)
            .collect();
        for id in left {
            if let Some(waiting) = state.waiting.remove(&id) {
                let _ = waiting.answer.send(Err(Failed::Gone));
            }
        }
        let of_page = state.tunnels.values().filter(|(of, _)| *of == self.number);
        for (_, window) in of_page {
            window.close();
        }
        let others = state.pages.len();
        drop(state);
        let name = &self.shared.settings.name;
        match others {
            0 => warn!(
                "{name}: the page at {} was closed, no WebSocket is opened until it is there again",
                self.shared.at()
            ),
            _ => info!("{name}: a page was closed, another one is open"),
        }
    }
}

/// Bytes that nobody can guess.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

fn secret() -> String {
    Id(u128::from_be_bytes(random())).to_string()
}
