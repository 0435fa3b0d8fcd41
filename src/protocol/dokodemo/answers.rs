//! Sockets that answer in the name of those whom datagrams were meant for.
//!
//! A transparent door took a datagram that was meant for a server; the answer must come from that server's
//! address, or from whoever else answers (full-cone). Each such address gets a socket bound to it, made
//! when the first answer comes and closed when none has come for a while. V2Ray has a socket for each
//! pair of client and server, connected to the client.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::trace;

use crate::io::{BindUdp, is_local, open_files, scratch};
use crate::log;
use crate::protocol::udp_port::Datagram;

/// Addresses answered for at one time, or a quarter of what the process may have open; a further one takes the place of the one that was silent longest.
const MAX_SOCKETS: usize = 1024;

/// A socket that nothing was sent from for this long is closed.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Answers {
    bind: BindUdp,
    sockets: Mutex<HashMap<SocketAddr, Answering>>,
    max: usize,
    strays: mpsc::Sender<Datagram>,
}

struct Answering {
    socket: Arc<UdpSocket>,
    used: Instant,
    reader: AbortHandle,
}

impl Answers {
    /// `bind` makes the sockets. What arrives on them goes into `strays`: a packet filter that looks for
    /// the socket of a packet before it asks its `TPROXY` rule finds these.
    pub(super) fn new(bind: BindUdp, strays: mpsc::Sender<Datagram>) -> Self {
        Self {
            bind,
            sockets: Mutex::default(),
            max: MAX_SOCKETS.min(open_files::limit() / 4),
            strays,
        }
    }

    /// Sends `data` to `client` as `from`. `asked` says that the client itself named this address.
    pub(super) fn send(
        &self,
        from: SocketAddr,
        asked: bool,
        client: SocketAddr,
        data: &[u8],
    ) -> io::Result<()> {
        let socket = self.socket(from, asked)?;
        // Many sessions share the socket, so nobody waits for it: a datagram that does not fit is lost.
        SockRef::from(&*socket).send_to(data, &client.into())?;
        Ok(())
    }

    fn socket(&self, from: SocketAddr, asked: bool) -> io::Result<Arc<UdpSocket>> {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answering) = sockets.get_mut(&from) {
            answering.used = Instant::now();
            return Ok(answering.socket.clone());
        }
        // A socket on an address of ours would take what others send to a service of this machine. That
        // is what a client asked for when it asked this address, and no far end may ask for it.
        if !is_somebody(from) || (!asked && is_local(from.ip())) {
            let text = format!("{from} is not the address of another machine");
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
        }
        if sockets.len() >= self.max {
            let oldest = sockets.iter().min_by_key(|(_, answering)| answering.used);
            if let Some(oldest) = oldest.map(|(from, _)| *from) {
                sockets.remove(&oldest);
            }
        }
        let socket = (self.bind)(from).inspect_err(|e| complain(from, e))?;
        let socket = Arc::new(socket.into_inner());
        let reader =
            crate::io::spawn(read(socket.clone(), from, self.strays.clone())).abort_handle();
        let answering = Answering {
            socket: socket.clone(),
            used: Instant::now(),
            reader,
        };
        sockets.insert(from, answering);
        Ok(socket)
    }

    /// Closes what has been idle.
    pub(super) fn sweep(&self) {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.retain(|_, answering| answering.used.elapsed() < IDLE_LIMIT);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Who runs without root may listen and yet lack the right to answer.
fn complain(from: SocketAddr, error: &io::Error) {
    match error.kind() {
        io::ErrorKind::PermissionDenied => log::repeated(&format!(
            "cannot answer as {from}: permission denied (it needs root, or CAP_NET_ADMIN and, for ports below \
             1024, CAP_NET_BIND_SERVICE)"
        )),
        // An option that is not this process' to set.
        io::ErrorKind::Other => log::repeated(&format!("cannot answer as {from}: {error}")),
        _ => {}
    }
}

/// Whether one machine can have this address, so that an answer can come from it.
fn is_somebody(from: SocketAddr) -> bool {
    let ip = from.ip();
    from.port() != 0
        && !ip.is_unspecified()
        && !ip.is_multicast()
        && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Hands over what is sent to `meant`, the address of `socket`.
async fn read(socket: Arc<UdpSocket>, original_dst: SocketAddr, strays: mpsc::Sender<Datagram>) {
    while socket.readable().await.is_ok() {
        let mut scratch = scratch::take();
        match socket.try_recv_from(&mut scratch) {
            Ok((n, source)) => {
                let _ = strays.try_send(Datagram {
                    source,
                    local: None,
                    original_dst: Some(original_dst),
                    data: Bytes::copy_from_slice(&scratch[..n]),
                });
            }
            // A client that refused an answer is told about here, and it is no end.
            Err(e) => trace!(%original_dst, error = %e, "reading where answers go out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Udp;

    /// Loopback addresses can be bound by anybody.
    fn answers() -> (Answers, mpsc::Receiver<Datagram>) {
        let bind: BindUdp = Arc::new(|from| {
            let socket = std::net::UdpSocket::bind(from)?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket).map(Udp::from)
        });
        let (tx, rx) = mpsc::channel(8);
        (Answers::new(bind, tx), rx)
    }

    fn free(ip: &str) -> SocketAddr {
        let socket = std::net::UdpSocket::bind((ip, 0)).unwrap();
        socket.local_addr().unwrap()
    }

    #[tokio::test]
    async fn the_first_answer_of_an_address_comes_from_it_and_what_comes_back_is_handed_over() {
        let (answers, mut strays) = answers();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = client.local_addr().unwrap();
        let from = free("127.0.0.9");
        let mut buf = [0; 8];
        for word in [b"one", b"two"] {
            answers.send(from, true, at, word).unwrap();
            let (n, source) = client.recv_from(&mut buf).await.unwrap();
            assert_eq!((&buf[..n], source), (&word[..], from));
        }
        assert_eq!(answers.sockets.lock().unwrap().len(), 1);
        client.send_to(b"more", from).await.unwrap();
        let stray = strays.recv().await.unwrap();
        assert_eq!((stray.source, stray.original_dst), (at, Some(from)));
        assert_eq!(stray.data, "more");
    }

    #[tokio::test]
    async fn no_far_end_may_take_an_address_of_ours_or_of_nobody() {
        let (answers, _strays) = answers();
        let client = free("127.0.0.1");
        for from in [
            "127.0.0.9:53",
            "0.0.0.0:53",
            "224.0.0.251:5353",
            "8.8.8.8:0",
        ] {
            let error = answers.send(from.parse().unwrap(), false, client, b"x");
            let text = error.unwrap_err().to_string();
            assert_eq!(
                text,
                format!("{from} is not the address of another machine")
            );
        }
        assert!(answers.sockets.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn one_too_many_takes_the_place_of_the_one_that_was_silent_longest() {
        let (mut answers, _strays) = answers();
        answers.max = 2;
        let client = free("127.0.0.1");
        let from: Vec<_> = (0..3).map(|_| free("127.0.0.9")).collect();
        for n in [0, 1, 0, 2] {
            answers.send(from[n], true, client, b"x").unwrap();
        }
        let open = answers.sockets.lock().unwrap();
        assert!(open.len() == 2 && !open.contains_key(&from[1]));
    }

    #[tokio::test]
    async fn idle_sockets_are_closed() {
        let (answers, _strays) = answers();
        let client = free("127.0.0.1");
        let first = free("127.0.0.9");
        answers.send(first, true, client, b"x").unwrap();
        tokio::time::pause();
        tokio::time::advance(IDLE_LIMIT / 2).await;
        let second = free("127.0.0.9");
        answers.send(second, true, client, b"x").unwrap();
        tokio::time::advance(IDLE_LIMIT / 2).await;
        answers.sweep();
        let open: Vec<_> = answers.sockets.lock().unwrap().keys().copied().collect();
        assert_eq!(open, [second]);
        tokio::task::yield_now().await;
        std::net::UdpSocket::bind(first).expect("it is closed");
    }
}
