//! Ports of a server that clients have it open, and what comes in there.
//!
//! ```text
//! TCP: a session of smux in which the server opens a stream for each visitor: | answer, with the visitor's address | payload
//! UDP: datagrams as those of an association, each with its visitor
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::codec::{AnswerError, Response, Status};
use super::inbound::send;
use super::packets::OfMany;
use super::stream::refused;
use crate::address::Destination;
use crate::cause::{self, Credentials};
use crate::io::{Link, PacketStream, Packets, Prefixed, linger};
use crate::protocol::bare::{headless_client, headless_server};

/// How long a visitor's address may take to come: it is the first that a server says of one.
const HEAD_LIMIT: Duration = Duration::from_secs(15);

/// Tells a client where its port is.
pub async fn tell_opened(link: &mut Link, at: SocketAddr) {
    let response = Response {
        status: Status::Ok as u8,
        address: Some(at.into()),
    };
    send(link, &response).await;
}

/// Tells a client that its port cannot be opened.
pub async fn tell_failed(mut link: Link) {
    let response = Response {
        status: Status::Unavailable as u8,
        address: None,
    };
    send(&mut link, &response).await;
    linger(link).await;
}

/// What stands in front of the bytes of a visitor.
pub fn introduction(visitor: SocketAddr) -> Vec<u8> {
    let response = Response {
        status: Status::Ok as u8,
        address: Some(visitor.into()),
    };
    let mut out = BytesMut::new();
    // An address always fits.
    let _ = response.encode(&mut out);
    out.to_vec()
}

/// A stream towards a client, for a visitor. One that says all it has to say still hears the answer.
pub fn towards_client(stream: Link) -> Link {
    headless_client(stream)
}

/// The datagrams of all visitors, at either end.
pub fn visitors(link: Link) -> Box<dyn Packets> {
    Box::new(PacketStream::new(link, OfMany))
}

/// Who a visitor is that a server's stream brings, and the stream behind that.
///
/// # Errors
///
/// When the stream begins otherwise, or with a refusal.
pub async fn introduced(mut stream: Link) -> io::Result<(Destination, Link)> {
    let (address, rest) = answer(&mut stream, HEAD_LIMIT).await?;
    let from = address.ok_or_else(|| {
        let text = "the server does not say who the visitor is";
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    let link = Prefixed::link(rest, stream);
    // This end answers: what it has said to the end is told, for the visitor may wait for that.
    Ok((from, headless_server(link)))
}

/// Waits for a whole answer; its address, and what came behind it.
pub(super) async fn answer(
    link: &mut Link,
    limit: Duration,
) -> io::Result<(Option<Destination>, Bytes)> {
    let mut buf = BytesMut::new();
    let reading = async {
        loop {
            let response = Response::decode(&mut buf);
            let response = response.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            match response {
                Some(Response { status: 0, address }) => return Ok(address),
                Some(Response { status, .. }) => return Err(refused(AnswerError::Status(status))),
                None => {}
            }
            if link.read_more(&mut buf).await? == 0 {
                return Err(cause::AnswerError::Closed(Credentials::Relay).into());
            }
        }
    };
    let address = timeout(limit, reading).await??;
    Ok((address, buf.freeze()))
}
