use std::time::Duration;

use ::http::HeaderName;
use ::http::header::SEC_WEBSOCKET_PROTOCOL;
use prost::Message as _;

use super::*;
use crate::config::Listen;
use crate::http::{EarlyData, EarlyDataIn};
use crate::transport::httpupgrade::{self, EarlyHeader};
use crate::transport::tcp::UnixSocket;
use crate::transport::{ClientCarrier, ServerCarrier};
use crate::wire::app::proxyman::MultiplexingConfig;
use crate::wire::common::net::PortRange;
use crate::wire::common::protocol::{SecurityConfig, SecurityType, ServerEndpoint, User};
use crate::wire::proxy::{dokodemo, freedom, http, socks, trojan, vless, vmess};
use crate::wire::transport::internet::{
    ProxyConfig, SocketConfig, StreamConfig, TransportConfig, domainsocket,
    headers::http as header_http, httpupgrade as xray_upgrade,
    request::httpupgrade as v2ray_upgrade, tcp as wire_tcp, tls, websocket,
};

fn ip(bytes: &[u8]) -> Option<IpOrDomain> {
    let address = Some(Address::Ip(bytes.to_vec()));
    Some(IpOrDomain { address })
}

fn inbound_of(name: &str, settings: &impl prost::Message) -> InboundHandlerConfig {
    let receiver = ReceiverConfig {
        port_range: Some(PortRange { from: 1, to: 2 }),
        listen: ip(&[127, 0, 0, 1]),
        ..ReceiverConfig::default()
    };
    InboundHandlerConfig {
        tag: "in".to_owned(),
        receiver_settings: Some(typed::seal("app.proxyman.ReceiverConfig", &receiver)),
        proxy_settings: Some(typed::seal(name, settings)),
    }
}

fn server(account: Option<TypedMessage>) -> Vec<ServerEndpoint> {
    let user = User {
        account,
        ..User::default()
    };
    vec![ServerEndpoint {
        address: ip(&[192, 0, 2, 1]),
        port: 443,
        user: vec![user],
    }]
}

fn vless_account(encryption: &str, flow: &str) -> TypedMessage {
    let account = vless::Account {
        id: "b831381d-6324-4d53-ad4f-8cda48b30811".to_owned(),
        flow: flow.to_owned(),
        encryption: encryption.to_owned(),
    };
    typed::seal("proxy.vless.Account", &account)
}

fn trojan_account(password: &str, flow: &str) -> TypedMessage {
    let account = trojan::Account {
        password: password.to_owned(),
        flow: flow.to_owned(),
    };
    typed::seal("proxy.trojan.Account", &account)
}

#[test]
fn every_inbound_becomes_one_that_a_file_could_hold() {
    let accounts: std::collections::HashMap<_, _> = [("ann".to_owned(), "pass".to_owned())].into();
    let account = vmess::Account {
        id: "b831381d-6324-4d53-ad4f-8cda48b30811".to_owned(),
        ..vmess::Account::default()
    };
    let user = User {
        email: "a@b".to_owned(),
        account: Some(typed::seal("proxy.vmess.Account", &account)),
        level: 1,
    };
    let vless = |email: &str| User {
        email: email.to_owned(),
        account: Some(vless_account("none", "")),
        level: 0,
    };
    let trojan = User {
        account: Some(trojan_account("p", "")),
        ..User::default()
    };
    let all = [
        inbound_of(
            "proxy.trojan.ServerConfig",
            &trojan::ServerConfig {
                users: vec![trojan],
                fallbacks: vec![trojan::Fallback {
                    path: "/a".to_owned(),
                    r#type: "tcp".to_owned(),
                    dest: "127.0.0.1:80".to_owned(),
                    xver: 1,
                    ..Default::default()
                }],
            },
        ),
        inbound_of(
            "proxy.vless.inbound.Config",
            &vless::inbound::Config {
                clients: vec![vless("a@b")],
                decryption: "none".to_owned(),
                ..Default::default()
            },
        ),
        inbound_of(
            "proxy.vmess.inbound.Config",
            &vmess::inbound::Config {
                user: vec![user],
                ..Default::default()
            },
        ),
        inbound_of(
            "proxy.socks.ServerConfig",
            &socks::ServerConfig {
                auth_type: socks::AuthType::Password.into(),
                accounts: accounts.clone(),
                udp_enabled: true,
                ..Default::default()
            },
        ),
        inbound_of(
            "proxy.http.ServerConfig",
            &http::ServerConfig {
                accounts,
                ..Default::default()
            },
        ),
        inbound_of(
            "proxy.dokodemo.Config",
            &dokodemo::Config {
                address: ip(&[127, 0, 0, 1]),
                port: 53,
                networks: vec![2, 3],
                ..Default::default()
            },
        ),
    ];
    for config in all {
        let inbound = inbound(&config).unwrap();
        assert_eq!(inbound.tag.as_deref(), Some("in"));
        assert_eq!(inbound.listen, Listen::Ip([127, 0, 0, 1].into()));
        assert_eq!(inbound.ports.len(), 1);
    }
}

#[test]
fn every_outbound_becomes_one_that_a_file_could_hold() {
    let account = typed::seal(
        "proxy.vmess.Account",
        &vmess::Account {
            id: "b831381d-6324-4d53-ad4f-8cda48b30811".to_owned(),
            security_settings: Some(SecurityConfig {
                r#type: SecurityType::Aes128Gcm.into(),
            }),
            ..Default::default()
        },
    );
    let login = typed::seal(
        "proxy.socks.Account",
        &socks::Account {
            username: "ann".to_owned(),
            password: "pass".to_owned(),
        },
    );
    let ws = websocket::Config {
        path: "/ray".to_owned(),
        ..Default::default()
    };
    let tls = tls::Config {
        server_name: "example.com".to_owned(),
        next_protocol: vec!["http/1.1".to_owned()],
        ..Default::default()
    };
    let stream = StreamConfig {
        protocol_name: "websocket".to_owned(),
        transport_settings: vec![TransportConfig {
            protocol_name: "websocket".to_owned(),
            settings: Some(typed::seal("transport.internet.websocket.Config", &ws)),
            ..Default::default()
        }],
        security_type: "v2ray.core.transport.internet.tls.Config".to_owned(),
        security_settings: vec![typed::seal("transport.internet.tls.Config", &tls)],
        socket_settings: Some(SocketConfig {
            mark: 255,
            tfo: 1,
            ..Default::default()
        }),
        ..Default::default()
    };
    let sender = SenderConfig {
        via: ip(&[192, 0, 2, 9]),
        stream_settings: Some(stream),
        proxy_settings: Some(ProxyConfig {
            tag: "other".to_owned(),
            transport_layer_proxy: true,
        }),
        multiplex_settings: Some(MultiplexingConfig {
            enabled: true,
            concurrency: 8,
        }),
    };
    let of = |name: &str, bytes: Vec<u8>| {
        let sender = Some(typed::seal("app.proxyman.SenderConfig", &sender));
        let proxy_settings = Some(TypedMessage {
            r#type: format!("v2ray.core.{name}"),
            value: bytes,
        });
        let config = OutboundHandlerConfig {
            tag: "out".to_owned(),
            sender_settings: sender.filter(|_| name.starts_with("proxy.vmess")),
            proxy_settings,
            ..Default::default()
        };
        outbound(&config).unwrap()
    };
    let vmess = vmess::outbound::Config {
        receiver: server(Some(account)),
    };
    let out = of("proxy.vmess.outbound.Config", vmess.encode_to_vec());
    assert_eq!(
        out.through.map(|through| through.tag).as_deref(),
        Some("other")
    );
    assert!(out.mux.is_some());
    let vless = vless::outbound::Config {
        vnext: server(Some(vless_account("none", ""))),
    };
    of("proxy.vless.outbound.Config", vless.encode_to_vec());
    let trojan = trojan::ClientConfig {
        server: server(Some(trojan_account("p", ""))),
    };
    of("proxy.trojan.ClientConfig", trojan.encode_to_vec());
    let socks = socks::ClientConfig {
        server: server(Some(login.clone())),
        ..Default::default()
    };
    of("proxy.socks.ClientConfig", socks.encode_to_vec());
    let http = http::ClientConfig {
        server: server(Some(login)),
    };
    of("proxy.http.ClientConfig", http.encode_to_vec());
    let freedom = freedom::Config {
        domain_strategy: 1,
        destination_override: Some(freedom::DestinationOverride {
            server: server(None).pop(),
        }),
        ..Default::default()
    };
    of("proxy.freedom.Config", freedom.encode_to_vec());
    of("proxy.blackhole.Config", Vec::new());
}

/// A carrier's message under the name that its program gives it.
fn carried(protocol: &str, name: &str, message: &impl prost::Message) -> StreamConfig {
    let settings = TypedMessage {
        r#type: name.to_owned(),
        value: message.encode_to_vec(),
    };
    StreamConfig {
        protocol_name: protocol.to_owned(),
        transport_settings: vec![TransportConfig {
            protocol_name: protocol.to_owned(),
            settings: Some(settings),
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn carriers_are_read_as_v2ray_and_as_xray_write_them() {
    let report = Report::default();
    let at = At::root(&report);
    let text = str::to_owned;
    let xray = xray_upgrade::Config {
        host: text("a.example"),
        path: text("/ray"),
        header: vec![xray_upgrade::Header {
            key: text("X-A"),
            value: text("1"),
        }],
        accept_proxy_protocol: true,
        ed: 2560,
    };
    let v2ray = v2ray_upgrade::Config {
        path: text("/ray"),
        host: text("a.example"),
        max_early_data: 7,
        early_data_header_name: text("X-Early"),
        header: vec![v2ray_upgrade::Header {
            key: text("X-A"),
            value: text("1"),
        }],
        ..Default::default()
    };
    let named = EarlyHeader {
        name: HeaderName::from_static("x-early"),
        max: 7,
    };
    let xray = carried(
        "httpupgrade",
        "xray.transport.internet.httpupgrade.Config",
        &xray,
    );
    let request = "v2ray.core.transport.internet.request.httpupgrade.Config";
    let v2ray = carried("httpupgrade", request, &v2ray);
    for (stream, early, server_early, proxied) in [
        (&xray, httpupgrade::EarlyData::Ahead, None, true),
        (
            &v2ray,
            httpupgrade::EarlyData::Header(named.clone()),
            Some(named),
            false,
        ),
    ] {
        let client = stream::client(Some(stream), &at).unwrap();
        let ClientCarrier::HttpUpgrade(carrier) = client.carrier else {
            panic!("{client:?}")
        };
        assert_eq!(
            (&*carrier.path, carrier.host.unwrap().to_str().unwrap()),
            ("/ray", "a.example")
        );
        assert_eq!(
            (carrier.early_data, carrier.headers.len()),
            (Some(early), 1)
        );
        let server = stream::server(Some(stream), &at).unwrap();
        assert_eq!(server.accept_proxy_protocol, proxied);
        let ServerCarrier::HttpUpgrade(carrier) = server.carrier else {
            panic!("{:?}", server.carrier)
        };
        assert_eq!(
            (&*carrier.path, carrier.host.as_deref()),
            ("/ray", Some("a.example"))
        );
        assert_eq!(carrier.early_data, server_early);
    }

    let xray = websocket::XrayConfig {
        host: text("a.example"),
        path: text("/ray"),
        ed: 2560,
        heartbeat_period: 9,
        ..Default::default()
    };
    let xray = carried(
        "websocket",
        "xray.transport.internet.websocket.Config",
        &xray,
    );
    let client = stream::client(Some(&xray), &at).unwrap();
    let ClientCarrier::Ws(carrier) = client.carrier else {
        panic!("{client:?}")
    };
    let early = EarlyData {
        carried_in: EarlyDataIn::Header(SEC_WEBSOCKET_PROTOCOL),
        max: 2560,
    };
    assert_eq!(carrier.early_data, Some(early));
    assert_eq!(carrier.heartbeat, Some(Duration::from_secs(9)));
    let server = stream::server(Some(&xray), &at).unwrap();
    let ServerCarrier::Ws(carrier) = server.carrier else {
        panic!("{:?}", server.carrier)
    };
    assert_eq!(carrier.host.as_deref(), Some("a.example"));
    assert!(!report.has_errors());
}

#[test]
fn a_unix_socket_is_where_an_inbound_listens_and_an_outbound_connects() {
    let stream = |path: &str| {
        let config = domainsocket::Config {
            path: path.to_owned(),
            r#abstract: true,
            padding: true,
        };
        let name = "v2ray.core.transport.internet.domainsocket.Config";
        Some(carried("domainsocket", name, &config))
    };
    let inbound_at = |path: &str| {
        let receiver = ReceiverConfig {
            stream_settings: stream(path),
            ..ReceiverConfig::default()
        };
        inbound(&InboundHandlerConfig {
            receiver_settings: Some(typed::seal("app.proxyman.ReceiverConfig", &receiver)),
            ..inbound_of("proxy.http.ServerConfig", &http::ServerConfig::default())
        })
    };
    let inside = inbound_at("name").unwrap();
    assert_eq!(inside.listen, Listen::Abstract(b"@name".to_vec()));
    assert!(inside.ports.is_empty());
    assert_eq!(
        inbound_at("").err().unwrap().to_string(),
        "stream_settings.transport_settings: `path` is empty, expected that of a unix socket"
    );
    let outbound_of = |sender: SenderConfig| {
        outbound(&OutboundHandlerConfig {
            sender_settings: Some(typed::seal("app.proxyman.SenderConfig", &sender)),
            proxy_settings: Some(typed::seal(
                "proxy.freedom.Config",
                &freedom::Config::default(),
            )),
            ..Default::default()
        })
    };
    let sender = SenderConfig {
        stream_settings: stream("name"),
        ..Default::default()
    };
    let outside = outbound_of(sender.clone()).unwrap();
    let socket = UnixSocket::Abstract(b"@name".to_vec());
    assert_eq!(outside.transport.carrier, ClientCarrier::Unix(socket));
    let chained = outbound_of(SenderConfig {
        proxy_settings: Some(ProxyConfig {
            tag: "other".to_owned(),
            ..Default::default()
        }),
        ..sender
    });
    assert_eq!(
        chained.err().unwrap().to_string(),
        "proxy_settings.tag: no outbound leads to the unix socket @@name"
    );
}

#[test]
fn a_head_in_front_of_plain_tcp_is_read() {
    let report = Report::default();
    let at = At::root(&report);
    let text = str::to_owned;
    let of = |name: &str, message: &dyn Fn() -> Vec<u8>| {
        let header_settings = Some(TypedMessage {
            r#type: format!("v2ray.core.transport.internet.headers.{name}"),
            value: message(),
        });
        let config = wire_tcp::Config {
            header_settings,
            ..Default::default()
        };
        carried("tcp", "v2ray.core.transport.internet.tcp.Config", &config)
    };
    let config = header_http::Config {
        request: Some(header_http::RequestConfig {
            uri: vec![text("/a"), text("/b")],
            header: vec![header_http::Header {
                name: text("Host"),
                value: vec![text("a.example")],
            }],
            ..Default::default()
        }),
        response: None,
    };
    let stream = of("http.Config", &|| config.encode_to_vec());
    let server = stream::server(Some(&stream), &at).unwrap();
    let ServerCarrier::HttpHeader(header) = server.carrier else {
        panic!("{:?}", server.carrier)
    };
    assert_eq!(header.request.paths, ["/a", "/b"]);
    assert_eq!(header.request.headers.len(), 1);
    assert_eq!(header.response, Default::default());
    let written = http_header::http_header_message(&header);
    assert_eq!(http_header::http_header(written, &at), Some(header));
    let client = stream::client(Some(&stream), &at).unwrap();
    assert!(matches!(client.carrier, ClientCarrier::HttpHeader(_)));
    let none = of("noop.ConnectionConfig", &Vec::new);
    let server = stream::server(Some(&none), &at).unwrap();
    assert!(matches!(server.carrier, ServerCarrier::Raw));
    assert!(!report.has_errors());
    let odd = of("srtp.Config", &Vec::new);
    assert!(stream::server(Some(&odd), &at).is_none());
    assert!(report.has_errors());
}

#[test]
fn what_vless_has_elsewhere_is_refused_with_its_place() {
    let user = User {
        account: Some(vless_account(
            "mlkem768x25519plus.native.0rtt.KEY",
            "xtls-rprx-vision",
        )),
        ..User::default()
    };
    let config = vless::inbound::Config {
        clients: vec![user],
        decryption: "aes".to_owned(),
        fallbacks: vec![
            vless::inbound::Fallback::default(),
            vless::inbound::Fallback {
                dest: "127.0.0.1:80".to_owned(),
                xver: 3,
                ..Default::default()
            },
        ],
    };
    let error = inbound(&inbound_of("proxy.vless.inbound.Config", &config));
    let error = error.err().unwrap().to_string();
    for said in [
        "decryption: VLESS Encryption is not built, expected `none`",
        "fallbacks[0].dest: `` leads nowhere, expected a port",
        "fallbacks[1].xver: 3 is no version of the PROXY protocol, expected 0, 1 or 2",
        "clients[0].account.encryption: VLESS Encryption is not built, expected `none`",
        "clients[0].account.flow: the flow `xtls-rprx-vision` is not built",
    ] {
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn what_trojan_has_elsewhere_is_refused_with_its_place() {
    let user = |password: &str, flow: &str| User {
        account: Some(trojan_account(password, flow)),
        ..User::default()
    };
    let config = trojan::ServerConfig {
        users: vec![user("p", "xtls-rprx-direct"), user("", "")],
        fallbacks: vec![],
    };
    let error = inbound(&inbound_of("proxy.trojan.ServerConfig", &config));
    let error = error.err().unwrap().to_string();
    for said in [
        "users[0].account.flow: the flow `xtls-rprx-direct` is not built",
        "users[1].account.password: it is empty",
    ] {
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn what_is_not_built_is_named() {
    let config = inbound_of("proxy.mtproto.ServerConfig", &dokodemo::Config::default());
    let error = inbound(&config).err().unwrap();
    assert_eq!(
        error.to_string(),
        "proxy_settings: the inbound protocol of `proxy.mtproto.ServerConfig` is not built"
    );
    let mut config = inbound_of("proxy.dokodemo.Config", &dokodemo::Config::default());
    config.receiver_settings = config.proxy_settings.clone();
    assert_eq!(
        inbound(&config).err().unwrap().to_string(),
        "config: `proxy.dokodemo.Config` stands where `app.proxyman.ReceiverConfig` is expected"
    );
}
