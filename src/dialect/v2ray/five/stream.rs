//! `streamSettings`: `transport`, `security` and `socketSettings`, each with its settings beside it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::part::{Part, is_nothing};

/// Writes `streamSettings`. `Err` is that what stands at the other end would understand nothing.
pub(super) fn write(stream: &Part<'_>) -> Result<Value, String> {
    let name = stream.word(&["network", "method", "transport"]);
    let (transport, keys): (&str, &[&str]) = match &*name {
        "" | "tcp" | "raw" => ("tcp", &["tcpSettings", "rawSettings"]),
        "ws" | "websocket" => ("ws", &["wsSettings"]),
        "httpupgrade" => ("httpupgrade", &["httpupgradeSettings"]),
        "grpc" | "gun" => ("grpc", &["grpcSettings", "gunSettings"]),
        "http" | "h2" => ("h2", &["httpSettings"]),
        "domainsocket" | "ds" => ("domainsocket", &["dsSettings"]),
        other => {
            return Err(format!(
                "V2Ray 5's form has no transport `{}`",
                other.escape_debug()
            ));
        }
    };
    let keys = [keys, &["transportSettings"]].concat();
    let own = stream.part(&keys);
    let mut five = Map::new();
    five.insert("transport".to_owned(), transport.into());
    if let Some(own) = own {
        let settings = match transport {
            "tcp" => tcp(&own)?,
            "grpc" => grpc(&own)?,
            "h2" => h2(&own),
            "domainsocket" => {
                let mut settings = Map::new();
                for key in ["path", "abstract", "padding"] {
                    own.keep(&mut settings, &[key]);
                }
                settings
            }
            _ => upgrade(&own, transport == "ws"),
        };
        own.finish();
        five.insert("transportSettings".to_owned(), Value::Object(settings));
    }
    match &*stream.word(&["security"]) {
        "utls" => {
            // Its settings have the form already.
            five.insert("security".to_owned(), "utls".into());
            stream.keep(&mut five, &["securitySettings"]);
        }
        "tls" => {
            five.insert("security".to_owned(), "tls".into());
            let tls = stream.part(&["tlsSettings", "securitySettings"]);
            let settings = tls.map(|tls| {
                let settings = self::tls(&tls);
                tls.finish();
                settings
            });
            let settings = Value::Object(settings.unwrap_or_default());
            five.insert("securitySettings".to_owned(), settings);
        }
        _ => {
            five.insert("security".to_owned(), "none".into());
            stream.silent(&["tlsSettings", "securitySettings"]);
        }
    }
    if let Some(socket) = stream.part(&["sockopt", "socketSettings"]) {
        let mut kept = Map::new();
        for keys in [
            &["mark"][..],
            &["tcpFastOpen"],
            &["tcpFastOpenQueueLength"],
            &["tproxy"],
            &["acceptProxyProtocol"],
            &["tcpKeepAliveInterval"],
            &["tcpKeepAliveIdle"],
            &["bindToDevice", "interface"],
            &["mptcp", "tcpMptcp"],
        ] {
            socket.keep(&mut kept, keys);
        }
        // A switch that is off says something, too.
        if socket.get(&["tcpFastOpen"]) == Some(&Value::Bool(false)) {
            kept.insert("tcpFastOpen".to_owned(), false.into());
        }
        // It stands in `proxySettings`.
        socket.silent(&["dialerProxy"]);
        socket.finish();
        if !kept.is_empty() {
            five.insert("socketSettings".to_owned(), Value::Object(kept));
        }
    }
    // Of a transport that is not in use nothing is carried over.
    stream.silent(&[
        "tcpSettings",
        "rawSettings",
        "wsSettings",
        "httpupgradeSettings",
        "grpcSettings",
        "gunSettings",
        "httpSettings",
        "mwsSettings",
        "kcpSettings",
        "quicSettings",
        "dsSettings",
    ]);
    Ok(Value::Object(five))
}

fn tcp(own: &Part<'_>) -> Result<Map<String, Value>, String> {
    let mut settings = Map::new();
    if let Some(header) = own.part(&["header"]) {
        let kind = header.word(&["type"]);
        if !matches!(&*kind, "" | "none") {
            return Err(format!(
                "the header `{}` of TCP is not carried over",
                kind.escape_debug()
            ));
        }
    }
    own.keep(&mut settings, &["acceptProxyProtocol"]);
    Ok(settings)
}

fn grpc(own: &Part<'_>) -> Result<Map<String, Value>, String> {
    let mut settings = Map::new();
    let name = own.text(&["serviceName"]);
    if name.as_ref().is_some_and(|name| name.starts_with('/')) {
        return Err("V2Ray 5 has no `serviceName` that is a path".to_owned());
    }
    own.keep(&mut settings, &["serviceName"]);
    own.keep(&mut settings, &["host", "authority"]);
    // V2Ray 4 and Xray have these with underscores alone.
    for (key, from) in [
        ("idleTimeout", "idle_timeout"),
        ("healthCheckTimeout", "health_check_timeout"),
        ("permitWithoutStream", "permit_without_stream"),
        ("initialWindowsSize", "initial_windows_size"),
    ] {
        if let Some(value) = own.get(&[from]).filter(|value| !is_nothing(value)) {
            settings.insert(key.to_owned(), value.clone());
        }
    }
    own.keep(&mut settings, &["parseXForwardedFor"]);
    Ok(settings)
}

/// Headers are a list, each with its values.
fn h2(own: &Part<'_>) -> Map<String, Value> {
    let mut settings = Map::new();
    let hosts = own.texts(&["host"]);
    if !hosts.is_empty() {
        settings.insert("host".to_owned(), hosts.into());
    }
    own.keep(&mut settings, &["path"]);
    own.keep(&mut settings, &["method"]);
    own.keep(&mut settings, &["parseXForwardedFor"]);
    let mut headers: Vec<Value> = own.items(&["header"]).into_iter().cloned().collect();
    if let Some(Value::Object(map)) = own.get(&["headers"]) {
        headers.extend(map.iter().map(|(name, value)| match value {
            Value::Array(_) => json!({"name": name, "value": value}),
            one => json!({"name": name, "value": [one]}),
        }));
    }
    if !headers.is_empty() {
        settings.insert("header".to_owned(), headers.into());
    }
    settings
}

/// Of `ws` and `httpupgrade`.
fn upgrade(own: &Part<'_>, is_ws: bool) -> Map<String, Value> {
    let mut settings = Map::new();
    let mut path = own.text(&["path"]).unwrap_or_default();
    let early = early_data(&mut path);
    if early.is_some() && !is_ws {
        own.lost(
            "path",
            "there is no word for `?ed=`, by which nobody waits for the answer",
        );
    }
    if !path.is_empty() {
        settings.insert("path".to_owned(), path.into());
    }
    own.keep(&mut settings, &["maxEarlyData"]);
    own.keep(&mut settings, &["earlyDataHeaderName"]);
    if let Some(early) = early.filter(|_| is_ws) {
        settings.insert("maxEarlyData".to_owned(), early.into());
        settings.insert(
            "earlyDataHeaderName".to_owned(),
            "Sec-WebSocket-Protocol".into(),
        );
    }
    if is_ws {
        own.keep(&mut settings, &["useBrowserForwarding"]);
    }
    if is_ws {
        own.keep(&mut settings, &["acceptProxyProtocol"]);
    }
    own.keep(&mut settings, &["parseXForwardedFor"]);
    let mut headers = Vec::new();
    let mut has_host = false;
    match own.get(&["headers"]) {
        Some(Value::Object(map)) => {
            for (name, value) in map {
                has_host |= name.eq_ignore_ascii_case("host");
                headers.push(json!({"key": name, "value": value}));
            }
        }
        _ => headers.extend(own.items(&["header"]).into_iter().cloned()),
    }
    if let Some(host) = own.text(&["host"]) {
        match is_ws {
            true if !has_host => headers.push(json!({"key": "Host", "value": host})),
            true => {}
            false => drop(settings.insert("host".to_owned(), host.into())),
        }
    }
    own.silent(&["header"]);
    if !headers.is_empty() {
        settings.insert("header".to_owned(), headers.into());
    }
    settings
}

/// Takes Xray's `?ed=N` out of a path.
fn early_data(path: &mut String) -> Option<u32> {
    let (front, query) = path.split_once('?')?;
    let mut rest: Vec<&str> = query.split('&').collect();
    let at = rest.iter().position(|pair| pair.starts_with("ed="))?;
    let number = rest.remove(at)[3..].parse().ok()?;
    *path = match rest.is_empty() {
        true => front.to_owned(),
        false => format!("{front}?{}", rest.join("&")),
    };
    Some(number)
}

fn tls(own: &Part<'_>) -> Map<String, Value> {
    let mut settings = Map::new();
    own.keep(&mut settings, &["serverName"]);
    let protocols = own.texts(&["nextProtocol", "alpn"]);
    if !protocols.is_empty() {
        settings.insert("nextProtocol".to_owned(), protocols.into());
    }
    for key in ["minVersion", "maxVersion"] {
        let word = own.text(&[key]).unwrap_or_default();
        let version = match &*word {
            "1.0" => "TLS1_0",
            "1.1" => "TLS1_1",
            "1.2" => "TLS1_2",
            "1.3" => "TLS1_3",
            other if other.starts_with("TLS") => other,
            _ => continue,
        };
        settings.insert(key.to_owned(), version.into());
    }
    own.keep(&mut settings, &["disableSystemRoot"]);
    own.keep(&mut settings, &["verifyClientCertificate"]);
    let pins = own.texts(&["pinnedPeerCertificateChainSha256"]);
    let pinned = "allowInsecureIfPinnedPeerCertificate";
    own.keep(&mut settings, &[pinned]);
    if own.is_on(&["allowInsecure"]) && !pins.is_empty() {
        settings.insert(pinned.to_owned(), true.into());
    } else if own.is_on(&["allowInsecure"]) {
        let text = "there is no word for it: a certificate that nobody vouches for is not believed";
        own.lost("allowInsecure", text);
    }
    if !pins.is_empty() {
        settings.insert("pinnedPeerCertificateChainSha256".to_owned(), pins.into());
    }
    let certificates = own.parts(&["certificates", "certificate"]);
    let certificates: Vec<Value> = certificates.into_iter().map(certificate).collect();
    if !certificates.is_empty() {
        settings.insert("certificate".to_owned(), certificates.into());
    }
    if !own.word(&["fingerprint"]).is_empty() {
        let text = "there is no word for it beside `tls`: V2Ray 5 sends a handshake of its own";
        own.lost("fingerprint", text);
    }
    own.silent(&[
        "enableSessionResumption",
        "disableSessionResumption",
        "allowInsecureCiphers",
        "preferServerCipherSuites",
    ]);
    settings
}

fn certificate(own: Part<'_>) -> Value {
    let mut five = Map::new();
    let usage = match &*own.word(&["usage"]) {
        "verify" | "authority_verify" => "AUTHORITY_VERIFY",
        "issue" | "authority_issue" => "AUTHORITY_ISSUE",
        "verifyclient" | "authority_verify_client" => "AUTHORITY_VERIFY_CLIENT",
        _ => "ENCIPHERMENT",
    };
    five.insert("usage".to_owned(), usage.into());
    own.keep(&mut five, &["certificateFile"]);
    own.keep(&mut five, &["keyFile"]);
    for (from, to) in [("certificate", "Certificate"), ("key", "Key")] {
        let bytes = match own.get(&[from]) {
            Some(Value::Array(lines)) => {
                let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
                STANDARD.encode(lines.join("\n"))
            }
            Some(Value::String(text)) if text.contains("-----") => STANDARD.encode(text),
            Some(Value::String(text)) => text.clone(),
            _ => continue,
        };
        if !bytes.is_empty() {
            five.insert(to.to_owned(), bytes.into());
        }
    }
    own.silent(&["ocspStapling", "oneTimeLoading"]);
    own.finish();
    Value::Object(five)
}

/// The outbound that Xray's `dialerProxy` names.
pub(super) fn dialer(stream: &Value) -> Option<String> {
    let find = |value: &Value, names: &[&str]| {
        let map = value.as_object()?;
        let mut entries = map.iter();
        let found = entries.find(|(key, value)| {
            !is_nothing(value) && names.iter().any(|name| name.eq_ignore_ascii_case(key))
        });
        found.map(|(_, value)| value.clone())
    };
    let socket = find(stream, &["sockopt", "socketSettings"])?;
    find(&socket, &["dialerProxy"])?.as_str().map(str::to_owned)
}
