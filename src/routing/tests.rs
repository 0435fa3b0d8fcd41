//! Rules, and where they send sessions.

use std::net::IpAddr;

use super::attrs::Expression;
use super::*;
use crate::address::PortRange;
use crate::matching::{Domains, Networks, Pattern, parse_network};
use crate::session::Process;

#[test]
fn the_first_rule_that_takes_a_session_decides() {
    let router = router([
        (domains(Pattern::Full("a.b.com".into())), "proxy"),
        (domains(Pattern::Domain("b.com".into())), "block"),
        (networks(&[Network::Tcp, Network::Udp]), "direct"),
    ]);
    let to = |to: &str| picked(&router, &facts(&to.parse().unwrap()), None);
    assert_eq!(to("a.b.com:1"), "proxy");
    assert_eq!(to("x.a.b.com:1"), "block");
    assert_eq!(to("9.9.9.9:1"), "direct");
}

#[test]
fn addresses_of_a_name_are_asked_for_as_the_strategy_says() {
    let pick = |strategy, resolved: Option<&str>| {
        let private = Conditions {
            ports: ports(80),
            ..ips(&["10.0.0.0/8"])
        };
        let router = Router {
            strategy,
            ..router([
                (private, "block"),
                (domains(Pattern::Domain("a.com".into())), "direct"),
            ])
        };
        let resolved: Option<Vec<IpAddr>> = resolved.map(|ip| vec![ip.parse().unwrap()]);
        ["a.com:80", "b.com:80", "b.com:81"].map(|to| {
            let to = to.parse().unwrap();
            picked(&router, &facts(&to), resolved.as_deref())
        })
    };
    use DomainStrategy::{AsIs, IpIfNonMatch, IpOnDemand};
    assert_eq!(pick(AsIs, None), ["direct", "-", "-"]);
    assert_eq!(pick(IpIfNonMatch, None), ["direct", "ip?", "-"]);
    assert_eq!(pick(IpOnDemand, None), ["ip?", "ip?", "-"]);
    let private = Some("10.0.0.1");
    assert_eq!(pick(IpIfNonMatch, private), ["block", "block", "-"]);
    let public = Some("8.8.8.8");
    assert_eq!(pick(IpOnDemand, public), ["direct", "-", "-"]);
}

#[test]
fn a_unix_socket_has_no_source_address() {
    let sources = Conditions {
        sources: ips(&["0.0.0.0/0", "::/0"]).ips,
        ..Conditions::default()
    };
    let router = router([(sources, "block")]);
    let to = "a.com:80".parse().unwrap();
    assert_eq!(picked(&router, &facts(&to), None), "-");
    let source = Source::Ip("1.1.1.1:1".parse().unwrap());
    let session = RouteInput {
        source,
        ..facts(&to)
    };
    assert_eq!(picked(&router, &session, None), "block");
}

#[test]
fn an_address_that_means_this_machine_is_met_by_its_rules() {
    let here = Conditions {
        networks: vec![Network::Tcp],
        ..ips(&["127.0.0.0/8", "::1"])
    };
    let abroad = Conditions {
        ips: Some(Networks {
            outside: ips(&["127.0.0.0/8", "::1"])
                .ips
                .map(|all| all.inside)
                .into_iter()
                .collect(),
            ..Networks::default()
        }),
        ..Conditions::default()
    };
    let router = Router {
        strategy: DomainStrategy::IpOnDemand,
        ..router([
            (here, "block"),
            (ips(&["0.0.0.0", "::"]), "proxy"),
            (abroad, "direct"),
        ])
    };
    let on = |network, to: &str, resolved: Option<&[IpAddr]>| {
        let to = format!("{to}:80").parse().unwrap();
        let session = RouteInput {
            network,
            ..facts(&to)
        };
        picked(&router, &session, resolved)
    };
    for to in [
        "127.0.0.1",
        "0.0.0.0",
        "0",
        "0x0",
        "127.1",
        "[::]",
        "[::ffff:0.0.0.0]",
        "[::ffff:127.9.9.9]",
    ] {
        assert_eq!(on(Network::Tcp, to, None), "block", "{to}");
    }
    let udp = |to| on(Network::Udp, to, None);
    assert_eq!(udp("0.0.0.0"), "proxy", "either form may be meant");
    assert_eq!(udp("127.0.0.1"), "-", "it is not abroad");
    assert_eq!(udp("8.8.8.8"), "direct");
    let resolved = ["0.0.0.0".parse().unwrap()];
    assert_eq!(on(Network::Tcp, "a.example", None), "ip?");
    assert_eq!(on(Network::Tcp, "a.example", Some(&resolved)), "block");
}

#[test]
fn a_name_for_rules_alone_does_not_stand_for_the_address() {
    let named = Conditions {
        ports: ports(80),
        ..domains(Pattern::Full("a.example".into()))
    };
    let router = Router {
        strategy: DomainStrategy::IpIfNonMatch,
        ..router([(named, "proxy"), (ips(&["192.168.0.0/16"]), "block")])
    };
    let pick = |to: &str| {
        let to = to.parse().unwrap();
        let session = RouteInput {
            named: Some("a.example"),
            ..facts(&to)
        };
        picked(&router, &session, None)
    };
    assert_eq!(pick("192.168.0.1:80"), "proxy");
    let whatever_its_name_resolves_to = pick("192.168.0.1:81");
    assert_eq!(whatever_its_name_resolves_to, "block");
    assert_eq!(pick("8.8.8.8:81"), "-");
}

/// As Xray has it with `routeOnly`.
#[test]
fn addresses_of_a_name_for_rules_are_those_that_rules_ask_for() {
    let rules = || {
        router([
            (ips(&["203.0.113.0/24"]), "of the name"),
            (ips(&["198.51.100.0/24", "10.0.0.0/8"]), "of the way"),
        ])
    };
    let pick = |strategy, to: &str, resolved: Option<&str>| {
        let router = Router {
            strategy,
            ..rules()
        };
        let to = to.parse().unwrap();
        let session = RouteInput {
            named: Some("a.example"),
            resolves_named: true,
            ..facts(&to)
        };
        let resolved: Option<Vec<IpAddr>> = resolved.map(|ips| {
            ips.split_terminator(' ')
                .map(|ip| ip.parse().unwrap())
                .collect()
        });
        picked(&router, &session, resolved.as_deref())
    };
    use DomainStrategy::{AsIs, IpIfNonMatch, IpOnDemand};
    for to in ["198.51.100.1:80", "8.8.8.8:80"] {
        assert_eq!(pick(IpOnDemand, to, None), "ip?", "{to}");
        let found = pick(IpOnDemand, to, Some("203.0.113.5"));
        assert_eq!(found, "of the name", "{to}");
    }
    assert_eq!(pick(IpOnDemand, "198.51.100.1:80", Some("1.1.1.1")), "-");
    // A name without addresses.
    assert_eq!(pick(IpOnDemand, "198.51.100.1:80", Some("")), "of the way");
    assert_eq!(pick(AsIs, "198.51.100.1:80", None), "of the way");
    assert_eq!(pick(AsIs, "8.8.8.8:80", None), "-");
    assert_eq!(pick(IpIfNonMatch, "198.51.100.1:80", None), "of the way");
    assert_eq!(pick(IpIfNonMatch, "8.8.8.8:80", None), "ip?");
    assert_eq!(
        pick(IpIfNonMatch, "8.8.8.8:80", Some("203.0.113.5")),
        "of the name"
    );
    assert_eq!(pick(IpIfNonMatch, "8.8.8.8:80", Some("")), "-");
}

#[test]
fn a_rule_that_asks_for_the_inbound_alone_takes_all_of_its_streams() {
    let inbounds = |tags: &[&str]| Conditions {
        inbounds: strings(tags).into(),
        ..Conditions::default()
    };
    let panel = || inbounds(&["panel"]);
    let both = vec![Network::Tcp, Network::Udp];
    for (conditions, takes) in [
        (inbounds(&["panel", "other"]), true),
        (
            Conditions {
                networks: both,
                ..panel()
            },
            true,
        ),
        (
            Conditions {
                networks: vec![Network::Udp],
                ..panel()
            },
            false,
        ),
        (
            Conditions {
                ports: ports(80),
                ..panel()
            },
            false,
        ),
        (
            Conditions {
                sources: ips(&["10.0.0.0/8"]).ips,
                ..panel()
            },
            false,
        ),
        (networks(&[Network::Tcp]), false),
    ] {
        let shown = format!("{conditions:?}");
        let router = router([(conditions, "api")]);
        let leads = |inbound, to| router.leads_all_streams(inbound, |tag| tag == to);
        assert_eq!(leads("panel", "api"), takes, "{shown}");
        assert!(!leads("vmess", "api") && !leads("panel", "direct"));
    }
}

#[test]
fn what_a_session_carries_is_asked_for_by_the_beginning_of_its_name() {
    let conditions = Conditions {
        protocols: strings(&["bittorrent", "http"]).into(),
        ..Conditions::default()
    };
    let router = router([(conditions, "block")]);
    let to = "1.1.1.1:80".parse().unwrap();
    let takes = |protocol| {
        let session = RouteInput {
            protocol,
            ..facts(&to)
        };
        picked(&router, &session, None) == "block"
    };
    let taken = [Some("http1"), Some("http/1.1"), Some("bittorrent")];
    assert!(taken.into_iter().all(takes));
    assert!(![None, Some("tls"), Some("quic")].into_iter().any(takes));
}

#[test]
fn attributes_are_those_of_a_request_and_nothing_else_has_any() {
    let attrs = Expression::parse("attrs[':method'] == 'GET' or True");
    let conditions = Conditions {
        ports: ports(80),
        attrs: Some(attrs.unwrap()),
        ..Conditions::default()
    };
    let router = router([(conditions, "block")]);
    let request: Attributes = [(":method".to_owned(), "POST".to_owned())].into();
    let takes = |port, attributes| {
        let to = format!("1.1.1.1:{port}").parse().unwrap();
        let session = RouteInput {
            attributes,
            ..facts(&to)
        };
        picked(&router, &session, None) == "block"
    };
    assert!(takes(80, Some(&request)));
    assert!(!takes(81, Some(&request)) && !takes(80, None));
    assert!(
        !takes(80, Some(&Attributes::new())),
        "an error takes nothing"
    );
}

#[test]
fn a_balancer_asks_the_observer_that_it_names() {
    let health = HealthTables::new(["", "x", ""].into_iter());
    let tags = ["a", "b", "c"].map(Arc::<str>::from);
    for (table, tag) in health.tables().zip(&tags) {
        let alive = Observation {
            alive: true,
            ..Observation::default()
        };
        table.note(tag, alive);
    }
    let chosen = |observer: &str| {
        let balancer = BalancerSettings {
            tag: "any".to_owned(),
            strategy: Strategy::LEAST_PING.into(),
            selectors: vec![String::new()].into(),
            observer: observer.to_owned().into(),
            ..BalancerSettings::default()
        };
        let rule = Rule {
            tag: String::new(),
            conditions: Conditions::default(),
            target: Target::Balancer("any".to_owned()).into(),
        };
        let settings = Settings {
            rules: vec![rule],
            balancers: vec![balancer],
            ..Settings::default()
        };
        let router = Router::new(settings, &health);
        let to = "1.1.1.1:80".parse().unwrap();
        let Pick::Balancer(balancer) = router.pick(&facts(&to), None) else {
            panic!("the rule takes everything");
        };
        balancer.choose(tags.iter(), || 0)
    };
    assert_eq!(chosen("").as_deref(), Some("a"));
    assert_eq!(chosen("x").as_deref(), Some("b"));
    assert_eq!(chosen("nobody"), None);
}

fn router<const N: usize>(rules: [(Conditions, &str); N]) -> Router {
    let rule = |(conditions, to): (_, &str)| Rule {
        tag: String::new(),
        conditions,
        target: Target::Outbound(to.into()).into(),
    };
    let settings = Settings {
        rules: rules.into_iter().map(rule).collect(),
        ..Settings::default()
    };
    Router::new(settings, &HealthTables::default())
}

fn domains(pattern: Pattern) -> Conditions {
    Conditions {
        domains: Some(Domains::new([pattern]).unwrap()),
        ..Conditions::default()
    }
}

fn ips(texts: &[&str]) -> Conditions {
    let all = texts.iter().map(|text| parse_network(text).unwrap());
    Conditions {
        ips: Some(Networks {
            inside: all.collect(),
            ..Networks::default()
        }),
        ..Conditions::default()
    }
}

fn networks(networks: &[Network]) -> Conditions {
    Conditions {
        networks: networks.to_vec(),
        ..Conditions::default()
    }
}

fn ports(port: u16) -> Vec<PortRange> {
    vec![PortRange {
        from: port,
        to: port,
    }]
}

#[test]
fn the_end_that_is_ours_is_asked_for_like_the_other_one() {
    let here = Conditions {
        locals: ips(&["10.0.0.0/8"]).ips,
        local_ports: ports(85),
        ..Conditions::default()
    };
    let router = router([(here, "block")]);
    let to = "a.test:1".parse().unwrap();
    for (local, takes) in [
        (Some("10.1.2.3:85"), true),
        (Some("10.1.2.3:91"), false),
        (Some("11.1.2.3:85"), false),
        (None, false),
    ] {
        let local = local.map_or(Source::Unix, |at| Source::Ip(at.parse().unwrap()));
        let session = RouteInput {
            local,
            ..facts(&to)
        };
        let tag = if takes { "block" } else { "-" };
        assert_eq!(picked(&router, &session, None), tag, "{local}");
    }
}

#[test]
fn the_program_is_looked_for_where_all_else_holds_and_nowhere_else() {
    let some = ["curl", "/opt/chat/bin/chat", "/usr/games/", "self/"];
    let programs = Conditions {
        programs: some.map(ProgramTest::parse).to_vec(),
        ..networks(&[Network::Tcp])
    };
    let router = router([(programs, "block")]);
    let to = "a.test:1".parse().unwrap();
    let stream = facts(&to);
    let datagram = RouteInput {
        network: Network::Udp,
        ..stream
    };
    assert_eq!(picked(&router, &stream, None), "program?");
    assert_eq!(picked(&router, &datagram, None), "-");
    let of = |id, path: &str| Process {
        id,
        path: path.to_owned(),
    };
    for (process, takes) in [
        (Some(of(1, "/usr/bin/curl")), true),
        (Some(of(1, "/usr/bin/curl2")), false),
        (Some(of(1, "/opt/chat/bin/chat")), true),
        (Some(of(1, "/usr/bin/chat")), false),
        (Some(of(1, "/usr/games/deep/down/x")), true),
        (Some(of(1, "/usr/gamesx")), false),
        (Some(of(std::process::id(), "/bin/x")), true),
        (Some(of(1, "")), false),
        (None, false),
    ] {
        let session = RouteInput {
            program: Program::Asked(process.as_ref()),
            ..stream
        };
        let tag = if takes { "block" } else { "-" };
        assert_eq!(picked(&router, &session, None), tag, "{process:?}");
    }
    // As Xray reads them: Windows' ending is not one of the name.
    assert_eq!(
        ProgramTest::parse("curl.exe"),
        ProgramTest::Name("curl".to_owned())
    );
    let own = std::env::current_exe().unwrap();
    let own = ProgramTest::Path(own.to_str().unwrap().to_owned());
    assert_eq!(ProgramTest::parse("xray/"), own);
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// The tag of the outbound; `-` without one, `ip?` when addresses are asked for, `program?` when the program is.
fn picked(router: &Router, session: &RouteInput, resolved: Option<&[IpAddr]>) -> String {
    match router.pick(session, resolved) {
        Pick::Outbound(tag) => tag.to_string(),
        Pick::Balancer(balancer) => balancer.tag().to_owned(),
        Pick::NeedsIp => "ip?".to_owned(),
        Pick::NeedsProgram => "program?".to_owned(),
        Pick::Default => "-".to_owned(),
    }
}

fn facts(to: &Destination) -> RouteInput<'_> {
    RouteInput {
        inbound: None,
        source: Source::Unix,
        local: Source::Unix,
        vless_route: 0,
        program: Program::Unasked,
        network: Network::Tcp,
        to,
        named: None,
        resolves_named: false,
        user: None,
        protocol: None,
        attributes: None,
    }
}

/// Clash's `no-resolve`: what such a rule takes is an address that a session names, or one that was looked up before.
#[test]
fn a_rule_may_do_without_looking_names_up() {
    let near = |no_resolve| Conditions {
        no_resolve,
        ..ips(&["10.0.0.0/8"])
    };
    let router = Router {
        strategy: DomainStrategy::IpOnDemand,
        ..router([
            (near(true), "direct"),
            (domains(Pattern::Full("a.example".to_owned())), "named"),
            (ips(&["192.0.2.0/24"]), "far"),
            (near(true), "late"),
        ])
    };
    let on = |to: &str, resolved: Option<&str>| {
        let to = to.parse().unwrap();
        let resolved: Option<Vec<IpAddr>> = resolved.map(|ip| vec![ip.parse().unwrap()]);
        picked(&router, &facts(&to), resolved.as_deref())
    };
    assert_eq!(on("10.0.0.1:80", None), "direct");
    assert_eq!(on("a.example:80", None), "named");
    assert_eq!(on("b.example:80", None), "ip?");
    assert_eq!(on("b.example:80", Some("192.0.2.1")), "far");
    assert_eq!(on("b.example:80", Some("10.0.0.1")), "late");
    assert_eq!(on("a.example:80", Some("10.0.0.1")), "named");
}
