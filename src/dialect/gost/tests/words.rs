//! The words of a config.json for what gost says, there and back.

use super::*;
use crate::cause::Words;

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
        &["auto://127.0.0.1:1080?bypass=192.0.2.0/24,*.a.test"],
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
    // Of V2Ray's it is the other one.
    config.log.error = LogTarget::Console;
    config.log.keys = LogKeys::default();
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
            tls.words = Words::Config;
        }
        // In a config.json a client with an account asks to be asked for it.
        if let OutboundSettings::Socks(socks) = &mut outbound.protocol {
            socks.offers_none = false;
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
