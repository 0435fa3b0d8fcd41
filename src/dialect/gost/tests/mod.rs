//! What command lines and files become.

mod bypasses;
mod files;
mod words;

use files::FILE;

use super::*;
use crate::config::{Inbound, Listen, LogKeys, LogLevel, LogTarget};
use crate::policy::Policy;
use crate::protocol::{InboundSettings, OutboundSettings};
use crate::routing::{Strategy, Target};
use crate::smux;
use crate::transport::{ClientCarrier, ServerCarrier};

fn launch(args: &str) -> Launch {
    let mut launch = Launch::default();
    let mut words = args.split(' ');
    while let (Some(flag), Some(value)) = (words.next(), words.next()) {
        match flag {
            "-L" => launch.services.push(value.to_owned()),
            "-F" => launch.hops.push(value.to_owned()),
            _ => panic!("{flag}"),
        }
    }
    launch
}

fn read(args: &str) -> Config {
    let loaded = load(&launch(args));
    let errors: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, [""; 0], "{args}");
    loaded.config.unwrap()
}

fn of_file(text: &str) -> Loaded {
    load(&Launch {
        files: vec![("gost.yml".to_owned(), text.to_owned())],
        ..Launch::default()
    })
}

fn errors(loaded: &Loaded) -> Vec<String> {
    loaded.errors.iter().map(ToString::to_string).collect()
}

fn path(inbound: &Inbound) -> &str {
    match &inbound.transport.carrier {
        ServerCarrier::Ws(ws) => &ws.path,
        ServerCarrier::Mws(mws) => &mws.ws.path,
        other => panic!("{other:?}"),
    }
}

#[test]
fn services_of_the_command_line() {
    let config = read("-L ws://:8080");
    let inbound = &config.inbounds[0];
    assert_eq!(path(inbound), "/ws");
    assert!(matches!(&inbound.protocol, InboundSettings::Socks(socks) if socks.accounts.is_none()));
    assert_eq!((inbound.ports[0].from, inbound.ports[0].to), (8080, 8080));
    assert_eq!(config.policy, Policy::patient(), "silence ends nothing");

    let config = read("-L http+wss://u:p%40w@127.0.0.1:8443?path=/x&tls.minVersion=VersionTLS13");
    let inbound = &config.inbounds[0];
    let InboundSettings::Http(http) = &inbound.protocol else {
        panic!("{:?}", inbound.protocol)
    };
    assert_eq!(
        (&*http.accounts[0].user, &**http.accounts[0].pass),
        ("u", "p@w")
    );
    assert_eq!(path(inbound), "/x");
    assert!(
        inbound
            .transport
            .security
            .as_ref()
            .unwrap()
            .self_signed
            .is_some()
    );

    let config = read("-L socks5+mwss://:0?mux.version=2&WS.Path=y&auth=dTpwdw");
    let inbound = &config.inbounds[0];
    assert_eq!(path(inbound), "/y");
    assert!(matches!(&inbound.protocol, InboundSettings::Socks(socks)
        if &*socks.accounts.as_ref().unwrap()[0].pass == "pw"));

    let config = read("-L tcp://:8000-8002/192.0.2.1:80 -L udp://:53/[2001:db8::1]:53");
    let shown: Vec<String> = config
        .inbounds
        .iter()
        .map(|inbound| match &inbound.protocol {
            InboundSettings::Dokodemo(door) => {
                let to = door.to.as_ref().unwrap();
                format!(
                    "{} {to} {}",
                    inbound.ports[0].from,
                    if door.udp { "udp" } else { "tcp" }
                )
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "8000 192.0.2.1:80 tcp",
        "8001 192.0.2.1:80 tcp",
        "8002 192.0.2.1:80 tcp",
        "53 [2001:db8::1]:53 udp",
    ];
    assert_eq!(shown, expected);

    // A target makes it a forwarder, whatever stands in front; a port alone is this machine's.
    for url in ["wss://:8443/:1080", "forward+wss://:8443/:1080"] {
        let config = read(&format!("-L {url}"));
        let InboundSettings::Dokodemo(door) = &config.inbounds[0].protocol else {
            panic!("{url}")
        };
        assert_eq!(door.to.as_ref().unwrap().to_string(), "127.0.0.1:1080");
    }
}

#[test]
fn hops_go_through_each_other() {
    let config = read(
        "-L :8080 -F http+ws://a.test:80?host=b.test -F socks5+mwss://u:p@192.0.2.2:443?path=/x&keepAlive=true&ttl=7",
    );
    let rule = &config.routing.rules[0];
    let Target::Outbound(last) = &*rule.target else {
        panic!("{rule:?}")
    };
    let find = |tag: &str| {
        config
            .outbounds
            .iter()
            .find(|o| o.tag.as_deref() == Some(tag))
            .unwrap()
    };
    let last = find(last);
    let OutboundSettings::Socks(socks) = &last.protocol else {
        panic!("{last:?}")
    };
    assert_eq!(socks.servers[0].to.to_string(), "192.0.2.2:443");
    let ClientCarrier::Mws(mws) = &last.transport.carrier else {
        panic!("{last:?}")
    };
    assert_eq!(mws.ws.path, "/x");
    assert_eq!(mws.ws.heartbeat.unwrap().as_secs(), 7);
    let tls = last.transport.security.as_ref().unwrap();
    assert!(tls.allow_insecure && tls.told_unverified.is_some());
    let first = find(&last.through.as_ref().unwrap().tag);
    let ClientCarrier::Ws(ws) = &first.transport.carrier else {
        panic!("{first:?}")
    };
    assert_eq!(ws.host.as_ref().unwrap(), "b.test");
    assert!(first.through.is_none() && ws.heartbeat.is_none());
}

#[test]
fn relay_serves_and_opens_ports() {
    use crate::protocol::relay::Service;

    let config =
        read("-L relay+mwss://u:p@:8443?bind=true -L relay+ws://:1/192.0.2.1:2,192.0.2.2:2");
    let services = config
        .inbounds
        .iter()
        .map(|inbound| match &inbound.protocol {
            InboundSettings::Relay(relay) => &relay.service,
            other => panic!("{other:?}"),
        });
    let services: Vec<&Service> = services.collect();
    assert!(matches!(
        services[0],
        Service::AsAsked { bind: Some(_), .. }
    ));
    assert!(matches!(services[1], Service::Forward(targets) if targets.len() == 2));

    // Of the carrier and of what leads visitors to clients.
    let config =
        read("-L relay+ws://:8443?bind=true&mux.version=2 -F relay+ws://a.test:1?mux.version=2");
    let InboundSettings::Relay(relay) = &config.inbounds[0].protocol else {
        panic!("{config:?}");
    };
    let Service::AsAsked {
        bind: Some(bind), ..
    } = &relay.service
    else {
        panic!("{relay:?}");
    };
    assert_eq!(bind.mux, smux::Version::Two);

    let config = read("-L rtcp://:8080/192.0.2.1:80 -F http+ws://a.test:1 -F relay+mws://b.test:2");
    let published = &config.reverse.publish[0];
    assert_eq!(published.listen.to_string(), "0.0.0.0:8080");
    let tags: Vec<Option<&str>> = config.outbounds.iter().map(|o| o.tag.as_deref()).collect();
    assert!(tags.contains(&Some(&*published.outbounds[0])), "{tags:?}");
    assert!(config.inbounds.is_empty());
    for (args, expected) in [
        ("-L rtcp://:1/a.test:1", "needs a chain"),
        (
            "-L rtcp://:1/a.test:1 -F http+ws://a.test:1",
            "only a `relay`",
        ),
        ("-L rtcp://:1 -F relay+ws://a.test:1", "leads nowhere"),
        (
            "-L socks5+rudp://:1 -F relay+ws://a.test:1",
            "`socks5` is spoken over streams",
        ),
        ("-L http+udp://:1", "`http` is spoken over streams"),
    ] {
        let told = errors(&load(&launch(args))).join("\n");
        assert!(told.contains(expected), "{args}: {told}");
    }
}

#[test]
fn a_proxy_at_a_port_of_the_server_has_a_bypass() {
    let loaded = load(&launch(
        "-L socks5+rtcp://u:p@:1080?bypass=10.0.0.0/8 -F relay+ws://a.test:1",
    ));
    assert_eq!(errors(&loaded), [""; 0]);
    let config = loaded.config.unwrap();
    assert_eq!(config.inbounds[0].listen, Listen::Published);
    assert_eq!(config.routing.rules.len(), 2);
}

#[test]
fn several_nodes_are_chosen_from() {
    let config = read(
        "-L :1 -F ws://a.test:1,b.test:2?strategy=fifo&maxFails=3&failTimeout=7s&bypass=~10.0.0.0/8,.corp.test",
    );
    let balancer = &config.routing.balancers[0];
    assert_eq!(*balancer.strategy, Strategy::First);
    let failing = balancer.failing.unwrap();
    assert_eq!((failing.max_fails, failing.timeout.as_secs()), (3, 7));
    let tags = config.outbounds.iter().filter_map(|o| o.tag.as_deref());
    assert_eq!(tags.filter(|tag| balancer.selects(tag)).count(), 2);
    let failing = |keys: &str| {
        let config = read(&format!("-L :1 -F ws://a.test:1,b.test:2{keys}"));
        let failing = config.routing.balancers[0].failing.unwrap();
        (failing.max_fails, failing.timeout.as_secs())
    };
    assert_eq!(failing(""), (1, 10));
    assert_eq!(failing("?strategy=round"), (1, 30));
    assert_eq!(failing("?max_fails=2&fail_timeout=20"), (2, 20));
}

#[test]
fn several_targets_are_chosen_from_or_are_one_for_each_port() {
    let config = read("-L tcp://:81/a.test:1,b.test:2-3?strategy=fifo&maxFails=2");
    let balancer = &config.routing.balancers[0];
    assert_eq!(*balancer.strategy, Strategy::First);
    assert_eq!(balancer.failing.unwrap().max_fails, 2);
    let tags = config.outbounds.iter().filter_map(|o| o.tag.as_deref());
    assert_eq!(tags.filter(|tag| balancer.selects(tag)).count(), 3);

    let config = read("-L tcp://:8000-8001/a.test:1,b.test:2");
    let targets = config
        .inbounds
        .iter()
        .map(|inbound| match &inbound.protocol {
            InboundSettings::Dokodemo(door) => door.to.as_ref().unwrap().to_string(),
            other => panic!("{other:?}"),
        });
    let targets: Vec<String> = targets.collect();
    assert_eq!(targets, ["a.test:1", "b.test:2"]);
}

#[test]
fn a_way_is_looked_for_again_as_often_as_is_said() {
    for (args, selects) in [
        ("-L :1?retries=3", "service-0>>/"),
        ("-L :1?retries=3 -F ws://a.test:1", "chain-0#0/node-0"),
        (
            "-L :1?retries=3 -F ws://a.test:1,b.test:2",
            "chain-0#1/node-1",
        ),
    ] {
        let config = read(args);
        let Target::Balancer(tag) = &*config.routing.rules[0].target else {
            panic!("{args}")
        };
        let mut balancers = config.routing.balancers.iter();
        let balancer = balancers.find(|one| one.tag == *tag).unwrap();
        assert_eq!(balancer.retries, 3, "{args}");
        let mut tags = config.outbounds.iter().filter_map(|o| o.tag.as_deref());
        assert!(
            balancer.selects(tags.find(|tag| *tag == selects).unwrap()),
            "{args}"
        );
        assert!(!balancer.selects("direct"), "{args}");
    }
    assert!(read("-L :1?retries=0").routing.balancers.is_empty());
}

/// Where each rule leads, in its order.
fn targets(config: &Config) -> Vec<String> {
    let rules = config.routing.rules.iter();
    rules
        .map(|rule| match &*rule.target {
            Target::Outbound(tag) => tag.to_string(),
            Target::Balancer(tag) => format!("[{tag}]"),
        })
        .collect()
}

#[test]
fn certificates_are_verified_when_that_is_asked_for() {
    let tls = |keys: &str| {
        let config = read(&format!("-L :1 -F wss://a.test:1{keys}"));
        config.outbounds[2].transport.security.clone().unwrap()
    };
    assert!(tls("").allow_insecure);
    let secure = tls("?secure=true&serverName=b.test");
    assert!(!secure.allow_insecure);
    assert_eq!(secure.server_name.unwrap().to_string(), "b.test");
    assert_eq!(tls("?serverName=b.test:1,c.test").server_name, None);
    let told = errors(&load(&launch(
        "-L :1 -F wss://a.test:1?secure=true&serverName=b.test:1,c.test",
    )));
    assert!(told.join("").contains("cannot be a name"), "{told:?}");
    let pinned = tls(&format!("?pin={}", "ab".repeat(32)));
    assert!(!pinned.allow_insecure && pinned.certificate_pins == [[0xab; 32]]);
}

#[test]
fn what_is_not_built_is_told_with_its_place() {
    let told = |args: &str| errors(&load(&launch(args))).join("\n");
    let text = told("-L http+wss://u:secret@:8443?pathh=/x");
    assert!(
        text.contains("`pathh` is not built here") && text.contains("did you mean `path`?"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
    for (args, expected) in [
        ("-L ss://:1", "handler `ss` is not built"),
        ("-L http+quic://:1", "`quic` is not built"),
        ("-L http+dns://:1", "`dns` is not built"),
        ("-L http+foo://:1", "there is no `foo`"),
        ("-L tcp://:1", "leads nowhere"),
        ("-L tcp://:1 -F http+ws://a.test:1", "leads nowhere"),
        ("-L rtcp://:1/a.test:1", "needs a chain"),
        ("-L :70000", "`70000` is no port"),
        ("-L :1 -F ws://a.test", "has no port"),
        (
            "-L :1 -F ws://a:1?mux.type=yamux",
            "`mux.type` is not built here",
        ),
        ("-L :1 -F mws://a:1?mux.type=yamux", "only `smux` is built"),
        (
            "-L :1 -F ws://a:1?keepAlive=perhaps",
            "expected `true` or `false`",
        ),
        ("-F ws://a:1", "there is no service"),
    ] {
        let text = told(args);
        assert!(text.contains(expected), "{args}: {text}");
    }
}

#[test]
fn a_range_of_ports_is_no_flood_of_services() {
    assert_eq!(read("-L tcp://:8000-8009/192.0.2.1:1").inbounds.len(), 10);
    for args in [
        "-L tcp://:0-8003/192.0.2.1:1",
        "-L tcp://:8000-8800/192.0.2.1:1 -L tcp://:9000-9800/192.0.2.1:1",
    ] {
        let told = errors(&load(&launch(args))).join("\n");
        assert!(told.contains("expected at most 1000"), "{told}");
    }
}

#[test]
fn datagrams_that_nothing_here_carries_are_an_error() {
    for args in ["-L socks4a://:1?udp=true", "-L socks4+ws://:1?udp=true"] {
        let told = errors(&load(&launch(args))).join("\n");
        assert!(
            told.contains("udp") && told.contains("no datagrams"),
            "{args}: {told}"
        );
    }
    let text = "-L :1 -F socks5+ws://a.test:1?relay=udp";
    let told = errors(&load(&launch(text))).join("\n");
    assert!(told.contains("read by everybody"), "{told}");
}

#[test]
fn datagrams_go_inside_socks_but_beside_a_bare_port() {
    let config = read("-L socks5://:1?udp=true -L socks5+ws://:2?udp=true -L socks5://:3");
    let inside = |inbound: &Inbound| match &inbound.protocol {
        InboundSettings::Socks(settings) => (settings.udp, settings.udp_tunnel),
        other => panic!("{other:?}"),
    };
    let all: Vec<_> = config.inbounds.iter().map(inside).collect();
    assert_eq!(all, [(true, true), (false, true), (false, false)]);
    for (args, expected) in [
        ("-L :1 -F socks5://a.test:1", false),
        ("-L :1 -F socks5+wss://a.test:1", true),
        ("-L :1 -F socks5+tls://a.test:1", true),
        ("-L :1 -F socks4a+ws://a.test:1", false),
    ] {
        let config = read(args);
        let inside = config.outbounds.iter().find_map(|one| match &one.protocol {
            OutboundSettings::Socks(settings) => Some(settings.udp_tunnel),
            _ => None,
        });
        assert_eq!(inside, Some(expected), "{args}");
    }
}

#[test]
fn a_path_that_ends_in_a_slash_stands_for_what_is_below() {
    let config = read("-L ws://:1?path=/a/ -L mws://:2?path=/a -L ws://:3?path=/");
    let below = |inbound: &Inbound| match &inbound.transport.carrier {
        ServerCarrier::Ws(ws) => ws.below,
        ServerCarrier::Mws(mws) => mws.ws.below,
        other => panic!("{other:?}"),
    };
    let all: Vec<_> = config.inbounds.iter().map(below).collect();
    assert_eq!(all, [true, false, true]);
    let loaded = load(&launch("-L ws://:1?path=/a/"));
    let (_, lines) = loaded.to_config_json().unwrap();
    assert!(
        lines[0].contains("no word for what is below `/a/`"),
        "{lines:?}"
    );
}

#[test]
fn an_account_that_is_none_is_an_error_and_no_open_door() {
    for handler in [
        "handler: {type: relay, auth: {user: a, pass: b}}",
        "handler: {type: http, auth: {username: ''}}",
        "handler: {type: relay, auther: x}",
    ] {
        let text =
            format!("services:\n- {{addr: ':1', {handler}}}\nauthers:\n- {{name: x, auths: []}}\n");
        assert!(!errors(&of_file(&text)).is_empty(), "{handler}");
    }
}

#[test]
fn a_published_port_has_no_name_of_another_service() {
    let text = "services:
- {addr: '0.0.0.0:1', handler: {type: rtcp}, listener: {type: rtcp, chain: c}, forwarder: {nodes: [{addr: 'a.test:1'}]}}
- {addr: ':2', handler: {type: socks5, chain: c}}
chains:
- {name: c, hops: [{nodes: [{addr: 'b.test:1', connector: {type: relay}, dialer: {type: ws}}]}]}
";
    let config = of_file(text).config.expect("it is good");
    let published = &*config.reverse.publish[0].tag;
    let inbound = config.inbounds[0].tag.as_deref();
    assert_ne!(inbound, Some(published));
}

#[test]
fn no_password_is_shown_whatever_stands_in_it() {
    for url in [
        "socks5+nonsense://u:se?cret@h:1",
        "socks5+nonsense://u:sec/ret?@h:1?auth=c2VjcmV0",
    ] {
        let told = errors(&load(&launch(&format!("-L {url}")))).join("\n");
        assert!(!told.contains("ret") && !told.contains("c2Vj"), "{told}");
    }
}

/// What goes by a chain goes by it whatever its headers are, and never past it.
#[test]
fn a_header_without_a_text_is_a_header() {
    let empty = |carrier: &ClientCarrier| match carrier {
        ClientCarrier::Ws(ws) => (ws.headers["foo"].is_empty(), ws.host.clone()),
        other => panic!("{other:?}"),
    };
    let file = FILE.replacen("foo: bar", "foo: \"\"", 1);
    let null = FILE.replacen("foo: bar", "foo:", 1);
    for config in [
        read("-L :1 -F ws://a.test:1?header=Foo:"),
        of_file(&file).config.unwrap(),
        of_file(&null).config.unwrap(),
    ] {
        let [.., to] = &config.outbounds[..] else {
            panic!("there are some");
        };
        assert_eq!(empty(&to.transport.carrier), (true, None));
        let led: Vec<_> = config
            .routing
            .rules
            .iter()
            .map(|rule| &rule.target)
            .collect();
        assert_eq!(led.len(), 1);
        assert_eq!(*led[0], Target::Outbound(to.tag.clone().unwrap()).into());
    }
    let config = read("-L ws://:1?header=Foo:");
    let ServerCarrier::Ws(ws) = &config.inbounds[0].transport.carrier else {
        panic!("it is a WebSocket");
    };
    assert!(ws.headers["foo"].is_empty());
    for wrong in ["foo: [bar]", "foo: {a: b}"] {
        let loaded = of_file(&FILE.replacen("foo: bar", wrong, 1));
        let told = errors(&loaded);
        assert!(
            told[0].ends_with("expected the text of a header"),
            "{told:?}"
        );
    }
}

/// The other one would never be asked, nor its accounts.
#[test]
fn two_services_of_streams_have_two_ports() {
    for args in [
        "-L http+ws://127.0.0.1:1 -L http+ws://u:p@127.0.0.1:1",
        "-L relay+ws://:1?path=/a -L http+ws://:1?path=/b",
        "-L mws://:1 -L ws://:1",
    ] {
        let said = errors(&load(&launch(args))).join("\n");
        assert!(
            said.contains("port 1 is listened on by `service-0` already"),
            "{args}: {said}"
        );
    }
    read("-L http+ws://127.0.0.1:1 -L http+ws://127.0.0.2:1 -L udp://127.0.0.1:1/127.0.0.1:2");
    read("-L :0 -L :0");
}

#[test]
fn of_two_keys_the_one_counts_that_counts_in_gost() {
    let path = |args: &str| path(&read(args).inbounds[0]).to_owned();
    assert_eq!(path("-L ws://:1?path=/1&path=/2"), "/1");
    assert_eq!(path("-L ws://:1?path=/y&ws.path=/z"), "/z");
    assert_eq!(path("-L ws://:1?ws.path=/z&path=/y"), "/z");
    // What is printed is read by gost, whose files have no such word.
    let read = load(&launch("-L socks5h://:1 -F socks5h://a.test:1"));
    assert_eq!(errors(&read), [""; 0]);
    // Nothing is said by a zero.
    self::read("-L mws://:1?mux.version=0&mux.keepaliveInterval=0&mux.keepaliveTimeout=0");
}

/// GOST writes the key of a URL into every part.
#[test]
fn retries_may_stand_in_every_part() {
    let text = "services:
- addr: ':1'
  handler: {type: http, retries: 2}
  listener: {type: tcp, metadata: {retries: '2'}}
  metadata: {retries: '2'}
";
    assert_eq!(errors(&of_file(text)), [""; 0]);
}
