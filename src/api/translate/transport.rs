//! `streamSettings`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tonic::Status;

use super::super::typed::{self, unknown};
use super::super::wire::transport::internet::{StreamConfig, tcp, tls, websocket};

pub(super) fn settings(config: &StreamConfig) -> Result<Value, Status> {
    let mut value = Map::new();
    let network = network(&config.protocol_name, config.protocol)?;
    value.insert("network".to_owned(), network.into());
    for transport in &config.transport_settings {
        let Some(settings) = &transport.settings else {
            continue;
        };
        let (key, settings) = match typed::name(settings) {
            "transport.internet.tcp.Config" => ("tcpSettings", tcp(&typed::open(settings)?)?),
            "transport.internet.websocket.Config" => ("wsSettings", ws(&typed::open(settings)?)),
            // Of another transport than the one in use.
            _ => continue,
        };
        value.insert(key.to_owned(), settings);
    }
    let security = config.security_type.rsplit('/').next().unwrap_or_default();
    match security {
        "" => {}
        "v2ray.core.transport.internet.tls.Config" => {
            value.insert("security".to_owned(), "tls".into());
        }
        other => {
            let other = other.escape_debug();
            return Err(unknown(format!("the security `{other}` is not built")));
        }
    }
    for settings in &config.security_settings {
        if typed::name(settings) == "transport.internet.tls.Config" {
            value.insert("tlsSettings".to_owned(), tls(&typed::open(settings)?)?);
        }
    }
    if let Some(socket) = &config.socket_settings {
        let mut object = json!({});
        if socket.mark != 0 {
            object["mark"] = socket.mark.into();
        }
        match socket.tfo {
            1 => object["tcpFastOpen"] = true.into(),
            2 => object["tcpFastOpen"] = false.into(),
            _ => {}
        }
        match socket.tproxy {
            1 => object["tproxy"] = "tproxy".into(),
            2 => object["tproxy"] = "redirect".into(),
            _ => {}
        }
        if socket.accept_proxy_protocol {
            object["acceptProxyProtocol"] = true.into();
        }
        if socket.tcp_keep_alive_interval != 0 {
            object["tcpKeepAliveInterval"] = socket.tcp_keep_alive_interval.into();
        }
        value.insert("sockopt".to_owned(), object);
    }
    Ok(value.into())
}

fn network(name: &str, number: i32) -> Result<&'static str, Status> {
    match (name, number) {
        ("tcp", _) | ("", 0) => Ok("tcp"),
        ("websocket" | "ws", _) | ("", 3) => Ok("ws"),
        ("", number) => Err(unknown(format!("the transport {number} is not built"))),
        (name, _) => {
            let name = name.escape_debug();
            Err(unknown(format!("the transport `{name}` is not built")))
        }
    }
}

fn tcp(config: &tcp::Config) -> Result<Value, Status> {
    if let Some(header) = &config.header_settings
        && typed::name(header) != "transport.internet.headers.noop.ConnectionConfig"
    {
        let header = header.r#type.escape_debug();
        return Err(unknown(format!("the header `{header}` is not built")));
    }
    Ok(json!({"acceptProxyProtocol": config.accept_proxy_protocol}))
}

fn ws(config: &websocket::Config) -> Value {
    let headers = config.header.iter();
    let headers: Map<String, Value> = headers
        .map(|header| (header.key.clone(), header.value.clone().into()))
        .collect();
    let mut value = json!({
        "path": config.path, "headers": headers,
        "acceptProxyProtocol": config.accept_proxy_protocol,
        "maxEarlyData": config.max_early_data,
        "useBrowserForwarding": config.use_browser_forwarding,
    });
    if !config.early_data_header_name.is_empty() {
        value["earlyDataHeaderName"] = config.early_data_header_name.clone().into();
    }
    value
}

fn tls(config: &tls::Config) -> Result<Value, Status> {
    let mut certificates = Vec::new();
    for certificate in &config.certificate {
        let usage = match certificate.usage() {
            tls::certificate::Usage::Encipherment => "encipherment",
            tls::certificate::Usage::AuthorityVerify => "verify",
            tls::certificate::Usage::AuthorityIssue => "issue",
            tls::certificate::Usage::AuthorityVerifyClient => "verifyclient",
        };
        let mut object = json!({"usage": usage, "certificate": lines(&certificate.certificate)?});
        if !certificate.key.is_empty() {
            object["key"] = lines(&certificate.key)?.into();
        }
        certificates.push(object);
    }
    let pins = config.pinned_peer_certificate_chain_sha256.iter();
    let pins: Vec<String> = pins.map(|pin| STANDARD.encode(pin)).collect();
    let mut value = json!({
        "allowInsecure": config.allow_insecure,
        "disableSystemRoot": config.disable_system_root,
        "enableSessionResumption": config.enable_session_resumption,
        "verifyClientCertificate": config.verify_client_certificate,
        "certificates": certificates,
    });
    if !config.server_name.is_empty() {
        value["serverName"] = config.server_name.clone().into();
    }
    if !config.next_protocol.is_empty() {
        value["alpn"] = config.next_protocol.clone().into();
    }
    if !pins.is_empty() {
        value["pinnedPeerCertificateChainSha256"] = pins.into();
    }
    Ok(value)
}

fn lines(pem: &[u8]) -> Result<Vec<&str>, Status> {
    let text = str::from_utf8(pem).map_err(|_| unknown("a certificate is not in PEM"))?;
    Ok(text.lines().collect())
}
