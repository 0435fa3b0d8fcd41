//! `grpcSettings`, which V2Ray 4 also calls `gunSettings`.
//!
//! | key | meaning |
//! |---|---|
//! | `serviceName` | where the calls are: `/NAME/Tun`; with a `/` in front, the path itself, as Xray has it |
//! | `multiMode` | client: `TunMulti` is called; a server takes both |
//! | `authority` | client: the name in requests; V2Ray 5: `host` |
//! | `user_agent` | client: the user agent, or `chrome`, `firefox`, `edge`, `golang` |
//! | `idle_timeout`, `health_check_timeout` | seconds between two pings, and for their answers |
//! | `permit_without_stream` | client: pings also without a tunnel |
//! | `initial_windows_size` | client: bytes on a stream before they are read |
//! | `trustedProxies`, `realIpHeader`, `parseXForwardedFor` | as in `wsSettings` |

use std::time::Duration;

use http::header::{HeaderValue, InvalidHeaderValue};

use super::json::{Node, Object, found};
use super::upgrade;
use crate::http::request::CHROME;
use crate::transport::grpc::{ClientSettings, Paths, ServerSettings};
use crate::transport::http2::Pings;

/// The least `initial_windows_size` that means anything, as in V2Ray: HTTP/2's own.
const LEAST_WINDOW: i64 = 65_535;

/// What grpc-go makes of a shorter `idle_timeout`.
const LEAST_PERIOD: Duration = Duration::from_secs(10);

/// Reads the settings of a server; absent ones are the defaults.
pub(super) fn server(settings: Option<&Node>) -> Option<ServerSettings> {
    let Some(node) = settings else {
        return Some(ServerSettings::default());
    };
    let object = node.object()?;
    let settings = ServerSettings {
        paths: read_paths(&object),
        pings: read_pings(&object),
        forwarded: upgrade::read_forwarded(&object),
    };
    object.silent(&[
        "multiMode",
        "authority",
        "host",
        "user_agent",
        "initial_windows_size",
    ]);
    object.silent(&["parseXForwardedFor", "acceptProxyProtocol"]);
    object.finish();
    Some(settings)
}

/// Reads the settings of a client; absent ones are the defaults.
pub(super) fn client(settings: Option<&Node>) -> Option<ClientSettings> {
    let Some(node) = settings else {
        return Some(ClientSettings::default());
    };
    let object = node.object()?;
    let named = object.first(&["authority", "host"]);
    let authority = named.as_ref().and_then(Node::read::<String>);
    let authority = authority.unwrap_or_default();
    if let Some(node) = named
        && !authority.is_empty()
        && authority.parse::<http::uri::Authority>().is_err()
    {
        node.error(format!("{} is no name of a server", found(node.value)));
    }
    let size = object.read_or("initial_windows_size", 0);
    let settings = ClientSettings {
        paths: read_paths(&object),
        multi: object.read_or("multiMode", false),
        authority: Some(authority).filter(|authority| !authority.is_empty()),
        user_agent: read_user_agent(&object),
        pings: read_pings(&object),
        window: window(size),
    };
    upgrade::warn_of_server_keys(&object);
    object.silent(&["parseXForwardedFor", "acceptProxyProtocol"]);
    object.finish();
    Some(settings)
}

fn read_paths(object: &Object) -> Paths {
    let name: String = object.read_or("serviceName", String::new());
    if let Some(node) = object.get("serviceName")
        && name.contains("://")
    {
        node.warn("this is a whole URL, expected the name of a service, such as `GunService`");
    }
    Paths::new(&name)
}

fn read_user_agent(object: &Object) -> Option<HeaderValue> {
    let node = object.get("user_agent")?;
    match user_agent(&node.read::<String>()?)? {
        Ok(value) => Some(value),
        Err(_) => {
            node.dead(format!("{} cannot stand in a header", found(node.value)));
            None
        }
    }
}

/// Xray's words stand for what these programs say; `None` is what is said when nothing is.
pub(in crate::dialect) fn user_agent(
    text: &str,
) -> Option<Result<HeaderValue, InvalidHeaderValue>> {
    match text {
        "" | "golang" => None,
        "chrome" => Some(Ok(HeaderValue::from_static(CHROME))),
        "firefox" => Some(Ok(HeaderValue::from_static(FIREFOX))),
        "edge" => Some(Ok(HeaderValue::from_static(EDGE))),
        text => Some(text.parse()),
    }
}

/// `initial_windows_size`, if it is one.
pub(in crate::dialect) fn window(size: i64) -> Option<u32> {
    // The most that HTTP/2 has.
    let size = size.min(i32::MAX.into());
    u32::try_from(size).ok().filter(|_| size >= LEAST_WINDOW)
}

/// `idle_timeout` and what belongs to it; without it, or with 0, nobody is pinged.
pub(super) fn read_pings(object: &Object) -> Option<Pings> {
    let period = object.first(&["idle_timeout", "read_idle_timeout"]);
    let period = period.and_then(|node| node.read());
    pings(
        period.unwrap_or_default(),
        object.read_or("health_check_timeout", 0),
        object.read_or("permit_without_stream", false),
    )
}

/// As [`read_pings`], of the numbers; those below 1 are none.
pub(in crate::dialect) fn pings(period: i64, limit: i64, without_stream: bool) -> Option<Pings> {
    let secs = |secs: i64| u64::try_from(secs).ok().filter(|secs| *secs > 0);
    let (period, limit) = (secs(period), secs(limit));
    let default = Pings::default();
    // As in V2Ray, either of the two is enough.
    let asked = period.is_some() || limit.is_some() || without_stream;
    asked.then(|| Pings {
        period: period
            .map_or(default.period, Duration::from_secs)
            .max(LEAST_PERIOD),
        limit: limit.map_or(default.limit, Duration::from_secs),
        without_stream,
    })
}

const FIREFOX: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:157.0) Gecko/20100101 Firefox/157.0";
const EDGE: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                    Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::v2ray::json::Report;

    fn read<T>(value: &Value, reader: fn(Option<&Node>) -> Option<T>) -> (T, Vec<String>) {
        let report = Report::default();
        let read = reader(Some(&Node::root(value, &report))).unwrap();
        let problems = report.errors().into_iter().chain(report.warnings());
        (read, problems.map(|problem| problem.to_string()).collect())
    }

    #[test]
    fn a_client_s_keys_are_those_of_v2ray_and_of_xray() {
        let settings = json!({
            "serviceName": "a", "multiMode": true, "authority": "a.example", "user_agent": "firefox",
            "idle_timeout": 60, "health_check_timeout": 5, "permit_without_stream": true,
            "initial_windows_size": 70000,
        });
        let (read, problems) = read(&settings, client);
        assert_eq!(problems, [""; 0]);
        let expected = ClientSettings {
            paths: Paths::new("a"),
            multi: true,
            authority: Some("a.example".to_owned()),
            user_agent: Some(HeaderValue::from_static(FIREFOX)),
            pings: Some(Pings {
                period: Duration::from_secs(60),
                limit: Duration::from_secs(5),
                without_stream: true,
            }),
            window: Some(70_000),
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn numbers_that_mean_nothing_are_the_defaults() {
        for settings in [
            json!({"idle_timeout": 0, "health_check_timeout": -1, "initial_windows_size": 10}),
            json!({"user_agent": "golang", "authority": ""}),
        ] {
            let (read, problems) = read(&settings, client);
            assert_eq!((read, problems.len()), (ClientSettings::default(), 0));
        }
        let (read, _) = read(&json!({"idle_timeout": 1}), server);
        assert_eq!(read.pings, Some(Pings::default()));
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        let (_, problems) = read(&json!({"authority": "a b"}), client);
        assert_eq!(problems, ["authority: `a b` is no name of a server"]);
        let (_, problems) = read(&json!({"serviceName": "https://a/b"}), server);
        assert_eq!(problems.len(), 1);
    }
}
