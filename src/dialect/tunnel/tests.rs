use super::*;
use crate::address::Network;
use crate::protocol::{InboundSettings, OutboundSettings, relay};
use crate::reverse::PublishTarget;
use crate::transport::{ClientCarrier, ServerCarrier};

fn client(text: &str) -> Loaded {
    load_text(End::Client, "c.toml", text, None, None)
}

fn server(text: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    load_text(End::Server, "s.toml", text, Some(folder.path()), None)
}

fn lines(messages: &[Message]) -> Vec<String> {
    messages.iter().map(ToString::to_string).collect()
}

const CLIENT: &str = r#"
[client]
server_addr = "your-server.com"
server_port = 443
transport = "wss"  # 使用 WebSocket 传输
auth_key = "secret"
skip_verify = false

[[proxies]]
name = "web-server"
proxy_type = "http/1.1"
publish_addr = "0.0.0.0"
publish_port = 8080
local_port = 80

[[proxies]]
name = "ssh-server"
proxy_type = "tcp"
publish_addr = "0.0.0.0"
publish_port = 2222
local_port = 22
"#;

/// That certificates are verified is what stands there without the line, too.
#[test]
fn the_client_of_the_manual_may_be_without_tls() {
    let plain = CLIENT.replace("\"wss\"", "\"ws\"");
    assert_eq!(lines(&client(&plain).errors), [""; 0]);
    let skipped = client(&plain.replace("skip_verify = false", "skip_verify = true"));
    assert_eq!(lines(&skipped.errors), [""; 0]);
    assert!(lines(&skipped.warnings)[0].contains("has no TLS"));
    let believed = plain.replace("skip_verify = false", "pin = \"00\"");
    assert!(lines(&client(&believed).errors)[0].contains("has no TLS"));
}

#[test]
fn a_client_publishes_by_relay_over_one_websocket() {
    let loaded = client(CLIENT);
    assert_eq!(lines(&loaded.errors), [""; 0]);
    let config = loaded.config.unwrap();
    let relays = config.outbounds.iter().filter(|outbound| {
        matches!(&outbound.protocol, OutboundSettings::Relay(relay) if
            relay.servers[0].to.to_string() == "your-server.com:443"
                && relay.servers[0].accounts[0].user == "tunnel"
                && *relay.servers[0].accounts[0].pass == "secret")
    });
    let paths: Vec<String> = relays
        .map(|outbound| match &outbound.transport.carrier {
            ClientCarrier::Mws(mws) => mws.ws.path.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(paths, ["/", "/ws"]);
    let [web, ssh] = &config.reverse.publish[..] else {
        panic!("two ports");
    };
    assert_eq!(web.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(web.ends(), [("web-server", "127.0.0.1:80".to_owned())]);
    assert!(matches!(web.to, PublishTarget::Web(_)));
    assert_eq!((ssh.network, ssh.outbounds.len()), (Network::Tcp, 2));
    assert_eq!(ssh.ends(), [("ssh-server", "127.0.0.1:22".to_owned())]);
    assert!(!format!("{config:?}").contains("secret"), "no key is shown");
}

/// A server that says nothing would hold up the others by each of its ways.
#[test]
fn all_servers_have_their_turn_before_another_way_has() {
    let text = CLIENT.replace(
        "server_addr = \"your-server.com\"",
        "server_addr = [\"a.example\", \"b.example:8443\"]\nfallback = [\"wss\", \"tls\"]",
    );
    let text = text.replace("2222", "2223");
    let loaded = client(&text);
    assert_eq!(lines(&loaded.errors), [""; 0]);
    let publish = loaded.config.unwrap().reverse.publish;
    let turns = |i: usize| publish[i].outbounds.iter().map(|tag| &**tag);
    let servers = |i| {
        turns(i)
            .map(|tag| tag.rsplit_once(' ').unwrap().1)
            .collect::<Vec<_>>()
    };
    let (a, b) = ("a.example:443", "b.example:8443");
    assert_eq!(servers(0), [a, b, a, b, a, b]);
    assert_eq!(servers(1), [b, a, b, a, b, a]);
    let ways: Vec<&str> = turns(0)
        .map(|tag| tag.split(" of ").next().unwrap())
        .collect();
    assert_eq!(
        ways,
        [
            "wss at /",
            "wss at /",
            "wss at /ws",
            "wss at /ws",
            "tls",
            "tls"
        ]
    );
}

#[test]
fn a_server_opens_ports_and_leads_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[server]\nbind_port = 8443\nauth_key = \"k\"\nwss_path = \"/t\"\nallow_ports = [\"8000-8100\", 2222]\n";
    let read = || load_text(End::Server, "s.toml", text, Some(folder.path()), None);
    let loaded = read();
    assert_eq!(lines(&loaded.errors), [""; 0]);
    let config = loaded.config.unwrap();
    let [inbound] = &config.inbounds[..] else {
        panic!("one inbound");
    };
    assert!(matches!(&inbound.transport.carrier, ServerCarrier::Mws(mws) if mws.ws.path == "/t"));
    let InboundSettings::Relay(relay) = &inbound.protocol else {
        panic!("it speaks relay");
    };
    let relay::Service::AsAsked { connect, bind } = &relay.service else {
        panic!("as asked");
    };
    assert!(!connect && relay.hidden);
    let bind = bind.as_ref().unwrap();
    assert!(bind.allows(8050) && bind.allows(2222) && !bind.allows(80) && !bind.allows(0));
    // The certificate stays the same, so that it can be pinned.
    assert!(loaded.notes[0].contains("pin = \""), "{:?}", loaded.notes);
    assert_eq!(loaded.notes, read().notes);
    let key = std::fs::metadata(folder.path().join("tunnel-key.pem")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn mistakes_have_a_line_and_a_column() {
    let cases = [
        ("[client\n", "c.toml:1:8: this is no TOML: "),
        (
            "[client]\nserver_adr = \"a\"\n",
            "c.toml:2:1: [client] has no key `server_adr`, did you mean `server_addr`?",
        ),
        (
            "[client]\nserver_addr = \"a\"\nserver_port = 70000\n",
            "c.toml:3:15: 70000 is not a port, expected 1 to 65535",
        ),
        (
            "[client]\nserver_addr = \"a\"\nauth_key = \"k\"\nca_cert_path = \"/nowhere/ca.pem\"\n",
            "c.toml:4:16: ",
        ),
        (
            "[client]\nserver_addr = \"a\"\nauth_key = \"k\"\ntransport = \"wsss\"\n",
            "c.toml:4:13: `wsss` is unknown, expected `wss`, `ws` or `tls`, did you mean `wss`?",
        ),
        (
            "[client]\nserver_addr = \"a\"\nauth_key = 5\n",
            "c.toml:3:12: this is a TOML integer, expected a string, in quotes",
        ),
        (
            "[client]\nserver_addr = \"a\"\nauth_key = \"k\"\n[[proxies]]\nname = \"x\"\nlocal_port = 1\n",
            "c.toml:4:1: `publish_port` is missing",
        ),
        (
            "[client]\nserver_addr = \"a\"\nauth_key = \"k\"\npin = \"abc\"\n",
            "c.toml:4:7: this is no SHA-256",
        ),
    ];
    for (text, begins) in cases {
        let loaded = client(text);
        assert!(loaded.config.is_none(), "{text}");
        let said = lines(&loaded.errors);
        assert!(
            said.iter().any(|line| line.starts_with(begins)),
            "{text}: {said:?}"
        );
    }
    let said = server(
        "[server]\nauth_key = \"k\"\ncert_path = \"/nowhere/cert.pem\"\nkey_path = \"/nowhere/key.pem\"\n",
    );
    let said = lines(&said.errors);
    assert!(said[0].starts_with("s.toml:3:13: "), "{said:?}");
}

#[test]
fn ports_are_shared_by_hosts_alone() {
    let with = |proxies: &str| {
        let text = format!(
            "[client]\nserver_addr = [\"a\", \"b:8443\"]\nauth_key = \"k\"\nfallback = [\"wss\", \"tls\"]\nproxy = \"http://u:p%40@10.0.0.1:3128\"\n{proxies}"
        );
        client(&text)
    };
    let one = |name: &str, kind: &str, more: &str| {
        format!(
            "[[proxies]]\nname = \"{name}\"\nproxy_type = \"{kind}\"\npublish_port = 80\nlocal_port = 1\n{more}\n"
        )
    };
    let web = |name: &str, hosts: &str| one(name, "http/1.1", &format!("hosts = {hosts}"));
    let good = with(
        &[
            web("a", "\"A.example\""),
            web("b", "[\"b.example\"]"),
            one("c", "http/1.1", ""),
            one("d", "udp", ""),
        ]
        .concat(),
    );
    assert_eq!(lines(&good.errors), [""; 0]);
    let config = good.config.unwrap();
    assert_eq!(config.reverse.publish.len(), 2);
    let ends = config.reverse.publish[0].ends();
    assert_eq!(ends[0], ("a", "127.0.0.1:1 (for a.example)".to_owned()));
    assert_eq!(ends.len(), 3);
    let names: Vec<&str> = config.outbounds.iter().map(|o| &*o.name).collect();
    assert_eq!(
        names,
        [
            "direct",
            "wss at / of a:443",
            "wss at / of b:8443",
            "wss at /ws of a:443",
            "wss at /ws of b:8443",
            "tls of a:443",
            "tls of b:8443",
            "proxy"
        ]
    );
    for (proxies, end) in [
        (
            web("a", "\"x\"") + &web("b", "\"x\""),
            "give each its own `hosts`",
        ),
        (one("a", "tcp", "") + &web("b", "\"x\""), "can share one"),
        (
            one("a", "tcp", "") + &one("a", "udp", ""),
            "another proxy is called `a` already",
        ),
        (
            one("a", "tcp", "hosts = \"x\""),
            "by the host that is asked for",
        ),
    ] {
        let said = lines(&with(&proxies).errors);
        assert!(said.len() == 1 && said[0].ends_with(end), "{said:?}");
    }
}
