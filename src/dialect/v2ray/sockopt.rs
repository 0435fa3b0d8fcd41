//! `sockopt`.

use std::time::Duration;

use http::HeaderName;
use serde_json::Value;

use super::dns::domain_strategy;
use super::upgrade::read_names;
use crate::dialect::v2ray::json::{Node, Object, found, one_of, one_of_or};
use crate::transport::tcp::{FastOpen, KeepAlive, Race, SockOpt, TcpOptions, Tproxy};

/// Reads `sockopt`.
pub(super) fn read(settings: &Node) -> SockOpt {
    let Some(object) = settings.object() else {
        return SockOpt::default();
    };
    let sockopt = SockOpt {
        send_through: None,
        fast_open: read_fast_open(&object),
        keep_alive: read_keep_alive(&object),
        // V2Ray reads an int32 and takes 0 for "none".
        mark: object.read("mark").filter(|mark: &u32| *mark != 0),
        device: object
            .first(&["bindToDevice", "interface"])
            .and_then(|node| read_device(&node)),
        mptcp: object
            .first(&["mptcp", "tcpMptcp"])
            .and_then(|node| node.read())
            .unwrap_or(false),
        tproxy: object
            .get("tproxy")
            .and_then(|node| read_tproxy(&node))
            .unwrap_or_default(),
        every_arrival: !object.read_or("rcvLowat", true),
        strategy: object
            .get("domainStrategy")
            .and_then(|node| domain_strategy(&node))
            .unwrap_or_default(),
        race: object
            .object("happyEyeballs")
            .map(read_race)
            .unwrap_or_default(),
        v6_only: object.read_or("V6Only", false),
        tcp: TcpOptions {
            congestion: object
                .read("tcpCongestion")
                .filter(|name: &String| !name.is_empty()),
            user_timeout: positive(&object, "tcpUserTimeout")
                .map(|ms| Duration::from_millis(ms.into())),
            window_clamp: positive(&object, "tcpWindowClamp"),
            max_seg: positive(&object, "tcpMaxSeg"),
        },
    };
    refuse_elsewhere(&object);
    // `followRedirect` says `receiveOriginalDestAddress` as well; it is a field of V2Ray's own, and of some configs. The
    // outbound itself reads whom it goes through, `wsSettings` are told of `trustedXForwardedFor`, and `penetrate` is
    // for a transport of Xray's that is not built.
    object.silent(&[
        "acceptProxyProtocol",
        "dialerProxy",
        "penetrate",
        "receiveOriginalDestAddress",
        "trustedXForwardedFor",
    ]);
    if object.read("tcpNoDelay") == Some(false) {
        object
            .node
            .warn("`TCP_NODELAY` is always on, `tcpNoDelay` has no effect");
    }
    object.no_effect(&["rxBufSize", "txBufSize", "forceBufSize"]);
    object.finish();
    sockopt
}

/// Keys by which a connection would go elsewhere, or by another way, than without them.
fn refuse_elsewhere(object: &Object) {
    object.refuse(
        "addressPortStrategy",
        "servers by SRV and TXT records are not built, and without them another server would be dialled: give its \
         address and port",
    );
    object.refuse(
        "customSockopt",
        "options by number are not built, take the key of its own: `mark`, `interface`, `tcpCongestion`, \
         `tcpUserTimeout`, `tcpWindowClamp`, `tcpMaxSeg`",
    );
}

/// Xray takes 0 and less for "as the system has it".
fn positive(object: &Object, key: &'static str) -> Option<u32> {
    let node = object.get(key)?;
    match node.read::<i64>()? {
        n if n <= 0 => None,
        n => {
            let fits = u32::try_from(n).ok().filter(|n| *n <= i32::MAX as u32);
            if fits.is_none() {
                node.error(format!("{n} is too much, expected at most {}", i32::MAX));
            }
            fits
        }
    }
}

/// Xray races only when it is asked to, and then begins with IPv4; without a delay it is not asked.
fn read_race(object: Object) -> Race {
    let default = Race::default();
    let ipv6_first = object.read_or("prioritizeIPv6", false);
    let delay: u64 = object.read_or("tryDelayMs", 0);
    let interleave: u32 = object.read_or("interleave", 1);
    let at_once: u32 = object.read_or("maxConcurrentTry", 4);
    object.finish();
    if delay == 0 || at_once == 0 {
        return default;
    }
    Race {
        delay: Duration::from_millis(delay),
        ipv6_first: Some(ipv6_first),
        interleave: interleave as usize,
        at_once: at_once as usize,
    }
}

/// `trustedXForwardedFor`: the names of headers that a request to be believed has.
pub(super) fn trusted_headers(settings: &Node) -> Vec<HeaderName> {
    let object = settings.value.is_object().then(|| settings.object());
    let node = object.flatten().and_then(|o| o.get("trustedXForwardedFor"));
    node.map(|node| read_names(&node)).unwrap_or_default()
}

/// `tcpFastOpen` is a switch in V2Ray; in Xray it may also be the length of the queue.
fn read_fast_open(object: &Object) -> FastOpen {
    let queue = object
        .read("tcpFastOpenQueueLength")
        .unwrap_or(FastOpen::QUEUE);
    // V2Ray 5 has words for it.
    let words = [
        ("AsIs", FastOpen::Default),
        ("Enable", FastOpen::On(FastOpen::QUEUE)),
        ("Disable", FastOpen::Off),
    ];
    if let Some(node) = object.get("tfo") {
        return one_of(&node, &words).unwrap_or_default();
    }
    let Some(node) = object.get("tcpFastOpen") else {
        return FastOpen::Default;
    };
    match node.value {
        Value::Bool(false) => FastOpen::Off,
        Value::Bool(true) => FastOpen::On(if queue == 0 { FastOpen::QUEUE } else { queue }),
        Value::Number(n) => match n.as_u64().map(u32::try_from) {
            Some(Ok(0)) => FastOpen::Off,
            Some(Ok(n)) => FastOpen::On(n),
            _ => {
                node.error(format!(
                    "{} is not a queue length, expected 0 to {}",
                    found(node.value),
                    u32::MAX
                ));
                FastOpen::Default
            }
        },
        other => {
            node.error(format!(
                "{} is not `true`, `false` or a queue length",
                found(other)
            ));
            FastOpen::Default
        }
    }
}

/// Seconds; 0 is the default and a negative number turns the probes off.
fn read_keep_alive(object: &Object) -> KeepAlive {
    let mut off = false;
    let mut seconds = |key: &'static str| -> Option<Duration> {
        let node = object.get(key)?;
        match u64::try_from(node.read::<i64>()?) {
            Err(_) => {
                off = true;
                None
            }
            Ok(0) => None,
            Ok(n) => {
                let most = KeepAlive::MAX_SECS;
                if n > most {
                    node.warn(format!("{n} s is too long, {most} takes its place"));
                }
                Some(Duration::from_secs(n.min(most)))
            }
        }
    };
    let interval = seconds("tcpKeepAliveInterval");
    let idle = seconds("tcpKeepAliveIdle");
    match KeepAlive::default() {
        KeepAlive::On {
            idle: usual_idle,
            interval: usual_interval,
        } if !off => KeepAlive::On {
            idle: idle.or(interval).unwrap_or(usual_idle),
            interval: interval.unwrap_or(usual_interval),
        },
        _ => KeepAlive::Off,
    }
}

fn read_tproxy(node: &Node) -> Option<Tproxy> {
    let words = [
        ("off", Tproxy::Off),
        ("redirect", Tproxy::Redirect),
        ("tproxy", Tproxy::Tproxy),
    ];
    match node.value.as_str() {
        Some("") => None,
        _ => one_of_or(node, &words, "off"),
    }
}

fn read_device(node: &Node) -> Option<String> {
    let name: String = node.read()?;
    if name.len() > 15 || name.contains(['/', '\0', ' ']) {
        node.error(format!(
            "`{}` is not a network interface, expected a name such as `eth0`",
            name.escape_debug()
        ));
        return None;
    }
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Report;
    use crate::dns::Strategy;
    use serde_json::json;

    #[test]
    fn every_option_is_read() {
        let (sockopt, problems) = read(json!({
            "tcpFastOpen": true, "tcpFastOpenQueueLength": 7, "tcpKeepAliveInterval": 30,
            "mark": 255, "bindToDevice": "lo", "mptcp": true, "acceptProxyProtocol": true,
            "tproxy": "TProxy", "receiveOriginalDestAddress": true, "rcvLowat": false,
            "domainStrategy": "UseIPv4", "V6Only": true, "tcpCongestion": "bbr", "tcpUserTimeout": 10000,
            "tcpWindowClamp": 600, "tcpMaxSeg": 1440, "penetrate": true, "tcpNoDelay": true,
            "happyEyeballs": {"prioritizeIPv6": true, "tryDelayMs": 100, "interleave": 2, "maxConcurrentTry": 3},
            "addressPortStrategy": "none", "customSockopt": [], "trustedXForwardedFor": ["X-CDN"]
        }));
        assert_eq!(problems, [""; 0]);
        assert_eq!(
            sockopt,
            SockOpt {
                send_through: None,
                fast_open: FastOpen::On(7),
                keep_alive: KeepAlive::On {
                    idle: Duration::from_secs(30),
                    interval: Duration::from_secs(30)
                },
                mark: Some(255),
                device: Some("lo".to_owned()),
                mptcp: true,
                tproxy: Tproxy::Tproxy,
                every_arrival: true,
                strategy: Strategy::UseIpv4,
                race: Race {
                    delay: Duration::from_millis(100),
                    ipv6_first: Some(true),
                    interleave: 2,
                    at_once: 3,
                },
                v6_only: true,
                tcp: TcpOptions {
                    congestion: Some("bbr".to_owned()),
                    user_timeout: Some(Duration::from_secs(10)),
                    window_clamp: Some(600),
                    max_seg: Some(1440),
                },
            }
        );
    }

    #[test]
    fn zero_is_the_default_and_below_turns_off() {
        assert_eq!(
            read(json!({
                "mark": 0, "tcpKeepAliveInterval": 0, "tcpMaxSeg": 0, "tcpUserTimeout": -1, "domainStrategy": "",
                "happyEyeballs": {"prioritizeIPv6": true}
            }))
            .0,
            SockOpt::default()
        );
        let off = read(json!({"tcpKeepAliveInterval": -1})).0;
        assert_eq!(off.keep_alive, KeepAlive::Off);
        assert_eq!(read(json!({"tcpFastOpen": 0})).0.fast_open, FastOpen::Off);
    }

    #[test]
    fn mistakes_name_their_path() {
        let (_, problems) = read(json!({
            "tcpFastOpen": "yes", "mark": -1, "bindToDevice": "a/b", "tproxy": "maybe",
            "tcpNoDelay": false, "tcpFastOpne": true, "addressPortStrategy": "SrvPortOnly",
            "tcpMaxSeg": 4294967296i64,
        }));
        assert_eq!(
            problems,
            [
                "tcpFastOpen: `yes` is not `true`, `false` or a queue length",
                "mark: the number -1 is not a whole number from 0 to 4294967295",
                "bindToDevice: `a/b` is not a network interface, expected a name such as `eth0`",
                "tcpMaxSeg: 4294967296 is too much, expected at most 2147483647",
                "addressPortStrategy: servers by SRV and TXT records are not built, and without them another server would be dialled: give its address and port",
                "tproxy: `maybe` is unknown, `off` takes its place as in V2Ray, expected `off`, `redirect` or `tproxy`",
                "config: `TCP_NODELAY` is always on, `tcpNoDelay` has no effect",
                "tcpFastOpne: unknown key, it has no effect, did you mean `tcpFastOpen`?",
            ]
        );
    }

    fn read(value: Value) -> (SockOpt, Vec<String>) {
        let report = Report::default();
        let sockopt = super::read(&Node::root(&value, &report));
        let problems = report.errors().into_iter().chain(report.warnings());
        (sockopt, problems.map(|p| p.to_string()).collect())
    }
}
