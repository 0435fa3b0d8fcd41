use super::*;

fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).unwrap();
        map.append(name, value.parse().unwrap());
    }
    map
}

fn from(peer: &str) -> Source {
    match peer {
        "unix" => Source::Unix,
        ip => SocketAddr::new(ip.parse().unwrap(), 4000).into(),
    }
}

fn listing(listed: &[&str], headers: &[&'static str]) -> Forwarded {
    let nets = listed.iter().flat_map(|text| Net::read(text).unwrap());
    let headers = headers.iter().map(|name| HeaderName::from_static(name));
    Forwarded {
        marks: Vec::new(),
        trusted: Trusted::Listed(nets.collect()),
        headers: headers.collect(),
    }
}

fn client_of(forwarded: &Forwarded, headers: &[(&str, &str)], peer: &str) -> Option<String> {
    let client = forwarded.client(&header_map(headers), from(peer));
    client.map(|source| source.to_string())
}

const XFF: &str = "X-Forwarded-For";

#[test]
fn without_a_list_the_first_address_counts_however_it_is_written() {
    for (value, ip) in [
        ("203.0.113.9", Some("203.0.113.9:0")),
        ("203.0.113.9, 10.0.0.1", Some("203.0.113.9:0")),
        (" 203.0.113.9:567 ", Some("203.0.113.9:0")),
        ("2001:db8::1", Some("[2001:db8::1]:0")),
        ("[2001:db8::1]", Some("[2001:db8::1]:0")),
        ("[2001:db8::1]:5,1.2.3.4", Some("[2001:db8::1]:0")),
        ("::ffff:203.0.113.9", Some("203.0.113.9:0")),
        ("unknown, 203.0.113.9", None),
        ("", None),
    ] {
        let found = client_of(&Forwarded::default(), &[(XFF, value)], "127.0.0.1");
        assert_eq!(found.as_deref(), ip, "{value}");
    }
}

#[test]
fn a_request_with_the_mark_of_a_cdn_is_believed_from_anywhere() {
    let marked = Forwarded {
        marks: vec![HeaderName::from_static("x-cdn")],
        ..Forwarded::default()
    };
    let said = (XFF, "203.0.113.9");
    for (headers, ip) in [
        (&[said, ("X-CDN", "a")][..], Some("203.0.113.9:0")),
        (&[said], None),
    ] {
        for peer in ["8.8.8.8", "127.0.0.1"] {
            assert_eq!(client_of(&marked, headers, peer).as_deref(), ip, "{peer}");
        }
    }
    let listed = Forwarded {
        trusted: Trusted::Listed(Vec::new()),
        ..marked
    };
    assert_eq!(client_of(&listed, &[said, ("X-CDN", "a")], "8.8.8.8"), None);
}

/// The proxies are 127.0.0.1, 198.51.100.0/24 and 2001:db8:cd::/48.
#[test]
fn with_a_list_the_last_address_counts_that_is_no_proxy_s() {
    let proxies = listing(&["127.0.0.1", "198.51.100.0/24", "2001:db8:cd::/48"], &[]);
    for (lines, ip) in [
        (&["203.0.113.9"][..], Some("203.0.113.9:0")),
        // What the client says itself stands before it, in the same line or another one.
        (&["8.8.8.8, 203.0.113.9"], Some("203.0.113.9:0")),
        (&["8.8.8.8", "203.0.113.9"], Some("203.0.113.9:0")),
        (
            &["8.8.8.8, 127.0.0.1", "203.0.113.9, 198.51.100.7"],
            Some("203.0.113.9:0"),
        ),
        (
            &["203.0.113.9,198.51.100.7,127.0.0.1"],
            Some("203.0.113.9:0"),
        ),
        (
            &["8.8.8.8, 203.0.113.9:55, 198.51.100.7:443"],
            Some("203.0.113.9:0"),
        ),
        (
            &["8.8.8.8, 2001:db8::5, [2001:db8:cd::1]:443"],
            Some("[2001:db8::5]:0"),
        ),
        (&["8.8.8.8, fe80::5%eth0"], Some("[fe80::5]:0")),
        (&["203.0.113.9, ::ffff:198.51.100.7"], Some("203.0.113.9:0")),
        (
            &["203.0.113.9, , ,198.51.100.7,", ""],
            Some("203.0.113.9:0"),
        ),
        // Nobody else: the farthest proxy is all that is known.
        (&["198.51.100.9, 198.51.100.7"], Some("198.51.100.9:0")),
        // A proxy that does not say whom it saw. What stands before it may be anybody's.
        (&["8.8.8.8, unknown, 198.51.100.7"], Some("198.51.100.7:0")),
        (&["8.8.8.8, _hidden"], None),
        (&["8.8.8.8, \u{fc}"], None),
        (&["8.8.8.8, 1.2.3"], None),
        (
            &["8.8.8.8, 1.2.3.4.5, 198.51.100.7"],
            Some("198.51.100.7:0"),
        ),
        (&[""], None),
        (&[], None),
    ] {
        let headers: Vec<_> = lines.iter().map(|line| (XFF, *line)).collect();
        for peer in ["127.0.0.1", "198.51.100.3", "::ffff:198.51.100.3", "unix"] {
            let found = client_of(&proxies, &headers, peer);
            assert_eq!(found.as_deref(), ip, "{lines:?}");
        }
        assert_eq!(client_of(&proxies, &headers, "203.0.113.1"), None);
    }
}

#[test]
fn a_header_of_the_cdn_s_own_names_the_client() {
    let cf = ("CF-Connecting-IP", "203.0.113.9");
    let edge = (XFF, "203.0.113.9, 172.70.1.2");
    let around = (XFF, "8.8.8.8, 192.0.2.66");
    let local = listing(&["127.0.0.1"], &["cf-connecting-ip"]);
    let both = listing(&["127.0.0.1", "cloudflare"], &["cf-connecting-ip"]);
    let nearby = Forwarded {
        headers: both.headers.clone(),
        ..Forwarded::default()
    };
    for (forwarded, headers, peer, ip) in [
        (&nearby, &[cf][..], "127.0.0.1", Some("203.0.113.9:0")),
        (&nearby, &[cf, around], "127.0.0.1", Some("203.0.113.9:0")),
        (&nearby, &[cf], "198.51.100.1", None),
        (&local, &[cf, edge], "127.0.0.1", Some("203.0.113.9:0")),
        (&local, &[cf, edge], "172.70.1.2", None),
        (&both, &[cf], "127.0.0.1", Some("203.0.113.9:0")),
        (&both, &[cf], "172.70.1.2", Some("203.0.113.9:0")),
        (&both, &[cf, edge], "unix", Some("203.0.113.9:0")),
        // Somebody who found the web server and invents a header of the CDN's.
        (&both, &[cf, around], "127.0.0.1", Some("192.0.2.66:0")),
        // Nothing in it: the list tells.
        (&both, &[edge], "127.0.0.1", Some("203.0.113.9:0")),
        (
            &both,
            &[("CF-Connecting-IP", "?"), edge],
            "127.0.0.1",
            Some("203.0.113.9:0"),
        ),
    ] {
        let found = client_of(forwarded, headers, peer);
        assert_eq!(found.as_deref(), ip, "{headers:?} from {peer}");
    }
}

#[test]
fn the_header_of_rfc_7239_is_read_as_a_list() {
    let forwarded = listing(
        &["127.0.0.1", "198.51.100.0/24"],
        &["true-client-ip", "forwarded"],
    );
    for (value, ip) in [
        ("for=203.0.113.9", Some("203.0.113.9:0")),
        (
            "for=8.8.8.8, For=203.0.113.9;proto=https, by=1.2.3.4;for=198.51.100.7",
            Some("203.0.113.9:0"),
        ),
        ("for=\"[2001:db8::1]:4711\"", Some("[2001:db8::1]:0")),
        ("for=8.8.8.8, for=unknown", None),
        ("for=8.8.8.8, proto=http", None),
        ("for", None),
    ] {
        let found = client_of(&forwarded, &[("Forwarded", value)], "127.0.0.1");
        assert_eq!(found.as_deref(), ip, "{value}");
    }
    let headers = [
        ("Forwarded", "for=8.8.8.8"),
        ("True-Client-IP", "203.0.113.9"),
    ];
    let found = client_of(&forwarded, &headers, "127.0.0.1");
    assert_eq!(
        found.as_deref(),
        Some("203.0.113.9:0"),
        "their order is the user's"
    );
}

#[test]
fn only_some_peers_are_believed() {
    let listed = listing(
        &[
            "198.51.100.0/24",
            "2001:db8::/32",
            "192.0.2.7",
            "::ffff:10.0.0.0/104",
        ],
        &[],
    );
    let everyone = listing(&["0.0.0.0/0"], &[]);
    let nobody = listing(&[], &[]);
    let local = listing(&["Loopback"], &[]);
    let private = listing(&["private"], &[]);
    let nearby = Forwarded::default();
    for (forwarded, peer, believed) in [
        (&nearby, "127.0.0.2", true),
        (&nearby, "192.168.3.4", true),
        (&nearby, "fe80::1", true),
        (&nearby, "fd00::1", true),
        (&nearby, "::1", true),
        (&nearby, "unix", true),
        (&nearby, "198.51.100.3", false),
        (&nearby, "2001:db8::5", false),
        (&listed, "198.51.100.3", true),
        (&listed, "198.51.101.3", false),
        (&listed, "2001:db8::5", true),
        (&listed, "192.0.2.7", true),
        (&listed, "192.0.2.8", false),
        (&listed, "10.9.8.7", true),
        (&listed, "127.0.0.1", false),
        (&listed, "unix", true),
        (&everyone, "8.8.8.8", true),
        (&nobody, "127.0.0.1", false),
        (&nobody, "unix", false),
        (&local, "127.8.8.8", true),
        (&local, "10.0.0.1", false),
        (&private, "10.0.0.1", true),
        (&private, "127.0.0.1", true),
    ] {
        // The first and the last address, so that either rule finds it.
        let found = client_of(forwarded, &[(XFF, "203.0.113.9")], peer);
        assert_eq!(found.is_some(), believed, "{peer}");
    }
}

#[test]
fn an_address_of_proxies_is_nobody_s_alone() {
    let listed = listing(&["198.51.100.0/24"], &[]);
    for (forwarded, source, is_shared) in [
        (&Forwarded::default(), "unix", true),
        (&Forwarded::default(), "127.0.0.1", true),
        (&Forwarded::default(), "192.168.1.5", false),
        (&Forwarded::default(), "203.0.113.9", false),
        (&Forwarded::default(), "172.70.1.2", true),
        (&listed, "198.51.100.7", true),
        (&listed, "172.70.1.2", true),
        (&listed, "203.0.113.9", false),
    ] {
        assert_eq!(forwarded.is_shared(from(source)), is_shared, "{source}");
    }
}

#[test]
fn a_network_has_an_address_and_a_fitting_prefix() {
    for text in [
        "",
        "10.0.0.0/33",
        "::/129",
        "::ffff:10.0.0.0/95",
        "10.0.0/8",
        "example.com",
        "10.0.0.0/x",
        "10.0.0.0/-1",
    ] {
        assert_eq!(Net::read(text), None, "{text}");
    }
}
