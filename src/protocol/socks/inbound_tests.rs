//! The server, over pipes in memory.

use super::*;
use crate::io::Link;
use crate::policy::{Level, Policy};
use crate::protocol::accounts::Account;
use hex_literal::hex;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::task::JoinHandle;

/// Bytes as V2Ray 4.34 answers them, local address included.
#[tokio::test]
async fn a_connect_is_granted_at_once_and_the_payload_behind_it_is_kept() {
    let (mut client, accepted) = start(InboundSettings::default());
    let hello = hex!("05 01 00  05 01 00 03 0b 6578616d706c652e636f6d 01bb");
    client.write_all(&hello).await.unwrap();
    client.write_all(b"payload").await.unwrap();
    expect(&mut client, &hex!("05 00  05 00 00 01 7f000001 0438")).await;
    let (user, to, mut link) = stream(accepted).await;
    assert!(user.is_none());
    assert_eq!(to, "example.com:443");
    drop(client);
    let mut payload = Vec::new();
    link.read_to_end(&mut payload).await.unwrap();
    assert_eq!(payload, b"payload");
}

#[tokio::test]
async fn a_right_password_names_the_user_and_a_wrong_one_ends_it() {
    let (mut client, accepted) = start(with_password());
    client
        .write_all(&hex!("05 02 00 02  01 01 61 01 62"))
        .await
        .unwrap();
    client
        .write_all(&hex!("05 01 00 01 01020304 0050"))
        .await
        .unwrap();
    expect(
        &mut client,
        &hex!("05 02  01 00  05 00 00 01 7f000001 0438"),
    )
    .await;
    let (user, to, _link) = stream(accepted).await;
    assert_eq!((user.as_deref(), &*to), (Some("a"), "1.2.3.4:80"));

    let (mut client, accepted) = start(with_password());
    client
        .write_all(&hex!("05 01 02  01 01 61 01 63"))
        .await
        .unwrap();
    expect(&mut client, &hex!("05 02  01 ff")).await;
    assert_eq!(refusal(accepted).await, "wrong user or password");
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

/// Bytes as a gost has sent them and wants them.
#[tokio::test]
async fn datagrams_travel_inside_the_connection_where_that_is_wanted() {
    let (mut client, accepted) = start(InboundSettings {
        udp_tunnel: true,
        ..InboundSettings::default()
    });
    let hello = hex!("05 01 00  05 f3 00 01 00000000 0000");
    let datagram = hex!("0005 ff 01 7f000001 0035 68656c6c6f");
    client.write_all(&hello).await.unwrap();
    client.write_all(&datagram).await.unwrap();
    expect(&mut client, &hex!("05 00  05 00 00 01 00000000 0000")).await;
    let Ok(Accepted::Packets { mut packets, .. }) = accepted.await.unwrap() else {
        panic!("datagrams");
    };
    let packet = std::future::poll_fn(|cx| packets.poll_recv(cx)).await;
    let packet = packet.unwrap().expect("a datagram");
    assert_eq!(
        (packet.peer.to_string(), &*packet.data),
        ("127.0.0.1:53".to_owned(), &b"hello"[..])
    );
    std::future::poll_fn(|cx| packets.poll_send(cx, &packet))
        .await
        .unwrap();
    expect(&mut client, &datagram).await;

    let (mut client, accepted) = start(InboundSettings {
        udp: true,
        ..InboundSettings::default()
    });
    client.write_all(&hello).await.unwrap();
    expect(&mut client, &hex!("05 00  05 07 00 01 00000000 0000")).await;
    assert!(refusal(accepted).await.contains("0xf3"));
}

#[tokio::test]
async fn socks_4_and_4a_are_granted_without_a_password_only() {
    let asked = hex!("04 01 0050 00000001 626f62 00 6578616d706c652e636f6d 00");
    let (mut client, accepted) = start(InboundSettings::default());
    client.write_all(&asked).await.unwrap();
    expect(&mut client, &hex!("00 5a 0000 00000000")).await;
    assert_eq!(stream(accepted).await.1, "example.com:80");

    let (mut client, accepted) = start(with_password());
    client.write_all(&asked).await.unwrap();
    expect(&mut client, &hex!("00 5b 0000 00000000")).await;
    assert_eq!(
        refusal(accepted).await,
        "SOCKS 4 has no passwords, and no account without one is called so"
    );
}

#[tokio::test]
async fn a_user_id_of_socks_4_stands_for_an_account_without_a_password() {
    let account = |user: &str, pass: &str| Account {
        user: user.to_owned(),
        pass: pass.to_owned().into(),
        level: 0,
    };
    let settings = || InboundSettings {
        accounts: Some(vec![account("bob", ""), account("ann", "x")]),
        ..InboundSettings::default()
    };
    let (mut client, accepted) = start(settings());
    let asked = hex!("04 01 0050 01020304 626f62 00");
    client.write_all(&asked).await.unwrap();
    expect(&mut client, &hex!("00 5a 0000 00000000")).await;
    let (user, to, _link) = stream(accepted).await;
    assert_eq!((user.as_deref(), &*to), (Some("bob"), "1.2.3.4:80"));

    for id in [&hex!("616e6e")[..], b""] {
        let (mut client, accepted) = start(settings());
        let asked = [&hex!("04 01 0050 01020304"), id, &[0]].concat();
        client.write_all(&asked).await.unwrap();
        expect(&mut client, &hex!("00 5b 0000 00000000")).await;
        refusal(accepted).await;
    }
}

#[tokio::test]
async fn an_inbound_of_one_version_takes_no_other() {
    let of_4 = hex!("04 01 0050 01020304 00");
    let of_5 = hex!("05 01 00");
    for (taken, others) in [
        (Taken::Four, [&of_5[..], b"GET / HTTP/1.1\r\n\r\n"]),
        (Taken::Five, [&of_4[..], b"CONNECT a:1 HTTP/1.1\r\n\r\n"]),
    ] {
        for said in others {
            let (mut client, accepted) = start(InboundSettings {
                taken,
                ..InboundSettings::default()
            });
            client.write_all(said).await.unwrap();
            assert!(refusal(accepted).await.contains("of the version"));
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"");
        }
    }
}

#[tokio::test]
async fn refusals_have_the_bytes_of_v2ray_and_a_reason() {
    let cases: [(InboundSettings, &[u8], &[u8], &str); 8] = [
        (
            InboundSettings::default(),
            &hex!("05 01 02"),
            &hex!("05 ff"),
            "the client does not offer to go without a password",
        ),
        (
            with_password(),
            &hex!("05 01 00"),
            &hex!("05 ff"),
            "the client offers no user and password, `auth` asks for one",
        ),
        (
            with_udp(),
            &hex!("05 01 00  05 02 00 01 7f000001 0050"),
            &hex!("05 00  05 07 00 01 00000000 0000"),
            "BIND is not supported",
        ),
        (
            InboundSettings::default(),
            &hex!("05 01 00  05 03 00 01 00000000 0000"),
            &hex!("05 00  05 07 00 01 00000000 0000"),
            "UDP is asked for, and `udp` is off",
        ),
        (
            InboundSettings::default(),
            &hex!("05 01 00  05 01 00 09 00000000 0000"),
            &hex!("05 00  05 08 00 01 00000000 0000"),
            "address type 0x09 is unknown",
        ),
        (
            InboundSettings::default(),
            &hex!("04 02 0050 7f000001 00"),
            &hex!("00 5b 0000 00000000"),
            "BIND is not supported",
        ),
        (
            InboundSettings::default(),
            b"\x16\x03\x01",
            b"",
            "version 0x16 is not SOCKS 4 or 5: this looks like TLS: is `security: tls` missing here, or too much at the client?",
        ),
        (
            InboundSettings::default(),
            b"\x01\0\0\0\x03\0\0\0",
            b"",
            "version 0x01 is not SOCKS 4 or 5: this looks like smux: does the client multiplex (`mws`, `mwss`), and nothing here?",
        ),
    ];
    for (settings, said, answer, reason) in cases {
        let (mut client, accepted) = start(settings);
        client.write_all(said).await.unwrap();
        assert_eq!(refusal(accepted).await, reason);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, answer, "{reason}");
    }
}

#[tokio::test]
async fn a_trickle_does_not_stretch_the_handshake() {
    let limit = Duration::from_millis(50);
    let (mut client, accepted) = start_within(limit, InboundSettings::default());
    for byte in [5].into_iter().chain([200; 100]) {
        let _ = client.write_all(&[byte]).await;
        tokio::time::sleep(limit / 10).await;
        if accepted.is_finished() {
            break;
        }
    }
    assert_eq!(refusal(accepted).await, "no SOCKS request within 50ms");
}

#[tokio::test]
async fn an_association_serves_the_first_port_of_its_client_and_ends_with_the_connection() {
    let (mut client, accepted) = start(with_udp());
    let asked = hex!("05 01 00  05 03 00 01 00000000 0000");
    client.write_all(&asked).await.unwrap();
    expect(&mut client, &hex!("05 00  05 00 00 01 7f000001")).await;
    let port = client.read_u16().await.unwrap();
    let Ok(Accepted::Packets { mut packets, .. }) = accepted.await.unwrap() else {
        panic!("no packets");
    };

    let app = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = ("127.0.0.1", port);
    app.send_to(&hex!("0000 01 01 08080808 0035 66"), at)
        .await
        .unwrap();
    app.send_to(&hex!("0000 00 01 08080808 0035 61"), at)
        .await
        .unwrap();
    let mut recv = async || {
        std::future::poll_fn(|cx| packets.poll_recv(cx))
            .await
            .unwrap()
    };
    let packet = recv().await.unwrap();
    assert_eq!(
        (packet.peer.to_string(), &*packet.data),
        ("8.8.8.8:53".to_owned(), &b"a"[..])
    );
    stranger
        .send_to(&hex!("0000 00 01 08080808 0035 62"), at)
        .await
        .unwrap();
    app.send_to(&hex!("0000 00 03 01 78 0035 63"), at)
        .await
        .unwrap();
    let packet = recv().await.unwrap();
    assert_eq!(
        (packet.peer.to_string(), &*packet.data),
        ("x:53".to_owned(), &b"c"[..])
    );

    std::future::poll_fn(|cx| packets.poll_send(cx, &packet))
        .await
        .unwrap();
    let mut answer = [0; 32];
    let n = app.recv(&mut answer).await.unwrap();
    assert_eq!(answer[..n], hex!("0000 00 03 01 78 0035 63"));

    drop(client);
    let end = std::future::poll_fn(|cx| packets.poll_recv(cx))
        .await
        .unwrap();
    assert!(end.is_none());
}

#[tokio::test]
async fn udp_clients_are_told_the_configured_address() {
    let (mut client, _accepted) = start(InboundSettings {
        udp_ip: Some(Host::Ip("192.0.2.1".parse().unwrap())),
        ..with_udp()
    });
    let asked = hex!("05 01 00  05 03 00 01 00000000 0000");
    client.write_all(&asked).await.unwrap();
    expect(&mut client, &hex!("05 00  05 00 00 01 c0000201")).await;
}

#[tokio::test]
async fn http_comes_in_by_the_same_port_with_the_same_accounts() {
    let (mut client, accepted) = start(InboundSettings::default());
    let connect = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n";
    client.write_all(connect).await.unwrap();
    expect(&mut client, b"HTTP/1.1 200").await;
    let (user, to, _link) = stream(accepted).await;
    assert_eq!((user, &*to), (None, "example.com:443"));

    let (mut client, accepted) = start(with_password());
    client.write_all(connect).await.unwrap();
    expect(&mut client, b"HTTP/1.1 407").await;
    drop(client);
    refusal(accepted).await;

    let (mut client, accepted) = start(with_password());
    let named = b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic YTpi\r\n\r\n";
    client.write_all(named).await.unwrap();
    expect(&mut client, b"HTTP/1.1 200").await;
    assert_eq!(stream(accepted).await.0.as_deref(), Some("a"));
}

fn with_password() -> InboundSettings {
    let account = Account {
        user: "a".to_owned(),
        pass: "b".to_owned().into(),
        level: 0,
    };
    InboundSettings {
        accounts: Some(vec![account]),
        ..InboundSettings::default()
    }
}

fn with_udp() -> InboundSettings {
    InboundSettings {
        udp: true,
        ..InboundSettings::default()
    }
}

type Waiting = JoinHandle<Result<Accepted, Refusal>>;

/// An inbound with `settings` on 127.0.0.1:1080, and its client.
fn start(settings: InboundSettings) -> (DuplexStream, Waiting) {
    start_within(Level::default().handshake, settings)
}

fn start_within(limit: Duration, settings: InboundSettings) -> (DuplexStream, Waiting) {
    let inbound = Inbound::new(InboundSettings {
        grant: Grant::AtOnce,
        ..settings
    });
    let (client, server) = tokio::io::duplex(4096);
    let ip = |port| Source::Ip(SocketAddr::from(([127, 0, 0, 1], port)));
    let arrival = Arrival {
        link: Link::other(server),
        source: ip(50_000),
        local: ip(1080),
        original_dst: None,
        tls: None,
        since: tokio::time::Instant::now(),
    };
    let level = Level {
        handshake: limit,
        ..Level::default()
    };
    let context = InboundContext {
        policy: Arc::new(Policy {
            levels: [(0, level)].into(),
            ..Policy::default()
        }),
        ..InboundContext::default()
    };
    let accepted = crate::io::spawn(async move { inbound.accept(arrival, &context).await });
    (client, accepted)
}

async fn expect(client: &mut DuplexStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(got, bytes);
}

async fn stream(accepted: Waiting) -> (Option<String>, String, Link) {
    match accepted.await.unwrap() {
        Ok(Accepted::Stream { user, to, link, .. }) => {
            (user.and_then(|u| u.email.clone()), to.to_string(), link)
        }
        Ok(_) => panic!("not a stream"),
        Err(refusal) => panic!("{refusal:?}"),
    }
}

async fn refusal(accepted: Waiting) -> String {
    match accepted.await.unwrap() {
        Err(refusal) => refusal.cause.to_string(),
        other => panic!("accepted: {}", other.is_ok()),
    }
}
