//! A connection whose records are ours, as a link.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::cipher::OutboundChunks;
use tokio_rustls::rustls::{
    AlertDescription, ContentType, Error, ExtractedSecrets, PeerMisbehaved,
};

use super::incoming::{MAX_RECORD, Progress};
use super::invalid;
use super::keys::{Opener, Sealer};
use super::messages::{Asked, Kernel, Messages, WARNING, alert_for, unexpected};
use crate::copy;
use crate::io::{Goodbye, Io, Link, Presence, scratch};

/// The most text of a record.
const MAX_TEXT: usize = 16 * 1024;

/// How many records in a row may hold nothing, as rustls and BoringSSL have it.
const MAX_EMPTY: u8 = 32;

/// The most text that is sealed before it is sent.
const WRITE: usize = 4 * MAX_TEXT;

/// The most that is read at once: more would leave the cache before it is opened.
const READ: usize = 64 * 1024;

const _: () = assert!(MAX_RECORD + READ <= scratch::LEN);

/// A TLS connection with the manners of a proxy, as [`Stream`](super::super::stream::Stream) has them: an end without close_notify is
/// an end, and the shutdown of our direction leaves the other one open.
///
/// One task drives both directions: reading answers new keys, and so writes.
pub(super) struct Stream {
    link: Link,
    kernel: Kernel,
    messages: Messages,
    opener: Opener,
    /// What was read and not handed out, as far as `progress` says.
    held: Vec<u8>,
    progress: Progress,
    /// Records in a row that hold nothing.
    empty: u8,
    end: End,
    sealer: Sealer,
    /// Records that the link has not taken yet; of the first one it has taken `sent`.
    unsent: VecDeque<Vec<u8>>,
    sent: usize,
    /// The peer has been told that we have new keys, and may not have got that yet.
    is_renewing: bool,
    /// We have said our goodbye.
    is_shut: bool,
}

/// How reading ended.
enum End {
    Open,
    Said,
    /// Without close_notify.
    Silent,
    Failed(Box<Error>),
}

impl Stream {
    /// A connection behind its handshake, and what came there already.
    pub(super) fn new(
        link: Link,
        secrets: ExtractedSecrets,
        kernel: Kernel,
        mut received: Vec<u8>,
    ) -> Result<Self, Error> {
        received.shrink_to_fit();
        Ok(Self {
            link,
            messages: kernel.messages(),
            opener: Opener::new(kernel.suite(), secrets.rx)?,
            sealer: Sealer::new(kernel.suite(), secrets.tx)?,
            kernel,
            held: received,
            progress: Progress::default(),
            empty: 0,
            end: End::Open,
            unsent: VecDeque::new(),
            sent: 0,
            is_renewing: false,
            is_shut: false,
        })
    }

    /// Hands out what is open, and opens what follows, until there is no room or no whole record.
    fn deliver(
        &mut self,
        bytes: &mut [u8],
        progress: &mut Progress,
        buf: &mut ReadBuf<'_>,
    ) -> Result<(), Error> {
        loop {
            progress.hand_out(bytes, buf);
            if buf.remaining() == 0 || !matches!(self.end, End::Open) {
                return Ok(());
            }
            let Some(record) = progress.next(bytes)? else {
                return Ok(());
            };
            if self.kernel.is_tls13() && record.typ != ContentType::ApplicationData {
                return Err(unexpected());
            }
            let start = bytes.as_ptr().addr();
            let sealed = &mut bytes[record.sealed];
            let plain = self.opener.open(record.typ, record.version, sealed)?;
            self.empty = match plain.payload {
                [] => self.empty + 1,
                _ => 0,
            };
            if self.empty > MAX_EMPTY {
                return Err(PeerMisbehaved::TooManyEmptyFragments.into());
            }
            match plain.typ {
                ContentType::ApplicationData => {
                    self.messages.data()?;
                    let start = plain.payload.as_ptr().addr() - start;
                    progress.text = start..start + plain.payload.len();
                }
                ContentType::Alert => {
                    if self.messages.alert(plain.payload)? {
                        self.end = End::Said;
                    }
                }
                ContentType::Handshake => {
                    match self
                        .messages
                        .message(plain.payload, |ticket| self.kernel.keep(ticket))?
                    {
                        Some(Asked::NewKeys { of_both }) => self.renew(of_both)?,
                        Some(Asked::Renegotiation) => {
                            self.alert(WARNING, AlertDescription::NoRenegotiation)?;
                        }
                        None => {}
                    }
                }
                _ => return Err(unexpected()),
            }
        }
    }

    /// The peer has new keys, and we have as well when it wants that.
    fn renew(&mut self, of_both: bool) -> Result<(), Error> {
        let next = self.kernel.next_to_receive()?;
        self.opener = Opener::new(self.kernel.suite(), next)?;
        match of_both && !self.is_renewing && !self.is_shut {
            true => self.renew_ours(),
            false => Ok(()),
        }
    }

    /// What follows is sealed by new keys.
    fn renew_ours(&mut self) -> Result<(), Error> {
        self.queue(ContentType::Handshake, KEY_UPDATE[..].into())?;
        let next = self.kernel.next_to_send()?;
        self.sealer = Sealer::new(self.kernel.suite(), next)?;
        self.is_renewing = true;
        Ok(())
    }

    fn alert(&mut self, level: u8, description: AlertDescription) -> Result<(), Error> {
        match self.is_shut {
            true => Ok(()),
            false => self.queue(ContentType::Alert, [level, description.into()][..].into()),
        }
    }

    fn queue(&mut self, typ: ContentType, text: OutboundChunks<'_>) -> Result<(), Error> {
        let record = self.sealer.seal(typ, text)?;
        self.unsent.push_back(record);
        Ok(())
    }

    /// Seals data.
    fn seal(&mut self, mut rest: OutboundChunks<'_>) -> Result<(), Error> {
        while !rest.is_empty() {
            // The last record under these keys says so.
            if self.sealer.left() <= 1 {
                if !self.kernel.is_tls13() {
                    self.goodbye_now()?;
                    return Err(Error::EncryptError);
                }
                self.renew_ours()?;
            }
            let (text, behind) = rest.split_at(MAX_TEXT);
            self.queue(ContentType::ApplicationData, text)?;
            rest = behind;
        }
        Ok(())
    }

    /// Seals and sends data, and says how much was taken: all of it while the link takes it, for what is left of a write a layer above
    /// would have to keep.
    fn poll_seal(
        &mut self,
        cx: &mut Context<'_>,
        mut rest: OutboundChunks<'_>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        if self.is_shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut taken = 0;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(WRITE);
            taken += now.len();
            self.seal(now).map_err(invalid)?;
            if self.poll_send(cx)?.is_pending() {
                break;
            }
            rest = later;
        }
        Poll::Ready(Ok(taken))
    }

    /// In TLS 1.2, where a record shows what it is, Go tells data and a close_notify that lies behind them by one read, and some of its
    /// programs (V2Ray's Shadowsocks) forget the data then. An empty record keeps the two apart.
    fn goodbye_now(&mut self) -> Result<(), Error> {
        if !self.kernel.is_tls13() && self.sealer.left() > 1 {
            let nothing = OutboundChunks::Single(&[]);
            self.queue(ContentType::ApplicationData, nothing)?;
        }
        self.alert(WARNING, AlertDescription::CloseNotify)?;
        self.is_shut = true;
        Ok(())
    }

    /// Hands down what is unsent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(first) = self.unsent.front() {
            let mut slices = [IoSlice::new(&[]); WRITE / MAX_TEXT + 1];
            for (slice, record) in slices.iter_mut().zip(&self.unsent) {
                *slice = IoSlice::new(record);
            }
            slices[0] = IoSlice::new(&first[self.sent..]);
            let slices = &slices[..self.unsent.len().min(slices.len())];
            let link = Pin::new(&mut self.link);
            let taken = ready!(link.poll_write_vectored(cx, slices))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += taken;
            while let Some(first) = self.unsent.front()
                && self.sent >= first.len()
            {
                self.sent -= first.len();
                self.unsent.pop_front();
            }
        }
        self.unsent = VecDeque::new();
        self.is_renewing = false;
        Poll::Ready(Ok(()))
    }

    /// Sends what reading has to answer. A peer that does not take it now gets it later.
    fn answer(&mut self, cx: &mut Context<'_>) {
        if !self.unsent.is_empty()
            && let Poll::Ready(Ok(())) = self.poll_send(cx)
        {
            let _ = Pin::new(&mut self.link).poll_flush(cx);
        }
    }

    /// Keeps what was not handed out, for as long as there is something to come of it.
    fn keep(
        &mut self,
        delivered: Result<(), Error>,
        progress: Progress,
        rest: impl FnOnce(Progress) -> (Vec<u8>, Progress),
    ) {
        if let Err(e) = delivered {
            self.fail(e);
        }
        if matches!(self.end, End::Open) || !progress.text.is_empty() {
            (self.held, self.progress) = rest(progress);
        }
    }

    /// Ends what is read, and tells the peer why.
    fn fail(&mut self, e: Error) {
        if let Some(description) = alert_for(&e) {
            let _ = self.alert(FATAL, description);
        }
        self.is_shut = true;
        self.end = End::Failed(Box::new(e));
    }

    /// Whether a read is done: something was handed out, or nothing will be.
    fn is_read(&self, is_some: bool) -> Option<io::Result<()>> {
        match &self.end {
            _ if is_some => Some(Ok(())),
            End::Open => None,
            End::Said | End::Silent => Some(Ok(())),
            End::Failed(e) => Some(Err(invalid((**e).clone()))),
        }
    }
}

/// A handshake message: our keys are new from the next record on, the peer's may stay.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// The level of an alert that ends the connection.
const FATAL: u8 = 2;

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if !this.held.is_empty() {
            let mut held = std::mem::take(&mut this.held);
            let mut progress = std::mem::take(&mut this.progress);
            let delivered = this.deliver(&mut held, &mut progress, buf);
            this.keep(delivered, progress, |progress| {
                match progress.is_done(&held) {
                    true => Default::default(),
                    false => (held, progress),
                }
            });
            this.answer(cx);
        }
        let mut scratch = None;
        loop {
            if let Some(done) = this.is_read(buf.filled().len() > before) {
                return Poll::Ready(done);
            }
            let scratch = scratch.get_or_insert_with(scratch::take);
            let kept = this.held.len() - this.progress.sealed;
            copy::copy(&this.held[this.progress.sealed..], &mut scratch[..kept]);
            let most = buf.remaining().clamp(MAX_RECORD, READ);
            let mut into = ReadBuf::new(&mut scratch[kept..kept + most]);
            match ready!(Pin::new(&mut this.link).poll_read(cx, &mut into)) {
                // A link inside another one that has ended without a goodbye.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {}
                read => read?,
            }
            let read = into.filled().len();
            if read == 0 {
                this.end = End::Silent;
                continue;
            }
            let bytes = &mut scratch[..kept + read];
            let mut progress = Progress::default();
            let delivered = this.deliver(bytes, &mut progress, buf);
            this.keep(delivered, progress, |progress| progress.rest(bytes));
            this.answer(cx);
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_seal(cx, buf.into())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let chunks: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
        self.get_mut().poll_seal(cx, OutboundChunks::new(&chunks))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.link).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut {
            this.goodbye_now().map_err(invalid)?;
        }
        ready!(this.poll_send(cx))?;
        ready!(Pin::new(&mut this.link).poll_flush(cx))?;
        match ready!(Pin::new(&mut this.link).poll_shutdown(cx)) {
            // The peer has left.
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            shut => Poll::Ready(shut),
        }
    }
}

impl Io for Stream {
    fn goodbye(&self) -> Goodbye {
        match self.end {
            End::Silent => Goodbye::Unknown,
            _ => Goodbye::Said,
        }
    }

    fn socket(&self) -> Option<&TcpStream> {
        self.link.socket()
    }

    fn presence(&self) -> Presence {
        self.link.presence()
    }

    fn set_low_water(&mut self, bytes: usize) {
        self.link.set_low_water(bytes);
    }

    fn bound_unsent(&mut self, bytes: u32) {
        self.link.bound_unsent(bytes);
    }
}

#[cfg(test)]
impl Stream {
    /// Sends a record that nobody asked for.
    pub(super) async fn say(&mut self, typ: ContentType, text: &[u8]) {
        self.queue(typ, text.into()).unwrap();
        tokio::io::AsyncWriteExt::flush(self).await.unwrap();
    }

    /// Changes our keys.
    pub(super) async fn renew_now(&mut self) {
        self.renew_ours().unwrap();
        tokio::io::AsyncWriteExt::flush(self).await.unwrap();
    }

    /// Keys that seal two more records and no third.
    pub(super) fn wear_out(&mut self) {
        self.sealer.wear_out();
    }

    /// Bytes that are kept while nothing comes and nothing goes.
    pub(super) fn kept(&self) -> usize {
        self.held.capacity() + self.unsent.capacity()
    }
}
