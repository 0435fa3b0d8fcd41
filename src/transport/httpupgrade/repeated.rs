//! A link whose first bytes may be the end of early data once more.
//!
//! V2Ray 5's client puts its whole first write into the header, and sends what exceeds `maxEarlyData` again behind the
//! request (v2fly/v2ray-core#3677). Its own server usually loses what comes twice. Others send more than our
//! `maxEarlyData` once: so what came twice is known by its bytes, which are sealed and like no others.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::{Io, Link, Prefixed, forward};

pub(super) struct Repeated {
    /// What may come again; empty when that is decided.
    again: Bytes,
    /// How much of it has come.
    seen: usize,
    /// What was read and is no repetition stands in front.
    link: Prefixed<Link>,
}

impl Repeated {
    pub(super) fn new(again: Bytes, link: Link) -> Self {
        Self {
            again,
            seen: 0,
            link: Prefixed::new(Bytes::new(), link),
        }
    }

    /// Compares what was read with what may come again.
    fn judge(&mut self, new: &[u8]) {
        let due = &self.again[self.seen..];
        let same = due.iter().zip(new).take_while(|(a, b)| a == b).count();
        let left = if same == due.len() {
            Bytes::copy_from_slice(&new[same..])
        } else if same == new.len() && !new.is_empty() {
            self.seen += same;
            return;
        } else {
            // It is like it by chance, or the end.
            [&self.again[..self.seen], new].concat().into()
        };
        self.link.put_back(left);
        self.again = Bytes::new();
    }
}

impl AsyncRead for Repeated {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.again.is_empty() {
            let mut piece = [0; 1024];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.link).poll_read(cx, &mut piece))?;
            this.judge(piece.filled());
        }
        Pin::new(&mut this.link).poll_read(cx, buf)
    }
}

impl AsyncWrite for Repeated {
    forward!(link: poll_write poll_write_vectored is_write_vectored poll_flush poll_shutdown);
}

impl Io for Repeated {
    forward!(link: poll_close poll_end end_cuts_off say_end holds_up_others poll_write_in_place half_closes cork);
    forward!(link: set_close_reason goodbye tcp presence set_low_water bound_unsent);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// However what follows is cut into pieces.
    #[tokio::test]
    async fn what_came_twice_is_taken_once_and_everything_else_stays() {
        for (behind, stays) in [
            (&b"tail and more"[..], &b" and more"[..]),
            (b"tail", b""),
            (b"tai", b"tai"),
            (b"ta, not the same", b"ta, not the same"),
            (b"other", b"other"),
            (b"", b""),
            (b"tailtail", b"tail"),
        ] {
            for size in [1, 2, 3, 64] {
                let (mut theirs, ours) = duplex(size);
                let again = Bytes::from_static(b"tail");
                let mut link = Repeated::new(again, Link::other(ours));
                let mut got = Vec::new();
                let send = async {
                    theirs.write_all(behind).await.unwrap();
                    drop(theirs);
                };
                let ((), read) = tokio::join!(send, link.read_to_end(&mut got));
                read.unwrap();
                assert_eq!(got, stays, "{behind:?} in pieces of {size}");
            }
        }
    }
}
