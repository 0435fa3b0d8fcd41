use serde_json::{Value, json};

use super::*;
use crate::dialect::v2ray::json::Report;
use crate::http::Trusted;
use http::HeaderName;

fn read<T>(value: &Value, reader: fn(Option<&Node>) -> Option<T>) -> (T, Vec<String>, Vec<String>) {
    let report = Report::default();
    let read = reader(Some(&Node::root(value, &report))).unwrap();
    let lines = |problems: Vec<crate::dialect::v2ray::json::Problem>| {
        problems
            .iter()
            .map(|p| format!("{}: {}", p.path, p.text))
            .collect()
    };
    (read, lines(report.errors()), lines(report.warnings()))
}

#[test]
fn a_path_gets_its_slash_and_loses_what_is_for_clients() {
    for (path, read_as) in [
        (json!(""), "/"),
        (json!("ray"), "/ray"),
        (json!("/a b"), "/a b"),
        (json!("/a%20b"), "/a%20b"),
        (json!("/ray?ed=2048"), "/ray"),
        (json!(null), "/"),
    ] {
        let settings = json!({"path": path});
        assert_eq!(read(&settings, server).0.path, read_as);
        assert_eq!(read(&settings, client).0.path, read_as);
    }
}

#[test]
fn a_header_that_is_null_is_none() {
    let (settings, errors, _) = read(&json!({"headers": {"X-A": null, "X-B": "b"}}), client);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(settings.headers.len(), 1);
}

#[test]
fn early_data_is_named_by_settings_or_by_the_path() {
    let protocol = || EarlyDataIn::Header(SEC_WEBSOCKET_PROTOCOL);
    for (settings, path, early) in [
        (
            json!({"path": "/ray?ed=2048"}),
            "/ray",
            Some((protocol(), 2048)),
        ),
        (
            json!({"path": "/ray?a=1&ed=20&b"}),
            "/ray?a=1&b",
            Some((protocol(), 20)),
        ),
        (json!({"path": "/ray?ed=x"}), "/ray?ed=x", None),
        (
            json!({"maxEarlyData": 100}),
            "/",
            Some((EarlyDataIn::Path, 100)),
        ),
        (
            json!({"maxEarlyData": 100, "earlyDataHeaderName": "X-Early"}),
            "/",
            Some((EarlyDataIn::Header(HeaderName::from_static("x-early")), 100)),
        ),
        (json!({"earlyDataHeaderName": "X-Early"}), "/", None),
    ] {
        let read = read(&settings, client).0;
        let early = early.map(|(carried_in, max)| EarlyData { carried_in, max });
        assert_eq!(
            (read.path.as_str(), read.early_data),
            (path, early),
            "{settings}"
        );
    }
}

#[test]
fn headers_come_as_a_map_or_as_a_list_and_host_is_set_apart() {
    for (settings, host) in [
        (
            json!({"headers": {"Host": "a.example", "X-A": "1"}}),
            "a.example",
        ),
        (
            json!({"header": [{"key": "host", "value": "b.example"}, {"key": "X-A", "value": "1"}]}),
            "b.example",
        ),
        (
            json!({"host": "c.example", "headers": {"Host": "a.example", "x-a": "1"}}),
            "c.example",
        ),
    ] {
        let (settings, errors, _) = read(&settings, client);
        assert_eq!(settings.host.as_ref().unwrap(), host);
        assert_eq!(settings.headers.get("x-a").unwrap(), "1");
        assert_eq!((settings.headers.len(), errors.len()), (1, 0));
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    let settings = json!({
        "maxEarlyData": -1,
        "earlyDataHeaderName": "a b",
        "headers": {"X Y": "1", "X-Z": "a\nb", "Upgrade": "h2c", "X-N": 1},
        "heartbeatPeriod": -5,
        "trustedProxies": ["10.0.0.0/8", "10.0.0.0/99", "Cloudflare"],
        "realIpHeader": ["CF-Connecting-IP", "X Y"],
        "useBrowserForwarding": true,
        "acceptProxyProtocol": true,
        "paht": "/ray",
    });
    let (_, mut errors, mut warnings) = read(&settings, server);
    warnings.sort();
    errors.sort();
    assert_eq!(
        errors,
        [
            "headers.X-N: the number 1 is not a string",
            "headers.X-Z: `a\\nb` cannot stand in a header",
            "heartbeatPeriod: the number -5 is not a whole number from 0 to 4294967295",
            "realIpHeader: `X Y` is not the name of a header",
            "trustedProxies: `10.0.0.0/99` is not an IP address, a network such as `10.0.0.0/8` or one of the names \
             `cloudflare`, `fastly`, `private`, `loopback`",
        ]
    );
    assert_eq!(
        warnings,
        [
            "earlyDataHeaderName: `a b` is not the name of a header, there is no early data",
            "headers.Upgrade: `upgrade` belongs to the handshake and cannot be set, the header is left out",
            "headers[\"X Y\"]: `X Y` is not the name of a header, the header is left out",
            "maxEarlyData: the number -1 is negative, there is no early data, expected a number of bytes or 0",
            "paht: unknown key, it has no effect, did you mean `path`?",
            "useBrowserForwarding: this is for the client, a server takes browsers as they come: the key has no effect",
        ]
    );
}

#[test]
fn the_heartbeat_is_thirty_seconds_another_or_off() {
    for (settings, secs) in [
        (json!({}), Some(30)),
        (json!({"heartbeatPeriod": 5}), Some(5)),
        (json!({"heartbeatPeriod": 0}), None),
    ] {
        let expected = secs.map(Duration::from_secs);
        assert_eq!(read(&settings, server).0.heartbeat, expected);
        assert_eq!(read(&settings, client).0.heartbeat, expected);
    }
}

#[test]
fn parsing_forwarded_addresses_can_be_turned_off() {
    let nobody = Trusted::Listed(Vec::new());
    for (settings, expected) in [
        (json!({"parseXForwardedFor": false}), nobody.clone()),
        (
            json!({"parseXForwardedFor": false, "trustedProxies": ["127.0.0.1"]}),
            nobody,
        ),
        (json!({"parseXForwardedFor": true}), Trusted::Nearby),
        (json!({}), Trusted::Nearby),
    ] {
        let (inbound, errors, warnings) = read(&settings, server);
        assert_eq!(inbound.forwarded.trusted, expected);
        assert_eq!((errors.len(), warnings.len()), (0, 0));
    }
}
