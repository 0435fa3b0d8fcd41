//! Dials: the addresses of a name are raced as RFC 8305 (Happy Eyeballs) says.

use std::io;
use std::net::SocketAddr;

use socket2::Socket;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::address::{Destination, reached_at};
use crate::cause::{DialError, TcpError};
use crate::dns::Lookup;
use crate::io::own_listeners;

use super::listen::any;
use super::settings::{Race, SockOpt};
use crate::io::{Step, handshakes, open_files};

/// Connects to the first address of `to` that answers.
///
/// # Errors
///
/// When there is no address, or none answers; the cause is the one that tells most.
pub async fn connect(
    to: &Destination,
    lookup: &Lookup,
    sockopt: &SockOpt,
) -> Result<TcpStream, DialError> {
    let mut addrs = lookup.resolve(to).await.map_err(DialError::Name)?;
    for addr in &mut addrs {
        *addr = reached_at(*addr);
    }
    if let Some(local) = sockopt.local() {
        addrs.retain(|a| a.is_ipv4() == local.is_ipv4());
        if addrs.is_empty() {
            let to = to.clone();
            return Err(TcpError::NoFamily { to, local }.into());
        }
    }
    let addrs = interleave(addrs, &sockopt.race);
    let mut step = Step::begin("tcp");
    let stream = race(&addrs, sockopt).await.map_err(|source| {
        let (to, tried) = (to.clone(), addrs);
        TcpError::Failed { to, tried, source }
    })?;
    if step.is_told() {
        let peer = stream.peer_addr().ok();
        let peer = peer.map_or_else(|| to.to_string(), |peer| peer.to_string());
        step.done(format_args!("connected to {peer}"));
    }
    Ok(stream)
}

/// Alternates between the families, beginning with that of the first address unless the settings say which.
fn interleave(addrs: Vec<SocketAddr>, race: &Race) -> Vec<SocketAddr> {
    let Some(first) = addrs.first().map(SocketAddr::is_ipv6) else {
        return addrs;
    };
    let first = race.ipv6_first.unwrap_or(first);
    let turn = match race.interleave {
        0 => addrs.len(),
        turn => turn,
    };
    let len = addrs.len();
    let (ours, others): (Vec<_>, Vec<_>) = addrs.into_iter().partition(|a| a.is_ipv6() == first);
    let (mut ours, mut others) = (ours.into_iter(), others.into_iter());
    let mut mixed = Vec::with_capacity(len);
    while mixed.len() < len {
        mixed.extend(ours.by_ref().take(turn));
        mixed.extend(others.by_ref().take(turn));
    }
    mixed
}

/// One attempt after the other, each [`Race::delay`] after the last or as soon as one has failed; the
/// first connection wins and the others are dropped.
async fn race(addrs: &[SocketAddr], sockopt: &SockOpt) -> io::Result<TcpStream> {
    if let [only] = addrs {
        return dial(*only, sockopt).await;
    }
    let at_once = sockopt.race.at_once.max(1);
    let mut waiting = addrs.iter();
    let mut attempts = JoinSet::new();
    let mut worst: Option<io::Error> = None;
    loop {
        if attempts.len() < at_once
            && let Some(&addr) = waiting.next()
        {
            let sockopt = sockopt.clone();
            attempts.spawn(async move { dial(addr, &sockopt).await });
        }
        if attempts.is_empty() {
            return Err(worst.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
        }
        let is_full = attempts.len() >= at_once;
        let ended = async { attempts.join_next().await };
        let ended = if waiting.len() == 0 || is_full {
            ended.await
        } else {
            match tokio::time::timeout(sockopt.race.delay, ended).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(e))) if worst.as_ref().is_none_or(|w| weight(&e) >= weight(w)) => {
                worst = Some(e);
            }
            _ => {}
        }
    }
}

async fn dial(addr: SocketAddr, sockopt: &SockOpt) -> io::Result<TcpStream> {
    let comes_back = own_listeners::comes_back(addr)?;
    let socket = match sockopt.tcp(addr) {
        // A user's session goes before those who have yet to say who they are.
        Err(e) if open_files::are_exhausted(&e) && handshakes::make_room().await => {
            sockopt.tcp(addr)
        }
        made => made,
    }?;
    sockopt.fast_open_to_dial(&socket)?;
    sockopt.transparent_to_dial(&socket, addr);
    sockopt.bind_local(&socket)?;
    let dialling = match comes_back {
        true => Some(own_end(&socket, addr, sockopt)?),
        false => None,
    };
    let stream = TcpSocket::from_std_stream(socket.into())
        .connect(addr)
        .await?;
    if let Some(dialling) = dialling {
        dialling.done();
    }
    Ok(stream)
}

/// Gives a connection to a listener of ours its port before it is made, for the listener to know it by.
fn own_end(
    socket: &Socket,
    to: SocketAddr,
    sockopt: &SockOpt,
) -> io::Result<own_listeners::Dialling> {
    if sockopt.local().is_none() {
        socket.bind(&any(to).into())?;
    }
    let local = socket.local_addr()?.as_socket();
    let local = local.ok_or_else(|| io::Error::other("a TCP socket without an address"))?;
    Ok(own_listeners::Dialling::new(local))
}

/// How much an error tells: a machine without IPv6 says "unreachable" of every IPv6 address, which
/// must not hide what the server itself answered.
fn weight(error: &io::Error) -> u8 {
    match error.kind() {
        _ if own_listeners::is_kept(error) => 4,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => 0,
        io::ErrorKind::HostUnreachable => 1,
        io::ErrorKind::TimedOut => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Host;
    use crate::dns::Strategy;
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use tokio::net::TcpListener;

    const STAGGER: Duration = Duration::from_millis(250);

    #[test]
    fn families_alternate_in_the_resolvers_order() {
        let addr = |s: &str| -> SocketAddr { s.parse().unwrap() };
        let mixed = interleave(
            ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]
                .map(addr)
                .to_vec(),
            &Race::default(),
        );
        assert_eq!(
            mixed,
            ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(addr)
        );
        assert_eq!(interleave(Vec::new(), &Race::default()), []);
        let race = Race {
            ipv6_first: Some(false),
            interleave: 2,
            ..Race::default()
        };
        let all = ["[::1]:1", "1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1", "[::2]:1"].map(addr);
        assert_eq!(
            interleave(all.to_vec(), &race),
            ["1.1.1.1:1", "2.2.2.2:1", "[::1]:1", "[::2]:1", "3.3.3.3:1"].map(addr)
        );
    }

    #[tokio::test]
    async fn a_refused_address_hands_over_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = closed_port().await;
        let begin = Instant::now();
        let addrs = [closed, listener.local_addr().unwrap()];
        let stream = race(&addrs, &SockOpt::default()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addrs[1]);
        assert!(stream.nodelay().unwrap());
        assert!(begin.elapsed() < STAGGER);
    }

    #[tokio::test]
    async fn a_silent_address_is_overtaken() {
        // 192.0.2.0/24 belongs to nobody; it is silent, or unreachable where there is no route.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addrs = [
            "192.0.2.1:9".parse().unwrap(),
            listener.local_addr().unwrap(),
        ];
        let begin = Instant::now();
        let stream = race(&addrs, &SockOpt::default()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addrs[1]);
        assert!(begin.elapsed() < 8 * STAGGER);
    }

    #[tokio::test]
    async fn when_all_fail_the_error_says_what_was_tried() {
        let closed = closed_port().await;
        let to: Destination = format!("127.0.0.1:{}", closed.port()).parse().unwrap();
        let error = connect(&to, &Lookup::System, &SockOpt::default()).await;
        assert_eq!(
            error.unwrap_err().to_string(),
            format!("cannot connect to {to}: connection refused")
        );
        let to: Destination = format!("localhost:{}", closed.port()).parse().unwrap();
        let error = connect(&to, &ipv4(), &SockOpt::default()).await;
        assert_eq!(
            error.unwrap_err().to_string(),
            format!("cannot connect to {to}: connection refused (tried {closed})")
        );
    }

    #[tokio::test]
    async fn send_through_is_the_local_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Destination::from(listener.local_addr().unwrap());
        let mut sockopt = SockOpt {
            send_through: Some([127, 0, 0, 2].into()),
            ..SockOpt::default()
        };
        let stream = connect(&to, &Lookup::System, &sockopt).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip().to_string(), "127.0.0.2");
        sockopt.send_through = Some("::1".parse().unwrap());
        let error = connect(&to, &Lookup::System, &sockopt).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot connect to {to}: it has no IPv6 address for sendThrough ::1")
        );
    }

    #[tokio::test]
    async fn a_listener_for_the_operator_is_not_connected_to_and_others_know_who_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let sockopts = [
            SockOpt::default(),
            SockOpt {
                send_through: Some([127, 0, 0, 2].into()),
                ..SockOpt::default()
            },
        ];
        let ways = [
            "127.0.0.1",
            "0.0.0.0",
            "2130706433",
            "localhost",
            "::ffff:127.0.0.1",
        ];
        for (host, sockopt) in ways.into_iter().zip(sockopts.iter().cycle()) {
            let to = Destination::new(Host::parse(host).unwrap(), at.port());
            let control = own_listeners::Listening::control(at, "the API");
            let error = connect(&to, &ipv4(), sockopt).await.unwrap_err();
            let error = io::Error::from(error);
            assert!(own_listeners::is_kept(&error), "{error}");
            let text = format!("cannot connect to {to}: the API of this process listens there");
            assert!(error.to_string().starts_with(&text), "{error}");
            drop(control);
            let inbound = own_listeners::Listening::inbound(at);
            let _stream = connect(&to, &ipv4(), sockopt).await.unwrap();
            let (_, peer) = listener.accept().await.unwrap();
            assert!(own_listeners::is_own(peer.into()) && !own_listeners::is_own(peer.into()));
            drop(inbound);
            let _stream = connect(&to, &ipv4(), sockopt).await.unwrap();
            let (_, peer) = listener.accept().await.unwrap();
            assert!(
                !own_listeners::is_own(peer.into()),
                "an ordinary connection"
            );
        }
    }

    fn ipv4() -> Lookup {
        Lookup::new(&Arc::default(), Strategy::UseIpv4)
    }

    async fn closed_port() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }
}
