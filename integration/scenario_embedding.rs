//! mobula inside another program.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mobula::config::{Config, Inbound, Listen, Outbound};
use mobula::protocol::servers::ServerSettings;
use mobula::protocol::{InboundSettings, OutboundSettings, freedom, socks, vmess};
use mobula::transport::{self, ClientCarrier, ServerCarrier, ws};
use mobula::{Server, StartError};
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use crate::traffic::{self, To};

const ID: Uuid = Uuid::from_u128(0x2784_7b2f_fc3b_4b4e_a1f4_5c9a_1d2e_3f40);

/// Both ends written down as values; they share a process and nothing else.
#[tokio::test]
async fn two_services_in_one_process_come_and_go_by_themselves() {
    let far = Server::start(far_end()).expect("the far end starts");
    let (_, at) = far.addresses()[0];
    let near = Server::start(near_end(at)).expect("the near end starts");
    let (_, socks) = near.addresses()[0];
    let other = Server::start(direct()).expect("a third one starts");
    let (_, direct) = other.addresses()[0];

    let echo = To::Ip(traffic::echo().await);
    traffic::word(socks.port(), &echo).await;
    let mut tunnel = traffic::connect(socks.port(), &echo)
        .await
        .expect("connects");
    traffic::exchange(&mut tunnel, b"before").await;
    let mut beside = traffic::connect(direct.port(), &echo)
        .await
        .expect("connects");
    traffic::exchange(&mut beside, b"before").await;

    let began = Instant::now();
    far.stop(Duration::from_millis(300)).await;
    assert!(began.elapsed() < Duration::from_secs(2));
    let end = tokio::time::timeout(Duration::from_secs(5), tunnel.read(&mut [0; 1])).await;
    assert!(
        matches!(end, Ok(Ok(0) | Err(_))),
        "its tunnel is over: {end:?}"
    );
    assert!(
        std::net::TcpStream::connect(at).is_err(),
        "nobody listens there"
    );
    // The others have not felt it.
    traffic::exchange(&mut beside, b"after").await;
    assert!(std::net::TcpStream::connect(socks).is_ok());

    drop(near);
    let deadline = Instant::now() + Duration::from_secs(5);
    while std::net::TcpStream::connect(socks).is_ok() {
        assert!(Instant::now() < deadline, "a dropped service listens on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    traffic::exchange(&mut beside, b"still").await;
    other.stop(Duration::ZERO).await;
}

#[test]
fn what_is_wrong_is_told_in_full() {
    let Err(StartError::Config(mistakes)) =
        Server::from_json(r#"{"inbounds": [{"port": 70000, "protocol": "sock"}]}"#)
    else {
        panic!("that cannot start");
    };
    let text: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 2, "{text:?}");
    assert!(
        text.iter()
            .any(|line| line.contains("did you mean `socks`?")),
        "{text:?}"
    );
    let taken = crate::peers::listener();
    let mut config = direct();
    let port = taken.local_addr().expect("it has an address").port();
    config.inbounds[0].ports = vec![port.into()];
    let error = Server::start(config).err().expect("the port is taken");
    assert!(
        error.to_string().contains("address already in use"),
        "{error}"
    );
    let source = std::error::Error::source(&error);
    assert!(source.is_some(), "the system's own error is kept");
}

fn far_end() -> Config {
    let user = vmess::UserSettings {
        id: ID.into(),
        ..vmess::UserSettings::default()
    };
    let vmess = InboundSettings::Vmess(vmess::InboundSettings {
        users: vec![user],
        ..Default::default()
    });
    let mut inbound = inbound(vmess);
    inbound.transport.carrier = ServerCarrier::Ws(ws::ServerSettings {
        path: "/ray".to_owned(),
        ..ws::ServerSettings::default()
    });
    Config {
        inbounds: vec![inbound],
        outbounds: vec![outbound(OutboundSettings::Freedom(
            freedom::OutboundSettings::default(),
        ))],
        ..Config::default()
    }
}

fn near_end(to: SocketAddr) -> Config {
    let account = vmess::AccountSettings {
        id: ID.into(),
        ..vmess::AccountSettings::default()
    };
    let server = ServerSettings {
        to: to.into(),
        accounts: vec![account],
    };
    let vmess = OutboundSettings::Vmess(vmess::OutboundSettings {
        servers: vec![server],
    });
    let mut outbound = outbound(vmess);
    outbound.transport.carrier = ClientCarrier::Ws(ws::ClientSettings {
        path: "/ray".to_owned(),
        ..ws::ClientSettings::default()
    });
    Config {
        outbounds: vec![outbound],
        ..direct()
    }
}

/// A SOCKS proxy.
fn direct() -> Config {
    let socks = InboundSettings::Socks(socks::InboundSettings::default());
    Config {
        inbounds: vec![inbound(socks)],
        ..Config::default()
    }
}

fn inbound(protocol: InboundSettings) -> Inbound {
    Inbound {
        at: Default::default(),
        name: "the inbound".to_owned(),
        tag: None,
        listen: Listen::Ip(Ipv4Addr::LOCALHOST.into()),
        ports: vec![0.into()],
        transport: transport::ServerSettings::default(),
        protocol,
        sniffing: None,
        limits: Default::default(),
        beside: Vec::new(),
    }
}

fn outbound(protocol: OutboundSettings) -> Outbound {
    Outbound {
        at: Default::default(),
        name: "the outbound".to_owned(),
        tag: None,
        transport: transport::ClientSettings::default(),
        protocol,
        through: None,
        strategy: Default::default(),
        must_resolve: false,
        mux: None,
        plugin_mux: None,
    }
}
