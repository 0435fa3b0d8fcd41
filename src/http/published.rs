//! Names for networks in `trustedProxies`: what large CDNs publish as the addresses that they connect from.
//!
//! Lists change by a network or two in some years; whoever needs another one writes it beside the name.

use std::net::IpAddr;
use std::sync::LazyLock;

use super::forwarded::Net;

/// The names that there are, for a message.
pub(crate) const NAMES: [&str; 4] = ["cloudflare", "fastly", "private", "loopback"];

/// The networks of a name, in whatever case it is written.
pub(crate) fn named(name: &str) -> Option<Vec<&'static str>> {
    match name.to_ascii_lowercase().as_str() {
        "cloudflare" => Some(CLOUDFLARE.to_vec()),
        "fastly" => Some(FASTLY.to_vec()),
        "private" => Some([LOOPBACK, PRIVATE].concat()),
        "loopback" => Some(LOOPBACK.to_vec()),
        _ => None,
    }
}

/// Whether a CDN connects from this address.
pub(crate) fn is_of_any(ip: IpAddr) -> bool {
    static NETS: LazyLock<Vec<Net>> = LazyLock::new(|| {
        let all = CLOUDFLARE.iter().chain(FASTLY);
        all.filter_map(|text| Net::parse(text)).collect()
    });
    NETS.iter().any(|net| net.contains(ip))
}

const LOOPBACK: &[&str] = &["127.0.0.0/8", "::1"];

/// RFC 1918, RFC 3927, RFC 4193, RFC 4291.
const PRIVATE: &[&str] = &[
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// <https://www.cloudflare.com/ips-v4> and `ips-v6`, as of 2026.
const CLOUDFLARE: &[&str] = &[
    "173.245.48.0/20",
    "103.21.244.0/22",
    "103.22.200.0/22",
    "103.31.4.0/22",
    "141.101.64.0/18",
    "108.162.192.0/18",
    "190.93.240.0/20",
    "188.114.96.0/20",
    "197.234.240.0/22",
    "198.41.128.0/17",
    "162.158.0.0/15",
    "104.16.0.0/13",
    "104.24.0.0/14",
    "172.64.0.0/13",
    "131.0.72.0/22",
    "2400:cb00::/32",
    "2606:4700::/32",
    "2803:f800::/32",
    "2405:b500::/32",
    "2405:8100::/32",
    "2a06:98c0::/29",
    "2c0f:f248::/32",
];

/// <https://api.fastly.com/public-ip-list>, as of June 2023.
const FASTLY: &[&str] = &[
    "23.235.32.0/20",
    "43.249.72.0/22",
    "103.244.50.0/24",
    "103.245.222.0/23",
    "103.245.224.0/24",
    "104.156.80.0/20",
    "140.248.64.0/18",
    "140.248.128.0/17",
    "146.75.0.0/17",
    "151.101.0.0/16",
    "157.52.64.0/18",
    "167.82.0.0/17",
    "167.82.128.0/20",
    "167.82.160.0/20",
    "167.82.224.0/20",
    "172.111.64.0/18",
    "185.31.16.0/22",
    "199.27.72.0/21",
    "199.232.0.0/16",
    "2a04:4e40::/32",
    "2a04:4e42::/32",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_for_networks() {
        for name in NAMES {
            let networks = named(name).unwrap();
            assert!(networks.iter().all(|text| Net::parse(text).is_some()));
            assert_eq!(named(&name.to_uppercase()), Some(networks));
        }
        assert_eq!(named("akamai"), None);
    }

    #[test]
    fn addresses_of_cdns_are_known() {
        for (ip, is_cdn) in [
            ("172.70.1.2", true),
            ("104.27.255.255", true),
            ("104.28.0.0", false),
            ("2606:4700::6810:1", true),
            ("151.101.1.1", true),
            ("203.0.113.9", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_of_any(ip.parse().unwrap()), is_cdn, "{ip}");
        }
    }
}
