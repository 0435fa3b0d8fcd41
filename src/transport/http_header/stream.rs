//! A link with a head in front of each direction.
//!
//! The head goes out in the write of what follows it: V2Ray's readers expect a whole one at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Settings;
use super::codec::answer;
use crate::cause::{DialError, Refused, UpgradeError};
use crate::http::responses::{self, Then};
use crate::http::upgrade::MAX_HEADER;
use crate::io::{HEADROOM, Io, Link, Prefixed, forward};

pub(super) struct Headed {
    /// What came behind the server's head stands in front.
    link: Prefixed<Link>,
    writing: Writing,
    reading: Reading,
}

enum Writing {
    /// Nothing was written; this stands in front of what will be.
    Head(Head),
    /// What the link did not take at once of the head and what followed it.
    Rest(BytesMut),
    Open,
}

enum Head {
    /// A client that has nothing to say says nothing.
    Request(Vec<u8>),
    /// A server that has nothing to say refuses, as V2Ray's does.
    Answer(Vec<u8>),
}

enum Reading {
    /// The server's head is not whole.
    Head(Box<(BytesMut, Arc<Settings>)>),
    Open,
}

impl Headed {
    /// `head` goes in front of what is written; what the server writes has one too.
    pub(super) fn client(link: Link, head: Vec<u8>, settings: Arc<Settings>) -> Self {
        Self {
            link: Prefixed::new(Bytes::new(), link),
            writing: Writing::Head(Head::Request(head)),
            reading: Reading::Head(Box::new((BytesMut::new(), settings))),
        }
    }

    /// `head` goes in front of what is written; the client's has been read.
    pub(super) fn server(link: Link, head: Vec<u8>) -> Self {
        Self {
            link: Prefixed::new(Bytes::new(), link),
            writing: Writing::Head(Head::Answer(head)),
            reading: Reading::Open,
        }
    }

    /// Writes what is left of the head and what followed it.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Writing::Rest(rest) = &mut self.writing {
            if rest.is_empty() {
                self.writing = Writing::Open;
                break;
            }
            let n = ready!(Pin::new(&mut self.link).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            rest.advance(n);
        }
        Poll::Ready(Ok(()))
    }

    /// Puts the head in front of `data`, if it is not gone yet.
    fn begin(&mut self, data: &[u8]) -> bool {
        let Writing::Head(Head::Request(head) | Head::Answer(head)) = &self.writing else {
            return false;
        };
        let mut both = BytesMut::with_capacity(head.len() + data.len());
        both.extend_from_slice(head);
        both.extend_from_slice(data);
        self.writing = Writing::Rest(both);
        true
    }

    /// Ready when the server's head is behind us.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Reading::Head(head) = &mut self.reading {
            let (read, settings) = &mut **head;
            let found = answer(read).map_err(|_| fail(UpgradeError::NotHttp))?;
            if let Some((len, status)) = found {
                refused(status, settings).map_or(Ok(()), |refused| Err(fail(refused.into())))?;
                read.advance(len);
                self.link.put_back(std::mem::take(read).freeze());
                self.reading = Reading::Open;
                break;
            }
            if read.len() >= MAX_HEADER {
                return Poll::Ready(Err(fail(UpgradeError::TooLarge)));
            }
            let mut piece = [0; 2048];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.link).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() && read.is_empty() {
                // As over plain TCP; the protocol knows what it means.
                self.reading = Reading::Open;
                break;
            }
            if piece.filled().is_empty() {
                return Poll::Ready(Err(fail(UpgradeError::Closed)));
            }
            read.extend_from_slice(piece.filled());
        }
        Poll::Ready(Ok(()))
    }
}

/// What a server says that was told to say something else: V2Ray's refuse with 400 and 404.
fn refused(status: u16, settings: &Settings) -> Option<Refused> {
    let is_told = settings.response.status == status.to_string();
    (status >= 400 && !is_told).then(|| Refused {
        status,
        path: settings.request.paths.join(", "),
        location: None,
        server: None,
    })
}

fn fail(error: UpgradeError) -> io::Error {
    DialError::from(error).into()
}

impl AsyncRead for Headed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_head(cx))?;
        Pin::new(&mut this.link).poll_read(cx, buf)
    }
}

impl AsyncWrite for Headed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.begin(buf) {
            // It is taken, whatever becomes of it; an error is told by the next call.
            let _ = this.poll_rest(cx);
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(this.poll_rest(cx))?;
        Pin::new(&mut this.link).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_rest(cx))?;
        Pin::new(&mut this.link).poll_flush(cx)
    }

    /// An end without anything before it has its head all the same.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.begin(&[]);
        ready!(this.poll_rest(cx))?;
        Pin::new(&mut this.link).poll_shutdown(cx)
    }
}

impl Io for Headed {
    /// Closing what has said nothing: of a server it is a refusal.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &this.writing {
            Writing::Head(Head::Answer(_)) => {
                let page = responses::error(StatusCode::BAD_REQUEST, Then::Close, true);
                this.writing = Writing::Rest(BytesMut::from(&page[..]));
            }
            Writing::Head(Head::Request(_)) => this.writing = Writing::Open,
            Writing::Rest(_) | Writing::Open => {}
        }
        ready!(this.poll_rest(cx))?;
        Pin::new(&mut this.link).poll_close(cx)
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_rest(cx))?;
        Pin::new(&mut this.link).poll_end(cx)
    }

    fn poll_write_in_place(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !matches!(self.writing, Writing::Open) {
            return self.poll_write(cx, &buf[HEADROOM..]);
        }
        Pin::new(&mut self.get_mut().link).poll_write_in_place(cx, buf)
    }

    forward!(link: half_closes cork set_close_reason goodbye tcp presence);

    fn set_low_water(&mut self, bytes: usize) {
        if matches!(self.reading, Reading::Open) {
            self.link.set_low_water(bytes);
        }
    }

    forward!(link: bound_unsent);
}
