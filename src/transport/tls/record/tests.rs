//! The other end is rustls' own stream, but where something has to be said that it does not say.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio_rustls::rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519};
use tokio_rustls::rustls::crypto::{CryptoProvider, SupportedKxGroup};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{
    AlertDescription, ClientConfig, CommonState, ContentType, Error, HandshakeKind, PeerMisbehaved,
    RootCertStore, ServerConfig, SupportedCipherSuite,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::session::{client, server};
use super::stream::Stream;
use crate::io::{Goodbye, Io, Link};

/// Whose records are whose.
#[derive(Clone, Copy, Debug)]
enum Ours {
    Client,
    Server,
    Both,
}

#[tokio::test]
async fn every_suite_carries_both_ways() {
    for suite in suites() {
        for ours in [Ours::Client, Ours::Server, Ours::Both] {
            // More than a record, and more than is read at once; by a wire that takes little at a time, too.
            for (len, room) in [(1, 7), (1 << 20, 64 << 10), (20_000, 7), (300_000, 1000)] {
                let (near, far) = duplex(room);
                let configs = configs(suite);
                let text: Vec<u8> = (0..len).map(|n: u32| (n % 251) as u8).collect();
                let echo = async { echo(accept(configs.0, ours, near).await).await };
                let send = async { send(connect(configs.1, ours, far).await, &text).await };
                let (heard, answered) = tokio::join!(echo, send);
                assert_eq!(heard, len as usize, "{ours:?} {suite:?}");
                assert!(answered == text, "{ours:?} {suite:?} {len} {room}");
            }
        }
    }
}

#[tokio::test]
async fn many_pieces_are_records_of_full_length() {
    let mut tapped = tapped(tls13()).await;
    let ours = &mut tapped.ours;
    let pieces = [vec![1; 10_000], vec![2; 30_000], Vec::new(), vec![3; 7]];
    let slices: Vec<_> = pieces.iter().map(|p| std::io::IoSlice::new(p)).collect();
    let written = ours.write_vectored(&slices).await.unwrap();
    ours.flush().await.unwrap();
    assert_eq!(written, 40_007);
    let mut sent = vec![0; 41_000];
    let len = tapped.near.read(&mut sent).await.unwrap();
    let mut lengths = Vec::new();
    let mut rest = &sent[..len];
    while let [23, 3, 3, a, b, behind @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*a, *b]));
        lengths.push(len);
        rest = &behind[len..];
    }
    assert_eq!(lengths, [16_384 + 17, 16_384 + 17, 7239 + 17]);
}

#[tokio::test]
async fn an_idle_connection_keeps_nothing() {
    for suite in suites() {
        let (mut one, mut other) = two_of_ours(suite).await;
        let text = vec![7; 100_000];
        let (mut heard, mut at) = (vec![0; text.len()], 0);
        let sent = one.write_all(&text);
        tokio::join!(async { sent.await.unwrap() }, async {
            while at < heard.len() {
                let end = heard.len().min(at + 777);
                at += other.read(&mut heard[at..end]).await.unwrap();
            }
        });
        one.flush().await.unwrap();
        assert!(heard == text);
        assert_eq!((one.kept(), other.kept()), (0, 0));
    }
}

#[tokio::test]
async fn a_half_record_waits_for_its_other_half() {
    let mut tapped = tapped(tls13()).await;
    tapped.theirs.write_all(b"first").await.unwrap();
    tapped.theirs.flush().await.unwrap();
    let mut record = vec![0; 100];
    let len = tapped.far.read(&mut record).await.unwrap();
    let mut buf = [0; 10];
    for byte in &record[..len - 1] {
        tapped.near.write_all(&[*byte]).await.unwrap();
        let mut read = std::pin::pin!(tapped.ours.read(&mut buf));
        assert!(once(&mut read).await.is_pending());
    }
    tapped.near.write_all(&record[len - 1..len]).await.unwrap();
    assert_eq!(tapped.ours.read(&mut buf).await.unwrap(), 5);
}

#[tokio::test]
async fn an_end_is_told_with_a_goodbye_and_without() {
    for suite in suites() {
        let (mut one, mut other) = two_of_ours(suite).await;
        one.write_all(b"last").await.unwrap();
        one.shutdown().await.unwrap();
        assert!(one.write_all(b"more").await.is_err());
        let mut heard = Vec::new();
        other.read_to_end(&mut heard).await.unwrap();
        assert_eq!((&heard[..], other.goodbye()), (&b"last"[..], Goodbye::Said));
        // The other direction is open.
        other.write_all(b"answer").await.unwrap();
        other.flush().await.unwrap();
        drop(other);
        let mut heard = Vec::new();
        one.read_to_end(&mut heard).await.unwrap();
        assert_eq!(
            (&heard[..], one.goodbye()),
            (&b"answer"[..], Goodbye::Unknown)
        );
    }
}

#[tokio::test]
async fn new_keys_are_followed_and_answered() {
    let configs = configs(tls13());
    let (near, far) = duplex(1 << 16);
    let connect = TlsConnector::from(configs.1.clone()).connect(name(), far);
    let accept = server(Link::foreign(near), Vec::new(), configs.0, |_| ());
    let (theirs, ours) = tokio::join!(connect, accept);
    let (mut theirs, (mut ours, ())) = (theirs.unwrap(), ours.unwrap());
    for round in 0..40 {
        // It asks for ours as well.
        theirs.get_mut().1.refresh_traffic_keys().unwrap();
        pass(&mut theirs, &mut ours, &[round; 100]).await;
        pass(&mut ours, &mut theirs, &[round; 100]).await;
    }
}

#[tokio::test]
async fn keys_that_are_worn_out_are_replaced() {
    for ours in [Ours::Client, Ours::Server] {
        let configs = configs(tls13());
        let (near, far) = duplex(1 << 20);
        let text: Vec<u8> = (0..200_000_u32).map(|n| (n % 253) as u8).collect();
        let (mut stream, mut other): (Stream, Box<dyn Other>) = match ours {
            Ours::Client => {
                let accept = TlsAcceptor::from(configs.0.clone()).accept(far);
                let connect = client(Link::foreign(near), name(), configs.1, |_| ());
                let (theirs, ours) = tokio::join!(accept, connect);
                (ours.unwrap().0, Box::new(theirs.unwrap()))
            }
            _ => {
                let connect = TlsConnector::from(configs.1.clone()).connect(name(), far);
                let accept = server(Link::foreign(near), Vec::new(), configs.0, |_| ());
                let (theirs, ours) = tokio::join!(connect, accept);
                (ours.unwrap().0, Box::new(theirs.unwrap()))
            }
        };
        stream.wear_out();
        pass(&mut stream, &mut other, &text).await;
        pass(&mut other, &mut stream, &text).await;
    }
    // TLS 1.2 has no others: it ends, and says so.
    let (mut one, mut other) = two_of_ours(tls12()).await;
    one.wear_out();
    let error = one.write_all(&[1; 100_000]).await.unwrap_err();
    assert_eq!(tls_error(&error), Some(&Error::EncryptError));
    let _ = one.flush().await;
    let mut heard = Vec::new();
    other.read_to_end(&mut heard).await.unwrap();
    assert_eq!(other.goodbye(), Goodbye::Said);
}

#[tokio::test]
async fn a_record_that_was_changed_ends_the_connection() {
    for suite in suites() {
        for at in [0, 1, 3, 5, 20] {
            let Tapped {
                mut theirs,
                mut far,
                mut near,
                mut ours,
            } = tapped(suite).await;
            theirs.write_all(b"to be changed").await.unwrap();
            theirs.flush().await.unwrap();
            let mut record = vec![0; 100];
            let len = far.read(&mut record).await.unwrap();
            record[at] ^= 0x41;
            near.write_all(&record[..len]).await.unwrap();
            near.shutdown().await.unwrap();
            let mut buf = [0; 100];
            let e = match ours.read(&mut buf).await {
                Err(e) => e,
                // A length that grew waits for what does not come.
                Ok(read) => {
                    assert_eq!((read, ours.goodbye()), (0, Goodbye::Unknown));
                    continue;
                }
            };
            // It stays that way, and is told.
            assert!(ours.read(&mut buf).await.is_err() && ours.write(&buf).await.is_err());
            let len = near.read(&mut record).await.unwrap();
            far.write_all(&record[..len]).await.unwrap();
            let told = theirs.read(&mut buf).await.unwrap_err();
            let told = tls_error(&told).unwrap().clone();
            assert!(
                matches!(told, Error::AlertReceived(_)),
                "{suite:?} {at}: {e}: {told}"
            );
        }
    }
}

#[tokio::test]
async fn what_does_not_belong_behind_a_handshake_is_refused() {
    const KEY_UPDATE: &[u8] = &[24, 0, 0, 1, 0];
    let unexpected = AlertDescription::UnexpectedMessage;
    let cases: [(_, ContentType, &[u8], _); 12] = [
        (true, ContentType::ChangeCipherSpec, &[1], unexpected),
        (true, ContentType::Handshake, &[2, 0, 0, 0], unexpected),
        (
            true,
            ContentType::Handshake,
            &[24, 0, 0, 1, 2],
            AlertDescription::IllegalParameter,
        ),
        (
            true,
            ContentType::Handshake,
            &[24, 0, 0, 1, 0, 4],
            unexpected,
        ),
        (
            true,
            ContentType::Handshake,
            &[24, 0, 0, 0],
            AlertDescription::IllegalParameter,
        ),
        (
            false,
            ContentType::Handshake,
            &[1, 1, 0, 0],
            AlertDescription::DecodeError,
        ),
        (true, ContentType::Handshake, &[4, 0, 0, 0], unexpected),
        (
            true,
            ContentType::Alert,
            &[1],
            AlertDescription::DecodeError,
        ),
        (true, ContentType::Unknown(77), &[1], unexpected),
        (false, ContentType::ChangeCipherSpec, &[1], unexpected),
        (false, ContentType::Handshake, KEY_UPDATE, unexpected),
        (
            false,
            ContentType::Alert,
            &[1, 2, 3],
            AlertDescription::DecodeError,
        ),
    ];
    for (is_tls13, typ, text, told) in cases {
        let suite = if is_tls13 { tls13() } else { tls12() };
        let (mut theirs, mut ours) = two_of_ours(suite).await;
        theirs.say(typ, text).await;
        let mut buf = [0; 10];
        let refused = ours.read(&mut buf).await.unwrap_err();
        assert!(tls_error(&refused).is_some());
        let heard = theirs.read(&mut buf).await.unwrap_err();
        let expected = Some(&Error::AlertReceived(told)).cloned();
        assert_eq!(tls_error(&heard).cloned(), expected, "{typ:?} {text:?}");
    }
}

#[tokio::test]
async fn nothing_comes_within_a_message() {
    let (mut theirs, mut ours) = two_of_ours(tls13()).await;
    theirs.say(ContentType::Handshake, &[24, 0, 0]).await;
    theirs.say(ContentType::ApplicationData, b"data").await;
    assert!(ours.read(&mut [0; 10]).await.is_err());
    // In two records it is one message.
    let (mut theirs, mut ours) = two_of_ours(tls12()).await;
    theirs.say(ContentType::Handshake, &[1, 0, 0]).await;
    theirs.say(ContentType::Handshake, &[1, 9]).await;
    pass(&mut theirs, &mut ours, b"data").await;
}

#[tokio::test]
async fn patience_has_an_end() {
    let misbehaved = |read: std::io::Result<usize>| {
        let Err(e) = read else { return None };
        match tls_error(&e) {
            Some(Error::PeerMisbehaved(how)) => Some(how.clone()),
            other => panic!("{other:?}"),
        }
    };
    // New keys again and again; ours are asked for with each.
    let (mut theirs, mut ours) = two_of_ours(tls13()).await;
    for _ in 0..33 {
        theirs.renew_now().await;
    }
    assert_eq!(
        misbehaved(ours.read(&mut [0; 10]).await),
        Some(PeerMisbehaved::TooManyKeyUpdateRequests)
    );
    // Another handshake: no, and no.
    let (mut theirs, mut ours) = two_of_ours(tls12()).await;
    theirs.say(ContentType::Handshake, &[1, 0, 0, 0]).await;
    pass(&mut theirs, &mut ours, b"goes on").await;
    theirs.say(ContentType::Handshake, &[1, 0, 0, 0]).await;
    assert_eq!(
        misbehaved(ours.read(&mut [0; 10]).await),
        Some(PeerMisbehaved::TooManyRenegotiationRequests)
    );
    // Nothing, again and again.
    for suite in suites() {
        let (mut theirs, mut ours) = two_of_ours(suite).await;
        for _ in 0..32 {
            theirs.say(ContentType::ApplicationData, b"").await;
        }
        pass(&mut theirs, &mut ours, b"goes on").await;
        for _ in 0..33 {
            theirs.say(ContentType::ApplicationData, b"").await;
        }
        assert_eq!(
            misbehaved(ours.read(&mut [0; 10]).await),
            Some(PeerMisbehaved::TooManyEmptyFragments)
        );
    }
    // Warnings.
    for suite in suites() {
        let (mut theirs, mut ours) = two_of_ours(suite).await;
        let user_canceled = [1, AlertDescription::UserCanceled.into()];
        for _ in 0..4 {
            theirs.say(ContentType::Alert, &user_canceled).await;
        }
        pass(&mut theirs, &mut ours, b"goes on").await;
        theirs.say(ContentType::Alert, &user_canceled).await;
        assert_eq!(
            misbehaved(ours.read(&mut [0; 10]).await),
            Some(PeerMisbehaved::TooManyWarningAlertsReceived)
        );
    }
}

#[tokio::test]
async fn data_right_behind_the_handshake_is_not_lost() {
    for suite in suites() {
        // Nothing is read before all of it is there: a wire that stops until both have written.
        let configs = configs(suite);
        let (near, far) = duplex(1 << 20);
        let accept = async {
            let (mut ours, ()) = server(Link::foreign(near), Vec::new(), configs.0, |_| ())
                .await
                .unwrap();
            let mut heard = Vec::new();
            ours.read_to_end(&mut heard).await.unwrap();
            assert_eq!(ours.goodbye(), Goodbye::Said);
            ours.write_all(b"answer").await.unwrap();
            ours.shutdown().await.unwrap();
            heard
        };
        let connect = async {
            let connect = TlsConnector::from(configs.1.clone());
            let mut theirs = connect.connect(name(), far).await.unwrap();
            if suite.tls13().is_some() {
                // New keys, and ours are asked for, before we know that the handshake is over.
                theirs.get_mut().1.refresh_traffic_keys().unwrap();
            }
            theirs.write_all(&[5; 50_000]).await.unwrap();
            theirs.shutdown().await.unwrap();
            let mut answer = Vec::new();
            theirs.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let (heard, answer) = tokio::join!(accept, connect);
        assert!(heard == [5; 50_000] && answer == b"answer", "{suite:?}");
    }
}

#[tokio::test]
async fn tickets_shorten_the_next_handshake() {
    for suite in suites() {
        let configs = configs(suite);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let (near, far) = duplex(1 << 16);
            let kind = |session: &CommonState| session.handshake_kind();
            let connect = client(Link::foreign(far), name(), configs.1.clone(), kind);
            let accept = server(Link::foreign(near), Vec::new(), configs.0.clone(), |_| ());
            let (theirs, ours) = tokio::join!(connect, accept);
            let ((mut theirs, kind), (mut ours, ())) = (theirs.unwrap(), ours.unwrap());
            pass(&mut ours, &mut theirs, b"behind the tickets").await;
            kinds.push(kind);
        }
        assert_eq!(
            kinds,
            [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)],
            "{suite:?}"
        );
    }
}

/// The client's first guess at a key is none of the server's, so it says hello twice.
#[tokio::test]
async fn another_hello_is_asked_for() {
    let configs = configs_with(tls13(), &[X25519], &[SECP256R1, X25519]);
    let (near, far) = duplex(1 << 16);
    let kind = |session: &CommonState| session.handshake_kind();
    let connect = client(Link::foreign(far), name(), configs.1, kind);
    let accept = server(Link::foreign(near), Vec::new(), configs.0, kind);
    let (theirs, ours) = tokio::join!(connect, accept);
    let ((mut theirs, of_client), (mut ours, of_server)) = (theirs.unwrap(), ours.unwrap());
    let twice = Some(HandshakeKind::FullWithHelloRetryRequest);
    assert_eq!((of_client, of_server), (twice, twice));
    pass(&mut theirs, &mut ours, b"question").await;
    pass(&mut ours, &mut theirs, b"answer").await;
}

#[tokio::test]
async fn a_flight_that_was_changed_ends_the_handshake() {
    let configs = configs(tls13());
    // Whatever byte it is, of either flight of the client's.
    for flight in 0..2 {
        let mut at = 0;
        loop {
            let (near, mut far) = duplex(1 << 16);
            let accept = server(Link::foreign(near), Vec::new(), configs.0.clone(), |_| ());
            let (mut wire, theirs) = duplex(1 << 16);
            let connect = client(Link::foreign(theirs), name(), configs.1.clone(), |_| ());
            let mut connect = std::pin::pin!(connect);
            let mut accept = std::pin::pin!(accept);
            let mut is_past = false;
            let mut buf = vec![0; 1 << 15];
            for turn in 0..=flight {
                if turn == 0 {
                    assert!(once(&mut connect).await.is_pending());
                }
                let len = wire.read(&mut buf).await.unwrap();
                if turn == flight {
                    is_past = at >= len;
                    buf[at.min(len - 1)] ^= 0x55;
                }
                far.write_all(&buf[..len]).await.unwrap();
                if turn < flight {
                    assert!(once(&mut accept).await.is_pending());
                    let len = far.read(&mut buf).await.unwrap();
                    wire.write_all(&buf[..len]).await.unwrap();
                    let _ = once(&mut connect).await;
                }
            }
            if is_past {
                break;
            }
            far.shutdown().await.unwrap();
            // It says no, or the client does when it sees what came of its hello. Nothing panics.
            let accepted = accept.await;
            assert!(flight == 0 || accepted.is_err(), "{at}");
            at += 3;
        }
    }
}

trait Other: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Other for S {}

async fn accept(config: Arc<ServerConfig>, ours: Ours, wire: DuplexStream) -> Box<dyn Other> {
    match ours {
        Ours::Client => Box::new(TlsAcceptor::from(config).accept(wire).await.unwrap()),
        Ours::Server | Ours::Both => {
            let accept = server(Link::foreign(wire), Vec::new(), config, |_| ());
            Box::new(accept.await.unwrap().0)
        }
    }
}

async fn connect(config: Arc<ClientConfig>, ours: Ours, wire: DuplexStream) -> Box<dyn Other> {
    match ours {
        Ours::Server => {
            let connect = TlsConnector::from(config).connect(name(), wire);
            Box::new(connect.await.unwrap())
        }
        Ours::Client | Ours::Both => {
            let connect = client(Link::foreign(wire), name(), config, |_| ());
            Box::new(connect.await.unwrap().0)
        }
    }
}

async fn two_of_ours(suite: SupportedCipherSuite) -> (Stream, Stream) {
    let configs = configs(suite);
    let (near, far) = duplex(1 << 20);
    let connect = client(Link::foreign(far), name(), configs.1, |_| ());
    let accept = server(Link::foreign(near), Vec::new(), configs.0, |_| ());
    let (theirs, ours) = tokio::join!(connect, accept);
    (theirs.unwrap().0, ours.unwrap().0)
}

/// Two of ours, and both ends of the wire between them, which carries nothing by itself.
struct Tapped {
    theirs: Stream,
    far: DuplexStream,
    near: DuplexStream,
    ours: Stream,
}

async fn tapped(suite: SupportedCipherSuite) -> Tapped {
    let configs = configs(suite);
    let (mut far, theirs) = duplex(1 << 20);
    let (mut near, ours) = duplex(1 << 20);
    let connect = client(Link::foreign(theirs), name(), configs.1, |_| ());
    let accept = server(Link::foreign(ours), Vec::new(), configs.0, |_| ());
    let mut shaken = std::pin::pin!(async { tokio::join!(connect, accept) });
    let (theirs, ours) = loop {
        if let Poll::Ready(shaken) = once(&mut shaken).await {
            break shaken;
        }
        carry(&mut far, &mut near).await;
        carry(&mut near, &mut far).await;
    };
    carry(&mut near, &mut far).await;
    let ((theirs, ()), (ours, ())) = (theirs.unwrap(), ours.unwrap());
    Tapped {
        theirs,
        far,
        near,
        ours,
    }
}

/// What is there now.
async fn carry(from: &mut DuplexStream, to: &mut DuplexStream) {
    let mut buf = vec![0; 1 << 16];
    while let Poll::Ready(len) = once(&mut std::pin::pin!(from.read(&mut buf))).await {
        let len = len.unwrap();
        to.write_all(&buf[..len]).await.unwrap();
    }
}

async fn once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    // A task that never pauses gets nothing more after a while.
    tokio::task::yield_now().await;
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

async fn echo(stream: impl AsyncRead + AsyncWrite) -> usize {
    let (mut reader, mut writer) = split(stream);
    let copied = tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    writer.shutdown().await.unwrap();
    copied.try_into().unwrap()
}

async fn send(stream: impl AsyncRead + AsyncWrite, text: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = split(stream);
    let mut answered = Vec::new();
    let send = async {
        writer.write_all(text).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let (_, answer) = tokio::join!(send, reader.read_to_end(&mut answered));
    answer.unwrap();
    answered
}

async fn pass(from: &mut (impl Other + ?Sized), to: &mut (impl Other + ?Sized), text: &[u8]) {
    let mut heard = vec![0; text.len()];
    let send = async {
        from.write_all(text).await.unwrap();
        from.flush().await.unwrap();
    };
    tokio::join!(send, async {
        to.read_exact(&mut heard).await.unwrap();
    });
    assert!(heard == text);
}

fn tls_error(e: &std::io::Error) -> Option<&Error> {
    e.get_ref().and_then(|e| e.downcast_ref())
}

fn name() -> ServerName<'static> {
    ServerName::try_from("a.test").unwrap()
}

fn suites() -> Vec<SupportedCipherSuite> {
    let provider = super::super::PROVIDER.clone();
    let is_ecdsa = |suite: &&SupportedCipherSuite| {
        suite.tls13().is_some() || format!("{:?}", suite.suite()).contains("ECDSA")
    };
    let suites = provider.cipher_suites.iter().filter(is_ecdsa);
    let suites: Vec<_> = suites.copied().collect();
    assert_eq!(suites.len(), 6);
    suites
}

fn tls13() -> SupportedCipherSuite {
    suites()[0]
}

fn tls12() -> SupportedCipherSuite {
    suites()[3]
}

/// Both sides with this suite alone.
fn configs(suite: SupportedCipherSuite) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let groups = &super::super::PROVIDER.kx_groups;
    configs_with(suite, groups, groups)
}

/// As [`configs`], with the groups of the server and of the client.
fn configs_with(
    suite: SupportedCipherSuite,
    of_server: &[&'static dyn SupportedKxGroup],
    of_client: &[&'static dyn SupportedKxGroup],
) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let mut provider = (**super::super::PROVIDER).clone();
    provider.cipher_suites = vec![suite];
    let provider = |groups: &[&'static dyn SupportedKxGroup]| {
        let kx_groups = groups.to_vec();
        Arc::new(CryptoProvider {
            kx_groups,
            ..provider.clone()
        })
    };
    let der = certificate.der().clone();
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der());
    let mut server = ServerConfig::builder_with_provider(provider(of_server))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], key.unwrap())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(der).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider(of_client))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    server.enable_secret_extraction = true;
    client.enable_secret_extraction = true;
    (Arc::new(server), Arc::new(client))
}
