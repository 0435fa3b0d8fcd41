//! The whole room against servers that answer by a script, without a network.

mod net;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::codec::Family;
use super::{
    Fallback, Families, HostEntry, HostNames, HostValue, Lookup, Resolver, Server, Settings,
    Strategy, Upstream, Via, asking,
};
use crate::address::Destination;
use crate::matching::{Domains, Networks, Pattern, parse_network};
use crate::session::Owner;
use net::Net;

#[tokio::test]
async fn a_host_may_stand_for_a_response_code() {
    let settings = Settings {
        hosts: vec![HostEntry {
            names: HostNames::Full("ads.example".to_owned()),
            values: vec![HostValue::Code(3)],
        }],
        ..Settings::default()
    };
    let resolver = Resolver::new(settings);
    let reply = resolver
        .lookup("Ads.example", Families::BOTH)
        .await
        .unwrap();
    assert_eq!((reply.code, reply.ips), (3, vec![]));
    let to = "ads.example:53".parse().unwrap();
    assert!(resolver.bootstrap(&to).await.is_err());
}

#[tokio::test]
async fn names_are_asked_for_where_their_domains_say_and_else_in_order() {
    let net = Net::new();
    for (ip, answer) in [
        ("1.1.1.1", "10.0.0.1"),
        ("2.2.2.2", "10.0.0.2"),
        ("3.3.3.3", "10.0.0.3"),
    ] {
        net.answers(ip, "", &[answer]);
    }
    let (com, b_com) = (domain("com"), domain("b.com"));
    let key = Pattern::Keyword("key".into());
    let resolver = net.resolver([
        server("1.1.1.1"),
        server("2.2.2.2").first_for([com]),
        server("3.3.3.3").first_for([b_com, key]),
    ]);
    for (name, answer) in [
        ("a.org", "10.0.0.1"),
        ("a.com", "10.0.0.2"),
        // The closest pattern wins, then a name before a keyword, as in V2Ray 4.45.
        ("a.B.com", "10.0.0.3"),
        ("key.com", "10.0.0.2"),
        ("key.org", "10.0.0.3"),
    ] {
        assert_eq!(
            v4(&resolver, name).await,
            Ok(vec![answer.to_owned()]),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn silence_for_four_seconds_goes_on_to_the_next_server() {
    let net = Net::new();
    net.answers("2.2.2.2", "", &["10.0.0.2"]);
    let resolver = net.resolver(["1.1.1.1", "2.2.2.2"].map(server));
    let begin = Instant::now();
    assert_eq!(
        v4(&resolver, "a.com").await,
        Ok(vec!["10.0.0.2".to_owned()])
    );
    assert_eq!(begin.elapsed().as_secs(), 4);
    assert_eq!(
        net.asked("1.1.1.1"),
        2,
        "a datagram may be lost, so it goes twice"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_has_the_time_that_its_settings_give_it() {
    let net = Net::new();
    net.answers("2.2.2.2", "", &["10.0.0.2"]);
    let impatient = Server {
        patience: Duration::from_millis(500),
        ..server("1.1.1.1")
    };
    let resolver = net.resolver([impatient.clone(), server("2.2.2.2")]);
    let begin = Instant::now();
    assert_eq!(
        v4(&resolver, "a.com").await,
        Ok(vec!["10.0.0.2".to_owned()])
    );
    assert_eq!(begin.elapsed().as_millis(), 500);
    let resolver = net.resolver([impatient]);
    let error = v4(&resolver, "b.com").await.unwrap_err();
    assert!(
        error.contains("did not answer for b.com within 500 ms"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn dead_names_of_one_user_delay_nobody_else() {
    let net = Net::new();
    net.answers("1.1.1.1", "live.com", &["10.0.0.1"]);
    let resolver = net.resolver_of(Settings {
        hosts: vec![host(Pattern::Full("h.com".into()), &["10.0.0.2"])],
        servers: vec![server("1.1.1.1")],
        ..Settings::default()
    });
    let owner = |n: u8| Owner::Host([192, 0, 2, n].into());
    let dead: Vec<_> = (0..5000)
        .map(|n| {
            let resolver = resolver.clone();
            let look = async move { v4(&resolver, &format!("{n}.dead.com")).await };
            crate::io::spawn(asking(owner(1), look))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let begin = Instant::now();
    let live = asking(owner(2), v4(&resolver, "live.com")).await;
    assert_eq!(live, Ok(vec!["10.0.0.1".to_owned()]));
    let host = asking(owner(1), v4(&resolver, "h.com")).await;
    assert_eq!(
        host,
        Ok(vec!["10.0.0.2".to_owned()]),
        "its own share is not asked"
    );
    assert_eq!(begin.elapsed().as_millis(), 0);
    let mut refused = 0;
    for look in dead {
        let text = look.await.unwrap().unwrap_err();
        refused += usize::from(text.contains("too many names of 192.0.2.1 wait"));
    }
    assert!(refused > 3000, "{refused}");
    assert!(begin.elapsed().as_secs() <= 8);
}

#[tokio::test(start_paused = true)]
async fn an_error_names_every_server_and_what_was_wrong_with_it() {
    let net = Net::new();
    net.answers("3.3.3.3", "", &["10.0.0.2"]);
    let resolver = net.resolver([
        server("1.1.1.1"),
        server("3.3.3.3").expects("11.0.0.0/8"),
        server("tcp://9.9.9.9:5353"),
    ]);
    assert_eq!(
        v4(&resolver, "a.com").await.unwrap_err(),
        "cannot resolve a.com: dns: 1.1.1.1 did not answer for a.com within 4 s; \
         3.3.3.3 says that a.com is at 10.0.0.2, which `expectIPs` does not hold; \
         tcp://9.9.9.9:5353 has no answer for a.com: connection refused"
    );
}

#[tokio::test]
async fn an_answer_without_addresses_is_the_last_word() {
    let net = Net::new();
    net.code("1.1.1.1", "gone.com", 3);
    net.code("1.1.1.1", "none.com", 0);
    net.code("1.1.1.1", "broken.com", 2);
    net.answers("2.2.2.2", "", &["10.0.0.2"]);
    let resolver = net.resolver(["1.1.1.1", "2.2.2.2"].map(server));
    for (name, reason) in [
        ("gone.com", "there is no such name"),
        ("none.com", "it has no IPv4 address"),
        ("broken.com", "its servers fail (SERVFAIL)"),
    ] {
        let error = v4(&resolver, name).await.unwrap_err();
        assert_eq!(error, format!("cannot resolve {name}: {reason}"));
    }
    assert_eq!(net.asked("2.2.2.2"), 0);
}

#[tokio::test(start_paused = true)]
async fn fallback_can_be_forbidden() {
    let net = Net::new();
    net.answers("2.2.2.2", "", &["10.0.0.2"]);
    for (fallback, of_domains, of_others) in [
        (Fallback::Always, true, true),
        (Fallback::Never, false, false),
        (Fallback::WithoutMatch, false, true),
    ] {
        let first = Server {
            skip_fallback: true,
            ..server("1.1.1.1").first_for([Pattern::Full("a.com".into())])
        };
        let resolver = net.resolver_of(Settings {
            servers: vec![first, server("2.2.2.2")],
            fallback,
            ..Settings::default()
        });
        let is_found = async |name| v4(&resolver, name).await.is_ok();
        assert_eq!(is_found("a.com").await, of_domains, "{fallback:?}");
        assert_eq!(is_found("b.com").await, of_others, "{fallback:?}");
    }
}

#[tokio::test]
async fn only_expected_addresses_are_handed_out() {
    let net = Net::new();
    net.answers("1.1.1.1", "", &["11.0.0.1", "10.0.0.1"]);
    let resolver = net.resolver([server("1.1.1.1").expects("10.0.0.0/8")]);
    assert_eq!(
        v4(&resolver, "a.com").await,
        Ok(vec!["10.0.0.1".to_owned()])
    );
}

/// Who hears of a failure might ask another server, which is what the list is there against.
#[tokio::test]
async fn a_client_hears_of_no_address_where_none_is_expected() {
    let net = Net::new();
    net.answers("1.1.1.1", "", &["11.0.0.1"]);
    let resolver = net.resolver([server("1.1.1.1").expects("10.0.0.0/8")]);
    let reply = resolver.answer("a.com", Families::V4).await.unwrap();
    assert_eq!((reply.code, &*reply.ips), (0, &[][..]));
    assert!(resolver.lookup("a.com", Families::V4).await.is_err());
}

/// As in Xray, what is only preferred is asked about behind what must be.
#[tokio::test]
async fn addresses_may_be_unwanted_or_only_preferred() {
    let networks = |network: &str| {
        let inside = [parse_network(network).unwrap()].into_iter().collect();
        Some(Networks {
            inside,
            ..Networks::default()
        })
    };
    let (ten, eleven) = (networks("10.0.0.0/8"), networks("11.0.0.0/8"));
    let net = Net::new();
    net.answers("1.1.1.1", "", &["11.0.0.1", "10.0.0.1", "12.0.0.1"]);
    net.answers("2.2.2.2", "", &["11.0.0.2"]);
    let [one, two] = ["1.1.1.1", "2.2.2.2"].map(server);
    for (servers, expected) in [
        (
            vec![Server {
                unexpected: eleven.clone(),
                ..one.clone()
            }],
            vec!["10.0.0.1", "12.0.0.1"],
        ),
        (
            vec![
                Server {
                    unexpected: eleven.clone(),
                    ..two.clone()
                },
                one.clone(),
            ],
            vec!["11.0.0.1", "10.0.0.1", "12.0.0.1"],
        ),
        (
            vec![Server {
                unexpected: eleven.clone(),
                prefers_others: true,
                ..two.clone()
            }],
            vec!["11.0.0.2"],
        ),
        (
            vec![Server {
                expected: ten.clone(),
                prefers_expected: true,
                ..two.clone()
            }],
            vec!["11.0.0.2"],
        ),
        (
            vec![Server {
                expected: ten.clone(),
                prefers_expected: true,
                ..one.clone()
            }],
            vec!["10.0.0.1"],
        ),
        (
            vec![Server {
                expected: eleven.clone(),
                prefers_expected: true,
                unexpected: eleven.clone(),
                ..one.clone()
            }],
            vec!["10.0.0.1", "12.0.0.1"],
        ),
    ] {
        let resolver = net.resolver_of(Settings {
            servers,
            ..Settings::default()
        });
        let found = v4(&resolver, "a.com").await.unwrap();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn an_answer_is_remembered_and_the_same_question_is_asked_once() {
    let net = Net::new();
    net.answers("1.1.1.1", "", &["10.0.0.1"]);
    let resolver = net.resolver([server("1.1.1.1")]);
    let asks = (0..10).map(|n| {
        let resolver = resolver.clone();
        let name = if n % 2 == 0 { "a.com" } else { "A.com." };
        crate::io::spawn(async move { v4(&resolver, name).await })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert!(ask.await.unwrap().is_ok());
    }
    assert!(v4(&resolver, "a.com").await.is_ok());
    assert_eq!(net.asked("1.1.1.1"), 1);

    let forgetful = net.resolver([Server {
        caches: false,
        ..server("1.1.1.1")
    }]);
    for _ in 0..3 {
        assert!(v4(&forgetful, "a.com").await.is_ok());
    }
    assert_eq!(net.asked("1.1.1.1"), 4);
}

#[tokio::test]
async fn one_way_to_a_server_carries_all_questions_and_is_made_anew_when_it_breaks() {
    let tcp = server("tcp://1.1.1.1:53");
    let direct = Server {
        via: Via::Direct,
        ..tcp.clone()
    };
    for server in [server("1.1.1.1"), tcp, direct] {
        let net = Net::new();
        net.answers("1.1.1.1", "", &["10.0.0.1"]);
        let resolver = net.resolver([server.clone()]);
        for name in ["a.com", "b.com", "c.com"] {
            assert!(v4(&resolver, name).await.is_ok(), "{server:?}");
        }
        assert_eq!(net.opened(), 1, "{server:?}");
        net.hang_up();
        assert!(v4(&resolver, "d.com").await.is_ok(), "{server:?}");
        assert_eq!(net.opened(), 2, "{server:?}");
        assert_eq!(net.vias(), [server.via.clone(), server.via]);
    }
}

/// As V2Ray does; who asks for both again has the same four seconds to wait each time.
#[tokio::test(start_paused = true)]
async fn a_family_that_is_never_answered_is_waited_for_once() {
    let net = Net::new();
    net.answers("1.1.1.1", "", &["10.0.0.1"]);
    net.0.lock().unwrap().unheard = Some(Family::V6);
    let resolver = net.resolver([server("1.1.1.1")]);
    let mut waits = Vec::new();
    for _ in 0..3 {
        let begin = Instant::now();
        let reply = resolver.lookup("a.com", Families::BOTH).await.unwrap();
        assert_eq!(reply.ips.len(), 1);
        waits.push(begin.elapsed().as_secs());
    }
    assert_eq!(waits, [4, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_way_that_is_silent_altogether_is_given_up() {
    let net = Net::new();
    let resolver = net.resolver([server("1.1.1.1")]);
    assert!(v4(&resolver, "a.com").await.is_err());
    assert_eq!(net.opened(), 1);
    net.answers("1.1.1.1", "", &["10.0.0.1"]);
    assert!(v4(&resolver, "b.com").await.is_ok());
    assert_eq!(net.opened(), 2);
    assert!(v4(&resolver, "c.com").await.is_ok());
    assert_eq!(net.opened(), 2);
}

#[tokio::test]
async fn a_reply_that_had_no_room_is_asked_for_by_tcp() {
    let net = Net::new();
    let many: Vec<String> = (0..50).map(|n| format!("10.0.0.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    net.answers("1.1.1.1", "", &many);
    let resolver = net.resolver([server("1.1.1.1")]);
    assert_eq!(v4(&resolver, "a.com").await.unwrap().len(), 50);
    assert_eq!(net.opened(), 2);
}

#[tokio::test]
async fn https_is_spoken_in_both_versions_over_connections_that_are_kept() {
    for (host, is_h2) in [("h1.example", false), ("h2.example", true)] {
        let net = Net::new();
        net.answers(host, "", &["10.0.0.1"]);
        net.0.lock().unwrap().is_h2 = is_h2;
        let url = format!("https://{host}/dns-query");
        let resolver = net.resolver([server(&url)]);
        for name in ["a.com", "b.com"] {
            assert_eq!(v4(&resolver, name).await, Ok(vec!["10.0.0.1".to_owned()]));
        }
        assert_eq!(net.opened(), 1, "{host}");
        if is_h2 {
            let (one, two) = tokio::join!(v4(&resolver, "x.com"), v4(&resolver, "y.com"));
            assert!(one.is_ok() && two.is_ok());
            assert_eq!(net.opened(), 1, "{host}");
        }
        net.hang_up();
        assert!(v4(&resolver, "c.com").await.is_ok());
        assert_eq!(net.opened(), 2, "{host}");
    }
}

#[tokio::test]
async fn an_http_server_that_is_no_dns_server_is_told() {
    let net = Net::new();
    let resolver = net.resolver([server("https://h1.example/")]);
    assert_eq!(
        v4(&resolver, "a.com").await.unwrap_err(),
        "cannot resolve a.com: dns: https://h1.example/ has no answer for a.com: \
         it answers with HTTP status 404 Not Found"
    );
}

#[tokio::test]
async fn families_are_those_of_the_strategy_and_of_the_section() {
    let net = Net::new();
    net.answers("1.1.1.1", "", &["10.0.0.1", "2001:db8::1"]);
    let (both, v4, v6) = (Families::BOTH, Families::V4, Families::V6);
    for (families, strategy, expected) in [
        (both, Strategy::UseIp, &["10.0.0.1", "2001:db8::1"][..]),
        (both, Strategy::PreferIpv6, &["2001:db8::1", "10.0.0.1"]),
        (v4, Strategy::UseIp, &["10.0.0.1"]),
        (v6, Strategy::PreferIpv4, &["2001:db8::1"]),
        (v6, Strategy::UseIpv4, &[]),
    ] {
        let resolver = net.resolver_of(Settings {
            servers: vec![server("1.1.1.1")],
            families,
            ..Settings::default()
        });
        let found = lookup(&resolver, "a.com", strategy)
            .await
            .unwrap_or_default();
        assert_eq!(found, expected, "{families:?} {strategy:?}");
    }
}

#[tokio::test]
async fn hosts_come_before_all_servers() {
    let net = Net::new();
    net.answers("1.1.1.1", "real.com", &["10.0.0.1"]);
    let resolver = net.resolver_of(Settings {
        hosts: vec![
            host(Pattern::Full("fixed.com".into()), &["1.2.3.4"]),
            host(domain("many.com"), &["1.2.3.4", "::1", "1.2.3.5"]),
            host(Pattern::Full("alias.com".into()), &["real.com"]),
            host(Pattern::Regex("^[^.]*$".into()), &["127.0.0.1"]),
        ],
        servers: vec![server("1.1.1.1")],
        ..Settings::default()
    });
    for (name, expected) in [
        ("Fixed.com", &["1.2.3.4"][..]),
        ("a.many.com", &["1.2.3.4", "1.2.3.5"]),
        ("alias.com", &["10.0.0.1"]),
        ("host", &["127.0.0.1"]),
    ] {
        assert_eq!(v4(&resolver, name).await.unwrap(), expected, "{name}");
    }
    assert_eq!(
        lookup(&resolver, "fixed.com", Strategy::UseIpv6).await,
        Err("cannot resolve fixed.com: it has no IPv6 address".to_owned())
    );
    assert_eq!(net.asked("1.1.1.1"), 1, "real.com, whoever asks for it");
    let own = resolver
        .bootstrap(&"Fixed.com:853".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(own, ["1.2.3.4:853".parse().unwrap()]);
}

#[tokio::test]
async fn names_of_the_house_stay_in_the_house() {
    let net = Net::new();
    net.answers("1.1.1.1", "", &["10.0.0.1"]);
    let resolver = net.resolver(["1.1.1.1", "localhost"].map(server));
    let found = lookup(&resolver, "localhost", Strategy::UseIpv4).await;
    assert_eq!(found, Ok(vec!["127.0.0.1".to_owned()]));
    assert_eq!(net.asked("1.1.1.1"), 0);
}

/// By UDP, unless the text is a URL.
fn server(text: &str) -> Server {
    let upstream = match text.split_once("://") {
        None if text == "localhost" => Upstream::System,
        None => Upstream::Udp(format!("{text}:53").parse().unwrap()),
        Some(("tcp", to)) => Upstream::Tcp(to.parse().unwrap()),
        Some((_, rest)) => {
            let (host, _) = rest.split_once('/').unwrap();
            Upstream::Https {
                url: text.parse().unwrap(),
                to: format!("{host}:443").parse().unwrap(),
            }
        }
    };
    Server {
        via: Via::Routed(Some("dns-in".into())),
        ..Server::new(text, upstream)
    }
}

impl Server {
    fn first_for<const N: usize>(self, patterns: [Pattern; N]) -> Self {
        let domains = Some(Domains::ranked(patterns).unwrap());
        Self { domains, ..self }
    }

    fn expects(self, network: &str) -> Self {
        let inside = [parse_network(network).unwrap()].into_iter().collect();
        let expected = Some(Networks {
            inside,
            ..Networks::default()
        });
        Self { expected, ..self }
    }
}

fn domain(name: &str) -> Pattern {
    Pattern::Domain(name.to_owned())
}

fn host(pattern: Pattern, values: &[&str]) -> HostEntry {
    let value = |text: &&str| match text.parse() {
        Ok(ip) => HostValue::Ip(ip),
        Err(_) => HostValue::Name((*text).to_owned()),
    };
    HostEntry {
        names: HostNames::new(vec![pattern]).unwrap(),
        values: values.iter().map(value).collect(),
    }
}

async fn v4(resolver: &Arc<Resolver>, name: &str) -> Result<Vec<String>, String> {
    lookup(resolver, name, Strategy::UseIpv4).await
}

async fn lookup(
    resolver: &Arc<Resolver>,
    name: &str,
    strategy: Strategy,
) -> Result<Vec<String>, String> {
    let to: Destination = format!("{name}:1").parse().unwrap();
    let found = Lookup::new(resolver, strategy).resolve(&to).await;
    let ip = |addr: &std::net::SocketAddr| addr.ip().to_string();
    found
        .map(|all| all.iter().map(ip).collect())
        .map_err(|e| e.to_string())
}

#[test]
fn families_meet() {
    assert_eq!(Families::BOTH.and(Families::V4), Families::V4);
    assert_eq!(Families::V6.and(Families::V4), Families::NONE);
    assert_eq!(Families::from(Family::V6), Families::V6);
}
