use super::*;
use crate::dialect::messages::{MessageError, inbound as read_inbound, outbound as read_outbound};
use crate::protocol::{InboundSettings, OutboundSettings};
use crate::transport::{ClientCarrier, ServerCarrier};
use crate::wire::common::protocol::User;
use crate::wire::common::serial::TypedMessage;
use crate::wire::proxy as shared;
use crate::wire::transport::internet::TransportConfig;
use crate::wire::typed::seal_xray;
use crate::wire::xray::app::proxyman::SniffingConfig;
use crate::wire::xray::common::net::PortList;
use crate::wire::xray::proxy;
use crate::wire::xray::transport::internet::{SocketConfig, StreamConfig, tls, websocket};
use std::collections::HashMap;

const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

fn receiver() -> ReceiverConfig {
    let range = |from, to| crate::wire::common::net::PortRange { from, to };
    ReceiverConfig {
        port_list: Some(PortList {
            range: vec![range(1, 2), range(5, 5)],
        }),
        ..ReceiverConfig::default()
    }
}

fn inbound_of(receiver: &ReceiverConfig, proxy: TypedMessage) -> InboundHandlerConfig {
    InboundHandlerConfig {
        tag: "in".to_owned(),
        receiver_settings: Some(seal_xray("app.proxyman.ReceiverConfig", receiver)),
        proxy_settings: Some(proxy),
    }
}

fn outbound_of(sender: &SenderConfig, proxy: TypedMessage) -> OutboundHandlerConfig {
    OutboundHandlerConfig {
        tag: "out".to_owned(),
        sender_settings: Some(seal_xray("app.proxyman.SenderConfig", sender)),
        proxy_settings: Some(proxy),
        ..OutboundHandlerConfig::default()
    }
}

fn vless_user() -> User {
    let account = proxy::vless::Account {
        id: ID.to_owned(),
        ..Default::default()
    };
    User {
        email: "ann".to_owned(),
        account: Some(seal_xray("proxy.vless.Account", &account)),
        level: 0,
    }
}

fn ws(config: &websocket::Config) -> StreamConfig {
    StreamConfig {
        protocol_name: "websocket".to_owned(),
        transport_settings: vec![TransportConfig {
            protocol_name: "websocket".to_owned(),
            settings: Some(seal_xray("transport.internet.websocket.Config", config)),
            ..Default::default()
        }],
        ..StreamConfig::default()
    }
}

fn told<T>(read: Result<T, MessageError>) -> String {
    read.err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn an_inbound_has_several_ports_and_a_websocket_with_xrays_keys() {
    let config = websocket::Config {
        path: "/ray?ed=2048".to_owned(),
        header: HashMap::from([("X-Of".to_owned(), "panel".to_owned())]),
        heartbeat_period: 7,
        ..Default::default()
    };
    let receiver = ReceiverConfig {
        listen: Some(IpOrDomain {
            address: Some(Address::Ip(vec![127, 0, 0, 1])),
        }),
        stream_settings: Some(StreamConfig {
            socket_settings: Some(SocketConfig {
                accept_proxy_protocol: true,
                v6only: true,
                ..Default::default()
            }),
            ..ws(&config)
        }),
        sniffing_settings: Some(SniffingConfig {
            enabled: true,
            destination_override: vec!["http".to_owned(), "fakedns".to_owned()],
            route_only: true,
            ..Default::default()
        }),
        ..receiver()
    };
    let vless = proxy::vless::inbound::Config {
        users: vec![vless_user()],
        decryption: "none".to_owned(),
        ..Default::default()
    };
    let message = inbound_of(&receiver, seal_xray("proxy.vless.inbound.Config", &vless));
    let inbound = read_inbound(&message).unwrap();
    assert_eq!(inbound.listen, Listen::Ip([127, 0, 0, 1].into()));
    assert_eq!(inbound.ports.len(), 2);
    assert!(inbound.transport.accept_proxy_protocol && inbound.transport.sockopt.v6_only);
    let ServerCarrier::Ws(ws) = &inbound.transport.carrier else {
        panic!("{:?}", inbound.transport.carrier);
    };
    assert_eq!(
        (ws.path.as_str(), &ws.headers["x-of"]),
        ("/ray", &"panel".parse().unwrap())
    );
    assert_eq!(ws.heartbeat.unwrap().as_secs(), 7);
    assert!(inbound.sniffing.unwrap().route_only);
    let InboundSettings::Vless(vless) = inbound.protocol else {
        panic!("{:?}", inbound.protocol);
    };
    assert_eq!(vless.users[0].email.as_deref(), Some("ann"));
}

#[test]
fn a_vless_inbound_of_before_2025_is_read_by_its_numbers() {
    let old = shared::vless::inbound::Config {
        clients: vec![vless_user()],
        decryption: "none".to_owned(),
        ..Default::default()
    };
    let message = inbound_of(&receiver(), seal_xray("proxy.vless.inbound.Config", &old));
    assert!(matches!(
        read_inbound(&message).unwrap().protocol,
        InboundSettings::Vless(vless) if vless.users.len() == 1
    ));
    let fallbacks = proxy::vless::inbound::Config {
        fallbacks: vec![Default::default()],
        ..Default::default()
    };
    let message = inbound_of(
        &receiver(),
        seal_xray("proxy.vless.inbound.Config", &fallbacks),
    );
    assert_eq!(
        told(read_inbound(&message)),
        "fallbacks[0].dest: `` leads nowhere, expected a port, `HOST:PORT`, `/path/of/socket` or `@name`"
    );
}

#[test]
fn a_unix_socket_needs_no_port() {
    for (name, listen) in [
        ("/run/x.sock,0666", Listen::Unix("/run/x.sock,0666".into())),
        ("@name", Listen::Abstract(b"name".to_vec())),
    ] {
        let address = Some(Address::Domain(name.to_owned()));
        let receiver = ReceiverConfig {
            port_list: None,
            listen: Some(IpOrDomain { address }),
            ..receiver()
        };
        let settings = shared::http::ServerConfig::default();
        let message = inbound_of(&receiver, seal_xray("proxy.http.ServerConfig", &settings));
        assert_eq!(read_inbound(&message).unwrap().listen, listen);
    }
}

#[test]
fn an_outbound_has_what_v2rays_has_no_field_for() {
    let config = websocket::Config {
        host: "cdn.example".to_owned(),
        path: "/ray".to_owned(),
        ed: 2048,
        ..Default::default()
    };
    let sender = SenderConfig {
        stream_settings: Some(StreamConfig {
            security_type: "xray.transport.internet.tls.Config".to_owned(),
            security_settings: vec![seal_xray(
                "transport.internet.tls.Config",
                &tls::Config {
                    server_name: "a.example".to_owned(),
                    min_version: "1.3".to_owned(),
                    pinned_peer_cert_sha256: vec![vec![7; 32]],
                    verify_peer_cert_by_name: vec!["b.example".to_owned()],
                    fingerprint: "chrome".to_owned(),
                    ..Default::default()
                },
            )],
            socket_settings: Some(SocketConfig {
                mark: 255,
                tfo: -1,
                dialer_proxy: "other".to_owned(),
                domain_strategy: DomainStrategy::ForceIp64.into(),
                tcp_congestion: "bbr".to_owned(),
                ..Default::default()
            }),
            ..ws(&config)
        }),
        multiplex_settings: Some(MultiplexingConfig {
            enabled: true,
            concurrency: -1,
            xudp_concurrency: 16,
            xudp_proxy_udp443: "reject".to_owned(),
        }),
        target_strategy: DomainStrategy::UseIp4.into(),
        ..SenderConfig::default()
    };
    let vnext = crate::wire::common::protocol::ServerEndpoint {
        address: Some(IpOrDomain {
            address: Some(Address::Domain("a.example".to_owned())),
        }),
        port: 443,
        user: vec![vless_user()],
    };
    let vless = shared::vless::outbound::Config { vnext: vec![vnext] };
    let message = outbound_of(&sender, seal_xray("proxy.vless.outbound.Config", &vless));
    let outbound = read_outbound(&message).unwrap();
    assert_eq!(outbound.through.unwrap().tag.as_ref(), "other");
    assert_eq!(outbound.strategy, Strategy::UseIpv4);
    let mux = outbound.mux.unwrap();
    assert_eq!((mux.concurrency, mux.udp), (None, Udp::Xudp(Some(16))));
    assert_eq!(mux.udp_443, Udp443::Reject);
    let transport = outbound.transport;
    assert_eq!(transport.sockopt.strategy, Strategy::PreferIpv6);
    assert_eq!(transport.sockopt.tcp.congestion.as_deref(), Some("bbr"));
    let tls = transport.security.unwrap();
    assert_eq!(tls.versions, crate::transport::tls::Versions::Only13);
    assert_eq!(
        (tls.certificate_pins, tls.verify_names.len()),
        (vec![[7; 32]], 1)
    );
    let ClientCarrier::Ws(ws) = transport.carrier else {
        panic!("{:?}", transport.carrier);
    };
    assert_eq!(ws.host.unwrap(), "cdn.example");
    assert_eq!(ws.early_data.unwrap().max, 2048);
    assert_eq!(ws.heartbeat, None);
}

/// Whatever would change where traffic goes, or who can read it.
#[test]
fn what_is_not_built_is_refused_with_its_place() {
    let freedom = |config: &proxy::freedom::Config| {
        let proxy = seal_xray("proxy.freedom.Config", config);
        told(read_outbound(&outbound_of(&SenderConfig::default(), proxy)))
    };
    let noisy = proxy::freedom::Config {
        fragment: Some(Default::default()),
        proxy_protocol: 3,
        ..Default::default()
    };
    let said = freedom(&noisy);
    assert!(
        said.contains("length_min: expected at least one byte"),
        "{said}"
    );
    assert!(
        said.contains("proxy_protocol: no version 3 of the PROXY protocol is known"),
        "{said}"
    );
    let door = proxy::dokodemo::Config {
        port_map: [("0".to_owned(), "a:1".to_owned())].into(),
        ..Default::default()
    };
    let message = inbound_of(&receiver(), seal_xray("proxy.dokodemo.Config", &door));
    assert_eq!(
        told(read_inbound(&message)),
        "port_map.0: `0` is not a port, expected one from 1 to 65535"
    );

    let stream = |stream: StreamConfig| {
        let sender = SenderConfig {
            stream_settings: Some(stream),
            ..SenderConfig::default()
        };
        let proxy = seal_xray("proxy.freedom.Config", &proxy::freedom::Config::default());
        told(read_outbound(&outbound_of(&sender, proxy)))
    };
    let masked = StreamConfig {
        tcpmasks: vec![TypedMessage::default()],
        ..StreamConfig::default()
    };
    assert!(stream(masked).contains("disguises of the wire are not built"));
    let reality = StreamConfig {
        security_type: "xray.transport.internet.reality.Config".to_owned(),
        ..StreamConfig::default()
    };
    let said = stream(reality);
    assert!(
        said.contains("the security `transport.internet.reality.Config` is not built"),
        "{said}"
    );
    let kcp = StreamConfig {
        protocol_name: "mkcp".to_owned(),
        ..StreamConfig::default()
    };
    assert!(stream(kcp).contains("the transport `mkcp` is not built"));
    let hidden = StreamConfig {
        security_type: "xray.transport.internet.tls.Config".to_owned(),
        security_settings: vec![seal_xray(
            "transport.internet.tls.Config",
            &tls::Config {
                ech_config_list: "AAAA".to_owned(),
                ..Default::default()
            },
        )],
        ..StreamConfig::default()
    };
    assert!(stream(hidden).contains("Encrypted Client Hello is not built"));

    let reverse = proxy::vless::Account {
        id: ID.to_owned(),
        reverse: Some(Default::default()),
        ..Default::default()
    };
    let vless = proxy::vless::inbound::Config {
        users: vec![User {
            account: Some(seal_xray("proxy.vless.Account", &reverse)),
            ..User::default()
        }],
        ..Default::default()
    };
    let message = inbound_of(&receiver(), seal_xray("proxy.vless.inbound.Config", &vless));
    let said = told(read_inbound(&message));
    assert!(
        said.starts_with("users[0].account.reverse") || said.contains("account.reverse: "),
        "{said}"
    );
    let strange = inbound_of(
        &receiver(),
        seal_xray("proxy.wireguard.DeviceConfig", &vless),
    );
    assert_eq!(
        told(read_inbound(&strange)),
        "proxy_settings: the inbound protocol of `proxy.wireguard.DeviceConfig` is not built"
    );
    let trojan = proxy::trojan::ServerConfig {
        fallbacks: vec![Default::default()],
        ..Default::default()
    };
    let message = inbound_of(&receiver(), seal_xray("proxy.trojan.ServerConfig", &trojan));
    assert_eq!(
        told(read_inbound(&message)),
        "fallbacks[0].dest: `` leads nowhere, expected a port, `HOST:PORT`, `/path/of/socket` or `@name`"
    );
    let nowhere = inbound_of(
        &ReceiverConfig::default(),
        seal_xray(
            "proxy.http.ServerConfig",
            &shared::http::ServerConfig::default(),
        ),
    );
    assert_eq!(told(read_inbound(&nowhere)), "port_list: it is missing");
}

#[test]
fn two_words_for_one_chain_must_agree() {
    let sender = |proxy: &str, dialer: &str| SenderConfig {
        proxy_settings: Some(crate::wire::transport::internet::ProxyConfig {
            tag: proxy.to_owned(),
            transport_layer_proxy: false,
        }),
        stream_settings: Some(StreamConfig {
            socket_settings: Some(SocketConfig {
                dialer_proxy: dialer.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..SenderConfig::default()
    };
    let read = |proxy, dialer| {
        let settings = seal_xray(
            "proxy.blackhole.Config",
            &shared::blackhole::Config::default(),
        );
        read_outbound(&outbound_of(&sender(proxy, dialer), settings))
    };
    for (proxy, dialer) in [("a", ""), ("", "a"), ("a", "a")] {
        let outbound = read(proxy, dialer).unwrap();
        assert_eq!(outbound.through.unwrap().tag.as_ref(), "a");
        assert!(matches!(outbound.protocol, OutboundSettings::Blackhole(_)));
    }
    assert!(told(read("a", "b")).contains("expected one of the two"));
}
