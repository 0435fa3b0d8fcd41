//! A whole config, as meant: the settings of all rooms, and what holds between them.
//!
//! A [`dialect`](crate::dialect) reads it from a text, a program may write it down. What one part says about another is
//! checked here (`check`, `exposure`), once for every dialect; [`app`](crate::app) makes it run.

mod api;
pub(crate) mod check;
pub(crate) mod exposure;
mod parts;

pub(crate) use crate::dialect::v2ray::plain;
pub use crate::dialect::v2ray::{Format, Input, Loaded, load};
pub use crate::log::{Level as LogLevel, Settings as Log, Target as LogTarget};
pub use crate::report::Message;
pub use api::{Api, Services};
pub use parts::{Draft, Inbound, Listen, Outbound, Through};

use std::path::PathBuf;

use crate::dns;
use crate::observatory;
use crate::policy::Policy;
use crate::routing;

/// All that the process runs with: files are read, and nothing is bound. Two are equal when they mean the same, wherever
/// that stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub log: Log,
    pub inbounds: Vec<Inbound>,
    /// The first one carries what no rule sends elsewhere; without any, sessions go straight to their targets.
    pub outbounds: Vec<Outbound>,
    pub routing: routing::Settings,
    pub observers: Vec<observatory::Settings>,
    /// The built-in DNS.
    pub dns: dns::Settings,
    pub policy: Policy,
    /// Whether anything is counted; what, `policy` says.
    pub stats: bool,
    /// Where to keep what the next process should know.
    pub state: Option<PathBuf>,
    pub api: Option<Api>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

    #[test]
    fn configs_compare_by_what_they_mean_and_print_no_secret() {
        let text = |inbound: &str, rules: &str, host: &str| {
            format!(
                r#"{{
                    "inbounds": [{inbound}],
                    "outbounds": [{{"protocol": "freedom", "tag": "direct"}}],
                    "routing": {{"rules": [{rules}]}},
                    "dns": {{"servers": ["1.1.1.1"], "hosts": {{"a.example": "{host}"}}}},
                    "burstObservatory": {{"subjectSelector": ["direct"]}}
                }}"#
            )
        };
        let vmess = format!(
            r#"{{"port": 1, "protocol": "vmess", "settings": {{"clients": [{{"id": "{ID}"}}]}}, "sniffing": {{"enabled": true}}}}"#
        );
        let rule = r#"{"domain": ["domain:b.example", "c"], "ip": ["10.0.0.0/8"], "outboundTag": "direct"}"#;
        let one = config(&text(&vmess, rule, "1.2.3.4"));
        // The same in other words, and at other places.
        let same = r#"{"ip": "10.1.0.0/8", "domains": "c,domain:B.example,domain:x.b.example", "outboundTag": "direct"}"#;
        assert_eq!(
            one,
            config(&format!("\n\n{}", text(&vmess, same, "1.2.3.4")))
        );
        let other_rule = rule.replace("b.example", "d.example");
        assert_ne!(one, config(&text(&vmess, &other_rule, "1.2.3.4")));
        assert_ne!(one, config(&text(&vmess, rule, "1.2.3.5")));
        let other_user = vmess.replace(ID, "00000000-0000-0000-0000-000000000000");
        assert_ne!(one, config(&text(&other_user, rule, "1.2.3.4")));
        let printed = format!("{:?}", one.clone());
        assert!(!printed.to_lowercase().contains("b831381d"), "{printed}");
    }

    fn config(text: &str) -> Config {
        let input = Input::Text {
            name: "c.json".to_owned(),
            text: text.to_owned(),
        };
        let loaded = load(&[input], Format::V4);
        loaded
            .config
            .unwrap_or_else(|| panic!("{:?}", loaded.errors))
    }
}
