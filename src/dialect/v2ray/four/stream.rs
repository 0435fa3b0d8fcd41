//! `streamSettings`, whose settings are called after the transport and the security that they are of.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::headers;
use crate::dialect::v2ray::five::part::Part;

pub(super) fn write(stream: &Part<'_>) -> Value {
    let (network, key) = match &*stream.word(&["transport", "network"]) {
        "ws" | "websocket" => ("ws", "wsSettings"),
        "httpupgrade" => ("httpupgrade", "httpupgradeSettings"),
        "grpc" | "gun" => ("grpc", "grpcSettings"),
        "h2" | "http" => ("http", "httpSettings"),
        "domainsocket" => ("domainsocket", "dsSettings"),
        _ => ("tcp", "tcpSettings"),
    };
    let mut four = Map::from_iter([("network".to_owned(), network.into())]);
    if let Some(own) = stream.part(&["transportSettings", key]) {
        let settings = carrier(network, &own);
        own.finish();
        if !settings.is_empty() {
            four.insert(key.to_owned(), Value::Object(settings));
        }
    }
    let own = stream.part(&["securitySettings", "tlsSettings"]);
    match &*stream.word(&["security"]) {
        "tls" => {
            four.insert("security".to_owned(), "tls".into());
            four.extend(own.map(|own| ("tlsSettings".to_owned(), tls(own))));
        }
        "utls" => {
            four.insert("security".to_owned(), "tls".into());
            if let Some(own) = own {
                let mut settings = own.part(&["tlsConfig"]).map_or_else(|| json!({}), tls);
                let imitated = own.word(&["imitate"]);
                if let Some(name) = imitated.split('_').next().filter(|name| !name.is_empty()) {
                    settings["fingerprint"] = name.into();
                }
                own.silent(&["forceAlpn"]);
                own.finish();
                four.insert("tlsSettings".to_owned(), settings);
            }
        }
        _ => drop(four.insert("security".to_owned(), "none".into())),
    }
    if let Some(socket) = stream.part(&["socketSettings", "sockopt"]) {
        let mut kept = Map::new();
        for key in [
            "mark",
            "tcpFastOpen",
            "tcpFastOpenQueueLength",
            "tproxy",
            "acceptProxyProtocol",
            "tcpKeepAliveInterval",
            "tcpKeepAliveIdle",
        ] {
            socket.keep(&mut kept, &[key]);
        }
        if socket.get(&["tcpFastOpen"]) == Some(&Value::Bool(false)) {
            kept.insert("tcpFastOpen".to_owned(), false.into());
        }
        socket.keep(&mut kept, &["interface", "bindToDevice"]);
        socket.keep(&mut kept, &["tcpMptcp", "mptcp"]);
        socket.finish();
        if !kept.is_empty() {
            four.insert("sockopt".to_owned(), Value::Object(kept));
        }
    }
    Value::Object(four)
}

fn carrier(network: &str, own: &Part<'_>) -> Map<String, Value> {
    let mut settings = Map::new();
    let mut keep = |keys: &[&str]| own.keep(&mut settings, keys);
    match network {
        "grpc" => {
            keep(&["serviceName"]);
            keep(&["authority", "host"]);
            for (key, from) in [
                ("idle_timeout", "idleTimeout"),
                ("health_check_timeout", "healthCheckTimeout"),
                ("permit_without_stream", "permitWithoutStream"),
                ("initial_windows_size", "initialWindowsSize"),
            ] {
                keep(&[key, from]);
            }
        }
        "http" => {
            for key in ["host", "path", "method"] {
                keep(&[key]);
            }
        }
        "domainsocket" => {
            for key in ["path", "abstract", "padding"] {
                keep(&[key]);
            }
        }
        "tcp" => keep(&["acceptProxyProtocol"]),
        _ => {
            for key in [
                "path",
                "host",
                "maxEarlyData",
                "earlyDataHeaderName",
                "useBrowserForwarding",
                "acceptProxyProtocol",
            ] {
                keep(&[key]);
            }
        }
    }
    keep(&["parseXForwardedFor"]);
    if let Some(headers) = headers(own) {
        settings.insert("headers".to_owned(), headers);
    }
    settings
}

fn tls(own: Part<'_>) -> Value {
    let mut settings = Map::new();
    own.keep(&mut settings, &["serverName"]);
    own.keep(&mut settings, &["alpn", "nextProtocol"]);
    for key in ["minVersion", "maxVersion"] {
        let version = match &*own.word(&[key]) {
            "tls1_0" => "1.0",
            "tls1_1" => "1.1",
            "tls1_2" => "1.2",
            "tls1_3" => "1.3",
            _ => continue,
        };
        settings.insert(key.to_owned(), version.into());
    }
    for key in [
        "disableSystemRoot",
        "verifyClientCertificate",
        "pinnedPeerCertificateChainSha256",
    ] {
        own.keep(&mut settings, &[key]);
    }
    if own.is_on(&["allowInsecureIfPinnedPeerCertificate"])
        && settings.contains_key("pinnedPeerCertificateChainSha256")
    {
        settings.insert("allowInsecure".to_owned(), true.into());
    }
    let certificates = own.parts(&["certificate", "certificates"]);
    let certificates: Vec<Value> = certificates.into_iter().map(certificate).collect();
    if !certificates.is_empty() {
        settings.insert("certificates".to_owned(), certificates.into());
    }
    own.silent(&["enableSessionResumption"]);
    own.finish();
    Value::Object(settings)
}

fn certificate(own: Part<'_>) -> Value {
    let mut four = Map::new();
    let usage = match &*own.word(&["usage"]) {
        "authority_verify" => "verify",
        "authority_issue" => "issue",
        "authority_verify_client" => "verifyclient",
        _ => "encipherment",
    };
    four.insert("usage".to_owned(), usage.into());
    own.keep(&mut four, &["certificateFile"]);
    own.keep(&mut four, &["keyFile"]);
    for key in ["certificate", "key"] {
        let bytes = own.text(&[key]).and_then(|text| STANDARD.decode(text).ok());
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(text) = text {
            four.insert(key.to_owned(), text.lines().collect());
        }
    }
    own.finish();
    Value::Object(four)
}
