//! A whole config, as meant: the settings of all rooms, and what holds between them.
//!
//! A [`dialect`](crate::dialect) reads it from a text, a program may write it down. What one part says about another is
//! checked here (`check`, `exposure`), once for every dialect; [`app`](crate::app) makes it run.

#![warn(missing_docs)]

mod api;
pub(crate) mod browser;
pub(crate) mod check;
pub(crate) mod exposure;
mod metrics;
mod parts;
pub(crate) mod traps;

pub use crate::log::{
    Format as LogFormat, Keys as LogKeys, Level as LogLevel, Settings as Log, Target as LogTarget,
};
pub use api::{Api, ApiListen, Services};
pub use check::sharing::share;
pub use metrics::{Hidden, Metrics};
pub use parts::{Draft, Inbound, Listen, Outbound, Through};

use std::path::PathBuf;

use crate::dns;
use crate::limits;
use crate::observatory;
use crate::policy::Policy;
use crate::reverse;
use crate::routing;

/// All that a process runs with: values, of which none is running yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `log`.
    pub log: Log,
    /// `inbounds`.
    pub inbounds: Vec<Inbound>,
    /// The first one carries what no rule sends elsewhere; without any, sessions go straight to their targets.
    pub outbounds: Vec<Outbound>,
    /// `routing`: which outbound carries a session.
    pub routing: routing::Settings,
    /// `reverse`: bridges and portals.
    pub reverse: reverse::Settings,
    /// `observatory` and its kin.
    pub observers: Vec<observatory::Settings>,
    /// The built-in DNS.
    pub dns: dns::Settings,
    /// `policy`.
    pub policy: Policy,
    /// `limits`: what all inbounds together let in.
    pub limits: limits::Settings,
    /// Whether anything is counted; what, `policy` says.
    pub stats: bool,
    /// Where to keep what the next process should know.
    pub state: Option<PathBuf>,
    /// `api`: V2Ray's gRPC service.
    pub api: Option<Api>,
    /// `metrics`: numbers for a monitoring system.
    pub metrics: Option<Metrics>,
    /// `browserForwarder`: a browser that opens WebSockets.
    pub browser: Option<crate::transport::browser::Settings>,
}

impl Config {
    /// All inbounds, those that stand beside others on one place, too.
    pub fn all_inbounds(&self) -> impl Iterator<Item = &Inbound> {
        self.inbounds
            .iter()
            .flat_map(|first| std::iter::once(first).chain(&first.beside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::{Format, Input, load};

    const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

    /// One that says something about every room.
    fn text(port: u16) -> Input {
        let text = serde_json::json!({
            "stats": {}, "policy": {"levels": {"0": {"connIdle": 7}}},
            "api": {"tag": "api", "services": ["StatsService"]},
            "dns": {"servers": ["192.0.2.53"], "hosts": {"a.test": "192.0.2.1"}},
            "routing": {"rules": [{"type": "field", "domain": ["a.test"], "outboundTag": "b"}]},
            "observatory": {"subjectSelector": ["a"]},
            "inbounds": [
                {"port": port, "listen": "127.0.0.1", "protocol": "vmess", "settings": {"clients": [{"id": ID}]},
                 "sniffing": {"enabled": true, "destOverride": ["tls"]},
                 "streamSettings": {"network": "ws", "security": "tls", "tlsSettings": {"selfSigned": true}}},
                {"port": 1, "listen": "127.0.0.1", "protocol": "socks",
                 "settings": {"auth": "password", "accounts": [{"user": "ann", "pass": "sesame"}]}},
            ],
            "outbounds": [
                {"tag": "a", "protocol": "vmess", "mux": {"enabled": true}, "proxySettings": {"tag": "b"},
                 "settings": {"address": "a.test", "port": 443, "id": ID}},
                {"tag": "b", "protocol": "freedom"},
            ],
        });
        Input::Text {
            name: "c.json".to_owned(),
            text: text.to_string(),
        }
    }

    fn read(port: u16) -> Config {
        let loaded = load(&[text(port)], Format::V4);
        assert_eq!(loaded.errors, []);
        loaded.config.unwrap()
    }

    #[test]
    fn what_is_meant_alike_compares_alike() {
        assert_eq!(read(2), read(2));
        assert_eq!(read(2).clone(), read(2));
        assert_ne!(read(2), read(3));
        let mut other = read(2);
        other.outbounds[1].tag = None;
        assert_ne!(other, read(2));
    }

    #[test]
    fn no_key_is_shown() {
        let shown = format!("{:?}", read(2));
        assert!(shown.contains("a.test"), "{shown}");
        for secret in [ID, &ID.replace('-', ""), "sesame"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
