//! What may be meant by a key that nobody asked for: the word of another program, or a key of another place.

use crate::report::did_you_mean;

/// What to say of the unknown `key` of the object under `own`, which knows the keys in `known`.
pub(super) fn guess(key: &str, own: &str, known: &[&'static str]) -> String {
    let lower = key.to_ascii_lowercase();
    let is_known = |word: &str| known.iter().any(|k| k.eq_ignore_ascii_case(word));
    let find = |table: &[(&str, &'static str)]| {
        let entry = table.iter().find(|(word, meant)| {
            word.eq_ignore_ascii_case(&lower) && !meant.eq_ignore_ascii_case(own)
        });
        entry.map(|(_, meant)| *meant)
    };
    if ["tls", "ssl", "streamsecurity"].contains(&&*lower) && is_known("security") {
        return ", `security: tls` switches TLS on".to_owned();
    }
    let mut synonyms = SYNONYMS.iter().filter(|(word, _)| *word == lower);
    if let Some((_, meant)) = synonyms.find(|(_, meant)| is_known(meant)) {
        return format!(", did you mean `{meant}`?");
    }
    if let Some(home) = find(HOMES) {
        return match is_known(home) {
            true => format!(", it belongs into `{home}`, one level deeper"),
            false => format!(", it belongs into `{home}`"),
        };
    }
    if PARTS.contains(&&*lower) && !own.is_empty() && own != "inbounds" && own != "outbounds" {
        return ", it belongs into the inbound or outbound itself, one level higher".to_owned();
    }
    did_you_mean(key, known.iter().copied())
}

/// Words of links, panels, sing-box and Clash, in small letters, and V2Ray's.
const SYNONYMS: &[(&str, &str)] = &[
    ("sni", "serverName"),
    ("peer", "serverName"),
    ("server_name", "serverName"),
    ("servername", "serverName"),
    ("insecure", "allowInsecure"),
    ("skip-cert-verify", "allowInsecure"),
    ("skipcertverify", "allowInsecure"),
    ("websocketsettings", "wsSettings"),
    ("websocket", "wsSettings"),
    ("ws", "wsSettings"),
    ("ws-opts", "wsSettings"),
    ("wsopts", "wsSettings"),
    ("net", "network"),
    ("type", "network"),
    ("type", "protocol"),
    ("obfs", "network"),
    ("aid", "alterId"),
    ("alter_id", "alterId"),
    ("add", "address"),
    ("server", "address"),
    ("host", "address"),
    ("server_port", "port"),
    ("listen_port", "port"),
    ("uuid", "id"),
    ("username", "user"),
    ("password", "pass"),
    ("pwd", "pass"),
    ("name", "tag"),
    ("cipher", "security"),
    ("scy", "security"),
    ("cert", "certificateFile"),
    ("certfile", "certificateFile"),
    ("certificate_path", "certificateFile"),
    ("key_path", "keyFile"),
    ("outbound", "outboundTag"),
    ("inbound", "inboundTag"),
    ("balancer", "balancerTag"),
    ("domain_suffix", "domain"),
    ("ip_cidr", "ip"),
    ("ed", "maxEarlyData"),
    ("max_early_data", "maxEarlyData"),
    ("early_data_header_name", "earlyDataHeaderName"),
    ("dialer-proxy", "proxySettings"),
    ("detour", "proxySettings"),
    ("log_level", "loglevel"),
    ("level", "loglevel"),
    ("route", "routing"),
    ("rule", "rules"),
];

/// Keys, in small letters or not, and the object that has them.
const HOMES: &[(&str, &str)] = &[
    ("serverName", "tlsSettings"),
    ("sni", "tlsSettings"),
    ("allowInsecure", "tlsSettings"),
    ("alpn", "tlsSettings"),
    ("certificates", "tlsSettings"),
    ("fingerprint", "tlsSettings"),
    ("pinnedPeerCertificateChainSha256", "tlsSettings"),
    ("network", "streamSettings"),
    ("security", "streamSettings"),
    ("wsSettings", "streamSettings"),
    ("tlsSettings", "streamSettings"),
    ("tcpSettings", "streamSettings"),
    ("grpcSettings", "streamSettings"),
    ("realitySettings", "streamSettings"),
    ("sockopt", "streamSettings"),
    ("path", "wsSettings"),
    ("headers", "wsSettings"),
    ("host", "wsSettings"),
    ("maxEarlyData", "wsSettings"),
    ("earlyDataHeaderName", "wsSettings"),
    ("mark", "sockopt"),
    ("tproxy", "sockopt"),
    ("tcpFastOpen", "sockopt"),
    ("acceptProxyProtocol", "sockopt"),
    ("trustedXForwardedFor", "sockopt"),
    ("dialerProxy", "sockopt"),
    ("clients", "settings"),
    ("vnext", "settings"),
    ("accounts", "settings"),
    ("auth", "settings"),
    ("udp", "settings"),
    ("followRedirect", "settings"),
    ("decryption", "settings"),
    ("destOverride", "sniffing"),
    ("routeOnly", "sniffing"),
    ("concurrency", "mux"),
    ("rules", "routing"),
    ("balancers", "routing"),
    ("loglevel", "log"),
    ("levels", "policy"),
    ("hosts", "dns"),
];

/// Keys of an inbound or an outbound, in small letters.
const PARTS: &[&str] = &[
    "streamsettings",
    "sniffing",
    "mux",
    "protocol",
    "listen",
    "proxysettings",
    "sendthrough",
    "allocate",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_others_and_a_key_of_another_place_are_named() {
        const STREAM: &[&str] = &[
            "network",
            "security",
            "tlsSettings",
            "wsSettings",
            "sockopt",
        ];
        for (key, own, known, said) in [
            (
                "sni",
                "tlsSettings",
                &["serverName", "alpn"][..],
                ", did you mean `serverName`?",
            ),
            (
                "serverName",
                "streamSettings",
                STREAM,
                ", it belongs into `tlsSettings`, one level deeper",
            ),
            (
                "path",
                "streamSettings",
                STREAM,
                ", it belongs into `wsSettings`, one level deeper",
            ),
            (
                "tls",
                "streamSettings",
                STREAM,
                ", `security: tls` switches TLS on",
            ),
            (
                "websocketSettings",
                "streamSettings",
                STREAM,
                ", did you mean `wsSettings`?",
            ),
            (
                "security",
                "wsSettings",
                &["path"],
                ", it belongs into `streamSettings`",
            ),
            (
                "mux",
                "settings",
                &["vnext"],
                ", it belongs into the inbound or outbound itself, one level higher",
            ),
            (
                "wsSettigns",
                "streamSettings",
                STREAM,
                ", did you mean `wsSettings`?",
            ),
            ("nonsense", "streamSettings", STREAM, ""),
            // The opposite is no synonym.
            (
                "verify",
                "tlsSettings",
                &["serverName", "allowInsecure"],
                "",
            ),
        ] {
            assert_eq!(guess(key, own, known), said, "{key} in {own}");
        }
    }
}
