//! What command lines and files become.

use super::*;
use crate::config::Inbound;
use crate::protocol::{InboundSettings, OutboundSettings};
use crate::routing::{Strategy, Target};
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
    ] {
        let told = errors(&load(&launch(args))).join("\n");
        assert!(told.contains(expected), "{args}: {told}");
    }
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
    let config = read("-L :1 -F ws://a.test:1,b.test:2");
    let failing = config.routing.balancers[0].failing.unwrap();
    assert_eq!((failing.max_fails, failing.timeout.as_secs()), (1, 30));
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
fn a_bypass_is_a_list_of_rules() {
    let config = read("-L :1 -F ws://a.test:1,b.test:2?bypass=~10.0.0.0/8,.corp.test");
    // Only what is in the list goes through the chain.
    assert_eq!(targets(&config), ["[chain-0]", "[chain-0]", "direct"]);
    // One that has the target ends the chain in front of its hop.
    let config = read("-L :1 -F ws://a.test:1?bypass=.a.test -F ws://b.test:2?bypass=~10.0.0.0/8");
    let first = "chain-0/node-0";
    let last = "chain-0#0/node-0";
    assert!(
        config
            .outbounds
            .iter()
            .any(|o| o.tag.as_deref() == Some(first))
    );
    assert_eq!(targets(&config), ["direct", last, first]);
    // With `~` another one is behind it for none, and in front of it would have to be.
    let two = "-L :1 -F ws://a.test:1?bypass=~10.0.0.0/8 -F ws://b.test:2?bypass=.a.test";
    let told = errors(&load(&launch(two))).join("");
    assert!(
        told.contains("another bypass behind one with `~`"),
        "{told}"
    );
    let several = "-L :1 -F ws://a.test:1,b.test:1 -F ws://c.test:2?bypass=.a.test";
    let told = errors(&load(&launch(several))).join("");
    assert!(told.contains("behind a hop of several nodes"), "{told}");
}

#[test]
fn a_bypass_of_a_node_leaves_the_others_of_its_hop() {
    let of = |bypasses: [&str; 3]| {
        let nodes = ["a", "b", "c"].iter().zip(bypasses).map(|(name, bypass)| {
            format!("    - {{name: {name}, addr: '{name}.test:1', connector: {{type: relay}}{bypass}}}\n")
        });
        let nodes: String = nodes.collect();
        of_file(&format!(
            "services:\n- name: s\n  addr: :1\n  handler: {{type: socks5, chain: c}}\n\
             bypasses:\n- name: inside\n  matchers: [10.0.0.0/8]\n\
             chains:\n- name: c\n  hops:\n  - name: h\n    nodes:\n{nodes}"
        ))
    };
    let balanced = |loaded: &Loaded, tag: &str| {
        let config = loaded.config.as_ref().unwrap();
        let balancers = &config.routing.balancers;
        let balancer = balancers.iter().find(|one| one.tag == tag).unwrap();
        let tags = config.outbounds.iter().filter_map(|o| o.tag.as_deref());
        tags.filter(|tag| balancer.selects(tag))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let inside = ", bypass: inside";
    let loaded = of(["", inside, ""]);
    assert_eq!(errors(&loaded), [""; 0]);
    assert_eq!(targets(loaded.config.as_ref().unwrap()), ["[c!0]", "[c]"]);
    assert_eq!(balanced(&loaded, "c!0"), ["c#0/a", "c#2/c"]);
    assert_eq!(balanced(&loaded, "c").len(), 3);
    let loaded = of([inside, ", bypasses: [inside]", ""]);
    assert_eq!(targets(loaded.config.as_ref().unwrap()), ["c#2/c", "[c]"]);
    let loaded = of([inside, inside, inside]);
    assert_eq!(targets(loaded.config.as_ref().unwrap()), ["direct", "[c]"]);
    let loaded = of([inside, ", bypass: ~10.0.0.0/8", ""]);
    let told = errors(&loaded).join("");
    assert!(
        told.starts_with("gost.yml:") && told.contains("different bypasses"),
        "{told}"
    );
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

const FILE: &str = "\
services:
- name: service-0
  addr: :8080
  handler:
    type: http
    chain: chain-0
  listener:
    type: tcp
chains:
- name: chain-0
  hops:
  - name: hop-0
    nodes:
    - name: node-0
      addr: :8443
      connector:
        type: http
      dialer:
        type: wss
        metadata:
          keepAlive: true
          ttl: 15s
          header:
            foo: bar
            baz: 123
";

#[test]
fn a_file_says_the_same() {
    let loaded = of_file(FILE);
    assert_eq!(errors(&loaded), [""; 0]);
    let config = loaded.config.unwrap();
    let ClientCarrier::Ws(ws) = &config.outbounds[2].transport.carrier else {
        panic!("{config:?}")
    };
    assert_eq!(ws.headers["baz"], "123");
    assert_eq!(ws.heartbeat.unwrap().as_secs(), 15);
}

#[test]
fn accounts_that_nobody_asks_for_are_told() {
    for part in ["listener:\n    type: tcp", "dialer:\n        type: wss"] {
        let pad = if part.starts_with('l') {
            "    "
        } else {
            "        "
        };
        let with = format!("{part}\n{pad}auth: {{username: u, password: sesame}}\n");
        let text = FILE.replace(part, with.trim_end());
        let said = errors(&of_file(&text)).join("\n");
        assert!(said.contains("`auth` is not built here"), "{text}\n{said}");
        assert!(!said.contains("sesame"), "{said}");
    }
}

#[test]
fn a_mistake_in_a_file_has_its_line() {
    let told = |from: &str, to: &str| errors(&of_file(&FILE.replace(from, to))).join("\n");
    let text = told("type: wss", "type: wsss");
    assert_eq!(
        text,
        "gost.yml:19:15: chains[0].hops[0].nodes[0].dialer.type: there is no `wsss`, expected `tcp`, `udp`, `tls`, `ws`, \
         `wss`, `mws`, `mwss`, `rtcp` or `rudp`, did you mean `wss`?"
    );
    let text = told("keepAlive: true", "keepAlife: true");
    assert!(
        text.starts_with("gost.yml:21:22: chains[0].hops[0].nodes[0].dialer.metadata.keepAlife: "),
        "{text}"
    );
    let text = told("chain: chain-0", "chain: chain-1");
    assert!(text.contains("there is no chain `chain-1`"), "{text}");
    let text = told("hops:", "hops: [");
    assert!(text.starts_with("gost.yml:"), "{text}");
}

#[test]
fn an_address_that_is_a_colon_is_any() {
    let loaded = of_file(&FILE.replacen("addr: :8080", "addr: :", 1));
    assert_eq!(errors(&loaded), [""; 0]);
    let config = loaded.config.unwrap();
    assert_eq!(config.inbounds[0].ports[0].from, 0);
}

/// As a page of gost's documentation has it, which gost itself refuses.
#[test]
fn tabs_stand_for_blanks() {
    let lines = [
        "services:",
        "- name: service-0",
        "  addr: :8443",
        "  handler:",
        "    type: auto",
        "  listener:",
        "    type: wss",
    ];
    for (indent, tabs) in [
        ("", ["\tmetadata:", "\t  path: /tabs"]),
        ("    ", ["\t\tmetadata:", "\t\t  path: /tabs"]),
    ] {
        let lines = lines.iter().map(|line| format!("{indent}{line}"));
        let all: Vec<String> = lines.chain(tabs.map(str::to_owned)).collect();
        let loaded = of_file(&all.join("\n"));
        assert_eq!(errors(&loaded), [""; 0]);
        assert_eq!(path(&loaded.config.unwrap().inbounds[0]), "/tabs");
    }
    let broken = of_file("services:\n- name: a\n\t\t: b\n  addr: [");
    assert!(
        errors(&broken)[0].contains("line 3 is indented with a tab"),
        "{:?}",
        errors(&broken)
    );
}

#[test]
fn what_is_printed_means_the_same() {
    let args = launch(
        "-L http+ws://u:p:w@:8080?path=/a%20b&bypass=10.0.0.0/8 -L wss://:1/:2 -F relayless://x:1",
    );
    assert!(print(&args, Form::Yaml).is_ok(), "it is not judged here");
    let args = launch(
        "-L http+ws://u:p:w@:8080?path=/a%20b -L wss://:1/:2 -F wss://a.test:1,b.test:2?strategy=rand&host=x",
    );
    let expected = load(&args).config.unwrap();
    for form in [Form::Yaml, Form::Json] {
        let text = print(&args, form).unwrap();
        let loaded = of_file(&text);
        assert_eq!(errors(&loaded), [""; 0], "{text}");
        let config = loaded.config.unwrap();
        assert_eq!(format!("{config:?}"), format!("{expected:?}"), "{text}");
    }
}

#[test]
fn a_bypass_without_a_target_is_an_error() {
    for args in [
        "-L tcp://:1 -F forward+ws://a.test:1?bypass=10.0.0.0/8",
        "-L udp://:1 -F relay+ws://a.test:1?bypass=~10.0.0.0/8",
        "-L tcp://:1?bypass=10.0.0.0/8 -F forward+ws://a.test:1",
    ] {
        let told = errors(&load(&launch(args))).join("\n");
        assert!(told.contains("needs a target"), "{args}: {told}");
    }
    read("-L tcp://:1/10.0.0.1:80 -F forward+ws://a.test:1?bypass=10.0.0.0/8");
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

#[test]
fn files_and_urls_stand_beside_each_other() {
    let both = |files: [&str; 2]| {
        let name = |text: &str| ("f.yml".to_owned(), text.to_owned());
        load(&Launch {
            services: vec!["http://:1".to_owned()],
            files: files.map(name).into(),
            ..Launch::default()
        })
    };
    // One alone is a list of one, and hides nothing.
    let alone = "services: {name: a, addr: ':2', handler: {type: http}}\nlog: {level: error}";
    let loaded = both([alone, "Services:\n- addr: ':3'\nLOG: {level: debug}"]);
    assert_eq!(errors(&loaded), [""; 0]);
    let config = loaded.config.unwrap();
    assert_eq!(config.inbounds.len(), 3);
    assert_eq!(config.log.level, LogLevel::Debug);
    assert!(errors(&both([alone, "services: what"])).len() == 1);

    // What `<<` brings stands behind what the map says itself, before it or after it.
    let merged = "services:\n- &a {addr: ':2', handler: {type: http}}\n- {<<: *a, ADDR: ':3'}\n- {addr: ':4', <<: *a}";
    let config = of_file(merged).config.unwrap();
    let ports: Vec<u16> = config.inbounds.iter().map(|x| x.ports[0].from).collect();
    assert_eq!(ports, [2, 3, 4]);
    let twice = of_file("services:\n- {addr: ':2', Addr: ':3'}");
    assert_eq!(errors(&twice), ["gost.yml:2:22: `Addr` is there twice"]);
}

/// A GOST passes over the name of a bypass that is not in its list.
#[test]
fn a_bypass_that_is_printed_has_a_name() {
    let args = "-L socks5://:1?bypass=192.0.2.1&udp=true -F ws://a.test:1?bypass=.a.test -F ws://b.test:2?bypass=~10.0.0.0/8,c.test";
    for form in [Form::Yaml, Form::Json] {
        let text = print(&launch(args), form).unwrap();
        let loaded = of_file(&text);
        assert_eq!(errors(&loaded), [""; 0], "{text}");
        assert_eq!(loaded.config.unwrap().routing, read(args).routing, "{text}");
    }
    let text = print(&launch(args), Form::Json).unwrap();
    let printed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(printed["services"][0]["bypass"], "bypass-0");
    assert_eq!(
        printed["services"][0]["metadata"]["bypass"],
        serde_json::Value::Null
    );
    let hops = &printed["chains"][0]["hops"];
    assert_eq!(
        [&hops[0]["bypass"], &hops[1]["bypass"]],
        ["bypass-1", "bypass-2"]
    );
    assert_eq!(
        printed["bypasses"][2],
        serde_json::json!({"name": "bypass-2", "whitelist": true, "matchers": ["10.0.0.0/8", "c.test"]})
    );
    let file = "services:\n- {addr: ':1', bypasses: [inside, ~.a.test], handler: {type: socks5}}\nbypasses:\n- {name: inside, matchers: [10.0.0.0/8]}";
    let launch = Launch {
        files: vec![("gost.yml".to_owned(), file.to_owned())],
        ..Launch::default()
    };
    let text = print(&launch, Form::Json).unwrap();
    let printed: serde_json::Value = serde_json::from_str(&text).unwrap();
    let names = serde_json::json!(["inside", "bypass-0"]);
    assert_eq!(printed["services"][0]["bypasses"], names, "{text}");
    assert_eq!(
        printed["bypasses"][1]["matchers"],
        serde_json::json!([".a.test"])
    );
}

/// Command lines, each of services and hops, that have words in a config.json.
const WORDS: [(&[&str], &[&str]); 9] = [
    (&["http+ws://user:pass@127.0.0.1:8080?path=/ray"], &[]),
    (
        &["auto://127.0.0.1:1080?udp=true"],
        &["relay+wss://u:p@a.test:443?secure=true&serverName=b.test"],
    ),
    (
        &["relay+mwss://127.0.0.1:8443?bind=true&mux.version=2"],
        &[],
    ),
    (
        &[":1080"],
        &[
            "http+tls://a.test:1",
            "socks5+mws://b.test:2?host=c.test&keepAlive=true&ttl=7s",
        ],
    ),
    (
        &["tcp://127.0.0.1:2222/a.test:22"],
        &["relay+ws://a.test:80?path=/x"],
    ),
    (
        &["udp://127.0.0.1:5353/192.0.2.1:53"],
        &["relay://a.test:1"],
    ),
    (&["relay+ws://127.0.0.1:1/a.test:22"], &[]),
    (
        &["rtcp://0.0.0.0:8080/127.0.0.1:80"],
        &[
            "relay+mwss://a.test:443?pin=abababababababababababababababababababababababababababababababab",
        ],
    ),
    (
        &["socks5://127.0.0.1:1080?bypass=192.0.2.0/24,*.a.test"],
        &["http+wss://a.test:443"],
    ),
];

fn of_words((services, hops): (&[&str], &[&str])) -> Loaded {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let loaded = load(&Launch {
        services: texts(services),
        hops: texts(hops),
        ..Launch::default()
    });
    assert_eq!(loaded.errors, [], "{services:?} {hops:?}");
    loaded
}

/// Without what is said in other places, or by nobody: names of parts, ALPN (of gost none, which nobody asks for), and
/// what a line of the log is to say.
fn bare(config: &Config) -> Config {
    let mut config = config.clone();
    for inbound in &mut config.inbounds {
        inbound.name.clear();
        if let Some(tls) = &mut inbound.transport.security {
            tls.alpn.clear();
        }
    }
    for outbound in &mut config.outbounds {
        outbound.name.clear();
        if let Some(tls) = &mut outbound.transport.security {
            tls.alpn.clear();
            tls.told_unverified = None;
        }
    }
    config
}

#[test]
fn a_config_json_of_it_means_the_same() {
    for words in WORDS {
        let loaded = of_words(words);
        let (value, lines) = loaded.to_config_json().unwrap();
        assert_eq!(lines, [""; 0], "{words:?}");
        let input = v2ray::Input::Text {
            name: "x".to_owned(),
            text: value.to_string(),
        };
        let read = v2ray::load(&[input], v2ray::Format::V4);
        assert_eq!(read.errors, [], "{value:#}");
        let (is, was) = (bare(&read.config.unwrap()), bare(&loaded.config.unwrap()));
        assert_eq!(is.inbounds, was.inbounds, "{value:#}");
        assert_eq!(is.outbounds, was.outbounds, "{value:#}");
        assert_eq!(is, was, "{value:#}");
    }
}

#[test]
fn a_config_comes_back_as_services_and_chains() {
    // Ports at a server, bypasses and pins of certificates have no word there.
    for words in WORDS.into_iter().take(7) {
        let config = of_words(words).config.unwrap();
        let mut lines = Vec::new();
        let text = write(&config, &mut lines);
        assert_eq!(lines, [""; 0], "{words:?}\n{text}");
        let again = load(&Launch {
            files: vec![("x".to_owned(), text.clone())],
            ..Launch::default()
        });
        assert_eq!(again.errors, [], "{text}");
        let (mut is, was) = (bare(&again.config.unwrap()), bare(&config));
        // Chains and nodes have names of their own.
        let tags = |config: &mut Config| {
            for outbound in &mut config.outbounds {
                outbound.tag = None;
                outbound.through = outbound
                    .through
                    .take()
                    .map(|through| crate::config::Through {
                        tag: "through".into(),
                        ..through
                    });
            }
        };
        let mut was = was;
        assert_eq!(is.routing.rules.len(), was.routing.rules.len(), "{text}");
        for config in [&mut is, &mut was] {
            tags(config);
            config.routing = Default::default();
        }
        assert_eq!(is, was, "{text}");
    }
    let mut lines = Vec::new();
    let config = of_words(WORDS[8]).config.unwrap();
    let text = write(&config, &mut lines);
    assert!(!text.contains("services:"), "{text}");
    assert!(
        lines[0].contains("a rule sends some of its sessions elsewhere"),
        "{lines:?}"
    );
}
