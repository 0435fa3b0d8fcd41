//! The handshake, by rustls, up to where records can be taken over.

use std::io;
use std::ops::Deref;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use tokio_rustls::rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, UnbufferedConnectionCommon, UnbufferedStatus,
};
use tokio_rustls::rustls::{
    ClientConfig, CommonState, Error, ExtractedSecrets, InvalidMessage, ServerConfig,
};

use super::incoming::HEADER;
use super::invalid;
use super::messages::{Kernel, unexpected};
use super::stream::Stream;
use crate::io::Link;

/// The most that a peer may send in one piece of a handshake: its longest message, and what frames that.
const MAX: usize = 128 * 1024;

/// How much is read at once: a flight, but for a long chain of certificates.
const READ: usize = 4096;

/// A server's handshake with a client of which `received` has been read, and what `look` sees in it.
pub(in super::super) async fn of_server<T>(
    link: Link,
    received: Vec<u8>,
    config: Arc<ServerConfig>,
    look: impl FnOnce(&CommonState) -> T,
) -> io::Result<(Link, T)> {
    let (stream, seen) = server(link, received, config, look).await?;
    Ok((Link::other(stream), seen))
}

/// A client's handshake with the server of a name, and what `look` sees in it.
pub(in super::super) async fn of_client<T>(
    link: Link,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    look: impl FnOnce(&CommonState) -> T,
) -> io::Result<(Link, T)> {
    let (stream, seen) = client(link, name, config, look).await?;
    Ok((Link::other(stream), seen))
}

pub(super) async fn server<T>(
    link: Link,
    received: Vec<u8>,
    config: Arc<ServerConfig>,
    look: impl FnOnce(&CommonState) -> T,
) -> io::Result<(Stream, T)> {
    let session = UnbufferedServerConnection::new(config).map_err(invalid)?;
    shake(session, link, received, look).await
}

pub(super) async fn client<T>(
    link: Link,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    look: impl FnOnce(&CommonState) -> T,
) -> io::Result<(Stream, T)> {
    let session = UnbufferedClientConnection::new(config, name).map_err(invalid)?;
    shake(session, link, Vec::new(), look).await
}

async fn shake<S: Session, T>(
    session: S,
    link: Link,
    received: Vec<u8>,
    look: impl FnOnce(&CommonState) -> T,
) -> io::Result<(Stream, T)> {
    let mut shaking = Shaking {
        session,
        link,
        received,
        seen: 0,
        end: 0,
        unsent: Vec::new(),
    };
    match shaking.run().await {
        Ok(()) => shaking.done(look).map_err(invalid),
        Err(Failed::Link(e)) => Err(e),
        Err(Failed::Tls(e)) => {
            shaking.alert();
            // The peer may have left already.
            let _ = shaking.send().await;
            Err(invalid(e))
        }
    }
}

/// A connection before its keys are ours.
struct Shaking<S> {
    session: S,
    link: Link,
    /// What has come and was not understood yet.
    received: Vec<u8>,
    /// How much of that rustls has seen: no record more than it needs, for what is behind the handshake is not for it.
    seen: usize,
    /// Where the record ends of which it has seen the last part.
    end: usize,
    unsent: Vec<u8>,
}

enum Failed {
    Link(io::Error),
    Tls(Error),
}

impl From<io::Error> for Failed {
    fn from(e: io::Error) -> Self {
        Self::Link(e)
    }
}

/// What there is to do next.
enum Next {
    Look,
    Send,
    Receive,
    Open,
}

impl<S: Session> Shaking<S> {
    async fn run(&mut self) -> Result<(), Failed> {
        loop {
            match self.step()? {
                Next::Look => {}
                Next::Send => self.send().await?,
                Next::Receive => {
                    self.send().await?;
                    if self.received.len() > MAX {
                        return Err(Failed::Tls(InvalidMessage::HandshakePayloadTooLarge.into()));
                    }
                    self.received.reserve(READ);
                    if self.link.read_buf(&mut self.received).await? == 0 {
                        return Err(Failed::Link(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
                Next::Open => return Ok(()),
            }
        }
    }

    /// Looks into what has come.
    fn step(&mut self) -> Result<Next, Failed> {
        let received = &mut self.received[..self.seen];
        let UnbufferedStatus { discard, state, .. } = self.session.process(received);
        let next = match state {
            Ok(ConnectionState::EncodeTlsData(data)) => {
                encode(data, &mut self.unsent).map(|()| Next::Look)
            }
            Ok(ConnectionState::TransmitTlsData(sent)) => {
                sent.done();
                Ok(Next::Send)
            }
            Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => {
                Ok(Next::Receive)
            }
            // A peer that takes leave before it has said who it is.
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                return Err(Failed::Link(io::ErrorKind::UnexpectedEof.into()));
            }
            // Early data is for `early`, and other data is not shown to rustls.
            Ok(_) => Err(Error::HandshakeNotComplete),
            Err(e) => Err(e),
        };
        self.forget(discard);
        match next.map_err(Failed::Tls)? {
            Next::Receive if !self.session.is_handshaking() => match self.seen {
                0 => Ok(Next::Open),
                _ => Err(Failed::Tls(unexpected())),
            },
            Next::Receive if self.show() => Ok(Next::Look),
            next => Ok(next),
        }
    }

    /// Shows rustls the next record, or what has come of it; says whether there was any.
    fn show(&mut self) -> bool {
        let before = self.seen;
        if self.seen == self.end
            && let Some(&[_, _, _, high, low]) = self.received[self.seen..].first_chunk()
        {
            self.end += HEADER + usize::from(u16::from_be_bytes([high, low]));
        }
        self.seen = self.end.min(self.received.len());
        self.seen > before
    }

    fn forget(&mut self, discard: usize) {
        self.received.drain(..discard);
        self.seen -= discard;
        self.end -= discard;
    }

    /// What the peer is told of a failure.
    fn alert(&mut self) {
        // Not once more than there is something to send: the failure would be found again.
        while self.session.wants_write() {
            let received = &mut self.received[..self.seen];
            let UnbufferedStatus { discard, state, .. } = self.session.process(received);
            let Ok(ConnectionState::EncodeTlsData(data)) = state else {
                return;
            };
            if encode(data, &mut self.unsent).is_err() {
                return;
            }
            self.forget(discard);
        }
    }

    async fn send(&mut self) -> io::Result<()> {
        if !self.unsent.is_empty() {
            self.link.write_all(&self.unsent).await?;
            self.link.flush().await?;
            self.unsent.clear();
        }
        Ok(())
    }

    fn done<T>(self, look: impl FnOnce(&CommonState) -> T) -> Result<(Stream, T), Error> {
        let seen = look(&self.session);
        let (secrets, kernel) = self.session.into_kernel()?;
        let stream = Stream::new(self.link, secrets, kernel, self.received)?;
        Ok((stream, seen))
    }
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, unsent: &mut Vec<u8>) -> Result<(), Error> {
    let at = unsent.len();
    let mut room = 0;
    loop {
        unsent.resize(at + room, 0);
        match data.encode(&mut unsent[at..]) {
            Ok(_) => return Ok(()),
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => {
                room = needed.required_size;
            }
            Err(e) => return Err(Error::General(e.to_string())),
        }
    }
}

/// Either side.
trait Session: Deref<Target = UnbufferedConnectionCommon<Self::Data>> {
    type Data;

    fn process<'c, 'i>(
        &'c mut self,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn into_kernel(self) -> Result<(ExtractedSecrets, Kernel), Error>;
}

impl Session for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }

    fn into_kernel(self) -> Result<(ExtractedSecrets, Kernel), Error> {
        let (secrets, kernel) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Kernel::Server(kernel)))
    }
}

impl Session for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }

    fn into_kernel(self) -> Result<(ExtractedSecrets, Kernel), Error> {
        let (secrets, kernel) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Kernel::Client(kernel)))
    }
}
