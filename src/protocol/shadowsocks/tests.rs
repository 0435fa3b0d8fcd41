//! Client and server of ours, over pipes in memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::codec::packet_2022::{Front, Ids, Message, Session};
use super::datagrams::Port;
use super::packets::ClientPackets;
use super::users::Users;
use super::*;
use crate::address::Destination;
use crate::io::{Link, Packet, Packets};
use crate::protocol::replay::now;
use crate::protocol::servers::ServerSettings;
use crate::protocol::udp_port::{Datagram, Sender, UdpPort};
use crate::protocol::{Accepted, InboundContext, UserError};
use crate::seam::{Arrival, FarEnd, Refusal, Unanswered};
use crate::session::Source;
use crate::testing::links::{data, send};

const CIPHERS: [Cipher; 3] = [
    Cipher::Aes128Gcm,
    Cipher::Aes256Gcm,
    Cipher::ChaCha20Poly1305,
];

fn key(cipher: Cipher, byte: u8) -> Key {
    Key::new(cipher, &[byte; 32][..cipher.key_len()]).unwrap()
}

fn user<K>(key: K) -> UserSettings<K> {
    UserSettings {
        key,
        email: Some("a@b".to_owned()),
        level: 0,
    }
}

fn stranger<K>(key: K) -> UserSettings<K> {
    UserSettings {
        key,
        email: None,
        level: 0,
    }
}

fn aead(cipher: Cipher, byte: u8) -> AeadPassword {
    AeadPassword::new(cipher, format!("password {byte}"))
}

fn blake3(cipher: Cipher, byte: u8) -> Blake3Key {
    let key = key(cipher, byte);
    Blake3Key { cipher, key }
}

/// A server and the secret of a client that it knows, for each way in which it can.
fn pairs() -> Vec<(Access, AccountSecret)> {
    let mut pairs = vec![(Access::Anybody(user(())), AccountSecret::None)];
    for cipher in CIPHERS {
        let several = CIPHERS.map(|other| stranger(aead(other, 1)));
        let users = [&several[..], &[user(aead(cipher, 9))]].concat();
        let secret = AccountSecret::Aead(aead(cipher, 9));
        pairs.push((Access::Passwords(users), secret));
        let secret = AccountSecret::Blake3 {
            key: blake3(cipher, 9),
            servers: Vec::new(),
        };
        pairs.push((Access::OneKey(user(blake3(cipher, 9))), secret));
        if cipher.is_aes() {
            let access = Access::Identities {
                cipher,
                key: key(cipher, 1),
                users: vec![stranger(key(cipher, 2)), user(key(cipher, 9))],
            };
            let secret = AccountSecret::Blake3 {
                key: blake3(cipher, 9),
                servers: vec![key(cipher, 1)],
            };
            pairs.push((access, secret));
        }
    }
    pairs
}

fn to() -> Destination {
    "example.com:443".parse().unwrap()
}

fn outbound(secret: &AccountSecret) -> Outbound {
    let account = AccountSettings {
        at: Default::default(),
        secret: secret.clone(),
        level: 0,
    };
    let server = ServerSettings {
        to: "server:1".parse().unwrap(),
        accounts: vec![account],
    };
    let servers = vec![server];
    OutboundSettings { servers }.into()
}

fn client(secret: &AccountSecret, link: Link) -> Link {
    let outbound = outbound(secret);
    let (_, account) = outbound.next_hop().unwrap();
    account.stream(link, &to(), FarEnd::default()).unwrap()
}

fn inbound(access: &Access) -> Inbound {
    Inbound::new(InboundSettings {
        access: access.clone(),
        ..InboundSettings::default()
    })
}

async fn accept_by(
    inbound: &Inbound,
    link: impl crate::io::Io + 'static,
    context: &InboundContext,
) -> Result<Accepted, Refusal> {
    let arrival = Arrival {
        link: Link::other(link),
        source: Source::Unix,
        local: Source::Unix,
        original_dst: None,
        tls: None,
        since: Instant::now(),
    };
    inbound.accept(arrival, context).await
}

/// Both ends of a tunnel over a pipe that takes `room` bytes at a time.
async fn tunnel(access: &Access, secret: &AccountSecret, room: usize) -> (Link, Link) {
    let (near, far) = duplex(room);
    let mut client = client(secret, Link::other(near));
    let (inbound, context) = (inbound(access), InboundContext::default());
    let accepting = accept_by(&inbound, far, &context);
    let (flushed, accepted) = tokio::join!(client.flush(), accepting);
    flushed.unwrap();
    let Ok(Accepted::Stream {
        user,
        to: asked,
        link,
        ..
    }) = accepted
    else {
        panic!("expected a stream: {:?}", accepted.err());
    };
    assert_eq!(user.unwrap().email.as_deref(), Some("a@b"));
    assert_eq!(asked, to());
    (client, link)
}

#[tokio::test]
async fn bytes_pass_both_ways_whatever_the_sizes() {
    for (access, secret) in pairs() {
        for (len, room, piece) in [
            (600_000, 1 << 20, 1 << 16),
            (40_000, 1000, 1 << 16),
            (40_000, 1 << 20, 7),
            (500, 1, 1),
        ] {
            let (mut client, mut server) = tunnel(&access, &secret, room).await;
            send(&mut client, &mut server, &data(len), piece).await;
            send(&mut server, &mut client, &data(len), piece).await;
            send(&mut client, &mut server, &data(3), piece).await;
        }
    }
}

#[tokio::test]
async fn the_end_of_one_direction_is_the_end_of_the_link() {
    for (access, secret) in pairs() {
        let (mut client, mut server) = tunnel(&access, &secret, 1 << 16).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"question");
        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        got.clear();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"answer");
        // A target that says nothing.
        let (mut client, mut server) = tunnel(&access, &secret, 1 << 16).await;
        server.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}

/// What a client sends at first, with `question` in it.
async fn first_flight(secret: &AccountSecret) -> Vec<u8> {
    let (near, mut far) = duplex(1 << 16);
    let mut client = client(secret, Link::other(near));
    client.write_all(b"question").await.unwrap();
    let mut flight = vec![0; 1 << 16];
    let n = far.read(&mut flight).await.unwrap();
    flight.truncate(n);
    flight
}

#[tokio::test]
async fn a_first_flight_is_one_write_and_is_read_in_any_pieces() {
    for (access, secret) in pairs() {
        let (inbound, context) = (inbound(&access), InboundContext::default());
        for size in [1, 7, 33, 1000] {
            let flight = first_flight(&secret).await;
            let (mut near, far) = duplex(1 << 16);
            let sending = async {
                for piece in flight.chunks(size) {
                    near.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let ((), accepted) = tokio::join!(sending, accept_by(&inbound, far, &context));
            let Ok(Accepted::Stream {
                to: asked,
                mut link,
                ..
            }) = accepted
            else {
                panic!("pieces of {size}: {:?}", accepted.err());
            };
            assert_eq!(asked, to());
            let mut got = [0; 8];
            link.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"question");
        }
    }
}

/// What is refused, by its code, and the link as its peer left it.
async fn refused(
    inbound: &Inbound,
    context: &InboundContext,
    flight: &[u8],
) -> (
    &'static str,
    Option<String>,
    Option<Unanswered>,
    DuplexStream,
) {
    let (mut near, far) = duplex(1 << 17);
    near.write_all(flight).await.unwrap();
    let refusal = accept_by(inbound, far, context).await.err();
    let refusal = refusal.expect("it is no flight of ours");
    (refusal.cause.code(), refusal.user, refusal.unanswered, near)
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_is_refused_without_a_word() {
    let scan =
        b"GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: a scanner with much to say\r\n\r\n";
    for (access, secret) in pairs().into_iter().skip(1) {
        let (inbound, context) = (inbound(&access), InboundContext::default());
        let flight = first_flight(&secret).await;
        let mut changed = flight.clone();
        changed[40] ^= 1;
        for strange in [&scan[..], &changed] {
            let (code, user, unanswered, mut near) = refused(&inbound, &context, strange).await;
            assert!(
                ["user-unknown", "request-malformed"].contains(&code),
                "{secret:?}: {code}"
            );
            assert_eq!(user.is_some(), code == "request-malformed");
            let _open = unanswered.expect("it is read on");
            let answer = timeout(Duration::from_secs(60), near.read(&mut [0])).await;
            assert!(answer.is_err(), "nothing is answered and nothing closed");
        }
        // The time is up.
        let (code, _, unanswered, _near) = refused(&inbound, &context, &flight[..20]).await;
        assert_eq!(code, "request-timeout");
        assert!(unanswered.is_some());
    }
}

#[tokio::test]
async fn a_first_flight_is_answered_once() {
    for (access, secret) in pairs().into_iter().skip(1) {
        let (first, context) = (inbound(&access), InboundContext::default());
        let flight = first_flight(&secret).await;
        let (mut near, far) = duplex(1 << 16);
        near.write_all(&flight).await.unwrap();
        assert!(accept_by(&first, far, &context).await.is_ok());
        // Nor by another inbound of the process.
        let second = inbound(&access);
        for inbound in [&first, &second] {
            let (code, user, unanswered, _near) = refused(inbound, &context, &flight).await;
            assert_eq!(code, "replay");
            assert_eq!(user.as_deref(), Some("a@b"));
            assert!(unanswered.is_some());
        }
        let fresh = first_flight(&secret).await;
        let (mut near, far) = duplex(1 << 16);
        near.write_all(&fresh).await.unwrap();
        assert!(accept_by(&first, far, &context).await.is_ok());
    }
}

#[tokio::test]
async fn a_wrong_clock_is_told_from_an_unknown_key() {
    use super::codec::chunks::{Edition, Sealer};
    use super::codec::head::Head;
    for cipher in CIPHERS {
        let access = Access::OneKey(user(blake3(cipher, 9)));
        let (inbound, context) = (inbound(&access), InboundContext::default());
        for (skew, taken) in [(-35, false), (-25, true), (25, true), (35, false)] {
            let own = key(cipher, 9);
            let salt = draw(cipher).unwrap();
            let head = Head::Request {
                salt,
                identities: Vec::new(),
                address: Bytes::from_static(b"\x01\x7f\0\0\x01\0\x50"),
            };
            let mut sealer = Sealer::new(Edition::Blake3, cipher, &own, salt.as_slice());
            let mut flight = vec![0; 4096];
            let time = (now() + skew).unsigned_abs();
            let mut chance = |bytes: &mut [u8]| bytes.fill(1);
            let written = head.seal(&mut sealer, b"x", time, &mut chance, &mut flight);
            flight.truncate(written.len);
            let (mut near, far) = duplex(1 << 16);
            near.write_all(&flight).await.unwrap();
            let accepted = accept_by(&inbound, far, &context).await;
            match accepted {
                Ok(_) => assert!(taken, "{skew}"),
                Err(refusal) => {
                    assert!(!taken, "{skew}");
                    assert_eq!(refusal.cause.code(), "clock-skew");
                    assert!(refusal.cause.to_string().contains("a@b's clock is 3"));
                    assert!(refusal.unanswered.is_some());
                }
            }
        }
    }
}

#[tokio::test]
async fn an_answer_of_another_server_or_to_another_request_is_an_error() {
    for (access, secret) in pairs().into_iter().skip(1) {
        let (near, mut far) = duplex(1 << 16);
        let mut client = client(&secret, Link::other(near));
        client.write_all(b"question").await.unwrap();
        far.write_all(&[7; 200]).await.unwrap();
        let error = client.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{access:?}");
    }
}

#[tokio::test]
async fn users_come_and_go_by_email() {
    let cipher = Cipher::Aes128Gcm;
    let passwords = inbound(&Access::Passwords(vec![user(aead(cipher, 1))]));
    let taken = UserError::EmailTaken("A@b".to_owned());
    let named = |byte, email: &str| UserSettings {
        email: Some(email.to_owned()),
        ..user(aead(cipher, byte).key())
    };
    for byte in [1, 2] {
        assert_eq!(
            passwords.add_user(&named(byte, "A@b")).as_ref(),
            Err(&taken)
        );
    }
    assert_eq!(
        passwords.add_user(&named(1, "c@b")),
        Err(UserError::KeyTaken)
    );
    assert_eq!(passwords.add_user(&named(2, "c@b")), Ok(()));
    let secret = AccountSecret::Aead(aead(cipher, 2));
    let context = InboundContext::default();
    let enters = async |inbound: &Inbound, secret: &AccountSecret| {
        let flight = first_flight(secret).await;
        let (mut near, far) = duplex(1 << 16);
        near.write_all(&flight).await.unwrap();
        accept_by(inbound, far, &context).await.is_ok()
    };
    assert!(enters(&passwords, &secret).await);
    assert_eq!(passwords.remove_user("C@B"), Ok(()));
    assert!(!enters(&passwords, &secret).await);
    let nobody = UserError::NotFound("c@b".to_owned());
    assert_eq!(passwords.remove_user("c@b"), Err(nobody));

    let identities = inbound(&Access::Identities {
        cipher,
        key: key(cipher, 1),
        users: Vec::new(),
    });
    let named = |key: Vec<u8>| UserSettings {
        key: key.into(),
        email: Some("d@b".to_owned()),
        level: 0,
    };
    let length = UserError::KeyLength {
        found: 32,
        wanted: 16,
    };
    assert_eq!(identities.add_user_2022(named(vec![3; 32])), Err(length));
    let secret = AccountSecret::Blake3 {
        key: blake3(cipher, 3),
        servers: vec![key(cipher, 1)],
    };
    assert!(!enters(&identities, &secret).await);
    assert_eq!(identities.add_user_2022(named(vec![3; 16])), Ok(()));
    assert!(enters(&identities, &secret).await);
    assert_eq!(identities.remove_user("d@b"), Ok(()));
    assert!(!enters(&identities, &secret).await);
    let single = inbound(&Access::OneKey(user(blake3(cipher, 1))));
    assert_eq!(single.remove_user("a@b"), Err(UserError::NoUsers));
}

/// Keeps what is sent, and gives what it is given.
#[derive(Default)]
struct Wire {
    sent: Arc<std::sync::Mutex<Vec<Packet>>>,
    coming: Arc<std::sync::Mutex<Vec<Packet>>>,
}

impl Packets for Wire {
    fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        let mut coming = self.coming.lock().unwrap();
        match coming.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(Ok(Some(coming.remove(0)))),
        }
    }

    fn poll_send(&mut self, _: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        self.sent.lock().unwrap().push(packet.clone());
        Poll::Ready(Ok(()))
    }
}

fn packet(peer: &str, data: &'static [u8]) -> Packet {
    Packet {
        peer: peer.parse().unwrap(),
        data: Bytes::from_static(data),
    }
}

fn port(access: &Access) -> Port {
    let users = Arc::new(Users::new(access.clone()));
    Port::new(users, &InboundContext::default())
}

fn datagram(source: &str, data: &Bytes) -> Datagram {
    Datagram {
        source: source.parse().unwrap(),
        local: None,
        original_dst: None,
        data: data.clone(),
    }
}

/// What a client sends for each of `data`.
fn sealed(secret: &AccountSecret, data: &[&'static [u8]]) -> Vec<Bytes> {
    let wire = Wire::default();
    let sent = wire.sent.clone();
    let mut client = ClientPackets::new(Box::new(wire), to(), secret).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    for data in data {
        let packet = packet("a.example:53", data);
        assert!(client.poll_send(&mut cx, &packet).is_ready());
    }
    let sent = sent.lock().unwrap();
    assert!(sent.iter().all(|packet| packet.peer == to()));
    sent.iter().map(|packet| packet.data.clone()).collect()
}

#[test]
fn datagrams_are_read_once_and_changed_ones_never() {
    for (access, secret) in pairs() {
        let port = port(&access);
        let wire = sealed(&secret, &[b"one", b"two", b""]);
        // In any order.
        for at in [2, 0, 1] {
            let received = port.read(datagram("192.0.2.1:7", &wire[at])).unwrap();
            assert_eq!(received.packet.peer.to_string(), "a.example:53");
            assert_eq!(received.packet.data, [&b"one"[..], b"two", b""][at]);
        }
        if secret == AccountSecret::None {
            continue;
        }
        for again in &wire {
            assert!(port.read(datagram("192.0.2.1:7", again)).is_none());
        }
        let fresh = sealed(&secret, &[b"three"]);
        for i in 0..fresh[0].len() {
            let mut changed = fresh[0].to_vec();
            changed[i] ^= 1;
            let changed = changed.into();
            assert!(
                port.read(datagram("192.0.2.1:7", &changed)).is_none(),
                "{i}"
            );
        }
        assert!(port.read(datagram("192.0.2.1:7", &fresh[0])).is_some());
    }
}

#[test]
fn a_session_of_2022_is_itself_wherever_it_comes_from() {
    for (access, secret) in pairs() {
        let port = port(&access);
        let wire = sealed(&secret, &[b"one", b"two"]);
        let one = port.read(datagram("192.0.2.1:7", &wire[0])).unwrap();
        let two = port.read(datagram("192.0.2.9:9", &wire[1])).unwrap();
        let other = sealed(&secret, &[b"three"]);
        let other = port.read(datagram("192.0.2.9:9", &other[0])).unwrap();
        let moves = matches!(secret, AccountSecret::Blake3 { .. });
        assert_eq!(one.sender == two.sender, moves);
        assert_eq!(two.sender == other.sender, !moves);
    }
}

#[test]
fn a_datagram_of_another_time_is_dropped() {
    for cipher in CIPHERS {
        let port = port(&Access::OneKey(user(blake3(cipher, 9))));
        let own = key(cipher, 9);
        for (packet, skew) in [-40, -20, 20, 40].into_iter().enumerate() {
            let message = Message {
                time: (now() + skew).unsigned_abs(),
                client: None,
                address: to(),
                data: Bytes::from_static(b"late"),
            };
            let (mut plain, mut wire) = (BytesMut::new(), BytesMut::new());
            message.encode(&mut plain).unwrap();
            let ids = Ids {
                session: 5,
                packet: packet as u64,
            };
            let mut chance = |bytes: &mut [u8]| bytes.fill(packet as u8);
            let front = Front::of_client(cipher, &[], &own);
            let session = Session::new(cipher, &own, 5);
            session.seal(ids, &front, &plain, &mut chance, &mut wire);
            let read = port.read(datagram("192.0.2.1:7", &wire.freeze()));
            assert_eq!(read.is_some(), skew.abs() < 30, "{skew}");
        }
    }
}

/// An answer of the server reaches the client, and one that came before does not.
#[tokio::test]
async fn answers_are_for_the_session_that_asked() {
    for (access, secret) in pairs() {
        let listener = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at: SocketAddr = listener.local_addr().unwrap();
        let context = InboundContext::default();
        let mut sources = inbound(&access).sources(Arc::new(listener), &context);
        let near = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let wire = Wire::default();
        let (sent, coming) = (wire.sent.clone(), wire.coming.clone());
        let mut client = ClientPackets::new(Box::new(wire), to(), &secret).unwrap();
        let question = packet("a.example:53", b"question");
        std::future::poll_fn(|cx| client.poll_send(cx, &question))
            .await
            .unwrap();
        let flight = sent.lock().unwrap()[0].data.clone();
        near.send_to(&flight, at).await.unwrap();
        let mut session = sources.next().await.unwrap();
        assert_eq!(session.user.unwrap().email.as_deref(), Some("a@b"));
        let asked = std::future::poll_fn(|cx| session.packets.poll_recv(cx)).await;
        assert_eq!(asked.unwrap().unwrap(), question);
        let answer = packet("[2001:db8::1]:53", b"answer");
        std::future::poll_fn(|cx| session.packets.poll_send(cx, &answer))
            .await
            .unwrap();
        let mut buf = [0; 1500];
        let (n, _) = near.recv_from(&mut buf).await.unwrap();
        let peer = to();
        let wire = Packet {
            peer,
            data: Bytes::copy_from_slice(&buf[..n]),
        };
        coming.lock().unwrap().extend([wire.clone(), wire.clone()]);
        let got = std::future::poll_fn(|cx| client.poll_recv(cx)).await;
        assert_eq!(got.unwrap().unwrap(), answer);
        let mut cx = Context::from_waker(Waker::noop());
        let again = client.poll_recv(&mut cx);
        let repeats = !matches!(secret, AccountSecret::Blake3 { .. });
        assert_eq!(again.is_ready(), repeats, "{secret:?}");
        if !repeats {
            // Another session of the same user does not take it for its own.
            let wire = Wire::default();
            wire.coming.lock().unwrap().push(Packet {
                peer: to(),
                data: Bytes::copy_from_slice(&buf[..n]),
            });
            let mut other = ClientPackets::new(Box::new(wire), to(), &secret).unwrap();
            assert!(other.poll_recv(&mut cx).is_pending());
        }
    }
}

#[test]
fn a_sender_is_told_by_user_where_a_socket_is_shared() {
    let (one, other) = (aead(Cipher::Aes128Gcm, 1), aead(Cipher::Aes256Gcm, 2));
    let users = [&one, &other].map(|password| stranger(password.clone()));
    let port = port(&Access::Passwords(users.to_vec()));
    let read = |password: &AeadPassword| {
        let wire = sealed(&AccountSecret::Aead(password.clone()), &[b"x"]);
        port.read(datagram("192.0.2.1:7", &wire[0])).unwrap().sender
    };
    let senders = [read(&one), read(&other), read(&one)];
    assert_eq!(senders[0], senders[2]);
    assert_ne!(senders[0], senders[1]);
    assert!(matches!(senders[0], Sender::User { user: 0, .. }));
}
