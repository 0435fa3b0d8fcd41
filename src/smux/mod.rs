//! smux, versions 1 and 2: many streams inside one link, as gost's `mws` and its reverse forwarding have them.
//!
//! ```text
//! link: | SYN 3 | PSH 3, data | SYN 5 | PSH 3, data | PSH 5, data | FIN 3 | …
//! ```
//! Either end may open streams and the other accepts them: gost's clients open in `mws`, and its servers do in a link that
//! asked for reverse forwarding. A session is one task, which its maker runs; a stream is a link like any other.

pub mod codec;
mod driver;
mod frames;
mod settings;
mod stream;
mod table;
#[cfg(test)]
mod tests;

pub use codec::{FrameError, Version};
pub use settings::{FIRST_WINDOW, KeepAlive, Settings};
pub use table::MAX_STREAMS;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::io::Link;
use codec::Decoder;
use driver::Driver;
use stream::SmuxStream;
use table::{State, Table};

/// The end of a session where streams are opened. The session ends when this is dropped and its last stream is.
pub struct Opener {
    table: Arc<Table>,
    /// A peer that has said nothing for so long may have gone.
    doubted_after: Option<Duration>,
}

/// The end that opens streams, and what carries the session's frames: to be run until it is over. Streams that the peer
/// opens are ended.
pub fn client(
    link: Link,
    settings: Settings,
) -> (Opener, impl Future<Output = Option<FrameError>> + Send) {
    let version = Some(settings.version);
    let table = Table::new(&settings, version, 1);
    let opener = Opener {
        table: table.clone(),
        doubted_after: settings.keepalive.map(|alive| alive.interval * 3 / 2),
    };
    let driver = Driver::new(link, table, settings, Decoder::new(version), |_| false);
    (opener, driver.run())
}

/// What carries the frames of a session whose peer opens streams, each of which `door` is given; it says `false` where it
/// has no room for one more. To be run until the session is over; gives what broke the protocol, if anything has.
pub fn server(
    link: Link,
    settings: Settings,
    door: impl FnMut(Link) -> bool + Send + 'static,
) -> impl Future<Output = Option<FrameError>> + Send {
    let table = Table::new(&settings, None, 0);
    Driver::new(link, table, settings, Decoder::new(None), door).run()
}

/// The same of a peer that may be anybody: it has little, until the second says that somebody has logged in.
pub fn server_of_strangers(
    link: Link,
    settings: Settings,
    door: impl FnMut(Link) -> bool + Send + 'static,
) -> (
    impl Future<Output = Option<FrameError>> + Send,
    impl Fn() + Send + Sync + 'static,
) {
    let table = Table::of_strangers(&settings);
    let driver = Driver::new(link, table.clone(), settings, Decoder::new(None), door);
    (driver.run(), move || table.with(State::know))
}

impl Opener {
    /// A stream, of which the peer hears with the first write or flush; `None` when the session is over, or has
    /// [`MAX_STREAMS`].
    pub fn open(&self) -> Option<Link> {
        let handle = self.table.open()?;
        Some(Link::other(SmuxStream::new(handle)))
    }

    /// As [`Self::open`], and `None` as well when the peer has said nothing for longer than it should.
    pub fn open_surely(&self) -> Option<Link> {
        let heard = self.table.with(|state| state.heard());
        let silence = heard.map(|heard| heard.elapsed());
        let is_doubted = self.doubted_after.zip(silence);
        match is_doubted.is_some_and(|(after, silence)| silence > after) {
            true => None,
            false => self.open(),
        }
    }

    /// Streams at the moment.
    pub fn streams(&self) -> usize {
        self.table.with(|state| state.streams())
    }

    /// Whether the session is over.
    pub fn is_over(&self) -> bool {
        self.table.with(|state| state.is_over())
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.table.with(|state| state.retire());
    }
}
