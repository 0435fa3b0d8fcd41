//! Listeners and dialers: what carries a tunnel, and what seals it.

use http::HeaderMap;
use http::header::HeaderValue;

use super::{keys, map, put, typed};
use crate::address::Host;
use crate::dialect::tree::Node;
use crate::smux;
use crate::transport::tls::{self, ClientAuth, Pem, Versions};
use crate::transport::{ClientCarrier, ClientSettings, ServerCarrier, ServerSettings as Server};

/// The word for a carrier.
fn carrier(carrier: &str, has_tls: bool) -> &'static str {
    match (carrier, has_tls) {
        ("ws", false) => "ws",
        ("ws", true) => "wss",
        ("mws", false) => "mws",
        ("mws", true) => "mwss",
        (_, true) => "tls",
        (_, false) => "tcp",
    }
}

/// Of a service.
pub(super) fn listener(transport: &Server) -> Result<Node, String> {
    let kept = Server {
        carrier: transport.carrier.clone(),
        security: transport.security.clone(),
        ..Server::default()
    };
    if *transport != kept {
        return Err(
            "what stands around it (`sockopt`, `acceptProxyProtocol`, a site) has no word"
                .to_owned(),
        );
    }
    let has_tls = transport.security.is_some();
    let mut listener = match &transport.carrier {
        ServerCarrier::Raw => typed(carrier("", has_tls)),
        ServerCarrier::Ws(ws) => {
            let mut node = typed(carrier("ws", has_tls));
            websocket(&mut node, &ws.path, &ws.headers, None);
            server_ws(ws.host.is_some(), ws.early_data.is_some())?;
            node
        }
        ServerCarrier::Mws(mws) => {
            let mut node = typed(carrier("mws", has_tls));
            websocket(&mut node, &mws.ws.path, &mws.ws.headers, None);
            server_ws(mws.ws.host.is_some(), mws.ws.early_data.is_some())?;
            multiplexed(&mut node, &mws.mux);
            node
        }
        _ => return Err("gost has `tcp`, `ws` and `mws` of this".to_owned()),
    };
    if let Some(tls) = &transport.security {
        let mut node = map();
        match &tls.certificates[..] {
            [] if tls.self_signed.is_some() => {}
            [own] => {
                let (Pem::File(certificate), Pem::File(key)) = (&own.certificate, &own.key.0)
                else {
                    return Err("its certificate stands in the config: gost wants files".to_owned());
                };
                put(&mut node, "certFile", certificate.display().to_string());
                put(&mut node, "keyFile", key.display().to_string());
            }
            _ => return Err("gost has one certificate for a service".to_owned()),
        }
        if tls.client_auth != ClientAuth::None || !tls.issuers.is_empty() || !tls.acme.is_empty() {
            return Err(
                "certificates of clients, or those that are issued, are not carried over"
                    .to_owned(),
            );
        }
        versions(&mut node, tls.versions);
        if !node.entries().is_empty() {
            listener.set("tls", node);
        }
    }
    Ok(listener)
}

fn server_ws(has_host: bool, has_early_data: bool) -> Result<(), String> {
    match (has_host, has_early_data) {
        (true, _) => {
            Err("gost looks at no host, and requests for others would be taken".to_owned())
        }
        (_, true) => Err("gost has no early data".to_owned()),
        _ => Ok(()),
    }
}

/// Of a node.
pub(super) fn dialer(
    transport: &ClientSettings,
    name: &str,
    lines: &mut Vec<String>,
) -> Result<Node, String> {
    if transport.sockopt != Default::default() {
        lines.push(format!(
            "{name}.streamSettings.sockopt: there is no word for it"
        ));
    }
    if transport.fragment.is_some() {
        lines.push(format!(
            "{name}.streamSettings.finalmask: there is no word for it"
        ));
    }
    let has_tls = transport.security.is_some();
    let mut early = false;
    let mut dialer = match &transport.carrier {
        ClientCarrier::Raw => typed(carrier("", has_tls)),
        ClientCarrier::Ws(ws) => {
            let mut node = typed(carrier("ws", has_tls));
            early = ws.early_data.is_some();
            websocket(&mut node, &ws.path, &ws.headers, ws.host.as_ref());
            alive(&mut node, ws.heartbeat);
            node
        }
        ClientCarrier::Mws(mws) => {
            let mut node = typed(carrier("mws", has_tls));
            early = mws.ws.early_data.is_some();
            websocket(
                &mut node,
                &mws.ws.path,
                &mws.ws.headers,
                mws.ws.host.as_ref(),
            );
            alive(&mut node, mws.ws.heartbeat);
            multiplexed(&mut node, &mws.mux);
            node
        }
        _ => return Err("gost has `tcp`, `ws` and `mws` of this".to_owned()),
    };
    if early {
        lines.push(format!("{name}.streamSettings: gost has no early data"));
    }
    if let Some(tls) = &transport.security {
        if tls.early_data {
            lines.push(format!(
                "{name}.streamSettings.tlsSettings.earlyData: there is no word for it"
            ));
        }
        dialer.set("tls", client_tls(tls)?);
    }
    Ok(dialer)
}

/// A gost believes everybody unless it is told to verify.
fn client_tls(tls: &tls::ClientSettings) -> Result<Node, String> {
    if !tls.authorities.0.is_empty() || tls.disable_system_root {
        return Err(
            "authorities of one's own are not carried over, and others would be believed"
                .to_owned(),
        );
    }
    if tls.allow_insecure && (!tls.pins.is_empty() || !tls.certificate_pins.is_empty()) {
        return Err(
            "a pin alone says who the server is here, and gost has no word for it".to_owned(),
        );
    }
    if tls.certificate.is_some() || !tls.verify_names.is_empty() {
        return Err(
            "certificates of clients and `verifyPeerCertByName` are not carried over".to_owned(),
        );
    }
    let mut node = map();
    if !tls.allow_insecure {
        put(&mut node, "secure", "true");
    }
    if let Some(name) = &tls.server_name {
        let name = match name {
            Host::Domain(name) => name.clone(),
            Host::Ip(ip) => ip.to_string(),
        };
        put(&mut node, "serverName", name);
    }
    versions(&mut node, tls.versions);
    Ok(node)
}

fn versions(node: &mut Node, versions: Versions) {
    let mut options = map();
    match versions {
        Versions::Both => return,
        Versions::Only12 => put(&mut options, "maxVersion", "VersionTLS12"),
        Versions::Only13 => put(&mut options, "minVersion", "VersionTLS13"),
    }
    node.set("options", options);
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn websocket(node: &mut Node, path: &str, headers: &HeaderMap, host: Option<&HeaderValue>) {
    keys(node, &[("path", path.to_owned())]);
    if let Some(host) = host {
        keys(node, &[("host", text(host))]);
    }
    put_headers(node, headers);
}

/// `header` of a part, where there are any.
pub(super) fn put_headers(node: &mut Node, headers: &HeaderMap) {
    if !headers.is_empty() {
        let mut own = map();
        for (name, value) in headers {
            put(&mut own, name.as_str(), text(value));
        }
        let mut metadata = node.take("metadata").unwrap_or_else(map);
        metadata.set("header", own);
        node.set("metadata", metadata);
    }
}

fn alive(node: &mut Node, heartbeat: Option<std::time::Duration>) {
    if let Some(period) = heartbeat {
        let ttl = format!("{}s", period.as_secs().max(1));
        keys(node, &[("keepAlive", "true".to_owned()), ("ttl", ttl)]);
    }
}

fn multiplexed(node: &mut Node, mux: &smux::Settings) {
    let default = smux::Settings::default();
    if mux.version != default.version {
        keys(node, &[("mux.version", (mux.version as u8).to_string())]);
    }
    match mux.keepalive {
        None => keys(node, &[("mux.keepaliveDisabled", "true".to_owned())]),
        Some(own) if mux.keepalive != default.keepalive => {
            let seconds = |time: std::time::Duration| format!("{}ms", time.as_millis());
            keys(
                node,
                &[
                    ("mux.keepaliveInterval", seconds(own.interval)),
                    ("mux.keepaliveTimeout", seconds(own.timeout)),
                ],
            );
        }
        Some(_) => {}
    }
    if let Some(max_frame) = mux.max_frame {
        keys(node, &[("mux.maxFrameSize", max_frame.to_string())]);
    }
    if let Some(bytes) = mux.receive_buffer {
        keys(node, &[("mux.maxReceiveBuffer", bytes.to_string())]);
    }
    if mux.stream_window != default.stream_window {
        keys(
            node,
            &[("mux.maxStreamBuffer", mux.stream_window.to_string())],
        );
    }
}
