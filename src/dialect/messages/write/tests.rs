use super::*;
use crate::config::{Config, Outbound};
use crate::dialect::messages::{inbound, outbound};
use crate::dialect::v2ray::{Format, Input, load};
use serde_json::json;
use std::fs;

/// Doors without a port (which Xray has another meaning for), names that are left as they are, a mux of V2Ray 5's, the way through a browser, and what is ours alone.
const UNWRITTEN: [&str; 19] = [
    "api inbounds[0]",
    "api-open-to-all inbounds[0]",
    "api-open-to-all inbounds[2]",
    "api-rule-for-all inbounds[0]",
    "client-browser outbounds[0]",
    "client-sniffing inbounds[0]",
    "domainsocket outbounds[0]",
    "mux-packetaddr outbounds[0]",
    "server-behind-cdn inbounds[0]",
    "server-behind-cdn inbounds[0]",
    "server-early-data inbounds[0]",
    "server-early-data inbounds[1]",
    "server-httpupgrade inbounds[0]",
    "server-panel inbounds[0]",
    "server-several-paths inbounds[1]",
    "server-tls-self-signed inbounds[0]",
    "server-trusted-proxies inbounds[0]",
    "split-by-name inbounds[0]",
    "v5-httpupgrade outbounds[0]",
];

/// All that loads, and what of it Xray's messages have no word for.
#[test]
fn what_is_written_is_read_as_it_was_meant() {
    let (mut same, mut others) = (0, Vec::new());
    for folder in ["good", "real"] {
        for entry in fs::read_dir(format!("testdata/configs/{folder}")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let Some(config) = load(&[Input::File(path.clone())], Format::V4).config else {
                continue;
            };
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            for is_same in parts(config) {
                match is_same {
                    Ok(()) => same += 1,
                    Err(part) => others.push(format!("{name} {part}")),
                }
            }
        }
    }
    // Of a password only the key is kept.
    others.retain(|name| !name.contains("shadowsocks"));
    others.sort();
    assert!(same > 100, "{same}");
    assert_eq!(others, UNWRITTEN);
}

fn parts(config: Config) -> Vec<Result<(), String>> {
    let inbounds = config.inbounds.into_iter().map(|part| {
        let read = inbound(&write_inbound(&part, Keys::Told));
        let name = part.name.clone();
        let read = read.map(|read| config::Inbound {
            name: name.clone(),
            ..read
        });
        match read {
            Ok(read) if read == part => Ok(()),
            _ => Err(name),
        }
    });
    let outbounds = config.outbounds.into_iter().map(|part| {
        let read = outbound(&write_outbound(&part, Keys::Told));
        let name = part.name.clone();
        let read = read.map(|read| Outbound {
            name: name.clone(),
            ..read
        });
        match read {
            Ok(read) if read == part => Ok(()),
            _ => Err(name),
        }
    });
    inbounds.chain(outbounds).collect()
}

/// In Xray's messages it has words; V2Ray would lead it to port 0.
#[test]
fn a_door_whose_target_is_open_is_xrays_alone() {
    for (settings, word) in [
        (json!({"rewritePort": 5}), Some("a door without an address")),
        (
            json!({"address": "a.test", "port": 0}),
            Some("a target without a port of its own"),
        ),
        (json!({"address": "a.test", "port": 5}), None),
    ] {
        let inbound = json!({"listen": "127.0.0.1", "port": 1, "protocol": "dokodemo-door", "settings": settings});
        let text = Input::Text {
            name: "c.json".to_owned(),
            text: json!({"inbounds": [inbound], "outbounds": [{"protocol": "freedom"}]})
                .to_string(),
        };
        let config = load(&[text], Format::V4).config.unwrap();
        let said = v2ray_inbound(&config.inbounds[0]).err();
        let expected = word.map(|word| format!("V2Ray's messages have no word for {word}"));
        assert_eq!(said, expected);
        assert!(parts(config).iter().all(Result::is_ok), "{settings}");
    }
}

/// What becomes of questions is said otherwise in either form, and means the same.
#[test]
fn a_dns_outbound_is_written_in_either_form() {
    let none = |word: &str| Err(format!("V2Ray's messages have no word for {word}"));
    for (settings, v2ray, is_xrays) in [
        (json!({}), Ok(()), true),
        (
            json!({"address": "192.0.2.1", "port": 5353, "network": "tcp"}),
            Ok(()),
            true,
        ),
        (json!({"nonIPQuery": "drop"}), Ok(()), true),
        (
            json!({"nonIPQuery": "reject"}),
            none("this `nonIPQuery`"),
            true,
        ),
        (
            json!({"overrideResponseTTL": true, "responseTTL": 5}),
            Ok(()),
            false,
        ),
        (
            json!({"blockTypes": [65, 64]}),
            none("`rules` of a `dns` outbound"),
            true,
        ),
        (
            json!({"rules": [{"action": "return", "rCode": 3, "qType": "64-65"}, {"action": "hijack"}]}),
            none("`rules` of a `dns` outbound"),
            true,
        ),
        (
            json!({"rules": [{"action": "drop", "domain": ["a.test"]}]}),
            none("`rules` of a `dns` outbound"),
            false,
        ),
    ] {
        let text = Input::Text {
            name: "c.json".to_owned(),
            text: json!({"outbounds": [{"tag": "a", "protocol": "dns", "settings": settings}]})
                .to_string(),
        };
        let config = load(&[text], Format::V4).config.unwrap();
        let written = v2ray_outbound(&config.outbounds[0]);
        if let Ok(message) = &written {
            let read = outbound(message).unwrap();
            assert_eq!(read.protocol, config.outbounds[0].protocol, "{settings}");
        }
        assert_eq!(written.map(|_| ()), v2ray, "{settings}");
        let is_whole = parts(config).iter().all(Result::is_ok);
        assert_eq!(is_whole, is_xrays, "{settings}");
    }
}
